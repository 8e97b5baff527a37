//! PostgreSQL that outlives the one who starts it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Services, State, remove};
use crate::account::Account;
use crate::cache;
use crate::error::ServiceError;
use crate::install::digest;
use crate::postgres::{Cluster, Install, START_LIMIT, within_reach};
use crate::process::Known;
use crate::scratch::note_process;

/// A PostgreSQL server that is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UpPostgres {
    /// The address of its database: `postgres://postgres@127.0.0.1:20000/postgres`.
    pub url: String,
    /// Its data and its log (`postgres.log`).
    pub directory: PathBuf,
    /// Whether it was up before it was asked for.
    #[serde(skip)]
    pub was_up: bool,
    process: u32,
}

impl Services {
    /// Starts a PostgreSQL server and waits until it answers; one that is up is used as it is.
    ///
    /// What is left of one that does not run any more is removed first, with its data.
    pub fn up_postgres(&self) -> Result<UpPostgres, ServiceError> {
        let _lock = self.lock()?;
        if let Some(up) = self.state()?.postgres
            && (Known { id: up.process, mark: &up.directory }).is_alive()
        {
            return Ok(UpPostgres { was_up: true, ..up });
        }
        let directory = self.postgres_directory()?;
        remove(&directory)?;
        let started = self.start_postgres(directory.join("server"));
        if started.is_err() {
            // What went wrong first is what is told.
            let _ = remove(&directory);
        }
        started
    }

    fn start_postgres(&self, directory: PathBuf) -> Result<UpPostgres, ServiceError> {
        let install = Install::get()?;
        // A benchmark's data should fit, as they do elsewhere.
        let settings = [("shared_buffers", "256MB"), ("max_wal_size", "2GB")];
        let cluster = Cluster::new(&settings, directory.clone(), &cache::directory()?, &install)?;
        let mut child =
            cluster.server(&install).spawn_detached().map_err(ServiceError::io(&cluster.log()))?;
        note_process(&directory, child.id())?;
        cluster.wait_ready(&mut child, START_LIMIT)?;
        let up = UpPostgres { url: cluster.url("postgres"), directory, was_up: false, process: child.id() };
        self.write(&State { postgres: Some(up.clone()), ..self.state()? })?;
        Ok(up)
    }

    /// Where its folder is: here, or where the user can come that PostgreSQL runs as.
    pub(super) fn postgres_directory(&self) -> Result<PathBuf, ServiceError> {
        // Without such a user nothing was started.
        let account = Account::other_than_root().unwrap_or(Account::Own);
        let place = within_reach(account, &self.directory)?;
        let is_here = place == self.directory;
        let name = digest(&self.directory.display().to_string());
        Ok(if is_here { place.join("postgres") } else { place.join(format!("services-{name}")) })
    }
}
