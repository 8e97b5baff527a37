//! The pure part of Annals: what a programmer writes, what a record is, and who may be believed.
//!
//! Everything here is synchronous and free of I/O, clocks and randomness: time and identity are passed in.
//! The crate holds the traits a user implements ([`Decider`], [`Projection`], [`Saga`]), the envelope that is
//! stored for years ([`envelope`]), the rule by which every reader accepts or ignores a record ([`reader`]),
//! and the type-erased form of a bounded context ([`Context`]) that the engine, the views and the server share.
//!
//! It is not a framework to start from: depend on the facade crate `annals`.

pub mod codec;
pub mod context;
pub mod decider;
pub mod envelope;
pub mod event;
pub mod id;
pub mod index;
pub mod lock;
pub mod projection;
pub mod reader;
pub mod refusal;
pub mod saga;
pub mod schema;

pub use context::{Context, context};
pub use decider::{Command, Decider, Id, Meta, Stored};
pub use event::{Event, Events, Recorded};
pub use id::{Cursor, Epoch, LogId, Offset, Position, Seq, ShardId, StreamName, Tenant};
pub use projection::{Fate, OnBadEvent, Projection};
pub use refusal::{Refusal, Refused};
pub use saga::{Outbox, Saga, Signal};

/// A moment in time, to the microsecond in storage.
pub use jiff::Timestamp;
