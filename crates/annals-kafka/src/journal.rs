//! The journal's topic: made, checked, and its genesis read.
//!
//! Invariant: all partitions begin with a genesis of the same log. Partition 0 decides which: of several nodes that
//! make a log at the same time, the first record at its offset 0 wins, and the others write that log's genesis
//! into the partitions that are still empty.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::envelope::{FORMAT, Genesis, Header, from_micros, to_micros};
use annals_core::{LogId, ShardId, Timestamp};
use annals_log::Identity;
use bytes::Bytes;
use futures_executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset as At, TopicPartitionList};

use crate::error::OpenError;
use crate::native::{Found, TopicId, consume, topic_id};
use crate::settings::{MESSAGE_BYTES_MAX, Settings};
use crate::wire;

/// The function from shard key to shard that logs are made with.
const HASH: &str = "murmur2";
/// How many replicas a topic gets where there are so many brokers.
const REPLICAS_WANTED: usize = 3;
const POLL: Duration = Duration::from_millis(50);

/// A journal that was looked at.
pub(crate) struct Journal {
    pub(crate) topic: Arc<str>,
    pub(crate) topic_id: Option<TopicId>,
    pub(crate) identity: Identity,
    /// The envelope of record 0 of each shard.
    pub(crate) genesis: Vec<Bytes>,
}

/// What a journal that is not there yet is made with.
pub(crate) struct Make {
    pub(crate) log_id: LogId,
    pub(crate) created_at: Timestamp,
}

/// Finds the journal of `context`, makes it where `make` says with what, and checks it.
pub(crate) fn open(
    settings: &Settings,
    context: &str,
    shards: Option<u32>,
    make: Option<Make>,
) -> Result<Journal, OpenError> {
    let look = Look::new(settings, context)?;
    let opened = look.open(shards, make);
    let Look { consumer, admin, .. } = look;
    // Each takes up to a tenth of a second to close, which nobody has to wait for.
    std::thread::spawn(move || drop((consumer, admin)));
    opened
}

/// What is needed to look at a journal.
struct Look<'a> {
    settings: &'a Settings,
    context: &'a str,
    topic: Arc<str>,
    consumer: BaseConsumer,
    admin: AdminClient<DefaultClientContext>,
    deadline: Instant,
}

impl<'a> Look<'a> {
    fn new(settings: &'a Settings, context: &'a str) -> Result<Self, OpenError> {
        let consumer = BaseConsumer::from_config(&settings.consumer()).map_err(client)?;
        let admin = AdminClient::from_config(&settings.client()).map_err(client)?;
        let topic = settings.journal(context).into();
        let deadline = Instant::now() + settings.open_timeout;
        Ok(Self { settings, context, topic, consumer, admin, deadline })
    }

    fn open(&self, shards: Option<u32>, make: Option<Make>) -> Result<Journal, OpenError> {
        let found = match self.partitions()? {
            Some(found) => found,
            None if make.is_some() => self.make_topic(shards.unwrap_or(1))?,
            None => {
                let (topic, brokers) = (self.topic.to_string(), self.settings.brokers.clone());
                return Err(OpenError::NoJournal { topic, brokers });
            }
        };
        if let Some(wanted) = shards.filter(|wanted| *wanted != found) {
            return Err(OpenError::OtherShards { topic: self.topic.to_string(), found, wanted });
        }
        self.check_settings()?;
        // Before its genesis: what is read then is this topic's, or it is noticed that the topic is another.
        let topic_id = topic_id(&self.consumer, &self.topic, self.left()?);
        self.read_genesis(topic_id, found, make)
    }

    /// How many partitions the topic has; `None` where there is no such topic.
    fn partitions(&self) -> Result<Option<u32>, OpenError> {
        loop {
            let metadata = self.consumer.fetch_metadata(Some(&self.topic), self.left()?);
            let metadata = metadata.map_err(|error| self.unreachable(&error))?;
            let Some(topic) = metadata.topics().first() else { return Ok(None) };
            let partitions = topic.partitions();
            match topic.error().map(RDKafkaErrorCode::from) {
                Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                    return Ok(None);
                }
                None if !partitions.is_empty() && partitions.iter().all(|one| one.leader() >= 0) => {
                    return Ok(Some(partitions.len() as u32));
                }
                // Just made, or a leader is being chosen.
                _ => std::thread::sleep(POLL),
            }
        }
    }

    fn make_topic(&self, shards: u32) -> Result<u32, OpenError> {
        let metadata = self.consumer.fetch_metadata(None, self.left()?);
        let brokers = metadata.map_err(|error| self.unreachable(&error))?.brokers().len();
        let replicas = brokers.clamp(1, REPLICAS_WANTED);
        let (bytes, in_sync) = (MESSAGE_BYTES_MAX.to_string(), replicas.saturating_sub(1).max(1).to_string());
        let topic = NewTopic::new(&self.topic, shards as i32, TopicReplication::Fixed(replicas as i32))
            .set("cleanup.policy", "delete")
            .set("retention.ms", "-1")
            .set("retention.bytes", "-1")
            .set("max.message.bytes", &bytes)
            // Foreign records may be packed with a codec that is not known here: the broker unpacks them.
            .set("compression.type", "uncompressed")
            .set("min.insync.replicas", &in_sync)
            .set("unclean.leader.election.enable", "false");
        let options = AdminOptions::new().operation_timeout(Some(self.left()?));
        let made =
            block_on(self.admin.create_topics([&topic], &options)).map_err(|error| self.not_made(&error))?;
        for result in made {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(self.not_made(&code)),
            }
        }
        tracing::info!(topic = %self.topic, shards, replicas, "the journal was made");
        loop {
            if let Some(found) = self.partitions()? {
                return Ok(found);
            }
            self.left()?;
            std::thread::sleep(POLL);
        }
    }

    /// Refuses a topic whose settings let a log lose data, and warns of what makes that more likely.
    fn check_settings(&self) -> Result<(), OpenError> {
        let options = AdminOptions::new().request_timeout(Some(self.left()?));
        let asked = [ResourceSpecifier::Topic(&self.topic)];
        let told = block_on(self.admin.describe_configs(&asked, &options))
            .map_err(|error| self.unreachable(&error))?;
        let Some(Ok(found)) = told.into_iter().next() else {
            tracing::warn!(topic = %self.topic, "the topic's settings cannot be read, so they were not checked");
            return Ok(());
        };
        let value = |name| value(&found, name);
        let cleanup = value("cleanup.policy");
        if cleanup.contains("compact") {
            return Err(self.unsafe_setting("cleanup.policy", &cleanup, "delete"));
        }
        // Without a policy everything is kept.
        for (name, wanted) in [("retention.ms", "-1"), ("retention.bytes", "-1")] {
            if cleanup.contains("delete") && value(name) != wanted {
                return Err(self.unsafe_setting(name, &value(name), wanted));
            }
        }
        if value("unclean.leader.election.enable") == "true" {
            return Err(self.unsafe_setting("unclean.leader.election.enable", "true", "false"));
        }
        let bytes = value("max.message.bytes");
        if bytes.parse().is_ok_and(|found: usize| found < MESSAGE_BYTES_MAX) {
            return Err(self.unsafe_setting("max.message.bytes", &bytes, &MESSAGE_BYTES_MAX.to_string()));
        }
        if value("compression.type") != "uncompressed" {
            tracing::warn!(topic = %self.topic,
                "compression.type is not uncompressed: a foreign record packed with gzip or zstd would stop the shard");
        }
        if value("min.insync.replicas") == "1" {
            tracing::warn!(topic = %self.topic,
                "min.insync.replicas=1: an acknowledged record may be on one broker only, and is lost with it");
        }
        Ok(())
    }

    fn read_genesis(
        &self,
        topic_id: Option<TopicId>,
        shards: u32,
        make: Option<Make>,
    ) -> Result<Journal, OpenError> {
        let all: Vec<_> = (0..shards).map(ShardId).collect();
        let mut genesis = self.first_records(&all)?;
        let wish = make.map(|Make { log_id, created_at }| Identity {
            log_id,
            context: self.context.to_owned(),
            shards,
            created_at,
        });
        let decides = [ShardId(0)];
        self.write_missing(&mut genesis, &decides, wish.as_ref())?;
        let identity = self.identity(&genesis, ShardId(0), shards)?;
        self.write_missing(&mut genesis, &all, wish.as_ref().map(|_| &identity))?;
        for shard in all {
            let found = self.identity(&genesis, shard, shards)?;
            if found != identity {
                let reason =
                    format!("it belongs to log {}, partition 0 to log {}", found.log_id, identity.log_id);
                return Err(self.not_a_journal(shard, reason));
            }
        }
        let genesis = genesis.into_values().collect();
        Ok(Journal { topic: Arc::clone(&self.topic), topic_id, identity, genesis })
    }

    /// The envelopes of record 0 of those of these shards that have one.
    fn first_records(&self, shards: &[ShardId]) -> Result<BTreeMap<ShardId, Bytes>, OpenError> {
        let mut list = TopicPartitionList::new();
        for shard in shards {
            if !self.is_empty(*shard)? {
                let partition = shard.0 as i32;
                list.add_partition_offset(&self.topic, partition, At::Offset(0)).map_err(client)?;
            }
        }
        if list.count() == 0 {
            return Ok(BTreeMap::new());
        }
        let mut found = BTreeMap::new();
        self.consumer.assign(&list).map_err(client)?;
        let mut trouble = None;
        while found.len() < list.count() {
            let wait = self.left_because(trouble.as_deref())?.min(POLL);
            consume(&self.consumer, wait, wire::NAME, wire::arrived, |arrived| match arrived {
                Found::Record { partition, offset: 0, record } => {
                    found.insert(ShardId(partition as u32), record);
                }
                Found::Record { .. } | Found::End { .. } => {}
                Found::Error { code, .. } => trouble = Some(code.to_string()),
            });
        }
        self.consumer.unassign().map_err(client)?;
        found.into_iter().map(|(shard, record)| Ok((shard, self.genesis_in(shard, record)?))).collect()
    }

    fn genesis_in(&self, shard: ShardId, (header, envelope): (Header, Bytes)) -> Result<Bytes, OpenError> {
        match header {
            Header::Genesis => Ok(envelope),
            _ => Err(self.not_a_journal(shard, "record 0 is not a genesis".to_owned())),
        }
    }

    fn is_empty(&self, shard: ShardId) -> Result<bool, OpenError> {
        let (low, high) = loop {
            match self.consumer.fetch_watermarks(&self.topic, shard.0 as i32, self.left()?) {
                Ok(ends) => break ends,
                // Not every broker knows a topic that was just made.
                Err(error) => {
                    std::thread::sleep(self.left_because(Some(&error.to_string()))?.min(POLL));
                }
            }
        };
        if low > 0 {
            let reason = format!("it begins at offset {low}: what was before was deleted");
            return Err(self.not_a_journal(shard, reason));
        }
        Ok(high == 0)
    }

    /// Writes a genesis into those of these shards that have none, and reads the ones that are there then: where
    /// another node does the same, the first one counts.
    fn write_missing(
        &self,
        genesis: &mut BTreeMap<ShardId, Bytes>,
        shards: &[ShardId],
        identity: Option<&Identity>,
    ) -> Result<(), OpenError> {
        let missing: Vec<_> = shards.iter().filter(|shard| !genesis.contains_key(shard)).copied().collect();
        let Some(first) = missing.first() else { return Ok(()) };
        let Some(identity) = identity else {
            return Err(OpenError::Unfinished { topic: self.topic.to_string(), shard: *first });
        };
        // Twice does no harm, and a producer that guards against it takes half a second to get ready.
        let mut config = self.settings.producer();
        config.set("enable.idempotence", "false");
        let producer: BaseProducer = BaseProducer::from_config(&config).map_err(client)?;
        for shard in &missing {
            let envelope = genesis_of(identity, *shard).to_bytes();
            let record = BaseRecord::<'_, [u8], [u8]>::to(&self.topic)
                .partition(shard.0 as i32)
                .payload(&envelope)
                .headers(wire::headers(Header::Genesis));
            producer.send(record).map_err(|(error, _)| self.unreachable(&error))?;
        }
        producer.flush(self.left()?).map_err(|error| self.unreachable(&error))?;
        loop {
            genesis.extend(self.first_records(&missing)?);
            if missing.iter().all(|shard| genesis.contains_key(shard)) {
                return Ok(());
            }
            std::thread::sleep(self.left_because(Some("the genesis is not there"))?.min(POLL));
        }
    }

    fn identity(
        &self,
        genesis: &BTreeMap<ShardId, Bytes>,
        shard: ShardId,
        shards: u32,
    ) -> Result<Identity, OpenError> {
        let genesis = Genesis::from_bytes(genesis.get(&shard).cloned().unwrap_or_default())
            .map_err(|error| self.not_a_journal(shard, format!("its genesis cannot be read: {error}")))?;
        if genesis.context != self.context {
            let (topic, wanted) = (self.topic.to_string(), self.context.to_owned());
            return Err(OpenError::OtherContext { topic, found: genesis.context, wanted });
        }
        if (genesis.shard, genesis.shards, genesis.hash.as_str()) != (shard.0, shards, HASH) {
            let reason = format!(
                "its genesis is that of shard {} of {} by {}, the topic has {shards} partitions",
                genesis.shard, genesis.shards, genesis.hash
            );
            return Err(self.not_a_journal(shard, reason));
        }
        let Some(log_id) = genesis.log_id() else {
            return Err(self.not_a_journal(shard, "its genesis holds no log id".to_owned()));
        };
        let created_at = from_micros(genesis.created_at_us);
        Ok(Identity { log_id, context: genesis.context, shards, created_at })
    }

    /// What is left of the time to open the log.
    fn left(&self) -> Result<Duration, OpenError> {
        self.left_because(None)
    }

    /// The same; what was heard last says why it is over.
    fn left_because(&self, heard: Option<&str>) -> Result<Duration, OpenError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Ok(left);
        }
        let said = heard.map(|heard| format!(": {heard}")).unwrap_or_default();
        Err(self.unreachable(&format!("no answer within {:?}{said}", self.settings.open_timeout)))
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> OpenError {
        OpenError::Unreachable { brokers: self.settings.brokers.clone(), reason: error.to_string() }
    }

    fn not_made(&self, error: &dyn std::fmt::Display) -> OpenError {
        OpenError::NotMade { topic: self.topic.to_string(), reason: error.to_string() }
    }

    fn not_a_journal(&self, shard: ShardId, reason: String) -> OpenError {
        OpenError::NotAJournal { topic: self.topic.to_string(), shard, reason }
    }

    fn unsafe_setting(&self, setting: &'static str, found: &str, wanted: &str) -> OpenError {
        let (topic, found, wanted) = (self.topic.to_string(), found.to_owned(), wanted.to_owned());
        OpenError::Unsafe { topic, setting, found, wanted }
    }
}

fn genesis_of(identity: &Identity, shard: ShardId) -> Genesis {
    Genesis {
        format: FORMAT,
        log_id: Bytes::copy_from_slice(identity.log_id.0.as_bytes()),
        context: identity.context.clone(),
        shards: identity.shards,
        shard: shard.0,
        hash: HASH.to_owned(),
        created_at_us: to_micros(identity.created_at),
    }
}

fn value(found: &ConfigResource, name: &str) -> String {
    found.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default()
}

fn client(error: KafkaError) -> OpenError {
    OpenError::Client(error.to_string())
}
