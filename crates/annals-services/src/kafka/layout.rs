//! What a cluster is before any of it runs: ids, ports, folders, and the files a broker reads when it starts.
//!
//! Every cluster has a fixed set of voters, also that of one node: its storage then names no port and no other node,
//! so that it can be written here, without waiting for the format tool, around a start of the metadata that the tool
//! wrote once (see [`Install`]).

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::error::ServiceError;
use crate::install::Install;
use crate::kafka::Nodes;
use crate::ports::Port;
use crate::process::Server;

const COMMON: &str = include_str!("../../../../tools/kafka/broker.properties");
const LOGGING: &str = include_str!("../../../../tools/kafka/log4j2.properties");

/// How a broker's code is compiled while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// Only the quick compiler: up sooner by a third, and slower under load. For tests.
    Quick,
    /// As brokers run elsewhere. For benchmarks and long runs.
    Full,
}

/// One broker, which is a controller too.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// From 1.
    pub(crate) id: u32,
    /// Where it listens for clients and other brokers.
    pub(crate) port: u16,
    /// Where it listens for the other controllers.
    controller_port: u16,
    /// All that is its own.
    pub(crate) directory: PathBuf,
}

/// A cluster's nodes, and its ports while the value lives.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) nodes: Vec<Node>,
    _ports: Vec<Port>,
}

impl Layout {
    /// Plans a cluster below `directory`, which exists and is empty, and writes its files.
    pub(crate) fn new(
        nodes: Nodes,
        properties: &[(&str, &str)],
        directory: &Path,
        cache: &Path,
        install: &Install,
    ) -> Result<Self, ServiceError> {
        let ports = Port::reserve(2 * nodes.count(), cache)?;
        let pairs = (1_u32..).zip(ports.chunks_exact(2));
        let nodes = pairs.filter_map(|(id, pair)| {
            let [port, controller] = pair else { return None };
            let directory = directory.join(format!("node-{id}"));
            Some(Node { id, port: port.number, controller_port: controller.number, directory })
        });
        let layout = Self { nodes: nodes.collect(), _ports: ports };
        let cluster_id = random_id();
        for node in &layout.nodes {
            node.write_files(&cluster_id, &layout.properties(node, properties), install)?;
        }
        Ok(layout)
    }

    /// Where a client begins, as `127.0.0.1:20000,127.0.0.1:20001`.
    pub(crate) fn bootstrap(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        addresses.join(",")
    }

    /// All that tells one broker from another, then what the caller wants different: the last word counts.
    fn properties(&self, node: &Node, others: &[(&str, &str)]) -> String {
        let replicas = self.nodes.len();
        let in_sync = if replicas > 1 { replicas - 1 } else { 1 };
        let voter = |node: &Node| format!("{}@127.0.0.1:{}", node.id, node.controller_port);
        let voters: Vec<_> = self.nodes.iter().map(voter).collect();
        let Node { id, port, controller_port, .. } = node;
        let own = [
            ("node.id", id.to_string()),
            ("listeners", format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}")),
            ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
            ("controller.quorum.voters", voters.join(",")),
            ("log.dirs", node.storage().display().to_string()),
            ("default.replication.factor", replicas.to_string()),
            ("min.insync.replicas", in_sync.to_string()),
            ("offsets.topic.replication.factor", replicas.to_string()),
            ("transaction.state.log.replication.factor", replicas.to_string()),
            ("transaction.state.log.min.isr", in_sync.to_string()),
            ("share.coordinator.state.topic.replication.factor", replicas.to_string()),
            ("share.coordinator.state.topic.min.isr", in_sync.to_string()),
        ];
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        let lines = own.chain(others.iter().copied());
        lines.fold(COMMON.to_owned(), |mut text, (name, value)| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name}={value}");
            text
        })
    }
}

impl Node {
    /// Where all its output goes.
    pub(crate) fn log(&self) -> PathBuf {
        log_in(&self.directory)
    }

    /// The broker, to be started.
    pub(crate) fn server(&self, install: &Install, compiler: Compiler, more: &[&str]) -> Server {
        let logging = format!("-Dlog4j2.configurationFile={}", self.logging().display());
        let mut virtual_machine =
            vec!["-Xms128m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", logging.as_str()];
        if compiler == Compiler::Quick {
            virtual_machine.push("-XX:TieredStopAtLevel=1");
        }
        virtual_machine.extend(more);
        let mut command = install.main_class("kafka.Kafka", &virtual_machine);
        command.arg(self.settings());
        Server { command, log: self.log(), account: Account::Own }
    }

    /// What a tool is given so that its logging does not get between its results.
    pub(crate) fn tool_logging(&self) -> [String; 2] {
        [
            format!("-Dlog4j2.configurationFile={}", self.logging().display()),
            "-Dannals.log.level=WARN".to_owned(),
        ]
    }

    fn storage(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn settings(&self) -> PathBuf {
        self.directory.join("server.properties")
    }

    fn logging(&self) -> PathBuf {
        self.directory.join("log4j2.properties")
    }

    fn write_files(&self, cluster: &str, properties: &str, install: &Install) -> Result<(), ServiceError> {
        let write = |path: PathBuf, text: &str| fs::write(&path, text).map_err(ServiceError::io(&path));
        let storage = self.storage();
        fs::create_dir_all(&storage).map_err(ServiceError::io(&storage))?;
        write(self.settings(), properties)?;
        write(self.logging(), LOGGING)?;
        let (id, directory) = (self.id, random_id());
        let meta = format!("version=1\nnode.id={id}\ncluster.id={cluster}\ndirectory.id={directory}\n");
        write(storage.join("meta.properties"), &meta)?;
        let checkpoint = install.bootstrap_checkpoint();
        let copied = fs::copy(&checkpoint, storage.join("bootstrap.checkpoint"));
        copied.map(drop).map_err(ServiceError::io(&checkpoint))
    }
}

/// Where all output of the node goes whose folder this is.
pub(crate) fn log_in(directory: &Path) -> PathBuf {
    directory.join("broker.log")
}

/// A new id as Kafka writes them: 16 random bytes in 22 characters of the URL's base 64.
pub(crate) fn random_id() -> String {
    encode(uuid::Uuid::new_v4().as_u128())
}

fn encode(id: u128) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // 128 bits are 21 digits of 6 bits, and 2 bits at the upper end of one more.
    let digits = (0..21).map(|place| id >> (122 - 6 * place)).chain([id << 4]);
    let digits = digits.map(|bits| usize::try_from(bits & 63).ok().and_then(|digit| DIGITS.get(digit)));
    let text: String = digits.flatten().map(|digit| char::from(*digit)).collect();
    // Tools take a leading hyphen for an option.
    if text.starts_with('-') { text.replacen('-', "A", 1) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_kafka_does() {
        assert_eq!(encode(0), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(encode(u128::MAX), "_____________________w");
        assert_eq!(encode(u128::from_be_bytes(*b"2NxAR5p052D436Bk")), "Mk54QVI1cDA1MkQ0MzZCaw");
        assert_eq!(encode(62 << 122), "AAAAAAAAAAAAAAAAAAAAAA");
    }
}
