//! The embedded log of Annals: event history in a directory of this machine.
//!
//! A log has one or more shards; each is a folder of segments that were filled with zeros before use, so that a
//! commit is one write and one `fdatasync` and never waits for the file system's journal. Callers that commit at
//! the same time share one sync, led by one of them. The index (which records carry a term) is derived from the
//! segments: in memory for the newest records, in sorted, mapped files for the others.
//!
//! ```
//! use annals_core::index::Term;
//! use annals_core::{LogId, ShardId, Timestamp};
//! use annals_file::{FileLog, Settings};
//! use annals_log::{Claimant, Log as _, RecordKind};
//!
//! # let directory = tempfile::tempdir()?;
//! # let directory = directory.path().join("bank");
//! let make = || (LogId(uuid::Uuid::from_u128(1)), Timestamp::UNIX_EPOCH);
//! let log = FileLog::open_or_create(&directory, "bank", None, Settings::default(), make)?;
//! let claimant = Claimant {
//!     node: "example".into(), address: String::new(), nonce: [0; 16], claimed_at: Timestamp::UNIX_EPOCH,
//! };
//! let writer = log.claim(ShardId(0), &claimant)?;
//! let term = Term::stream("account/ann");
//! let seq = writer.append(RecordKind::Record, "an envelope".into(), vec![term])?;
//! let offset = writer.commit(seq)?; // durable from here on
//! assert_eq!(log.find_last(ShardId(0), term)?, Some(offset));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Replica`] keeps a log that is elsewhere in the same files: every record at its offset, as it arrives.
//!
//! `docs/format.md` draws every byte. The crate knows nothing of commands, and looks into envelopes only to
//! compute the terms of records whose index it makes again.

mod collector;
mod directory;
mod disk;
mod error;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod faults;
mod follower;
mod format;
mod group;
mod index_file;
mod keeper;
mod lock;
mod log;
mod mapped;
mod memory_index;
mod opening;
mod place;
mod recover;
mod replica;
mod scan;
mod segment;
mod settings;
mod shard;
mod verify;
mod view;

pub use error::{Damage, FeedError, OpenError};
pub use log::FileLog;
pub use recover::TornTail;
pub use replica::{Arrival, Replica, ReplicaShard};
pub use settings::Settings;
pub use verify::{ShardInfo, ShardVerification, Verification, verify};
