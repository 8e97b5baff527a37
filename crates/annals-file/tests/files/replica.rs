//! A replica gives what the reader rule makes of the records that arrived, at their offsets, however it ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use annals_core::envelope::{
    ENVELOPE_BYTES_MAX, FORMAT, Genesis, Header, Progress, Record, Release, to_micros,
};
use annals_core::index::{Term, terms};
use annals_core::reader::{Ignored, ReaderRule, Verdict};
use annals_core::{Epoch, Offset, Seq, ShardId, Timestamp};
use annals_file::{Arrival, FeedError, FileLog, OpenError, Replica, ReplicaShard, Settings, verify};
use annals_log::{ClaimError, Identity, Log as _, RawRecord};
use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::support::{
    Feed, ZERO, claim, claimant, create, find_all, identity, indexes, open, read_all, restore, segments,
    small, snapshot,
};

pub fn genesis(identity: &Identity) -> Vec<Bytes> {
    let one = |shard| Genesis {
        format: FORMAT,
        log_id: identity.log_id.0.as_bytes().to_vec().into(),
        context: identity.context.clone(),
        shards: identity.shards,
        shard,
        hash: "murmur2".into(),
        created_at_us: to_micros(identity.created_at),
    };
    (0..identity.shards).map(|shard| one(shard).to_bytes()).collect()
}

pub fn create_replica(directory: &Path, shards: u32) -> Replica {
    let identity = identity(shards);
    Replica::create(directory, &identity, &genesis(&identity), small()).unwrap()
}

pub fn open_replica(directory: &Path) -> Replica {
    Replica::open(directory, small()).unwrap()
}

/// What arrives in a shard, and what a reader must make of it.
pub struct History {
    random: ChaCha8Rng,
    feed: Feed,
    rule: ReaderRule,
    /// The epochs so far, the last one last.
    epochs: Vec<Epoch>,
    pub arrived: Vec<(Header, Bytes, Verdict)>,
}

impl History {
    pub fn new(seed: u64, genesis: &Bytes) -> Self {
        let mut history = Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            feed: Feed::default(),
            rule: ReaderRule::default(),
            epochs: vec![Epoch(0)],
            arrived: Vec::new(),
        };
        history.admit(Header::Genesis, genesis.clone());
        history
    }

    pub fn next(&self) -> Offset {
        Offset(self.arrived.len() as u64)
    }

    /// The next record to arrive: mostly one of the owner's, at times one that nobody believes.
    pub fn arrival(&mut self) -> Arrival {
        let (epoch, seq) = (*self.epochs.last().unwrap(), self.rule.next_seq());
        let stream = format!("thing/{}", self.random.random_range(0..5));
        let bytes = self.random.random_range(0..600);
        let choice = self.random.random_range(0..40);
        let stale = self.epochs[self.random.random_range(0..self.epochs.len())];
        let (header, envelope) = match choice {
            0 => (Header::Claim, Bytes::from_static(b"a claim")),
            1 => (Header::Foreign, Bytes::from(vec![0xab; bytes])),
            2 => (Header::Foreign, Bytes::new()),
            3 => (Header::Record { epoch: stale, seq }, self.feed.envelope("stale/1", bytes)),
            4 => (Header::Record { epoch, seq: Seq(seq.0.saturating_sub(1)) }, Bytes::from_static(b"again")),
            5 if bytes < 200 => (Header::Record { epoch, seq: Seq(seq.0 + 2) }, Bytes::from_static(b"early")),
            6 if bytes < 200 => {
                let release = Release { format: FORMAT, to: "b".into(), released_at_us: 1 };
                (Header::Release { epoch, seq }, release.to_bytes())
            }
            7 => (Header::Genesis, Bytes::from_static(b"another")),
            8 => (Header::Record { epoch, seq }, Bytes::from_static(b"no envelope")),
            9 | 10 => {
                let progress = Progress { format: FORMAT, read: 3, open: vec![2] };
                (Header::Progress { epoch, seq }, progress.to_bytes())
            }
            _ => (Header::Record { epoch, seq }, self.feed.envelope(&stream, bytes)),
        };
        let terms = match Record::from_bytes(envelope.clone()) {
            Ok(record) if self.random.random() => Some(terms(&record)),
            _ => None,
        };
        self.admit(header, envelope.clone());
        Arrival { header, envelope, terms }
    }

    fn admit(&mut self, header: Header, envelope: Bytes) {
        let offset = self.next();
        let verdict = self.rule.admit(offset, header);
        if header == Header::Claim {
            self.epochs.push(Epoch(offset.0));
        }
        self.arrived.push((header, envelope, verdict));
    }

    /// Feeds `count` records in batches of random sizes.
    pub fn run(&mut self, shard: &ReplicaShard, count: usize) {
        let until = self.arrived.len() + count;
        while self.arrived.len() < until {
            let first = self.arrived.len();
            let size = if self.random.random() { 1 } else { self.random.random_range(2..60) };
            let batch: Vec<Arrival> = (0..size).map(|_| self.arrival()).collect();
            let verdicts = shard.append(&batch).unwrap();
            let expected: Vec<Verdict> =
                self.arrived[first..].iter().map(|(_, _, verdict)| *verdict).collect();
            assert_eq!(verdicts, expected, "from {first} on");
        }
        assert_eq!((shard.next(), shard.rule()), (self.next(), self.rule.clone()));
    }

    fn raw(&self, offset: usize) -> RawRecord {
        let (header, envelope, _) = &self.arrived[offset];
        RawRecord { offset: Offset(offset as u64), header: *header, envelope: envelope.clone() }
    }

    fn is_accepted(&self, offset: usize) -> bool {
        self.arrived[offset].2 == Verdict::Accepted
    }

    pub fn accepted(&self) -> Vec<RawRecord> {
        (0..self.arrived.len()).filter(|at| self.is_accepted(*at)).map(|at| self.raw(at)).collect()
    }

    /// Where each term is, of the records that are believed.
    fn found(&self) -> BTreeMap<Term, Vec<Offset>> {
        let mut found: BTreeMap<Term, Vec<Offset>> = BTreeMap::new();
        for raw in self.accepted() {
            let terms = match raw.header {
                Header::Progress { .. } => vec![Term::progress()],
                Header::Record { .. } => Record::from_bytes(raw.envelope).map_or(Vec::new(), |r| terms(&r)),
                _ => Vec::new(),
            };
            terms.into_iter().for_each(|term| found.entry(term).or_default().push(raw.offset));
        }
        found
    }

    pub fn check(&self, shard: &ReplicaShard, case: &str) {
        assert_eq!((shard.end(), shard.rule()), (self.next(), self.rule.clone()), "{case}: end and rule");
        let mut records = Vec::new();
        let mut from = Offset(0);
        while from < shard.end() {
            let chunk = shard.read(from, 5_000).unwrap();
            assert!(chunk.next > from, "{case}: a read gets on from {from}");
            records.extend(chunk.records);
            from = chunk.next;
        }
        assert_eq!(records, self.accepted(), "{case}: accepted records");
        for at in 0..self.arrived.len() {
            let offset = Offset(at as u64);
            assert_eq!(shard.raw(offset).unwrap(), Some(self.raw(at)), "{case}: what arrived at {at}");
            let accepted = self.is_accepted(at).then(|| self.raw(at));
            assert_eq!(shard.get(offset).unwrap(), accepted, "{case}: accepted at {at}");
        }
        assert_eq!(shard.raw(self.next()).unwrap(), None, "{case}");
        let mut found = self.found();
        for stream in ["stale/1", "nobody/1"] {
            found.entry(Term::stream(stream)).or_default();
        }
        for (term, offsets) in found {
            assert_eq!(shard.find(term, Offset(0), usize::MAX).unwrap(), offsets, "{case}");
            assert_eq!(shard.find_last(term).unwrap(), offsets.last().copied(), "{case}");
        }
        let ignored: Vec<Offset> =
            (0..self.arrived.len()).filter(|at| !self.is_accepted(*at)).map(|at| Offset(at as u64)).collect();
        assert_eq!(shard.ignored(Offset(0), usize::MAX).unwrap(), ignored, "{case}: ignored");
        if let [first, second, third, ..] = ignored[..] {
            assert_eq!(shard.ignored(first.next(), 2).unwrap(), [second, third], "{case}");
        }
    }

    fn reasons(&self) -> BTreeMap<Ignored, u64> {
        let mut reasons = BTreeMap::new();
        for (_, _, verdict) in &self.arrived {
            if let Verdict::Ignored(reason) = verdict {
                *reasons.entry(*reason).or_default() += 1;
            }
        }
        reasons
    }
}

type Ending = (&'static str, fn(Replica));

const ENDINGS: [Ending; 3] =
    [("closed", |replica| replica.close().unwrap()), ("killed", Replica::abandon), ("dropped", drop)];

#[test]
fn a_replica_is_what_the_reader_rule_makes_of_its_log() {
    let seed = std::env::var("ANNALS_SEED").map_or(31, |seed| seed.parse().unwrap());
    for shards in [1, 8] {
        let directory = tempfile::tempdir().unwrap();
        let replica = create_replica(directory.path(), shards);
        let genesis = genesis(&identity(shards));
        let mut histories: Vec<History> =
            (0..).zip(&genesis).map(|(shard, genesis)| History::new(seed + shard, genesis)).collect();
        let mut replica = Some(replica);
        for (life, (ending, end)) in ENDINGS.into_iter().cycle().take(6).enumerate() {
            let open = replica.take().unwrap_or_else(|| open_replica(directory.path()));
            let case = format!("seed {seed}, {shards} shards, life {life}, {ending}");
            for (shard, history) in open.shards().iter().zip(&mut histories) {
                if life > 0 {
                    history.check(shard, &format!("{case}: opened"));
                }
                history.run(shard, 150);
                history.check(shard, &case);
                if life == 2 {
                    assert_eq!(shard.sync().unwrap(), history.next());
                }
            }
            end(open);
            let found = verify(directory.path()).unwrap();
            for (shard, history) in found.shards.iter().zip(&histories) {
                assert_eq!((&shard.damage[..], shard.end), (&[][..], history.next()), "{case}");
                assert_eq!(shard.ignored, history.reasons(), "{case}");
                assert_eq!((shard.unfinished_bytes, shard.sealed), (0, ending != "killed"), "{case}");
                if ending != "killed" {
                    assert_eq!(shard.index_problems, [], "{case}");
                }
            }
        }
        assert!(segments(directory.path(), 0).len() > 8, "the histories fill several segments");
        let reasons: BTreeMap<_, u64> = histories.iter().flat_map(History::reasons).collect();
        assert_eq!(reasons.len(), 5, "every reason but a missing genesis: {reasons:?}");
    }
}

#[test]
fn counts_what_it_ignores() {
    let directory = tempfile::tempdir().unwrap();
    let replica = create_replica(directory.path(), 1);
    let shard = replica.shard(ZERO).unwrap();
    let arrival = |header| Arrival { header, envelope: Bytes::new(), terms: None };
    let record = |epoch, seq| Header::Record { epoch: Epoch(epoch), seq: Seq(seq) };
    let headers = [Header::Foreign, Header::Claim, record(2, 0), record(2, 0), Header::Foreign, record(1, 0)];
    shard.append(&headers.map(arrival)).unwrap();
    let expected = [(Ignored::StaleEpoch, 1), (Ignored::Duplicate, 1), (Ignored::Foreign, 2)];
    assert_eq!(shard.ignored_since_open(), BTreeMap::from(expected));
    assert_eq!((replica.shard(ShardId(1)).is_none(), shard.id()), (true, ZERO));
    assert_eq!(shard.append(&[]).unwrap(), []);
}

#[test]
fn batches_of_any_size_lie_in_one_segment() {
    let directory = tempfile::tempdir().unwrap();
    let replica = create_replica(directory.path(), 1);
    let shard = replica.shard(ZERO).unwrap();
    let claim = Arrival { header: Header::Claim, envelope: Bytes::new(), terms: None };
    shard.append(&[claim]).unwrap();
    let record = |seq, bytes: usize| Arrival {
        header: Header::Record { epoch: Epoch(1), seq: Seq(seq) },
        envelope: vec![seq as u8; bytes].into(),
        terms: Some(vec![Term(seq)]),
    };
    // More than a segment takes by its setting, more than an append may take in a frame, and nothing.
    let batches: [&[usize]; 4] = [&[9_000, 9_000, 9_000], &[100_000], &[0], &[ENVELOPE_BYTES_MAX]];
    let mut seq = 0;
    for batch in batches {
        let records: Vec<Arrival> = batch.iter().map(|bytes| (record(seq, *bytes), seq += 1).0).collect();
        assert!(shard.append(&records).unwrap().iter().all(|verdict| *verdict == Verdict::Accepted));
    }
    let too_large = shard.append(&[record(seq, 1), record(seq + 1, ENVELOPE_BYTES_MAX + 1)]).unwrap_err();
    assert!(matches!(too_large, FeedError::TooLarge { offset: Offset(9), .. }), "{too_large}");
    assert_eq!(shard.next(), Offset(8), "none of them was taken");
    let foreign = |bytes| Arrival { header: Header::Foreign, envelope: vec![5; bytes].into(), terms: None };
    shard.append(&[foreign(ENVELOPE_BYTES_MAX + 1000)]).unwrap();
    let kept = shard.raw(Offset(8)).unwrap().unwrap();
    assert!(kept.envelope == vec![5; ENVELOPE_BYTES_MAX], "foreign bytes are cut to what a frame holds");
    replica.close().unwrap();
    let replica = open_replica(directory.path());
    let shard = replica.shard(ZERO).unwrap();
    for seq in 0..6 {
        assert_eq!(shard.find(Term(seq), Offset(0), 9).unwrap(), [Offset(seq + 2)]);
    }
    assert_eq!(shard.raw(Offset(8)).unwrap().unwrap(), kept);
}

/// A record whose envelope nobody can read is at its place, and found by nothing; one of a newer format may be found
/// by what this code does not know, so it is not taken.
#[test]
fn envelopes_that_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let replica = create_replica(directory.path(), 1);
    let shard = replica.shard(ZERO).unwrap();
    let claim = Arrival { header: Header::Claim, envelope: Bytes::new(), terms: None };
    let header = Header::Record { epoch: Epoch(1), seq: Seq(0) };
    let garbage = Arrival { header, envelope: Bytes::from_static(b"\xff\xff"), terms: None };
    assert_eq!(shard.append(&[claim, garbage]).unwrap(), [Verdict::Accepted; 2]);
    let header = Header::Record { epoch: Epoch(1), seq: Seq(1) };
    let newer = Arrival { header, envelope: Bytes::from_static(&[8, 2]), terms: None };
    let error = shard.append(&[newer]).unwrap_err();
    assert!(matches!(error, FeedError::Newer { offset: Offset(3), found: 2 }), "{error}");
    assert_eq!(shard.read(Offset(0), usize::MAX).unwrap().records.len(), 3);
    replica.abandon();
    assert_eq!(open_replica(directory.path()).shard(ZERO).unwrap().next(), Offset(3));
}

#[test]
fn a_replica_is_refused_for_writing() {
    let directory = tempfile::tempdir().unwrap();
    let replica = create_replica(directory.path(), 2);
    let mut history = History::new(7, &genesis(&identity(2))[1]);
    let shard = replica.shard(ShardId(1)).unwrap();
    history.run(shard, 300);
    let make = || panic!("nothing is made");
    for open in [true, false] {
        let errors = [
            FileLog::open(directory.path(), small()).unwrap_err(),
            FileLog::open_or_create(directory.path(), "bank", None, small(), make).unwrap_err(),
            FileLog::create(directory.path(), identity(2), small()).unwrap_err(),
        ];
        for error in errors {
            let OpenError::Replica { log_id, .. } = &error else { panic!("open {open}: {error}") };
            assert_eq!(*log_id, identity(2).log_id);
            assert!(error.to_string().contains("nothing may be written here"), "{error}");
        }
        if open {
            let in_use = Replica::open(directory.path(), small()).unwrap_err();
            assert!(matches!(in_use, OpenError::InUse { .. }), "{in_use}");
            let log = FileLog::open_read_only(directory.path()).unwrap();
            assert!(log.is_replica());
            assert_eq!(log.identity(), replica.identity());
            assert_eq!(read_all(&log, ShardId(1)), history.accepted());
            let claimant = claimant();
            assert_eq!(log.claim(ZERO, &claimant).err(), Some(ClaimError::ReadOnly));
            shard.append(&[]).unwrap();
        }
    }
    replica.close().unwrap();
    let before = snapshot(directory.path());
    assert!(FileLog::open(directory.path(), small()).is_err());
    assert_eq!(snapshot(directory.path()), before, "nothing was touched");
}

/// The other way round: a log is no replica, and is never thrown away.
#[test]
fn a_log_is_no_replica() {
    let directory = tempfile::tempdir().unwrap();
    create(directory.path(), 1).close().unwrap();
    let before = snapshot(directory.path());
    let identity = identity(1);
    let error = Replica::open(directory.path(), small()).unwrap_err();
    assert!(matches!(error, OpenError::NotAReplica { .. }), "{error}");
    let error = Replica::create(directory.path(), &identity, &genesis(&identity), small()).unwrap_err();
    assert!(matches!(error, OpenError::NotEmpty { .. }), "{error}");
    let error = Replica::discard(directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::NotAReplica { .. }), "{error}");
    assert_eq!(snapshot(directory.path()), before);
    assert!(!open(directory.path()).is_replica());
}

#[test]
fn what_is_not_there_can_be_made_and_discarded() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("replica");
    assert!(matches!(Replica::open(&directory, small()), Err(OpenError::NotALog { .. })));
    Replica::discard(&directory).unwrap();
    assert!(!directory.exists());
    let replica = create_replica(&directory, 3);
    for shard in replica.shards() {
        History::new(5, &genesis(&identity(3))[shard.id().0 as usize]).run(shard, 300);
    }
    std::fs::write(directory.join("notes.txt"), "mine").unwrap();
    std::fs::write(directory.join("shard-001/notes.txt"), "mine too").unwrap();
    let in_use = Replica::discard(&directory).unwrap_err();
    assert!(matches!(in_use, OpenError::InUse { .. }), "{in_use}");
    drop(replica);
    Replica::discard(&directory).unwrap();
    let mut left: Vec<PathBuf> = snapshot(&directory).into_iter().map(|(path, _)| path).collect();
    left.retain(|path| !path.ends_with("lock"));
    assert_eq!(left, [directory.join("notes.txt"), directory.join("shard-001/notes.txt")]);
    std::fs::remove_file(&left[0]).unwrap();
    std::fs::remove_file(&left[1]).unwrap();
    let replica = create_replica(&directory, 3);
    assert!(replica.shards().iter().all(|shard| shard.next() == Offset(1)));
}

/// An interrupted discard has removed any number of files in its order: what is left is a shorter replica, or says
/// that it is none; in both cases it can be discarded.
#[test]
fn an_interrupted_discard_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let replica = create_replica(directory.path(), 2);
    for shard in replica.shards() {
        History::new(5, &genesis(&identity(2))[shard.id().0 as usize]).run(shard, 120);
    }
    replica.close().unwrap();
    let whole = snapshot(directory.path());
    let mut order: Vec<PathBuf> = Vec::new();
    for shard in [1, 0] {
        order.extend(indexes(directory.path(), shard));
        order.extend(segments(directory.path(), shard).into_iter().rev());
    }
    for count in 1..order.len() {
        for shard in ["shard-000", "shard-001"] {
            std::fs::create_dir_all(directory.path().join(shard)).unwrap();
        }
        restore(directory.path(), &whole);
        order[..count].iter().for_each(|path| std::fs::remove_file(path).unwrap());
        match Replica::open(directory.path(), small()) {
            Ok(replica) => {
                replica.close().unwrap();
                assert_eq!(verify(directory.path()).unwrap().shards[1].damage, [], "{count} files removed");
            }
            Err(OpenError::NotALog { .. } | OpenError::Damaged(_)) => {}
            Err(error) => panic!("{count}: {error}"),
        }
        Replica::discard(directory.path()).unwrap();
        let left: Vec<_> = snapshot(directory.path()).into_iter().map(|(path, _)| path).collect();
        assert_eq!(left, [directory.path().join("lock")], "{count}");
    }
    create_replica(directory.path(), 2);
}

#[test]
fn a_genesis_of_another_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = identity(2);
    let other = Identity { context: "shop".into(), ..wanted.clone() };
    let refused = |genesis: &[Bytes]| {
        let error = Replica::create(directory.path(), &wanted, genesis, small()).unwrap_err();
        let OpenError::OtherGenesis { shard, .. } = error else { panic!("{error}") };
        shard
    };
    let (good, bad) = (genesis(&wanted), genesis(&other));
    assert_eq!(refused(&bad), ZERO);
    assert_eq!(refused(&[good[0].clone(), bad[1].clone()]), ShardId(1));
    assert_eq!(refused(&[good[1].clone(), good[0].clone()]), ZERO);
    assert_eq!(refused(&good[..1]), ShardId(1));
    assert_eq!(refused(&[good[0].clone(), "none".into()]), ShardId(1));
    assert_eq!(snapshot(directory.path()), []);
}

#[test]
fn readers_follow_a_live_replica() {
    let directory = tempfile::tempdir().unwrap();
    let replica = create_replica(directory.path(), 2);
    let reader = FileLog::open_read_only(directory.path()).unwrap();
    let shard = replica.shard(ShardId(1)).unwrap();
    let mut history = History::new(11, &genesis(&identity(2))[1]);
    for _ in 0..60 {
        let before = shard.next();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| shard.wait(before, Duration::from_secs(30)));
            history.run(shard, 5);
            assert!(waiting.join().unwrap() > before, "a waiter is woken");
        });
        let end = history.next();
        assert_eq!(reader.wait(ShardId(1), Offset(end.0 - 1), Duration::from_secs(10)), end);
        assert_eq!(read_all(&reader, ShardId(1)), history.accepted());
    }
    for (term, offsets) in history.found() {
        assert_eq!(reader.find(ShardId(1), term, Offset(0), usize::MAX).unwrap(), offsets);
    }
    assert!(segments(directory.path(), 1).len() > 4);
    assert_eq!(shard.wait(history.next(), Duration::from_millis(5)), history.next());
    let shard = replica.shard(ShardId(1)).unwrap().clone();
    replica.close().unwrap();
    assert!(matches!(shard.append(&[history.arrival()]), Err(FeedError::Closed)));
    assert!(matches!(shard.sync(), Err(FeedError::Closed)));
    assert_eq!(shard.get(Offset(0)).unwrap().map(|raw| raw.header), Some(Header::Genesis));
}

/// A log and a replica of it hold the same records at the same offsets.
#[test]
fn the_replica_of_a_log_gives_what_the_log_gives() {
    let places = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let log = create(places[0].path(), 1);
    let mut feed = Feed::default();
    for _ in 0..3 {
        let writer = claim(&log, ZERO);
        for n in 0..50 {
            feed.put(&*writer, &format!("thing/{}", n % 7), n * 9);
        }
    }
    let records = read_all(&log, ZERO);
    let genesis = [records[0].envelope.clone()];
    let settings = Settings::default();
    let replica = Replica::create(places[1].path(), log.identity(), &genesis, settings).unwrap();
    let arrivals: Vec<Arrival> = records[1..]
        .iter()
        .map(|raw| Arrival { header: raw.header, envelope: raw.envelope.clone(), terms: None })
        .collect();
    replica.shard(ZERO).unwrap().append(&arrivals).unwrap();
    drop(replica);
    let replica = FileLog::open_read_only(places[1].path()).unwrap();
    assert_eq!(read_all(&replica, ZERO), records);
    assert_eq!(find_all(&replica, ZERO), find_all(&log, ZERO));
    assert!(verify(places[1].path()).unwrap().is_sound());
    assert_eq!(replica.identity().created_at, Timestamp::from_microsecond(1_700_000_000_000_000).unwrap());
}
