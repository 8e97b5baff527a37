//! Logs that do something else than they should: die, write at once, lie.

use std::sync::Arc;
use std::time::Duration;

use annals_core::envelope::Record;
use annals_core::index::{self, Term};
use annals_core::{Epoch, Offset, Seq, ShardId};
use annals_log::{
    AppendError, Chunk, ClaimError, Claimant, Identity, Log, MemoryLog, RawRecord, ReadError, RecordKind,
    Writer,
};
use bytes::Bytes;
use parking_lot::Mutex;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// The parts of a log that a wrapper leaves as they are.
macro_rules! as_the_log_within {
    () => {
        fn identity(&self) -> &Identity {
            self.log.identity()
        }

        fn read(&self, shard: ShardId, from: Offset, bytes_max: usize) -> Result<Chunk, ReadError> {
            self.log.read(shard, from, bytes_max)
        }

        fn find_last(&self, shard: ShardId, term: Term) -> Result<Option<Offset>, ReadError> {
            self.log.find_last(shard, term)
        }

        fn wait(&self, shard: ShardId, beyond: Offset, timeout: Duration) -> Offset {
            self.log.wait(shard, beyond, timeout)
        }
    };
}

/// What becomes of an append.
pub trait Fate: Send + 'static {
    /// The envelopes that are appended in its place.
    fn instead(&mut self, shard: ShardId, envelope: Bytes) -> Vec<Bytes> {
        let _ = shard;
        vec![envelope]
    }

    /// Whether the process dies before it.
    fn dies(&mut self) -> bool {
        false
    }

    /// Whether it becomes durable at once, as where a broker is sent each record.
    fn is_eager(&mut self) -> bool {
        false
    }
}

/// A memory log whose appends meet their fate.
pub struct Fated<F> {
    pub log: MemoryLog,
    fate: Arc<Mutex<F>>,
}

impl<F: Fate> Fated<F> {
    pub fn new(log: &MemoryLog, fate: F) -> Self {
        Self { log: log.clone(), fate: Arc::new(Mutex::new(fate)) }
    }
}

struct FatedWriter<F> {
    log: MemoryLog,
    shard: ShardId,
    writer: Arc<dyn Writer>,
    fate: Arc<Mutex<F>>,
    /// The last record that was really appended.
    last: Mutex<Option<Seq>>,
}

impl<F: Fate> Log for Fated<F> {
    as_the_log_within!();

    fn claim(&self, shard: ShardId, claimant: &Claimant) -> Result<Arc<dyn Writer>, ClaimError> {
        let writer = self.log.claim(shard, claimant)?;
        let (log, fate, last) = (self.log.clone(), Arc::clone(&self.fate), Mutex::default());
        Ok(Arc::new(FatedWriter { log, shard, writer, fate, last }))
    }

    fn end(&self, shard: ShardId) -> Offset {
        self.log.end(shard)
    }

    fn find(&self, shard: ShardId, term: Term, from: Offset, limit: usize) -> Result<Vec<Offset>, ReadError> {
        self.log.find(shard, term, from, limit)
    }
}

impl<F: Fate> Writer for FatedWriter<F> {
    fn epoch(&self) -> Epoch {
        self.writer.epoch()
    }

    fn append(&self, kind: RecordKind, envelope: Bytes, terms: Vec<Term>) -> Result<Seq, AppendError> {
        let mut fate = self.fate.lock();
        if fate.dies() {
            self.log.crash();
            return Err(AppendError::OutcomeUnknown { reason: "it died".into() });
        }
        let mut last = self.last.lock();
        for envelope in fate.instead(self.shard, envelope) {
            let terms =
                Record::from_bytes(envelope.clone()).map_or_else(|_| terms.clone(), |r| index::terms(&r));
            *last = Some(self.writer.append(kind, envelope, terms)?);
        }
        if fate.is_eager()
            && let Some(seq) = *last
        {
            self.writer.commit(seq)?;
        }
        Ok(last.unwrap_or_default())
    }

    fn commit(&self, _: Seq) -> Result<Offset, AppendError> {
        if self.fate.lock().dies() {
            self.log.crash();
        }
        match *self.last.lock() {
            Some(seq) => self.writer.commit(seq),
            None => Ok(Offset(self.epoch().0)),
        }
    }

    fn committed(&self) -> Seq {
        self.writer.committed()
    }

    fn is_in_force(&self) -> bool {
        self.writer.is_in_force()
    }
}

/// Dies after so many calls; what was appended before is durable, or not.
pub struct Mortal {
    left: u64,
    dice: ChaCha8Rng,
}

impl Mortal {
    pub fn after(calls: u64, seed: u64) -> Self {
        Self { left: calls, dice: ChaCha8Rng::seed_from_u64(seed) }
    }
}

impl Fate for Mortal {
    fn dies(&mut self) -> bool {
        let dies = self.left == 0;
        self.left = self.left.saturating_sub(1);
        dies
    }

    fn is_eager(&mut self) -> bool {
        self.dice.random_ratio(1, 3)
    }
}

/// A log whose index finds more than it should, and whose records at these places lie, or do not.
pub struct Colliding {
    pub log: MemoryLog,
    /// What `get` gives for the record that should not have been found: its own envelope, or this one.
    pub lie: Option<Bytes>,
}

impl Colliding {
    fn offset(&self, shard: ShardId) -> Option<Offset> {
        crate::support::records(&self.log, shard).first().map(|raw| raw.offset)
    }
}

impl Log for Colliding {
    as_the_log_within!();

    fn claim(&self, shard: ShardId, claimant: &Claimant) -> Result<Arc<dyn Writer>, ClaimError> {
        self.log.claim(shard, claimant)
    }

    fn end(&self, shard: ShardId) -> Offset {
        self.log.end(shard)
    }

    fn find(&self, shard: ShardId, term: Term, from: Offset, limit: usize) -> Result<Vec<Offset>, ReadError> {
        let mut found = self.log.find(shard, term, from, limit)?;
        found.extend(self.offset(shard).filter(|offset| *offset >= from));
        found.sort_unstable();
        found.dedup();
        found.truncate(limit);
        Ok(found)
    }

    fn get(&self, shard: ShardId, offset: Offset) -> Result<Option<RawRecord>, ReadError> {
        let found = self.log.get(shard, offset)?;
        Ok(match (&self.lie, found) {
            (Some(lie), Some(raw)) if self.offset(shard) == Some(offset) => {
                Some(RawRecord { envelope: lie.clone(), ..raw })
            }
            (_, found) => found,
        })
    }
}

/// A log with which something happens, once.
pub struct Hooked {
    pub log: MemoryLog,
    when: When,
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// After it was asked for an end.
    AfterEnd,
    /// Before it is claimed.
    BeforeClaim,
}

impl Hooked {
    pub fn new(log: &MemoryLog, when: When, then: impl FnOnce() + Send + 'static) -> Self {
        Self { log: log.clone(), when, then: Mutex::new(Some(Box::new(then))) }
    }

    fn at(&self, when: When) {
        if when == self.when
            && let Some(then) = self.then.lock().take()
        {
            then();
        }
    }
}

impl Log for Hooked {
    as_the_log_within!();

    fn claim(&self, shard: ShardId, claimant: &Claimant) -> Result<Arc<dyn Writer>, ClaimError> {
        self.at(When::BeforeClaim);
        self.log.claim(shard, claimant)
    }

    fn end(&self, shard: ShardId) -> Offset {
        let end = self.log.end(shard);
        self.at(When::AfterEnd);
        end
    }

    fn find(&self, shard: ShardId, term: Term, from: Offset, limit: usize) -> Result<Vec<Offset>, ReadError> {
        self.log.find(shard, term, from, limit)
    }
}
