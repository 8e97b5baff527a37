//! A PostgreSQL server of one's own: to be used and to be ill-treated.
//!
//! Owns the process and its data. Invariant: what it started ends with the value, and with the process however that
//! ends (where there is `setpriv`; elsewhere the next service that is started cleans up). PostgreSQL refuses to be
//! root: for root it runs as `nobody`, to whom its data belong.

mod cluster;
mod install;
mod probe;

use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::Signal;

pub use crate::postgres::install::POSTGRES_VERSION;

pub(crate) use crate::postgres::cluster::Cluster;
pub(crate) use crate::postgres::install::{Install, within_reach};

use crate::cache;
use crate::error::ServiceError;
use crate::process::{kill_family, signal};
use crate::scratch::{Scratch, note_process};

/// How long a start may take on a machine that has other work, recovery included; alone it takes a third of a second.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(120);
/// How long an orderly stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// The most bytes that a name may have in PostgreSQL.
const NAME_BYTES_MAX: usize = 63;

/// A running server. Dropping it kills it and removes its data, unless `ANNALS_KEEP=1`.
#[derive(Debug)]
pub struct Postgres {
    install: Install,
    cluster: Cluster,
    url: String,
    process: Mutex<Option<Child>>,
    // Last: the server must have ended before its folder is removed.
    scratch: Scratch,
}

impl Postgres {
    /// Starts a server on a free port of 127.0.0.1 and waits until it answers.
    ///
    /// The first start on a machine fetches PostgreSQL, which is said on stderr.
    pub fn start() -> Result<Self, ServiceError> {
        Self::start_with(&[])
    }

    /// As [`Postgres::start`], with settings of one's own, such as `("fsync", "off")`.
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self, ServiceError> {
        let install = Install::get()?;
        let scratch = Scratch::new()?;
        let directory = scratch.path().join("postgres");
        let cluster = Cluster::new(settings, directory, &cache::directory()?, &install)?;
        let url = cluster.url("postgres");
        let postgres = Self { install, cluster, url, process: Mutex::new(None), scratch };
        postgres.start_again()?;
        Ok(postgres)
    }

    /// The address of its first database: `postgres://postgres@127.0.0.1:20000/postgres`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes a database and returns its address. The name is made of `name` and what it takes to be another one.
    pub fn database(&self, name: &str) -> Result<String, ServiceError> {
        let is_plain = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_';
        let name: String = name.chars().filter(is_plain).collect();
        let unique =
            format!("{name:.length$}_{}", uuid::Uuid::new_v4().simple(), length = NAME_BYTES_MAX - 33);
        self.execute(&format!("CREATE DATABASE \"{unique}\""))?;
        Ok(self.cluster.url(&unique))
    }

    /// Starts a server that is down, on its own data and port, and waits until it answers; leaves one that runs alone.
    pub fn start_again(&self) -> Result<(), ServiceError> {
        let mut process = self.process.lock();
        if process.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None))) {
            return Ok(());
        }
        let server = self.cluster.server(&self.install);
        let mut child = server.spawn_bound().map_err(ServiceError::io(&self.cluster.log()))?;
        let noted = note_process(&self.cluster.directory, child.id());
        let ready = noted.and_then(|()| self.cluster.wait_ready(&mut child, START_LIMIT));
        *process = Some(child);
        ready
    }

    /// Ends the server and all that serve its connections at once, as a power cut of its machine does. Fine if it is
    /// down already.
    pub fn kill(&self) {
        if let Some(mut child) = self.process.lock().take() {
            kill_family(&mut child);
        }
    }

    /// Stops the server in an orderly way, which breaks its connections, and waits for its end. Fine if it is down.
    pub fn stop(&self) -> Result<(), ServiceError> {
        let mut process = self.process.lock();
        let Some(child) = process.as_mut() else { return Ok(()) };
        let failed = || ServiceError::io(&self.cluster.directory);
        if child.try_wait().map_err(failed())?.is_none() {
            signal(child, Signal::INT).map_err(failed())?;
        }
        let until = Instant::now() + STOP_LIMIT;
        while child.try_wait().map_err(failed())?.is_none() {
            if Instant::now() > until {
                return Err(self.cluster.not_stopped(STOP_LIMIT));
            }
            thread::sleep(Duration::from_millis(5));
        }
        *process = None;
        Ok(())
    }

    /// Runs a statement in its first database. What it answers is not read, unless it is an error.
    pub fn execute(&self, statement: &str) -> Result<(), ServiceError> {
        if self.process.lock().is_none() {
            return Err(self.cluster.not_running());
        }
        self.cluster.execute(statement)
    }

    /// Breaks all connections to its databases: the server goes on and takes new ones.
    pub fn disconnect(&self) -> Result<(), ServiceError> {
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
    }

    /// The folder with its data and its log.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// The file that all its output goes to.
    pub fn log_file(&self) -> PathBuf {
        self.cluster.log()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}
