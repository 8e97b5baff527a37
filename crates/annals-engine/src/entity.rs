//! One entity's state in memory: of a decider or of a saga instance, and how stored records build it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use annals_core::context::{AnySagaState, AnyState, Context};
use annals_core::envelope::{Record, Slice, TimerPart};
use annals_core::{Offset, Position, Seq, ShardId, StreamName};
use serde_json::Value;

use crate::error::QueryError;

/// An entity as the shard machine holds it.
pub(crate) struct Entity {
    /// How many events its stream has.
    pub(crate) version: u64,
    /// Whether its stream has any record, one without events included.
    pub(crate) exists: bool,
    /// The last record under the present claim that this state includes.
    pub(crate) last: Option<Seq>,
    /// The state.
    pub(crate) state: State,
}

/// The two kinds of state.
pub(crate) enum State {
    /// Of a decider.
    Decider(Box<dyn AnyState>),
    /// Of a saga instance.
    Saga(SagaState),
}

/// What is held of a saga instance.
pub(crate) struct SagaState {
    pub(crate) state: Box<dyn AnySagaState>,
    /// The timers that are set.
    pub(crate) timers: Vec<TimerPart>,
    pub(crate) finished: bool,
}

impl Entity {
    /// An entity nothing has happened to.
    pub(crate) fn new(context: &Context, stream: &StreamName) -> Result<Self, QueryError> {
        let state = if let Some(decider) = context.deciders().get(stream.kind()) {
            State::Decider(decider.new_state())
        } else if let Some(saga) = context.sagas().get(stream.kind()) {
            State::Saga(SagaState { state: saga.new_state(), timers: Vec::new(), finished: false })
        } else {
            return Err(unknown_kind(context, stream.kind()));
        };
        Ok(Self { version: 0, exists: false, last: None, state })
    }

    /// The state as JSON.
    pub(crate) fn to_json(&self) -> Result<Value, QueryError> {
        Ok(match &self.state {
            State::Decider(state) => state.to_json()?,
            State::Saga(saga) => saga.state.to_json()?,
        })
    }
}

/// The error for a kind of stream that the context does not have.
pub(crate) fn unknown_kind(context: &Context, name: &str) -> QueryError {
    let known = context.deciders().keys().chain(context.sagas().keys()).copied().collect();
    QueryError::UnknownKind { name: name.to_owned(), known }
}

/// Takes the part of a record that belongs to the entity into its state, up to version `upto`.
pub(crate) fn apply(
    entity: &mut Entity,
    context: &Context,
    shard: ShardId,
    offset: Offset,
    record: &Record,
    slice: &Slice,
    upto: u64,
) -> Result<(), QueryError> {
    if slice.expected_version != entity.version {
        return Err(QueryError::Broken {
            shard,
            offset,
            stream: slice.stream.clone(),
            found: slice.expected_version,
            expected: entity.version,
        });
    }
    let position = |index: usize| Position { shard, offset, index: u32::try_from(index).unwrap_or(u32::MAX) };
    let unreadable = |index, reason: &dyn ToString| QueryError::Unreadable {
        position: position(index),
        reason: reason.to_string(),
    };
    entity.exists = true;
    for (index, event) in slice.events.iter().enumerate() {
        if entity.version >= upto {
            return Ok(());
        }
        match &mut entity.state {
            State::Decider(state) => guarded(|| state.evolve(event))
                .map_err(|message| QueryError::Panicked { message })?
                .map_err(|error| unreadable(index, &error))?,
            State::Saga(saga) => {
                let kind = slice.stream.split(['/']).next().unwrap_or_default();
                let kind = kind.rsplit(':').next().unwrap_or_default();
                let registered = context.sagas().get(kind).ok_or_else(|| unknown_kind(context, kind))?;
                saga.state = registered.read_state(event).map_err(|error| unreadable(index, &error))?;
                let part = record.saga.clone().unwrap_or_default();
                saga.timers = part.timers;
                saga.finished |= part.finished;
            }
        }
        entity.version += 1;
    }
    Ok(())
}

/// Runs user code and turns a panic into its message.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
    })
}
