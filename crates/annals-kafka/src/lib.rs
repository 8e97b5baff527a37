//! Apache Kafka as the log of Annals.
//!
//! The truth is one topic, `<context>.journal`, with a partition for each shard. Records are appended by an idempotent
//! producer without transactions; what makes one writer the only one is in the log itself: a claim, whose offset
//! is the epoch, and the reader rule. A delivery report with exactly the next offset proves that nobody else wrote in
//! between; whatever else comes back is settled by reading.
//!
//! Every record of every shard is also in a local replica in the format of the file log, with its index, so that
//! reading one entity never scans a partition. It can be deleted at any time and comes back from the journal.
//!
//! ```no_run
//! use annals_core::{LogId, Timestamp};
//! use annals_kafka::{KafkaLog, Settings};
//! use annals_log::Log as _;
//!
//! let settings = Settings::new("127.0.0.1:9092", "./replica");
//! let made = || (LogId(uuid::Uuid::new_v4()), Timestamp::now());
//! let log = KafkaLog::open_or_create(settings, "bank", Some(8), made)?;
//! assert_eq!(log.identity().shards, 8);
//! # Ok::<(), annals_kafka::OpenError>(())
//! ```
//!
//! It knows nothing of commands, and no type of the Kafka client is seen outside of it.

mod bursts;
pub mod claiming;
mod error;
mod feed;
pub mod following;
mod journal;
#[doc(hidden)]
pub mod limit;
mod log;
mod native;
mod planted;
mod producer;
mod reign;
mod settings;
mod shard;
pub mod tenure;
mod wire;

pub use error::OpenError;
pub use log::KafkaLog;
#[cfg(feature = "planted-bugs")]
pub use planted::PlantedBug;
pub use settings::Settings;
