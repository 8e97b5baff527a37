//! The tasks of the workspace: `cargo xtask <task>`.
//!
//! Owns what is run, in which order and with which settings, so that a person, a hook and a build server all run
//! the same thing. Every task prints the commands it runs and stops at the first that fails, with that command's
//! name. It needs nothing but the Rust toolchain, and for services what those need. It does not reach into the crates
//! but for `annals-services`, which is made for tasks: what can be a test is one.

mod campaign;
mod services;
mod step;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::campaign::Choice;
use crate::services::Order;
use crate::step::{Step, TaskError};

/// Tasks of the Annals workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Subcommand)]
enum Task {
    /// Everything a change must pass: format, tidy, clippy, documentation, all tests
    Test,
    /// The part of `test` that runs nothing, and cargo-deny where it is installed
    Lint,
    /// Checks file and function lengths, module docs, leftovers and paths of one machine
    Tidy,
    /// Builds the documentation; a warning is an error
    Doc {
        /// Open it in a browser
        #[arg(long)]
        open: bool,
    },
    /// Builds for release and runs `annals bench`
    Bench {
        /// What `annals bench` is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs the long form of a test; without a name, lists them
    Campaign(Choice),
    /// Starts or stops servers for benchmarks, long runs and people
    #[command(subcommand)]
    Services(Order),
}

fn main() -> ExitCode {
    let Some(task) = Arguments::parse().task else {
        return match Arguments::command().print_help() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    };
    match run(task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<(), TaskError> {
    match task {
        Task::Test => test(),
        Task::Lint => lint(),
        Task::Tidy => tidy::run(root()),
        Task::Doc { open } => doc(open).run(),
        Task::Bench { arguments } => bench(arguments).run(),
        Task::Campaign(choice) => campaign::run(&choice),
        Task::Services(order) => services::run(&order),
    }
}

/// Cheap failures first. Clippy and rustdoc share one set of checked dependencies; only the tests compile them
/// to code. The tests come last, so that the output ends with their results; all of them run, so that one run shows
/// every failure.
fn test() -> Result<(), TaskError> {
    format().run()?;
    tidy::run(root())?;
    clippy().run()?;
    doc(false).run()?;
    Step::cargo(["test", "--workspace", "--no-fail-fast"]).run()
}

fn lint() -> Result<(), TaskError> {
    format().run()?;
    tidy::run(root())?;
    clippy().run()?;
    if Step::cargo(["deny", "--version"]).is_available() {
        return Step::cargo(["deny", "--workspace", "check"]).run();
    }
    eprintln!("xtask: cargo-deny is not installed, so licences and advisories were not checked");
    Ok(())
}

fn format() -> Step {
    Step::cargo(["fmt", "--all", "--check"])
}

fn clippy() -> Step {
    Step::cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

/// Libraries only: the `annals` binary would overwrite the pages of the `annals` crate.
fn doc(open: bool) -> Step {
    let step = Step::cargo(["doc", "--workspace", "--lib", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
    if open { step.arguments(["--open"]) } else { step }
}

fn bench(arguments: Vec<String>) -> Step {
    Step::cargo(["run", "--release", "--package", "annals-cli", "--", "bench"]).arguments(arguments)
}

/// The workspace's directory: this crate lies right below it.
fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn bench_takes_options_meant_for_annals() {
        let arguments = Arguments::parse_from(["xtask", "bench", "append", "--seconds", "3"]);
        let Some(Task::Bench { arguments }) = arguments.task else { panic!("not bench") };
        assert_eq!(
            bench(arguments).to_string(),
            "cargo run --release --package annals-cli -- bench append --seconds 3"
        );
    }
}
