//! Commands in the shard machine: repeat, load, decide, append.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use annals_core::context::{Decision, StepError};
use annals_core::envelope::{CommandPart, Record, RefusalPart, Slice, from_micros, to_micros};
use annals_core::index::Term;
use annals_core::{Meta, Offset, StreamName, Tenant};
use annals_log::AppendError;
use bytes::Bytes;

use super::tail::Tail;
use super::{Admission, Around, Machine, Shard};
use crate::entity::{Entity, State, guarded};
use crate::error::ExecuteError;
use crate::history;
use crate::request::{Answer, Request, Rest, Ticket};

/// How many commands of a shard may wait for one more to be taken at once: so many records of
/// a usual size find room in any log's buffers.
const AT_ONCE_MAX: usize = 2_048;

/// The key a command goes by, and whether an earlier attempt may have used it.
pub(crate) struct Key {
    /// The caller's, or a made one.
    pub(crate) text: String,
    /// Whether the caller gave it: then refusals and no-ops are recorded.
    pub(crate) given: bool,
    /// Whether to look for an earlier attempt.
    pub(crate) look: bool,
    /// The generation of the writer it must be written by, since it follows something in flight there.
    pub(crate) under: Option<u64>,
}

impl Shard {
    /// Decides `request` and hands its record to the log; the ticket waits for it to be durable.
    pub(crate) fn submit(self: &Arc<Self>, request: &Request, key: &Key) -> Result<Ticket, ExecuteError> {
        let entry = self.enter(request, key)?;
        self.submit_in(&mut self.lock_for_command(), request, key, entry)
    }

    /// As [`Shard::submit`], where that takes as long as deciding does; `None` where it would wait for anything: a claim,
    /// a state that is not in memory, or a log that may have no room.
    pub(crate) fn try_submit(
        self: &Arc<Self>,
        request: &Request,
        key: &Key,
    ) -> Option<Result<Ticket, ExecuteError>> {
        if self.waiting() >= AT_ONCE_MAX || self.claiming.load(Ordering::Acquire) {
            return None;
        }
        let entry = match self.enter(request, key) {
            Ok(entry) => entry,
            Err(error) => return Some(Err(error)),
        };
        let mut machine = self.lock_for_command();
        machine.is_ready_for(&request.stream).then(|| self.submit_in(&mut machine, request, key, entry))
    }

    /// What can be done for a command without the machine.
    fn enter(&self, request: &Request, key: &Key) -> Result<(Admission, Bytes), ExecuteError> {
        let admission = self.admit(request.is_derived())?;
        // A saga's key says which command it is; its body may be read in a newer shape the next time.
        let digest =
            if key.given && !request.is_derived() { request.command.digest()? } else { Bytes::new() };
        Ok((admission, digest))
    }

    fn submit_in(
        self: &Arc<Self>,
        machine: &mut Machine,
        request: &Request,
        key: &Key,
        (admission, digest): (Admission, Bytes),
    ) -> Result<Ticket, ExecuteError> {
        self.ready_under(machine, key.under)?;
        if key.look
            && let Some((answer, rest)) = self.earlier(&machine.tail, &request.stream, &key.text, &digest)?
        {
            return Ok(self.ticket(request, key, answer, rest, true, admission));
        }
        let decided = self.decide(machine, request, key, digest);
        if decided.is_err() {
            self.discard(machine, &request.stream)?;
        }
        let (answer, rest) = decided?;
        Ok(self.ticket(request, key, answer, rest, false, admission))
    }

    fn ticket(
        self: &Arc<Self>,
        request: &Request,
        key: &Key,
        answer: Answer,
        rest: Rest,
        repeated: bool,
        admission: Admission,
    ) -> Ticket {
        Ticket {
            shard: Arc::clone(self),
            stream: request.stream.clone(),
            key: key.text.clone(),
            answer,
            rest,
            repeated,
            _admission: admission,
        }
    }

    /// The answer of an earlier attempt with this key: in flight, or in the log.
    pub(super) fn earlier(
        &self,
        tail: &Tail,
        stream: &StreamName,
        key: &str,
        digest: &Bytes,
    ) -> Result<Option<(Answer, Rest)>, ExecuteError> {
        let same = |first: &Bytes| first.is_empty() || digest.is_empty() || first == digest;
        let reused = || ExecuteError::KeyReused { key: key.to_owned() };
        if let Some(command) = tail.command(stream, key) {
            if !same(&command.digest) {
                return Err(reused());
            }
            let rest = rest_on(tail, Some(command.seq), true);
            return Ok(Some((command.answer.clone(), rest)));
        }
        let Some((offset, record)) = self.recorded_command(stream, key)? else { return Ok(None) };
        if !record.command.as_ref().is_some_and(|command| same(&command.digest)) {
            return Err(reused());
        }
        Ok(Some((answer_of(&record), Rest::Durable(offset))))
    }

    /// The answer that the log holds for the command `key` of `stream`, if it holds one: without claiming the shard.
    pub(crate) fn recorded(
        self: &Arc<Self>,
        stream: &StreamName,
        key: &str,
    ) -> Result<Option<Ticket>, ExecuteError> {
        let Some((offset, record)) = self.recorded_command(stream, key)? else { return Ok(None) };
        let (answer, rest) = (answer_of(&record), Rest::Durable(offset));
        self.found(stream, key, answer, rest).map(Some)
    }

    /// A ticket for what the log told.
    pub(super) fn found(
        self: &Arc<Self>,
        stream: &StreamName,
        key: &str,
        answer: Answer,
        rest: Rest,
    ) -> Result<Ticket, ExecuteError> {
        let (shard, stream, key) = (Arc::clone(self), stream.clone(), key.to_owned());
        Ok(Ticket { shard, stream, key, answer, rest, repeated: true, _admission: self.admit(true)? })
    }

    /// The durable record of the command `key` of `stream`.
    fn recorded_command(
        &self,
        stream: &StreamName,
        key: &str,
    ) -> Result<Option<(Offset, Record)>, ExecuteError> {
        let mut from = Offset(0);
        // Nearly always none or one; more only where hashes collide.
        loop {
            let offsets = self.log.find(self.id, Term::command(stream.as_str(), key), from, 4)?;
            for &offset in &offsets {
                let Some(raw) = self.log.get(self.id, offset)? else { continue };
                let record = history::decode(self.id, &raw)?;
                let scope = record.slices.first().map(|slice| slice.stream.as_str());
                let found = record.command.as_ref().map(|command| command.key.as_str());
                if scope == Some(stream.as_str()) && found == Some(key) {
                    return Ok(Some((offset, record)));
                }
            }
            match offsets.last() {
                Some(last) if offsets.len() == 4 => from = last.next(),
                _ => return Ok(None),
            }
        }
    }

    /// Decides on the cached or loaded state, and appends what came of it.
    fn decide(
        &self,
        machine: &mut Machine,
        request: &Request,
        key: &Key,
        digest: Bytes,
    ) -> Result<(Answer, Rest), ExecuteError> {
        let Machine { tail, cache, .. } = machine;
        let entity = self.entity(cache, tail, &request.stream)?;
        let version = entity.version;
        if let Some(expected) = request.expected_version
            && expected != version
        {
            let answer = Answer::Conflict { expected, actual: version };
            return Ok((answer, rest_on(tail, entity.last, false)));
        }
        let recorded_at_us = tail.next_recorded_at_us(to_micros(self.environment.clock.now()));
        let decision = step(entity, request, recorded_at_us)?;
        let answer = match &decision {
            Decision::Refused(part) => Answer::Refused(part.clone()),
            Decision::Accepted(events) => Answer::Accepted {
                version: version + events.len() as u64,
                events: u32::try_from(events.len()).unwrap_or(u32::MAX),
            },
        };
        let nothing = !matches!(&decision, Decision::Accepted(events) if !events.is_empty());
        if nothing && !key.given {
            return Ok((answer, rest_on(tail, entity.last, false)));
        }
        let command = CommandPart { key: key.text.clone(), digest, name: request.command.name().to_owned() };
        let record = record(request, command, recorded_at_us, version, decision);
        let seq = tail.append(&record).map_err(append_failed)?;
        entity.version = record.slices.first().map_or(version, Slice::next_version);
        entity.exists = true;
        entity.last = Some(seq);
        tail.remember(request.stream.clone(), record.command.unwrap_or_default(), seq, answer.clone());
        Ok((answer, rest_on(tail, Some(seq), true)))
    }
}

impl Machine {
    /// Whether a command for `stream` can be decided now, with a writer in force and from memory.
    fn is_ready_for(&self, stream: &StreamName) -> bool {
        self.tail.writer.as_ref().is_some_and(|writer| writer.is_in_force()) && self.cache.contains(stream)
    }
}

/// What the caller is told when the log did not even take the record in.
pub(super) fn append_failed(error: AppendError) -> ExecuteError {
    match error {
        AppendError::TooLarge { bytes, bytes_max } => ExecuteError::TooLarge { bytes, bytes_max },
        error => ExecuteError::Unavailable { reason: error.to_string() },
    }
}

/// What an answer rests on that includes records up to `last`.
pub(super) fn rest_on(tail: &Tail, last: Option<annals_core::Seq>, own: bool) -> Rest {
    // An own record is named by its sequence number even if it is durable by now: its offset is in the receipt.
    match (last, &tail.writer) {
        (Some(seq), Some(writer)) if own || tail.in_flight(last) => {
            Rest::Pending { writer: Arc::clone(writer), generation: tail.generation, seq, own }
        }
        _ => Rest::Nothing,
    }
}

/// Runs the user's decision.
fn step(entity: &mut Entity, request: &Request, recorded_at_us: i64) -> Result<Decision, ExecuteError> {
    let meta = meta(request, entity.version, recorded_at_us)?;
    let State::Decider(state) = &mut entity.state else {
        let name = request.stream.kind().to_owned();
        return Err(ExecuteError::UnknownDecider { name, known: Vec::new() });
    };
    match guarded(|| state.step(&request.command, &meta)) {
        Err(message) => Err(ExecuteError::Panicked { message }),
        Ok(Err(StepError::Encode(error))) => Err(ExecuteError::Unencodable(error)),
        Ok(Err(StepError::NoRollback(decider))) => Err(ExecuteError::NoRollback { decider }),
        Ok(Err(StepError::Mismatch(_) | _)) => {
            Err(ExecuteError::UnknownDecider { name: request.command.name().to_owned(), known: Vec::new() })
        }
        Ok(Ok(decision)) => Ok(decision),
    }
}

fn meta(request: &Request, version: u64, recorded_at_us: i64) -> Result<Meta, ExecuteError> {
    let said = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
    Ok(Meta {
        stream: request.stream.clone(),
        version,
        recorded_at: from_micros(recorded_at_us),
        occurred_at: request.occurred_at,
        tenant: request.stream.tenant().map(Tenant::new).transpose()?,
        actor: said(&request.actor),
        correlation: said(&request.correlation),
        causation: said(&request.causation),
    })
}

fn record(
    request: &Request,
    command: CommandPart,
    recorded_at_us: i64,
    version: u64,
    decision: Decision,
) -> Record {
    let (events, refusal) = match decision {
        Decision::Accepted(events) => (events, None),
        Decision::Refused(part) => (Vec::new(), Some(part)),
    };
    let around = Around {
        actor: &request.actor,
        correlation: &request.correlation,
        causation: &request.causation,
        traceparent: &request.traceparent,
        tenant: request.stream.tenant(),
        occurred_at_us: request.occurred_at.map(to_micros),
        depth: request.depth,
    };
    let slice = Slice { stream: request.stream.as_str().to_owned(), expected_version: version, events };
    Record { slices: vec![slice], command: Some(command), refusal, ..around.record(recorded_at_us) }
}

/// The answer that a stored record gave.
pub(super) fn answer_of(record: &Record) -> Answer {
    let refusal: Option<RefusalPart> = record.refusal.clone();
    match (refusal, record.slices.first()) {
        (Some(part), _) => Answer::Refused(part),
        (None, slice) => Answer::Accepted {
            version: slice.map_or(0, Slice::next_version),
            events: u32::try_from(slice.map_or(0, |slice| slice.events.len())).unwrap_or(u32::MAX),
        },
    }
}
