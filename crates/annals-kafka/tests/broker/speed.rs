//! How fast it is, printed: run alone, for release, on a machine with nothing else to do.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use annals_core::Offset;
use annals_core::envelope::{CommandPart, EventPart, FORMAT, Record, Slice};
use annals_core::index::{Term, terms};
use annals_kafka::{KafkaLog, Settings};
use annals_log::{Log as _, RecordKind, Writer};
use annals_services::{Kafka, Nodes, kafka_for};
use bytes::Bytes;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};

use crate::hand::Hand;
use crate::support::{ZERO, claim, claimant, open, prefix, settings};

/// Streams that the records are of, in turn: with 2 million records, 100 each.
const STREAMS: u64 = 20_000;

fn stream(number: u64) -> String {
    format!("account/{number}")
}

/// A record as an engine writes it, of about 300 bytes.
fn envelope(n: u64) -> (Bytes, Vec<Term>) {
    let payload = Bytes::from(format!("{{\"amount\":{n},\"note\":\"{}\"}}", "n".repeat(150)));
    let event = EventPart { name: "money.deposited".into(), shape: 1, payload, tags: Vec::new() };
    let command =
        CommandPart { key: format!("key-{n}"), digest: Bytes::from_static(&[7; 16]), name: "deposit".into() };
    let record = Record {
        format: FORMAT,
        slices: vec![Slice { stream: stream(n % STREAMS), expected_version: n, events: vec![event] }],
        command: Some(command),
        recorded_at_us: 1_700_000_000_000_000 + n as i64,
        ..Record::default()
    };
    (record.to_bytes(), terms(&record))
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[times.len() * percent / 100]
}

#[test]
#[ignore = "a measurement"]
fn appending_beside_a_bare_producer() {
    let Some(kafka) = kafka_for("speed::appending", Nodes::One) else { return };
    let directory = tempfile::tempdir().unwrap();
    let log = open(settings(&kafka, &prefix(), &directory.path().join("a")), None).unwrap();
    let hand = Hand::at(&kafka);
    hand.make("bare", 1, &[]);
    let producer = bare_producer(&kafka);
    std::thread::sleep(Duration::from_secs(1));
    let writer = claim(&log, ZERO);
    let mut number = 0;
    for round in 0..4 {
        for (in_flight, count) in [(1, 1_000), (64, 30_000), (512, 60_000)] {
            let (bare_rate, mut bare) = bare_produce(&producer, in_flight, count);
            let (rate, mut own) = appended(&*writer, in_flight, count, &mut number);
            if round > 0 {
                eprintln!(
                    "{in_flight:>4} in flight: log {rate:>8.0}/s p50 {:?} p99 {:?}; bare {bare_rate:>8.0}/s p50 {:?} p99 {:?}; rate ratio {:.2}, p50 ratio {:.2}",
                    percentile(&mut own, 50),
                    percentile(&mut own, 99),
                    percentile(&mut bare, 50),
                    percentile(&mut bare, 99),
                    rate / bare_rate,
                    percentile(&mut own, 50).as_secs_f64() / percentile(&mut bare, 50).as_secs_f64(),
                );
            }
        }
    }
}

fn appended(writer: &dyn Writer, in_flight: usize, count: u64, number: &mut u64) -> (f64, Vec<Duration>) {
    let made: Vec<_> = (0..count).map(|n| envelope(*number + n)).collect();
    *number += count;
    let began = Instant::now();
    let (mut pending, mut times) = (std::collections::VecDeque::new(), Vec::new());
    for (envelope, terms) in made {
        if pending.len() == in_flight {
            let (seq, since): (_, Instant) = pending.pop_front().unwrap();
            writer.commit(seq).unwrap();
            times.push(since.elapsed());
        }
        let since = Instant::now();
        pending.push_back((writer.append(RecordKind::Record, envelope, terms).unwrap(), since));
    }
    writer.commit(pending.back().unwrap().0).unwrap();
    (count as f64 / began.elapsed().as_secs_f64(), times)
}

/// Reports as they come, from the thread that takes them.
struct Reports(Mutex<Sender<()>>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, report: &DeliveryResult<'_>, (): ()) {
        assert!(report.is_ok());
        let _ = self.0.lock().unwrap().send(());
    }
}

/// An idempotent producer, and what it reports.
type Bare = (ThreadedProducer<Reports>, Receiver<()>);

fn bare_producer(kafka: &Kafka) -> Bare {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap()).set("acks", "all").set("enable.idempotence", "true");
    config.set("linger.ms", "0").set("socket.nagle.disable", "true");
    let (sender, receiver) = channel();
    (config.create_with_context(Reports(Mutex::new(sender))).unwrap(), receiver)
}

fn bare_produce((producer, reports): &Bare, in_flight: usize, count: u64) -> (f64, Vec<Duration>) {
    let made: Vec<_> = (0..count).map(|n| envelope(n).0).collect();
    let began = Instant::now();
    let (mut pending, mut times) = (std::collections::VecDeque::new(), Vec::new());
    for envelope in made {
        if pending.len() == in_flight {
            reports.recv().unwrap();
            let since: Instant = pending.pop_front().unwrap();
            times.push(since.elapsed());
        }
        pending.push_back(Instant::now());
        let record = BaseRecord::<'_, [u8], [u8]>::to("bare").partition(0).payload(&envelope[..]);
        producer.send(record).unwrap();
    }
    pending.iter().for_each(|_| reports.recv().unwrap());
    (count as f64 / began.elapsed().as_secs_f64(), times)
}

#[test]
#[ignore = "a measurement"]
fn refilling_a_lost_replica() {
    let records: u64 = std::env::var("ANNALS_RECORDS").map_or(2_000_000, |records| records.parse().unwrap());
    let Some(kafka) = kafka_for("speed::refilling_a_lost_replica", Nodes::One) else { return };
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("a");
    let settings = settings(&kafka, &prefix(), &place);
    let log = open(settings.clone(), None).unwrap();
    let writer = claim(&log, ZERO);
    let mut bytes = 0;
    let began = Instant::now();
    for n in 0..records {
        let (envelope, terms) = envelope(n);
        bytes += envelope.len();
        let seq = writer.append(RecordKind::Record, envelope, terms).unwrap();
        if n % 4_096 == 4_095 {
            writer.commit(annals_core::Seq(seq.0 - 4_000)).unwrap();
        }
    }
    writer.commit(annals_core::Seq(records - 1)).unwrap();
    eprintln!("{records} records of {} bytes written in {:?}", bytes as u64 / records, began.elapsed());
    drop(writer);
    drop(log);
    for _ in 0..3 {
        std::fs::remove_dir_all(&place).unwrap();
        let began = Instant::now();
        let log = KafkaLog::follow(settings.clone(), "contract", None).unwrap();
        let took = began.elapsed();
        assert_eq!(log.end(ZERO), Offset(records + 2));
        eprintln!("filled in {took:?}: {:.0} records/s", records as f64 / took.as_secs_f64());
        let mut times: Vec<_> =
            (0..2_000).map(|n| read_stream(&log, n * 7_919 % STREAMS, records / STREAMS)).collect();
        eprintln!(
            "a stream of {} records read in p50 {:?}, p99 {:?}",
            records / STREAMS,
            percentile(&mut times, 50),
            percentile(&mut times, 99)
        );
        let began = Instant::now();
        drop(log);
        eprintln!("closed in {:?}", began.elapsed());
        let began = Instant::now();
        drop(open(settings.clone(), None).unwrap());
        eprintln!("opened again and closed in {:?}", began.elapsed());
    }
}

/// How long it takes to read all records of one stream.
fn read_stream(log: &KafkaLog, number: u64, expected: u64) -> Duration {
    let began = Instant::now();
    let offsets = log.find(ZERO, Term::stream(&stream(number)), Offset(0), usize::MAX).unwrap();
    let found = offsets.iter().filter(|offset| log.get(ZERO, **offset).unwrap().is_some()).count();
    let took = began.elapsed();
    assert_eq!(found as u64, expected);
    took
}

#[test]
#[ignore = "a measurement"]
fn claiming() {
    let Some(kafka) = kafka_for("speed::claiming", Nodes::One) else { return };
    for shards in [1, 8] {
        let directory = tempfile::tempdir().unwrap();
        let prefix = prefix();
        let threads_before = threads();
        let began = Instant::now();
        let log = open(settings(&kafka, &prefix, &directory.path().join("a")), Some(shards)).unwrap();
        eprintln!("{shards} shards: made in {:?}", began.elapsed());
        std::thread::sleep(Duration::from_secs(1));
        let other = other_of(&kafka, &prefix, &directory);
        let mut times = Vec::new();
        for _ in 0..200 / shards {
            for shard in (0..shards).map(annals_core::ShardId) {
                let began = Instant::now();
                log.claim(shard, &claimant("a")).unwrap();
                times.push(began.elapsed());
            }
        }
        eprintln!(
            "{shards} shards: claim p50 {:?}, p99 {:?}; {} threads, {} connections",
            percentile(&mut times, 50),
            percentile(&mut times, 99),
            threads() - threads_before,
            connections(),
        );
        drop(other);
        let began = Instant::now();
        drop(log);
        eprintln!("{shards} shards: closed in {:?}", began.elapsed());
    }
}

fn other_of(kafka: &Kafka, prefix: &str, directory: &tempfile::TempDir) -> KafkaLog {
    let settings =
        Settings { replica: directory.path().join("b"), ..settings(kafka, prefix, directory.path()) };
    KafkaLog::follow(settings, "contract", None).unwrap()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn connections() -> usize {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().map_while(Result::ok);
    files
        .filter(|file| {
            std::fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        })
        .count()
}
