//! The owner's side of a shard in memory: what it appended and has not committed, and what became of the rest.
//!
//! Invariant: a record that this writer answered for keeps its answer. After the first error of a commit
//! nothing is appended any more, so a number is never given to two records.
//!
//! Locks: the shard before the tenure, always.

use std::mem;
use std::sync::Arc;

use annals_core::envelope::ENVELOPE_BYTES_MAX;
use annals_core::index::Term;
use annals_core::{Epoch, Offset, Seq, ShardId};
use bytes::Bytes;
use parking_lot::Mutex;

use super::Stored;
use super::shard::{Frame, Shard, State};
use crate::faults::{Call, Fault, Strike};
use crate::port::{AppendError, Claimant, RecordKind, Writer};

pub(super) struct MemoryWriter {
    log: Arc<Stored>,
    shard: ShardId,
    epoch: Epoch,
    tenure: Mutex<Tenure>,
}

/// What one claim has come to.
#[derive(Default)]
struct Tenure {
    /// Appended and not committed, in order.
    pending: Vec<Frame>,
    /// The number of the first of them.
    committed: Seq,
    /// Where runs of committed records begin: number and offset. One run, unless foreign records lie between.
    runs: Vec<(Seq, Offset)>,
    /// The first error of a commit, after which nothing is accepted.
    ended: Option<AppendError>,
    /// A release was appended: nothing is appended behind it.
    released: bool,
}

impl MemoryWriter {
    pub(super) fn new(log: Arc<Stored>, shard: ShardId, epoch: Epoch) -> Self {
        Self { log, shard, epoch, tenure: Mutex::default() }
    }

    fn place(&self) -> Result<&Shard, AppendError> {
        self.log.shard(self.shard).map_err(|e| AppendError::Broken { reason: e.to_string() })
    }

    /// Ends the tenure where it is over, and says so.
    fn check(&self, state: &State, tenure: &mut Tenure) -> Result<(), AppendError> {
        if let Some(error) = &tenure.ended {
            return Err(error.clone());
        }
        if state.owner() == Some(self.epoch) {
            return Ok(());
        }
        let crashed = state.claimed() == Some(self.epoch);
        Err(tenure.end(if crashed { unknown("the writer's process died") } else { AppendError::Fenced }))
    }

    /// The pending group arrives as `strike` says, and the tenure learns what such a writer would learn.
    fn land_struck(&self, state: &mut State, tenure: &mut Tenure, strike: Strike) {
        let group = mem::take(&mut tenure.pending);
        let some = strike.below(group.len());
        let error = match strike.fault {
            Fault::UnknownLanded => {
                state.land_all(group);
                unknown("fault plan: the answer was lost")
            }
            Fault::UnknownLate => {
                state.delay(group.into_iter(), strike.coin());
                unknown("fault plan: the write is delayed")
            }
            Fault::UnknownPrefix => {
                state.land_all(group.into_iter().take(some));
                unknown("fault plan: a part was written")
            }
            Fault::UnknownHole => {
                let holed = group.into_iter().enumerate().filter(|(n, _)| *n != some);
                state.land_all(holed.map(|(_, frame)| frame));
                unknown("fault plan: one record was not written")
            }
            Fault::Duplicated => {
                tenure.land(state, group.iter().cloned());
                state.land_all(group.into_iter().skip(some));
                return;
            }
            Fault::ForeignClaim => {
                let mut group = group.into_iter();
                tenure.land(state, group.by_ref().take(some));
                state.land_claim(&self.stranger(strike));
                state.land_all(group);
                AppendError::Fenced
            }
            Fault::CommitFull => AppendError::Full { reason: "fault plan: the log is full".to_owned() },
            _ => unknown("fault plan: the write was lost"),
        };
        tenure.end(error);
    }

    /// Another node that claims the shard.
    fn stranger(&self, strike: Strike) -> Claimant {
        Claimant {
            node: "stranger".to_owned(),
            address: String::new(),
            nonce: u128::from(strike.dice).to_be_bytes(),
            claimed_at: self.log.identity.created_at,
        }
    }
}

impl Writer for MemoryWriter {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn append(&self, kind: RecordKind, envelope: Bytes, terms: Vec<Term>) -> Result<Seq, AppendError> {
        let bytes = envelope.len();
        if bytes > ENVELOPE_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes, bytes_max: ENVELOPE_BYTES_MAX });
        }
        let state = self.place()?.lock();
        let mut tenure = self.tenure.lock();
        self.check(&state, &mut tenure)?;
        if tenure.released {
            return Err(AppendError::Fenced);
        }
        if self.log.faults.draw(Call::Append).is_some() {
            return Err(AppendError::Full { reason: "fault plan: the log is full".to_owned() });
        }
        let seq = tenure.next();
        tenure.released = kind == RecordKind::Release;
        tenure.pending.push(Frame { header: kind.header(self.epoch, seq), envelope, terms });
        Ok(seq)
    }

    fn commit(&self, seq: Seq) -> Result<Offset, AppendError> {
        let place = self.place()?;
        let mut state = place.lock();
        let mut tenure = self.tenure.lock();
        if let Some(offset) = tenure.offset_of(seq) {
            return Ok(offset);
        }
        self.check(&state, &mut tenure)?;
        assert!(seq < tenure.next(), "commit of record {seq}, which was not appended under this claim");
        state.land_due();
        match self.log.faults.draw(Call::Commit) {
            None => tenure.land_pending(&mut state),
            Some(strike) => self.land_struck(&mut state, &mut tenure, strike),
        }
        place.announce();
        match (tenure.offset_of(seq), &tenure.ended) {
            (Some(offset), _) => Ok(offset),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Err(unknown("the record is neither written nor given up")),
        }
    }

    fn committed(&self) -> Seq {
        self.tenure.lock().committed
    }

    fn is_in_force(&self) -> bool {
        let Ok(place) = self.place() else { return false };
        let state = place.lock();
        let mut tenure = self.tenure.lock();
        self.check(&state, &mut tenure).is_ok() && !tenure.released
    }
}

impl State {
    fn land_all(&mut self, frames: impl IntoIterator<Item = Frame>) {
        for frame in frames {
            self.land(frame);
        }
    }
}

impl Tenure {
    /// The number of the next record appended.
    fn next(&self) -> Seq {
        Seq(self.committed.0 + self.pending.len() as u64)
    }

    fn land_pending(&mut self, state: &mut State) {
        let mut pending = mem::take(&mut self.pending);
        self.land(state, pending.drain(..));
        self.pending = pending; // keeps its room
    }

    /// Lands the next records of this tenure, and remembers where.
    fn land(&mut self, state: &mut State, frames: impl Iterator<Item = Frame>) {
        for frame in frames {
            let offset = state.land(frame);
            let goes_on =
                self.runs.last().is_some_and(|(seq, start)| offset.0 - start.0 == self.committed.0 - seq.0);
            if !goes_on {
                self.runs.push((self.committed, offset));
            }
            self.committed = self.committed.next();
        }
    }

    /// Where the record `seq` is, if this writer knows.
    fn offset_of(&self, seq: Seq) -> Option<Offset> {
        if seq >= self.committed {
            return None;
        }
        let runs_before = self.runs.partition_point(|(start, _)| *start <= seq);
        let (start, offset) = self.runs.get(runs_before.checked_sub(1)?)?;
        Some(Offset(offset.0 + (seq.0 - start.0)))
    }

    fn end(&mut self, error: AppendError) -> AppendError {
        self.pending = Vec::new();
        self.ended = Some(error.clone());
        error
    }
}

fn unknown(reason: &str) -> AppendError {
    AppendError::OutcomeUnknown { reason: reason.to_owned() }
}
