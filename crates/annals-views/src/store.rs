//! The store port: where documents and positions live, and what a store must promise.
//!
//! Invariant: [`ViewStore::save`] writes documents and positions together or not at all, and only if the saved
//! positions are still those the change started from. So a document is always the fold of exactly the records
//! below its view's positions, whatever crashes, and of two runners one loses with [`StoreError::Superseded`].
//!
//! A store knows no events and no types: documents are JSON bytes. It is never the truth; the log is, and a
//! view that is lost is folded again.

mod memory;
pub(crate) mod query;
mod schema;
mod sqlite;

use std::fmt;

use annals_core::context::AnyProjection;
use annals_core::{Offset, Position, ShardId, Tenant};
use annals_log::Bookmark;

pub use crate::index_key::IndexKey;
pub use memory::MemoryStore;
pub use query::{Comparison, Filter, Order, PAGE_DOCUMENTS_MAX, Page, Place, Query};
pub use sqlite::SqliteStore;

/// One build of a view: another revision, or the same one folded again, has documents and positions of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewId {
    /// The projection's name.
    pub name: String,
    /// The projection's revision.
    pub revision: u32,
    /// Which build of this revision: 1 for the first.
    pub build: u32,
}

impl ViewId {
    /// The first build of a revision.
    #[must_use]
    pub fn first(name: impl Into<String>, revision: u32) -> Self {
        Self { name: name.into(), revision, build: 1 }
    }
}

impl fmt::Display for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.build {
            1 => write!(f, "{}@{}", self.name, self.revision),
            build => write!(f, "{}@{}.{build}", self.name, self.revision),
        }
    }
}

/// How the documents of a build are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The paths of the indexed fields.
    pub indexes: Vec<String>,
}

impl Layout {
    /// How the documents of `projection` are kept.
    #[must_use]
    pub fn of(projection: &dyn AnyProjection) -> Self {
        Self { indexes: projection.indexes().iter().map(|index| index.path.to_owned()).collect() }
    }
}

/// What becomes of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It is folded and not read yet.
    Building,
    /// It is the one that is read; a view has one at most.
    Live,
    /// Another one has taken its place, and it was kept.
    Kept,
}

/// A build that a store has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// Which.
    pub view: ViewId,
    /// What becomes of it.
    pub stage: Stage,
    /// How it is kept.
    pub layout: Layout,
}

/// What a document is found by. Documents of a tenant are apart from those of others and of none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentKey {
    /// The tenant of the events it was folded from.
    pub tenant: Option<Tenant>,
    /// The key as the projection gave it.
    pub key: String,
}

/// One saved position per shard, shard 0 first; `None` where no record was taken in yet.
pub type Positions = Vec<Option<Bookmark>>;

/// A document as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Its JSON.
    pub json: Vec<u8>,
    /// The values of its indexed fields, in the order of [`Layout::indexes`].
    pub values: Vec<IndexKey>,
}

/// An event that a view has not taken in.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SetAside {
    /// Where it is.
    pub position: Position,
    /// Its stream.
    pub stream: String,
    /// Why it was set aside.
    pub why: Why,
    /// What is wrong with it; empty for one that waits behind another.
    pub reason: String,
}

/// Why an event was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It is bad, and parks its stream.
    Parked,
    /// It waits behind one that is parked.
    Waiting,
    /// It was bad and is left out for good, because the projection says so or a person did.
    Skipped,
}

impl Why {
    /// All of them, with their names.
    pub(crate) const ALL: [(Self, &'static str); 3] =
        [(Self::Parked, "parked"), (Self::Waiting, "waiting"), (Self::Skipped, "skipped")];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Waiting => "waiting",
            Self::Skipped => "skipped",
        }
    }
}

/// What one transaction does to a view.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Documents to write, or to remove (`None`), ascending by key, each key once.
    pub documents: Vec<(DocumentKey, Option<Document>)>,
    /// Events to set aside, each at most once; one that was set aside before gets what is said now.
    pub set_aside: Vec<SetAside>,
    /// Events that were set aside and have been taken in.
    pub taken_in: Vec<Position>,
    /// The positions this change started from: what must still be saved.
    pub from: Positions,
    /// The positions after it.
    pub to: Positions,
}

/// Keeps documents and positions of views. Synchronous; shared by runners and readers.
///
/// Readers see whole saves only, and never make a runner wait.
pub trait ViewStore: Send + Sync + 'static {
    /// Makes room for a build that is folded from now on; nothing happens where it is there with this layout.
    fn create(&self, view: &ViewId, layout: &Layout) -> Result<(), StoreError>;

    /// The saved positions, empty where the build has never been saved.
    fn positions(&self, view: &ViewId) -> Result<Positions, StoreError>;

    /// The documents of `keys`, in their order.
    fn load(&self, view: &ViewId, keys: &[DocumentKey]) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// Writes documents and positions in one transaction, if [`Change::from`] is what is saved.
    fn save(&self, view: &ViewId, change: &Change) -> Result<(), StoreError>;

    /// One document.
    fn get(&self, view: &ViewId, tenant: Option<&Tenant>, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// A page of documents.
    fn list(&self, view: &ViewId, query: &Query<'_>) -> Result<Page, StoreError>;

    /// Events of a view that were set aside, of one stream or of all, after a position and ascending: at most `limit`.
    fn set_aside(
        &self,
        view: &ViewId,
        stream: Option<&str>,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<SetAside>, StoreError>;

    /// The streams that are parked in a view, ascending.
    fn parked_streams(&self, view: &ViewId) -> Result<Vec<String>, StoreError>;

    /// Documents of all tenants after a key, ordered by tenant and key: at most `limit`, none at the end.
    fn scan(
        &self,
        view: &ViewId,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Vec<u8>)>, StoreError>;

    /// How many documents a build has, over all tenants.
    fn count(&self, view: &ViewId) -> Result<u64, StoreError>;

    /// All builds there are, ascending.
    fn builds(&self) -> Result<Vec<Build>, StoreError>;

    /// Makes a build the one that is read; the one that was is kept from now on. One transaction.
    fn promote(&self, view: &ViewId) -> Result<(), StoreError>;

    /// Removes a build, documents and positions; nothing happens where there is none.
    fn drop_view(&self, view: &ViewId) -> Result<(), StoreError>;
}

/// A store that did not do what was asked; nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Stop the other process, or open for reading only.
    #[error("{path} is open for writing in {holder}; stop it, or open for reading only")]
    Locked {
        /// The file.
        path: String,
        /// Who holds it, as far as is known.
        holder: String,
    },
    /// Open for writing.
    #[error("{path} is open for reading only")]
    ReadOnly {
        /// The file.
        path: String,
    },
    /// Let one runner follow the view, and stop this one: what it folded last was not saved.
    #[error(
        "another runner has moved view {view} in shard {shard} (saved: {found}, expected: {expected}); \
         only one may follow a view",
        found = Reached(*found), expected = Reached(*expected)
    )]
    Superseded {
        /// The view.
        view: ViewId,
        /// The first shard in which the positions differ.
        shard: ShardId,
        /// The offset this runner went on from.
        expected: Option<Offset>,
        /// The offset that is saved.
        found: Option<Offset>,
    },
    /// Fold it again: it was dropped, or never made.
    #[error("the store has no view {view}; it was dropped, or another program made the store anew")]
    Missing {
        /// The view.
        view: ViewId,
    },
    /// Raise the projection's revision: its documents are kept with other indexes.
    #[error(
        "view {view} is kept with indexes on [{}], the projection declares [{}]; raise its REVISION",
        found.join(", "), expected.join(", ")
    )]
    Layout {
        /// The view.
        view: ViewId,
        /// The indexes in the store.
        found: Vec<String>,
        /// The indexes declared.
        expected: Vec<String>,
    },
    /// Name another file: this one holds something else.
    #[error("{path} is not a file of views: {reason}")]
    Foreign {
        /// The file.
        path: String,
        /// What it is instead.
        reason: String,
    },
    /// Delete the file, or use the Annals that wrote it: its views are folded again from the log.
    #[error(
        "{path} has schema version {found}, this program knows {known}; delete the file (its views are folded \
         again from the log), or use the annals that wrote it"
    )]
    Version {
        /// The file.
        path: String,
        /// The version found.
        found: i64,
        /// The version written here.
        known: i64,
    },
    /// Look at the message: the disk, the file or its rights are at fault. Trying again may help.
    #[error("{path}: {reason}")]
    Failed {
        /// The file.
        path: String,
        /// What the operating system or SQLite said.
        reason: String,
    },
}

/// A position in a message.
struct Reached(Option<Offset>);

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(offset) => write!(f, "offset {offset}"),
            None => f.write_str("nothing"),
        }
    }
}

/// Whether a build is kept as it is declared.
fn check_layout(view: &ViewId, found: &Layout, expected: &Layout) -> Result<(), StoreError> {
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (found.indexes.clone(), expected.indexes.clone());
    Err(StoreError::Layout { view: view.clone(), found, expected })
}

/// Compare: whether `saved` is what the change started from.
fn check_positions(view: &ViewId, change: &Change, saved: &[Option<Bookmark>]) -> Result<(), StoreError> {
    let shards = change.from.len().max(saved.len());
    for shard in 0..shards {
        let expected = change.from.get(shard).copied().flatten();
        let found = saved.get(shard).copied().flatten();
        if expected != found {
            return Err(StoreError::Superseded {
                view: view.clone(),
                shard: ShardId(u32::try_from(shard).unwrap_or(u32::MAX)),
                expected: expected.map(|bookmark| bookmark.offset),
                found: found.map(|bookmark| bookmark.offset),
            });
        }
    }
    Ok(())
}
