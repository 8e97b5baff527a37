//! Waiting until brokers are ready: each answers, and knows all the others.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{ServiceError, tail};
use crate::kafka::layout::{Node, log_in};
use crate::kafka::probe;

/// Between two questions: short beside a start, long beside what a question costs.
const PAUSE: Duration = Duration::from_millis(25);

/// A broker that is to become ready.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    id: u32,
    port: u16,
    log: PathBuf,
}

impl Expected {
    pub(crate) fn of(node: &Node) -> Self {
        Self { id: node.id, port: node.port, log: node.log() }
    }

    /// A broker that another process started.
    pub(crate) fn elsewhere(id: u32, port: u16, directory: &Path) -> Self {
        Self { id, port, log: log_in(directory) }
    }

    /// What is missing, if anything is.
    fn missing(&self, all: &BTreeSet<u32>) -> Option<String> {
        match probe::brokers(self.port) {
            Ok(known) if known.is_superset(all) => None,
            Ok(known) => Some(format!("it knows the brokers {known:?}, not yet {all:?}")),
            Err(e) => Some(format!("127.0.0.1:{} does not answer: {e}", self.port)),
        }
    }

    fn exited(&self, status: ExitStatus) -> ServiceError {
        let (node, status, log, tail) = (self.id, status.to_string(), self.log.clone(), self.tail());
        ServiceError::Exited { node, status, log, tail }
    }

    fn not_ready(&self, waited: Duration, reason: String) -> ServiceError {
        let (node, log, tail) = (self.id, self.log.clone(), self.tail());
        ServiceError::NotReady { node, waited, reason, log, tail }
    }

    fn tail(&self) -> String {
        fs::read(&self.log).map(|bytes| tail(&String::from_utf8_lossy(&bytes))).unwrap_or_default()
    }
}

/// Waits until every expected broker answers and knows all of them; `exited` says how a node ended, if it did.
pub(crate) fn wait_ready(
    expected: &[Expected],
    timeout: Duration,
    mut exited: impl FnMut(u32) -> Option<ExitStatus>,
) -> Result<(), ServiceError> {
    let all: BTreeSet<_> = expected.iter().map(|node| node.id).collect();
    let begun = Instant::now();
    for node in expected {
        while let Some(reason) = node.missing(&all) {
            if let Some(e) = expected.iter().find_map(|node| Some(node.exited(exited(node.id)?))) {
                return Err(e);
            }
            if begun.elapsed() > timeout {
                return Err(node.not_ready(timeout, reason));
            }
            thread::sleep(PAUSE);
        }
    }
    Ok(())
}
