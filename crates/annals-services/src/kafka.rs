//! A Kafka cluster of one's own: real brokers on this machine, to be used and to be ill-treated.
//!
//! Owns the processes and their data. Invariant: what it started ends with the value, and with the process however
//! that ends (where there is `setpriv`; elsewhere the next cluster that is started cleans up).

mod layout;
mod probe;
mod ready;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::Signal;

pub(crate) use crate::kafka::layout::{Compiler, Layout, Node, random_id};
pub(crate) use crate::kafka::ready::{Expected, wait_ready};

use crate::cache;
use crate::error::ServiceError;
use crate::install::{Install, run_tool};
use crate::process::{pause, signal};
use crate::scratch::{Scratch, note_process};

/// How long a start may take on a machine that has other work; alone it takes two or three seconds.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(120);
/// How long an orderly stop may take. It asks the controller, which may be gone.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How many brokers a cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nodes {
    /// One broker; every topic has one replica.
    One,
    /// Three brokers: internal topics have three replicas, two of which must be in sync.
    Three,
}

impl Nodes {
    /// The number.
    pub fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Three => 3,
        }
    }
}

/// The number, and what it counts.
impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "1 node",
            Self::Three => "3 nodes",
        })
    }
}

/// A running cluster. Dropping it kills its brokers and removes their data, unless `ANNALS_KEEP=1`.
#[derive(Debug)]
pub struct Kafka {
    install: Install,
    layout: Layout,
    bootstrap: String,
    url: String,
    /// By node, in the layout's order.
    processes: Vec<Mutex<Process>>,
    scratch: Scratch,
}

#[derive(Debug)]
enum Process {
    /// Never started, stopped or killed.
    Down,
    Running(Child),
    Paused(Child),
}

impl Process {
    fn child(&mut self) -> Option<&mut Child> {
        match self {
            Self::Down => None,
            Self::Running(child) | Self::Paused(child) => Some(child),
        }
    }

    /// How it ended by itself; nothing while it runs or when it was ended on purpose.
    fn exited(&mut self) -> Option<ExitStatus> {
        self.child()?.try_wait().ok().flatten()
    }

    /// The child while it runs: once its end was noticed, its id may be another's, who must get no signal.
    fn running(&mut self) -> Option<&mut Child> {
        if self.exited().is_some() { None } else { self.child() }
    }

    fn kill(&mut self) {
        if let Some(child) = self.child() {
            // Fails only for a child that was waited for, which has ended.
            let _ = child.kill().and_then(|()| child.wait());
        }
        *self = Self::Down;
    }
}

impl Kafka {
    /// Starts a cluster on free ports of 127.0.0.1 and waits until it is ready.
    ///
    /// The first start on a machine fetches Kafka, which is said on stderr.
    pub fn start(nodes: Nodes) -> Result<Self, ServiceError> {
        Self::start_with(nodes, &[])
    }

    /// As [`Kafka::start`], with broker properties of one's own, such as `("broker.session.timeout.ms", "3000")`.
    pub fn start_with(nodes: Nodes, properties: &[(&str, &str)]) -> Result<Self, ServiceError> {
        let install = Install::get()?;
        let scratch = Scratch::new()?;
        let layout = Layout::new(nodes, properties, scratch.path(), &cache::directory()?, &install)?;
        let processes = layout.nodes.iter().map(|_| Mutex::new(Process::Down)).collect();
        let bootstrap = layout.bootstrap();
        let url = format!("kafka://{bootstrap}");
        let kafka = Self { install, layout, bootstrap, url, processes, scratch };
        for node in kafka.nodes() {
            kafka.start_node(node)?;
        }
        kafka.wait_ready(START_LIMIT)?;
        Ok(kafka)
    }

    /// Where a client begins: `127.0.0.1:20000,127.0.0.1:20001,..`, all brokers.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The same as a log's address: `kafka://127.0.0.1:20000,..`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The ids of its nodes, which count from 1.
    pub fn nodes(&self) -> impl Iterator<Item = u32> + use<> {
        (1..).take(self.layout.nodes.len())
    }

    /// The folder with each node's data, settings and log.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// The file that all output of a node goes to.
    pub fn log_file(&self, node: u32) -> Result<PathBuf, ServiceError> {
        Ok(self.node(node)?.0.log())
    }

    /// Starts a node that is down, on its own data and ports; leaves one that runs alone.
    ///
    /// It does not wait: see [`Kafka::wait_ready`].
    pub fn start_node(&self, node: u32) -> Result<(), ServiceError> {
        let (node, process) = self.node(node)?;
        let mut process = process.lock();
        if process.running().is_none() {
            let server = node.server(&self.install, Compiler::Quick, &[]);
            let child = server.spawn_bound().map_err(ServiceError::io(&node.log()))?;
            let noted = note_process(&node.directory, child.id());
            *process = Process::Running(child);
            noted?;
        }
        Ok(())
    }

    /// Ends a node at once, as `kill -9` or a power cut of its process does. Fine if it is down already.
    pub fn kill(&self, node: u32) -> Result<(), ServiceError> {
        self.node(node)?.1.lock().kill();
        Ok(())
    }

    /// Stops a node in an orderly way and waits for its end. Fine if it is down already.
    pub fn stop(&self, node: u32) -> Result<(), ServiceError> {
        self.resume_if_paused(node)?;
        let (node, process) = self.node(node)?;
        let mut process = process.lock();
        let Some(child) = process.running() else { return Ok(()) };
        signal(child, Signal::TERM).map_err(ServiceError::io(&node.log()))?;
        let until = Instant::now() + STOP_LIMIT;
        while child.try_wait().map_err(ServiceError::io(&node.log()))?.is_none() {
            if Instant::now() > until {
                return Err(ServiceError::NotStopped { node: node.id, waited: STOP_LIMIT, log: node.log() });
            }
            thread::sleep(Duration::from_millis(20));
        }
        *process = Process::Down;
        Ok(())
    }

    /// Freezes a node: its connections stay, it takes new ones, and it answers nothing from then on.
    pub fn pause(&self, node: u32) -> Result<(), ServiceError> {
        self.change(node, pause, Process::Paused)
    }

    /// Lets a paused node go on. Fine if it was not paused.
    pub fn resume(&self, node: u32) -> Result<(), ServiceError> {
        self.change(node, |child| signal(child, Signal::CONT), Process::Running)
    }

    /// Waits until every node that runs answers and knows all others that run; paused nodes are left out.
    pub fn wait_ready(&self, timeout: Duration) -> Result<(), ServiceError> {
        let pairs = self.layout.nodes.iter().zip(&self.processes);
        let runs = pairs.filter(|(_, process)| matches!(*process.lock(), Process::Running(_)));
        let expected: Vec<_> = runs.map(|(node, _)| Expected::of(node)).collect();
        wait_ready(&expected, timeout, |node| self.node(node).ok()?.1.lock().exited())
    }

    /// Runs one of Kafka's tools to its end and returns what it prints.
    ///
    /// `class` is a main class, such as `org.apache.kafka.tools.TopicCommand`; the tool is told nothing but
    /// `arguments`, so give it `--bootstrap-server` and [`Kafka::bootstrap`] if it asks a broker.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> Result<String, ServiceError> {
        let (node, _) = self.node(1)?;
        let [logging, level] = node.tool_logging();
        let virtual_machine = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", &logging, &level];
        run_tool(class, self.install.main_class(class, &virtual_machine).args(arguments))
    }

    fn change(
        &self,
        node: u32,
        change: impl FnOnce(&Child) -> io::Result<()>,
        then: fn(Child) -> Process,
    ) -> Result<(), ServiceError> {
        let (node, process) = self.node(node)?;
        let mut process = process.lock();
        let child = process.running().ok_or(ServiceError::NotRunning { node: node.id })?;
        change(child).map_err(ServiceError::io(&node.log()))?;
        *process = match std::mem::replace(&mut *process, Process::Down) {
            Process::Down => Process::Down,
            Process::Running(child) | Process::Paused(child) => then(child),
        };
        Ok(())
    }

    fn resume_if_paused(&self, node: u32) -> Result<(), ServiceError> {
        let is_paused = matches!(*self.node(node)?.1.lock(), Process::Paused(_));
        if is_paused { self.resume(node) } else { Ok(()) }
    }

    fn node(&self, id: u32) -> Result<(&Node, &Mutex<Process>), ServiceError> {
        let mut pairs = self.layout.nodes.iter().zip(&self.processes);
        let nodes = u32::try_from(self.processes.len()).unwrap_or(u32::MAX);
        pairs.find(|(node, _)| node.id == id).ok_or(ServiceError::NoSuchNode { node: id, nodes })
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        for process in &self.processes {
            process.lock().kill();
        }
    }
}
