//! What readers of a shard see: its segments and its end.
//!
//! Invariant: the end only grows, and everything below it is durable (in a replica, durable elsewhere) and can be read.
//! Readers share a lock for as long as it takes to copy a pointer; the writer takes it alone once per segment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use annals_core::index::Term;
use annals_core::{Offset, ShardId};
use annals_log::{Chunk, RawRecord, ReadError};
use parking_lot::{Condvar, MutexGuard, RwLock};

use crate::segment::Segment;

/// The readable part of a shard.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) shard: ShardId,
    segments: RwLock<Vec<Arc<Segment>>>,
    end: AtomicU64,
}

impl View {
    /// A view of segments that follow each other without a gap.
    pub(crate) fn new(shard: ShardId, segments: Vec<Arc<Segment>>, end: Offset) -> Self {
        Self { shard, segments: RwLock::new(segments), end: AtomicU64::new(end.0) }
    }

    /// Whether it is that of a replica.
    pub(crate) fn is_replica(&self) -> bool {
        self.last().is_some_and(|segment| segment.header.replica)
    }

    /// The offset after the last record.
    pub(crate) fn end(&self) -> Offset {
        Offset(self.end.load(Ordering::Acquire))
    }

    /// Shows readers the records below `end`, which their segments know already.
    pub(crate) fn advance(&self, end: Offset) {
        self.end.store(end.0, Ordering::Release);
    }

    /// Waits until the end is above `beyond`, for at most `timeout`; `advanced` is notified under the lock of
    /// `state` or after it whenever the end grew.
    pub(crate) fn wait<T>(
        &self,
        state: &mut MutexGuard<'_, T>,
        advanced: &Condvar,
        beyond: Offset,
        timeout: Duration,
    ) -> Offset {
        let deadline = Instant::now().checked_add(timeout);
        while self.end() <= beyond {
            match deadline {
                None => advanced.wait(state),
                Some(deadline) if advanced.wait_until(state, deadline).timed_out() => break,
                Some(_) => {}
            }
        }
        self.end()
    }

    /// Adds the segment that begins where the last one ends.
    pub(crate) fn push(&self, segment: Arc<Segment>) {
        self.segments.write().push(segment);
    }

    /// All segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().clone()
    }

    /// The newest segment.
    pub(crate) fn last(&self) -> Option<Arc<Segment>> {
        self.segments.read().last().cloned()
    }

    /// See [`annals_log::Log::read`].
    pub(crate) fn read(&self, from: Offset, bytes_max: usize) -> Result<Chunk, ReadError> {
        let mut chunk = Chunk { records: Vec::new(), next: from };
        let mut bytes = 0;
        while chunk.next < self.end() && (chunk.records.is_empty() || bytes < bytes_max) {
            let Some(segment) = self.segment_of(chunk.next) else { break };
            let next = segment.read(chunk.next, bytes_max, &mut bytes, &mut chunk.records)?;
            if next == chunk.next {
                break;
            }
            chunk.next = next;
        }
        while chunk.next < self.end() && self.is_ignored(chunk.next)? {
            chunk.next = chunk.next.next();
        }
        Ok(chunk)
    }

    /// See [`annals_log::Log::get`].
    pub(crate) fn get(&self, offset: Offset) -> Result<Option<RawRecord>, ReadError> {
        if offset >= self.end() {
            return Ok(None);
        }
        match self.segment_of(offset) {
            Some(segment) => Ok(segment.get(offset)?),
            None => Ok(None),
        }
    }

    /// The record at `offset`, also an ignored one.
    pub(crate) fn get_any(&self, offset: Offset) -> Result<Option<RawRecord>, ReadError> {
        if offset >= self.end() {
            return Ok(None);
        }
        match self.segment_of(offset) {
            Some(segment) => Ok(segment.get_any(offset)?),
            None => Ok(None),
        }
    }

    /// Offsets from `from` on of at most `limit` ignored records, ascending.
    pub(crate) fn ignored(&self, from: Offset, limit: usize) -> Result<Vec<Offset>, ReadError> {
        let mut found = Vec::new();
        // As in `find`.
        let first = number_of(&self.segments.read(), from);
        for at in first.. {
            let Some(segment) = self.segment(at).filter(|_| found.len() < limit) else { break };
            segment.ignored(from, limit, &mut found)?;
        }
        Ok(found)
    }

    /// See [`annals_log::Log::find`].
    pub(crate) fn find(&self, term: Term, from: Offset, limit: usize) -> Result<Vec<Offset>, ReadError> {
        let mut found = Vec::new();
        // The lock is given back before the loop, which takes it again: a writer may wait for it in between.
        let first = number_of(&self.segments.read(), from);
        for at in first.. {
            let left = limit - found.len();
            let Some(segment) = self.segment(at).filter(|_| left > 0) else { break };
            segment.find(term, from, left, &mut found)?;
        }
        Ok(found)
    }

    /// See [`annals_log::Log::find_last`].
    pub(crate) fn find_last(&self, term: Term) -> Result<Option<Offset>, ReadError> {
        let count = self.segments.read().len();
        for at in (0..count).rev() {
            let Some(segment) = self.segment(at) else { break };
            if let Some(offset) = segment.find_last(term)? {
                return Ok(Some(offset));
            }
        }
        Ok(None)
    }

    fn is_ignored(&self, offset: Offset) -> Result<bool, ReadError> {
        match self.segment_of(offset) {
            Some(segment) => Ok(segment.is_ignored(offset)?),
            None => Ok(false),
        }
    }

    fn segment_of(&self, offset: Offset) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        segments.get(number_of(&segments, offset)).cloned()
    }

    fn segment(&self, number: usize) -> Option<Arc<Segment>> {
        self.segments.read().get(number).cloned()
    }
}

/// The number of the segment that holds `offset`, or of the last one.
fn number_of(segments: &[Arc<Segment>], offset: Offset) -> usize {
    segments.partition_point(|segment| segment.header.base <= offset).saturating_sub(1)
}
