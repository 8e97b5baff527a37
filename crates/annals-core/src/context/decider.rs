//! A decider with its types erased.

use std::any::Any;
use std::collections::BTreeSet;
use std::marker::PhantomData;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::rollback::Rollback;
use crate::codec::{self, DecodeError, EncodeError, Encoded, Variant, Variants};
use crate::decider::Meta;
use crate::envelope::{EventPart, RefusalPart};
use crate::{Decider, event, refusal};

/// A registered decider.
pub trait AnyDecider: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// The revision of its `evolve`.
    fn revision(&self) -> u32;
    /// The events it stores.
    fn events(&self) -> &'static [Variant];
    /// The commands it takes.
    fn commands(&self) -> &'static [Variant];
    /// The refusals it gives.
    fn refusals(&self) -> &'static [Variant];
    /// JSON Schemas of its commands, events, refusals and state, each of the whole enum.
    fn schemas(&self) -> DeciderSchemas;
    /// The older shapes it can read.
    fn upcasts(&self) -> DeciderUpcasts;
    /// The shard key of the entity `id`; `None` where `id` is not one of its ids.
    fn shard_key(&self, id: &str) -> Option<String>;
    /// The state of an entity nothing has happened to.
    fn new_state(&self) -> Box<dyn AnyState>;
    /// Reads a command from its name and the JSON of its fields; unknown fields are errors.
    fn read_command(&self, name: &str, fields: &[u8]) -> Result<AnyCommand, FieldError>;
    /// Reads a command that a saga's record holds; older shapes are upcast.
    fn read_stored_command(&self, name: &str, shape: u32, payload: &[u8]) -> Result<AnyCommand, DecodeError>;
    /// A refusal as JSON: its fields; null where it has none.
    fn refusal_fields(&self, part: &RefusalPart) -> Value {
        serde_json::from_slice(&part.payload).unwrap_or(Value::Null)
    }
}

/// The JSON Schemas (2020-12) of a decider's types.
#[derive(Clone, Debug)]
pub struct DeciderSchemas {
    /// Of the command enum.
    pub commands: Value,
    /// Of the event enum.
    pub events: Value,
    /// Of the refusal enum.
    pub refusals: Value,
    /// Of the state.
    pub state: Value,
}

/// The older shapes that a decider's types declare upcasts for, one list for each variant.
#[derive(Clone, Debug)]
pub struct DeciderUpcasts {
    /// Of [`AnyDecider::commands`].
    pub commands: Vec<Vec<u32>>,
    /// Of [`AnyDecider::events`].
    pub events: Vec<Vec<u32>>,
    /// Of [`AnyDecider::refusals`].
    pub refusals: Vec<Vec<u32>>,
}

/// One entity's state.
pub trait AnyState: Send + Sync {
    /// Decides `command` on this state and, if it is accepted, evolves by its events.
    ///
    /// After an error or a panic the state must not be used again.
    fn step(&mut self, command: &AnyCommand, meta: &Meta) -> Result<Decision, StepError>;
    /// Takes a stored event into the state.
    fn evolve(&mut self, event: &EventPart) -> Result<(), DecodeError>;
    /// The state as JSON.
    fn to_json(&self) -> Result<Value, EncodeError>;
    /// The state as its type.
    fn as_any(&self) -> &dyn Any;
    /// The command that brings the entity, later, back to this state, which it had at `version`.
    fn rollback_here(&self, version: u64, reason: &str) -> AnyCommand;
    /// A copy.
    fn boxed_clone(&self) -> Box<dyn AnyState>;
}

/// What a decision came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// These events, possibly none.
    Accepted(Vec<EventPart>),
    /// Refused.
    Refused(RefusalPart),
}

/// A decision that could not be stored, or a command of another decider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// Make the event or refusal serialize without error.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Write `Decider::roll_back` for it.
    #[error("{0} does not say how it is rolled back")]
    NoRollback(&'static str),
    /// Send a command to the decider it belongs to.
    #[error("the command belongs to another decider than {0}")]
    Mismatch(&'static str),
}

/// A command whose body does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// Send one of the commands the decider has.
    #[error("{decider} has no command {name:?}; it has {}", known.join(", "))]
    UnknownCommand {
        /// The decider.
        decider: &'static str,
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// Correct the fields.
    #[error("{command} does not fit: {reason}")]
    Fields {
        /// The command.
        command: String,
        /// What does not fit, and where.
        reason: String,
    },
    /// Remove the field, or correct its name.
    #[error("{command} has no field {field:?}; it has {}", list(known))]
    UnknownField {
        /// The command.
        command: String,
        /// The field sent.
        field: String,
        /// The fields there are.
        known: Vec<String>,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "no fields".to_owned() } else { names.join(", ") }
}

/// A command on its way to an entity.
pub struct AnyCommand {
    name: &'static str,
    value: Box<dyn Any + Send + Sync>,
    encode: fn(&dyn Any) -> Result<Encoded, EncodeError>,
}

impl AnyCommand {
    /// Erases a command of `D`.
    pub fn new<D: Decider>(command: D::Command) -> Result<Self, EncodeError> {
        let encode = |value: &dyn Any| match value.downcast_ref::<D::Command>() {
            Some(command) => codec::encode(command),
            None => Err(EncodeError::NotAnEnum { type_name: std::any::type_name::<D::Command>() }),
        };
        // The fields are written when they are asked for: only the digest of a keyed command needs them.
        let name = codec::variant_of(&command)?.name;
        Ok(Self { name, value: Box::new(command), encode })
    }

    /// A command that no decider declares.
    pub(super) fn built_in<T: Send + Sync + 'static>(
        name: &'static str,
        value: T,
        encode: fn(&dyn Any) -> Result<Encoded, EncodeError>,
    ) -> Self {
        Self { name, value: Box::new(value), encode }
    }

    /// The command's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The JSON of its fields.
    pub fn payload(&self) -> Result<Bytes, EncodeError> {
        Ok((self.encode)(self.value.as_ref())?.payload)
    }

    /// The first 16 bytes of SHA-256 over the name, a zero byte, and the canonical JSON of the fields.
    pub fn digest(&self) -> Result<Bytes, EncodeError> {
        let payload = self.payload()?;
        let mut hash = Sha256::new();
        hash.update(self.name.as_bytes());
        hash.update([0]);
        if !payload.is_empty() {
            // `Value` sorts the keys; the payload was written by us and parses.
            let value: Value = serde_json::from_slice(&payload).unwrap_or(Value::Null);
            hash.update(value.to_string().as_bytes());
        }
        Ok(Bytes::copy_from_slice(hash.finalize().get(..16).unwrap_or_default()))
    }
}

/// The erased form of `D`.
pub(super) struct Typed<D: Decider> {
    decider: PhantomData<fn(D)>,
    /// The fields of each command, by name; `None` where the schema does not say.
    fields: Vec<Option<BTreeSet<String>>>,
}

impl<D: Decider> Default for Typed<D> {
    fn default() -> Self {
        let schema = schemars::schema_for!(D::Command).to_value();
        let fields =
            D::Command::VARIANTS.iter().map(|v| crate::schema::variant_fields(&schema, v.serde_name));
        Self { decider: PhantomData, fields: fields.collect() }
    }
}

impl<D: Decider> Typed<D> {
    fn check_fields(&self, name: &str, fields: &[u8]) -> Result<(), FieldError> {
        let known = D::Command::VARIANTS.iter().position(|variant| variant.name == name);
        let known = known.and_then(|index| self.fields.get(index)).and_then(Option::as_ref);
        let (Some(known), Ok(Value::Object(sent))) = (known, serde_json::from_slice::<Value>(fields)) else {
            return Ok(());
        };
        match sent.keys().find(|field| !known.contains(*field)) {
            None => Ok(()),
            Some(field) => Err(FieldError::UnknownField {
                command: name.to_owned(),
                field: field.clone(),
                known: known.iter().cloned().collect(),
            }),
        }
    }
}

impl<D: Decider> AnyDecider for Typed<D> {
    fn name(&self) -> &'static str {
        D::NAME
    }

    fn revision(&self) -> u32 {
        D::REVISION
    }

    fn events(&self) -> &'static [Variant] {
        D::Event::VARIANTS
    }

    fn commands(&self) -> &'static [Variant] {
        D::Command::VARIANTS
    }

    fn refusals(&self) -> &'static [Variant] {
        D::Refusal::VARIANTS
    }

    fn schemas(&self) -> DeciderSchemas {
        DeciderSchemas {
            commands: schemars::schema_for!(D::Command).to_value(),
            events: schemars::schema_for!(D::Event).to_value(),
            refusals: schemars::schema_for!(D::Refusal).to_value(),
            state: schemars::schema_for!(D).to_value(),
        }
    }

    fn upcasts(&self) -> DeciderUpcasts {
        DeciderUpcasts {
            commands: codec::upcasts::<D::Command>(),
            events: codec::upcasts::<D::Event>(),
            refusals: codec::upcasts::<D::Refusal>(),
        }
    }

    fn shard_key(&self, id: &str) -> Option<String> {
        let id: D::Id = id.parse().ok()?;
        Some(D::shard_key(&id).into_owned())
    }

    fn new_state(&self) -> Box<dyn AnyState> {
        Box::new(State(D::default()))
    }

    fn read_stored_command(&self, name: &str, shape: u32, payload: &[u8]) -> Result<AnyCommand, DecodeError> {
        let command: D::Command = codec::decode(name, shape, payload)?;
        AnyCommand::new::<D>(command).map_err(|error| DecodeError::Payload {
            name: name.to_owned(),
            shape,
            reason: error.to_string(),
        })
    }

    fn read_command(&self, name: &str, fields: &[u8]) -> Result<AnyCommand, FieldError> {
        let command: D::Command = codec::decode(
            name,
            codec::variant::<D::Command>(name).map_or(1, |variant| variant.shape),
            fields,
        )
        .map_err(|error| match error {
            DecodeError::UnknownName { name } => FieldError::UnknownCommand {
                decider: D::NAME,
                name,
                known: D::Command::VARIANTS.iter().map(|variant| variant.name).collect(),
            },
            DecodeError::Payload { name, reason, .. } => FieldError::Fields { command: name, reason },
            error @ DecodeError::UnknownShape { .. } => {
                FieldError::Fields { command: name.to_owned(), reason: error.to_string() }
            }
        })?;
        self.check_fields(name, fields)?;
        AnyCommand::new::<D>(command)
            .map_err(|error| FieldError::Fields { command: name.to_owned(), reason: error.to_string() })
    }
}

struct State<D>(D);

impl<D: Decider> AnyState for State<D> {
    fn step(&mut self, command: &AnyCommand, meta: &Meta) -> Result<Decision, StepError> {
        let decided = match command.value.downcast_ref::<D::Command>() {
            Some(command) => self.0.decide(command, meta),
            None => {
                let rollback =
                    command.value.downcast_ref::<Rollback<D>>().ok_or(StepError::Mismatch(D::NAME))?;
                self.0.roll_back(&rollback.earlier, meta).ok_or(StepError::NoRollback(D::NAME))?
            }
        };
        match decided {
            Err(refused) => Ok(Decision::Refused(refusal::encode(&refused)?)),
            Ok(events) => {
                let parts: Result<Vec<EventPart>, EncodeError> = events.iter().map(event::encode).collect();
                let parts = parts?;
                events.iter().for_each(|event| self.0.evolve(event));
                Ok(Decision::Accepted(parts))
            }
        }
    }

    fn evolve(&mut self, event: &EventPart) -> Result<(), DecodeError> {
        let event: D::Event = codec::decode(&event.name, event.shape, &event.payload)?;
        self.0.evolve(&event);
        Ok(())
    }

    fn to_json(&self) -> Result<Value, EncodeError> {
        serde_json::to_value(&self.0).map_err(|error| EncodeError::Serialize {
            type_name: std::any::type_name::<D>(),
            reason: error.to_string(),
        })
    }

    fn as_any(&self) -> &dyn Any {
        &self.0
    }

    fn rollback_here(&self, version: u64, reason: &str) -> AnyCommand {
        Rollback::command(self.0.clone(), version, reason)
    }

    fn boxed_clone(&self) -> Box<dyn AnyState> {
        Box::new(Self(self.0.clone()))
    }
}
