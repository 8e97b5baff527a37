//! Reading one stream: its records by way of the index, its events, and states of the past.
//!
//! Reads only what is durable; never scans a shard.

use annals_core::context::Context;
use annals_core::envelope::{Record, Slice};
use annals_core::event::{StoredEvent, events};
use annals_core::index::Term;
use annals_core::{Offset, Position, ShardId, StreamName, Timestamp};
use annals_log::{Log, RawRecord};
use serde_json::Value;

use crate::entity::{self, Entity};
use crate::error::QueryError;

/// How many offsets are asked of the index at a time.
const PAGE: usize = 1024;

/// Which moment of a stream is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// After everything that is durable now.
    Now,
    /// After this many events.
    Version(u64),
    /// After everything that was recorded up to and including this time.
    Time(Timestamp),
}

/// The state of an entity at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct StateAt {
    /// The stream's version; 0 when nothing had happened.
    pub version: u64,
    /// The state as JSON.
    pub state: Value,
}

/// An event of a stream, as it is shown.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct HistoryEvent {
    /// Where it is.
    pub position: Position,
    /// The stream.
    pub stream: String,
    /// The version it made.
    pub version: u64,
    /// Its stored name.
    #[serde(rename = "type")]
    pub name: String,
    /// The version of its shape.
    pub shape: u32,
    /// Its fields.
    pub data: Value,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// When it happened in the world, where the caller said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
    /// Who acted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub actor: String,
    /// The command's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// The command's key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// What it belongs to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub correlation: String,
    /// What directly caused it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub causation: String,
}

impl HistoryEvent {
    /// Shows a stored event.
    #[must_use]
    pub fn of(stored: &StoredEvent<'_>) -> Self {
        let (record, event) = (stored.record, stored.event);
        let data = if event.payload.is_empty() {
            Value::Object(serde_json::Map::new())
        } else {
            serde_json::from_slice(&event.payload).unwrap_or(Value::Null)
        };
        let command = record.command.clone().unwrap_or_default();
        Self {
            position: stored.position,
            stream: stored.slice.stream.clone(),
            version: stored.version,
            name: event.name.clone(),
            shape: event.shape.max(1),
            data,
            recorded_at: record.recorded_at(),
            occurred_at: record.occurred_at(),
            actor: record.actor.clone(),
            command: command.name,
            key: command.key,
            correlation: record.correlation.clone(),
            causation: record.causation.clone(),
        }
    }
}

/// Calls `visit` with every durable record of `stream` from `from` on, in order, until it returns `false`.
pub(crate) fn visit_records(
    log: &dyn Log,
    shard: ShardId,
    stream: &str,
    from: Offset,
    visit: &mut dyn FnMut(Offset, &Record, &Slice) -> Result<bool, QueryError>,
) -> Result<(), QueryError> {
    let term = Term::stream(stream);
    let mut from = from;
    loop {
        let offsets = log.find(shard, term, from, PAGE)?;
        for &offset in &offsets {
            let Some(raw) = log.get(shard, offset)? else { continue };
            let record = decode(shard, &raw)?;
            // A term is a hash: another stream's record may come along.
            let Some(slice) = record.slices.iter().find(|slice| slice.stream == stream) else { continue };
            if !visit(offset, &record, slice)? {
                return Ok(());
            }
        }
        match offsets.last() {
            Some(last) if offsets.len() == PAGE => from = last.next(),
            _ => return Ok(()),
        }
    }
}

/// Decodes a record of `shard`; an error names its place.
pub(crate) fn decode(shard: ShardId, raw: &RawRecord) -> Result<Record, QueryError> {
    Record::from_bytes(raw.envelope.clone()).map_err(|error| QueryError::Unreadable {
        position: Position { shard, offset: raw.offset, index: 0 },
        reason: error.to_string(),
    })
}

/// The state of `stream` at a moment, folded from its durable records.
pub(crate) fn fold(
    context: &Context,
    log: &dyn Log,
    shard: ShardId,
    stream: &StreamName,
    at: At,
) -> Result<Entity, QueryError> {
    let mut entity = Entity::new(context, stream)?;
    visit_records(log, shard, stream.as_str(), Offset(0), &mut |offset, record, slice| {
        if matches!(at, At::Time(time) if record.recorded_at() > time) {
            return Ok(false);
        }
        let upto = if let At::Version(version) = at { version } else { u64::MAX };
        entity::apply(&mut entity, context, shard, offset, record, slice, upto)?;
        Ok(entity.version < upto)
    })?;
    match at {
        At::Version(asked) if asked > entity.version => {
            Err(QueryError::NoVersion { stream: stream.to_string(), asked, version: entity.version })
        }
        _ => Ok(entity),
    }
}

/// Up to `limit` events of `stream` after version `after`.
pub(crate) fn page(
    log: &dyn Log,
    shard: ShardId,
    stream: &StreamName,
    after: u64,
    limit: usize,
) -> Result<Vec<HistoryEvent>, QueryError> {
    let mut found = Vec::new();
    visit_records(log, shard, stream.as_str(), Offset(0), &mut |offset, record, slice| {
        if slice.next_version() > after {
            let shown = events(shard, offset, record)
                .filter(|stored| stored.slice.stream == stream.as_str() && stored.version > after)
                .take(limit - found.len());
            found.extend(shown.map(|stored| HistoryEvent::of(&stored)));
        }
        Ok(found.len() < limit)
    })?;
    Ok(found)
}
