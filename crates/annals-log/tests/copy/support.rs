//! Sources with everything that a log can hold, and a checker of copies that knows nothing of how they are made.

use std::collections::BTreeMap;
use std::sync::Arc;

use annals_core::envelope::{CommandPart, EventPart, FORMAT, Header, Progress, Record, RefusalPart, Slice};
use annals_core::index::{Term, terms};
use annals_core::{LogId, Offset, ShardId, Timestamp};
use annals_log::copy::{Compared, Copied, CopyError, Job, Next, Until};
use annals_log::{Claimant, Fault, FaultPlan, Identity, Log, MemoryLog, RawRecord, RecordKind, Writer};
use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Batches are small, so that a few hundred records are many.
pub const BATCH_OFFSETS: u64 = 16;
/// From so many shards to so many.
pub const LAYOUTS: [(u32, u32); 5] = [(1, 1), (1, 8), (8, 1), (8, 3), (8, 8)];

pub fn new_log(id: u128, shards: u32) -> MemoryLog {
    let log_id = LogId(uuid::Uuid::from_u128(id));
    MemoryLog::new(Identity { log_id, context: "bank".into(), shards, created_at: Timestamp::UNIX_EPOCH })
}

pub fn claimant() -> Claimant {
    let nonce = *uuid::Uuid::new_v4().as_bytes();
    Claimant { node: "host/1".into(), address: String::new(), nonce, claimed_at: Timestamp::UNIX_EPOCH }
}

/// Streams with the same id belong together, whatever their kind.
pub fn route(stream: &str, shards: u32) -> ShardId {
    ShardId::of(stream.split_once('/').unwrap().1, shards)
}

/// A source that is written on and on.
pub struct Source {
    pub log: MemoryLog,
    dice: ChaCha8Rng,
    writers: Vec<Arc<dyn Writer>>,
    versions: BTreeMap<String, u64>,
    written: u64,
    clock_us: i64,
}

impl Source {
    pub fn new(shards: u32, seed: u64) -> Self {
        let log = new_log(1, shards);
        let mut source = Self {
            log,
            dice: ChaCha8Rng::seed_from_u64(seed),
            writers: Vec::new(),
            versions: BTreeMap::new(),
            written: 0,
            clock_us: 1_000_000,
        };
        source.claim();
        source
    }

    pub fn with(shards: u32, seed: u64, records: u64) -> Self {
        let mut source = Self::new(shards, seed);
        source.write(records);
        source
    }

    fn claim(&mut self) {
        let shards = (0..self.log.identity().shards).map(ShardId);
        self.writers = shards.map(|shard| self.log.claim(shard, &claimant()).unwrap()).collect();
    }

    /// Writes so many records, and among them claims, progress, and records that are ignored.
    pub fn write(&mut self, records: u64) {
        for _ in 0..records {
            match self.dice.random_range(0..40_u8) {
                0 => self.claim(),
                1 => self.note_progress(),
                2 => self.log.set_faults(FaultPlan::seeded(self.written).with(Fault::Duplicated, 1.0)),
                _ => {}
            }
            let record = self.record();
            let shard = route(&record.slices[0].stream, self.log.identity().shards);
            put(&*self.writers[shard.0 as usize], &record);
            self.log.set_faults(FaultPlan::none());
        }
    }

    /// Goes on with another history than a twin of the same seed.
    pub fn claim_and_forget(&mut self, seed: u64) {
        self.dice = ChaCha8Rng::seed_from_u64(seed);
        self.written += 10_000;
        self.claim();
    }

    fn note_progress(&mut self) {
        let writer = &self.writers[self.dice.random_range(0..self.writers.len())];
        let progress = Progress { format: FORMAT, read: 1, open: vec![] }.to_bytes();
        let seq = writer.append(RecordKind::Progress, progress, vec![Term::progress()]).unwrap();
        writer.commit(seq).unwrap();
    }

    /// One event, several, none, a refusal; one stream, or two that belong together; with a command, or without.
    fn record(&mut self) -> Record {
        self.written += 1;
        self.clock_us += self.dice.random_range(0..3_i64);
        let id = self.dice.random_range(0..20_u8);
        let (events, two, refused) =
            (self.dice.random_range(0..3_u8), self.dice.random_ratio(1, 8), self.dice.random_ratio(1, 8));
        let kinds = if two { vec!["thing", "other"] } else { vec!["thing"] };
        let count = if refused { 0 } else { events };
        let slices = kinds.into_iter().map(|kind| self.slice(&format!("{kind}/{id}"), count)).collect();
        let command =
            CommandPart { key: format!("c{}", self.written), digest: Bytes::new(), name: "do".into() };
        let refusal = RefusalPart { name: "no".into(), text: "not now".into(), ..RefusalPart::default() };
        Record {
            format: FORMAT,
            slices,
            command: (!self.written.is_multiple_of(9)).then_some(command),
            refusal: refused.then_some(refusal),
            correlation: format!("r{}", self.written),
            recorded_at_us: self.clock_us,
            ..Record::default()
        }
    }

    fn slice(&mut self, stream: &str, events: u8) -> Slice {
        let version = self.versions.entry(stream.to_owned()).or_default();
        let payload = Bytes::from(format!("{{\"n\":{}}}", self.written));
        let event = EventPart { name: "thing.done".into(), shape: 1, payload, tags: vec!["tag".into()] };
        let slice = Slice {
            stream: stream.to_owned(),
            expected_version: *version,
            events: vec![event; events.into()],
        };
        *version = slice.next_version();
        slice
    }
}

pub fn put(writer: &dyn Writer, record: &Record) -> Offset {
    let seq = writer.append(RecordKind::Record, record.to_bytes(), terms(record)).unwrap();
    writer.commit(seq).unwrap()
}

/// Copies, in small batches, until the copy is level.
pub fn copy(source: &dyn Log, target: &dyn Log) -> Result<Copied, CopyError> {
    copy_watched(source, target, Until::Level, &mut |_| Next::GoOn)
}

pub fn copy_watched(
    source: &dyn Log,
    target: &dyn Log,
    until: Until,
    watch: &mut dyn FnMut(&Copied) -> Next,
) -> Result<Copied, CopyError> {
    let shards = target.identity().shards;
    let route = |stream: &str| Some(route(stream, shards));
    Job::new(source, target, &route).with_batch_offsets(BATCH_OFFSETS).run(&claimant, until, watch)
}

pub fn compare(source: &dyn Log, target: &dyn Log) -> Compared {
    let shards = target.identity().shards;
    let route = |stream: &str| Some(route(stream, shards));
    let job = Job::new(source, target, &route);
    job.check(None, &mut |_| Next::GoOn).unwrap()
}

/// All accepted records of a shard that are records of commands.
pub fn records(log: &dyn Log, shard: ShardId) -> Vec<RawRecord> {
    let all = log.read(shard, Offset(0), usize::MAX).unwrap().records;
    all.into_iter().filter(|raw| matches!(raw.header, Header::Record { .. })).collect()
}

pub fn shards(log: &dyn Log) -> impl Iterator<Item = ShardId> + use<> {
    (0..log.identity().shards).map(ShardId)
}

/// What of each source shard is in each target shard: checks that these are its first ones, in order, once, byte for
/// byte, and nothing else. Returns how many there are and how many there should be.
pub fn check_prefixes(source: &dyn Log, target: &dyn Log) -> (usize, usize) {
    let targets = target.identity().shards;
    let mut expected: BTreeMap<(ShardId, ShardId), Vec<Bytes>> = BTreeMap::new();
    let mut origin = BTreeMap::new();
    let mut should = 0;
    for shard in shards(source) {
        for raw in records(source, shard) {
            let record = Record::from_bytes(raw.envelope.clone()).unwrap();
            let to = route(&record.slices[0].stream, targets);
            expected.entry((shard, to)).or_default().push(raw.envelope.clone());
            assert_eq!(origin.insert(raw.envelope, shard), None, "the test's records are all different");
            should += 1;
        }
    }
    let mut found: BTreeMap<(ShardId, ShardId), Vec<Bytes>> = BTreeMap::new();
    let mut are = 0;
    for shard in shards(target) {
        for raw in records(target, shard) {
            let from = origin.get(&raw.envelope).unwrap_or_else(|| panic!("{raw:?} is not in the source"));
            found.entry((*from, shard)).or_default().push(raw.envelope);
            are += 1;
        }
    }
    for (pair, found) in found {
        assert!(expected[&pair].starts_with(&found), "{pair:?} is not a prefix");
    }
    (are, should)
}

/// The target is a whole copy of the source: by this checker, by the comparison, and by its index.
pub fn check_whole(source: &dyn Log, target: &dyn Log) {
    let (are, should) = check_prefixes(source, target);
    assert_eq!(are, should);
    let compared = compare(source, target);
    assert!(compared.is_same() && compared.records == should as u64, "{compared:?}");
    for shard in shards(target) {
        for raw in records(target, shard) {
            for term in terms(&Record::from_bytes(raw.envelope).unwrap()) {
                let found = target.find(shard, term, raw.offset, 1).unwrap();
                assert_eq!(found, [raw.offset], "the index of the target has every record");
            }
        }
    }
}
