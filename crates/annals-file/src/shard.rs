//! A shard open for writing: appends fill a group, callers lead its sync.
//!
//! Invariant: nothing is shown to readers or acknowledged before the sync of its group succeeded; groups are
//! written one after the other. A write or sync that fails refuses every later append and commit: what the disk
//! holds is not known, and asking again would not tell (a failed fsync marks pages clean). Room for a record is
//! secured before it is taken, so a full disk refuses appends and harms nothing.
//!
//! Those who wait for a group are parked by thread, not on a condition variable: they are woken without the lock
//! and do not queue for it, and one of those who wait for the next group is woken first, to lead it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::thread::Thread;
use std::time::Duration;

use annals_core::envelope::{ENVELOPE_BYTES_MAX, Header};
use annals_core::index::Term;
use annals_core::{Epoch, Offset, Seq};
use annals_log::{AppendError, RecordKind};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::directory::next_path;
use crate::error::SegmentError;
use crate::format::GROUP_HEADER_BYTES;
use crate::group::{Buffers, Group};
use crate::index_file::Mark;
use crate::keeper::{Job, Kept};
use crate::place::{Place, RESERVE_BYTES, record_bytes, segment_bytes_for};
use crate::scan;
use crate::segment::Segment;
use crate::view::View;

/// A shard and its writer's state.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) view: View,
    place: Place,
    state: Mutex<State>,
    claiming: Mutex<()>,
    spare_changed: Condvar,
    advanced: Condvar,
    jobs: Sender<Job>,
}

#[derive(Debug)]
struct State {
    /// The segment appended to; the newest groups may not be in it yet.
    segment: Arc<Segment>,
    /// Where it stands once everything pending is written.
    mark: Mark,
    pending: Vec<Group>,
    /// The segment and the place in it at which the pending groups begin.
    settled: (Arc<Segment>, Mark),
    /// A caller is writing; the records below `flight_end` are on their way or durable.
    leading: bool,
    flight_end: Offset,
    /// How many waited for the last group.
    served: usize,
    /// Who waits for a record to become durable.
    waiters: Vec<Waiter>,
    /// Why nothing is taken any more.
    refusal: Option<String>,
    /// That of the newest claim made since the log was opened.
    fence: Fence,
    spare: Spare,
    spares: u64,
    buffers: Buffers,
}

#[derive(Debug)]
struct Waiter {
    offset: Offset,
    thread: Thread,
}

/// The claim or release that ended an epoch; shared by the epoch's writer, who asks without a lock.
#[derive(Clone, Debug)]
pub(crate) struct Fence(Arc<AtomicU64>);

impl Fence {
    fn open() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }

    /// Nothing from `end` on belongs to the epoch.
    fn close(&self, end: Offset) {
        self.0.store(end.0, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.at() < Offset(u64::MAX)
    }

    /// The first offset that is not the epoch's any more.
    fn at(&self) -> Offset {
        Offset(self.0.load(Ordering::Acquire))
    }
}

/// The segment to come.
#[derive(Debug, Default)]
enum Spare {
    #[default]
    None,
    Preparing,
    Ready {
        file: std::fs::File,
        path: PathBuf,
        bytes: u64,
    },
    Failed(String),
}

/// From so many callers served by one sync on, the next leader lets others run first.
const CROWD: usize = 4;
/// How often it does so.
const YIELDS: u32 = 4;

impl Shard {
    /// Goes on behind the last of `segments`, which readers may see up to its end.
    pub(crate) fn resume(
        place: Place,
        segments: Vec<Arc<Segment>>,
        last: Arc<Segment>,
        jobs: Sender<Job>,
    ) -> Self {
        let mark = last.mark();
        let view = View::new(place.shard, segments, mark.next);
        Self::with(place, view, State::new(last, mark), jobs)
    }

    fn with(place: Place, view: View, state: State, jobs: Sender<Job>) -> Self {
        let (spare_changed, advanced) = (Condvar::new(), Condvar::new());
        Self {
            view,
            place,
            state: Mutex::new(state),
            claiming: Mutex::new(()),
            spare_changed,
            advanced,
            jobs,
        }
    }

    /// Appends a claim and makes it durable. Every earlier writer is fenced; what it appended and nobody began to
    /// write is dropped.
    pub(crate) fn claim(&self, envelope: &[u8]) -> Result<(Epoch, Fence), AppendError> {
        let _one_at_a_time = self.claiming.lock();
        let mut state = self.state.lock();
        state.drop_pending();
        // Before room is waited for, without the lock: an earlier writer that appended meanwhile would give the
        // number of a dropped record, for which somebody may wait, to another one.
        let epoch = Epoch(state.mark.next.0);
        state.fence.close(Offset(epoch.0));
        wake(&state.take_waiters());
        self.make_room(&mut state, envelope.len(), None)?;
        state.push(Header::Claim, envelope, &[]);
        let fence = Fence::open();
        state.fence = fence.clone();
        drop(state);
        self.sync_upto(&fence, Offset(epoch.0))?;
        Ok((epoch, fence))
    }

    /// Appends a record under a claim without waiting.
    pub(crate) fn append(
        &self,
        epoch: Epoch,
        fence: &Fence,
        kind: RecordKind,
        envelope: &[u8],
        terms: &[Term],
    ) -> Result<Seq, AppendError> {
        if envelope.len() > ENVELOPE_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes: envelope.len(), bytes_max: ENVELOPE_BYTES_MAX });
        }
        let mut state = self.state.lock();
        self.make_room(&mut state, envelope.len(), Some(fence))?;
        let seq = state.mark.rule.next_seq();
        state.push(kind.header(epoch, seq), envelope, terms);
        if kind == RecordKind::Release {
            // Like a claim at the next offset: what was appended can be committed, nothing comes behind it.
            fence.close(state.mark.next);
        }
        Ok(seq)
    }

    /// Waits until the record numbered `seq` under `epoch` is durable, leading the sync where nobody does.
    pub(crate) fn commit(&self, epoch: Epoch, fence: &Fence, seq: Seq) -> Result<Offset, AppendError> {
        let offset = Offset(epoch.0 + 1 + seq.0);
        self.sync_upto(fence, offset)?;
        Ok(offset)
    }

    /// The number of the first record under `epoch` that is not durable; takes no lock.
    pub(crate) fn committed(&self, epoch: Epoch, fence: &Fence) -> Seq {
        // The end first: a claim closes the fence before it can become durable.
        let end = self.view.end();
        Seq(end.min(fence.at()).0.saturating_sub(epoch.0 + 1))
    }

    /// See [`annals_log::Log::wait`].
    pub(crate) fn wait(&self, beyond: Offset, timeout: Duration) -> Offset {
        self.view.wait(&mut self.state.lock(), &self.advanced, beyond, timeout)
    }

    /// Refuses further appends, writes what is pending and a seal, and the index of the last segment.
    pub(crate) fn close(&self) -> Result<(), String> {
        let mut state = self.state.lock();
        if let Some(reason) = self.refuse(&mut state, "the log was closed") {
            return Err(reason);
        }
        while state.leading {
            self.advanced.wait(&mut state);
        }
        self.lead(state);
        let mut state = self.state.lock();
        if self.view.end() == state.mark.next && !state.mark.sealed {
            state.seal();
            self.lead(state);
            state = self.state.lock();
        }
        let refused = state.take_waiters();
        let segment = Arc::clone(&state.segment);
        let durable = segment.mark() == state.mark;
        drop(state);
        wake(&refused);
        if !durable {
            return Err("the seal was not written".to_owned());
        }
        if segment.is_indexed() {
            return Ok(());
        }
        segment.write_index(&self.place.disk).map_err(|error| format!("{error:?}"))
    }

    /// Refuses everything from now on and forgets what is pending, like a process that ends.
    pub(crate) fn abandon(&self) {
        let mut state = self.state.lock();
        self.refuse(&mut state, "the log was abandoned");
        while state.leading {
            self.advanced.wait(&mut state);
        }
        state.pending.clear();
        let refused = state.take_waiters();
        drop(state);
        wake(&refused);
    }

    /// Sets the reason to refuse everything; the reason that there was before comes back.
    fn refuse(&self, state: &mut State, reason: &str) -> Option<String> {
        let before = state.refusal.clone();
        state.refusal.get_or_insert_with(|| reason.to_owned());
        if let Spare::Ready { path, .. } = std::mem::take(&mut state.spare) {
            // A leftover is removed when the log is opened next.
            let _ = std::fs::remove_file(path);
        }
        self.spare_changed.notify_all();
        self.advanced.notify_all();
        before
    }

    /// Waits until the record at `offset`, appended under the epoch of `fence`, is durable.
    fn sync_upto(&self, fence: &Fence, offset: Offset) -> Result<(), AppendError> {
        let mut again = false;
        // The end first, see `committed`.
        while self.view.end() <= offset || fence.at() <= offset {
            let mut state = self.state.lock();
            state.check_appended(fence, offset)?;
            if self.view.end() > offset {
                return Ok(());
            }
            let on_its_way = state.leading && offset < state.flight_end;
            match &state.refusal {
                Some(reason) if !on_its_way => return Err(AppendError::Broken { reason: reason.clone() }),
                _ if !state.leading => self.lead(state),
                _ => {
                    state.wait_for(offset, again);
                    again = true;
                    drop(state);
                    std::thread::park();
                }
            }
        }
        Ok(())
    }

    /// Writes everything pending as this caller, without holding the lock, and wakes one of those who wait for the
    /// next group, then those who waited for this.
    fn lead(&self, mut state: MutexGuard<'_, State>) {
        state.leading = true;
        if state.served >= CROWD {
            // Those just served are about to come back: a larger group costs hardly more than a small one.
            MutexGuard::unlocked(&mut state, || (0..YIELDS).for_each(|_| std::thread::yield_now()));
        }
        let mut groups = std::mem::take(&mut state.pending);
        state.flight_end = state.mark.next;
        state.settled = (Arc::clone(&state.segment), state.mark.clone());
        let written = MutexGuard::unlocked(&mut state, || self.write_and_show(&mut groups));
        state.leading = false;
        let woken = match written {
            Ok(()) => {
                self.view.advance(state.flight_end);
                let served = state.take_served();
                state.served = served.len();
                served
            }
            Err(error) => {
                let reason = format!("shard {} could not be written: {error}", self.place.shard);
                tracing::error!(%reason, "the log refuses writes from now on");
                state.refusal.get_or_insert(reason);
                state.take_waiters()
            }
        };
        if let Some(group) = groups.pop() {
            state.buffers = group.into_buffers();
        }
        self.advanced.notify_all();
        drop(state);
        wake(&woken);
    }

    fn write_and_show(&self, groups: &mut [Group]) -> io::Result<()> {
        for group in groups.iter_mut() {
            self.place.write(group)?;
        }
        for group in groups {
            if group.install.is_some() {
                if let Some(full) = self.view.last() {
                    self.ask(Job::Index { shard: self.place.shard, segment: full });
                }
                self.view.push(Arc::clone(&group.segment));
            }
            group.segment.publish(&group.additions, group.mark.clone());
        }
        Ok(())
    }

    /// Makes sure that a record of so many bytes fits into the segment appended to, taking the next one into use
    /// if it does not. Waits for the next segment where it is not ready.
    fn make_room(
        &self,
        state: &mut MutexGuard<'_, State>,
        envelope_bytes: usize,
        fence: Option<&Fence>,
    ) -> Result<(), AppendError> {
        let frame_bytes = record_bytes(envelope_bytes) + GROUP_HEADER_BYTES as u64;
        let needed = segment_bytes_for(record_bytes(envelope_bytes));
        let mut tried = false;
        loop {
            state.check_open(fence)?;
            let size = state.segment.header.bytes;
            if state.mark.position + frame_bytes + RESERVE_BYTES <= size {
                if state.mark.position > size / 4 && matches!(state.spare, Spare::None) {
                    self.ask_spare(state, self.place.settings.segment_bytes(size, 0));
                }
                return Ok(());
            }
            match std::mem::take(&mut state.spare) {
                Spare::Ready { file, path, bytes } if bytes >= needed => {
                    state.roll(&self.place, file, path, bytes);
                    // At once, and so before the index of the full segment is asked for: zeros take longer to
                    // write than a fast writer takes to fill a good part of a segment.
                    self.ask_spare(state, self.place.settings.segment_bytes(bytes, 0));
                    return Ok(());
                }
                Spare::Preparing => {
                    state.spare = Spare::Preparing;
                    self.spare_changed.wait(state);
                }
                Spare::Failed(reason) if tried => return Err(AppendError::Full { reason }),
                Spare::Ready { path, .. } => {
                    // Too small for this record. A leftover is removed when the log is opened next.
                    let _ = std::fs::remove_file(path);
                    self.ask_spare(state, self.place.settings.segment_bytes(size, needed));
                }
                Spare::None | Spare::Failed(_) => {
                    tried = true;
                    self.ask_spare(state, self.place.settings.segment_bytes(size, needed));
                }
            }
        }
    }

    fn ask_spare(&self, state: &mut State, bytes: u64) {
        state.spare = Spare::Preparing;
        if !self.ask(Job::Prepare { shard: self.place.shard, bytes }) {
            state.spare = Spare::Failed("the background thread has ended".to_owned());
        }
    }

    fn ask(&self, job: Job) -> bool {
        self.jobs.send(job).is_ok()
    }
}

impl Kept for Shard {
    fn prepare(&self, bytes: u64, stop: &AtomicBool) {
        let number = {
            let mut state = self.state.lock();
            state.spares += 1;
            state.spares
        };
        let path = next_path(&self.place.directory, number);
        let spare = match self.place.disk.create_zeroed(&path, bytes, stop) {
            Ok(file) => Spare::Ready { file, path, bytes },
            Err(error) => Spare::Failed(format!("a segment of {bytes} bytes cannot be prepared: {error}")),
        };
        self.state.lock().spare = spare;
        self.spare_changed.notify_all();
    }

    fn index(&self, segment: &Segment) -> Result<(), SegmentError> {
        segment.write_index(&self.place.disk)
    }
}

fn wake(waiters: &[Waiter]) {
    waiters.iter().for_each(|waiter| waiter.thread.unpark());
}

impl State {
    fn new(segment: Arc<Segment>, mark: Mark) -> Self {
        Self {
            settled: (Arc::clone(&segment), mark.clone()),
            segment,
            flight_end: mark.next,
            mark,
            pending: Vec::new(),
            leading: false,
            served: 0,
            waiters: Vec::new(),
            refusal: None,
            fence: Fence::open(),
            spare: Spare::None,
            spares: 0,
            buffers: Buffers::default(),
        }
    }

    /// Adds a record to the group being filled; there must be room.
    fn push(&mut self, header: Header, envelope: &[u8], terms: &[Term]) {
        if self.pending.is_empty() {
            self.begin(None);
        }
        if let Some(group) = self.pending.last_mut() {
            group.push(header, envelope);
            group.index(terms);
            self.mark.clone_from(&group.mark);
        }
    }

    /// Adds an empty group: a seal. Nothing else is pending.
    fn seal(&mut self) {
        self.begin(None);
        if let Some(group) = self.pending.last() {
            self.mark.clone_from(&group.mark);
        }
        self.mark.sealed = true;
    }

    /// Forgets what was appended and is not being written.
    fn drop_pending(&mut self) {
        for prepared in self.pending.drain(..).filter_map(|group| group.install) {
            // A leftover is removed when the log is opened next.
            let _ = std::fs::remove_file(prepared);
        }
        (self.segment, self.mark) = self.settled.clone();
    }

    fn begin(&mut self, install: Option<PathBuf>) {
        let buffers = std::mem::take(&mut self.buffers);
        self.pending.push(Group::new(Arc::clone(&self.segment), self.mark.clone(), install, buffers));
    }

    /// Goes on in the prepared segment.
    fn roll(&mut self, place: &Place, file: std::fs::File, prepared: PathBuf, bytes: u64) {
        self.segment = Arc::new(place.segment(file, self.mark.next, bytes, self.mark.rule.clone()));
        self.mark = scan::start(&self.segment.header, self.segment.seed);
        self.begin(Some(prepared));
    }

    fn check_open(&self, fence: Option<&Fence>) -> Result<(), AppendError> {
        if let Some(reason) = &self.refusal {
            return Err(AppendError::Broken { reason: reason.clone() });
        }
        if fence.is_some_and(Fence::is_closed) {
            return Err(AppendError::Fenced);
        }
        Ok(())
    }

    /// Whether the record at `offset` was appended under the epoch of `fence`.
    fn check_appended(&self, fence: &Fence, offset: Offset) -> Result<(), AppendError> {
        if offset >= fence.at() {
            return Err(AppendError::Fenced);
        }
        if offset >= self.mark.next {
            let reason = format!("no record was appended for offset {offset}");
            return Err(AppendError::OutcomeUnknown { reason });
        }
        Ok(())
    }

    /// Notes that this thread parks until the record at `offset` is durable, or something else is to be said;
    /// `again` when it did that before and may be noted still, because something else woke it.
    fn wait_for(&mut self, offset: Offset, again: bool) {
        let thread = std::thread::current();
        if !again || !self.waiters.iter().any(|waiter| waiter.thread.id() == thread.id()) {
            self.waiters.push(Waiter { offset, thread });
        }
    }

    /// One of those who wait for records that are not written yet, so that it leads, and all who wait for others.
    fn take_served(&mut self) -> Vec<Waiter> {
        let end = self.flight_end;
        let next = self.waiters.iter().position(|waiter| waiter.offset >= end);
        let next = next.map(|at| self.waiters.swap_remove(at));
        next.into_iter().chain(self.waiters.extract_if(.., |waiter| waiter.offset < end)).collect()
    }

    fn take_waiters(&mut self) -> Vec<Waiter> {
        std::mem::take(&mut self.waiters)
    }
}
