//! One command of a task: said aloud, then run.
//!
//! A step runs in the workspace's directory with the caller's environment plus its own variables. It is not a
//! shell: there are no pipes, and a failed step ends its task.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::process::{Command, ExitStatus, Stdio};

use annals_services::ServiceError;
use thiserror::Error;

use crate::root;

/// Why a task stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The command could not be started: install what is missing.
    #[error("could not start `{command}`: {source}")]
    Start {
        /// The command as it was echoed.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// The command ran and failed; its own output, above, says why.
    #[error("`{command}` failed: {status}")]
    Failed {
        /// The command as it was echoed.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// A file of the workspace could not be read.
    #[error("could not read {path}: {source}")]
    Read {
        /// The file or directory.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The tree breaks rules that tidy checks; each place is printed above.
    #[error("`tidy` failed: {count} to put right")]
    Untidy {
        /// How many places there are.
        count: usize,
    },
    /// The campaign's test target holds no ignored test, so running it would prove nothing.
    #[error("campaign {name} would run no test: mark the long form in {target} with #[ignore]")]
    EmptyCampaign {
        /// The campaign.
        name: &'static str,
        /// The cargo test target.
        target: &'static str,
    },
    /// A service did not start or stop; the message says what to do.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// One command.
pub struct Step {
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Step {
    /// A call of the cargo that runs this task.
    pub fn cargo<A: Into<String>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self { arguments: arguments.into_iter().map(Into::into).collect(), variables: Vec::new() }
    }

    /// Adds arguments.
    pub fn arguments<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Echoes the command, runs it to its end, and fails if it does.
    pub fn run(&self) -> Result<(), TaskError> {
        eprintln!("$ {self}");
        let status = self.command().status().map_err(|source| self.not_started(source))?;
        self.succeeded(status)
    }

    /// As [`Step::run`], but returns what the command prints on stdout.
    pub fn read(&self) -> Result<String, TaskError> {
        eprintln!("$ {self}");
        let output =
            self.command().stderr(Stdio::inherit()).output().map_err(|source| self.not_started(source))?;
        self.succeeded(output.status)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Whether the command exists and succeeds; it is neither echoed nor heard.
    pub fn is_available(&self) -> bool {
        let status = self.command().stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    fn command(&self) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(cargo);
        command.args(&self.arguments).envs(self.variables.iter().cloned()).current_dir(root());
        command
    }

    fn succeeded(&self, status: ExitStatus) -> Result<(), TaskError> {
        if status.success() {
            return Ok(());
        }
        Err(TaskError::Failed { command: self.to_string(), status })
    }

    fn not_started(&self, source: io::Error) -> TaskError {
        TaskError::Start { command: self.to_string(), source }
    }
}

/// The command as one would type it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.variables {
            write!(f, "{name}={} ", quoted(value))?;
        }
        f.write_str("cargo")?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {}", quoted(argument)))
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_reads_as_one_would_type_it() {
        let step = Step::cargo(["doc", "it's", ""]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(step.to_string(), r"RUSTDOCFLAGS='-D warnings' cargo doc 'it'\''s' ''");
    }

    #[test]
    fn a_failing_command_is_named() {
        let e = Step::cargo(["no-such-command-of-cargo"]).run().unwrap_err();
        assert!(e.to_string().starts_with("`cargo no-such-command-of-cargo` failed: exit status"), "{e}");
        assert!(!Step::cargo(["no-such-command-of-cargo"]).is_available());
    }

    #[test]
    fn a_succeeding_command_is_heard() {
        assert!(Step::cargo(["--version"]).read().unwrap().starts_with("cargo "));
        assert!(Step::cargo(["--version"]).is_available());
    }
}
