//! Saga instances in the shard machine: a signal in, one record out.
//!
//! Invariant: an input is consumed by exactly one record, under a key that derives from where it came from.

use std::sync::Arc;

use annals_core::Tenant;

use annals_core::context::RawSignal;
use annals_core::envelope::{
    CommandPart, InputKind, InputPart, Record, RefusalPart, SagaPart, Slice, TimerPart, from_micros,
    to_micros,
};
use annals_core::event::events;
use annals_core::saga::Reaction;
use annals_core::{Offset, ShardId, StreamName};
use bytes::Bytes;

use super::commands::{append_failed, rest_on};
use super::{Around, Machine, Shard};
use crate::entity::{Entity, SagaState, State, guarded};
use crate::error::ExecuteError;
use crate::history::{self, At};
use crate::request::{Answer, Rest, Ticket};

/// A signal on its way to a saga instance.
#[derive(Clone)]
pub(crate) struct SagaInput {
    /// The instance's stream.
    pub(crate) stream: StreamName,
    /// Where the signal comes from: its identity.
    pub(crate) input: InputPart,
    pub(crate) signal: InputSignal,
    /// The record that caused it: actor, correlation and trace go on from there.
    pub(crate) cause: Arc<Record>,
    pub(crate) causation: String,
}

/// What is signalled.
#[derive(Clone)]
pub(crate) enum InputSignal {
    /// The `index`-th event of `cause`.
    Event { shard: ShardId, offset: Offset, index: usize },
    /// The timer with this canonical JSON.
    Timer(String),
    /// A command was accepted.
    Accepted { step: Bytes },
    /// A command was refused.
    Refused { step: Bytes, refusal: RefusalPart, compensation: bool },
    /// A command, or an earlier attempt at this input, can't be handled: a person must look.
    Parked { reason: String, timer: Option<String> },
}

/// What became of a signal, once its ticket is settled.
pub(crate) enum Became {
    /// It was recorded, by this attempt or an earlier one.
    Recorded,
    /// It was recorded that a person must look, and why.
    Parked(String),
    /// It changes nothing: the saga is finished, or the timer is not set any more.
    Ignored,
}

impl SagaInput {
    /// The command id of this input in the instance's stream.
    pub(crate) fn key(&self) -> String {
        let InputPart { stream, version, index, .. } = &self.input;
        match self.input.kind() {
            InputKind::Event => format!("{stream}@{version}"),
            InputKind::Outcome => format!("outcome@{version}/{index}"),
            InputKind::Timer => format!("timer@{version}/{}", self.timer().unwrap_or_default()),
        }
    }

    /// The timer it is about.
    pub(crate) fn timer(&self) -> Option<&str> {
        match &self.signal {
            InputSignal::Timer(timer) | InputSignal::Parked { timer: Some(timer), .. } => Some(timer),
            _ => None,
        }
    }
}

impl Shard {
    /// Lets a saga instance react to a signal, once; `under` as in [`super::Key`].
    pub(crate) fn deliver(
        self: &Arc<Self>,
        input: &SagaInput,
        under: Option<u64>,
    ) -> Result<(Ticket, Became), ExecuteError> {
        let admission = self.admit(true)?;
        let key = input.key();
        let mut machine = self.machine.lock();
        self.ready_under(&mut machine, under)?;
        let exists = {
            let Machine { tail, cache, .. } = &mut *machine;
            self.entity(cache, tail, &input.stream).map(|entity| entity.exists)
        };
        // A stream without records has consumed nothing: the common case costs no look-up.
        let earlier = match exists {
            Ok(false) => None,
            _ => self.earlier(&machine.tail, &input.stream, &key, &Bytes::new())?,
        };
        let (answer, rest, became) = match earlier {
            Some((answer, rest)) => (answer, rest, Became::Recorded),
            None => {
                exists?;
                let reacted = self.react(&mut machine, input, &key);
                if reacted.is_err() {
                    self.discard(&mut machine, &input.stream)?;
                }
                reacted?
            }
        };
        let (shard, stream) = (Arc::clone(self), input.stream.clone());
        Ok((Ticket { shard, stream, key, answer, rest, repeated: false, _admission: admission }, became))
    }

    /// What became of a signal, if the log tells: without claiming the shard, so that the owner can go on.
    pub(crate) fn delivered(
        self: &Arc<Self>,
        input: &SagaInput,
    ) -> Result<Option<(Ticket, Became)>, ExecuteError> {
        let key = input.key();
        if let Some(ticket) = self.recorded(&input.stream, &key)? {
            return Ok(Some((ticket, Became::Recorded)));
        }
        let entity = history::fold(&self.context, self.log.as_ref(), self.id, &input.stream, At::Now)?;
        match &entity.state {
            // What is finished stays so, and a timer that is not set is not set again: nobody will react.
            State::Saga(saga) if matches!(judge(saga, input), Judged::Ignore) => {
                let answer = Answer::Accepted { version: entity.version, events: 0 };
                let ticket = self.found(&input.stream, &key, answer, Rest::Nothing)?;
                Ok(Some((ticket, Became::Ignored)))
            }
            _ => Ok(None),
        }
    }

    fn react(
        &self,
        machine: &mut Machine,
        input: &SagaInput,
        key: &str,
    ) -> Result<(Answer, Rest, Became), ExecuteError> {
        let Machine { tail, cache, .. } = machine;
        let entity = self.entity(cache, tail, &input.stream)?;
        let version = entity.version;
        let recorded_at_us = tail.next_recorded_at_us(to_micros(self.environment.clock.now()));
        let State::Saga(saga) = &mut entity.state else {
            let name = input.stream.kind().to_owned();
            return Err(ExecuteError::UnknownDecider { name, known: Vec::new() });
        };
        let parked = match judge(saga, input) {
            Judged::Ignore => {
                // That, too, rests on what may still be in flight.
                let rest = rest_on(tail, entity.last, false);
                return Ok((Answer::Accepted { version, events: 0 }, rest, Became::Ignored));
            }
            Judged::Park(reason) => Some(reason),
            Judged::React => None,
        };
        let reaction = match &parked {
            Some(_) => Reaction::default(),
            None => signal(saga, input, recorded_at_us)?,
        };
        let became = parked.clone().map_or(Became::Recorded, Became::Parked);
        let part = saga_part(saga, input, reaction, version + 1, parked);
        let record = record(input, key, saga, part, recorded_at_us, version)?;
        let seq = tail.append(&record).map_err(append_failed)?;
        taken(entity, &record, seq);
        let answer = Answer::Accepted { version: version + 1, events: 1 };
        tail.remember(input.stream.clone(), record.command.unwrap_or_default(), seq, answer.clone());
        Ok((answer, rest_on(tail, Some(seq), true), became))
    }
}

enum Judged {
    React,
    Ignore,
    Park(String),
}

/// Whether a signal is for the saga, for a person, or for nobody.
fn judge(saga: &SagaState, input: &SagaInput) -> Judged {
    match &input.signal {
        InputSignal::Parked { reason, .. } => Judged::Park(reason.clone()),
        InputSignal::Refused { refusal, compensation: true, .. } => {
            Judged::Park(format!("a compensation was refused ({}): {}", refusal.name, refusal.text))
        }
        InputSignal::Refused { refusal, .. } if saga.finished => Judged::Park(format!(
            "a command was refused after the saga had finished ({}): {}",
            refusal.name, refusal.text
        )),
        _ if saga.finished => Judged::Ignore,
        InputSignal::Timer(timer) => {
            let set = saga.timers.iter().any(|set| set.timer == *timer && set.version == input.input.version);
            if set { Judged::React } else { Judged::Ignore }
        }
        _ => Judged::React,
    }
}

/// Runs the user's reaction. A panic or a signal that cannot be read is an error: the relay parks it.
fn signal(saga: &mut SagaState, input: &SagaInput, recorded_at_us: i64) -> Result<Reaction, ExecuteError> {
    let tenant = input.stream.tenant().map(Tenant::new).transpose()?;
    let raw = match &input.signal {
        InputSignal::Event { shard, offset, index } => {
            match events(*shard, *offset, &input.cause).nth(*index) {
                Some(stored) => RawSignal::Event(stored),
                None => return Ok(Reaction::default()),
            }
        }
        InputSignal::Timer(timer) => RawSignal::Timer(timer),
        InputSignal::Accepted { step } => RawSignal::Accepted(step),
        InputSignal::Refused { step, refusal, .. } => RawSignal::Refused(step, refusal),
        InputSignal::Parked { .. } => return Ok(Reaction::default()),
    };
    match guarded(|| saga.state.react(raw, tenant.as_ref(), from_micros(recorded_at_us))) {
        Err(message) => Err(ExecuteError::Panicked { message }),
        Ok(Err(error)) => Err(ExecuteError::Panicked { message: error.to_string() }),
        Ok(Ok(reaction)) => Ok(reaction),
    }
}

/// The saga part of the record: what was put out, and all timers that are set from now on.
fn saga_part(
    saga: &SagaState,
    input: &SagaInput,
    reaction: Reaction,
    version: u64,
    parked: Option<String>,
) -> SagaPart {
    let Reaction { sends, timers: set, cancelled, finished } = reaction;
    let mut timers: Vec<TimerPart> = saga.timers.clone();
    // A timer that fired is gone, also where its signal had to be parked; an equal one set since then is not.
    let fired = |timer: &TimerPart| {
        input.timer() == Some(timer.timer.as_str()) && timer.version == input.input.version
    };
    timers.retain(|timer| !fired(timer) && !cancelled.contains(&timer.timer));
    for timer in set {
        timers.retain(|old| old.timer != timer.timer);
        timers.push(TimerPart { version, ..timer });
    }
    let finished = finished || saga.finished;
    if finished {
        timers.clear();
    }
    SagaPart { sends, timers, input: Some(input.input.clone()), finished, parked }
}

fn record(
    input: &SagaInput,
    key: &str,
    saga: &SagaState,
    part: SagaPart,
    recorded_at_us: i64,
    version: u64,
) -> Result<Record, ExecuteError> {
    let cause = &input.cause;
    let correlation = match (cause.correlation.as_str(), &cause.command) {
        ("", Some(command)) => command.key.as_str(),
        (correlation, _) => correlation,
    };
    let around = Around {
        actor: &cause.actor,
        correlation,
        causation: &input.causation,
        traceparent: &cause.traceparent,
        tenant: input.stream.tenant(),
        occurred_at_us: cause.occurred_at_us,
        // A timer begins a chain of its own: what causes it is time.
        depth: if input.input.kind() == InputKind::Timer { 1 } else { cause.depth + 1 },
    };
    let event = guarded(|| saga.state.to_event()).map_err(|message| ExecuteError::Panicked { message })??;
    let slice =
        Slice { stream: input.stream.as_str().to_owned(), expected_version: version, events: vec![event] };
    let name = match input.input.kind() {
        InputKind::Event => "event",
        InputKind::Timer => "timer",
        InputKind::Outcome => "outcome",
    };
    let command = CommandPart { key: key.to_owned(), digest: Bytes::new(), name: name.to_owned() };
    Ok(Record {
        slices: vec![slice],
        command: Some(command),
        saga: Some(part),
        ..around.record(recorded_at_us)
    })
}

/// Takes the appended record into the entity.
fn taken(entity: &mut Entity, record: &Record, seq: annals_core::Seq) {
    entity.version += 1;
    entity.exists = true;
    entity.last = Some(seq);
    if let (State::Saga(saga), Some(part)) = (&mut entity.state, &record.saga) {
        saga.timers.clone_from(&part.timers);
        saga.finished = part.finished;
    }
}
