//! The read side of Annals: projections folded into documents, kept in a store, followed and read.
//!
//! ```text
//!   log ──► Folder (decode, project, one transaction per batch) ──► ViewStore (SQLite | memory)
//!            ▲ driven by a thread per view, or by the caller            │
//!   Views::get_after(receipt) waits for the cursor ◄── published ◄──────┘
//! ```
//!
//! [`Views`] follows a log with all projections of a context. [`Folder`] is one view's fold without threads;
//! [`fold_in_memory`] is the same for a reader that may not write. [`ViewStore`] is the port to where documents
//! live: [`SqliteStore`] in one file, [`MemoryStore`] in memory.
//!
//! Documents and positions are saved in one transaction: a document is the fold of exactly the records below
//! its view's positions. A view can always be dropped; the log is the truth.
//!
//! The crate does not know commands, HTTP or an async runtime, and it does not choose which tenant may read
//! what: the caller says whose documents it wants.

pub mod builds;
mod documents;
pub mod fold;
mod follower;
mod index_key;
mod listing;
pub mod past;
pub mod rebuild;
mod runner;
mod slot;
mod state;
pub mod store;
mod views;

pub use fold::{FoldError, Folder, Limits, Retried, Step, fold_in_memory};
pub use listing::{BY_KEY, Listing, Resolved, Wanted};
pub use state::{Lag, OpenError, ViewError, ViewState};
pub use store::{IndexKey, MemoryStore, Page, SetAside, SqliteStore, StoreError, ViewId, ViewStore, Why};
pub use views::{Clock, Drive, OperateError, Settings, Views};
