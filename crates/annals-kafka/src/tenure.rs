//! What one claim entitles to, without I/O: which records are acknowledged, and when the tenure is over.
//!
//! The owner of a shard appends records one behind the other, many in flight. A delivery report that names exactly
//! the next offset proves that nobody else wrote in between: a compare-and-append in one round trip. A higher
//! offset means that somebody did: then the log is read up to there, and the reader rule alone says which records
//! stand. Everything else (an error, no usable offset, a lower one) ends the tenure: it is not known what became of
//! the records that are not acknowledged, and only a new claim and a look at the log will tell.
//!
//! Invariant: the acknowledged records are those below [`Tenure::acknowledged`]; each of them is in the log, accepted
//! by every reader, at the offset that [`Tenure::offset_of`] gives. Reports are matched by number, not by arrival.
//!
//! It neither sends nor reads: it is told what was reported and read, and says what follows. A simulation drives it
//! through everything that brokers and networks do.

use std::collections::BTreeMap;

use annals_core::envelope::Header;
use annals_core::reader::Verdict;
use annals_core::{Epoch, Offset, Seq};

use crate::planted::{Planted, PlantedBug};

/// What the client said of a record it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It is written at this offset; a negative one means that the client does not know where.
    Written(i64),
    /// It may or may not be written.
    Failed(String),
}

/// Why a tenure is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Another claim follows this one: what is not acknowledged is not accepted.
    Fenced,
    /// It is not known what became of the records that are not acknowledged.
    Unknown(String),
}

/// Records that became acknowledged: from the first number, at the first offset, so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The number of the first.
    pub first: Seq,
    /// Its offset.
    pub offset: Offset,
    /// How many, one behind the other.
    pub count: u64,
}

/// One claim and the records appended under it.
#[derive(Clone, Debug)]
pub struct Tenure {
    epoch: Epoch,
    next: Seq,
    acknowledged: Seq,
    /// Where the record `acknowledged` lies unless somebody else wrote in between.
    expected: Offset,
    /// Reports of records whose turn has not come.
    early: BTreeMap<Seq, Offset>,
    state: State,
    /// A claim of the same process is on its way, or the shard was given up: nothing more is appended.
    closing: bool,
    /// Where runs of acknowledged records begin; one, unless other records lie between.
    runs: Vec<(Seq, Offset)>,
    planted: Planted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Exact offsets acknowledge.
    Trusting,
    /// The log is read up to and including this offset.
    Reading(Offset),
    Ended(End),
}

impl Tenure {
    /// The tenure of the claim at `epoch`, when the log was read up to `expected` and holds no newer claim.
    #[must_use]
    pub fn new(epoch: Epoch, expected: Offset) -> Self {
        Self {
            epoch,
            next: Seq(0),
            acknowledged: Seq(0),
            expected,
            early: BTreeMap::new(),
            state: State::Trusting,
            closing: false,
            runs: Vec::new(),
            planted: Planted::default(),
        }
    }

    /// Plants a bug.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: Option<PlantedBug>) {
        self.planted = Planted::with(bug);
    }

    /// What the planted bug [`PlantedBug::GoOnAfterUnknown`] does when an outcome is unknown.
    #[cfg(feature = "planted-bugs")]
    pub fn go_on(&mut self) {
        self.state = State::Trusting;
        self.acknowledged = self.next;
    }

    /// The claim's offset.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The number for the next record, for the caller to send it with; an error when nothing more is appended.
    pub fn vacancy(&self) -> Result<Seq, End> {
        match &self.state {
            State::Ended(end) => Err(end.clone()),
            _ if self.closing && !self.planted.is(PlantedBug::KeepAppending) => Err(End::Fenced),
            _ => Ok(self.next),
        }
    }

    /// The record with the number that [`Tenure::vacancy`] gave was sent.
    pub fn sent(&mut self) {
        self.next = self.next.next();
    }

    /// Nothing more is appended; what is in flight is settled as before.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// From now on the log alone settles what is in flight, until it holds another claim.
    pub fn hand_to_log(&mut self) {
        self.closing = true;
        if self.end().is_none() {
            self.state = State::Reading(Offset(u64::MAX));
        }
    }

    /// The number of the first record that is not acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> Seq {
        self.acknowledged
    }

    /// The number that the next record will get.
    #[must_use]
    pub fn next(&self) -> Seq {
        self.next
    }

    /// The offset after everything that is known of the log.
    #[must_use]
    pub fn expected(&self) -> Offset {
        self.expected
    }

    /// Up to which offset, including it, the log must be read before reports count again.
    #[must_use]
    pub fn reading(&self) -> Option<Offset> {
        match self.state {
            State::Reading(upto) => Some(upto),
            _ => None,
        }
    }

    /// Why it is over, if it is.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        match &self.state {
            State::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// Where the acknowledged record `seq` is.
    #[must_use]
    pub fn offset_of(&self, seq: Seq) -> Option<Offset> {
        if seq >= self.acknowledged {
            return None;
        }
        let runs_before = self.runs.partition_point(|(first, _)| *first <= seq);
        let (first, offset) = self.runs.get(runs_before.checked_sub(1)?)?;
        Some(Offset(offset.0 + (seq.0 - first.0)))
    }

    /// The client reported on the record `seq`. What became acknowledged by that comes back; look at
    /// [`Tenure::reading`] and [`Tenure::end`] afterwards.
    pub fn reported(&mut self, seq: Seq, report: Report) -> Option<Acknowledged> {
        if self.end().is_some() || seq < self.acknowledged {
            return None; // the log has settled it
        }
        let seq = match self.planted.is(PlantedBug::MatchByArrival) {
            true => Seq(self.acknowledged.0 + self.early.len() as u64),
            false => seq,
        };
        let offset = match report {
            Report::Failed(reason) => return self.unknown(reason),
            Report::Written(offset) => offset,
        };
        match u64::try_from(offset) {
            Ok(offset) => self.early.insert(seq, Offset(offset)),
            Err(_) if self.planted.is(PlantedBug::TrustAnyOffset) => self.early.insert(seq, Offset(0)),
            Err(_) => {
                return self.unknown("the client does not know where the record was written".to_owned());
            }
        };
        self.take_reports()
    }

    /// The log was read at `offset`, the next one that was not known; the reader rule judged what is there, and `sent`
    /// says whether that is the first of the records that were sent and are not acknowledged. What became acknowledged
    /// by that comes back.
    pub fn read(
        &mut self,
        offset: Offset,
        header: Header,
        verdict: Verdict,
        sent: bool,
    ) -> Option<Acknowledged> {
        if self.end().is_some() || offset < self.expected {
            return None;
        }
        self.expected = offset.next();
        let own = match header {
            Header::Claim if self.planted.is(PlantedBug::KeepAppending) => None,
            Header::Claim if verdict == Verdict::Accepted => {
                self.finish(End::Fenced);
                return None;
            }
            Header::Record { epoch, seq }
            | Header::Progress { epoch, seq }
            | Header::Release { epoch, seq } => (epoch == self.epoch).then_some(seq),
            _ => None,
        };
        let read = match own {
            Some(seq) if verdict == Verdict::Accepted && sent => self.acknowledge(seq, offset),
            Some(_) if verdict == Verdict::Accepted => {
                // A claim that an unclean election lost had the same epoch, and this is a late record of it.
                let reason = format!("the record at offset {offset} under this claim is not its own");
                return self.unknown(reason);
            }
            Some(seq) if seq >= self.acknowledged => {
                let reason = format!("a record before the one at offset {offset} is missing");
                return self.unknown(reason);
            }
            _ => None,
        };
        if self.reading().is_some_and(|upto| upto < self.expected) {
            self.state = State::Trusting;
        }
        read
    }

    /// Reports that came while the log was read, or before their turn, count now as far as they can.
    pub fn take_reports(&mut self) -> Option<Acknowledged> {
        let first = self.acknowledged;
        while self.state == State::Trusting {
            let Some(offset) = self.early.remove(&self.acknowledged) else { break };
            let offset = match offset < self.expected && self.planted.is(PlantedBug::TrustAnyOffset) {
                true => self.expected,
                false => offset,
            };
            if offset == self.expected || offset > self.expected && self.planted.is(PlantedBug::SkipGap) {
                self.acknowledge(self.acknowledged, offset);
                self.expected = offset.next();
            } else if offset > self.expected {
                self.early.insert(self.acknowledged, offset);
                self.state = State::Reading(offset);
            } else {
                self.unknown(format!("a record was reported at offset {offset}, which was known before"));
            }
        }
        let count = self.acknowledged.0 - first.0;
        let offset = self.offset_of(first)?;
        Some(Acknowledged { first, offset, count })
    }

    /// The log reaches to `end`, as the broker says, and nothing of ours is in flight: somebody else wrote what
    /// lies beyond what is known.
    pub fn noticed(&mut self, end: Offset) {
        let idle = self.acknowledged == self.next;
        if self.state == State::Trusting && idle && end > self.expected {
            self.state = State::Reading(Offset(end.0 - 1));
        }
    }

    /// The tenure is over; the first reason stands.
    pub fn finish(&mut self, end: End) {
        if self.end().is_none() {
            self.state = State::Ended(end);
            self.early.clear();
        }
    }

    fn unknown(&mut self, reason: String) -> Option<Acknowledged> {
        self.finish(End::Unknown(reason));
        None
    }

    /// The record `seq`, the first that was not acknowledged, lies at `offset`.
    fn acknowledge(&mut self, seq: Seq, offset: Offset) -> Option<Acknowledged> {
        debug_assert_eq!(seq, self.acknowledged, "the reader rule accepts numbers in order");
        let goes_on = self.runs.last().is_some_and(|(first, at)| offset.0 - at.0 == seq.0 - first.0);
        if !goes_on {
            self.runs.push((seq, offset));
        }
        self.early.remove(&seq);
        self.acknowledged = seq.next();
        Some(Acknowledged { first: seq, offset, count: 1 })
    }
}
