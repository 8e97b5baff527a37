//! Reading the journal: one consumer for all shards that are followed, and the two threads that use it.
//!
//! One thread takes what was read and gives it to the shards. The other asks the brokers now and then where each partition
//! begins and ends: so an owner that is idle learns of a newer claim, and a journal that was cut is noticed.
//!
//! No consumer group: which partitions are read, and from where, is decided here. Nothing is ever skipped: an
//! offset that is not there is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use annals_core::Offset;
use parking_lot::{Condvar, Mutex};
use rdkafka::config::{ClientConfig, FromClientConfig as _};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset as At, TopicPartitionList};

use crate::following::Fetched;
use crate::native::{Found, TopicId, consume, topic_id};
use crate::shard::{Batch, Shard};
use crate::wire;

/// How long a poll waits before it looks whether to stop.
const POLL: Duration = Duration::from_millis(100);
/// The most that is gathered before it is given to the shards.
const BATCH_RECORDS: usize = 2_000;
const BATCH_BYTES: usize = 4 << 20;
/// How often the brokers are asked for the end of a partition, and how long for.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);
const WATCH_TIMEOUT: Duration = Duration::from_secs(2);

/// The consumer.
pub(crate) struct Feed {
    consumer: BaseConsumer,
    topic: Arc<str>,
    topic_id: Mutex<Option<TopicId>>,
    assigned: Mutex<BTreeSet<i32>>,
    stopping: Mutex<bool>,
    stopped: Condvar,
}

impl Feed {
    /// A consumer of the topic with this id, where it is known.
    pub(crate) fn new(
        config: &ClientConfig,
        topic: Arc<str>,
        topic_id: Option<TopicId>,
    ) -> Result<Self, KafkaError> {
        let consumer = BaseConsumer::from_config(config)?;
        let (topic_id, assigned) = (Mutex::new(topic_id), Mutex::default());
        let (stopping, stopped) = (Mutex::default(), Condvar::new());
        Ok(Self { consumer, topic, topic_id, assigned, stopping, stopped })
    }

    /// Reads `partition` from `from` on.
    pub(crate) fn follow(&self, partition: i32, from: Offset) {
        let mut assigned = self.assigned.lock();
        if !assigned.insert(partition) {
            self.unassign(partition);
        }
        let mut list = TopicPartitionList::with_capacity(1);
        let at = At::Offset(i64::try_from(from.0).unwrap_or(i64::MAX));
        let added = list.add_partition_offset(&self.topic, partition, at);
        if let Err(error) = added.and_then(|()| self.consumer.incremental_assign(&list)) {
            tracing::warn!(partition, %error, "the partition cannot be read now");
        }
    }

    /// Reads `partition` no more.
    pub(crate) fn unfollow(&self, partition: i32) {
        if self.assigned.lock().remove(&partition) {
            self.unassign(partition);
        }
    }

    /// Where the partition begins and ends.
    pub(crate) fn ends(&self, partition: i32, timeout: Duration) -> Result<(Offset, Offset), KafkaError> {
        let (low, high) = self.consumer.fetch_watermarks(&self.topic, partition, timeout)?;
        let offset = |at: i64| Offset(u64::try_from(at).unwrap_or_default());
        Ok((offset(low), offset(high)))
    }

    /// Ends both threads.
    pub(crate) fn stop(&self) {
        *self.stopping.lock() = true;
        self.stopped.notify_all();
    }

    /// Gives shards what is read until it is stopped.
    pub(crate) fn run(&self, shards: &[Arc<Shard>]) {
        while !*self.stopping.lock() {
            for (partition, batch) in self.gather() {
                if let Some(shard) = shards.get(partition as usize) {
                    shard.fed(batch);
                }
            }
        }
    }

    /// Asks for the ends of all partitions until it is stopped.
    pub(crate) fn watch(&self, shards: &[Arc<Shard>], patience: Duration) {
        let mut stopping = self.stopping.lock();
        while !*stopping {
            parking_lot::MutexGuard::unlocked(&mut stopping, || {
                if self.is_another_topic() {
                    shards.iter().for_each(|shard| shard.stop("the topic was made anew"));
                }
                for shard in shards.iter().take_while(|_| !*self.stopping.lock()) {
                    // What is known is looked at before the question: an owner's shard grows meanwhile.
                    let known = shard.known();
                    match self.ends(shard.partition(), WATCH_TIMEOUT) {
                        Ok((low, high)) => shard.watched(known, low, high),
                        Err(error) => {
                            tracing::debug!(shard = %shard.id, %error, "no word of the partition's end");
                        }
                    }
                    // Brokers that are gone cost a while for each shard, which those who wait do not have.
                    shards.iter().for_each(|shard| shard.lose_patience(patience));
                }
            });
            if !*stopping {
                self.stopped.wait_for(&mut stopping, WATCH_INTERVAL);
            }
        }
    }

    /// Whether the topic is not the one that it was when it was looked at first.
    fn is_another_topic(&self) -> bool {
        let Some(found) = topic_id(&self.consumer, &self.topic, WATCH_TIMEOUT) else { return false };
        *self.topic_id.lock().get_or_insert(found) != found
    }

    /// What is there now, by partition; waits a while for the first record.
    fn gather(&self) -> BTreeMap<i32, Batch> {
        let mut gathered: BTreeMap<i32, Batch> = BTreeMap::new();
        let (mut records, mut bytes, mut wait) = (0, 0, POLL);
        while records < BATCH_RECORDS && bytes < BATCH_BYTES {
            let before = records;
            consume(&self.consumer, wait, wire::NAME, wire::arrived, |found| {
                records += 1;
                match found {
                    Found::Record { partition, offset, record: (header, envelope) } => {
                        bytes += envelope.len();
                        let fetched = Fetched { offset: place(offset), header, envelope };
                        gathered.entry(partition).or_default().take(fetched);
                    }
                    Found::End { partition, offset } => {
                        gathered.entry(partition).or_default().reach(place(offset));
                    }
                    Found::Error { partition, code } => {
                        tracing::debug!(partition, %code, "reading the journal");
                        gathered.entry(partition).or_default().fail(code.to_string());
                    }
                }
            });
            if records == before {
                break;
            }
            wait = Duration::ZERO;
        }
        gathered
    }

    fn unassign(&self, partition: i32) {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&self.topic, partition);
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            tracing::debug!(partition, %error, "the partition was not read");
        }
    }
}

fn place(offset: i64) -> Offset {
    Offset(u64::try_from(offset).unwrap_or_default())
}
