//! What people and other programs do to a topic by hand.

use std::time::Duration;

use annals_services::Kafka;
use futures_executor::block_on;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

const WAIT: Duration = Duration::from_secs(20);

/// A record with its header, if any.
pub type Written<'a> = (Option<(&'a str, &'a [u8])>, &'a [u8]);

pub struct Hand {
    config: ClientConfig,
    admin: AdminClient<DefaultClientContext>,
}

impl Hand {
    pub fn at(kafka: &Kafka) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka.bootstrap()).set("message.max.bytes", "20000000");
        let admin = config.create().unwrap();
        Self { config, admin }
    }

    /// Makes a topic as a journal is made, but for `settings`.
    pub fn make(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1))
            .set("cleanup.policy", "delete")
            .set("retention.ms", "-1")
            .set("max.message.bytes", "9437184");
        for (name, value) in settings {
            new.config.retain(|(known, _)| known != name);
            new = new.set(name, value);
        }
        block_on(self.admin.create_topics([&new], &options())).unwrap().remove(0).unwrap();
    }

    pub fn delete(&self, topic: &str) {
        block_on(self.admin.delete_topics(&[topic], &options())).unwrap().remove(0).unwrap();
    }

    pub fn add_partitions(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        block_on(self.admin.create_partitions([&new], &options())).unwrap().remove(0).unwrap();
    }

    /// Deletes the records of partition 0 before `offset`.
    pub fn delete_before(&self, topic: &str, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, rdkafka::Offset::Offset(offset)).unwrap();
        block_on(self.admin.delete_records(&list, &options())).unwrap();
    }

    /// Writes a record with this header, if any, to partition 0.
    pub fn write(&self, topic: &str, header: Option<(&str, &[u8])>, value: &[u8]) {
        self.write_all(&self.producer(&[]), topic, 0, &[(header, value)]);
    }

    pub fn producer(&self, settings: &[(&str, &str)]) -> BaseProducer {
        let mut config = self.config.clone();
        settings.iter().for_each(|(name, value)| {
            config.set(*name, *value);
        });
        config.create().unwrap()
    }

    pub fn write_all(&self, producer: &BaseProducer, topic: &str, partition: i32, records: &[Written<'_>]) {
        for (header, value) in records {
            let mut record = BaseRecord::<'_, [u8], [u8]>::to(topic).partition(partition).payload(*value);
            if let Some((key, value)) = header {
                record = record.headers(OwnedHeaders::new().insert(Header { key, value: Some(*value) }));
            }
            producer.send(record).unwrap();
        }
        producer.flush(WAIT).unwrap();
    }

    /// Writes records in a transaction and commits or aborts it, which takes an offset of its own.
    pub fn transaction(&self, topic: &str, partition: i32, records: &[&[u8]], commit: bool) {
        let id = uuid::Uuid::new_v4().to_string();
        let producer = self.producer(&[("transactional.id", &id)]);
        producer.init_transactions(WAIT).unwrap();
        producer.begin_transaction().unwrap();
        let records: Vec<_> = records.iter().map(|value| (None, *value)).collect();
        self.write_all(&producer, topic, partition, &records);
        if commit {
            producer.commit_transaction(WAIT).unwrap()
        } else {
            producer.abort_transaction(WAIT).unwrap()
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(WAIT)).request_timeout(Some(WAIT))
}
