//! A shard open for reading only, possibly beside a live writer in another process.
//!
//! Invariant: it changes nothing in the directory and shows only what is durable: it syncs a segment itself
//! before it shows records that the writer may not have synced yet. In a replica it shows what is there: that is
//! durable in the log it was made from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::Offset;
use parking_lot::Mutex;

use crate::directory::segment_path;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::format::SegmentHeader;
use crate::recover::Opened;
use crate::segment::{Expect, Segment};
use crate::view::View;

/// How often a waiting reader looks whether the writer has gone on.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A shard that somebody else may be writing.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) view: View,
    directory: std::path::PathBuf,
    disk: Disk,
    refreshing: Mutex<()>,
}

impl Follower {
    /// Goes on behind what was opened.
    pub(crate) fn new(opened: Opened, disk: Disk) -> Self {
        let header = &opened.last.header;
        let view = View::new(header.shard, opened.segments.clone(), opened.last.mark().next);
        Self { view, directory: opened.directory, disk, refreshing: Mutex::new(()) }
    }

    /// The end as it is now.
    pub(crate) fn end(&self) -> Offset {
        let _one_at_a_time = self.refreshing.lock();
        while let Some(last) = self.view.last() {
            let replica = last.header.replica;
            let caught_up = last.catch_up(&mut |_| if replica { Ok(()) } else { self.disk.sync(&last.file) });
            if let Err(error) = caught_up {
                tracing::warn!(?error, "the end of the log cannot be read; showing what was read before");
                break;
            }
            let end = last.mark().next;
            self.view.advance(end);
            match self.next_segment(&last, end) {
                Ok(Some(next)) => self.view.push(next),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "the next segment cannot be opened");
                    break;
                }
            }
        }
        self.view.end()
    }

    /// See [`annals_log::Log::wait`].
    pub(crate) fn wait(&self, beyond: Offset, timeout: Duration) -> Offset {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let end = self.end();
            let left =
                deadline.map_or(POLL_INTERVAL, |deadline| deadline.saturating_duration_since(Instant::now()));
            if end > beyond || left.is_zero() {
                return end;
            }
            std::thread::sleep(left.min(POLL_INTERVAL));
        }
    }

    /// The segment that begins at `end`, when the writer has made it; the index file of `last` is then complete
    /// soon, and taken into use if it is by now.
    fn next_segment(&self, last: &Segment, end: Offset) -> Result<Option<Arc<Segment>>, OpenError> {
        let path = segment_path(&self.directory, end);
        if end == last.header.base || !path.exists() {
            return Ok(None);
        }
        last.take_index_file();
        let SegmentHeader { log_id, shard, replica, .. } = last.header;
        let expect = Expect { log_id: Some(log_id), replica: Some(replica), shard, base: end };
        Segment::open(&path, &expect, false).map(|segment| Some(Arc::new(segment)))
    }
}
