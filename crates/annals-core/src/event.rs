//! Events as users see them: typed, with what is known around them.

use std::ops::Deref;
use std::sync::Arc;

use crate::codec::{self, DecodeError, EncodeError, Variants};
use crate::decider::{Meta, Stored};
use crate::envelope::{EventPart, Record, Slice};
use crate::id::{InvalidName, Offset, Position, ShardId, StreamName, Tenant};

/// What can happen to an entity: an enum, derived with `#[derive(Event)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    note = "derive it: #[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]"
)]
pub trait Event: Variants + Events + Stored + Clone {
    /// What the event can be found by besides its stream. Override by `#[event(tag)]` on fields.
    fn tags(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The events a projection or saga reads: one decider's, or several deciders' in an enum derived with
/// `#[derive(Events)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a set of events",
    note = "derive Event for one decider's events, or Events for an enum with one variant per decider"
)]
pub trait Events: Clone + Send + Sync + Sized + 'static {
    /// The stored names it holds.
    fn names() -> Vec<&'static str>;

    /// Reads a stored event; `None` where its name is not one of [`Events::names`].
    fn read(name: &str, shape: u32, payload: &[u8]) -> Option<Result<Self, DecodeError>>;

    /// Takes an event apart for storage.
    fn store(&self) -> Result<EventPart, EncodeError>;
}

/// Takes an event apart for storage: what `#[derive(Event)]` uses for [`Events::store`].
pub fn encode<E: Event>(event: &E) -> Result<EventPart, EncodeError> {
    let codec::Encoded { variant, payload } = codec::encode(event)?;
    Ok(EventPart { name: variant.name.to_owned(), shape: variant.shape, payload, tags: event.tags() })
}

/// An event with what is known around it. Dereferences to the event.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded<E> {
    /// The event.
    pub event: E,
    /// What is known around it; `version` is the one this event made.
    pub meta: Meta,
    /// Where it is in the log.
    pub position: Position,
}

impl<E> Deref for Recorded<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.event
    }
}

/// A stored event in its record, not yet decoded.
#[derive(Clone, Copy, Debug)]
pub struct StoredEvent<'a> {
    /// The record it is part of.
    pub record: &'a Record,
    /// The stream it belongs to.
    pub slice: &'a Slice,
    /// The event.
    pub event: &'a EventPart,
    /// The stream's version after it.
    pub version: u64,
    /// Where it is.
    pub position: Position,
}

impl StoredEvent<'_> {
    /// What is known around it.
    pub fn meta(&self) -> Result<Meta, InvalidName> {
        meta(self.record, &self.slice.stream, self.version)
    }

    /// Decodes it; `None` where `E` does not hold its name.
    pub fn decode<E: Events>(&self) -> Option<Result<Recorded<E>, DecodeError>> {
        let part = self.event;
        Some(E::read(&part.name, part.shape, &part.payload)?.and_then(|event| {
            let meta = self.meta().map_err(|error| DecodeError::Payload {
                name: part.name.clone(),
                shape: part.shape,
                reason: error.to_string(),
            })?;
            Ok(Recorded { event, meta, position: self.position })
        }))
    }
}

/// The events of a record, in order.
pub fn events(shard: ShardId, offset: Offset, record: &Record) -> impl Iterator<Item = StoredEvent<'_>> {
    let in_slice = |slice: &Slice, index: usize| slice.expected_version + index as u64 + 1;
    record
        .slices
        .iter()
        .flat_map(move |slice| {
            slice.events.iter().enumerate().map(move |(i, event)| (slice, in_slice(slice, i), event))
        })
        .enumerate()
        .map(move |(index, (slice, version, event))| StoredEvent {
            record,
            slice,
            event,
            version,
            position: Position { shard, offset, index: u32::try_from(index).unwrap_or(u32::MAX) },
        })
}

/// What is known around a record, seen from one of its streams.
pub fn meta(record: &Record, stream: &str, version: u64) -> Result<Meta, InvalidName> {
    let said = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
    Ok(Meta {
        stream: stream.parse::<StreamName>()?,
        version,
        recorded_at: record.recorded_at(),
        occurred_at: record.occurred_at(),
        tenant: if record.tenant.is_empty() { None } else { Some(Tenant::new(&record.tenant)?) },
        actor: said(&record.actor),
        correlation: said(&record.correlation),
        causation: said(&record.causation),
    })
}
