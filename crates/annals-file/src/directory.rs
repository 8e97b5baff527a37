//! The names in a log directory, and what lies there.
//!
//! ```text
//! <log>/lock                                  who writes
//! <log>/shard-000/00000000000000000000.segment   frames; the name is the first offset
//! <log>/shard-000/00000000000000000000.index     derived: can be deleted
//! <log>/shard-000/next-1.tmp                  zeros: the segment to come
//! <log>/shard-000/torn-00000000000000000042   what was cut from the end after a crash
//! ```

use std::io;
use std::path::{Path, PathBuf};

use annals_core::{Offset, ShardId};

use crate::error::OpenError;

pub(crate) const LOCK: &str = "lock";
const NEXT: &str = "next-";
const TEMPORARY: &str = ".tmp";
const SEGMENT: &str = "segment";
const INDEX: &str = "index";
const TORN: &str = "torn-";
const SHARD: &str = "shard-";

pub(crate) fn shard_path(log: &Path, shard: ShardId) -> PathBuf {
    log.join(format!("{SHARD}{:03}", shard.0))
}

pub(crate) fn segment_path(shard: &Path, base: Offset) -> PathBuf {
    shard.join(format!("{:020}.{SEGMENT}", base.0))
}

pub(crate) fn index_path(segment: &Path) -> PathBuf {
    segment.with_extension(INDEX)
}

/// The name of a segment that is being prepared.
pub(crate) fn next_path(shard: &Path, number: u64) -> PathBuf {
    shard.join(format!("{NEXT}{number}{TEMPORARY}"))
}

fn is_next(name: &str) -> bool {
    name.starts_with(NEXT) && name.ends_with(TEMPORARY)
}

/// A name for a cut tail that no file has yet: the same offset may have been cut before.
pub(crate) fn torn_path(shard: &Path, offset: Offset) -> PathBuf {
    let name = format!("{TORN}{:020}", offset.0);
    let mut path = shard.join(&name);
    let mut again = 1;
    while path.exists() {
        again += 1;
        path = shard.join(format!("{name}-{again}"));
    }
    path
}

/// What a shard's directory holds.
#[derive(Debug, Default)]
pub(crate) struct ShardFiles {
    /// The first offsets of the segments, ascending.
    pub(crate) bases: Vec<Offset>,
    pub(crate) indexes: Vec<PathBuf>,
    pub(crate) torn: Vec<PathBuf>,
    /// Files that an interrupted process left half written.
    pub(crate) temporary: Vec<PathBuf>,
}

/// Lists a shard's directory; files that are none of the log's are left alone.
pub(crate) fn list_shard(path: &Path) -> io::Result<ShardFiles> {
    let mut files = ShardFiles::default();
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let own_temporary = is_next(name) || name.strip_suffix(".index.tmp").is_some_and(is_offset);
        if let Some(base) = name.strip_suffix(".segment").filter(|base| is_offset(base)) {
            files.bases.extend(base.parse().ok().map(Offset));
        } else if name.strip_suffix(".index").is_some_and(is_offset) {
            files.indexes.push(path.join(name));
        } else if name.starts_with(TORN) {
            files.torn.push(path.join(name));
        } else if own_temporary {
            files.temporary.push(path.join(name));
        }
    }
    files.bases.sort_unstable();
    files.torn.sort_unstable();
    Ok(files)
}

fn is_offset(name: &str) -> bool {
    name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// The shards that have a directory, ascending.
pub(crate) fn list_log(path: &Path) -> io::Result<Vec<ShardId>> {
    let mut shards = Vec::new();
    for entry in std::fs::read_dir(path)? {
        shards.extend(entry?.file_name().to_str().and_then(shard_of_name));
    }
    shards.sort_unstable();
    Ok(shards)
}

fn shard_of_name(name: &str) -> Option<ShardId> {
    let number: u32 = name.strip_prefix(SHARD)?.parse().ok()?;
    (name == format!("{SHARD}{number:03}")).then_some(ShardId(number))
}

/// Refuses a directory in which a log must not be made: one that holds anything but the leavings of an
/// unfinished creation (the lock, and shards with nothing beyond a genesis while shard 0 has no segment).
pub(crate) fn check_creatable(path: &Path) -> Result<(), OpenError> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OpenError::io(path, error)),
        Ok(entries) => entries,
    };
    let not_empty = |found: String| OpenError::NotEmpty { directory: path.to_owned(), found };
    for entry in entries {
        let name = entry.map_err(|error| OpenError::io(path, error))?.file_name();
        let name = name.to_string_lossy().into_owned();
        match shard_of_name(&name) {
            Some(shard) => check_leavings(&path.join(&name), shard).map_err(|found| match found {
                Some(found) => not_empty(format!("{name}/{found}")),
                None => not_empty(name),
            })?,
            None if name == LOCK => {}
            None => return Err(not_empty(name)),
        }
    }
    Ok(())
}

/// Whether a shard's directory can only be from an unfinished creation; the error names what speaks against it.
fn check_leavings(path: &Path, shard: ShardId) -> Result<(), Option<String>> {
    for entry in std::fs::read_dir(path).map_err(|_| None)? {
        let name = entry.map_err(|_| None)?.file_name().to_string_lossy().into_owned();
        let first = name == format!("{:020}.{SEGMENT}", 0) && shard != ShardId(0);
        if !first && !is_next(&name) {
            return Err(Some(name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_names_are_listed() {
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "00000000000000000007.segment",
            "00000000000000000007.index",
            "7.segment",
            "notes.txt",
            "next-3.tmp",
            "torn-00000000000000000003",
        ] {
            std::fs::write(directory.path().join(name), b"").unwrap();
        }
        let files = list_shard(directory.path()).unwrap();
        assert_eq!(files.bases, [Offset(7)]);
        assert_eq!((files.indexes.len(), files.torn.len(), files.temporary.len()), (1, 1, 1));
        assert_eq!(shard_of_name("shard-012"), Some(ShardId(12)));
        assert_eq!(shard_of_name("shard-1234"), Some(ShardId(1234)));
        assert_eq!(shard_of_name("shard-12"), None);
        assert_eq!(shard_of_name("shard-0012"), None);
    }
}
