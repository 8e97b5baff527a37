//! A shard of a replica: what is appended is judged, written by one call, indexed and shown, without a sync.
//!
//! Invariant: an append is taken whole or not at all, in one group and so in one segment; the group's header promises
//! no record that was not synced. A write that fails leaves the end where it was, and the next append writes over what
//! it left. A sync that fails ends the replica: what the disk holds is not known then.
//!
//! Full segments are synced and get their index file in the background; until then a power loss can take them, and
//! opening the replica cuts it there.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;
use std::time::Duration;

use annals_core::envelope::{ENVELOPE_BYTES_MAX, Header};
use annals_core::index::Term;
use annals_core::reader::{Ignored, ReaderRule, Verdict};
use annals_core::{Offset, ShardId};
use annals_log::{Chunk, RawRecord, ReadError};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::collector::terms_of;
use crate::directory::next_path;
use crate::error::{FeedError, SegmentError};
use crate::format::GROUP_HEADER_BYTES;
use crate::group::{Buffers, Group};
use crate::index_file::Mark;
use crate::keeper::{Job, Kept};
use crate::place::{Place, RESERVE_BYTES, record_bytes, segment_bytes_for};
use crate::recover::Opened;
use crate::scan;
use crate::segment::Segment;
use crate::view::View;

/// The most that the records of one append may take: all of them lie in one segment.
const APPEND_BYTES_MAX: u64 = 1 << 30;

/// A record as it arrived from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// What stood outside the envelope.
    pub header: Header,
    /// The envelope, byte for byte. Of foreign bytes only as many are kept as an envelope may have.
    pub envelope: Bytes,
    /// What a [`Header::Record`] can be found by, where that is known; without, it is computed from the envelope. Has
    /// no meaning for other kinds.
    pub terms: Option<Vec<Term>>,
}

/// One shard of a [`Replica`](super::Replica).
///
/// Readers see accepted records as they do in any log ([`annals_log::Log`]), once the append that brought them has
/// returned. [`raw`](Self::raw) also gives the others.
#[derive(Debug)]
pub struct ReplicaShard {
    pub(super) view: View,
    place: Place,
    tail: Mutex<Tail>,
    advanced: Condvar,
    jobs: Sender<Job>,
}

#[derive(Debug)]
struct Tail {
    /// The segment appended to, and where it stands.
    segment: Arc<Segment>,
    mark: Mark,
    /// Full segments that may not be durable yet, oldest first.
    unsynced: Vec<Arc<Segment>>,
    /// Every record below it is durable.
    durable: Offset,
    /// A write failed and may have left bytes behind the mark.
    dirty: bool,
    ended: Option<Ended>,
    ignored: BTreeMap<Ignored, u64>,
    /// How many segments were begun.
    begun: u64,
    buffers: Buffers,
}

/// Why nothing is taken any more.
#[derive(Debug)]
enum Ended {
    Closed,
    Broken(String),
}

impl ReplicaShard {
    /// Goes on behind what was opened, all of which is durable.
    pub(super) fn resume(place: Place, opened: Opened, jobs: Sender<Job>) -> Self {
        let mark = opened.last.mark();
        let view = View::new(place.shard, opened.segments, mark.next);
        let tail = Tail {
            segment: opened.last,
            durable: mark.next,
            mark,
            unsynced: Vec::new(),
            dirty: false,
            ended: None,
            ignored: BTreeMap::new(),
            begun: 0,
            buffers: Buffers::default(),
        };
        Self { view, place, tail: Mutex::new(tail), advanced: Condvar::new(), jobs }
    }

    /// Which shard it is.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.place.shard
    }

    /// The offset at which the next record is appended; all below it are here.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.view.end()
    }

    /// The reader rule before the next record.
    #[must_use]
    pub fn rule(&self) -> ReaderRule {
        self.tail.lock().mark.rule.clone()
    }

    /// Appends records at the next offsets, and says what the reader rule makes of each. They are shown to readers and
    /// survive the end of the process when it returns; they are durable after [`ReplicaShard::sync`].
    ///
    /// All of them are taken, or, with an error, none. After [`FeedError::Unwritten`] the same can be tried again.
    pub fn append(&self, records: &[Arrival]) -> Result<Vec<Verdict>, FeedError> {
        let mut tail = self.tail.lock();
        tail.check_open()?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = bytes_of(tail.mark.next, records)?;
        let mut group = self.begin(&mut tail, bytes).map_err(|error| self.unwritten(error))?;
        let written = fill(&mut group, records).and_then(|verdicts| {
            self.write(&mut tail, &mut group)?;
            Ok(verdicts)
        });
        match &written {
            Ok(verdicts) => {
                self.show(&mut tail, group);
                tail.count(verdicts);
                self.advanced.notify_all();
            }
            Err(_) => {
                // A leftover is removed when the replica is opened next.
                let _ = group.install.map(std::fs::remove_file);
            }
        }
        written
    }

    /// Makes durable what was appended before the call, and returns the offset below which every record is.
    pub fn sync(&self) -> Result<Offset, FeedError> {
        let (segments, end) = {
            let tail = self.tail.lock();
            tail.check_open()?;
            tail.undurable()
        };
        // The name of a segment becomes durable with the segment before it.
        self.make_durable(&segments, segments.len() > 1, end)
    }

    /// See [`annals_log::Log::end`]; the same as [`ReplicaShard::next`].
    #[must_use]
    pub fn end(&self) -> Offset {
        self.view.end()
    }

    /// See [`annals_log::Log::read`].
    pub fn read(&self, from: Offset, bytes_max: usize) -> Result<Chunk, ReadError> {
        self.view.read(from, bytes_max)
    }

    /// See [`annals_log::Log::get`].
    pub fn get(&self, offset: Offset) -> Result<Option<RawRecord>, ReadError> {
        self.view.get(offset)
    }

    /// See [`annals_log::Log::find`].
    pub fn find(&self, term: Term, from: Offset, limit: usize) -> Result<Vec<Offset>, ReadError> {
        self.view.find(term, from, limit)
    }

    /// See [`annals_log::Log::find_last`].
    pub fn find_last(&self, term: Term) -> Result<Option<Offset>, ReadError> {
        self.view.find_last(term)
    }

    /// See [`annals_log::Log::wait`].
    pub fn wait(&self, beyond: Offset, timeout: Duration) -> Offset {
        self.view.wait(&mut self.tail.lock(), &self.advanced, beyond, timeout)
    }

    /// What is at `offset`, ignored records and foreign bytes included; `None` at the end and above.
    pub fn raw(&self, offset: Offset) -> Result<Option<RawRecord>, ReadError> {
        self.view.get_any(offset)
    }

    /// Offsets from `from` on of at most `limit` records that are ignored, ascending.
    pub fn ignored(&self, from: Offset, limit: usize) -> Result<Vec<Offset>, ReadError> {
        self.view.ignored(from, limit)
    }

    /// How many records were ignored since the replica was opened, by reason.
    #[must_use]
    pub fn ignored_since_open(&self) -> BTreeMap<Ignored, u64> {
        self.tail.lock().ignored.clone()
    }

    /// Makes everything durable, writes a seal and the index file of the last segment; refuses further appends.
    pub(super) fn close(&self) -> Result<(), FeedError> {
        let (segments, end) = {
            let mut tail = self.tail.lock();
            tail.check_open()?;
            tail.ended = Some(Ended::Closed);
            tail.undurable()
        };
        self.make_durable(&segments, segments.len() > 1, end)?;
        let mut tail = self.tail.lock();
        if !tail.mark.sealed {
            let mut seal = self.begin(&mut tail, 0).map_err(|error| self.unwritten(error))?;
            self.write(&mut tail, &mut seal)?;
            self.show(&mut tail, seal);
            self.place.disk.sync(&tail.segment.file).map_err(|error| self.unwritten(error))?;
        }
        if tail.segment.is_indexed() {
            return Ok(());
        }
        tail.segment.write_index(&self.place.disk).map_err(|error| self.unwritten(error.into_io()))
    }

    /// Refuses further appends, like a process that ends.
    pub(super) fn abandon(&self) {
        self.tail.lock().ended.get_or_insert(Ended::Closed);
    }

    /// An empty group for records that take so many bytes: at the end of the last segment, or at the beginning of a
    /// new one.
    fn begin(&self, tail: &mut Tail, records_bytes: u64) -> io::Result<Group> {
        let (segment, mark) = (Arc::clone(&tail.segment), tail.mark.clone());
        let size = segment.header.bytes;
        if tail.dirty {
            self.place.disk.clear(&segment.file, mark.position, size)?;
            tail.dirty = false;
        }
        let buffers = std::mem::take(&mut tail.buffers);
        let reserved = if records_bytes == 0 { 0 } else { RESERVE_BYTES };
        if mark.position + GROUP_HEADER_BYTES as u64 + records_bytes + reserved <= size {
            return Ok(Group::new(segment, mark, None, buffers));
        }
        tail.begun += 1;
        let path = next_path(&self.place.directory, tail.begun);
        let bytes = self.place.settings.segment_bytes(size, segment_bytes_for(records_bytes));
        let file = self.place.disk.create_sparse(&path, bytes)?;
        let segment = Arc::new(self.place.segment(file, mark.next, bytes, mark.rule));
        let mark = scan::start(&segment.header, segment.seed);
        Ok(Group::new(segment, mark, Some(path), buffers))
    }

    fn write(&self, tail: &mut Tail, group: &mut Group) -> Result<(), FeedError> {
        self.place.write_lazily(group, tail.durable).map_err(|error| {
            tail.dirty |= group.install.is_none();
            self.unwritten(error)
        })
    }

    fn unwritten(&self, source: io::Error) -> FeedError {
        FeedError::Unwritten { shard: self.place.shard, source }
    }

    /// Shows readers a group that was written, and asks for the index of the segment before it where that is full.
    fn show(&self, tail: &mut Tail, group: Group) {
        let full = std::mem::replace(&mut tail.segment, Arc::clone(&group.segment));
        tail.mark = group.mark.clone();
        if group.install.is_some() {
            tail.unsynced.push(Arc::clone(&full));
            self.view.push(Arc::clone(&group.segment));
            // Without the background thread, memory holds the index, and closing syncs the segment.
            let _ = self.jobs.send(Job::Index { shard: self.place.shard, segment: full });
        }
        group.segment.publish(&group.additions, group.mark.clone());
        self.view.advance(tail.mark.next);
        tail.buffers = group.into_buffers();
    }

    /// Syncs segments that hold all records below `end` which are not durable yet, and the names of segments.
    fn make_durable(&self, segments: &[Arc<Segment>], names: bool, end: Offset) -> Result<Offset, FeedError> {
        let Place { disk, directory, .. } = &self.place;
        let synced = segments
            .iter()
            .try_for_each(|segment| disk.sync(&segment.file))
            .and_then(|()| if names { disk.sync_directory(directory) } else { Ok(()) });
        let mut tail = self.tail.lock();
        if let Err(error) = synced {
            let reason = format!("shard {} could not be synced: {error}", self.place.shard);
            tracing::error!(%reason, "the replica takes no more records");
            tail.ended = Some(Ended::Broken(reason.clone()));
            return Err(FeedError::Broken { reason });
        }
        if let Some(Ended::Broken(reason)) = &tail.ended {
            // Another sync failed meanwhile, and this one may have succeeded by not being told.
            return Err(FeedError::Broken { reason: reason.clone() });
        }
        tail.durable = tail.durable.max(end);
        tail.unsynced.retain(|segment| segment.mark().next > end);
        Ok(tail.durable)
    }
}

impl Kept for ReplicaShard {
    /// Segments take no room before they are written to, so they are made when they are needed.
    fn prepare(&self, _bytes: u64, _stop: &AtomicBool) {}

    fn index(&self, segment: &Segment) -> Result<(), SegmentError> {
        let end = segment.mark().next;
        let unsynced: Vec<_> = {
            let tail = self.tail.lock();
            tail.unsynced.iter().filter(|other| other.header.base < end).map(Arc::clone).collect()
        };
        // An index file says that what it covers is durable.
        let durable = self.make_durable(&unsynced, true, end);
        durable.map_err(|error| segment.io(io::Error::other(error)))?;
        segment.write_index(&self.place.disk)
    }
}

impl Tail {
    fn check_open(&self) -> Result<(), FeedError> {
        match &self.ended {
            None => Ok(()),
            Some(Ended::Closed) => Err(FeedError::Closed),
            Some(Ended::Broken(reason)) => Err(FeedError::Broken { reason: reason.clone() }),
        }
    }

    /// The segments that hold what may not be durable yet, and the end.
    fn undurable(&self) -> (Vec<Arc<Segment>>, Offset) {
        let segments = self.unsynced.iter().chain(std::iter::once(&self.segment));
        (segments.map(Arc::clone).collect(), self.mark.next)
    }

    fn count(&mut self, verdicts: &[Verdict]) {
        for verdict in verdicts {
            if let Verdict::Ignored(reason) = verdict {
                *self.ignored.entry(*reason).or_default() += 1;
            }
        }
    }
}

/// The most bytes that records take in a segment.
fn bytes_of(first: Offset, records: &[Arrival]) -> Result<u64, FeedError> {
    let mut sum = 0;
    for (offset, record) in (first.0..).map(Offset).zip(records) {
        let bytes = kept(record).len();
        if bytes > ENVELOPE_BYTES_MAX {
            return Err(FeedError::TooLarge { offset, bytes, bytes_max: ENVELOPE_BYTES_MAX });
        }
        sum += record_bytes(bytes);
    }
    if sum > APPEND_BYTES_MAX {
        return Err(FeedError::TooMany { bytes: sum, bytes_max: APPEND_BYTES_MAX });
    }
    Ok(sum)
}

/// What is kept of an envelope: foreign bytes may be more than a frame can hold.
fn kept(record: &Arrival) -> &[u8] {
    match record.header {
        Header::Foreign => record.envelope.get(..ENVELOPE_BYTES_MAX).unwrap_or(&record.envelope),
        _ => &record.envelope,
    }
}

/// Puts records into a group, judged and with what they can be found by.
fn fill(group: &mut Group, records: &[Arrival]) -> Result<Vec<Verdict>, FeedError> {
    let mut verdicts = Vec::with_capacity(records.len());
    for record in records {
        let offset = group.mark.next;
        let verdict = group.push(record.header, kept(record));
        if verdict == Verdict::Accepted {
            group.index(&terms(offset, record)?);
        }
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

fn terms(offset: Offset, record: &Arrival) -> Result<Cow<'_, [Term]>, FeedError> {
    match (record.header, &record.terms) {
        (Header::Record { .. }, Some(terms)) => Ok(Cow::Borrowed(terms)),
        (header, _) => match terms_of(offset, header, record.envelope.clone()) {
            Ok(terms) => Ok(Cow::Owned(terms)),
            Err(found) => Err(FeedError::Newer { offset, found }),
        },
    }
}
