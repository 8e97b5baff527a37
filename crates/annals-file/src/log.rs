//! The log itself: making and opening a directory, and the port on top of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use annals_core::envelope::{Claim, FORMAT, Genesis, to_micros};
use annals_core::index::Term;
use annals_core::{Epoch, LogId, Offset, Seq, ShardId, Timestamp};
use annals_log::{
    AppendError, Chunk, ClaimError, Claimant, Identity, Log, RawRecord, ReadError, RecordKind, Writer,
};
use bytes::Bytes;

use crate::directory::shard_path;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::follower::Follower;
use crate::format::SegmentHeader;
use crate::keeper::{Keeper, Kept};
use crate::lock::WriterLock;
use crate::opening::{HASH, Making, check_is_log, has_log, mark_of, open_shards};
use crate::place::Place;
use crate::recover::{How, Opened, TornTail};
use crate::settings::Settings;
use crate::shard::{Fence, Shard};
use crate::view::View;

/// An event log in a directory of this machine.
///
/// One process at a time has it open for writing; any number may read beside it. Closing it (dropping it, or
/// [`FileLog::close`]) writes a seal, so that the next opening has nothing to scan.
#[derive(Debug)]
pub struct FileLog {
    directory: PathBuf,
    identity: Identity,
    shards: Shards,
    torn: Vec<TornTail>,
    disk: Disk,
}

#[derive(Debug)]
enum Shards {
    Writing { shards: Vec<Arc<Shard>>, keeper: Keeper, lock: WriterLock },
    Following(Vec<Follower>),
    Closed,
}

impl FileLog {
    /// Makes a log in `directory`, which must be new, empty, or left over from an interrupted `create`.
    pub fn create(directory: &Path, identity: Identity, settings: Settings) -> Result<Self, OpenError> {
        Self::create_on(directory, identity, settings, Disk::default())
    }

    /// Opens the log in `directory` for writing.
    pub fn open(directory: &Path, settings: Settings) -> Result<Self, OpenError> {
        Self::open_on(directory, settings, Disk::default())
    }

    /// Opens the log of `context` in `directory` for writing, or makes it, with the log id and time that `make`
    /// gives. `shards` is checked against an existing log; without it a new log has one.
    pub fn open_or_create(
        directory: &Path,
        context: &str,
        shards: Option<u32>,
        settings: Settings,
        make: impl FnOnce() -> (LogId, Timestamp),
    ) -> Result<Self, OpenError> {
        if has_log(directory) {
            return Self::open(directory, settings)?.expect_identity(context, shards);
        }
        let (log_id, created_at) = make();
        let identity =
            Identity { log_id, context: context.to_owned(), shards: shards.unwrap_or(1), created_at };
        Self::create(directory, identity, settings)
    }

    /// Opens the log in `directory` for reading only, also beside a writer. Nothing is created, cut or rebuilt.
    pub fn open_read_only(directory: &Path) -> Result<Self, OpenError> {
        let how = How {
            log: directory.to_owned(),
            log_id: None,
            replica: None,
            writable: false,
            disk: Disk::default(),
        };
        let (identity, opened) = open_shards(&how)?;
        let followers = opened.into_iter().map(|shard| Follower::new(shard, how.disk.clone())).collect();
        Ok(Self {
            directory: directory.to_owned(),
            identity,
            shards: Shards::Following(followers),
            torn: Vec::new(),
            disk: how.disk,
        })
    }

    /// Checks that this is the log of `context`, with `shards` shards where that is given.
    pub fn expect_identity(self, context: &str, shards: Option<u32>) -> Result<Self, OpenError> {
        let Identity { context: found, shards: count, .. } = &self.identity;
        let directory = self.directory.clone();
        if found != context {
            return Err(OpenError::OtherContext {
                directory,
                found: found.clone(),
                wanted: context.to_owned(),
            });
        }
        match shards {
            Some(wanted) if wanted != *count => {
                Err(OpenError::OtherShards { directory, found: *count, wanted })
            }
            _ => Ok(self),
        }
    }

    /// The directory it lies in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether it is a replica: derived from a log elsewhere, and here for reading only.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        self.views().into_iter().any(View::is_replica)
    }

    /// What was cut when the log was opened this time.
    #[must_use]
    pub fn torn_tails(&self) -> &[TornTail] {
        &self.torn
    }

    /// Makes durable what was appended, writes the seals, and gives up the lock. Writers that are still held
    /// answer [`AppendError::Broken`] from then on.
    pub fn close(mut self) -> Result<(), ReadError> {
        self.shut()
    }

    /// Ends like a process that is killed: what was not committed is lost, and no seal is written.
    #[doc(hidden)]
    pub fn abandon(mut self) {
        if let Shards::Writing { shards, mut keeper, lock } =
            std::mem::replace(&mut self.shards, Shards::Closed)
        {
            shards.iter().for_each(|shard| shard.abandon());
            keeper.stop();
            drop(lock);
        }
    }

    pub(crate) fn create_on(
        directory: &Path,
        identity: Identity,
        settings: Settings,
        disk: Disk,
    ) -> Result<Self, OpenError> {
        refuse_replica(directory)?;
        let genesis: Vec<Bytes> =
            (0..identity.shards).map(|shard| genesis(&identity, ShardId(shard))).collect();
        let making = Making {
            log_id: identity.log_id,
            replica: false,
            settings: settings.clone(),
            disk: disk.clone(),
        };
        let lock = making.make(directory, &genesis)?;
        Self::open_locked(directory, settings, disk, lock)
    }

    pub(crate) fn open_on(directory: &Path, settings: Settings, disk: Disk) -> Result<Self, OpenError> {
        check_is_log(directory)?;
        refuse_replica(directory)?;
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
            replica: Some(false),
            writable: true,
            disk: disk.clone(),
        };
        let (identity, mut opened) = open_shards(&how)?;
        let torn = opened.iter_mut().filter_map(|shard| shard.torn.take()).collect();
        let (jobs, received) = channel();
        let mut shards = Vec::new();
        for (number, Opened { directory, segments, last, .. }) in (0..).map(ShardId).zip(opened) {
            let (settings, disk) = (settings.clone(), disk.clone());
            let log_id = identity.log_id;
            let place = Place { log_id, shard: number, directory, replica: false, settings, disk };
            shards.push(Arc::new(Shard::resume(place, segments, last, jobs.clone())));
        }
        let kept = shards.iter().map(|shard| Arc::clone(shard) as Arc<dyn Kept>).collect();
        let keeper = Keeper::start(kept, jobs, received).map_err(|error| OpenError::io(directory, error))?;
        let shards = Shards::Writing { shards, keeper, lock };
        Ok(Self { directory: directory.to_owned(), identity, shards, torn, disk })
    }

    fn shut(&mut self) -> Result<(), ReadError> {
        let Shards::Writing { shards, mut keeper, lock } =
            std::mem::replace(&mut self.shards, Shards::Closed)
        else {
            return Ok(());
        };
        keeper.stop();
        let mut result = Ok(());
        for shard in &shards {
            if let Err(reason) = shard.close() {
                let place = shard_path(&self.directory, shard.view.shard).display().to_string();
                result = Err(ReadError::Unavailable { place, reason });
            }
        }
        drop(lock);
        result
    }

    /// The views of all shards, in order.
    pub(crate) fn views(&self) -> Vec<&View> {
        match &self.shards {
            Shards::Writing { shards, .. } => shards.iter().map(|shard| &shard.view).collect(),
            Shards::Following(followers) => followers.iter().map(|follower| &follower.view).collect(),
            Shards::Closed => Vec::new(),
        }
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(crate) fn is_writing(&self) -> bool {
        matches!(self.shards, Shards::Writing { .. })
    }

    fn view(&self, shard: ShardId) -> Result<&View, ReadError> {
        let number = shard.0 as usize;
        let view = match &self.shards {
            Shards::Writing { shards, .. } => shards.get(number).map(|shard| &shard.view),
            Shards::Following(followers) => followers.get(number).map(|follower| &follower.view),
            Shards::Closed => None,
        };
        view.ok_or(ReadError::NoShard { shard, shards: self.identity.shards })
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        if let Err(error) = self.shut() {
            tracing::warn!(%error, "the log was not closed cleanly; the next opening scans its end");
        }
    }
}

impl Log for FileLog {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn claim(&self, shard: ShardId, claimant: &Claimant) -> Result<Arc<dyn Writer>, ClaimError> {
        self.view(shard).map_err(ClaimError::Broken)?;
        let Shards::Writing { shards, .. } = &self.shards else { return Err(ClaimError::ReadOnly) };
        let Some(writable) = shards.get(shard.0 as usize) else { return Err(ClaimError::ReadOnly) };
        let claim = Claim {
            format: FORMAT,
            node: claimant.node.clone(),
            address: claimant.address.clone(),
            nonce: Bytes::copy_from_slice(&claimant.nonce),
            claimed_at_us: to_micros(claimant.claimed_at),
        };
        let failed = |error| claim_error(&self.directory, shard, error);
        let (epoch, fence) = writable.claim(&claim.to_bytes()).map_err(failed)?;
        Ok(Arc::new(FileWriter { shard: Arc::clone(writable), epoch, fence }))
    }

    fn end(&self, shard: ShardId) -> Offset {
        match &self.shards {
            Shards::Following(followers) => {
                followers.get(shard.0 as usize).map(Follower::end).unwrap_or_default()
            }
            _ => self.view(shard).map(View::end).unwrap_or_default(),
        }
    }

    fn read(&self, shard: ShardId, from: Offset, bytes_max: usize) -> Result<Chunk, ReadError> {
        self.view(shard)?.read(from, bytes_max)
    }

    fn get(&self, shard: ShardId, offset: Offset) -> Result<Option<RawRecord>, ReadError> {
        self.view(shard)?.get(offset)
    }

    fn find(&self, shard: ShardId, term: Term, from: Offset, limit: usize) -> Result<Vec<Offset>, ReadError> {
        self.view(shard)?.find(term, from, limit)
    }

    fn find_last(&self, shard: ShardId, term: Term) -> Result<Option<Offset>, ReadError> {
        self.view(shard)?.find_last(term)
    }

    fn wait(&self, shard: ShardId, beyond: Offset, timeout: Duration) -> Offset {
        let number = shard.0 as usize;
        match &self.shards {
            Shards::Writing { shards, .. } => shards.get(number).map(|shard| shard.wait(beyond, timeout)),
            Shards::Following(followers) => {
                followers.get(number).map(|follower| follower.wait(beyond, timeout))
            }
            Shards::Closed => None,
        }
        .unwrap_or_default()
    }
}

/// The writer of one claim.
#[derive(Debug)]
struct FileWriter {
    shard: Arc<Shard>,
    epoch: Epoch,
    fence: Fence,
}

impl Writer for FileWriter {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn append(&self, kind: RecordKind, envelope: Bytes, terms: Vec<Term>) -> Result<Seq, AppendError> {
        self.shard.append(self.epoch, &self.fence, kind, &envelope, &terms)
    }

    fn commit(&self, seq: Seq) -> Result<Offset, AppendError> {
        self.shard.commit(self.epoch, &self.fence, seq)
    }

    fn committed(&self) -> Seq {
        self.shard.committed(self.epoch, &self.fence)
    }

    fn is_in_force(&self) -> bool {
        !self.fence.is_closed()
    }
}

fn claim_error(directory: &Path, shard: ShardId, error: AppendError) -> ClaimError {
    match error {
        AppendError::Full { reason } => ClaimError::Full { reason },
        AppendError::Broken { reason } => {
            let place = shard_path(directory, shard).display().to_string();
            ClaimError::Broken(ReadError::Unavailable { place, reason })
        }
        other => ClaimError::Unavailable { reason: other.to_string() },
    }
}

/// Refuses to write to a replica: what is appended to it would be in no log.
fn refuse_replica(directory: &Path) -> Result<(), OpenError> {
    match mark_of(directory) {
        Some(SegmentHeader { replica: true, log_id, .. }) => {
            Err(OpenError::Replica { directory: directory.to_owned(), log_id })
        }
        _ => Ok(()),
    }
}

fn genesis(identity: &Identity, shard: ShardId) -> Bytes {
    Genesis {
        format: FORMAT,
        log_id: Bytes::copy_from_slice(identity.log_id.0.as_bytes()),
        context: identity.context.clone(),
        shards: identity.shards,
        shard: shard.0,
        hash: HASH.to_owned(),
        created_at_us: to_micros(identity.created_at),
    }
    .to_bytes()
}
