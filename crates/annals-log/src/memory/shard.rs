//! One shard in memory: the records as they arrived, judged once, and who may write.
//!
//! Invariant: everything in `arrived` is durable and never changes; `end`, `read` and the index speak of it
//! alone. What a writer holds back until its commit is the writer's, not the shard's.

use std::collections::BTreeMap;
use std::time::Duration;

use annals_core::envelope::{Claim, FORMAT, Genesis, Header, to_micros};
use annals_core::index::Term;
use annals_core::reader::{Ignored, ReaderRule, Verdict};
use annals_core::{Epoch, Offset, ShardId};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::index::Index;
use crate::port::{Chunk, Claimant, Identity, RawRecord};

pub(super) struct Shard {
    state: Mutex<State>,
    grown: Condvar,
}

/// A record on its way into the log.
#[derive(Clone)]
pub(super) struct Frame {
    pub(super) header: Header,
    pub(super) envelope: Bytes,
    pub(super) terms: Vec<Term>,
}

struct Arrived {
    header: Header,
    envelope: Bytes,
    accepted: bool,
}

#[derive(Default)]
pub(super) struct State {
    arrived: Vec<Arrived>,
    rule: ReaderRule,
    index: Index,
    ignored: BTreeMap<Ignored, u64>,
    owner: Option<Epoch>,
    /// Delayed writes of owners that gave up on them: they arrive after the next claim.
    late: Vec<Frame>,
    /// Delayed writes that arrive among the next owner's records: at the first commit after the next claim.
    later: Vec<Frame>,
    /// Those of `later` whose claim has come.
    due: Vec<Frame>,
    #[cfg(feature = "planted-bugs")]
    planted: Option<crate::faults::PlantedBug>,
}

impl Shard {
    pub(super) fn new(identity: &Identity, shard: ShardId) -> Self {
        let genesis = Genesis {
            format: FORMAT,
            log_id: Bytes::copy_from_slice(identity.log_id.0.as_bytes()),
            context: identity.context.clone(),
            shards: identity.shards,
            shard: shard.0,
            hash: "murmur2".to_owned(),
            created_at_us: to_micros(identity.created_at),
        };
        let mut state = State::default();
        state.land(Frame { header: Header::Genesis, envelope: genesis.to_bytes(), terms: Vec::new() });
        Self { state: Mutex::new(state), grown: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Tells those that wait that records arrived.
    pub(super) fn announce(&self) {
        self.grown.notify_all();
    }

    /// Lands a claim; its writer becomes the owner where it `learns` that the claim was written.
    pub(super) fn claim(&self, claimant: &Claimant, learns: bool) -> Epoch {
        let mut state = self.lock();
        let epoch = state.land_claim(claimant);
        state.owner = learns.then_some(epoch);
        drop(state);
        self.announce();
        epoch
    }

    pub(super) fn crash(&self) {
        self.lock().owner = None;
    }

    pub(super) fn end(&self) -> Offset {
        self.lock().end()
    }

    pub(super) fn read(&self, from: Offset, bytes_max: usize) -> Chunk {
        let state = self.lock();
        let mut chunk = Chunk { records: Vec::new(), next: from };
        let mut bytes = 0;
        for (offset, record) in state.arrived.iter().enumerate().skip(position(from)) {
            let offset = Offset(offset as u64);
            if record.accepted {
                if !chunk.records.is_empty() && bytes >= bytes_max {
                    break;
                }
                bytes += record.envelope.len();
                chunk.records.push(record.at(offset));
            }
            chunk.next = offset.next();
        }
        chunk
    }

    pub(super) fn find(&self, term: Term, from: Offset, limit: usize) -> Vec<Offset> {
        self.lock().index.find(term, from, limit)
    }

    pub(super) fn find_last(&self, term: Term) -> Option<Offset> {
        self.lock().index.last(term)
    }

    pub(super) fn wait(&self, beyond: Offset, timeout: Duration) -> Offset {
        let mut state = self.lock();
        self.grown.wait_while_for(&mut state, |state| state.end() <= beyond, timeout);
        state.end()
    }

    pub(super) fn raw(&self) -> Vec<(Offset, Header, Bytes)> {
        let state = self.lock();
        let numbered = (0..).zip(&state.arrived);
        numbered.map(|(n, record)| (Offset(n), record.header, record.envelope.clone())).collect()
    }

    pub(super) fn add_ignored(&self, sums: &mut BTreeMap<Ignored, u64>) {
        for (reason, count) in &self.lock().ignored {
            *sums.entry(*reason).or_default() += count;
        }
    }

    #[cfg(feature = "planted-bugs")]
    pub(super) fn plant(&self, bug: crate::faults::PlantedBug) {
        self.lock().planted = Some(bug);
    }
}

impl State {
    pub(super) fn end(&self) -> Offset {
        Offset(self.arrived.len() as u64)
    }

    pub(super) fn owner(&self) -> Option<Epoch> {
        self.owner
    }

    /// The epoch of the last claim that arrived.
    pub(super) fn claimed(&self) -> Option<Epoch> {
        self.rule.epoch()
    }

    /// A record arrives: it is judged, indexed where it is accepted, and stays.
    pub(super) fn land(&mut self, frame: Frame) -> Offset {
        let offset = self.end();
        let accepted = match self.judge(offset, frame.header) {
            Verdict::Accepted => {
                frame.terms.iter().for_each(|term| self.index.add(*term, offset));
                true
            }
            Verdict::Ignored(reason) => {
                *self.ignored.entry(reason).or_default() += 1;
                false
            }
        };
        self.arrived.push(Arrived { header: frame.header, envelope: frame.envelope, accepted });
        offset
    }

    /// A claim arrives, and after it what earlier owners' delayed writes bring.
    pub(super) fn land_claim(&mut self, claimant: &Claimant) -> Epoch {
        self.land_due();
        let claim = Claim {
            format: FORMAT,
            node: claimant.node.clone(),
            address: claimant.address.clone(),
            nonce: Bytes::copy_from_slice(&claimant.nonce),
            claimed_at_us: to_micros(claimant.claimed_at),
        };
        let offset =
            self.land(Frame { header: Header::Claim, envelope: claim.to_bytes(), terms: Vec::new() });
        for frame in std::mem::take(&mut self.late) {
            self.land(frame);
        }
        self.due = std::mem::take(&mut self.later);
        self.owner = None;
        Epoch(offset.0)
    }

    /// Delayed writes arrive that were to come after the last claim.
    pub(super) fn land_due(&mut self) {
        for frame in std::mem::take(&mut self.due) {
            self.land(frame);
        }
    }

    /// Keeps `frames` back until after the next claim, or among the records that follow it.
    pub(super) fn delay(&mut self, frames: impl Iterator<Item = Frame>, among: bool) {
        if among { self.later.extend(frames) } else { self.late.extend(frames) }
    }

    fn judge(&mut self, offset: Offset, header: Header) -> Verdict {
        let verdict = self.rule.admit(offset, header);
        #[cfg(feature = "planted-bugs")]
        if self.planted == Some(crate::faults::PlantedBug::AcceptStaleEpoch)
            && verdict == Verdict::Ignored(Ignored::StaleEpoch)
        {
            return Verdict::Accepted;
        }
        verdict
    }
}

impl Arrived {
    fn at(&self, offset: Offset) -> RawRecord {
        RawRecord { offset, header: self.header, envelope: self.envelope.clone() }
    }
}

/// Where `offset` lies in memory; past every record where memory could not hold so many.
fn position(offset: Offset) -> usize {
    usize::try_from(offset.0).unwrap_or(usize::MAX)
}
