//! Throwing a replica away, and telling it from a log, which must never be.
//!
//! Invariant: a file is removed only from a directory in which a segment says that it is part of a replica, none says
//! that it is part of a log, and nobody has the lock.

use std::fs::File;
use std::io;
use std::path::Path;

use annals_core::{Offset, ShardId};

use crate::directory::{list_log, list_shard, segment_path, shard_path};
use crate::disk::Disk;
use crate::error::OpenError;
use crate::format::{HeaderProblem, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::lock::WriterLock;
use crate::opening::mark_of;
use crate::scan::read_up_to;

/// See [`Replica::discard`](super::Replica::discard).
pub(super) fn discard(directory: &Path, disk: &Disk) -> Result<(), OpenError> {
    let shards = match list_log(directory) {
        Ok(shards) => shards,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OpenError::io(directory, error)),
    };
    if !is_replica(directory, &shards)? {
        return Ok(());
    }
    let _lock = WriterLock::take(directory)?;
    // Again under the lock: somebody else may have made something of it meanwhile.
    if is_replica(directory, &shards)? {
        // The newest first, shard 0 last: what an interruption leaves is a shorter replica, or says that it is none.
        for shard in shards.iter().rev() {
            remove(&shard_path(directory, *shard), disk)?;
        }
    }
    Ok(())
}

/// Refuses a directory whose first segment is that of a log.
pub(super) fn refuse_log(directory: &Path) -> Result<(), OpenError> {
    match mark_of(directory) {
        Some(header) if !header.replica => Err(is_a_log(directory, &header)),
        _ => Ok(()),
    }
}

fn is_a_log(directory: &Path, header: &SegmentHeader) -> OpenError {
    let reason = format!("it holds log {} itself", header.log_id);
    OpenError::NotAReplica { directory: directory.to_owned(), reason }
}

/// Whether there are segments of a replica, and nothing else; `false` where there are no segments.
fn is_replica(directory: &Path, shards: &[ShardId]) -> Result<bool, OpenError> {
    let (mut marked, mut segments) = (0_usize, 0_usize);
    for shard in shards {
        let path = shard_path(directory, *shard);
        for base in list_shard(&path).map_err(|error| OpenError::io(&path, error))?.bases {
            segments += 1;
            marked += usize::from(is_marked(directory, &segment_path(&path, base))?);
        }
    }
    if segments > 0 && marked == 0 {
        let reason = "none of its segments says so".to_owned();
        return Err(OpenError::NotAReplica { directory: directory.to_owned(), reason });
    }
    Ok(marked > 0)
}

/// Whether a segment says that it is part of a replica. A damaged one is taken at its word, so that a replica of one
/// segment can be thrown away too.
fn is_marked(directory: &Path, segment: &Path) -> Result<bool, OpenError> {
    let io = |error| OpenError::io(segment, error);
    let mut head = [0; SEGMENT_HEADER_BYTES];
    let file = File::open(segment).map_err(io)?;
    let filled = read_up_to(&file, &mut head, 0).map_err(io)?;
    let head = head.get(..filled).unwrap_or_default();
    match SegmentHeader::decode(head) {
        Ok((header, _)) if header.replica => Ok(true),
        Ok((header, _)) => Err(is_a_log(directory, &header)),
        Err(HeaderProblem::Damaged(_)) => Ok(SegmentHeader::claims_replica(head)),
        Err(HeaderProblem::Unknown(found)) => Err(OpenError::unknown(segment, found)),
    }
}

/// Removes the files of a shard, its first segment last, and its folder where nothing else is in it.
fn remove(shard: &Path, disk: &Disk) -> Result<(), OpenError> {
    let files = list_shard(shard).map_err(|error| OpenError::io(shard, error))?;
    let segments = files.bases.iter().rev().map(|base: &Offset| segment_path(shard, *base));
    for path in files.temporary.iter().chain(&files.indexes).cloned().chain(segments) {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(OpenError::io(&path, error)),
            _ => {}
        }
    }
    disk.sync_directory(shard).map_err(|error| OpenError::io(shard, error))?;
    match std::fs::remove_dir(shard) {
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(OpenError::io(shard, error)),
        _ => Ok(()),
    }
}
