//! A saga with its types erased.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Timestamp;
use crate::codec::{DecodeError, EncodeError};
use crate::envelope::{EventPart, RefusalPart};
use crate::event::{Events, StoredEvent};
use crate::id::Tenant;
use crate::refusal::Refused;
use crate::saga::{Outbox, OutboxError, Reaction, Saga, Signal};

/// A registered saga.
pub trait AnySaga: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// The stored name of the event that holds its state: `<name>.state`.
    fn state_event(&self) -> &str;
    /// JSON Schemas (2020-12) of its state, step and timer.
    fn schemas(&self) -> [(&'static str, Value); 3];
    /// Whether it reads events of this stored name.
    fn wants(&self, event_name: &str) -> bool;
    /// The instance an event belongs to; `None` where it matters to none.
    fn key(&self, event: &StoredEvent<'_>) -> Result<Option<String>, DecodeError>;
    /// The shard key of the instance `key`; `None` where `key` is not one of its keys.
    fn shard_key(&self, key: &str) -> Option<String>;
    /// The state of an instance nothing has happened to.
    fn new_state(&self) -> Box<dyn AnySagaState>;
    /// Reads a state from the event that holds it.
    fn read_state(&self, event: &EventPart) -> Result<Box<dyn AnySagaState>, DecodeError>;
}

/// A signal before its types are back.
pub enum RawSignal<'a> {
    /// An event happened.
    Event(StoredEvent<'a>),
    /// The timer with this canonical JSON came due.
    Timer(&'a str),
    /// The command of this step (JSON) was accepted.
    Accepted(&'a [u8]),
    /// The command of this step (JSON) was refused.
    Refused(&'a [u8], &'a RefusalPart),
}

/// One instance's state.
pub trait AnySagaState: Send + Sync {
    /// Takes a signal into the state and returns what is to be done.
    ///
    /// After an error or a panic the state must not be used again.
    fn react(
        &mut self,
        signal: RawSignal<'_>,
        tenant: Option<&Tenant>,
        now: Timestamp,
    ) -> Result<Reaction, ReactError>;
    /// The state as the event that holds it.
    fn to_event(&self) -> Result<EventPart, EncodeError>;
    /// The state as JSON.
    fn to_json(&self) -> Result<Value, EncodeError>;
}

/// A signal that a saga could not take: it is parked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReactError {
    /// Write an upcast, or use the program that wrote it.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Correct what the saga puts out.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

/// The shape version of saga states; older shapes are read by serde's own means (defaults, aliases).
const STATE_SHAPE: u32 = 1;

/// The erased form of `S`.
pub(super) struct Typed<S: Saga> {
    names: Vec<&'static str>,
    state_event: String,
    saga: PhantomData<fn(S)>,
}

impl<S: Saga> Default for Typed<S> {
    fn default() -> Self {
        let mut names = S::Input::names();
        names.sort_unstable();
        Self { names, state_event: format!("{}.state", S::NAME), saga: PhantomData }
    }
}

impl<S: Saga> AnySaga for Typed<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn state_event(&self) -> &str {
        &self.state_event
    }

    fn schemas(&self) -> [(&'static str, Value); 3] {
        [
            ("state", schemars::schema_for!(S).to_value()),
            ("step", schemars::schema_for!(S::Step).to_value()),
            ("timer", schemars::schema_for!(S::Timer).to_value()),
        ]
    }

    fn wants(&self, event_name: &str) -> bool {
        self.names.binary_search(&event_name).is_ok()
    }

    fn key(&self, event: &StoredEvent<'_>) -> Result<Option<String>, DecodeError> {
        match event.decode::<S::Input>() {
            None => Ok(None),
            Some(event) => Ok(S::key(&event?).map(|key| key.to_string())),
        }
    }

    fn shard_key(&self, key: &str) -> Option<String> {
        let key: S::Key = key.parse().ok()?;
        Some(S::shard_key(&key).into_owned())
    }

    fn new_state(&self) -> Box<dyn AnySagaState> {
        Box::new(State(S::default()))
    }

    fn read_state(&self, event: &EventPart) -> Result<Box<dyn AnySagaState>, DecodeError> {
        if event.name != self.state_event {
            return Err(DecodeError::UnknownName { name: event.name.clone() });
        }
        Ok(Box::new(State(json::<S>(&event.name, &event.payload)?)))
    }
}

struct State<S>(S);

impl<S: Saga> AnySagaState for State<S> {
    fn react(
        &mut self,
        signal: RawSignal<'_>,
        tenant: Option<&Tenant>,
        now: Timestamp,
    ) -> Result<Reaction, ReactError> {
        let mut out = Outbox::<S>::new(tenant.cloned(), now);
        match signal {
            RawSignal::Event(event) => {
                let unknown = || DecodeError::UnknownName { name: event.event.name.clone() };
                let event = event.decode::<S::Input>().ok_or_else(unknown)??;
                self.0.react(Signal::Event(&event), &mut out);
            }
            RawSignal::Timer(timer) => {
                let timer: S::Timer = json("timer", timer.as_bytes())?;
                self.0.react(Signal::Timer(&timer), &mut out);
            }
            RawSignal::Accepted(step) => {
                let step: S::Step = json("step", step)?;
                self.0.react(Signal::Accepted(&step), &mut out);
            }
            RawSignal::Refused(step, refusal) => {
                let step: S::Step = json("step", step)?;
                self.0.react(Signal::Refused(&step, &Refused::from(refusal.clone())), &mut out);
            }
        }
        Ok(out.into_reaction()?)
    }

    fn to_event(&self) -> Result<EventPart, EncodeError> {
        let payload = serde_json::to_vec(&self.0).map_err(failed::<S>)?.into();
        Ok(EventPart { name: format!("{}.state", S::NAME), shape: STATE_SHAPE, payload, tags: Vec::new() })
    }

    fn to_json(&self) -> Result<Value, EncodeError> {
        serde_json::to_value(&self.0).map_err(failed::<S>)
    }
}

fn failed<S>(error: serde_json::Error) -> EncodeError {
    EncodeError::Serialize { type_name: std::any::type_name::<S>(), reason: error.to_string() }
}

fn json<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(bytes).map_err(|error| DecodeError::Payload {
        name: name.to_owned(),
        shape: STATE_SHAPE,
        reason: error.to_string(),
    })
}
