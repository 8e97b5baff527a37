//! Why a fold cannot go on, and whether waiting helps.

use annals_core::{Offset, Position, ShardId};
use annals_log::{BookmarkError, ReadError};

use crate::store::StoreError;

/// A view that cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FoldError {
    /// Correct the event's type or the projection, and open the view again; it goes on at this event.
    #[error("event {position}: {reason}")]
    Event {
        /// The event.
        position: Position,
        /// What is wrong with it.
        reason: String,
    },
    /// Raise the projection's revision if its type changed, or correct how it is written.
    #[error("document {key:?}: {reason}")]
    Document {
        /// The document's key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Find out what happened to the log; then drop the view, and it is folded again.
    #[error("the saved position {offset} in shard {shard} does not fit the log: {error}")]
    Bookmark {
        /// The shard.
        shard: ShardId,
        /// The offset saved.
        offset: Offset,
        /// Why.
        error: BookmarkError,
    },
    /// Look at the log; `Unavailable` may pass.
    #[error("the log cannot be read: {0}")]
    Log(#[from] ReadError),
    /// Look at the store; `Failed` may pass.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FoldError {
    /// Whether trying again later may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Log(ReadError::Unavailable { .. })
                | Self::Bookmark { error: BookmarkError::Read(ReadError::Unavailable { .. }), .. }
                | Self::Store(StoreError::Failed { .. })
        )
    }

    /// Where in the log the view stands still, where that is known.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Event { position, .. } => Some(*position),
            Self::Bookmark { shard, offset, .. } | Self::Log(ReadError::Damaged { shard, offset, .. }) => {
                Some(Position { shard: *shard, offset: *offset, index: 0 })
            }
            _ => None,
        }
    }
}
