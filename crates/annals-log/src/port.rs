//! The port: the traits every log implements, and the words they use.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use annals_core::Timestamp;
use annals_core::envelope::Header;
use annals_core::index::Term;
use annals_core::{Epoch, LogId, Offset, Seq, ShardId};
use bytes::Bytes;

/// What a log is: written once, in the genesis of every shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The log's incarnation.
    pub log_id: LogId,
    /// The bounded context whose history it is.
    pub context: String,
    /// How many shards it has; fixed for the log's life.
    pub shards: u32,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Who claims a shard, and when; stored in the claim for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// The node: host and process.
    pub node: String,
    /// Where it takes forwarded commands; empty when it does not.
    pub address: String,
    /// Tells two claims of one node apart.
    pub nonce: [u8; 16],
    /// When it claims.
    pub claimed_at: Timestamp,
}

/// A log: any number of shards, read by all, each written by the owner of its last claim.
///
/// Readers ([`Log::read`], [`Log::find`]) see accepted records only, and only durable ones: what one reader has
/// seen, every later reader of the same prefix sees too, also after a crash.
pub trait Log: Send + Sync + 'static {
    /// What this log is.
    fn identity(&self) -> &Identity;

    /// Appends a claim to `shard`, makes it durable, and returns the writer it entitles.
    ///
    /// Every earlier writer of the shard is fenced from then on: what it appends is never accepted.
    fn claim(&self, shard: ShardId, claimant: &Claimant) -> Result<Arc<dyn Writer>, ClaimError>;

    /// The offset after the last durable record of `shard`.
    fn end(&self, shard: ShardId) -> Offset;

    /// Accepted durable records of `shard` from `from` on, in order: at least one where there is one, and more
    /// until their envelopes reach `bytes_max`. Genesis, claims and releases are among them; ignored records are not.
    fn read(&self, shard: ShardId, from: Offset, bytes_max: usize) -> Result<Chunk, ReadError>;

    /// Offsets from `from` on of at most `limit` accepted durable records that carry `term`, ascending.
    ///
    /// A term is a hash: a record found may be another's. Compare after reading.
    fn find(&self, shard: ShardId, term: Term, from: Offset, limit: usize) -> Result<Vec<Offset>, ReadError>;

    /// The offset of the last accepted durable record that carries `term`.
    fn find_last(&self, shard: ShardId, term: Term) -> Result<Option<Offset>, ReadError>;

    /// Returns [`Log::end`] as soon as it is above `beyond`, or after `timeout`, whichever comes first.
    fn wait(&self, shard: ShardId, beyond: Offset, timeout: Duration) -> Offset;

    /// The accepted durable record at `offset`; `None` where there is none.
    fn get(&self, shard: ShardId, offset: Offset) -> Result<Option<RawRecord>, ReadError> {
        let chunk = self.read(shard, offset, 0)?;
        Ok(chunk.records.into_iter().next().filter(|record| record.offset == offset))
    }
}

/// The right to append to one shard, under one claim. Shared by threads; calls to [`Writer::append`] are ordered
/// by the caller.
///
/// After the first error of [`Writer::commit`], whatever it says, nothing more is accepted under this claim, since
/// later records were decided on earlier ones: claim again and read.
pub trait Writer: Send + Sync {
    /// The claim's offset.
    fn epoch(&self) -> Epoch;

    /// Hands a record to the log, in order, without waiting. It is neither durable nor visible to readers yet.
    ///
    /// `terms` are those of [`annals_core::index::terms`] (for a progress record, [`Term::progress`]; for a release,
    /// none). A release ends the claim: from then on every append is refused with [`AppendError::Fenced`], while
    /// what was appended up to it is committed as ever.
    fn append(&self, kind: RecordKind, envelope: Bytes, terms: Vec<Term>) -> Result<Seq, AppendError>;

    /// Blocks until the record `seq` and all before it are durable and visible to readers, and returns its
    /// offset. Callers that wait at the same time share one sync.
    fn commit(&self, seq: Seq) -> Result<Offset, AppendError>;

    /// The number of the first record under this claim that is not durable yet; never waits.
    fn committed(&self) -> Seq;

    /// Whether nothing is known that has ended this claim; never waits. Where other processes write to the log too,
    /// their claims are known a while after they were made.
    fn is_in_force(&self) -> bool;
}

/// What a writer may append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// What one command did.
    Record,
    /// How far the relay has come.
    Progress,
    /// The owner gives the shard up.
    Release,
}

impl RecordKind {
    /// The header of such a record.
    #[must_use]
    pub fn header(self, epoch: Epoch, seq: Seq) -> Header {
        match self {
            Self::Record => Header::Record { epoch, seq },
            Self::Progress => Header::Progress { epoch, seq },
            Self::Release => Header::Release { epoch, seq },
        }
    }
}

/// A stored record as the log gives it back.
#[derive(Clone, PartialEq, Eq)]
pub struct RawRecord {
    /// Where it is in its shard.
    pub offset: Offset,
    /// What stands outside the envelope.
    pub header: Header,
    /// The envelope, not decoded.
    pub envelope: Bytes,
}

impl RawRecord {
    /// CRC32C of the envelope: what a [`Bookmark`] remembers.
    #[must_use]
    pub fn crc(&self) -> u32 {
        crc32c::crc32c(&self.envelope)
    }
}

impl fmt::Debug for RawRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} ({} bytes)", self.offset, self.header, self.envelope.len())
    }
}

/// Records read, and where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Accepted durable records in order.
    pub records: Vec<RawRecord>,
    /// The offset to read from next: after the last record here, and after ignored records that follow it.
    pub next: Offset,
}

/// A claim that did not come about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Open the log for writing.
    #[error("the log is open for reading only")]
    ReadOnly,
    /// Try again: it is not known whether the claim was written, which does no harm.
    #[error("the claim did not come through: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
    /// Make room.
    #[error("there is no room to write a claim: {reason}")]
    Full {
        /// What happened.
        reason: String,
    },
    /// Look at the log with `annals log verify`.
    #[error("the log is broken: {0}")]
    Broken(ReadError),
}

/// A record that was not, or may not have been, appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Certainly not applied: another writer owns the shard, or this one gave it up. Claim again if this one still
    /// should own it.
    #[error("another writer has claimed the shard, or this one released it")]
    Fenced,
    /// It may or may not be applied: claim again, and read.
    #[error("it is not known whether the record was written: {reason}")]
    OutcomeUnknown {
        /// What happened.
        reason: String,
    },
    /// Certainly not applied: make room.
    #[error("there is no room: {reason}")]
    Full {
        /// What happened.
        reason: String,
    },
    /// Certainly not applied: make the record smaller.
    #[error("the record has {bytes} bytes, the most is {bytes_max}")]
    TooLarge {
        /// The envelope's size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The log refuses writes until it is reopened; whether this record was written is not known.
    #[error("the log refuses writes until it is reopened: {reason}")]
    Broken {
        /// What happened.
        reason: String,
    },
}

/// A part of the log that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The log is damaged at this place; what lies before and after may be readable.
    #[error("shard {shard} is damaged at offset {offset} ({place}): {reason}")]
    Damaged {
        /// The shard.
        shard: ShardId,
        /// The first offset that cannot be read.
        offset: Offset,
        /// File and byte, or partition.
        place: String,
        /// What is wrong there.
        reason: String,
    },
    /// Ask for a shard that the log has.
    #[error("the log has {shards} shards, there is no shard {shard}")]
    NoShard {
        /// The shard asked for.
        shard: ShardId,
        /// How many there are.
        shards: u32,
    },
    /// The operating system or the broker did not give the bytes: try again, look at its message.
    #[error("{place} cannot be read: {reason}")]
    Unavailable {
        /// File or broker.
        place: String,
        /// What it said.
        reason: String,
    },
}

/// A saved position in one shard: the last record that was taken in, and enough to notice another log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bookmark {
    /// The log's incarnation.
    pub log_id: LogId,
    /// The offset of the last record taken in.
    pub offset: Offset,
    /// That record's [`RawRecord::crc`].
    pub crc: u32,
}

/// A saved position that does not fit the log: the log was cut, restored or re-created, or it is another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BookmarkError {
    /// Rebuild what the position belongs to: it was made from another log.
    #[error("it was made from log {saved}, this is log {found}; rebuild it from this log")]
    OtherLog {
        /// The log of the saved position.
        saved: LogId,
        /// The log at hand.
        found: LogId,
    },
    /// Find out why the log differs before rebuilding: it was cut or restored.
    #[error(
        "shard {shard} holds another record, or none, at offset {offset} than when the position was saved: the log was cut or restored"
    )]
    OtherRecord {
        /// The shard.
        shard: ShardId,
        /// The offset of the saved position.
        offset: Offset,
    },
    /// The record could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Bookmark {
    /// Remembers `record` of `log`.
    #[must_use]
    pub fn at(log: &dyn Log, record: &RawRecord) -> Self {
        Self { log_id: log.identity().log_id, offset: record.offset, crc: record.crc() }
    }

    /// Reads the remembered record again and returns the offset after it.
    pub fn resume(&self, log: &dyn Log, shard: ShardId) -> Result<Offset, BookmarkError> {
        let found = log.identity().log_id;
        if found != self.log_id {
            return Err(BookmarkError::OtherLog { saved: self.log_id, found });
        }
        match log.get(shard, self.offset)? {
            Some(record) if record.crc() == self.crc => Ok(self.offset.next()),
            _ => Err(BookmarkError::OtherRecord { shard, offset: self.offset }),
        }
    }
}
