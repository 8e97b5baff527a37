//! What can go wrong, by family: opening, executing a command, asking a question.

use std::time::Duration;

use annals_core::codec::{DecodeError, EncodeError};
use annals_core::context::{ContextError, FieldError};
use annals_core::id::InvalidName;
use annals_core::{Offset, Position, Refused, ShardId};
use annals_log::{ClaimError, ReadError};

/// An engine that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Correct the context.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// Open the log of this context.
    #[error(
        "the log holds the history of context {found:?}, not of {asked:?}; give another --log, or the right context"
    )]
    OtherContext {
        /// The context asked for.
        asked: String,
        /// The context in the log.
        found: String,
    },
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log could not be claimed for writing.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

/// A command that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// The decision said no. With a key this is the answer for ever.
    #[error("{refused}")]
    Refused {
        /// Why.
        refused: Refused,
        /// The command's key.
        key: String,
    },
    /// Load again and decide anew: the stream is not at the version the caller expected.
    #[error("the stream is at version {actual}, not at {expected}")]
    Conflict {
        /// The version the caller expected.
        expected: u64,
        /// The version it is at.
        actual: u64,
    },
    /// Use another key: this one was used for a command with another body.
    #[error("key {key:?} was used for another command; a key belongs to one command for ever")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// Send less: what the command would record is too large.
    #[error("the command would record {bytes} bytes, the most is {bytes_max}")]
    TooLarge {
        /// What it would be.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Nothing was done: try again after a while.
    #[error("too many commands are waiting; try again in {} ms", retry_after.as_millis())]
    Overloaded {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Nothing was done: try again when the log is back.
    #[error("the log takes no commands now: {reason}")]
    Unavailable {
        /// What the log said.
        reason: String,
    },
    /// It may or may not have taken effect: send it again with the same key to learn which.
    #[error(
        "it is not known whether the command took effect ({reason}); send it again with key {key:?} to learn it"
    )]
    OutcomeUnknown {
        /// The command's key.
        key: String,
        /// What the log said.
        reason: String,
    },
    /// Keep the type, or write an upcast: the stream holds an event that this program cannot read.
    #[error("the event at {position} cannot be read: {reason}")]
    Unreadable {
        /// Where it is.
        position: Position,
        /// Why not.
        reason: String,
    },
    /// Look at the log with `annals log verify`.
    #[error(transparent)]
    Damaged(#[from] ReadError),
    /// Correct the decider: `decide` or `evolve` panicked. Nothing was recorded.
    #[error("the decision panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// Write `Decider::roll_back` for it. Nothing was recorded.
    #[error("{decider} does not say how it is rolled back")]
    NoRollback {
        /// The decider.
        decider: &'static str,
    },
    /// Name one of the context's deciders.
    #[error("there is no decider {name:?}; there are {}", known.join(", "))]
    UnknownDecider {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// Give an id that the decider takes.
    #[error("{id:?} is not an id of {decider}")]
    InvalidId {
        /// The decider.
        decider: String,
        /// The id.
        id: String,
    },
    /// Give a valid name or id.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// Give a key of 1 to 256 bytes without control characters that does not begin with `saga:`.
    #[error(
        "{key:?} is not a key: a key has 1 to 256 bytes, no control characters, and does not begin with saga:"
    )]
    InvalidKey {
        /// The key.
        key: String,
    },
    /// Give a shorter text.
    #[error("{field} has {bytes} bytes, the most is {bytes_max}")]
    TextTooLong {
        /// Which one: actor, correlation, causation, traceparent.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Correct the command's fields.
    #[error(transparent)]
    Fields(#[from] FieldError),
    /// Keep the command a saga sent, or write an upcast.
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
    /// Make the event or refusal serialize.
    #[error(transparent)]
    Unencodable(#[from] EncodeError),
}

impl ExecuteError {
    /// Whether the same command with the same key may fare better later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Overloaded { .. }
                | Self::Unavailable { .. }
                | Self::OutcomeUnknown { .. }
                | Self::Damaged(ReadError::Unavailable { .. })
        )
    }
}

/// A question that has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Name one of the context's deciders or sagas.
    #[error("there is no decider or saga {name:?}; there are {}", known.join(", "))]
    UnknownKind {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// Give an id that the decider takes.
    #[error("{id:?} is not an id of {kind}")]
    InvalidId {
        /// The decider or saga.
        kind: String,
        /// The id.
        id: String,
    },
    /// Ask for a version the stream has.
    #[error("{stream} is at version {version}; it has no version {asked} yet")]
    NoVersion {
        /// The stream.
        stream: String,
        /// The version asked for.
        asked: u64,
        /// The version it is at.
        version: u64,
    },
    /// Keep the type, or write an upcast.
    #[error("the event at {position} cannot be read: {reason}")]
    Unreadable {
        /// Where it is.
        position: Position,
        /// Why not.
        reason: String,
    },
    /// The stream's versions do not follow each other: look at the log with `annals log verify`.
    #[error(
        "shard {shard} offset {offset}: {stream} continues at version {found} where {expected} was expected"
    )]
    Broken {
        /// The shard.
        shard: ShardId,
        /// The record.
        offset: Offset,
        /// The stream.
        stream: String,
        /// The version the record continues from.
        found: u64,
        /// The version the stream had.
        expected: u64,
    },
    /// Look at the log with `annals log verify`.
    #[error(transparent)]
    Damaged(#[from] ReadError),
    /// The log takes no writer now, so what it holds cannot be told for certain: try again.
    #[error("the log does not answer now: {reason}")]
    Unavailable {
        /// What it said.
        reason: String,
    },
    /// Correct the decider: `evolve` panicked.
    #[error("folding the stream panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// Make the state serialize.
    #[error(transparent)]
    Unencodable(#[from] EncodeError),
}

impl From<QueryError> for ExecuteError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::UnknownKind { name, known } => Self::UnknownDecider { name, known },
            QueryError::InvalidId { kind, id } => Self::InvalidId { decider: kind, id },
            QueryError::Unreadable { position, reason } => Self::Unreadable { position, reason },
            QueryError::Broken { shard, offset, .. } => {
                let position = Position { shard, offset, index: 0 };
                Self::Unreadable { position, reason: error.to_string() }
            }
            QueryError::Damaged(error) => Self::Damaged(error),
            QueryError::Panicked { message } => Self::Panicked { message },
            QueryError::Unencodable(error) => Self::Unencodable(error),
            QueryError::Unavailable { reason } => Self::Unavailable { reason },
            QueryError::NoVersion { .. } => Self::Unavailable { reason: error.to_string() },
        }
    }
}
