//! The engine on the memory log: a manual clock, seeded keys, and a log that fails where a test says so.
//!
//! Every test ends with [`World::check`]: what lies in the log holds together, whatever was done to it.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod bounds;
mod commands;
mod contend;
mod durability;
mod history;
mod later;
mod model;
mod panics;
mod read_only;
mod resume;
mod sagas;
mod speed;
mod threads;
mod timers;
mod wrapped;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use annals_core::context::{AnyCommand, Context};
use annals_core::envelope::{Header, Progress, Record, from_micros};
use annals_core::{LogId, Offset, ShardId, StreamName};
use annals_engine::{Engine, Environment, ExecuteError, ManualClock, Receipt, Request, Settings};
use annals_log::{Fault, FaultPlan, Identity, Log, MemoryLog};

use model::{Account, Command, Run};

/// A log, a clock, and the engines that come and go on them.
struct World {
    log: MemoryLog,
    clock: Arc<ManualClock>,
    settings: Settings,
    lives: std::cell::Cell<u64>,
}

impl World {
    fn new() -> Self {
        Self::with_shards(1)
    }

    fn with_shards(shards: u32) -> Self {
        let log_id = LogId(uuid::Uuid::from_u128(1));
        let identity = Identity { log_id, context: "test".into(), shards, created_at: from_micros(0) };
        Self {
            log: MemoryLog::new(identity),
            clock: Arc::new(ManualClock::new(from_micros(1_000_000))),
            settings: Settings::default(),
            lives: std::cell::Cell::new(0),
        }
    }

    fn open(&self) -> Engine {
        self.lives.set(self.lives.get() + 1);
        let environment = Environment::seeded(Arc::clone(&self.clock) as _, self.lives.get());
        Engine::open(context(), Arc::new(self.log.clone()), environment, self.settings.clone()).unwrap()
    }

    /// The process dies, and another takes over.
    fn reopen(&self) -> Engine {
        self.log.crash();
        self.open()
    }

    fn advance_ms(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }

    /// From now on every call that `fault` can strike is struck.
    fn fail(&self, fault: Fault) {
        self.log.set_faults(FaultPlan::seeded(7).with(fault, 1.0));
    }

    fn heal(&self) {
        self.log.set_faults(FaultPlan::none());
    }

    /// The accepted records of all shards, in order.
    fn records(&self) -> Vec<Record> {
        let bodies = self.accepted().into_iter();
        let records = bodies.filter(|(header, _)| matches!(header, Header::Record { .. }));
        records.map(|(_, body)| Record::from_bytes(body).unwrap()).collect()
    }

    fn progress(&self) -> Vec<Progress> {
        let bodies = self.accepted().into_iter();
        let notes = bodies.filter(|(header, _)| matches!(header, Header::Progress { .. }));
        notes.map(|(_, body)| Progress::from_bytes(body).unwrap()).collect()
    }

    fn accepted(&self) -> Vec<(Header, bytes::Bytes)> {
        let shards = (0..self.log.identity().shards).map(ShardId);
        let read = |shard| self.log.read(shard, Offset(0), usize::MAX).unwrap().records;
        shards.flat_map(read).map(|raw| (raw.header, raw.envelope)).collect()
    }

    /// The accepted records of one stream.
    fn records_of(&self, stream: &str) -> Vec<Record> {
        let of = |record: &Record| record.slices.iter().any(|slice| slice.stream == stream);
        self.records().into_iter().filter(of).collect()
    }

    /// What lies in the log holds together: versions follow each other, a key has one record in its stream, and
    /// `recorded_at` never goes back in a shard.
    fn check(&self) {
        self.heal();
        let mut versions: BTreeMap<String, u64> = BTreeMap::new();
        let mut keys = BTreeSet::new();
        for shard in (0..self.log.identity().shards).map(ShardId) {
            let mut recorded_at_us = i64::MIN;
            for raw in self.log.read(shard, Offset(0), usize::MAX).unwrap().records {
                let Header::Record { .. } = raw.header else { continue };
                let record = Record::from_bytes(raw.envelope).unwrap();
                let slice = record.slices.first().unwrap();
                let version = versions.entry(slice.stream.clone()).or_default();
                assert_eq!(*version, slice.expected_version, "{} at offset {}", slice.stream, raw.offset);
                *version = slice.next_version();
                let key = record.command.clone().unwrap().key;
                assert!(keys.insert((slice.stream.clone(), key.clone())), "{}: {key} twice", slice.stream);
                assert!(record.recorded_at_us >= recorded_at_us, "the time went back at {}", raw.offset);
                recorded_at_us = record.recorded_at_us;
            }
        }
    }
}

fn context() -> Context {
    annals_core::context("test").decider::<Account>().saga::<Run>()
}

fn stream(name: &str) -> StreamName {
    if name.contains('/') { name.parse().unwrap() } else { format!("account/{name}").parse().unwrap() }
}

fn request(name: &str, command: Command) -> Request {
    Request::new(stream(name), AnyCommand::new::<Account>(command).unwrap())
}

fn keyed(name: &str, command: Command, key: &str) -> Request {
    Request { key: Some(key.to_owned()), ..request(name, command) }
}

fn send(engine: &Engine, name: &str, command: Command) -> Result<Receipt, ExecuteError> {
    engine.execute(&request(name, command))
}

fn add(by: u64) -> Command {
    Command::Add { by }
}

fn take(by: u64) -> Command {
    Command::Take { by }
}

/// The (version, total) of an account now.
fn total(engine: &Engine, name: &str) -> (u64, u64) {
    let (version, account) = engine.state_of::<Account>(&stream(name), annals_engine::At::Now).unwrap();
    (version, account.total)
}

/// What an answer was, in a word, for tables of expectations.
fn word(answer: &Result<Receipt, ExecuteError>) -> String {
    match answer {
        Ok(receipt) if receipt.repeated => format!("again v{}+{}", receipt.version, receipt.events),
        Ok(receipt) => format!("v{}+{}", receipt.version, receipt.events),
        Err(ExecuteError::Refused { refused, .. }) => format!("refused {}", refused.name),
        Err(ExecuteError::Conflict { expected, actual }) => format!("conflict {expected} {actual}"),
        Err(ExecuteError::KeyReused { .. }) => "key reused".to_owned(),
        Err(ExecuteError::TooLarge { .. }) => "too large".to_owned(),
        Err(ExecuteError::Overloaded { .. }) => "overloaded".to_owned(),
        Err(ExecuteError::Unavailable { .. }) => "unavailable".to_owned(),
        Err(ExecuteError::OutcomeUnknown { .. }) => "unknown".to_owned(),
        Err(ExecuteError::Panicked { message }) => format!("panicked: {message}"),
        Err(ExecuteError::InvalidKey { .. }) => "invalid key".to_owned(),
        Err(error) => format!("error: {error}"),
    }
}

/// Lets the relays work until nothing is left to do.
fn settle(engine: &Engine) {
    assert_eq!(engine.settle(Duration::from_secs(10)), Ok(true), "{:?}", engine.status());
}
