//! Services that outlive the one who starts them: `cargo xtask services up` and `down`.
//!
//! Owns the list of what is up, a file in the cache, and the data beside it. Invariant: whoever reads or changes the
//! list holds the lock. A server on the list is believed only when a process with its id and its folder on the command
//! line runs, because ids are used again after a restart of the machine.

mod postgres;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::postgres::UpPostgres;

use crate::cache::{self, Lock};
use crate::error::ServiceError;
use crate::install::Install;
use crate::kafka::{Compiler, Expected, Layout, Node, Nodes, START_LIMIT, wait_ready};
use crate::process::Known;
use crate::scratch::{kill_noted, note_process};

/// The services of this user that outlive the process that starts them.
#[derive(Debug, Clone)]
pub struct Services {
    directory: PathBuf,
}

/// A Kafka cluster that is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UpKafka {
    /// Its address: `kafka://127.0.0.1:20000,..`.
    pub url: String,
    /// Below it, each node's data, settings and log (`node-1/broker.log`).
    pub directory: PathBuf,
    /// Whether it was up before it was asked for.
    #[serde(skip)]
    pub was_up: bool,
    nodes: Vec<UpNode>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct UpNode {
    id: u32,
    port: u16,
    process: u32,
    directory: PathBuf,
}

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    kafka: Option<UpKafka>,
    postgres: Option<UpPostgres>,
}

impl Services {
    /// Those in the cache, which are the ones that `cargo xtask services` means.
    pub fn of_cache() -> Result<Self, ServiceError> {
        Ok(Self::in_directory(cache::directory()?.join("services")))
    }

    /// Others, known by nobody who does not know `directory`.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Starts a Kafka cluster and waits until it is ready; one that is up with as many nodes is used as it is.
    ///
    /// What is left of one that does not run any more is removed first, with its data.
    pub fn up_kafka(&self, nodes: Nodes) -> Result<UpKafka, ServiceError> {
        let _lock = self.lock()?;
        if let Some(up) = self.state()?.kafka
            && up.is_alive()
        {
            return up.used_as(nodes);
        }
        let started = self.start_kafka(nodes);
        if started.is_err() {
            kill_noted(&self.kafka_directory());
        }
        started
    }

    /// Kills what is up and removes its data; says the addresses.
    pub fn down(&self) -> Result<Vec<String>, ServiceError> {
        let _lock = self.lock()?;
        let State { kafka, postgres } = self.state()?;
        remove(&self.kafka_directory())?;
        remove(&self.postgres_directory()?)?;
        remove(&self.state_file())?;
        Ok(kafka.map(|up| up.url).into_iter().chain(postgres.map(|up| up.url)).collect())
    }

    fn start_kafka(&self, nodes: Nodes) -> Result<UpKafka, ServiceError> {
        let install = Install::get()?;
        let directory = self.kafka_directory();
        remove(&directory)?;
        fs::create_dir_all(&directory).map_err(ServiceError::io(&directory))?;
        let layout = Layout::new(nodes, &[], &directory, &cache::directory()?, &install)?;
        let mut children = Vec::new();
        for node in &layout.nodes {
            let server = node.server(&install, Compiler::Full, &[]);
            let child = server.spawn_detached().map_err(ServiceError::io(&node.log()))?;
            note_process(&node.directory, child.id())?;
            children.push((node, child));
        }
        let list = children.iter().map(|(node, child)| UpNode::of(node, child.id())).collect();
        let url = format!("kafka://{}", layout.bootstrap());
        let up = UpKafka { url, directory, was_up: false, nodes: list };
        self.write(&State { kafka: Some(up.clone()), ..self.state()? })?;
        let expected: Vec<_> = layout.nodes.iter().map(Expected::of).collect();
        wait_ready(&expected, START_LIMIT, |id| {
            let (_, child) = children.iter_mut().find(|(node, _)| node.id == id)?;
            child.try_wait().ok().flatten()
        })?;
        Ok(up)
    }

    fn lock(&self) -> Result<Lock, ServiceError> {
        fs::create_dir_all(&self.directory).map_err(ServiceError::io(&self.directory))?;
        Lock::wait(&self.directory.join("lock"))
    }

    fn state(&self) -> Result<State, ServiceError> {
        let path = self.state_file();
        if !path.exists() {
            return Ok(State::default());
        }
        let text = fs::read(&path).map_err(ServiceError::io(&path))?;
        serde_json::from_slice(&text).map_err(|source| ServiceError::State { path, source })
    }

    /// Whole or not at all, as everything in the cache.
    fn write(&self, state: &State) -> Result<(), ServiceError> {
        let path = self.state_file();
        let partial = path.with_extension("partial");
        let text = serde_json::to_vec_pretty(state);
        let text = text.map_err(|source| ServiceError::State { path: path.clone(), source })?;
        fs::write(&partial, text).map_err(ServiceError::io(&partial))?;
        fs::rename(&partial, &path).map_err(ServiceError::io(&path))
    }

    fn state_file(&self) -> PathBuf {
        self.directory.join("state.json")
    }

    fn kafka_directory(&self) -> PathBuf {
        self.directory.join("kafka")
    }
}

/// Removes a file, or a directory and the servers in it: the notes beside their data are there before the list is.
fn remove(path: &Path) -> Result<(), ServiceError> {
    kill_noted(path);
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(ServiceError::io(path)(e)),
        _ => Ok(()),
    }
}

impl UpKafka {
    /// Whether all of its brokers run.
    fn is_alive(&self) -> bool {
        self.nodes.iter().all(|node| Known { id: node.process, mark: &node.directory }.is_alive())
    }

    /// It may have been started a moment ago, by one who is waiting for it still or was interrupted.
    fn used_as(self, nodes: Nodes) -> Result<Self, ServiceError> {
        if self.nodes.len() != nodes.count() {
            let nodes = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
            return Err(ServiceError::OtherwiseUp { url: self.url, nodes });
        }
        let expected = self.nodes.iter().map(|node| Expected::elsewhere(node.id, node.port, &node.directory));
        wait_ready(&expected.collect::<Vec<_>>(), START_LIMIT, |_| None)?;
        Ok(Self { was_up: true, ..self })
    }
}

impl UpNode {
    fn of(node: &Node, process: u32) -> Self {
        Self { id: node.id, port: node.port, process, directory: node.directory.clone() }
    }
}
