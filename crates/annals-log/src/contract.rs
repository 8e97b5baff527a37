//! The contract suite: what every log must do, run on each of them.
//!
//! Owns the checks behind the words of [`Log`] and [`Writer`]. It knows no implementation: it makes logs,
//! closes and kills them through [`TestLog`], and looks at them through the port. A check panics with what it
//! expected.
//!
//! It does not test faults of disks and brokers; an implementation does that itself.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test support: a broken contract is to stop the test where it is seen"
)]

mod claims;
mod reading;
mod releases;
mod surviving;
mod writing;

use std::sync::Arc;

use annals_core::envelope::{CommandPart, EventPart, FORMAT, Header, Progress, Record, Slice};
use annals_core::index::{Term, terms};
use annals_core::{Offset, Seq, ShardId, Timestamp};
use bytes::Bytes;

use crate::port::{Claimant, Log, RawRecord, RecordKind, Writer};

/// A log under test.
pub trait TestLog {
    /// The log as it is open now.
    fn log(&self) -> &dyn Log;

    /// Closes the log cleanly and opens it again. The suite has dropped its writers.
    fn reopen(&mut self);

    /// Drops the log without closing it, as when the process dies, and opens it again. The suite has dropped its
    /// writers, which may hold records that nobody committed.
    fn crash(&mut self);

    /// Whether appended records may become durable before anybody commits them, as where a broker is sent each
    /// record at once. The suite then accepts that they appear early, or that a newer claim finds them there.
    fn eager(&self) -> bool {
        false
    }
}

/// Runs every check, each on a fresh log of `shards` shards from `make`.
///
/// # Panics
/// Where the log breaks the contract.
pub fn check(shards: u32, make: &dyn Fn(u32) -> Box<dyn TestLog>) {
    assert!(shards > 0, "a log has at least one shard");
    let groups = [claims::CHECKS, releases::CHECKS, writing::CHECKS, reading::CHECKS, surviving::CHECKS];
    for (name, check) in groups.concat() {
        eprintln!("log contract, {shards} shards: {name}");
        let mut test = make(shards);
        assert_eq!(test.log().identity().shards, shards, "the log has the shards it was made with");
        check(test.as_mut());
    }
}

type Check = (&'static str, fn(&mut dyn TestLog));

/// The shard most checks write to: the last, so that its number matters where there are several.
fn shard_of(log: &dyn Log) -> ShardId {
    ShardId(log.identity().shards - 1)
}

fn claimant(node: &str) -> Claimant {
    let nonce = u128::from(crc32c::crc32c(node.as_bytes())).to_be_bytes();
    let claimed_at = Timestamp::from_microsecond(1_700_000_000_000_001).unwrap();
    Claimant { node: node.to_owned(), address: "127.0.0.1:4000".to_owned(), nonce, claimed_at }
}

fn claim(log: &dyn Log, shard: ShardId, node: &str) -> Arc<dyn Writer> {
    log.claim(shard, &claimant(node)).unwrap_or_else(|e| panic!("claim of shard {shard} by {node}: {e}"))
}

/// A record as an engine writes it: one event in `stream`, by the command `key`.
fn envelope(stream: &str, key: &str) -> Bytes {
    let payload = Bytes::from(format!("{{\"by\":\"{key}\"}}"));
    let event = EventPart { name: "thing.done".into(), shape: 1, payload, tags: vec!["shared".into()] };
    let command = CommandPart { key: key.into(), digest: Bytes::new(), name: "do".into() };
    Record {
        format: FORMAT,
        slices: vec![Slice { stream: stream.into(), expected_version: 0, events: vec![event] }],
        command: Some(command),
        recorded_at_us: 1_700_000_000_000_002,
        ..Record::default()
    }
    .to_bytes()
}

fn terms_of(envelope: &Bytes) -> Vec<Term> {
    terms(&Record::from_bytes(envelope.clone()).expect("the suite encoded it"))
}

fn append(writer: &dyn Writer, stream: &str, key: &str) -> Seq {
    let envelope = envelope(stream, key);
    let terms = terms_of(&envelope);
    writer.append(RecordKind::Record, envelope, terms).unwrap_or_else(|e| panic!("append of {key}: {e}"))
}

fn append_progress(writer: &dyn Writer, read: u64) -> Seq {
    let progress = Progress { format: FORMAT, read, open: vec![1] }.to_bytes();
    writer.append(RecordKind::Progress, progress, vec![Term::progress()]).expect("append of progress")
}

fn commit(writer: &dyn Writer, seq: Seq) -> Offset {
    writer.commit(seq).unwrap_or_else(|e| panic!("commit of {seq}: {e}"))
}

fn put(writer: &dyn Writer, stream: &str, key: &str) -> Offset {
    commit(writer, append(writer, stream, key))
}

/// The whole shard, read in chunks of at most `bytes_max`; checks each chunk against the port's words.
fn read_all(log: &dyn Log, shard: ShardId, bytes_max: usize) -> Vec<RawRecord> {
    let end = log.end(shard);
    let mut records: Vec<RawRecord> = Vec::new();
    let mut from = Offset(0);
    while from < end {
        let chunk = log.read(shard, from, bytes_max).unwrap_or_else(|e| panic!("read from {from}: {e}"));
        assert!(chunk.next > from, "a read below the end gets on: from {from} to {}", chunk.next);
        let sizes: Vec<usize> = chunk.records.iter().map(|record| record.envelope.len()).collect();
        let before_last: usize = sizes.iter().rev().skip(1).sum();
        assert!(
            sizes.len() <= 1 || before_last < bytes_max,
            "a read stops once it reached {bytes_max} bytes"
        );
        let reached = sizes.iter().sum::<usize>() >= bytes_max;
        assert!(
            reached && !sizes.is_empty() || chunk.next >= end,
            "a read stops at {bytes_max} bytes or the end"
        );
        if let Some(last) = chunk.records.last() {
            assert!(chunk.next > last.offset, "next lies after the records read");
        }
        from = chunk.next;
        records.extend(chunk.records);
    }
    assert!(records.is_sorted_by(|a, b| a.offset < b.offset), "offsets ascend");
    assert!(records.iter().all(|record| record.offset < end), "records lie below the end");
    records
}

fn keys(records: &[RawRecord]) -> Vec<String> {
    let records = records.iter().filter(|record| matches!(record.header, Header::Record { .. }));
    records.map(|record| key(&record.envelope)).collect()
}

fn key(envelope: &Bytes) -> String {
    let record = Record::from_bytes(envelope.clone()).expect("the suite encoded it");
    record.command.expect("the suite gave it a command").key
}
