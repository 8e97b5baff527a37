//! Sagas: durable multi-step work over several entities.
//!
//! A saga instance is a stream of its own. Each signal it reacts to is one record: the new state, the commands to
//! send, the timers to set. `react` is pure; what it puts into the [`Outbox`] happens after the record is durable,
//! exactly once.

use std::time::Duration;

use crate::Timestamp;
use crate::codec::{self, EncodeError, canonical_json};
use crate::decider::{Decider, Id, Stored};
use crate::envelope::{SendPart, TimerPart, to_micros};
use crate::event::{Events, Recorded};
use crate::id::{InvalidName, StreamName, Tenant};
use crate::refusal::Refused;

/// A process that reacts to events with commands, compensates what went wrong and keeps deadlines.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a saga", note = "implement annals::Saga for it")]
pub trait Saga: Default + Stored {
    /// The saga's name, part of its streams' names: lower case, `-` between words.
    const NAME: &'static str;
    /// What identifies one instance.
    type Key: Id;
    /// The events it reacts to.
    type Input: Events;
    /// What it calls the commands it sends; comes back with their outcome.
    type Step: Stored;
    /// What it calls its timers.
    type Timer: Stored;

    /// The instance an event belongs to; `None` when it does not matter to this saga.
    fn key(e: &Recorded<Self::Input>) -> Option<Self::Key>;

    /// Takes a signal into the state and says what is to be done.
    fn react(&mut self, signal: Signal<'_, Self>, out: &mut Outbox<Self>);

    /// What decides the instance's shard; choose it so that a saga lives with the entity it works on most.
    fn shard_key(key: &Self::Key) -> std::borrow::Cow<'static, str> {
        key.to_string().into()
    }
}

/// What a saga reacts to.
pub enum Signal<'a, S: Saga> {
    /// An event happened.
    Event(&'a Recorded<S::Input>),
    /// A timer came due.
    Timer(&'a S::Timer),
    /// A command was accepted.
    Accepted(&'a S::Step),
    /// A command was refused. A refused compensation gives no signal: it is parked.
    Refused(&'a S::Step, &'a Refused),
}

/// What a saga wants done: filled by [`Saga::react`], carried out after the reaction is durable.
pub struct Outbox<S: Saga> {
    tenant: Option<Tenant>,
    now: Timestamp,
    reaction: Reaction,
    error: Option<OutboxError>,
    saga: std::marker::PhantomData<fn(S)>,
}

/// What one reaction puts out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reaction {
    /// Commands to send.
    pub sends: Vec<SendPart>,
    /// Timers to set; the engine adds the version.
    pub timers: Vec<TimerPart>,
    /// Timers to forget.
    pub cancelled: Vec<String>,
    /// Whether the saga is done.
    pub finished: bool,
}

/// Something a saga put out that cannot be stored or addressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// Make the command, step or timer serialize without error.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Send to a valid id.
    #[error(transparent)]
    Address(#[from] InvalidName),
}

impl<S: Saga> Outbox<S> {
    /// An empty outbox for a reaction of `tenant` at `now`.
    #[must_use]
    pub fn new(tenant: Option<Tenant>, now: Timestamp) -> Self {
        Self { tenant, now, reaction: Reaction::default(), error: None, saga: std::marker::PhantomData }
    }

    /// The time of this reaction.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Sends a command to an entity. Its outcome comes back as [`Signal::Accepted`] or [`Signal::Refused`] with
    /// `step`.
    pub fn send<D: Decider>(&mut self, step: S::Step, id: impl Into<D::Id>, command: D::Command) {
        self.push::<D>(&step, &id.into(), &command, false);
    }

    /// Sends a command that undoes an earlier step. If it is refused it is parked for a person to see.
    pub fn compensate<D: Decider>(&mut self, step: S::Step, id: impl Into<D::Id>, command: D::Command) {
        self.push::<D>(&step, &id.into(), &command, true);
    }

    /// Sets a timer that comes due after `delay`, as [`Signal::Timer`]. Setting an equal timer again replaces it.
    pub fn after(&mut self, delay: Duration, timer: S::Timer) {
        let due =
            jiff::SignedDuration::try_from(delay).ok().and_then(|delay| self.now.checked_add(delay).ok());
        self.at(due.unwrap_or(Timestamp::MAX), timer);
    }

    /// Sets a timer that comes due at `due`.
    pub fn at(&mut self, due: Timestamp, timer: S::Timer) {
        if let Some(timer) = self.keep(canonical_json(&timer)) {
            self.reaction.timers.push(TimerPart { timer, due_at_us: to_micros(due), version: 0 });
        }
    }

    /// Forgets a timer.
    pub fn cancel(&mut self, timer: &S::Timer) {
        if let Some(timer) = self.keep(canonical_json(timer)) {
            // Also one that this reaction has set: what is said last holds.
            self.reaction.timers.retain(|set| set.timer != timer);
            self.reaction.cancelled.push(timer);
        }
    }

    /// The work is done: later signals are ignored and timers forgotten. Commands already sent, and those of this
    /// reaction, are still carried out.
    pub fn finish(&mut self) {
        self.reaction.finished = true;
    }

    /// What was put out, or the first thing that could not be.
    pub fn into_reaction(self) -> Result<Reaction, OutboxError> {
        match self.error {
            None => Ok(self.reaction),
            Some(error) => Err(error),
        }
    }

    fn push<D: Decider>(&mut self, step: &S::Step, id: &D::Id, command: &D::Command, compensation: bool) {
        let part = send_part::<D>(self.tenant.as_ref(), step, id, command, compensation);
        if let Some(part) = self.keep(part) {
            self.reaction.sends.push(part);
        }
    }

    fn keep<T, E: Into<OutboxError>>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.error.get_or_insert_with(|| error.into()).clone()).ok()
    }
}

fn send_part<D: Decider>(
    tenant: Option<&Tenant>,
    step: &impl Stored,
    id: &D::Id,
    command: &D::Command,
    compensation: bool,
) -> Result<SendPart, OutboxError> {
    let stream = StreamName::new(tenant, D::NAME, &id.to_string())?;
    let codec::Encoded { variant, payload } = codec::encode(command)?;
    Ok(SendPart {
        stream: stream.to_string(),
        name: variant.name.to_owned(),
        payload,
        step: canonical_json(step)?.into_bytes().into(),
        compensation,
        shape: variant.shape,
    })
}
