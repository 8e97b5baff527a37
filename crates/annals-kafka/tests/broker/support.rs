//! Logs on the brokers of a test.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use annals_core::{LogId, Offset, Seq, ShardId, Timestamp};
use annals_kafka::{KafkaLog, OpenError, Settings};
use annals_log::{Claimant, Log, RawRecord, RecordKind, Writer};
use annals_services::Kafka;
use bytes::Bytes;

/// The only shard of most logs.
pub const ZERO: ShardId = ShardId(0);

/// A topic prefix that no other test has.
pub fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("t{}-{}-", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn settings(kafka: &Kafka, prefix: &str, replica: &Path) -> Settings {
    Settings {
        prefix: prefix.to_owned(),
        message_timeout: Duration::from_secs(5),
        ..Settings::new(kafka.bootstrap(), replica)
    }
}

pub fn open(settings: Settings, shards: Option<u32>) -> Result<KafkaLog, OpenError> {
    let made = || (LogId(uuid::Uuid::new_v4()), Timestamp::from_microsecond(1_700_000_000_000_000).unwrap());
    KafkaLog::open_or_create(settings, "contract", shards, made)
}

pub fn claimant(node: &str) -> Claimant {
    let (node, nonce) = (node.to_owned(), *uuid::Uuid::new_v4().as_bytes());
    Claimant { node, address: String::new(), nonce, claimed_at: Timestamp::UNIX_EPOCH }
}

/// Claims until it succeeds; a shard that another node has just taken is not given at once.
pub fn claim(log: &dyn Log, shard: ShardId) -> Arc<dyn Writer> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match log.claim(shard, &claimant("test")) {
            Ok(writer) => return writer,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn append(writer: &dyn Writer, text: &str) -> Seq {
    writer.append(RecordKind::Record, Bytes::copy_from_slice(text.as_bytes()), Vec::new()).unwrap()
}

pub fn put(writer: &dyn Writer, text: &str) -> Offset {
    writer.commit(append(writer, text)).unwrap()
}

/// Accepted records from the beginning.
pub fn read_all(log: &dyn Log, shard: ShardId) -> Vec<RawRecord> {
    let (mut records, mut from) = (Vec::new(), Offset(0));
    while from < log.end(shard) {
        let chunk = log.read(shard, from, 1 << 20).unwrap();
        from = chunk.next;
        records.extend(chunk.records);
    }
    records
}

/// The envelopes of accepted records, but for genesis and claims, as text.
pub fn texts(log: &dyn Log, shard: ShardId) -> Vec<String> {
    let records = read_all(log, shard).into_iter();
    let own = records.filter(|record| matches!(record.header, annals_core::envelope::Header::Record { .. }));
    own.map(|record| String::from_utf8_lossy(&record.envelope).into_owned()).collect()
}

/// Waits until `done`, and says what was waited for when it does not come.
pub fn wait_for(what: &str, timeout: Duration, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + timeout;
    while !done() {
        assert!(Instant::now() < until, "waited {timeout:?} for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub const PROMPT: Duration = Duration::from_secs(20);
