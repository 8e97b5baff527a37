//! What can go wrong for a program that uses Annals: opening, and sending a command.

use std::time::Duration;

use annals_core::{Position, Refusal};
use annals_engine::ExecuteError;

use crate::open::UrlError;

/// An app that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Correct the address.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// See the log's own words: a directory in use, not a log, damaged.
    #[error(transparent)]
    File(#[from] annals_file::OpenError),
    /// See the log's own words: brokers that do not answer, a topic that is no journal, a replica in use.
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(#[from] annals_kafka::OpenError),
    /// Correct the context, or see the log's words.
    #[error(transparent)]
    Engine(#[from] annals_engine::OpenError),
    /// See the view store's words.
    #[error(transparent)]
    ViewStore(#[from] annals_views::StoreError),
    /// See the views' words.
    #[error(transparent)]
    Views(#[from] annals_views::OpenError),
}

#[cfg(feature = "cli")]
impl OpenError {
    /// Whether there is no log at that place, so that one may be made there.
    pub(crate) fn is_no_log(&self) -> bool {
        match self {
            Self::File(annals_file::OpenError::NotALog { .. }) => true,
            #[cfg(feature = "kafka")]
            Self::Kafka(annals_kafka::OpenError::NoJournal { .. }) => true,
            _ => false,
        }
    }

    /// Whether a log at that place was begun to be made, which opening it for writing goes on with.
    pub(crate) fn is_unfinished(&self) -> bool {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(annals_kafka::OpenError::Unfinished { .. }) => true,
            _ => false,
        }
    }
}

/// A command that was not accepted, with the decider's own refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError<R> {
    /// The decision said no. With a key this is the answer for ever.
    #[error("{0}")]
    Refused(R),
    /// Load again and decide anew: the stream is not at the version that was expected.
    #[error("the stream is at version {actual}, not at {expected}")]
    Conflict {
        /// The version expected.
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
    /// Send less.
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
    /// It may or may not have taken effect: send it again with this key to learn which.
    #[error("it is not known whether the command took effect; send it again with key {key:?} to learn it")]
    OutcomeUnknown {
        /// The command's key, given or made.
        key: String,
    },
    /// Keep the type, or write an upcast: the history holds something this program cannot read.
    #[error("the record at {position} cannot be read: {reason}")]
    Unreadable {
        /// Where it is.
        position: Position,
        /// Why not.
        reason: String,
    },
    /// Correct the decider: `decide` or `evolve` panicked. Nothing was recorded.
    #[error("the decision panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// Correct what it names: an id, a key, a text. Nothing was done.
    #[error("{reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
}

impl<R: Refusal> From<ExecuteError> for SendError<R> {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Refused { refused, .. } => match refused.decode() {
                Ok(refusal) => Self::Refused(refusal),
                // Recorded by a program that knew more refusals: its words still stand.
                Err(error) => Self::Invalid { reason: format!("refused: {refused} ({error})") },
            },
            ExecuteError::Conflict { expected, actual } => Self::Conflict { expected, actual },
            ExecuteError::KeyReused { key } => Self::KeyReused { key },
            ExecuteError::TooLarge { bytes, bytes_max } => Self::TooLarge { bytes, bytes_max },
            ExecuteError::Overloaded { retry_after } => Self::Overloaded { retry_after },
            ExecuteError::Unavailable { reason } => Self::Unavailable { reason },
            ExecuteError::OutcomeUnknown { key, .. } => Self::OutcomeUnknown { key },
            ExecuteError::Unreadable { position, reason } => Self::Unreadable { position, reason },
            ExecuteError::Panicked { message } => Self::Panicked { message },
            ExecuteError::Damaged(error) => Self::Unavailable { reason: error.to_string() },
            error => Self::Invalid { reason: error.to_string() },
        }
    }
}
