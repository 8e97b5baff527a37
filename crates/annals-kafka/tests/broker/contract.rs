//! The contract suite of the log port, on a real broker.

use annals_kafka::{KafkaLog, Settings};
use annals_log::Log;
use annals_log::contract::{TestLog, check};
use annals_services::{Kafka, shared_kafka};
use tempfile::TempDir;

use crate::support::{open, prefix, settings};

struct OnKafka {
    _directory: TempDir,
    settings: Settings,
    log: Option<KafkaLog>,
}

impl OnKafka {
    fn new(kafka: &Kafka, shards: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(kafka, &prefix(), &directory.path().join("replica"));
        let log = open(settings.clone(), Some(shards)).unwrap();
        Self { _directory: directory, settings, log: Some(log) }
    }
}

impl TestLog for OnKafka {
    fn log(&self) -> &dyn Log {
        self.log.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        drop(self.log.take());
        self.log = Some(open(self.settings.clone(), None).unwrap());
    }

    fn crash(&mut self) {
        self.log.take().unwrap().abandon();
        self.log = Some(open(self.settings.clone(), None).unwrap());
    }

    fn eager(&self) -> bool {
        true
    }
}

#[test]
fn one_shard() {
    let Some(kafka) = shared_kafka("contract::one_shard") else { return };
    check(1, &|shards| Box::new(OnKafka::new(kafka, shards)));
}

#[test]
fn eight_shards() {
    let Some(kafka) = shared_kafka("contract::eight_shards") else { return };
    check(8, &|shards| Box::new(OnKafka::new(kafka, shards)));
}
