//! The command line of any program: contexts in, a whole server and its tools out.
//!
//! [`run`] is what a program's `main` calls; [`Program`] adds commands of its own. Exit codes: 0 done, 1 the
//! answer is no (a command refused, no such document, damage found), 2 wrong use. Data goes to stdout, all else to
//! stderr.
//!
//! Invariant: nothing here decides or stores anything; every command is a call of the layers below, either on the
//! log itself or, where a running program has the log's directory, on its control socket.

mod arguments;
mod bench;
mod control;
mod events;
mod failure;
mod import;
mod keys;
mod log;
mod output;
mod place;
mod send;
mod serve;
mod serving;
mod signals;
mod state;
mod stored;
mod time;
mod view;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{ArgMatches, Command};

use crate::Context;
pub use annals_server::Reach;
pub use failure::Failure;
pub use output::Output;
pub use serving::{Doors, Serving, check_listen};
pub use signals::Signals;

/// Runs the command line of a program that holds these contexts, and returns how it ended.
///
/// ```no_run
/// # fn counters() -> annals::Context { annals::context("counters") }
/// fn main() -> std::process::ExitCode {
///     annals::cli::run([counters()])
/// }
/// ```
pub fn run(contexts: impl IntoIterator<Item = Context>) -> ExitCode {
    Program::new(contexts).run()
}

/// What runs a command that a program adds.
type Handler = Box<dyn Fn(&ArgMatches) -> Result<(), Failure>>;

/// A command line with commands of the program's own beside those every program has.
pub struct Program {
    contexts: Vec<Context>,
    added: Vec<(Command, Handler)>,
    default: Option<String>,
}

impl Program {
    /// The commands every program has, for these contexts.
    pub fn new(contexts: impl IntoIterator<Item = Context>) -> Self {
        Self { contexts: contexts.into_iter().collect(), added: Vec::new(), default: None }
    }

    /// Adds a command.
    #[must_use]
    pub fn command(
        mut self,
        command: Command,
        handler: impl Fn(&ArgMatches) -> Result<(), Failure> + 'static,
    ) -> Self {
        self.added.push((command, Box::new(handler)));
        self
    }

    /// Names the command that runs where none is given.
    #[must_use]
    pub fn default_command(mut self, name: &str) -> Self {
        self.default = Some(name.to_owned());
        self
    }

    /// Runs what the arguments of this process ask for.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        self.run_with(std::env::args_os())
    }

    fn run_with(&self, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
        let mut arguments: Vec<OsString> = arguments.into_iter().collect();
        if let (1, Some(default)) = (arguments.len(), &self.default) {
            arguments.push(default.into());
        }
        if let Err(failure) = self.check() {
            return failure.report();
        }
        let name = arguments.first().map(Path::new).and_then(Path::file_stem);
        let name = name.map_or("annals".into(), |name| name.to_string_lossy().into_owned());
        match self.build(name).try_get_matches_from(arguments) {
            Ok(matches) => self.dispatch(&matches),
            Err(error) => {
                // Help and version are answers, everything else is wrong use; clap knows the stream for each.
                let code = if error.use_stderr() { Failure::CODE_USE } else { 0 };
                if error.print().is_err() {
                    return ExitCode::from(Failure::CODE_NO);
                }
                ExitCode::from(code)
            }
        }
    }

    /// Refuses contexts that cannot be opened, whatever the command.
    fn check(&self) -> Result<(), Failure> {
        for (index, context) in self.contexts.iter().enumerate() {
            context.core().clone().checked().map_err(|error| Failure::Use(error.to_string()))?;
            if self.contexts.iter().skip(index + 1).any(|other| other.name() == context.name()) {
                let name = context.name();
                return Err(Failure::Use(format!("two contexts are called {name:?}; rename one")));
            }
        }
        match self.contexts.is_empty() {
            true => Err(Failure::Use("the program holds no context; give annals::cli::run one".to_owned())),
            false => Ok(()),
        }
    }

    fn build(&self, name: String) -> Command {
        let contexts = self.contexts.as_slice();
        let about =
            "Commands in, events kept, views out. Exit codes: 0 done, 1 the answer is no, 2 wrong use.";
        Command::new(name)
            .version(env!("CARGO_PKG_VERSION"))
            .about(about)
            .after_help(arguments::AFTER_HELP)
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommands(self.added.iter().map(|(command, _)| command.clone()))
            .subcommand(serve::command(contexts))
            .subcommand(send::command(contexts))
            .subcommand(import::command(contexts))
            .subcommand(events::command(contexts))
            .subcommand(state::command(contexts))
            .subcommands(time::commands(contexts))
            .subcommand(view::command(contexts))
            .subcommand(log::command(contexts))
            .subcommand(keys::command())
            .subcommand(bench::command().name("bench"))
    }

    fn dispatch(&self, matches: &ArgMatches) -> ExitCode {
        let Some((name, matches)) = matches.subcommand() else { return ExitCode::from(Failure::CODE_USE) };
        let contexts = self.contexts.as_slice();
        let done = match name {
            "bench" => return bench::run(matches),
            "serve" => serve::run(contexts, matches),
            "send" => send::run(contexts, matches),
            "import" => import::run(contexts, matches),
            "events" => events::run(contexts, matches),
            "state" => state::run(contexts, matches),
            "diff" => time::diff(contexts, matches),
            "rollback" => time::rollback(contexts, matches),
            "what-if" => time::what_if(contexts, matches),
            "view" => view::run(contexts, matches),
            "log" => log::run(contexts, matches),
            "keys" => keys::run(matches),
            name => match self.added.iter().find(|(command, _)| command.get_name() == name) {
                Some((_, handler)) => handler(matches),
                None => Err(Failure::Use(format!("there is no command {name:?}"))),
            },
        };
        done.map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_fit_together() {
        let program = Program::new([crate::context("one"), crate::context("two")]);
        program.build("annals".to_owned()).debug_assert();
        assert!(program.check().is_ok());
    }

    #[test]
    fn contexts_that_clash_are_refused() {
        for contexts in [vec![], vec!["one", "one"], vec!["One"]] {
            let program = Program::new(contexts.iter().map(|name| crate::context(name)));
            assert!(matches!(program.check(), Err(Failure::Use(_))), "{contexts:?}");
        }
    }
}
