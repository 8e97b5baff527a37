//! What a server is before it runs: its port, its folder, its settings; and waiting until it answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{ServiceError, tail};
use crate::ports::Port;
use crate::postgres::install::{Install, USER};
use crate::postgres::probe;
use crate::process::Server;

/// Between two questions: short beside a start.
const PAUSE: Duration = Duration::from_millis(10);
/// What an error calls the only server there is.
const NODE: u32 = 1;

/// Quick to start, small, and heard on the loopback address alone; what is synced stays synced.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("max_connections", "200"),
    ("shared_buffers", "64MB"),
    ("logging_collector", "off"),
    ("jit", "off"),
];

/// A server's data and place.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// All that is its own.
    pub(crate) directory: PathBuf,
    pub(crate) port: u16,
    settings: Vec<(String, String)>,
    _port: Vec<Port>,
}

impl Cluster {
    /// Makes the data of a server in `directory`, which does not exist.
    pub(crate) fn new(
        settings: &[(&str, &str)],
        directory: PathBuf,
        cache: &Path,
        install: &Install,
    ) -> Result<Self, ServiceError> {
        let ports = Port::reserve(1, cache)?;
        let port = ports.first().map_or(0, |port| port.number);
        fs::create_dir_all(&directory).map_err(ServiceError::io(&directory))?;
        install.account.give(&directory)?;
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let settings = SETTINGS.iter().chain(settings).map(own).collect();
        let cluster = Self { directory, port, settings, _port: ports };
        install.make_data(&cluster.data())?;
        Ok(cluster)
    }

    /// The address of one of its databases.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// The server, to be started.
    pub(crate) fn server(&self, install: &Install) -> Server {
        let mut command = Command::new(install.server());
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        for (name, value) in &self.settings {
            command.args(["-c", &format!("{name}={value}")]);
        }
        Server { command, log: self.log(), account: install.account }
    }

    /// Where all its output goes.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("postgres.log")
    }

    /// Waits until it answers.
    pub(crate) fn wait_ready(&self, child: &mut Child, limit: Duration) -> Result<(), ServiceError> {
        let begun = Instant::now();
        while let Err(e) = probe::execute(self.port, "SELECT 1") {
            let (node, log) = (NODE, self.log());
            let tail = fs::read(&log).map(|bytes| tail(&String::from_utf8_lossy(&bytes))).unwrap_or_default();
            if let Some(status) = child.try_wait().map_err(ServiceError::io(&log))? {
                return Err(ServiceError::Exited { node, status: status.to_string(), log, tail });
            }
            if begun.elapsed() > limit {
                return Err(ServiceError::NotReady { node, waited: limit, reason: e.to_string(), log, tail });
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Runs a statement in its first database.
    pub(crate) fn execute(&self, statement: &str) -> Result<(), ServiceError> {
        let refused = |e: std::io::Error| ServiceError::Refused { port: self.port, reason: e.to_string() };
        probe::execute(self.port, statement).map_err(refused)
    }

    pub(crate) fn not_stopped(&self, waited: Duration) -> ServiceError {
        ServiceError::NotStopped { node: NODE, waited, log: self.log() }
    }

    pub(crate) fn not_running(&self) -> ServiceError {
        ServiceError::NotRunning { node: NODE }
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }
}
