//! The log port of Annals: what a log must do, and the memory log.
//!
//! A log keeps, per shard, an ordered sequence of records. One writer owns a shard at a time, by a claim in the
//! log itself; the reader rule of `annals-core` says which records are believed, and readers of this port see
//! accepted and durable records only.
//!
//! ```text
//!   owner:   claim ──► append ──► append ──► commit(seq) ──► answer
//!                      (ordered, many in flight)   │ all up to seq are durable
//!   reader:            read(from), find(term), wait(beyond) see them from here on
//! ```
//!
//! The port is synchronous and knows no runtime. Every implementation (memory, file, Kafka) passes the same
//! [`contract`] suite. It does not look into envelopes, except to compute their terms when an index is rebuilt, and to
//! find the shard of their streams when a log is copied into another ([`copy`]).

pub mod contract;
pub mod copy;
pub mod faults;
pub mod memory;
mod port;

pub use faults::{Fault, FaultPlan};
pub use memory::MemoryLog;
pub use port::{
    AppendError, Bookmark, BookmarkError, Chunk, ClaimError, Claimant, Identity, Log, RawRecord, ReadError,
    RecordKind, Writer,
};
