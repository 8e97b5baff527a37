//! What can be said about a view: how it stands, how far behind it is, and why a read was not answered.

use std::fmt;

use annals_core::{Position, ShardId};
use serde::Serialize;

use crate::past::PastError;
use crate::store::StoreError;

/// How a view stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ViewState {
    /// It is folded for the first time, or has not reached yet what the log held when the views were opened.
    /// Reads wait for it.
    Building,
    /// It follows the log.
    Live,
    /// A build of another revision is read, which this program cannot fold: it stands where it is until the
    /// program's own revision is built.
    Older {
        /// The revision that is read.
        revision: u32,
    },
    /// It could not read the log or write its store, and tries again.
    Retrying {
        /// What happened.
        reason: String,
    },
    /// It stands still and needs a person. Nothing was skipped; the other views go on.
    Stopped {
        /// The event at fault, where it is one.
        position: Option<Position>,
        /// What to do about it.
        reason: String,
    },
}

impl fmt::Display for ViewState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Building => f.write_str("building"),
            Self::Live => f.write_str("live"),
            Self::Older { revision } => {
                write!(f, "read at revision {revision} until the present one is built")
            }
            Self::Retrying { reason } => write!(f, "retrying: {reason}"),
            Self::Stopped { reason, .. } => write!(f, "stopped: {reason}"),
        }
    }
}

/// How far a view is behind the log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lag {
    /// Records it has not taken in, over all shards.
    pub events: u64,
    /// How long ago the last record it has taken in was recorded, in the shard that is furthest behind; 0 when
    /// it is at the log's end.
    pub seconds: f64,
    /// How it stands.
    #[serde(flatten)]
    pub state: ViewState,
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records and {:.1} s behind, {}", self.events, self.seconds, self.state)
    }
}

/// A read of a view that was not answered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// Ask for a view of the context.
    #[error("there is no view {view:?}; there are {}", known.join(", "))]
    Unknown {
        /// The name asked for.
        view: String,
        /// The views there are.
        known: Vec<String>,
    },
    /// Ask for a key as the projection writes it.
    #[error("{key:?} cannot be a key of view {view}")]
    NotAKey {
        /// The view.
        view: String,
        /// The key asked for.
        key: String,
    },
    /// Declare the index (`Projection::INDEXES`), or ask for one that is.
    #[error(
        "view {view} has no index on {path:?}; {}",
        if known.is_empty() { "it declares none".to_owned() } else { format!("there are {}", known.join(", ")) }
    )]
    NoIndex {
        /// The view.
        view: String,
        /// The field asked for.
        path: String,
        /// The fields with an index.
        known: Vec<String>,
    },
    /// Give the cursor of a page in the same order.
    #[error("{cursor:?} is not a place in a list of view {view} in this order")]
    Cursor {
        /// The view.
        view: String,
        /// The cursor given.
        cursor: String,
    },
    /// Ask for a record of a shard that the log has.
    #[error("the log has {shards} shards, there is no shard {shard}")]
    NoShard {
        /// The shard asked for.
        shard: ShardId,
        /// How many there are.
        shards: u32,
    },
    /// Ask again later, or read without a bound.
    #[error("view {view} is behind: {lag}")]
    Behind {
        /// The view.
        view: String,
        /// How far.
        lag: Lag,
    },
    /// Correct what it says, then start again; the view goes on where it stands.
    #[error("view {view} stands still{}: {reason}", at(*position))]
    Stopped {
        /// The view.
        view: String,
        /// The event at fault, where it is one.
        position: Option<Position>,
        /// What to do about it.
        reason: String,
    },
    /// It says what to do.
    #[error(transparent)]
    Past(#[from] PastError),
    /// Look at the store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn at(position: Option<Position>) -> String {
    position.map(|position| format!(" at {position}")).unwrap_or_default()
}

/// Views that could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Open the log of this context.
    #[error("the log belongs to context {found:?}, not to {expected:?}")]
    Context {
        /// The context given.
        expected: String,
        /// The context the log was made for.
        found: String,
    },
    /// Look at the store: what it holds of the views could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Let the process have more threads.
    #[error("no thread could be started to follow the log: {reason}")]
    Thread {
        /// What the operating system said.
        reason: String,
    },
}
