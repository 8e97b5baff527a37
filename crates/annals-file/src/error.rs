//! What can go wrong when a log directory is made or opened.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use annals_core::{LogId, Offset, ShardId};
use annals_log::ReadError;

use crate::collector::Newer;
use crate::format::{Unknown, VERSION};

/// A log directory that was not made or not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Stop the other process, or open the log read-only.
    #[error("{} is in use by {holder}; stop it, or open the log for reading only", directory.display())]
    InUse {
        /// The log directory.
        directory: PathBuf,
        /// What the other process wrote about itself.
        holder: String,
    },
    /// Give the directory of a log, or create one there.
    #[error("{} is not a log directory: {reason}", directory.display())]
    NotALog {
        /// The directory.
        directory: PathBuf,
        /// What is missing or too much.
        reason: String,
    },
    /// Choose an empty or new directory: nothing in this one was touched.
    #[error("{} is not empty: it holds {found}; choose an empty or new directory", directory.display())]
    NotEmpty {
        /// The directory.
        directory: PathBuf,
        /// Something in it that is not from an unfinished creation of a log.
        found: String,
    },
    /// Give the directory of the right context's log.
    #[error("{} holds the log of context {found:?}, not of {wanted:?}", directory.display())]
    OtherContext {
        /// The directory.
        directory: PathBuf,
        /// The context whose log it is.
        found: String,
        /// The context that was asked for.
        wanted: String,
    },
    /// Ask for the number of shards the log has, or copy it into a log with another number.
    #[error(
        "{} has {found} shards, not {wanted}; the number is fixed when a log is made (copy it to change it)",
        directory.display()
    )]
    OtherShards {
        /// The directory.
        directory: PathBuf,
        /// How many shards the log has.
        found: u32,
        /// How many were asked for.
        wanted: u32,
    },
    /// Make the directory writable, or open the log read-only.
    #[error("{} cannot be written: {source}; make it writable, or open the log for reading only", path.display())]
    ReadOnlyDirectory {
        /// What could not be written.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Use the version of Annals that wrote it, or a newer one.
    #[error("{} has format version {found}, this annals knows version {VERSION}; use a newer annals", path.display())]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// The version in it.
        found: u32,
    },
    /// Use a newer version of Annals.
    #[error("{} has flags {flags:#x}, which this annals does not know; use a newer annals", path.display())]
    UnknownFlags {
        /// The segment.
        path: PathBuf,
        /// The flags that are not known.
        flags: u32,
    },
    /// Write to the log itself; this directory can be opened for reading only.
    #[error(
        "{} is a replica of log {log_id}, which is elsewhere, in Kafka; nothing may be written here: write through a \
         node of that log, or open this for reading only",
        directory.display()
    )]
    Replica {
        /// The directory.
        directory: PathBuf,
        /// The log it is derived from.
        log_id: LogId,
    },
    /// Choose another directory: nothing in this one was touched.
    #[error("{} is not a replica: {reason}; choose another directory", directory.display())]
    NotAReplica {
        /// The directory.
        directory: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// Give the genesis of each shard of the log that is to be replicated.
    #[error("the genesis of shard {shard} is not that of log {log_id}: {reason}")]
    OtherGenesis {
        /// The shard.
        shard: ShardId,
        /// The log that was to be replicated.
        log_id: LogId,
        /// What is wrong with it.
        reason: String,
    },
    /// Restore the file from a backup; `verify` lists all damage. Nothing was changed.
    #[error("{0}; nothing was changed; restore it from a backup, and see `annals log verify` for all damage")]
    Damaged(Damage),
    /// Look at the operating system's message and try again.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Records that a replica did not take, or could not make durable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// Make room, then append the same records again: none of them was taken.
    #[error("shard {shard} of the replica could not be written: {source}")]
    Unwritten {
        /// The shard.
        shard: ShardId,
        /// What the operating system said.
        source: io::Error,
    },
    /// Give so large a record as foreign: none of the records was taken.
    #[error("the record at offset {offset} has {bytes} bytes, the most is {bytes_max}")]
    TooLarge {
        /// Where it was to be appended.
        offset: Offset,
        /// The envelope's size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Append fewer records at once: none of them was taken.
    #[error("the records take {bytes} bytes, the most at once is {bytes_max}")]
    TooMany {
        /// What they take in a segment.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// Use a newer version of Annals: none of the records was taken, since this one does not see all that they can
    /// be found by.
    #[error("the record at offset {offset} has envelope format {found}; use a newer annals")]
    Newer {
        /// Where it was to be appended.
        offset: Offset,
        /// The format found.
        found: u32,
    },
    /// Discard the replica: what the disk holds of it is not known.
    #[error("the replica takes no more records: {reason}")]
    Broken {
        /// What happened.
        reason: String,
    },
    /// Open the replica again.
    #[error("the replica was closed")]
    Closed,
}

/// A place in the log that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The shard.
    pub shard: ShardId,
    /// The segment file.
    pub segment: PathBuf,
    /// The first offset that cannot be read.
    pub offset: Offset,
    /// Where in the file.
    pub byte: u64,
    /// What is wrong there.
    pub reason: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, segment, offset, byte, reason } = self;
        let segment = segment.display();
        write!(f, "shard {shard} is damaged at offset {offset} ({segment} byte {byte}): {reason}")
    }
}

impl From<Damage> for OpenError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl From<Damage> for ReadError {
    fn from(damage: Damage) -> Self {
        Self::Damaged {
            shard: damage.shard,
            offset: damage.offset,
            place: format!("{} byte {}", damage.segment.display(), damage.byte),
            reason: damage.reason,
        }
    }
}

impl OpenError {
    /// What a newer version of this code has written into `path`.
    pub(crate) fn unknown(path: &Path, found: Unknown) -> Self {
        let path = path.to_owned();
        match found {
            Unknown::Version(found) => Self::UnknownVersion { path, found },
            Unknown::Flags(flags) => Self::UnknownFlags { path, flags },
        }
    }

    /// What the operating system said about `path`, told apart where another remedy helps.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnlyDirectory { path, source }
            }
            _ => Self::Io { path, source },
        }
    }
}

impl SegmentError {
    /// As what the operating system could have said.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::Damaged(damage) | Self::Newer(Newer { at: damage, .. }) => {
                io::Error::other(damage.to_string())
            }
            Self::Io(_, error) => error,
        }
    }
}

/// An error while reading a segment: its bytes are wrong, or could not be had.
#[derive(Debug)]
pub(crate) enum SegmentError {
    Damaged(Damage),
    Newer(Newer),
    Io(PathBuf, io::Error),
}

impl From<SegmentError> for OpenError {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Damaged(damage) => Self::Damaged(damage),
            SegmentError::Newer(Newer { format, at }) => {
                Self::UnknownVersion { path: at.segment, found: format }
            }
            SegmentError::Io(path, source) => Self::Io { path, source },
        }
    }
}

impl From<SegmentError> for ReadError {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Damaged(damage) | SegmentError::Newer(Newer { at: damage, .. }) => damage.into(),
            SegmentError::Io(path, source) => {
                Self::Unavailable { place: path.display().to_string(), reason: source.to_string() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_cannot_be_written_is_told_apart() {
        let error = |errno| OpenError::io(Path::new("log"), io::Error::from_raw_os_error(errno));
        for errno in [1, 13, 30] {
            assert!(matches!(error(errno), OpenError::ReadOnlyDirectory { .. }), "{errno}");
        }
        assert!(matches!(error(5), OpenError::Io { .. }));
    }
}
