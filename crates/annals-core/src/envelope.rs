//! The envelope: what is stored for years, the same bytes in a file frame and in a Kafka record.
//!
//! Protobuf around JSON payloads; `docs/format.md` draws it. The epoch and the sequence number of a record are
//! not in here: they belong to one log, the envelope to what happened. Nothing in an envelope is an offset, so
//! that a copy into another log keeps its meaning.
//!
//! Invariant: `decode(encode(r)) == r`, and a format version this code does not know is refused by name.

use bytes::Bytes;
use prost::Message as _;

use crate::Timestamp;
use crate::id::{Epoch, LogId, Seq};

/// The version of the envelope that this code writes, and the newest it reads.
pub const FORMAT: u32 = 1;
/// The most bytes one encoded envelope may have.
pub const ENVELOPE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What stands outside the envelope: in the frame header of a file, in the headers of a Kafka record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Record 0 of a shard.
    Genesis,
    /// Makes its writer the owner; its offset becomes the epoch.
    Claim,
    /// What one command did.
    Record {
        /// The claim under which it was written.
        epoch: Epoch,
        /// Its number since that claim.
        seq: Seq,
    },
    /// How far the owner's relay has come: belongs to this log and is not copied. Body: [`Progress`].
    Progress {
        /// The claim under which it was written.
        epoch: Epoch,
        /// Its number since that claim.
        seq: Seq,
    },
    /// The owner gives the shard up: the last record of its epoch that is believed. Body: [`Release`].
    Release {
        /// The claim that it ends.
        epoch: Epoch,
        /// Its number since that claim.
        seq: Seq,
    },
    /// No record of Annals: bytes that something else left in a log shared with others, kept for inspection. In
    /// a replica of a Kafka partition, a record without our headers; empty, an offset at which there is nothing.
    Foreign,
}

/// Record 0 of every shard: what this log is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Genesis {
    /// [`FORMAT`].
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// The log's incarnation, 16 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub log_id: Bytes,
    /// The name of the bounded context.
    #[prost(string, tag = "3")]
    pub context: String,
    /// How many shards the log has.
    #[prost(uint32, tag = "4")]
    pub shards: u32,
    /// Which of them this is.
    #[prost(uint32, tag = "5")]
    pub shard: u32,
    /// The function from shard key to shard: `murmur2`.
    #[prost(string, tag = "6")]
    pub hash: String,
    /// When the log was made, microseconds since 1970.
    #[prost(int64, tag = "7")]
    pub created_at_us: i64,
}

impl Genesis {
    /// The log's id, where the field holds one.
    #[must_use]
    pub fn log_id(&self) -> Option<LogId> {
        uuid::Uuid::from_slice(&self.log_id).ok().map(LogId)
    }
}

/// A record that makes its writer the owner of a shard.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Claim {
    /// [`FORMAT`].
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// The node that claims, for people: host and process.
    #[prost(string, tag = "2")]
    pub node: String,
    /// Where the node takes forwarded commands; empty when it does not.
    #[prost(string, tag = "3")]
    pub address: String,
    /// Tells two claims of one node apart, 16 bytes.
    #[prost(bytes = "bytes", tag = "4")]
    pub nonce: Bytes,
    /// When, microseconds since 1970.
    #[prost(int64, tag = "5")]
    pub claimed_at_us: i64,
}

/// A record by which an owner gives up its shard, so that the next claim need not wait for it to fall silent.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Release {
    /// [`FORMAT`].
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// The node that is to claim next; empty: any.
    #[prost(string, tag = "2")]
    pub to: String,
    /// When, microseconds since 1970.
    #[prost(int64, tag = "3")]
    pub released_at_us: i64,
}

/// What one command did: the unit of atomicity and of writing.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    /// [`FORMAT`].
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// The streams it appended to, one in the common case. A refusal names its stream with no events.
    #[prost(message, repeated, tag = "2")]
    pub slices: Vec<Slice>,
    /// The command that did it.
    #[prost(message, optional, tag = "3")]
    pub command: Option<CommandPart>,
    /// The refusal, where the command was refused; otherwise it was accepted.
    #[prost(message, optional, tag = "4")]
    pub refusal: Option<RefusalPart>,
    /// Who acted; empty when nobody said.
    #[prost(string, tag = "5")]
    pub actor: String,
    /// What this belongs to: one text through a whole flow of work.
    #[prost(string, tag = "6")]
    pub correlation: String,
    /// The event or command that directly caused this one.
    #[prost(string, tag = "7")]
    pub causation: String,
    /// W3C trace context; empty when there was none.
    #[prost(string, tag = "8")]
    pub traceparent: String,
    /// When it was recorded, microseconds since 1970; never goes back in a shard.
    #[prost(int64, tag = "9")]
    pub recorded_at_us: i64,
    /// When it happened in the world, microseconds since 1970, where the caller said.
    #[prost(int64, optional, tag = "10")]
    pub occurred_at_us: Option<i64>,
    /// What a saga's reaction adds.
    #[prost(message, optional, tag = "11")]
    pub saga: Option<SagaPart>,
    /// How many commands long the chain of causes is; 0 for a command from outside.
    #[prost(uint32, tag = "12")]
    pub depth: u32,
    /// The tenant; empty when there is none.
    #[prost(string, tag = "13")]
    pub tenant: String,
}

/// What a record appended to one stream.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Slice {
    /// The stream's whole name.
    #[prost(string, tag = "1")]
    pub stream: String,
    /// The stream's version before this record: the number of events it had.
    #[prost(uint64, tag = "2")]
    pub expected_version: u64,
    /// The events, in order.
    #[prost(message, repeated, tag = "3")]
    pub events: Vec<EventPart>,
}

/// One stored event.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EventPart {
    /// The stored name of its type: `account.opened`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The version of that type's shape; 0 stands for 1.
    #[prost(uint32, tag = "2")]
    pub shape: u32,
    /// The event's fields as JSON; empty when it has none.
    #[prost(bytes = "bytes", tag = "3")]
    pub payload: Bytes,
    /// What it can be found by besides its stream.
    #[prost(string, repeated, tag = "4")]
    pub tags: Vec<String>,
}

/// The command behind a record.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CommandPart {
    /// The command's id in the scope (tenant, first stream): the caller's idempotency key, or a made one.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The first 16 bytes of SHA-256 over name and canonical JSON of the command; empty for a made key.
    #[prost(bytes = "bytes", tag = "2")]
    pub digest: Bytes,
    /// The command's name: `deposit`.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// Why a command was refused.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RefusalPart {
    /// The refusal's name: `overdrawn`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The version of its shape; 0 stands for 1.
    #[prost(uint32, tag = "2")]
    pub shape: u32,
    /// Its fields as JSON; empty when it has none.
    #[prost(bytes = "bytes", tag = "3")]
    pub payload: Bytes,
    /// What it said to a person at the time.
    #[prost(string, tag = "4")]
    pub text: String,
}

/// What a saga's reaction adds to its record; the new state is the record's event.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SagaPart {
    /// Commands to send, in order; their ids derive from (saga stream, version, index).
    #[prost(message, repeated, tag = "1")]
    pub sends: Vec<SendPart>,
    /// All timers that are set after this record, those set earlier included: a record replaces its stream's list.
    #[prost(message, repeated, tag = "2")]
    pub timers: Vec<TimerPart>,
    /// What this reaction consumed.
    #[prost(message, optional, tag = "3")]
    pub input: Option<InputPart>,
    /// The saga is done: later signals are ignored, its timers forgotten.
    #[prost(bool, tag = "4")]
    pub finished: bool,
    /// The input could not be handled and waits for a person; the state did not change.
    #[prost(string, optional, tag = "5")]
    pub parked: Option<String>,
}

/// A command that a saga sends.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SendPart {
    /// The stream of the entity it goes to.
    #[prost(string, tag = "1")]
    pub stream: String,
    /// The command's name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The command's fields as JSON; empty when it has none.
    #[prost(bytes = "bytes", tag = "3")]
    pub payload: Bytes,
    /// The step it is, as JSON: comes back with the outcome.
    #[prost(bytes = "bytes", tag = "4")]
    pub step: Bytes,
    /// It undoes an earlier step; a refusal is parked rather than signalled.
    #[prost(bool, tag = "5")]
    pub compensation: bool,
    /// The version of the command's shape; 0 stands for 1.
    #[prost(uint32, tag = "6")]
    pub shape: u32,
}

/// A timer that a saga has set.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TimerPart {
    /// The timer's value as canonical JSON: also its name; setting it again replaces it.
    #[prost(string, tag = "1")]
    pub timer: String,
    /// When it is due, microseconds since 1970.
    #[prost(int64, tag = "2")]
    pub due_at_us: i64,
    /// The version of the saga's stream that set it: tells a timer from an equal one set later.
    #[prost(uint64, tag = "3")]
    pub version: u64,
}

/// What a saga's reaction consumed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InputPart {
    /// Which kind of input.
    #[prost(enumeration = "InputKind", tag = "1")]
    pub kind: i32,
    /// The stream it came from: of the event, or the saga's own for timers and outcomes.
    #[prost(string, tag = "2")]
    pub stream: String,
    /// The version of the event, or of the saga's stream when it set the timer or sent the command.
    #[prost(uint64, tag = "3")]
    pub version: u64,
    /// Which command of that record; 0 for events and timers.
    #[prost(uint32, tag = "4")]
    pub index: u32,
}

/// The kinds of input a saga reacts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum InputKind {
    /// An event of some stream.
    Event = 0,
    /// A timer that came due.
    Timer = 1,
    /// The outcome of a command it sent.
    Outcome = 2,
}

/// How far the relay of a shard has come: everything below `settled` is done but for `open`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Progress {
    /// [`FORMAT`].
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// The relay has read all records below this offset.
    #[prost(uint64, tag = "2")]
    pub read: u64,
    /// Offsets below `read` of records that hold an unsettled input, command or timer.
    #[prost(uint64, repeated, tag = "3")]
    pub open: Vec<u64>,
}

/// An envelope that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The bytes are not an envelope: the record was not written by Annals, or is damaged.
    #[error("the bytes are not an envelope: {0}")]
    Malformed(String),
    /// Use a newer Annals: this one does not know the format.
    #[error("envelope format {found} is not known here (newest: {FORMAT}); use a newer annals")]
    Format {
        /// The version found.
        found: u32,
    },
}

macro_rules! coded {
    ($($name:ty),*) => {$(
        impl $name {
            /// Encodes it to protobuf.
            #[must_use]
            pub fn to_bytes(&self) -> Bytes {
                self.encode_to_vec().into()
            }

            /// Decodes it from protobuf and checks the format version.
            pub fn from_bytes(bytes: Bytes) -> Result<Self, EnvelopeError> {
                let value = Self::decode(bytes).map_err(|error| EnvelopeError::Malformed(error.to_string()))?;
                match value.format {
                    FORMAT => Ok(value),
                    found => Err(EnvelopeError::Format { found }),
                }
            }
        }
    )*};
}
coded!(Genesis, Claim, Record, Progress, Release);

impl Record {
    /// When it was recorded.
    #[must_use]
    pub fn recorded_at(&self) -> Timestamp {
        from_micros(self.recorded_at_us)
    }

    /// When it happened in the world, where the caller said.
    #[must_use]
    pub fn occurred_at(&self) -> Option<Timestamp> {
        self.occurred_at_us.map(from_micros)
    }

    /// How many events it holds over all its streams.
    #[must_use]
    pub fn event_count(&self) -> usize {
        self.slices.iter().map(|slice| slice.events.len()).sum()
    }
}

impl Slice {
    /// The stream's version after this record.
    #[must_use]
    pub fn next_version(&self) -> u64 {
        self.expected_version + self.events.len() as u64
    }
}

/// Microseconds since 1970.
#[must_use]
pub fn to_micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// The moment `micros` microseconds after 1970; out of range values become the nearest end.
#[must_use]
pub fn from_micros(micros: i64) -> Timestamp {
    let end = if micros < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_microsecond(micros).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record that uses every field.
    fn full() -> Record {
        let event = EventPart { name: "e".into(), shape: 2, payload: "1".into(), tags: vec!["t".into()] };
        let send = SendPart {
            stream: "a/1".into(),
            name: "c".into(),
            payload: "2".into(),
            step: "3".into(),
            compensation: true,
            shape: 4,
        };
        let input = InputPart { kind: InputKind::Outcome as i32, stream: "b/2".into(), version: 5, index: 6 };
        Record {
            format: FORMAT,
            slices: vec![Slice { stream: "s/3".into(), expected_version: 7, events: vec![event] }],
            command: Some(CommandPart { key: "k".into(), digest: "d".into(), name: "n".into() }),
            refusal: Some(RefusalPart { name: "r".into(), shape: 8, payload: "9".into(), text: "x".into() }),
            actor: "ac".into(),
            correlation: "co".into(),
            causation: "ca".into(),
            traceparent: "tr".into(),
            recorded_at_us: 10,
            occurred_at_us: Some(11),
            saga: Some(SagaPart {
                sends: vec![send],
                timers: vec![TimerPart { timer: "w".into(), due_at_us: 12, version: 13 }],
                input: Some(input),
                finished: true,
                parked: Some("p".into()),
            }),
            depth: 14,
            tenant: "te".into(),
        }
    }

    /// What is stored for years: a field that moved would make old records say something else.
    #[test]
    fn the_bytes_are_those_of_format_1() {
        let hex: String = full().to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = concat!(
            "0801",                                         // format
            "12140a03732f3310071a0b0a016510021a0131220174", // slices
            "1a090a016b1201641a016e",                       // command
            "220b0a017210081a0139220178",                   // refusal
            "2a026163",                                     // actor
            "3202636f",                                     // correlation
            "3a026361",                                     // causation
            "42027472",                                     // traceparent
            "480a",                                         // recorded_at_us
            "500b",                                         // occurred_at_us
            "5a2f",                                         // saga:
            "0a120a03612f311201631a013222013328013004",     // sends
            "12070a0177100c180d",                           // timers
            "1a0b08021203622f3218052006",                   // input
            "2001",                                         // finished
            "2a0170",                                       // parked
            "600e",                                         // depth
            "6a027465",                                     // tenant
        );
        assert_eq!(hex, golden);
        assert_eq!(Record::from_bytes(full().to_bytes()), Ok(full()));
    }

    #[test]
    fn a_release_has_the_bytes_of_format_1() {
        let release = Release { format: FORMAT, to: "b".into(), released_at_us: 300 };
        assert_eq!(release.to_bytes(), [0x08, 1, 0x12, 1, b'b', 0x18, 0xac, 2][..]);
        assert_eq!(Release::from_bytes(release.to_bytes()), Ok(release));
    }

    #[test]
    fn another_format_is_refused_by_name() {
        let newer = Record { format: FORMAT + 1, ..full() }.to_bytes();
        assert_eq!(Record::from_bytes(newer), Err(EnvelopeError::Format { found: 2 }));
        assert!(matches!(Record::from_bytes("no".into()), Err(EnvelopeError::Malformed(_))));
    }
}
