//! What would have come of other events, or of other code.
//!
//! Events alone are replayed. What later commands would have decided on the other state is not known: the log holds a
//! digest of a command, not its fields.

use annals_core::context::AnyDecider;
use annals_core::envelope::EventPart;
use annals_core::event;
use annals_core::{Offset, StreamName};
use serde_json::Value;

use super::changes::{Change, changes};
use crate::engine::Engine;
use crate::entity::guarded;
use crate::error::QueryError;
use crate::history::{self, At, StateAt};

/// The most events that are replayed with changes.
const EVENTS_MAX: usize = 1_000_000;

/// Another event in a stream's history. Versions are those of the real history, from 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// The event of this version had not happened.
    Drop {
        /// The version.
        version: u64,
    },
    /// The event of this version had been another.
    Replace {
        /// The version.
        version: u64,
        /// The stored name; that of the real event where there is none.
        name: Option<String>,
        /// Its fields.
        data: Value,
    },
    /// Another event had happened after this version; 0 for the beginning.
    Insert {
        /// The version.
        after: u64,
        /// The stored name.
        name: String,
        /// Its fields.
        data: Value,
    },
}

/// What would be.
#[derive(Clone, Debug, PartialEq)]
pub struct WhatIf {
    /// What is.
    pub real: StateAt,
    /// What would be.
    pub other: StateAt,
    /// What would be different.
    pub changes: Vec<Change>,
}

/// A question that has no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WhatIfError {
    /// Name a version that the stream has.
    #[error("the stream has versions 1 to {version}, there is no {asked} to change")]
    NoVersion {
        /// The version named.
        asked: u64,
        /// The stream's version.
        version: u64,
    },
    /// Change each version once.
    #[error("version {0} is changed twice")]
    Twice(u64),
    /// Name an event of the decider.
    #[error("{decider} has no event {name:?}; it has {}", known.join(", "))]
    NoEvent {
        /// The decider.
        decider: String,
        /// The name given.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// Correct the fields of the event, or the code that reads it.
    #[error("the event {place} cannot be read: {reason}")]
    Unreadable {
        /// Which.
        place: String,
        /// Why not.
        reason: String,
    },
    /// Ask for a stream that is not so long.
    #[error("the stream has more than {EVENTS_MAX} events")]
    TooLong,
    /// It says what to do.
    #[error(transparent)]
    Query(#[from] QueryError),
}

/// An event as it is replayed, and where it comes from.
type Replayed = (String, EventPart);

impl Engine {
    /// The state that `stream` would have with `edits`, read by `decider` or, where there is none, by its own.
    pub fn what_if(
        &self,
        stream: &StreamName,
        edits: &[Edit],
        decider: Option<&dyn AnyDecider>,
    ) -> Result<WhatIf, WhatIfError> {
        let own = self.decider(stream.kind()).map_err(|_| QueryError::UnknownKind {
            name: stream.kind().to_owned(),
            known: self.context().deciders().keys().copied().collect(),
        })?;
        let decider = decider.unwrap_or(own.as_ref());
        let real = self.state(stream, At::Now)?;
        let events = edited(self.parts(stream, real.version)?, edits, decider)?;
        let mut state = decider.new_state();
        for (place, event) in &events {
            let unreadable = |reason: String| WhatIfError::Unreadable { place: place.clone(), reason };
            guarded(|| state.evolve(event))
                .map_err(|message| unreadable(format!("evolve panicked: {message}")))?
                .map_err(|error| unreadable(error.to_string()))?;
        }
        let other =
            StateAt { version: events.len() as u64, state: state.to_json().map_err(QueryError::from)? };
        Ok(WhatIf { changes: changes(&real.state, &other.state), real, other })
    }

    /// The events of a stream up to a version.
    fn parts(&self, stream: &StreamName, version: u64) -> Result<Vec<EventPart>, WhatIfError> {
        if version > EVENTS_MAX as u64 {
            return Err(WhatIfError::TooLong);
        }
        let (shard, log) = (self.shard_of(stream)?, self.log().as_ref());
        let mut parts = Vec::new();
        history::visit_records(log, shard, stream.as_str(), Offset(0), &mut |offset, record, _| {
            let stored = event::events(shard, offset, record);
            let own =
                stored.filter(|stored| stored.slice.stream == stream.as_str() && stored.version <= version);
            parts.extend(own.map(|stored| stored.event.clone()));
            Ok((parts.len() as u64) < version)
        })?;
        Ok(parts)
    }
}

fn edited(
    parts: Vec<EventPart>,
    edits: &[Edit],
    decider: &dyn AnyDecider,
) -> Result<Vec<Replayed>, WhatIfError> {
    let version = parts.len() as u64;
    check(edits, version)?;
    let mut events = inserted(edits, 0, decider)?;
    for (number, part) in (1_u64..).zip(parts) {
        let own = edits.iter().find(|edit| match edit {
            Edit::Drop { version } | Edit::Replace { version, .. } => *version == number,
            Edit::Insert { .. } => false,
        });
        match own {
            Some(Edit::Drop { .. }) => {}
            Some(Edit::Replace { name, data, .. }) => {
                let name = name.as_deref().unwrap_or(&part.name);
                events.push((format!("in the place of version {number}"), event_part(name, data, decider)?));
            }
            _ => events.push((format!("of version {number}"), part)),
        }
        events.extend(inserted(edits, number, decider)?);
    }
    Ok(events)
}

/// The events inserted after a version, in the order given.
fn inserted(edits: &[Edit], number: u64, decider: &dyn AnyDecider) -> Result<Vec<Replayed>, WhatIfError> {
    let here = edits.iter().filter_map(|edit| match edit {
        Edit::Insert { after, name, data } if *after == number => Some((name, data)),
        _ => None,
    });
    let replayed = |(name, data): (&String, &Value)| {
        Ok((format!("inserted after version {number}"), event_part(name, data, decider)?))
    };
    here.map(replayed).collect()
}

fn check(edits: &[Edit], version: u64) -> Result<(), WhatIfError> {
    let mut changed = Vec::new();
    for edit in edits {
        let (asked, least) = match edit {
            Edit::Drop { version } | Edit::Replace { version, .. } => {
                if changed.contains(version) {
                    return Err(WhatIfError::Twice(*version));
                }
                changed.push(*version);
                (*version, 1)
            }
            Edit::Insert { after, .. } => (*after, 0),
        };
        if asked < least || asked > version {
            return Err(WhatIfError::NoVersion { asked, version });
        }
    }
    Ok(())
}

/// An event as it would be stored today.
fn event_part(name: &str, data: &Value, decider: &dyn AnyDecider) -> Result<EventPart, WhatIfError> {
    let known = decider.events().iter().find(|variant| variant.name == name);
    let variant = known.ok_or_else(|| WhatIfError::NoEvent {
        decider: decider.name().to_owned(),
        name: name.to_owned(),
        known: decider.events().iter().map(|variant| variant.name).collect(),
    })?;
    let is_empty = data.is_null() || data.as_object().is_some_and(serde_json::Map::is_empty);
    let payload = if is_empty { String::new() } else { data.to_string() };
    Ok(EventPart { name: name.to_owned(), shape: variant.shape, payload: payload.into(), tags: Vec::new() })
}
