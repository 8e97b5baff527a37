//! What can go wrong when a Kafka log is opened.

use annals_core::{LogId, ShardId};
use annals_log::ReadError;
use std::path::PathBuf;

/// A Kafka log that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Start the brokers, or correct their address.
    #[error("no Kafka broker answers at {brokers}: {reason}; start it, or correct the address")]
    Unreachable {
        /// The addresses.
        brokers: String,
        /// What the client said.
        reason: String,
    },
    /// Correct the client's settings.
    #[error("the Kafka client cannot be set up: {0}")]
    Client(String),
    /// Open the log for writing once, which makes it, or correct the name.
    #[error("there is no topic {topic} at {brokers}: the log is made when it is first opened for writing")]
    NoJournal {
        /// The journal's topic.
        topic: String,
        /// The addresses.
        brokers: String,
    },
    /// Open the log for writing once: the topic was made by hand, or what made the log was broken off.
    #[error(
        "the topic {topic} is no log yet, partition {shard} is empty: open the log for writing once, which makes it one"
    )]
    Unfinished {
        /// The journal's topic.
        topic: String,
        /// The first partition without a genesis.
        shard: ShardId,
    },
    /// Give the client the right to make topics, or make the topic by hand.
    #[error("the topic {topic} could not be made: {reason}")]
    NotMade {
        /// The journal's topic.
        topic: String,
        /// What the broker said.
        reason: String,
    },
    /// Change the topic's setting: with this one the log could lose data.
    #[error("the topic {topic} has {setting}={found}, with which a log can lose data; set it to {wanted}")]
    Unsafe {
        /// The journal's topic.
        topic: String,
        /// The setting's name in Kafka.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        wanted: String,
    },
    /// Leave the number of shards away, or copy the log to another number.
    #[error(
        "the topic {topic} has {found} partitions, not {wanted} shards; leave shards= away, or make a copy with annals log copy"
    )]
    OtherShards {
        /// The journal's topic.
        topic: String,
        /// How many it has.
        found: u32,
        /// How many were asked for.
        wanted: u32,
    },
    /// Give another prefix or context: the topic holds something else.
    #[error("the topic {topic} is not a journal of Annals: partition {shard}: {reason}")]
    NotAJournal {
        /// The topic.
        topic: String,
        /// The partition.
        shard: ShardId,
        /// What is there instead.
        reason: String,
    },
    /// Give the context whose journal it is.
    #[error("the topic {topic} holds the history of context {found:?}, not of {wanted:?}")]
    OtherContext {
        /// The topic.
        topic: String,
        /// The context in its genesis.
        found: String,
        /// The context asked for.
        wanted: String,
    },
    /// Give another directory, or delete this one if the journal was made anew on purpose.
    #[error(
        "{directory} is the replica of log {found}, the journal is log {wanted}: give another data=, or delete it if the journal was made anew on purpose"
    )]
    OtherLog {
        /// The replica's directory.
        directory: PathBuf,
        /// The log of the replica.
        found: LogId,
        /// The log of the journal.
        wanted: LogId,
    },
    /// See the replica's own words: in use, not a replica, no room.
    #[error("the local replica: {0}")]
    Replica(#[from] annals_file::OpenError),
    /// The journal is not what it was when the replica was filled: find out why before anything is deleted.
    #[error(transparent)]
    Read(#[from] ReadError),
}
