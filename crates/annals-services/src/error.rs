//! What can go wrong when a service is fetched, started, asked for or stopped.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// A service that is not there, or does not do what it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// Install Java 17 or later, or set `JAVA_HOME` to one.
    #[error("could not start {}: {source}; install a Java runtime, version 17 or later, or set JAVA_HOME", program.display())]
    NoJava {
        /// What was tried.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Install Java 17 or later, or set `JAVA_HOME` to one.
    #[error("{} is {found}; Kafka needs Java 17 or later: install it, or set JAVA_HOME", program.display())]
    OldJava {
        /// What was asked for its version.
        program: PathBuf,
        /// What it answered.
        found: String,
    },
    /// Install Maven: it is needed once, to fetch the jars.
    #[error("could not start mvn: {source}; install Maven, which is needed once to fetch the jars")]
    NoMaven {
        /// What the operating system said.
        source: io::Error,
    },
    /// Look at Maven's output; most often the network or its settings.
    #[error("maven could not fetch {what} ({status}): {output}")]
    Fetch {
        /// What was wanted.
        what: &'static str,
        /// How Maven ended.
        status: ExitStatus,
        /// The end of what it printed.
        output: String,
    },
    /// Use a platform that PostgreSQL's archive is published for.
    #[error("no PostgreSQL is published for {arch} on {os}; there is x86_64 and aarch64 on linux")]
    NoBuild {
        /// The processor, as Rust names it.
        arch: &'static str,
        /// The operating system, as Rust names it.
        os: &'static str,
    },
    /// Install tar and xz: they are needed once, to unpack PostgreSQL.
    #[error("could not start tar: {source}; install tar and xz, which are needed once to unpack PostgreSQL")]
    NoTar {
        /// What the operating system said.
        source: io::Error,
    },
    /// Install `setpriv` (util-linux), or be another user than root.
    #[error(
        "PostgreSQL does not run as root, and there is no setpriv that starts it as another user; install \
         util-linux, or run this as another user"
    )]
    NoSetpriv,
    /// Look at what PostgreSQL says; the statement was not carried out.
    #[error("PostgreSQL at 127.0.0.1:{port}: {reason}")]
    Refused {
        /// Where it listens.
        port: u16,
        /// What it said.
        reason: String,
    },
    /// Set `ANNALS_CACHE` to a directory where the jars may be kept.
    #[error(
        "there is no cache directory: neither ANNALS_CACHE nor XDG_CACHE_HOME nor HOME is set; set ANNALS_CACHE"
    )]
    NoCache,
    /// Stop what uses the ports: hundreds were tried.
    #[error("no free port between {first} and {last} on 127.0.0.1; stop what uses them")]
    NoFreePort {
        /// The first port tried.
        first: u16,
        /// The last port tried.
        last: u16,
    },
    /// Use a node that the cluster has.
    #[error("there is no node {node}, the nodes are 1 to {nodes}")]
    NoSuchNode {
        /// The node asked for.
        node: u32,
        /// How many there are.
        nodes: u32,
    },
    /// Start the node first.
    #[error("node {node} does not run; start it first")]
    NotRunning {
        /// The node.
        node: u32,
    },
    /// Look at the end of its log; `ANNALS_KEEP=1` keeps the whole of it, and the data.
    #[error("node {node} ended ({status}); its log {} ends with: {tail}", log.display())]
    Exited {
        /// The node.
        node: u32,
        /// How it ended.
        status: String,
        /// Where all its output is.
        log: PathBuf,
        /// The last lines of that.
        tail: String,
    },
    /// Wait longer on a busy machine, or look at the end of its log, as for [`ServiceError::Exited`].
    #[error(
        "node {node} was not ready after {} s: {reason}; its log {} ends with: {tail}",
        waited.as_secs(),
        log.display()
    )]
    NotReady {
        /// The node.
        node: u32,
        /// How long it was waited for.
        waited: Duration,
        /// What it did not do yet.
        reason: String,
        /// Where all its output is.
        log: PathBuf,
        /// The last lines of that.
        tail: String,
    },
    /// Kill it, or look into the log.
    #[error("node {node} did not stop within {} s; its log is {}", waited.as_secs(), log.display())]
    NotStopped {
        /// The node.
        node: u32,
        /// How long it was waited for.
        waited: Duration,
        /// Where all its output is.
        log: PathBuf,
    },
    /// Use what runs, or stop it first with `cargo xtask services down`.
    #[error("{url} is up with {nodes} nodes; use it, or run `cargo xtask services down` first")]
    OtherwiseUp {
        /// The address of what runs.
        url: String,
        /// How many nodes it has.
        nodes: u32,
    },
    /// Look at what the tool printed.
    #[error("{class} failed ({status}): {output}")]
    Tool {
        /// The program, or the tool's main class.
        class: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it printed.
        output: String,
    },
    /// Stop by hand the servers that it names, then remove the file.
    #[error("{} is no list of running services: {source}; stop them by hand and remove it", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
    /// Look at the operating system's message and try again.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file, directory or program.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl ServiceError {
    /// Whether something has to be installed first; a test that finds this is skipped, not failed.
    pub fn is_not_installed(&self) -> bool {
        matches!(
            self,
            Self::NoJava { .. }
                | Self::OldJava { .. }
                | Self::NoMaven { .. }
                | Self::NoBuild { .. }
                | Self::NoTar { .. }
                | Self::NoSetpriv
        )
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// The last lines of what a program printed: enough to see why, short enough for an error.
///
/// Java's lists of callers are left out: they push the reason out of sight.
pub(crate) fn tail(output: &str) -> String {
    const LINES: usize = 12;
    let lines = output.trim_end().lines();
    let lines: Vec<_> = lines.filter(|line| !line.trim_start().starts_with("at ")).collect();
    let skipped = lines.len().saturating_sub(LINES);
    let last: Vec<_> = lines.into_iter().skip(skipped).collect();
    if last.is_empty() { "nothing".to_owned() } else { last.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_has_the_reason_and_not_the_callers() {
        let callers = "\tat kafka.Kafka.main(Kafka.java:1)\n".repeat(40);
        assert_eq!(tail(&format!("up\nno room\n{callers}\n")), "up\nno room");
        let lines: Vec<_> = (1..=20).map(|line| line.to_string()).collect();
        assert_eq!(tail(&lines.join("\n")), lines[8..].join("\n"));
        assert_eq!(tail("\n"), "nothing");
    }
}
