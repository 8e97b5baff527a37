//! The source's records of all shards in one order: by the time of recording, and within a shard as they lie there.
//!
//! Invariant: everything below [`Merge::positions`] was handed out. It holds a chunk of each shard, and no more.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use annals_core::envelope::Record;
use annals_core::{Offset, ShardId};
use bytes::Bytes;

use super::{CopyError, Job, is_copied, shards};
use crate::port::Log;

/// The most bytes of envelopes that are read ahead in all shards together.
const READ_BYTES: usize = 8 * 1024 * 1024;
/// The least that is read ahead in one shard.
const READ_BYTES_MIN: usize = 16 * 1024;

/// A record of the source.
pub(super) struct Taken {
    pub(super) shard: ShardId,
    pub(super) offset: Offset,
    pub(super) envelope: Bytes,
    pub(super) record: Record,
}

pub(super) struct Merge<'a> {
    log: &'a dyn Log,
    cursors: Vec<Cursor>,
    /// The shards that have a record at hand, the one recorded first on top.
    heads: BinaryHeap<Reverse<(i64, ShardId)>>,
    read_bytes: usize,
}

struct Cursor {
    /// The next offset to read.
    next: Offset,
    /// Where to stop reading.
    goal: Offset,
    ahead: VecDeque<Taken>,
}

impl<'a> Merge<'a> {
    /// Begins at `from`, one offset per shard, and stands still until it has a goal.
    pub(super) fn new(log: &'a dyn Log, from: &[Offset]) -> Self {
        let cursor = |next: &Offset| Cursor { next: *next, goal: *next, ahead: VecDeque::new() };
        let read_bytes = (READ_BYTES / from.len().max(1)).max(READ_BYTES_MIN);
        Self { log, cursors: from.iter().map(cursor).collect(), heads: BinaryHeap::new(), read_bytes }
    }

    /// Lets it go on up to `goal`, one offset per shard.
    pub(super) fn set_goal(&mut self, goal: &[Offset]) -> Result<(), CopyError> {
        for (shard, goal) in shards(self.log).zip(goal) {
            let Some(cursor) = self.cursors.get_mut(shard.0 as usize) else { continue };
            cursor.goal = cursor.goal.max(*goal);
            if cursor.ahead.is_empty() {
                self.fill(shard)?;
            }
        }
        Ok(())
    }

    /// Shard and offset of the record that is next.
    pub(super) fn peek(&self) -> Option<(ShardId, Offset)> {
        let Reverse((_, shard)) = self.heads.peek()?;
        let head = self.cursors.get(shard.0 as usize)?.ahead.front()?;
        Some((*shard, head.offset))
    }

    /// The record that is next.
    pub(super) fn take(&mut self) -> Result<Option<Taken>, CopyError> {
        let Some(Reverse((_, shard))) = self.heads.pop() else { return Ok(None) };
        let Some(cursor) = self.cursors.get_mut(shard.0 as usize) else { return Ok(None) };
        let taken = cursor.ahead.pop_front();
        match cursor.ahead.front() {
            Some(head) => self.heads.push(Reverse((head.record.recorded_at_us, shard))),
            None => self.fill(shard)?,
        }
        Ok(taken)
    }

    /// Per shard, the offset below which everything was handed out.
    pub(super) fn positions(&self) -> Vec<Offset> {
        let position = |cursor: &Cursor| cursor.ahead.front().map_or(cursor.next, |head| head.offset);
        self.cursors.iter().map(position).collect()
    }

    /// Reads on in `shard`, which has nothing at hand, up to its goal or until there is something.
    fn fill(&mut self, shard: ShardId) -> Result<(), CopyError> {
        let Some(cursor) = self.cursors.get_mut(shard.0 as usize) else { return Ok(()) };
        while cursor.ahead.is_empty() && cursor.next < cursor.goal {
            let chunk = self.log.read(shard, cursor.next, self.read_bytes).map_err(CopyError::Source)?;
            let records = chunk.records.into_iter().filter(|raw| is_copied(raw) && raw.offset < cursor.goal);
            for raw in records {
                cursor.ahead.push_back(Taken::decode(shard, raw.offset, raw.envelope)?);
            }
            if chunk.next <= cursor.next {
                break;
            }
            cursor.next = chunk.next.min(cursor.goal);
        }
        if let Some(head) = cursor.ahead.front() {
            self.heads.push(Reverse((head.record.recorded_at_us, shard)));
        }
        Ok(())
    }
}

impl Taken {
    pub(super) fn decode(shard: ShardId, offset: Offset, envelope: Bytes) -> Result<Self, CopyError> {
        let record = Record::from_bytes(envelope.clone()).map_err(|reason| CopyError::Unreadable {
            log: "the source",
            shard,
            offset,
            reason,
        })?;
        Ok(Self { shard, offset, envelope, record })
    }
}

impl Job<'_> {
    /// The shard of the target that a record goes to: that of all its streams.
    pub(super) fn shard_of(&self, taken: &Taken) -> Result<ShardId, CopyError> {
        let mut slices = taken.record.slices.iter().map(|slice| slice.stream.as_str());
        let (shard, offset) = (taken.shard, taken.offset);
        let Some(first) = slices.next() else {
            return Err(CopyError::NoShard { shard, offset, stream: String::new() });
        };
        let first_shard = self.shard_of_stream(taken, first)?;
        for second in slices {
            let second_shard = self.shard_of_stream(taken, second)?;
            if second_shard != first_shard {
                let (first, second) = (first.to_owned(), second.to_owned());
                return Err(CopyError::Split { shard, offset, first, first_shard, second, second_shard });
            }
        }
        Ok(first_shard)
    }

    fn shard_of_stream(&self, taken: &Taken, stream: &str) -> Result<ShardId, CopyError> {
        let shards = self.target.identity().shards;
        if shards == 1 {
            return Ok(ShardId(0));
        }
        (self.route)(stream).filter(|shard| shard.0 < shards).ok_or_else(|| CopyError::NoShard {
            shard: taken.shard,
            offset: taken.offset,
            stream: stream.to_owned(),
        })
    }
}
