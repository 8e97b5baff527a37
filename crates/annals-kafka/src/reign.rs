//! A claim in force: its tenure, the records in flight, and those who wait for them.
//!
//! Invariant: what is committed is in the replica, so its index never lags what the owner decides on. A record that is acknowledged is
//! committed soon after, or the replica could not be written, and then nobody is told that it was.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Instant;

use annals_core::index::Term;
use annals_core::reader::Verdict;
use annals_core::{Epoch, Offset, Seq};
use annals_file::Arrival;
use annals_log::{AppendError, RecordKind};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::bursts::{NotSent, Unsent};
use crate::producer::Producer;
use crate::tenure::{Acknowledged, End, Report, Tenure};

/// One claim of this process and what was appended under it.
pub(crate) struct Reign {
    pub(crate) generation: u16,
    epoch: Epoch,
    partition: i32,
    producer: Arc<Producer>,
    committed: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    tenure: Tenure,
    /// Appended and not acknowledged, in order.
    pending: VecDeque<Arrival>,
    waiters: Vec<Waiter>,
    /// What was acknowledged last could not be written to the replica.
    unwritten: bool,
    /// Since when the log is read to settle what is in flight.
    reading_since: Option<Instant>,
}

struct Waiter {
    seq: Seq,
    thread: Thread,
}

/// How a reign stands after it heard something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Reports alone acknowledge.
    Trusting,
    /// The log must be read.
    Reading,
    /// It is over, and its producer can be used again.
    Fenced,
    /// It is over, and its producer cannot be used again.
    Unknown,
}

impl Reign {
    /// A reign that begins with `tenure`.
    pub(crate) fn new(generation: u16, partition: i32, producer: Arc<Producer>, tenure: Tenure) -> Self {
        let epoch = tenure.epoch();
        let inner = Inner {
            tenure,
            pending: VecDeque::new(),
            waiters: Vec::new(),
            unwritten: false,
            reading_since: None,
        };
        Self {
            generation,
            epoch,
            partition,
            producer,
            committed: AtomicU64::new(0),
            inner: Mutex::new(inner),
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// See [`annals_log::Writer::committed`].
    pub(crate) fn committed(&self) -> Seq {
        Seq(self.committed.load(Ordering::Acquire))
    }

    /// See [`annals_log::Writer::is_in_force`].
    pub(crate) fn is_in_force(&self) -> bool {
        self.inner.lock().tenure.vacancy().is_ok()
    }

    /// Takes a record to be sent. `Ok(None)`: too much waits to be sent now.
    pub(crate) fn append(
        &self,
        kind: RecordKind,
        envelope: &Bytes,
        terms: &mut Vec<Term>,
    ) -> Result<Option<Seq>, AppendError> {
        let mut inner = self.inner.lock();
        let seq = inner.tenure.vacancy().map_err(|end| append_error(&end))?;
        let header = kind.header(self.epoch, seq);
        let (partition, token) = (self.partition, token(self.generation, seq.0));
        match self.producer.send(Unsent { partition, header, envelope: envelope.clone(), token }) {
            Ok(()) => {}
            Err(NotSent::NoRoom) => return Ok(None),
            Err(NotSent::Refused(reason)) => {
                let end = End::Unknown(reason);
                inner.tenure.finish(end.clone());
                drop(inner);
                self.settle();
                return Err(append_error(&end));
            }
        }
        inner.tenure.sent();
        if kind == RecordKind::Release {
            inner.tenure.close();
        }
        let terms = Some(std::mem::take(terms));
        inner.pending.push_back(Arrival { header, envelope: envelope.clone(), terms });
        Ok(Some(seq))
    }

    /// Waits until the record `seq` is committed, or will not be by this reign. Who waits takes the reports, or is listed
    /// to be woken while another does.
    pub(crate) fn commit(&self, seq: Seq) -> Result<Offset, AppendError> {
        let mut alone = true;
        loop {
            let mut inner = self.inner.lock();
            if seq < self.committed() {
                self.pass_on(&inner);
                let offset = inner.tenure.offset_of(seq);
                return offset.ok_or_else(|| unknown("the record's offset is not known"));
            }
            // What is acknowledged is on its way into the replica.
            let on_its_way = seq < inner.tenure.acknowledged() && !inner.unwritten;
            match inner.tenure.end() {
                Some(end) if !on_its_way => return Err(append_error(end)),
                None if seq >= inner.tenure.next() => {
                    return Err(unknown("no record with this number was appended"));
                }
                _ => {}
            }
            if !alone {
                inner.list(seq);
            }
            drop(inner);
            // Once listed it looks again: whoever took the reports may have passed that on to nobody.
            match self.producer.take_reports() {
                true => {}
                false if alone => alone = false,
                false => std::thread::park(),
            }
        }
    }

    /// See [`crate::producer::Sink::untaken`].
    pub(crate) fn untaken(&self) {
        self.pass_on(&self.inner.lock());
    }

    /// One of those who still wait takes the reports next, where nobody does.
    fn pass_on(&self, inner: &Inner) {
        if let Some(next) = inner.waiters.first()
            && self.producer.is_untaken()
        {
            next.thread.unpark();
        }
    }

    /// Takes reports in; what they acknowledged comes back in order, to be given to the replica and then to
    /// [`Reign::commit_upto`].
    pub(crate) fn reported(&self, reports: impl Iterator<Item = (Seq, Report)>) -> Vec<Arrival> {
        let mut inner = self.inner.lock();
        let mut arrivals = Vec::new();
        for (seq, report) in reports {
            if let Some(acknowledged) = inner.tenure.reported(seq, report) {
                inner.take(acknowledged, &mut arrivals);
            }
        }
        arrivals
    }

    /// Takes in what was read and judged at the replica's last offsets. What became acknowledged by it is committed;
    /// what reports that waited acknowledge behind it comes back as from [`Reign::reported`].
    pub(crate) fn read(&self, first: Offset, read: &[Arrival], verdicts: &[Verdict]) -> Vec<Arrival> {
        let mut inner = self.inner.lock();
        let mut offset = first;
        for (Arrival { header, envelope, .. }, verdict) in read.iter().zip(verdicts) {
            let front = inner.pending.front();
            let sent = front.is_some_and(|front| front.header == *header && front.envelope == *envelope);
            if inner.tenure.read(offset, *header, *verdict, sent).is_some() {
                inner.pending.pop_front();
            }
            offset = offset.next();
        }
        self.show(&mut inner);
        let mut arrivals = Vec::new();
        if let Some(acknowledged) = inner.tenure.take_reports() {
            inner.take(acknowledged, &mut arrivals);
        }
        arrivals
    }

    /// Everything acknowledged is in the replica: those who wait for it may go on.
    pub(crate) fn commit_acknowledged(&self) {
        self.show(&mut self.inner.lock());
    }

    /// What was acknowledged could not be written to the replica.
    pub(crate) fn replica_failed(&self, reason: String) {
        let mut inner = self.inner.lock();
        inner.unwritten = true;
        inner.tenure.finish(End::Unknown(reason));
    }

    /// The log reaches to `end`, as a broker says.
    pub(crate) fn noticed(&self, end: Offset) {
        self.inner.lock().tenure.noticed(end);
    }

    /// Nothing more is appended; the log settles what is in flight.
    pub(crate) fn hand_to_log(&self) {
        self.inner.lock().tenure.hand_to_log();
    }

    /// Whether it is over, as far as is known.
    pub(crate) fn is_over(&self) -> bool {
        self.inner.lock().tenure.end().is_some()
    }

    /// It is over.
    pub(crate) fn finish(&self, end: End) {
        self.inner.lock().tenure.finish(end);
    }

    /// How it stands; wakes all who wait when it is over, and gives up a producer that can't be used again.
    pub(crate) fn settle(&self) -> Standing {
        let mut inner = self.inner.lock();
        let standing = match (inner.tenure.end(), inner.tenure.reading()) {
            (Some(End::Fenced), _) => Standing::Fenced,
            (Some(End::Unknown(_)), _) => Standing::Unknown,
            (None, Some(_)) => Standing::Reading,
            (None, None) => Standing::Trusting,
        };
        inner.reading_since = match (standing, inner.reading_since) {
            (Standing::Reading, since) => since.or_else(|| Some(Instant::now())),
            _ => None,
        };
        let over = matches!(standing, Standing::Fenced | Standing::Unknown);
        let waiters = if over { std::mem::take(&mut inner.waiters) } else { Vec::new() };
        if over && !inner.pending.is_empty() {
            inner.pending = VecDeque::new();
            let of = |token| matches!(untoken(token), (generation, number) if generation == self.generation && number != CLAIM);
            self.producer.forget_unsent(of);
        }
        drop(inner);
        wake(&waiters);
        if standing == Standing::Unknown {
            self.producer.give_up();
        }
        standing
    }

    /// Since when the log is read to settle what is in flight.
    pub(crate) fn reading_since(&self) -> Option<Instant> {
        self.inner.lock().reading_since
    }

    fn show(&self, inner: &mut Inner) {
        let committed = inner.tenure.acknowledged();
        if committed <= self.committed() || inner.unwritten {
            return;
        }
        self.committed.store(committed.0, Ordering::Release);
        let served: Vec<Waiter> = inner.waiters.extract_if(.., |waiter| waiter.seq < committed).collect();
        // Waking takes a call of the system each, but no lock of those who are woken is held here but this one, which
        // they take for a moment only.
        wake(&served);
    }
}

impl Inner {
    /// Lists this thread as waiting for the record `seq`.
    fn list(&mut self, seq: Seq) {
        let thread = std::thread::current();
        if !self.waiters.iter().any(|waiter| waiter.thread.id() == thread.id()) {
            self.waiters.push(Waiter { seq, thread });
        }
    }

    /// Moves what became acknowledged from the pending records to `out`.
    fn take(&mut self, acknowledged: Acknowledged, out: &mut Vec<Arrival>) {
        let count = usize::try_from(acknowledged.count).unwrap_or(usize::MAX).min(self.pending.len());
        out.extend(self.pending.drain(..count));
    }
}

fn wake(waiters: &[Waiter]) {
    waiters.iter().for_each(|waiter| waiter.thread.unpark());
}

/// The token of the record `number` of a generation.
pub(crate) fn token(generation: u16, number: u64) -> usize {
    ((u64::from(generation) << NUMBER_BITS) | (number & NUMBER_MASK)) as usize
}

/// The generation and number of a token.
pub(crate) fn untoken(token: usize) -> (u16, u64) {
    let token = token as u64;
    ((token >> NUMBER_BITS) as u16, token & NUMBER_MASK)
}

const NUMBER_BITS: u32 = 48;
const NUMBER_MASK: u64 = (1 << NUMBER_BITS) - 1;
/// The number that stands for a claim.
pub(crate) const CLAIM: u64 = NUMBER_MASK;

fn append_error(end: &End) -> AppendError {
    match end {
        End::Fenced => AppendError::Fenced,
        End::Unknown(reason) => AppendError::OutcomeUnknown { reason: reason.clone() },
    }
}

fn unknown(reason: &str) -> AppendError {
    AppendError::OutcomeUnknown { reason: reason.to_owned() }
}
