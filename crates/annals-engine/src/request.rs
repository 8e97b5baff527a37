//! A command on its way in, and the receipt on its way out.

use std::sync::Arc;

use annals_core::context::AnyCommand;
use annals_core::envelope::RefusalPart;
use annals_core::{Offset, Position, Refused, Seq, StreamName, Timestamp};
use annals_log::{AppendError, Writer};

use crate::error::ExecuteError;
use crate::shard::{Admission, Shard};

/// The longest key of a command, and the longest of the other texts around it, in bytes. What a saga puts there
/// names a stream and a version and may be twice as long.
pub const TEXT_BYTES_MAX: usize = 256;

/// What the keys of sagas' commands begin with; a caller's may not.
pub(crate) const DERIVED_KEY_PREFIX: &str = "saga:";

/// A command for one entity, with what is known around it.
pub struct Request {
    /// The entity's stream.
    pub stream: StreamName,
    /// The command.
    pub command: AnyCommand,
    /// The caller's idempotency key: the command takes effect once and has one answer for ever.
    pub key: Option<String>,
    /// The version the stream must be at; a conflict is then the caller's to handle.
    pub expected_version: Option<u64>,
    /// Who acts.
    pub actor: String,
    /// What it belongs to.
    pub correlation: String,
    /// What directly caused it.
    pub causation: String,
    /// W3C trace context.
    pub traceparent: String,
    /// When it happened in the world.
    pub occurred_at: Option<Timestamp>,
    /// How long the chain of causes is; 0 from outside.
    pub depth: u32,
}

impl Request {
    /// A command for `stream` and nothing around it.
    #[must_use]
    pub fn new(stream: StreamName, command: AnyCommand) -> Self {
        Self {
            stream,
            command,
            key: None,
            expected_version: None,
            actor: String::new(),
            correlation: String::new(),
            causation: String::new(),
            traceparent: String::new(),
            occurred_at: None,
            depth: 0,
        }
    }

    /// Whether a saga sends it: its key then derives from where it comes from.
    pub(crate) fn is_derived(&self) -> bool {
        self.depth > 0
    }

    /// Checks the texts a caller gave.
    pub(crate) fn check(&self) -> Result<(), ExecuteError> {
        let bytes_max = if self.is_derived() { 2 * TEXT_BYTES_MAX } else { TEXT_BYTES_MAX };
        if let Some(key) = &self.key {
            let reserved = !self.is_derived() && key.starts_with(DERIVED_KEY_PREFIX);
            if key.is_empty() || key.len() > bytes_max || reserved || key.chars().any(char::is_control) {
                return Err(ExecuteError::InvalidKey { key: key.chars().take(TEXT_BYTES_MAX).collect() });
            }
        }
        for (field, text) in [
            ("actor", &self.actor),
            ("correlation", &self.correlation),
            ("causation", &self.causation),
            ("traceparent", &self.traceparent),
        ] {
            if text.len() > bytes_max {
                return Err(ExecuteError::TextTooLong { field, bytes: text.len(), bytes_max });
            }
        }
        Ok(())
    }
}

/// Proof that a command was accepted and is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The entity's stream.
    pub stream: StreamName,
    /// Where the command's record is: its first event, if it has any.
    pub position: Position,
    /// The stream's version after it.
    pub version: u64,
    /// How many events it recorded.
    pub events: u32,
    /// The command's key, given or made.
    pub key: String,
    /// Whether this is the answer of an earlier attempt with the same key.
    pub repeated: bool,
}

/// What a decision came to, before it is durable.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Accepted { version: u64, events: u32 },
    Refused(RefusalPart),
    Conflict { expected: u64, actual: u64 },
}

/// What an answer waits for.
pub(crate) enum Rest {
    /// This record is durable already.
    Durable(Offset),
    /// The record `seq` of `writer`; `own` if it is the command's own.
    Pending { writer: Arc<dyn Writer>, generation: u64, seq: Seq, own: bool },
    /// Nothing: the state included no record that is in flight.
    Nothing,
}

/// A decided command whose answer waits until all it rests on is durable.
#[must_use = "a ticket has no answer until it is settled"]
pub struct Ticket {
    pub(crate) shard: Arc<Shard>,
    pub(crate) stream: StreamName,
    pub(crate) key: String,
    pub(crate) answer: Answer,
    pub(crate) rest: Rest,
    pub(crate) repeated: bool,
    /// Held so that the command counts as waiting until it is answered.
    pub(crate) _admission: Admission,
}

/// What a ticket's answer rested on was not made durable: decide again.
#[derive(Clone, Debug)]
pub struct Lost {
    /// What the log said.
    pub(crate) error: AppendError,
    /// Whether the command's own record may be in the log.
    pub(crate) maybe_written: bool,
}

impl Ticket {
    /// The shard that decided it.
    pub(crate) fn shard(&self) -> Arc<Shard> {
        Arc::clone(&self.shard)
    }

    /// The writer its answer waits for; `None` where it waits for none.
    pub(crate) fn generation(&self) -> Option<u64> {
        match self.rest {
            Rest::Pending { generation, .. } => Some(generation),
            Rest::Durable(_) | Rest::Nothing => None,
        }
    }

    /// Waits until the answer is durable and gives it. `Err` if it was lost and must be decided again.
    pub(crate) fn settle(self) -> Result<Result<Receipt, ExecuteError>, Lost> {
        let offset = match &self.rest {
            Rest::Durable(offset) => *offset,
            Rest::Nothing => self.shard.last_durable(),
            Rest::Pending { writer, generation, seq, own } => {
                let committed = if self.shard.answers_early() { Ok(Offset(0)) } else { writer.commit(*seq) };
                match committed {
                    Ok(offset) => offset,
                    Err(error) => {
                        self.shard.lose(*generation);
                        let certain = matches!(error, AppendError::Fenced | AppendError::Full { .. });
                        return Err(Lost { error, maybe_written: *own && !certain });
                    }
                }
            }
        };
        Ok(self.answered(offset))
    }

    fn answered(self, offset: Offset) -> Result<Receipt, ExecuteError> {
        match self.answer {
            Answer::Accepted { version, events } => Ok(Receipt {
                position: Position { shard: self.shard.id(), offset, index: 0 },
                stream: self.stream,
                version,
                events,
                key: self.key,
                repeated: self.repeated,
            }),
            Answer::Refused(part) => {
                Err(ExecuteError::Refused { refused: Refused::from(part), key: self.key })
            }
            Answer::Conflict { expected, actual } => Err(ExecuteError::Conflict { expected, actual }),
        }
    }
}
