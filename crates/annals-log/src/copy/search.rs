//! Looking a record up in a log: by its terms, then byte for byte.

use annals_core::envelope::Record;
use annals_core::index::Term;
use annals_core::{Offset, ShardId};
use bytes::Bytes;

use super::is_copied;
use crate::port::{Log, RawRecord, ReadError};

/// Offsets asked for at a time; nearly always there is one.
const PAGE: usize = 8;
/// The most that one read brings while looking for the last record.
const BACK_BYTES: usize = 64 * 1024;

/// The offset of the first record in `shard` from `from` on that has this envelope. A term is a hash and may be
/// another record's, so the bytes are compared.
pub(super) fn find(
    log: &dyn Log,
    shard: ShardId,
    record: &Record,
    envelope: &Bytes,
    from: Offset,
) -> Result<Option<Offset>, ReadError> {
    let Some(term) = term(record) else { return Ok(None) };
    let mut from = from;
    loop {
        let offsets = log.find(shard, term, from, PAGE)?;
        for offset in &offsets {
            let found = log.get(shard, *offset)?;
            if found.is_some_and(|raw| is_copied(&raw) && raw.envelope == *envelope) {
                return Ok(Some(*offset));
            }
        }
        match offsets.last() {
            Some(last) if offsets.len() == PAGE => from = last.next(),
            _ => return Ok(None),
        }
    }
}

/// What a record is best found by: its command, which is its own, or its stream.
fn term(record: &Record) -> Option<Term> {
    let scope = record.slices.first()?;
    Some(match &record.command {
        Some(command) => Term::command(&scope.stream, &command.key),
        None => Term::stream(&scope.stream),
    })
}

/// The last accepted record of `shard` below `end`.
pub(super) fn last_below(log: &dyn Log, shard: ShardId, end: Offset) -> Result<Option<RawRecord>, ReadError> {
    let mut width = 1;
    loop {
        let from = Offset(end.0.saturating_sub(width));
        if let Some(record) = last_between(log, shard, from, end)? {
            return Ok(Some(record));
        }
        if from == Offset(0) {
            return Ok(None);
        }
        width *= 8;
    }
}

fn last_between(
    log: &dyn Log,
    shard: ShardId,
    from: Offset,
    end: Offset,
) -> Result<Option<RawRecord>, ReadError> {
    let (mut next, mut last) = (from, None);
    while next < end {
        let chunk = log.read(shard, next, BACK_BYTES)?;
        last = chunk.records.into_iter().rfind(|raw| raw.offset < end).or(last);
        if chunk.next <= next {
            break;
        }
        next = chunk.next;
    }
    Ok(last)
}
