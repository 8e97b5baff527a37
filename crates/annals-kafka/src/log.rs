//! The log itself: opening it, and the port on top of the shards.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use annals_core::envelope::{Claim, ENVELOPE_BYTES_MAX, FORMAT, to_micros};
use annals_core::index::Term;
use annals_core::{Epoch, LogId, Offset, Seq, ShardId, Timestamp};
use annals_file::Replica;
use annals_log::{
    AppendError, Chunk, ClaimError, Claimant, Identity, Log, RawRecord, ReadError, RecordKind, Writer,
};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::error::OpenError;
use crate::feed::Feed;
use crate::journal::{self, Journal, Make};
use crate::producer::Producer;
use crate::reign::Reign;
use crate::settings::Settings;
use crate::shard::Shard;

/// How long appending waits for room in the client.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(1);
/// How often the filling of the replica is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const FILL_POLL: Duration = Duration::from_millis(5);
/// How long the replica may stand still while it is filled.
const FILL_PATIENCE: Duration = Duration::from_secs(30);

/// An event log in Kafka, with a replica of it on this machine.
pub struct KafkaLog {
    identity: Identity,
    settings: Settings,
    topic: Arc<str>,
    shards: Arc<Vec<Arc<Shard>>>,
    feed: Arc<Feed>,
    writable: bool,
    /// Producers that are ready, or getting ready, for the next claims.
    spares: Mutex<Vec<Arc<Producer>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    replica: Option<Replica>,
}

impl KafkaLog {
    /// Opens the log of `context` for reading and writing, or makes it, with the log id and time that `make` gives.
    /// `shards` is checked against an existing log; without it a new log has one.
    ///
    /// Returns when the replica holds what the journal held at the beginning.
    pub fn open_or_create(
        settings: Settings,
        context: &str,
        shards: Option<u32>,
        make: impl FnOnce() -> (LogId, Timestamp),
    ) -> Result<Self, OpenError> {
        let (log_id, created_at) = make();
        let journal = journal::open(&settings, context, shards, Some(Make { log_id, created_at }))?;
        Self::on(settings, journal, true)
    }

    /// Opens the log of `context` to read and follow it: nothing is written to Kafka.
    pub fn follow(settings: Settings, context: &str, shards: Option<u32>) -> Result<Self, OpenError> {
        let journal = journal::open(&settings, context, shards, None)?;
        Self::on(settings, journal, false)
    }

    /// The journal's topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Ends like a process that is killed: nothing is waited for, and the replica is not closed.
    #[doc(hidden)]
    pub fn abandon(mut self) {
        if let Some(replica) = self.replica.take() {
            replica.abandon();
        }
    }

    fn on(settings: Settings, journal: Journal, writable: bool) -> Result<Self, OpenError> {
        let Journal { topic, topic_id, identity, genesis } = journal;
        let replica = open_replica(&settings.replica, &identity, &genesis)?;
        let client = |error: rdkafka::error::KafkaError| OpenError::Client(error.to_string());
        let feed = Arc::new(Feed::new(&settings.consumer(), Arc::clone(&topic), topic_id).map_err(client)?);
        let timeout = settings.claim_timeout;
        let shard = |replica| Shard::new(replica, Arc::clone(&topic), Arc::clone(&feed), timeout);
        let shards: Vec<_> = replica.shards().iter().cloned().map(shard).collect();
        let log = Self {
            identity,
            topic,
            shards: Arc::new(shards),
            feed,
            writable,
            spares: Mutex::default(),
            threads: Mutex::default(),
            replica: Some(replica),
            settings,
        };
        if writable {
            // They get ready while the replica is filled.
            for _ in 0..=log.shards.len() {
                let spare = log.producer().map_err(|error| OpenError::Client(error.to_string()))?;
                log.spares.lock().push(spare);
            }
        }
        log.start()?;
        log.fill()?;
        Ok(log)
    }

    fn start(&self) -> Result<(), OpenError> {
        self.shards.iter().for_each(|shard| shard.follow());
        let (feed, shards) = (Arc::clone(&self.feed), Arc::clone(&self.shards));
        let run = spawn("annals-feed", move || feed.run(&shards))?;
        let (feed, shards) = (Arc::clone(&self.feed), Arc::clone(&self.shards));
        let patience = self.settings.message_timeout;
        let watch = spawn("annals-watch", move || feed.watch(&shards, patience))?;
        self.threads.lock().extend([run, watch]);
        Ok(())
    }

    /// Waits until the replica holds what the journal holds now.
    fn fill(&self) -> Result<(), OpenError> {
        let mut filling = Filling::default();
        for shard in self.shards.iter() {
            let ends = self.feed.ends(shard.partition(), self.settings.open_timeout);
            let (_, end) = ends.map_err(|error| self.unreachable(&error))?;
            filling.add(shard, end);
        }
        let mut reported = Instant::now();
        while let Some(reason) = filling.wait()? {
            if filling.stood_still() {
                return Err(self.unreachable(&reason));
            }
            if reported.elapsed() > REPORT_INTERVAL {
                reported = Instant::now();
                let (done, all) = filling.figures();
                tracing::info!(topic = %self.topic, done, all, "filling the local replica");
            }
        }
        Ok(())
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> OpenError {
        OpenError::Unreachable { brokers: self.settings.brokers.clone(), reason: reason.to_string() }
    }

    fn producer(&self) -> Result<Arc<Producer>, ClaimError> {
        let made = Producer::new(&self.settings.producer(), &self.topic);
        made.map(Arc::new).map_err(|error| ClaimError::Unavailable { reason: error.to_string() })
    }

    /// A producer that is ready, if there is one; another one begins to get ready in its place.
    fn fresh(&self) -> Result<Arc<Producer>, ClaimError> {
        let spare = {
            let mut spares = self.spares.lock();
            spares.retain(|spare| spare.is_usable());
            (!spares.is_empty()).then(|| spares.remove(0))
        };
        let made = self.producer()?;
        match spare {
            Some(spare) => {
                self.spares.lock().push(made);
                Ok(spare)
            }
            None => Ok(made),
        }
    }

    fn shard(&self, shard: ShardId) -> Result<&Arc<Shard>, ReadError> {
        let shards = self.identity.shards;
        self.shards.get(shard.0 as usize).ok_or(ReadError::NoShard { shard, shards })
    }

    /// A shard whose journal is still what it was.
    fn sound(&self, shard: ShardId) -> Result<&Arc<Shard>, ReadError> {
        let found = self.shard(shard)?;
        found.check()?;
        Ok(found)
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.feed.stop();
        // Nobody may wait for ever for what nobody takes in any more.
        self.shards.iter().for_each(|shard| shard.close());
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the Kafka log panicked");
            }
        }
        self.spares.lock().clear();
        drop(self.replica.take());
    }
}

impl Log for KafkaLog {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn claim(&self, shard: ShardId, claimant: &Claimant) -> Result<Arc<dyn Writer>, ClaimError> {
        let shard = self.shard(shard).map_err(ClaimError::Broken)?;
        if !self.writable {
            return Err(ClaimError::ReadOnly);
        }
        let claim = Claim {
            format: FORMAT,
            node: claimant.node.clone(),
            address: claimant.address.clone(),
            nonce: Bytes::copy_from_slice(&claimant.nonce),
            claimed_at_us: to_micros(claimant.claimed_at),
        };
        let reign = shard.claim(&claim.to_bytes(), &|| self.fresh())?;
        Ok(Arc::new(KafkaWriter(reign)))
    }

    fn end(&self, shard: ShardId) -> Offset {
        self.shard(shard).map(|shard| shard.replica.end()).unwrap_or_default()
    }

    fn read(&self, shard: ShardId, from: Offset, bytes_max: usize) -> Result<Chunk, ReadError> {
        self.sound(shard)?.replica.read(from, bytes_max)
    }

    fn get(&self, shard: ShardId, offset: Offset) -> Result<Option<RawRecord>, ReadError> {
        self.sound(shard)?.replica.get(offset)
    }

    fn find(&self, shard: ShardId, term: Term, from: Offset, limit: usize) -> Result<Vec<Offset>, ReadError> {
        self.sound(shard)?.replica.find(term, from, limit)
    }

    fn find_last(&self, shard: ShardId, term: Term) -> Result<Option<Offset>, ReadError> {
        self.sound(shard)?.replica.find_last(term)
    }

    fn wait(&self, shard: ShardId, beyond: Offset, timeout: Duration) -> Offset {
        self.shard(shard).map(|shard| shard.replica.wait(beyond, timeout)).unwrap_or_default()
    }
}

/// The writer of one claim.
struct KafkaWriter(Arc<Reign>);

impl Writer for KafkaWriter {
    fn epoch(&self) -> Epoch {
        self.0.epoch()
    }

    fn append(&self, kind: RecordKind, envelope: Bytes, mut terms: Vec<Term>) -> Result<Seq, AppendError> {
        let bytes = envelope.len();
        if bytes > ENVELOPE_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes, bytes_max: ENVELOPE_BYTES_MAX });
        }
        let began = Instant::now();
        loop {
            if let Some(seq) = self.0.append(kind, &envelope, &mut terms)? {
                return Ok(seq);
            }
            if began.elapsed() > ROOM_WAIT_MAX {
                return Err(AppendError::Full { reason: "too much waits for the Kafka brokers".to_owned() });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn commit(&self, seq: Seq) -> Result<Offset, AppendError> {
        self.0.commit(seq)
    }

    fn committed(&self) -> Seq {
        self.0.committed()
    }

    fn is_in_force(&self) -> bool {
        self.0.is_in_force()
    }
}

/// Opens the replica; what is damaged or was never whole is thrown away and made again.
fn open_replica(directory: &Path, identity: &Identity, genesis: &[Bytes]) -> Result<Replica, OpenError> {
    let settings = annals_file::Settings::default();
    match Replica::open(directory, settings.clone()) {
        Ok(replica) if replica.identity().log_id != identity.log_id => {
            let (found, wanted) = (replica.identity().log_id, identity.log_id);
            return Err(OpenError::OtherLog { directory: directory.to_owned(), found, wanted });
        }
        Ok(replica) => return Ok(replica),
        Err(annals_file::OpenError::NotALog { .. }) => {}
        Err(annals_file::OpenError::Damaged(damage)) => {
            tracing::warn!(%damage, "the local replica is damaged; it is thrown away and filled again");
        }
        Err(error) => return Err(error.into()),
    }
    Replica::discard(directory)?;
    Ok(Replica::create(directory, identity, genesis, settings)?)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map_err(|error| OpenError::Client(error.to_string()))
}

/// Shards on their way to an end.
struct Filling<'a> {
    shards: Vec<(&'a Arc<Shard>, Offset)>,
    done: u64,
    moved: Instant,
}

impl Default for Filling<'_> {
    fn default() -> Self {
        Self { shards: Vec::new(), done: 0, moved: Instant::now() }
    }
}

impl<'a> Filling<'a> {
    fn add(&mut self, shard: &'a Arc<Shard>, end: Offset) {
        self.shards.push((shard, end));
    }

    /// Waits a moment; `None` when all are there, otherwise what is missing.
    fn wait(&mut self) -> Result<Option<String>, ReadError> {
        let mut missing = None;
        for (shard, end) in &self.shards {
            shard.check()?;
            let next = shard.replica.next();
            if next < *end || !shard.is_verified() {
                shard.replica.wait(next, FILL_POLL);
                let trouble = shard.trouble().map(|reason| format!(": {reason}")).unwrap_or_default();
                missing = Some(format!("shard {} was read up to offset {next} of {end}{trouble}", shard.id));
                break;
            }
        }
        let (done, _) = self.figures();
        if done > self.done {
            (self.done, self.moved) = (done, Instant::now());
        }
        Ok(missing)
    }

    fn stood_still(&self) -> bool {
        self.moved.elapsed() > FILL_PATIENCE
    }

    /// Records there, and records there should be.
    fn figures(&self) -> (u64, u64) {
        let there = |(shard, end): &(&Arc<Shard>, Offset)| shard.replica.next().0.min(end.0);
        (self.shards.iter().map(there).sum(), self.shards.iter().map(|(_, end)| end.0).sum())
    }
}
