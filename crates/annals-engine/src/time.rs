//! Time travel: the difference between two moments of an entity, going back to one of them, and what would have come
//! of other events.
//!
//! Invariant: nothing here changes history. A rollback appends what its decider says brings the entity back, as one
//! record with a command of its own name; the past stays as it was, and so does the rollback. Previews and what-ifs write
//! nothing.

mod changes;
mod what_if;

use annals_core::context::{AnyCommand, Decision};
use annals_core::envelope::EventPart;
use annals_core::{Meta, Refused, StreamName, Tenant};
use serde_json::Value;

pub use changes::{Change, changes};
pub use what_if::{Edit, WhatIf, WhatIfError};

use crate::engine::Engine;
use crate::entity::{Entity, State, guarded};
use crate::error::{ExecuteError, QueryError};
use crate::history::{At, HistoryEvent, StateAt};
use crate::request::{Receipt, Request};

/// The most events between two moments that are shown.
const EVENTS_MAX: usize = 1_000;

/// Two moments of an entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The first moment.
    pub from: StateAt,
    /// The second.
    pub to: StateAt,
    /// What is different in the state.
    pub changes: Vec<Change>,
    /// The events between the two, the first thousand.
    pub events: Vec<HistoryEvent>,
}

/// An event that a rollback would append.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct PlannedEvent {
    /// Its stored name.
    #[serde(rename = "type")]
    pub name: String,
    /// Its fields.
    pub data: Value,
}

/// What a rollback would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// The version the entity is at.
    pub version: u64,
    /// The version it is to go back to.
    pub to: u64,
    /// The events that would be appended.
    pub events: Vec<PlannedEvent>,
    /// The state after them.
    pub state: Value,
    /// In what it would still differ from the state it is to go back to: what the decider does not undo.
    pub remaining: Vec<Change>,
}

/// A rollback that was not done; nothing was written unless it says so.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RollbackError {
    /// Write `Decider::roll_back` for it.
    #[error("{decider} does not say how it is rolled back")]
    Unsupported {
        /// The decider.
        decider: String,
    },
    /// Look at the reason: the entity may not go back there. Of a rollback that was to be done, and not only previewed,
    /// this is told by [`ExecuteError::Refused`].
    #[error("it may not go back there: {}", refused.text)]
    Refused {
        /// The refusal.
        refused: Refused,
    },
    /// Look at what would remain, and say that it may.
    #[error("it would not be as it was at version {to}: {} remain different", remaining.len())]
    Partial {
        /// The version asked for.
        to: u64,
        /// What would remain different.
        remaining: Vec<Change>,
    },
    /// It says what to do.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// It says what to do, and whether something was written.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
}

/// How a rollback is done.
#[derive(Clone, Debug, Default)]
pub struct Rollback {
    /// The version to go back to.
    pub to: u64,
    /// Why; stands in the command's record.
    pub reason: String,
    /// Whether it is done even where something remains different.
    pub partial: bool,
}

impl Engine {
    /// The difference between two moments of an entity.
    pub fn difference(&self, stream: &StreamName, from: At, to: At) -> Result<Difference, QueryError> {
        let (from, to) = (self.state(stream, from)?, self.state(stream, to)?);
        let (first, last) = (from.version.min(to.version), from.version.max(to.version));
        let between = usize::try_from(last - first).unwrap_or(usize::MAX).min(EVENTS_MAX);
        let events = if between == 0 { Vec::new() } else { self.history(stream, first, between)? };
        Ok(Difference { changes: changes(&from.state, &to.state), from, to, events })
    }

    /// What a rollback of an entity to a version would do now.
    pub fn preview_rollback(&self, stream: &StreamName, to: u64) -> Result<Preview, RollbackError> {
        let (command, target) = self.rollback_command(stream, to, "")?;
        let planned = self.look(stream, At::Now, |entity| plan(entity, stream, &command))?;
        let (version, events, state) = planned.map_err(|refused| match refused {
            Some(refused) => RollbackError::Refused { refused },
            None => RollbackError::Unsupported { decider: stream.kind().to_owned() },
        })?;
        Ok(Preview { version, to, remaining: changes(&state, &target), events, state })
    }

    /// Brings an entity back to the state of a version, by events that its decider gives; `around` has the actor, the key
    /// and so on, and its command is ignored.
    ///
    /// Without an expected version, the one that was previewed is expected: whoever sees a conflict previews again.
    pub fn roll_back(
        &self,
        rollback: &Rollback,
        around: impl FnOnce(StreamName, AnyCommand) -> Request,
        stream: &StreamName,
    ) -> Result<Receipt, RollbackError> {
        let (command, _) = self.rollback_command(stream, rollback.to, &rollback.reason)?;
        let mut request = around(stream.clone(), command);
        let is_repeat = match &request.key {
            Some(key) => self.is_recorded(stream, key)?,
            None => false,
        };
        if !is_repeat {
            match self.preview_rollback(stream, rollback.to) {
                Ok(preview) if !preview.remaining.is_empty() && !rollback.partial => {
                    return Err(RollbackError::Partial { to: rollback.to, remaining: preview.remaining });
                }
                Ok(preview) => drop(request.expected_version.get_or_insert(preview.version)),
                // The decider says no: to be said by the execution, which records it under a key.
                Err(RollbackError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.execute(&request)?)
    }

    /// The command that brings a stream back to a version, and the state it has there.
    fn rollback_command(
        &self,
        stream: &StreamName,
        to: u64,
        reason: &str,
    ) -> Result<(AnyCommand, Value), RollbackError> {
        let found = self.look(stream, At::Version(to), |entity| match &entity.state {
            State::Decider(state) => Ok(Some((state.rollback_here(to, reason), entity.to_json()?))),
            State::Saga(_) => Ok(None),
        })?;
        found.ok_or_else(|| RollbackError::Unsupported { decider: stream.kind().to_owned() })
    }
}

/// What a command would do to an entity: its version, the events and the state after them; or why not.
type Planned = Result<(u64, Vec<PlannedEvent>, Value), Option<Refused>>;

fn plan(entity: &Entity, stream: &StreamName, command: &AnyCommand) -> Result<Planned, QueryError> {
    let State::Decider(state) = &entity.state else { return Ok(Err(None)) };
    let mut state = state.boxed_clone();
    let meta = Meta {
        stream: stream.clone(),
        version: entity.version,
        recorded_at: annals_core::Timestamp::UNIX_EPOCH,
        occurred_at: None,
        tenant: stream.tenant().and_then(|name| Tenant::new(name).ok()),
        actor: None,
        correlation: None,
        causation: None,
    };
    let decided =
        guarded(|| state.step(command, &meta)).map_err(|message| QueryError::Panicked { message })?;
    Ok(match decided {
        Ok(Decision::Accepted(events)) => {
            Ok((entity.version, events.iter().map(PlannedEvent::of).collect(), state.to_json()?))
        }
        Ok(Decision::Refused(part)) => Err(Some(Refused::from(part))),
        Err(_) => Err(None),
    })
}

impl PlannedEvent {
    fn of(event: &EventPart) -> Self {
        let data = match event.payload.is_empty() {
            true => Value::Object(serde_json::Map::new()),
            false => serde_json::from_slice(&event.payload).unwrap_or(Value::Null),
        };
        Self { name: event.name.clone(), data }
    }
}
