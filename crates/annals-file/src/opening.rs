//! Making and opening a directory of shards: what logs and replicas have in common.
//!
//! Invariant: shard 0 is made last, so a directory whose shard 0 has a segment is complete. Every genesis agrees with
//! its segment and with the number of shards, or the directory is not opened.

use std::fs::File;
use std::path::Path;

use annals_core::envelope::{Genesis, from_micros};
use annals_core::{LogId, Offset, ShardId};
use annals_log::Identity;
use bytes::Bytes;

use crate::directory::{check_creatable, list_log, list_shard, segment_path, shard_path};
use crate::disk::Disk;
use crate::error::OpenError;
use crate::format::SegmentHeader;
use crate::lock::WriterLock;
use crate::place::Place;
use crate::recover::{self, How, Opened};
use crate::segment::{Expect, Segment, read_header};
use crate::settings::Settings;

/// The function from shard key to shard that logs are made with.
pub(crate) const HASH: &str = "murmur2";
/// The most shards a log may have.
const SHARDS_MAX: usize = 1024;

/// What is to be made in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Making {
    pub(crate) log_id: LogId,
    pub(crate) replica: bool,
    pub(crate) settings: Settings,
    pub(crate) disk: Disk,
}

impl Making {
    /// Makes a shard for each genesis; durable when it returns.
    pub(crate) fn make(&self, directory: &Path, genesis: &[Bytes]) -> Result<WriterLock, OpenError> {
        check_creatable(directory)?;
        if genesis.is_empty() || genesis.len() > SHARDS_MAX {
            let reason = format!("a log has 1 to {SHARDS_MAX} shards, not {}", genesis.len());
            return Err(OpenError::NotALog { directory: directory.to_owned(), reason });
        }
        let io = |error| OpenError::io(directory, error);
        std::fs::create_dir_all(directory).map_err(io)?;
        let lock = WriterLock::take(directory)?;
        // Again under the lock: somebody else may have made a log meanwhile.
        check_creatable(directory)?;
        // Shard 0 last: a log whose shard 0 has a genesis is complete.
        for (shard, genesis) in genesis.iter().enumerate().rev() {
            self.make_shard(directory, ShardId(shard as u32), genesis)?;
        }
        self.disk.sync_directory(directory).map_err(io)?;
        if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.disk.sync_directory(parent).map_err(io)?;
        }
        Ok(lock)
    }

    fn make_shard(&self, log: &Path, shard: ShardId, genesis: &[u8]) -> Result<(), OpenError> {
        let directory = shard_path(log, shard);
        let io = |error| OpenError::io(&directory, error);
        if directory.exists() {
            check_only_genesis(log, &directory, shard)?;
            std::fs::remove_dir_all(&directory).map_err(io)?;
        }
        std::fs::create_dir(&directory).map_err(io)?;
        let Self { log_id, replica, settings, disk } = self.clone();
        let place = Place { log_id, shard, directory: directory.clone(), replica, settings, disk };
        place.create(genesis).map_err(io)
    }
}

/// Refuses to remove a shard that holds more than an unfinished creation leaves behind.
fn check_only_genesis(directory: &Path, path: &Path, shard: ShardId) -> Result<(), OpenError> {
    let not_empty = |found: &Path| OpenError::NotEmpty {
        directory: directory.to_owned(),
        found: found.display().to_string(),
    };
    let files = list_shard(path).map_err(|error| OpenError::io(path, error))?;
    for base in files.bases {
        let file = segment_path(path, base);
        let segment = Segment::open(&file, &Expect { log_id: None, replica: None, shard, base }, false)
            .map_err(|_| not_empty(&file))?;
        segment.catch_up(&mut |_| Ok(()))?;
        if segment.mark().next > Offset(1) {
            return Err(not_empty(&file));
        }
    }
    Ok(())
}

/// Whether the directory holds a complete log or replica: one whose shard 0 has a segment.
pub(crate) fn has_log(directory: &Path) -> bool {
    list_shard(&shard_path(directory, ShardId(0))).is_ok_and(|files| !files.bases.is_empty())
}

pub(crate) fn check_is_log(directory: &Path) -> Result<(), OpenError> {
    let not_a_log =
        |reason: &str| Err(OpenError::NotALog { directory: directory.to_owned(), reason: reason.to_owned() });
    if !directory.exists() {
        return not_a_log("it does not exist");
    }
    let shards = list_log(directory).map_err(|error| OpenError::io(directory, error))?;
    if shards.is_empty() {
        return not_a_log("it has no folder shard-000");
    }
    if !has_log(directory) {
        return not_a_log(
            "its shard 0 has no segment: the log was never made completely, or the folder was lost",
        );
    }
    Ok(())
}

/// The header of the first segment, where it can be read: says whether this is a log or a replica.
pub(crate) fn mark_of(directory: &Path) -> Option<SegmentHeader> {
    let shard = shard_path(directory, ShardId(0));
    let base = *list_shard(&shard).ok()?.bases.first()?;
    let file = File::open(segment_path(&shard, base)).ok()?;
    let (header, _) = read_header(&file).ok()?.ok()?;
    Some(header)
}

/// Opens all shards and reads the identity from the genesis of each.
pub(crate) fn open_shards(how: &How) -> Result<(Identity, Vec<Opened>), OpenError> {
    check_is_log(&how.log)?;
    let first = recover::open(how, ShardId(0))?;
    let identity = identity_in(&first, ShardId(0))?;
    let present = list_log(&how.log).map_err(|error| OpenError::io(&how.log, error))?;
    let expected: Vec<_> = (0..identity.shards).map(ShardId).collect();
    if present != expected {
        let reason = format!("it should have {} shard folders and has {}", identity.shards, present.len());
        return Err(OpenError::NotALog { directory: how.log.clone(), reason });
    }
    let replica = Some(first.last.header.replica);
    let how = How { log_id: Some(identity.log_id), replica, ..how.clone() };
    let mut opened = vec![first];
    for shard in expected.into_iter().skip(1) {
        let other = recover::open(&how, shard)?;
        identity_in(&other, shard)?;
        opened.push(other);
    }
    Ok((identity, opened))
}

fn identity_in(opened: &Opened, shard: ShardId) -> Result<Identity, OpenError> {
    let segment = opened.segments.first().unwrap_or(&opened.last);
    let damage = |reason: &str| OpenError::Damaged(segment.damage(Offset(0), 0, reason));
    let (mut bytes, mut records) = (0, Vec::new());
    segment.read(Offset(0), 0, &mut bytes, &mut records)?;
    let genesis = records.into_iter().next().ok_or_else(|| damage("the genesis is missing"))?;
    let identity = identity_of(genesis.envelope, shard).map_err(|reason| damage(&reason))?;
    if identity.log_id != segment.header.log_id {
        return Err(damage("the genesis does not agree with its segment"));
    }
    Ok(identity)
}

/// What the genesis of a shard says of its log; the error says what is wrong with it.
pub(crate) fn identity_of(genesis: Bytes, shard: ShardId) -> Result<Identity, String> {
    let genesis = Genesis::from_bytes(genesis).map_err(|error| error.to_string())?;
    let log_id = genesis.log_id().ok_or("the genesis names no log")?;
    if genesis.shard != shard.0 {
        return Err(format!("the genesis is that of shard {}", genesis.shard));
    }
    if genesis.hash != HASH {
        return Err(format!("the genesis names another function from key to shard: {:?}", genesis.hash));
    }
    let created_at = from_micros(genesis.created_at_us);
    Ok(Identity { log_id, context: genesis.context, shards: genesis.shards, created_at })
}
