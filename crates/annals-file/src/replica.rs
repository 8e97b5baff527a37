//! The replica of a log that is elsewhere: every record of every shard at its own offset, in the files of a log.
//!
//! Invariant: it is derived, marked as such in every segment, and refused by everything that appends under a claim.
//! Ignored records and foreign bytes are in it too, so that an offset here is an offset there. What was appended is
//! in the files when the call returns and survives the end of the process; what a power loss takes is cut when the
//! replica is opened, and comes from the log again.
//!
//! It knows nothing of where its records come from, and nobody else's offsets: who feeds it begins at
//! [`ReplicaShard::next`].

mod discard;
mod shard;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;

use annals_core::ShardId;
use annals_log::Identity;
use bytes::Bytes;

pub use shard::{Arrival, ReplicaShard};

use crate::disk::Disk;
use crate::error::{FeedError, OpenError};
use crate::keeper::{Keeper, Kept};
use crate::lock::WriterLock;
use crate::opening::{Making, check_is_log, identity_of, open_shards};
use crate::place::Place;
use crate::recover::How;
use crate::settings::Settings;

/// A local replica of a log, for one process that feeds it; others read it beside that one, with
/// [`FileLog::open_read_only`](crate::FileLog::open_read_only).
///
/// ```
/// use annals_core::envelope::{FORMAT, Genesis, Header};
/// use annals_core::reader::Verdict;
/// use annals_core::{LogId, Offset, ShardId, Timestamp};
/// use annals_file::{Arrival, Replica, Settings};
/// use annals_log::Identity;
///
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path().join("bank");
/// let log_id = LogId(uuid::Uuid::from_u128(1));
/// let identity = Identity { log_id, context: "bank".into(), shards: 1, created_at: Timestamp::UNIX_EPOCH };
/// let genesis = Genesis {
///     format: FORMAT, log_id: log_id.0.as_bytes().to_vec().into(), context: "bank".into(), shards: 1,
///     shard: 0, hash: "murmur2".into(), created_at_us: 0,
/// };
/// let replica = Replica::create(&directory, &identity, &[genesis.to_bytes()], Settings::default())?;
/// let shard = replica.shard(ShardId(0)).ok_or("there is one shard")?;
/// assert_eq!(shard.next(), Offset(1)); // the genesis is there
/// let claim = Arrival { header: Header::Claim, envelope: "a claim".into(), terms: None };
/// let noise = Arrival { header: Header::Foreign, envelope: "whatever".into(), terms: None };
/// let verdicts = shard.append(&[claim, noise])?;
/// assert_eq!(verdicts[0], Verdict::Accepted);
/// assert_eq!((shard.next(), shard.get(Offset(2))?), (Offset(3), None)); // ignored, and
/// assert_eq!(shard.raw(Offset(2))?.map(|raw| raw.envelope), Some("whatever".into())); // kept
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Replica {
    directory: PathBuf,
    identity: Identity,
    shards: Vec<Arc<ReplicaShard>>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    keeper: Keeper,
    lock: WriterLock,
}

impl Replica {
    /// Makes a replica of the log `identity` in `directory`, which must be new, empty, or left over from an
    /// interrupted `create`. `genesis` holds the envelope of each shard's record 0, byte for byte.
    pub fn create(
        directory: &Path,
        identity: &Identity,
        genesis: &[Bytes],
        settings: Settings,
    ) -> Result<Self, OpenError> {
        Self::create_on(directory, identity, genesis, settings, Disk::default())
    }

    /// Opens the replica in `directory`.
    ///
    /// [`OpenError::NotALog`] (nothing there, or not completely made) and [`OpenError::Damaged`] are reasons to
    /// [`discard`](Self::discard) what is there, which may be nothing, and to make it again. [`OpenError::InUse`]
    /// (another process has it) and [`OpenError::NotAReplica`] (a log of its own) are not.
    pub fn open(directory: &Path, settings: Settings) -> Result<Self, OpenError> {
        Self::open_on(directory, settings, Disk::default())
    }

    /// Removes the files of the replica in `directory` and nothing else; does nothing where there is none of them.
    /// Refuses a log that is no replica, and a replica that is in use. What an interrupted `discard` leaves is a
    /// shorter replica or none, and can be discarded again.
    pub fn discard(directory: &Path) -> Result<(), OpenError> {
        discard::discard(directory, &Disk::default())
    }

    /// What the log is that this is a replica of.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The directory it lies in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// All shards, in order.
    #[must_use]
    pub fn shards(&self) -> &[Arc<ReplicaShard>] {
        &self.shards
    }

    /// A shard, if the log has it. Who keeps it may read it on after the replica was closed, and append no more.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> Option<&Arc<ReplicaShard>> {
        self.shards.get(shard.0 as usize)
    }

    /// Makes durable what was appended, writes the seals, and gives up the lock, so that the next opening has nothing
    /// to scan. An error says that this was not done; what was appended is there all the same. Dropping the replica
    /// does the same, and can't tell of an error.
    pub fn close(mut self) -> Result<(), FeedError> {
        self.shut()
    }

    /// Ends like a process that is killed: no seal is written.
    #[doc(hidden)]
    pub fn abandon(mut self) {
        if let Some(Running { mut keeper, lock }) = self.running.take() {
            self.shards.iter().for_each(|shard| shard.abandon());
            keeper.stop();
            drop(lock);
        }
    }

    pub(crate) fn create_on(
        directory: &Path,
        identity: &Identity,
        genesis: &[Bytes],
        settings: Settings,
        disk: Disk,
    ) -> Result<Self, OpenError> {
        check_genesis(identity, genesis)?;
        let making =
            Making { log_id: identity.log_id, replica: true, settings: settings.clone(), disk: disk.clone() };
        let lock = making.make(directory, genesis)?;
        Self::open_locked(directory, settings, disk, lock)
    }

    pub(crate) fn open_on(directory: &Path, settings: Settings, disk: Disk) -> Result<Self, OpenError> {
        check_is_log(directory)?;
        discard::refuse_log(directory)?;
        let lock = WriterLock::take(directory)?;
        Self::open_locked(directory, settings, disk, lock)
    }

    fn open_locked(
        directory: &Path,
        settings: Settings,
        disk: Disk,
        lock: WriterLock,
    ) -> Result<Self, OpenError> {
        let how = How {
            log: directory.to_owned(),
            log_id: None,
            replica: Some(true),
            writable: true,
            disk: disk.clone(),
        };
        let (identity, opened) = open_shards(&how)?;
        let (jobs, received) = channel();
        let mut shards = Vec::with_capacity(opened.len());
        for (shard, opened) in (0..).map(ShardId).zip(opened) {
            let place = Place {
                log_id: identity.log_id,
                shard,
                directory: opened.directory.clone(),
                replica: true,
                settings: settings.clone(),
                disk: disk.clone(),
            };
            shards.push(Arc::new(ReplicaShard::resume(place, opened, jobs.clone())));
        }
        let kept = shards.iter().map(|shard| Arc::clone(shard) as Arc<dyn Kept>).collect();
        let keeper = Keeper::start(kept, jobs, received).map_err(|error| OpenError::io(directory, error))?;
        let running = Some(Running { keeper, lock });
        Ok(Self { directory: directory.to_owned(), identity, shards, running })
    }

    fn shut(&mut self) -> Result<(), FeedError> {
        let Some(Running { mut keeper, lock }) = self.running.take() else { return Ok(()) };
        // It writes the index files of full segments first, which are not among what a shard closes.
        keeper.stop();
        let mut result = Ok(());
        for shard in &self.shards {
            result = shard.close().and(result);
        }
        drop(lock);
        result
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Err(error) = self.shut() {
            tracing::warn!(%error, "the replica was not closed cleanly; the next opening scans its end");
        }
    }
}

/// Refuses genesis records of another log, or of too few or too many shards.
fn check_genesis(identity: &Identity, genesis: &[Bytes]) -> Result<(), OpenError> {
    let other = |shard, reason| OpenError::OtherGenesis { shard, log_id: identity.log_id, reason };
    if genesis.len() != identity.shards as usize {
        let reason = format!("there are {} of them for {} shards", genesis.len(), identity.shards);
        return Err(other(ShardId(genesis.len() as u32), reason));
    }
    for (shard, envelope) in (0..).map(ShardId).zip(genesis) {
        let found = identity_of(envelope.clone(), shard).map_err(|reason| other(shard, reason))?;
        if &found != identity {
            let Identity { log_id, context, shards, created_at } = found;
            let reason =
                format!("it is of log {log_id} of {context:?} with {shards} shards, made {created_at}");
            return Err(other(shard, reason));
        }
    }
    Ok(())
}
