//! What the tests of faults share: a log, claims, and records that carry a name.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;

use annals_core::envelope::Header;
use annals_core::index::Term;
use annals_core::{LogId, Offset, Seq, ShardId, Timestamp};
use annals_log::{AppendError, ClaimError, Claimant, Identity, Log, MemoryLog, RecordKind, Writer};
use bytes::Bytes;

pub const SHARD: ShardId = ShardId(0);
pub const TERM: Term = Term(7);

pub fn new_log(shards: u32) -> MemoryLog {
    let log_id = LogId(uuid::Uuid::from_u128(9));
    MemoryLog::new(Identity { log_id, context: "bank".into(), shards, created_at: Timestamp::UNIX_EPOCH })
}

pub fn claimant(nonce: u64) -> Claimant {
    let nonce = u128::from(nonce).to_be_bytes();
    Claimant { node: "node".into(), address: String::new(), nonce, claimed_at: Timestamp::UNIX_EPOCH }
}

pub fn try_claim(log: &MemoryLog) -> Result<Arc<dyn Writer>, ClaimError> {
    log.claim(SHARD, &claimant(1))
}

pub fn claim(log: &MemoryLog) -> Arc<dyn Writer> {
    try_claim(log).unwrap_or_else(|e| panic!("{e}"))
}

pub fn try_append(writer: &dyn Writer, name: &str) -> Result<Seq, AppendError> {
    writer.append(RecordKind::Record, Bytes::copy_from_slice(name.as_bytes()), vec![TERM])
}

pub fn append(writer: &dyn Writer, names: &[&str]) -> Vec<Seq> {
    names.iter().map(|name| try_append(writer, name).unwrap_or_else(|e| panic!("{name}: {e}"))).collect()
}

/// The names of all accepted records of `shard`, and with them that the index agrees.
pub fn names_in(log: &MemoryLog, shard: ShardId) -> Vec<String> {
    let chunk = log.read(shard, Offset(0), usize::MAX).unwrap_or_else(|e| panic!("{e}"));
    let named = chunk.records.iter().filter(|record| matches!(record.header, Header::Record { .. }));
    let (names, offsets): (Vec<String>, Vec<Offset>) =
        named.map(|record| (String::from_utf8_lossy(&record.envelope).into_owned(), record.offset)).unzip();
    assert_eq!(log.find(shard, TERM, Offset(0), usize::MAX).as_ref(), Ok(&offsets), "the index has them all");
    names
}

pub fn names(log: &MemoryLog) -> Vec<String> {
    names_in(log, SHARD)
}
