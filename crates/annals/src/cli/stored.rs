//! Stored events in order: of one stream by way of the index, or of a whole log shard by shard.
//!
//! Reads what is durable; a reader goes on where it stopped, so that following costs what is new only.

use std::sync::Arc;
use std::time::Duration;

use annals_core::envelope::{Header, Record};
use annals_core::event::{StoredEvent, events};
use annals_core::index::Term;
use annals_core::{Offset, ShardId, StreamName};
use annals_log::{Log, RawRecord};

use super::failure::Failure;

/// How much of a shard is read at a time, in bytes of envelopes.
const CHUNK_BYTES: usize = 1 << 20;
/// How many records of a stream are asked of the index at a time.
const PAGE_RECORDS: usize = 1024;

/// Reads the events of a log or of one of its streams.
pub(crate) struct Events {
    log: Arc<dyn Log>,
    /// The next offset of each shard that is read.
    next: Vec<(ShardId, Offset)>,
    stream: Option<StreamName>,
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Go {
    On,
    Stop,
}

impl Events {
    /// All events.
    pub(crate) fn all(log: Arc<dyn Log>) -> Self {
        let next = (0..log.identity().shards).map(|shard| (ShardId(shard), Offset(0))).collect();
        Self { log, next, stream: None }
    }

    /// The events of `stream`, which lies in `shard`.
    pub(crate) fn of(log: Arc<dyn Log>, shard: ShardId, stream: StreamName) -> Self {
        Self { log, next: vec![(shard, Offset(0))], stream: Some(stream) }
    }

    /// Shows all events from where it stands to the end, shard by shard.
    pub(crate) fn advance(&mut self, show: &mut Show<'_>) -> Result<Go, Failure> {
        for index in 0..self.next.len() {
            while let Some((records, next)) = self.page(index)? {
                for raw in &records {
                    if self.show_record(index, raw, show)? == Go::Stop {
                        return Ok(Go::Stop);
                    }
                }
                if let Some(slot) = self.next.get_mut(index) {
                    slot.1 = next;
                }
            }
        }
        Ok(Go::On)
    }

    /// Waits until a shard that is read has more, or a while.
    pub(crate) fn wait(&self) {
        /// How often the shards are looked at in turn.
        const TURN: Duration = Duration::from_millis(100);
        for (shard, next) in &self.next {
            // `end` is the offset after the last record: waiting for more than what was read.
            if self.log.wait(*shard, *next, TURN / u32::try_from(self.next.len()).unwrap_or(1)) > *next {
                return;
            }
        }
    }

    /// The next records of a shard, and where to go on; `None` at its end.
    fn page(&self, index: usize) -> Result<Option<(Vec<RawRecord>, Offset)>, Failure> {
        let Some(&(shard, from)) = self.next.get(index) else { return Ok(None) };
        let end = self.log.end(shard);
        let Some(stream) = &self.stream else {
            let chunk = self.log.read(shard, from, CHUNK_BYTES)?;
            return Ok((chunk.next > from).then_some((chunk.records, chunk.next)));
        };
        let offsets = self.log.find(shard, Term::stream(stream.as_str()), from, PAGE_RECORDS)?;
        // Records of other streams are behind us too: what was the end before the index was asked.
        let Some(last) = offsets.last() else { return Ok((end > from).then_some((Vec::new(), end))) };
        let next = if offsets.len() < PAGE_RECORDS { end.max(last.next()) } else { last.next() };
        let mut records = Vec::with_capacity(offsets.len());
        for offset in offsets {
            records.extend(self.log.get(shard, offset)?);
        }
        Ok(Some((records, next)))
    }

    fn show_record(&self, index: usize, raw: &RawRecord, show: &mut Show<'_>) -> Result<Go, Failure> {
        let Some(&(shard, _)) = self.next.get(index) else { return Ok(Go::Stop) };
        if !matches!(raw.header, Header::Record { .. }) {
            return Ok(Go::On);
        }
        let record = Record::from_bytes(raw.envelope.clone());
        let record =
            record.map_err(|error| Failure::No(format!("record {shard}-{}: {error}", raw.offset)))?;
        for event in events(shard, raw.offset, &record) {
            // A term is a hash, and a record may hold several streams: compare.
            let other = self.stream.as_ref().is_some_and(|stream| stream.as_str() != event.slice.stream);
            if !other && show(&event)? == Go::Stop {
                return Ok(Go::Stop);
            }
        }
        Ok(Go::On)
    }
}

/// Shows one event.
pub(crate) type Show<'a> = dyn FnMut(&StoredEvent<'_>) -> Result<Go, Failure> + 'a;
