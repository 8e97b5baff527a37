//! The write side of the model: what a user writes to decide commands.
//!
//! A decider is two pure functions. `decide` cannot change state and cannot wait; `evolve` cannot fail. Facts
//! from elsewhere go into the command before it is sent, effects go out through sagas after it is recorded.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Timestamp;
use crate::codec::Variants;
use crate::event::Event;
use crate::id::{StreamName, Tenant};
use crate::refusal::Refusal;

/// What is stored and so lives for years: events, commands, refusals, steps, timers, states.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored",
    note = "derive what is missing: #[derive(Serialize, Deserialize, JsonSchema)]"
)]
pub trait Stored: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {}
impl<T: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static> Stored for T {}

/// What identifies an entity inside its decider: anything that can be written as text and read back.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot identify an entity",
    note = "an id is `Clone + Eq + Display + FromStr`, as `String` and `Uuid` are"
)]
pub trait Id: Clone + Eq + Display + FromStr + Send + Sync + 'static {}
impl<T: Clone + Eq + Display + FromStr + Send + Sync + 'static> Id for T {}

/// What can be asked of an entity: an enum, derived with `#[derive(Command)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a command",
    note = "derive it: #[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug)]"
)]
pub trait Command: Variants + Stored + Clone {}

/// An entity: its state, and how it decides commands and evolves by events.
///
/// The default state is that of an entity nothing has happened to yet.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a decider",
    note = "implement annals::Decider for it"
)]
pub trait Decider: Default + Clone + Stored {
    /// The decider's name, part of every stream's name: lower case, `-` between words.
    const NAME: &'static str;
    /// Raise it when `evolve` changes: older snapshots are then ignored.
    const REVISION: u32 = 1;
    /// What identifies one entity.
    type Id: Id;
    /// What can be asked of it.
    type Command: Command;
    /// What can happen to it.
    type Event: Event;
    /// Why it may say no.
    type Refusal: Refusal;

    /// What happens when `command` is asked of this state: events, nothing (the command asks for what is so
    /// already), or a refusal. Pure: no clock, no randomness, no I/O; the time is in `cx`.
    fn decide(&self, command: &Self::Command, cx: &Meta) -> Result<Vec<Self::Event>, Self::Refusal>;

    /// Takes one event into the state. Pure, and never refuses: the event has happened.
    fn evolve(&mut self, event: &Self::Event);

    /// The events that bring this state back to an earlier one of the same entity, or why it may not go back; `None`
    /// where the decider knows no way back, which is the default. Pure, as `decide` is.
    ///
    /// What has happened stays: these events are appended. Give only what may be undone: money that has arrived elsewhere
    /// does not come back by saying so. What stays different is shown before anything is written.
    fn roll_back(&self, earlier: &Self, cx: &Meta) -> Option<Result<Vec<Self::Event>, Self::Refusal>> {
        let _ = (earlier, cx);
        None
    }

    /// What decides the entity's shard: entities with one shard key share a shard. A pure function of the id.
    fn shard_key(id: &Self::Id) -> Cow<'static, str> {
        id.to_string().into()
    }
}

/// What is known around a command or an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The stream.
    pub stream: StreamName,
    /// For a command: the stream's version before it. For an event: the version it made, from 1.
    pub version: u64,
    /// When it was recorded; never goes back in a shard.
    pub recorded_at: Timestamp,
    /// When it happened in the world, where the caller said.
    pub occurred_at: Option<Timestamp>,
    /// The tenant, where there is one.
    pub tenant: Option<Tenant>,
    /// Who acted, where somebody said.
    pub actor: Option<Arc<str>>,
    /// What it belongs to: one text through a whole flow of work.
    pub correlation: Option<Arc<str>>,
    /// The event or command that directly caused it.
    pub causation: Option<Arc<str>>,
}

impl Meta {
    /// Business time: when it happened, or else when it was recorded.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.occurred_at.unwrap_or(self.recorded_at)
    }

    /// The entity's id, the stream's last part.
    #[must_use]
    pub fn id(&self) -> &str {
        self.stream.id()
    }
}
