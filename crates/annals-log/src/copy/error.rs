//! What can go wrong when a log is copied or compared with its copy.

use annals_core::envelope::EnvelopeError;
use annals_core::{LogId, Offset, ShardId};

use crate::port::{AppendError, ClaimError, ReadError};

/// A copy that does not go on. What was copied before is in the target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// Name two logs.
    #[error("source and target are the same log, {log_id}; copy into another one")]
    SameLog {
        /// The log.
        log_id: LogId,
    },
    /// Name a new log, or the one of this context.
    #[error(
        "the target is the log of context {target_context:?}, the source that of {source_context:?}; copy \
         into a new log"
    )]
    OtherContext {
        /// The source's context.
        source_context: String,
        /// The target's context.
        target_context: String,
    },
    /// Copy into a new log: somebody has written to the target since, or it never was a copy.
    #[error(
        "shard {shard} of the target holds a record at offset {offset} that {node} wrote and no copy did; \
         copy into a new log"
    )]
    Foreign {
        /// The target's shard.
        shard: ShardId,
        /// The record.
        offset: Offset,
        /// Who wrote it.
        node: String,
    },
    /// Copy into a new log: this one is a copy of another log.
    #[error(
        "shard {shard} of the target holds a record at offset {offset} that was copied from log {found}, not \
         from {wanted}; copy into a new log"
    )]
    OtherSource {
        /// The target's shard.
        shard: ShardId,
        /// The record.
        offset: Offset,
        /// The log it is a copy of.
        found: LogId,
        /// The source.
        wanted: LogId,
    },
    /// Copy into a new log: the source, or the shards of its streams, have changed since the target was begun.
    #[error(
        "shard {shard} of the target holds a record at offset {offset} that the source does not have at that \
         place; copy into a new log"
    )]
    NotInSource {
        /// The target's shard.
        shard: ShardId,
        /// The record.
        offset: Offset,
    },
    /// Copy into a new log: this one lacks a record in the middle.
    #[error(
        "shard {shard} of the target holds a record at offset {offset}, but not the one before it, shard \
         {source_shard} offset {missing} of the source; copy into a new log"
    )]
    Gap {
        /// The target's shard.
        shard: ShardId,
        /// The record that is there.
        offset: Offset,
        /// The source's shard.
        source_shard: ShardId,
        /// The record before it that is not there.
        missing: Offset,
    },
    /// Correct the context: its deciders and sagas must know every stream, and give it a shard.
    #[error(
        "no shard is known for stream {stream:?} of the record in shard {shard} at offset {offset}; use the \
         program that wrote it"
    )]
    NoShard {
        /// The source's shard.
        shard: ShardId,
        /// The record.
        offset: Offset,
        /// The stream.
        stream: String,
    },
    /// Give streams that are written together one shard key.
    #[error(
        "the record in shard {shard} at offset {offset} holds streams {first:?} and {second:?}, which belong \
         to shards {first_shard} and {second_shard} of the target; a record stays whole, give them one shard \
         key"
    )]
    Split {
        /// The source's shard.
        shard: ShardId,
        /// The record.
        offset: Offset,
        /// Its first stream.
        first: String,
        /// The shard of that.
        first_shard: ShardId,
        /// Another of its streams.
        second: String,
        /// The shard of that.
        second_shard: ShardId,
    },
    /// Use the version of Annals that wrote it, or look with `annals log verify`.
    #[error("the record in shard {shard} of {log} at offset {offset} cannot be read: {reason}")]
    Unreadable {
        /// `source` or `target`.
        log: &'static str,
        /// The shard.
        shard: ShardId,
        /// The record.
        offset: Offset,
        /// Why not.
        reason: EnvelopeError,
    },
    /// See the log's own words.
    #[error("reading the source: {0}")]
    Source(ReadError),
    /// See the log's own words.
    #[error("reading the target: {0}")]
    Target(ReadError),
    /// See the log's own words.
    #[error("shard {shard} of the target: {error}")]
    Claim {
        /// The target's shard.
        shard: ShardId,
        /// Why it was not claimed.
        error: ClaimError,
    },
    /// Stop the other writer, and copy once more; where it recorded something, into a new log.
    #[error("another writer has claimed shard {shard} of the target; stop it, and copy once more")]
    InUse {
        /// The target's shard.
        shard: ShardId,
    },
    /// See the log's own words.
    #[error("shard {shard} of the target: {error}")]
    Append {
        /// The target's shard.
        shard: ShardId,
        /// Why the records were not written.
        error: AppendError,
    },
}

impl CopyError {
    pub(super) fn append(shard: ShardId, error: AppendError) -> Self {
        match error {
            AppendError::Fenced => Self::InUse { shard },
            error => Self::Append { shard, error },
        }
    }

    /// Whether the same job may well succeed when it is run again, after a while.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Source(ReadError::Unavailable { .. })
                | Self::Target(ReadError::Unavailable { .. })
                | Self::Claim { error: ClaimError::Unavailable { .. }, .. }
                | Self::Append { error: AppendError::OutcomeUnknown { .. }, .. }
        )
    }
}
