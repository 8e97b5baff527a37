//! Logs with a known history: record `n` is the next event of a stream that `n` alone decides.
//!
//! Every stream gets one event in turn, in an order that changes from turn to turn, so the events of one stream
//! lie scattered over the whole log.

use std::path::Path;
use std::sync::Arc;

use annals_core::{LogId, ShardId, Timestamp};
use annals_file::FileLog;
use annals_log::{Claimant, Identity, Log, RecordKind, Writer};

use super::domain::{self, CONTEXT};
use super::error::BenchError;
use super::options::Notes;

/// The only shard.
pub(super) const SHARD: ShardId = ShardId(0);
/// Records handed to the log for each sync while it is filled.
const GROUP: u64 = 4096;
/// Steps from stream to stream: primes, so that a turn visits every stream once where they do not divide the
/// number of streams. No log that bench makes has so many streams that both do.
const STRIDES: [u64; 2] = [7_919, 7_907];

/// What a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct History {
    pub(super) events: u64,
    pub(super) streams: u64,
    /// How many keys the view has.
    pub(super) parties: u64,
}

impl History {
    /// The stream that record `n` belongs to.
    pub(super) fn stream_of(&self, n: u64) -> u64 {
        let turn = n / self.streams;
        let [first, second] = STRIDES;
        let stride = if self.streams.is_multiple_of(first) { second } else { first };
        ((n % self.streams) * stride + turn * 13) % self.streams
    }

    /// The version of every stream after all events.
    pub(super) fn versions(&self) -> Vec<u64> {
        let mut versions = vec![self.events / self.streams; self.streams as usize];
        for n in self.events - self.events % self.streams..self.events {
            if let Some(version) = versions.get_mut(self.stream_of(n) as usize) {
                *version += 1;
            }
        }
        versions
    }
}

/// Makes a log in `directory` with this history.
pub(super) fn filled(directory: &Path, history: &History, notes: Notes) -> Result<FileLog, BenchError> {
    let log = new_log(directory)?;
    fill(&log, history, notes)?;
    Ok(log)
}

/// Makes an empty log in `directory`.
pub(super) fn new_log(directory: &Path) -> Result<FileLog, BenchError> {
    let identity = Identity {
        log_id: LogId(uuid::Uuid::new_v4()),
        context: CONTEXT.to_owned(),
        shards: 1,
        created_at: Timestamp::now(),
    };
    Ok(FileLog::create(directory, identity, annals_file::Settings::default())?)
}

/// Claims the only shard.
pub(super) fn claim(log: &FileLog) -> Result<Arc<dyn Writer>, BenchError> {
    let claimant = Claimant {
        node: format!("bench {}", std::process::id()),
        address: String::new(),
        nonce: *uuid::Uuid::new_v4().as_bytes(),
        claimed_at: Timestamp::now(),
    };
    Ok(log.claim(SHARD, &claimant)?)
}

fn fill(log: &FileLog, history: &History, notes: Notes) -> Result<(), BenchError> {
    if history.events == 0 {
        return Ok(());
    }
    let writer = claim(log)?;
    for n in 0..history.events {
        let version = n / history.streams;
        let record = domain::record(n, history.stream_of(n), version, history.parties)?;
        let seq = writer.append(RecordKind::Record, record.envelope, record.terms)?;
        if n % GROUP == GROUP - 1 || n + 1 == history.events {
            writer.commit(seq)?;
            notes.progress("writing events", n + 1, history.events);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_visits_every_stream_once() {
        for (events, streams) in
            [(30_000, 10_000), (250, 100), (5, 1), (7, 10_000), (16_000, 7_919), (8_000, 7_907)]
        {
            let history = History { events, streams, parties: 1 };
            let mut versions = vec![0; streams as usize];
            for n in 0..events {
                let version = &mut versions[history.stream_of(n) as usize];
                assert_eq!(*version, n / streams, "event {n} of {streams} streams");
                *version += 1;
            }
            assert_eq!(versions, history.versions());
        }
    }
}
