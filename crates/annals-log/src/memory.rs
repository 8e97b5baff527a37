//! The memory log: every guarantee of the port, deterministic, with faults on demand.
//!
//! Owns any number of shards in memory. What lies here is what a disk or a broker would hold: all records that
//! arrived, ignored ones included; the reader rule judges each once, where it arrives. Cloning a [`MemoryLog`]
//! gives another handle to the same records, so that a simulated process can die ([`MemoryLog::crash`]) and
//! another go on.
//!
//! Invariant: the same calls in the same order, with the same [`FaultPlan`], leave the same bytes. It keeps
//! nothing on disk, and nothing of it survives its last handle.

mod index;
mod shard;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annals_core::envelope::Header;
use annals_core::index::Term;
use annals_core::reader::Ignored;
use annals_core::{Offset, ShardId};
use bytes::Bytes;

use crate::faults::{Call, Fault, FaultPlan, Faults};
use crate::port::{Chunk, ClaimError, Claimant, Identity, Log, ReadError, Writer};
use shard::Shard;
use writer::MemoryWriter;

/// A log in memory, for tests, simulations and `memory:`.
///
/// ```
/// use annals_core::envelope::Record;
/// use annals_core::{LogId, Offset, ShardId, Timestamp};
/// use annals_log::{Claimant, Identity, Log, MemoryLog, RecordKind};
///
/// let at = Timestamp::UNIX_EPOCH;
/// let log_id = LogId(uuid::Uuid::from_u128(1));
/// let log = MemoryLog::new(Identity { log_id, context: "bank".into(), shards: 1, created_at: at });
/// let claimant = Claimant { node: "a".into(), address: String::new(), nonce: [1; 16], claimed_at: at };
/// let writer = log.claim(ShardId(0), &claimant)?;
/// let envelope = Record { format: 1, ..Record::default() }.to_bytes();
/// let seq = writer.append(RecordKind::Record, envelope, Vec::new())?;
/// assert_eq!(writer.commit(seq)?, Offset(2)); // after the genesis and the claim
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryLog {
    stored: Arc<Stored>,
}

/// What all handles share.
struct Stored {
    identity: Identity,
    shards: Vec<Shard>,
    faults: Faults,
}

impl MemoryLog {
    /// A log whose shards hold their genesis and nothing else.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let shards = (0..identity.shards).map(|shard| Shard::new(&identity, ShardId(shard))).collect();
        Self { stored: Arc::new(Stored { identity, shards, faults: Faults::default() }) }
    }

    /// The same log, which from now on fails as `plan` says.
    #[must_use]
    pub fn with_faults(self, plan: FaultPlan) -> Self {
        self.set_faults(plan);
        self
    }

    /// Fails as `plan` says from now on, for all handles; [`FaultPlan::none`] ends the faults.
    pub fn set_faults(&self, plan: FaultPlan) {
        self.stored.faults.set(plan);
    }

    /// How often each fault struck since the log was made.
    #[must_use]
    pub fn struck(&self) -> BTreeMap<Fault, u64> {
        self.stored.faults.struck()
    }

    /// The process dies: what was appended and is not durable is gone, and no writer of before writes again.
    pub fn crash(&self) {
        self.stored.shards.iter().for_each(Shard::crash);
    }

    /// All records of `shard` as they arrived, ignored ones included; none where there is no such shard.
    #[must_use]
    pub fn raw(&self, shard: ShardId) -> Vec<(Offset, Header, Bytes)> {
        self.stored.shard(shard).map_or_else(|_| Vec::new(), Shard::raw)
    }

    /// How many records of all shards are ignored, by reason.
    #[must_use]
    pub fn ignored(&self) -> BTreeMap<Ignored, u64> {
        let mut sums = BTreeMap::new();
        for shard in &self.stored.shards {
            shard.add_ignored(&mut sums);
        }
        sums
    }

    /// Plants a bug, to show that a check catches it.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&self, bug: crate::faults::PlantedBug) {
        self.stored.shards.iter().for_each(|shard| shard.plant(bug));
    }
}

impl Log for MemoryLog {
    fn identity(&self) -> &Identity {
        &self.stored.identity
    }

    fn claim(&self, shard: ShardId, claimant: &Claimant) -> Result<Arc<dyn Writer>, ClaimError> {
        let place = self.stored.shard(shard).map_err(ClaimError::Broken)?;
        let fault = self.stored.faults.draw(Call::Claim).map(|strike| strike.fault);
        let unavailable = |reason: &str| ClaimError::Unavailable { reason: reason.to_owned() };
        match fault {
            Some(Fault::ClaimUnwritten) => return Err(unavailable("fault plan: the claim was not written")),
            Some(Fault::ClaimFull) => {
                return Err(ClaimError::Full { reason: "fault plan: the log is full".to_owned() });
            }
            _ => {}
        }
        let epoch = place.claim(claimant, fault.is_none());
        if fault.is_some() {
            return Err(unavailable("fault plan: the answer to the claim was lost"));
        }
        Ok(Arc::new(MemoryWriter::new(Arc::clone(&self.stored), shard, epoch)))
    }

    fn end(&self, shard: ShardId) -> Offset {
        self.stored.shard(shard).map_or(Offset(0), Shard::end)
    }

    fn read(&self, shard: ShardId, from: Offset, bytes_max: usize) -> Result<Chunk, ReadError> {
        Ok(self.stored.readable(shard)?.read(from, bytes_max))
    }

    fn find(&self, shard: ShardId, term: Term, from: Offset, limit: usize) -> Result<Vec<Offset>, ReadError> {
        Ok(self.stored.readable(shard)?.find(term, from, limit))
    }

    fn find_last(&self, shard: ShardId, term: Term) -> Result<Option<Offset>, ReadError> {
        Ok(self.stored.readable(shard)?.find_last(term))
    }

    fn wait(&self, shard: ShardId, beyond: Offset, timeout: Duration) -> Offset {
        match self.stored.shard(shard) {
            Ok(shard) => shard.wait(beyond, timeout),
            Err(_) => {
                // Nothing will ever be there; a caller's loop must not spin on it.
                std::thread::sleep(timeout);
                Offset(0)
            }
        }
    }
}

impl Stored {
    fn shard(&self, shard: ShardId) -> Result<&Shard, ReadError> {
        let missing = ReadError::NoShard { shard, shards: self.identity.shards };
        self.shards.get(shard.0 as usize).ok_or(missing)
    }

    /// The shard, unless a fault makes it unreadable this time.
    fn readable(&self, shard: ShardId) -> Result<&Shard, ReadError> {
        let found = self.shard(shard)?;
        match self.faults.draw(Call::Read) {
            None => Ok(found),
            Some(_) => Err(ReadError::Unavailable {
                place: format!("memory shard {shard}"),
                reason: "fault plan: the read failed".to_owned(),
            }),
        }
    }
}
