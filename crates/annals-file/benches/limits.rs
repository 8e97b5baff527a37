//! The file log against what the disk allows, in one run, interleaved. Run by hand:
//!
//! ```text
//! cargo bench -p annals-file --bench limits -- [groups|clients|loaded|replica].. [--in DIRECTORY]
//! ```
//!
//! On a machine with other work, at real-time priority (`chrt -r 20`), or the scheduler is what is measured.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, reason = "a benchmark may stop")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use annals_core::envelope::{CommandPart, EventPart, FORMAT, Genesis, Header, Record, Slice};
use annals_core::index::{Term, terms};
use annals_core::{Epoch, LogId, Offset, Seq, ShardId, Timestamp};
use annals_file::{Arrival, FileLog, Replica, Settings};
use annals_log::{Claimant, Identity, Log, RecordKind, Writer};
use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const ENVELOPE_BYTES: usize = 362;
const STREAMS: usize = 10_000;
const LOADED: usize = 2_000_000;
const ROUND: Duration = Duration::from_millis(600);
const SHARD: ShardId = ShardId(0);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let base =
        arguments.iter().position(|argument| argument == "--in").map(|at| PathBuf::from(&arguments[at + 1]));
    let directory = tempfile::tempdir_in(base.unwrap_or_else(std::env::temp_dir)).unwrap();
    let pool = Pool::new();
    let parts: [(&str, Part); 4] =
        [("groups", groups), ("clients", clients), ("loaded", loaded), ("replica", replica)];
    let asked = |name: &str| arguments.iter().any(|argument| argument == name);
    let all = !parts.iter().any(|(name, _)| asked(name));
    for (_, part) in parts.into_iter().filter(|(name, _)| all || asked(name)) {
        part(directory.path(), &pool);
    }
}

type Part = fn(&Path, &Pool);

/// An envelope for each stream.
struct Pool(Vec<(Bytes, Term)>);

impl Pool {
    fn new() -> Self {
        Self((0..STREAMS).map(|n| (envelope(n), Term::stream(&stream(n)))).collect())
    }

    fn append(&self, writer: &dyn Writer, random: &mut ChaCha8Rng) -> Seq {
        let (envelope, term) = &self.0[random.random_range(0..STREAMS)];
        let terms = vec![*term, Term(random.random())];
        writer.append(RecordKind::Record, envelope.clone(), terms).unwrap()
    }
}

fn stream(n: usize) -> String {
    format!("account/{n:08}")
}

fn envelope(n: usize) -> Bytes {
    envelope_of(n, "0190a0b0-c0d0-7000-8000-000000000000", ENVELOPE_BYTES)
}

fn envelope_of(n: usize, key: &str, bytes: usize) -> Bytes {
    let make = |payload: usize| {
        let payload = Bytes::from(format!("\"{}\"", "x".repeat(payload)));
        let event = EventPart { name: "account.credited".into(), shape: 1, payload, tags: Vec::new() };
        let key = key.into();
        Record {
            format: FORMAT,
            slices: vec![Slice { stream: stream(n), expected_version: 7, events: vec![event] }],
            command: Some(CommandPart { key, digest: Bytes::from_static(&[7; 16]), name: "credit".into() }),
            recorded_at_us: 1_700_000_000_000_000,
            ..Record::default()
        }
        .to_bytes()
    };
    // As many bytes of payload as of length prefixes that need two.
    let rest = bytes - make(150).len();
    let envelope = make(150 + rest);
    assert_eq!(envelope.len(), bytes);
    envelope
}

fn identity() -> Identity {
    Identity {
        log_id: LogId(uuid::Uuid::from_u128(1)),
        context: "bench".into(),
        shards: 1,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

fn create(path: &Path) -> FileLog {
    FileLog::create(path, identity(), Settings::default()).unwrap()
}

fn claim(log: &FileLog) -> Arc<dyn Writer> {
    let claimed_at = Timestamp::UNIX_EPOCH;
    log.claim(SHARD, &Claimant { node: "bench".into(), address: String::new(), nonce: [0; 16], claimed_at })
        .unwrap()
}

/// A zero-filled file written around and around: nothing but pwrite and fdatasync.
struct Bare {
    file: File,
    bytes: u64,
    at: u64,
}

impl Bare {
    fn new(path: &Path) -> Self {
        let bytes = 256 << 20;
        let file = File::create(path).unwrap();
        let zeros = vec![0; 1 << 20];
        (0..256).for_each(|n| file.write_all_at(&zeros, n << 20).unwrap());
        file.sync_all().unwrap();
        Self { file, bytes, at: 0 }
    }

    fn commit(&mut self, group: &[u8]) {
        if self.at + group.len() as u64 > self.bytes {
            self.at = 0;
        }
        self.file.write_all_at(group, self.at).unwrap();
        self.file.sync_data().unwrap();
        self.at += group.len() as u64;
    }
}

/// Runs `commit` for a while; (commits per second, p50, p99).
fn run(mut commit: impl FnMut()) -> (f64, f64, f64) {
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < ROUND {
        let start = Instant::now();
        commit();
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    (rate, times[times.len() / 2], times[times.len() * 99 / 100])
}

fn median(mut of: Vec<(f64, f64, f64)>) -> (f64, f64, f64) {
    of.sort_by(|one, other| one.0.total_cmp(&other.0));
    of[of.len() / 2]
}

fn groups(directory: &Path, pool: &Pool) {
    println!("group   bare events/s (p50/p99 us)      log events/s (p50/p99 us)     ratio");
    for group in [1_usize, 8, 64, 512, 4096] {
        let mut bare = Bare::new(&directory.join("bare"));
        let path = directory.join(format!("groups-{group}"));
        let log = create(&path);
        let writer = claim(&log);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let bytes = vec![7; group * ENVELOPE_BYTES];
        let (mut limits, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            limits.push(run(|| bare.commit(&bytes)));
            ours.push(run(|| {
                let last = (0..group).map(|_| pool.append(&*writer, &mut random)).last().unwrap();
                writer.commit(last).unwrap();
            }));
        }
        let (limit, log_rate) = (median(limits), median(ours));
        let events = |commits: f64| commits * group as f64;
        println!(
            "{group:>5} {:>12.0} ({:>6.0}/{:>6.0}) {:>16.0} ({:>6.0}/{:>6.0}) {:>9.2}",
            events(limit.0),
            limit.1,
            limit.2,
            events(log_rate.0),
            log_rate.1,
            log_rate.2,
            log_rate.0 / limit.0
        );
        drop(writer);
        drop(log);
        std::fs::remove_dir_all(path).unwrap();
    }
}

fn clients(directory: &Path, pool: &Pool) {
    println!("\nclients   events/s, one event per commit");
    for clients in [1, 16, 64] {
        let path = directory.join(format!("clients-{clients}"));
        let log = create(&path);
        let writer = claim(&log);
        let order = Mutex::new(ChaCha8Rng::seed_from_u64(2));
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    while began.elapsed() < ROUND * 3 {
                        let seq = pool.append(&*writer, &mut order.lock().unwrap());
                        writer.commit(seq).unwrap();
                    }
                });
            }
        });
        println!("{clients:>7} {:>10.0}", writer.committed().0 as f64 / began.elapsed().as_secs_f64());
        drop(writer);
        drop(log);
        std::fs::remove_dir_all(path).unwrap();
    }
}

fn loaded(directory: &Path, pool: &Pool) {
    let path = directory.join("loaded");
    let log = create(&path);
    let writer = claim(&log);
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let began = Instant::now();
    for n in 0..LOADED {
        let seq = pool.append(&*writer, &mut random);
        if n % 512 == 511 || n == LOADED - 1 {
            writer.commit(seq).unwrap();
        }
    }
    println!("\nload of {LOADED}: {:.0} records/s", LOADED as f64 / began.elapsed().as_secs_f64());
    drop(writer);
    timed("abandon", || log.abandon());
    let log = timed("open after a kill", || FileLog::open(&path, Settings::default()).unwrap());
    timed("close", || log.close().unwrap());
    for _ in 0..3 {
        let log = timed("open after closing", || FileLog::open(&path, Settings::default()).unwrap());
        drop(log);
    }
    let log = FileLog::open(&path, Settings::default()).unwrap();
    let info = log.info().unwrap().remove(0);
    let per = |bytes: u64| bytes as f64 / LOADED as f64;
    println!("bytes/record: {:.1} of segments, {:.1} of index", per(info.used_bytes), per(info.index_bytes));
    (0..3).for_each(|_| replay(&log));
    streams(&log, &mut random);
    bare_reads(&log, &mut random);
    misses(&log, &mut random);
    timed("rebuild of all indexes", || log.rebuild_index().unwrap());
    timed("verify", || assert!(log.verify().unwrap().shards[0].damage.is_empty()));
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = work();
    println!("{what}: {:.2} ms", began.elapsed().as_secs_f64() * 1e3);
    result
}

fn replay(log: &FileLog) {
    let (began, mut next, mut records) = (Instant::now(), Offset(0), 0);
    while next < log.end(SHARD) {
        let chunk = log.read(SHARD, next, 1 << 20).unwrap();
        records += chunk.records.len();
        next = chunk.next;
    }
    println!("replay: {:.2} M records/s", records as f64 / began.elapsed().as_secs_f64() / 1e6);
}

fn streams(log: &FileLog, random: &mut ChaCha8Rng) {
    for pass in ["first", "second"] {
        let (mut finding, mut times) = (Vec::new(), Vec::new());
        for _ in 0..2000 {
            let term = Term::stream(&stream(random.random_range(0..STREAMS)));
            let start = Instant::now();
            let offsets = log.find(SHARD, term, Offset(0), 100).unwrap();
            finding.push(start.elapsed().as_secs_f64() * 1e6);
            let found = offsets.iter().filter(|offset| log.get(SHARD, **offset).unwrap().is_some()).count();
            times.push(start.elapsed().as_secs_f64() * 1e6);
            assert_eq!(found, 100);
        }
        times.sort_by(f64::total_cmp);
        finding.sort_by(f64::total_cmp);
        println!(
            "stream of 100, {pass} pass: p50 {:.1} us ({:.1} to find it), p99 {:.1} us",
            times[1000], finding[1000], times[1980]
        );
    }
}

/// What the operating system takes for 100 reads of this size at random places of the same files.
fn bare_reads(log: &FileLog, random: &mut ChaCha8Rng) {
    let folder = log.directory().join("shard-000");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let segments = paths.filter(|path| path.extension().is_some_and(|extension| extension == "segment"));
    let files: Vec<(File, u64)> =
        segments.map(|path| (File::open(&path).unwrap(), path.metadata().unwrap().len())).collect();
    let (mut buffer, mut times) = ([0; ENVELOPE_BYTES + 14], Vec::new());
    for _ in 0..2000 {
        let start = Instant::now();
        for _ in 0..100 {
            let (file, bytes) = &files[random.random_range(0..files.len())];
            file.read_exact_at(&mut buffer, random.random_range(0..bytes - 400)).unwrap();
        }
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    println!("100 bare reads: p50 {:.1} us, p99 {:.1} us", times[1000], times[1980]);
}

fn misses(log: &FileLog, random: &mut ChaCha8Rng) {
    let began = Instant::now();
    for _ in 0..100_000 {
        assert_eq!(log.find_last(SHARD, Term(random.random())).unwrap(), None);
    }
    println!("miss: {:.2} us", began.elapsed().as_secs_f64() * 1e6 / 1e5);
}

/// Feeding a replica: the rate over everything, and the time of one append.
fn replica(directory: &Path, _: &Pool) {
    println!("\nreplica, records of 300 bytes     records/s (by the median append)    p50/p99 us");
    for (name, batch, count, known) in [
        ("batches of 500, terms known", 500, 2_000_000, true),
        ("batches of 500, terms computed", 500, 1_000_000, false),
        ("one by one, terms known", 1, 200_000, true),
        ("one by one, terms computed", 1, 200_000, false),
    ] {
        let path = directory.join("replica");
        let replica = new_replica(&path);
        let shard = replica.shard(SHARD).unwrap();
        let claim = Arrival { header: Header::Claim, envelope: Bytes::new(), terms: None };
        shard.append(&[claim]).unwrap();
        let (began, mut appending, mut times) = (Instant::now(), Duration::ZERO, Vec::new());
        for n in (0..count).step_by(batch) {
            let records: Vec<Arrival> = (n..n + batch).map(|n| arrival(n, known)).collect();
            let start = Instant::now();
            shard.append(&records).unwrap();
            appending += start.elapsed();
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!(
            "{name:<32} {:>10.0} ({:>10.0}) {p50:>22.1}/{p99:.1}",
            count as f64 / appending.as_secs_f64(),
            batch as f64 * 1e6 / p50
        );
        let filled = began.elapsed();
        timed(&format!("close after {:.1} s", filled.as_secs_f64()), || replica.close().unwrap());
        timed("open after closing", || drop(Replica::open(&path, Settings::default()).unwrap()));
        std::fs::remove_dir_all(path).unwrap();
    }
}

fn new_replica(path: &Path) -> Replica {
    let genesis = Genesis {
        format: FORMAT,
        log_id: identity().log_id.0.as_bytes().to_vec().into(),
        context: "bench".into(),
        shards: 1,
        shard: 0,
        hash: "murmur2".into(),
        created_at_us: 0,
    };
    Replica::create(path, &identity(), &[genesis.to_bytes()], Settings::default()).unwrap()
}

fn arrival(n: usize, known: bool) -> Arrival {
    let key = format!("0190a0b0-c0d0-7000-8000-{n:012}");
    let envelope = envelope_of(n % STREAMS, &key, 300);
    let terms = known.then(|| terms(&Record::from_bytes(envelope.clone()).unwrap()));
    Arrival { header: Header::Record { epoch: Epoch(1), seq: Seq(n as u64) }, envelope, terms }
}
