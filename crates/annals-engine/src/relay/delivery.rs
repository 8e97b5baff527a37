//! One thing the relay has to carry: an input to a saga, or a command of a saga to its target.
//!
//! Invariant: it ends as settled or parked, durably; everything else is tried again under the same id.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use annals_core::envelope::{InputKind, InputPart, Record, SendPart, Slice};
use annals_core::{Offset, StreamName};

use crate::engine::Core;
use crate::entity::guarded;
use crate::error::ExecuteError;
use crate::request::{DERIVED_KEY_PREFIX, Receipt, Request, Ticket};
use crate::shard::{Became, InputSignal, Key, SagaInput};

/// The longest chain of commands that cause commands.
const DEPTH_MAX: u32 = 64;
/// The first pause before something is tried again; it doubles up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(5);
const PAUSE_DOUBLINGS_MAX: u32 = 10;
/// How often it is looked whether another node has done it: with the pauses, for ten seconds.
const LOOKS_MAX: u32 = 11;

/// Something to carry.
pub(super) struct Delivery {
    /// The record that asks for it, which stays open until it is done; `None` for timers.
    pub(super) source: Option<Offset>,
    pub(super) not_before_us: i64,
    /// What its order is kept with: a hash of (from, to). Where two collide, one waits for the other in vain.
    pub(super) lane: u64,
    attempts: u32,
    work: Work,
}

/// What is to be carried.
pub(super) enum Work {
    /// A signal to a saga instance.
    Input(SagaInput),
    /// A command of a saga instance.
    Command {
        /// The saga's record that sends it.
        record: Arc<Record>,
        /// The saga's stream.
        saga: String,
        /// The version of the saga's stream after that record.
        version: u64,
        /// Which of its commands.
        index: usize,
    },
}

/// A delivery on its way into the log.
pub(super) enum Attempt {
    /// A command: its answer is the outcome.
    Command(Box<Ticket>),
    /// An input, and what it became once the ticket is settled.
    Input(Box<Ticket>, Became),
    /// There is nothing to do.
    Nothing,
    /// It can never be done: a person must look.
    Impossible(String),
}

/// What a delivery leaves for those behind it in its lane.
pub(super) enum Lane {
    /// They wait for the next round.
    Blocked,
    /// They may follow under the same writer.
    Under(u64),
}

impl Attempt {
    /// What it leaves for those behind it; `None` where they are free to go.
    pub(super) fn leaves(&self) -> Option<Lane> {
        match self {
            Self::Command(ticket) | Self::Input(ticket, _) => ticket.generation().map(Lane::Under),
            Self::Impossible(_) => Some(Lane::Blocked),
            Self::Nothing => None,
        }
    }
}

/// What became of a delivery.
pub(super) enum Done {
    /// It is durable.
    Settled,
    /// It is durable that it changes nothing.
    Ignored,
    /// It is durable that a person must look.
    Parked,
    /// Try again.
    Later,
    /// It is durable, and this follows from it.
    Follow(Box<Work>),
}

impl Work {
    /// The `index`-th command of a saga's record.
    pub(super) fn command(record: &Arc<Record>, slice: &Slice, index: usize) -> Self {
        let (saga, version) = (slice.stream.clone(), slice.next_version());
        Self::Command { record: Arc::clone(record), saga, version, index }
    }

    /// The stream it comes from and the one it goes to.
    fn ends(&self) -> (&str, &str) {
        match self {
            Self::Input(input) => (&input.input.stream, input.stream.as_str()),
            Self::Command { record, saga, index, .. } => {
                let send = record.saga.as_ref().and_then(|part| part.sends.get(*index));
                (saga, send.map_or("", |send| &send.stream))
            }
        }
    }

    fn lane(&self) -> u64 {
        // Not keyed by chance: under a seed the same deliveries wait for each other.
        let mut hasher = DefaultHasher::new();
        self.ends().hash(&mut hasher);
        hasher.finish()
    }
}

impl Delivery {
    pub(super) fn new(source: Option<Offset>, work: Work) -> Self {
        let lane = work.lane();
        Self { source, not_before_us: i64::MIN, lane, attempts: 0, work }
    }

    /// The timer that fired, where it is one: (stream, timer, version).
    pub(super) fn timer(&self) -> Option<(&str, &str, u64)> {
        match &self.work {
            Work::Input(SagaInput { signal: InputSignal::Timer(timer), input, .. }) => {
                Some((&input.stream, timer, input.version))
            }
            _ => None,
        }
    }

    /// Puts what follows in this delivery's place.
    pub(super) fn follow(&mut self, work: Work) {
        self.lane = work.lane();
        self.work = work;
        self.attempts = 0;
        self.not_before_us = i64::MIN;
    }

    /// Hands it to the shard it goes to, by the writer `under` where one is named. An error is temporary.
    pub(super) fn submit(&self, core: &Core, under: Option<u64>) -> Result<Attempt, ExecuteError> {
        self.attempt(|| self.try_submit(core, under))
    }

    /// Looks whether another node has done it, who is to do it; an error where that is not so yet.
    pub(super) fn look(&self, core: &Core) -> Result<Attempt, ExecuteError> {
        self.attempt(|| self.try_look(core))
    }

    /// Whether it has waited long enough for another node: that one may be gone.
    pub(super) fn is_overdue(&self) -> bool {
        self.attempts > LOOKS_MAX
    }

    /// It need not wait any longer.
    pub(super) fn hurry(&mut self) {
        (self.attempts, self.not_before_us) = (0, i64::MIN);
    }

    fn attempt(
        &self,
        attempt: impl FnOnce() -> Result<Attempt, ExecuteError>,
    ) -> Result<Attempt, ExecuteError> {
        // User code runs in here, down to parsing an id: none of it may take the relay with it.
        match guarded(attempt) {
            Err(message) => Ok(Attempt::Impossible(ExecuteError::Panicked { message }.to_string())),
            Ok(Err(error)) if !error.is_temporary() => Ok(Attempt::Impossible(error.to_string())),
            Ok(attempt) => attempt,
        }
    }

    fn try_submit(&self, core: &Core, under: Option<u64>) -> Result<Attempt, ExecuteError> {
        match &self.work {
            Work::Input(input) => {
                let (ticket, became) = core.shard(&input.stream)?.deliver(input, under)?;
                Ok(Attempt::Input(Box::new(ticket), became))
            }
            Work::Command { record, saga, version, .. } => match self.send() {
                Some(send) => self.submit_command(core, record, saga, *version, send, under),
                None => Ok(Attempt::Nothing),
            },
        }
    }

    fn try_look(&self, core: &Core) -> Result<Attempt, ExecuteError> {
        let found = match &self.work {
            Work::Input(input) => {
                let found = core.shard(&input.stream)?.delivered(input)?;
                found.map(|(ticket, became)| Attempt::Input(Box::new(ticket), became))
            }
            Work::Command { .. } => match self.send() {
                Some(send) => {
                    let stream: StreamName = send.stream.parse()?;
                    let found = core.shard(&stream)?.recorded(&stream, &self.command_key())?;
                    found.map(|ticket| Attempt::Command(Box::new(ticket)))
                }
                None => Some(Attempt::Nothing),
            },
        };
        let reason = "another node has claimed the shard and has not done it yet";
        found.ok_or_else(|| ExecuteError::Unavailable { reason: reason.to_owned() })
    }

    fn submit_command(
        &self,
        core: &Core,
        record: &Record,
        saga: &str,
        version: u64,
        send: &SendPart,
        under: Option<u64>,
    ) -> Result<Attempt, ExecuteError> {
        if record.depth >= DEPTH_MAX {
            let reason =
                format!("the chain of causes is longer than {DEPTH_MAX} commands: sagas feed each other");
            return Ok(Attempt::Impossible(reason));
        }
        let stream: StreamName = send.stream.parse()?;
        let decider = core.decider(stream.kind())?;
        let command = decider.read_stored_command(&send.name, send.shape, &send.payload)?;
        let request = Request {
            key: Some(self.command_key()),
            expected_version: None,
            actor: record.actor.clone(),
            correlation: record.correlation.clone(),
            causation: format!("{saga}@{version}"),
            traceparent: record.traceparent.clone(),
            occurred_at: record.occurred_at(),
            depth: record.depth + 1,
            ..Request::new(stream, command)
        };
        let (shard, key) = core.route(&request)?;
        Ok(Attempt::Command(Box::new(shard.submit(&request, &Key { under, ..key })?)))
    }

    /// Waits for an attempt and says what it came to.
    pub(super) fn settle(&mut self, attempt: Attempt, now_us: i64) -> Done {
        match attempt {
            Attempt::Nothing => Done::Settled,
            Attempt::Impossible(reason) => self.park(reason, now_us),
            // Where it is lost, nothing is lost but time: the same id again, at once.
            Attempt::Command(ticket) => {
                ticket.settle().map_or(Done::Later, |answer| self.outcome(answer, now_us))
            }
            Attempt::Input(ticket, became) => match ticket.settle() {
                Err(_) => Done::Later,
                Ok(Err(error)) => self.failed(&error, now_us),
                Ok(Ok(receipt)) => became_done(&receipt, became),
            },
        }
    }

    /// Tries again later.
    pub(super) fn put_off(&mut self, now_us: i64, error: &ExecuteError) {
        if self.attempts == PAUSE_DOUBLINGS_MAX {
            let (from, to) = self.work.ends();
            tracing::warn!(from, to, %error, "a saga's delivery does not get through; it goes on trying");
        }
        self.pause(now_us);
    }

    fn pause(&mut self, now_us: i64) {
        let pause = PAUSE_FIRST * (1 << self.attempts.min(PAUSE_DOUBLINGS_MAX));
        self.attempts = self.attempts.saturating_add(1);
        self.not_before_us = now_us.saturating_add(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX));
    }

    fn failed(&mut self, error: &ExecuteError, now_us: i64) -> Done {
        if error.is_temporary() {
            self.put_off(now_us, error);
            return Done::Later;
        }
        self.park(error.to_string(), now_us)
    }

    /// The outcome of a command goes back to its saga.
    fn outcome(&mut self, answer: Result<Receipt, ExecuteError>, now_us: i64) -> Done {
        let Some(send) = self.send() else { return Done::Settled };
        let step = send.step.clone();
        let signal = match answer {
            Ok(_) => InputSignal::Accepted { step },
            Err(ExecuteError::Refused { refused, .. }) => InputSignal::Refused {
                step,
                refusal: refused.part().clone(),
                compensation: send.compensation,
            },
            Err(error) => return self.failed(&error, now_us),
        };
        self.follow_with(signal)
    }

    /// Makes it durable that a person must look: as an input of the saga instance, in place of what failed.
    fn park(&mut self, reason: String, now_us: i64) -> Done {
        match &self.work {
            Work::Input(input) if matches!(input.signal, InputSignal::Parked { .. }) => {
                // Not even that could be recorded: the instance's own stream is unreadable. Keep trying.
                tracing::error!(stream = %input.stream, %reason, "a saga instance cannot be read; it is tried again");
                self.attempts = self.attempts.max(PAUSE_DOUBLINGS_MAX);
                self.pause(now_us);
                Done::Later
            }
            Work::Input(input) => {
                let timer = input.timer().map(str::to_owned);
                let signal = InputSignal::Parked { reason, timer };
                Done::Follow(Box::new(Work::Input(SagaInput { signal, ..input.clone() })))
            }
            Work::Command { .. } => self.follow_with(InputSignal::Parked { reason, timer: None }),
        }
    }

    fn follow_with(&self, signal: InputSignal) -> Done {
        match self.outcome_input(signal) {
            Some(input) => Done::Follow(Box::new(Work::Input(input))),
            None => Done::Settled,
        }
    }

    fn outcome_input(&self, signal: InputSignal) -> Option<SagaInput> {
        let Work::Command { record, saga, version, index } = &self.work else { return None };
        let input = InputPart {
            kind: InputKind::Outcome as i32,
            stream: saga.clone(),
            version: *version,
            index: u32::try_from(*index).ok()?,
        };
        let (stream, causation) = (saga.parse().ok()?, self.command_key());
        Some(SagaInput { stream, input, signal, cause: Arc::clone(record), causation })
    }

    /// The id of the command: it derives from where it comes from, so that sending it twice is sending it once.
    fn command_key(&self) -> String {
        match &self.work {
            Work::Command { saga, version, index, .. } => {
                format!("{DERIVED_KEY_PREFIX}{saga}@{version}/{index}")
            }
            Work::Input(input) => input.key(),
        }
    }

    fn send(&self) -> Option<&SendPart> {
        match &self.work {
            Work::Command { record, index, .. } => record.saga.as_ref()?.sends.get(*index),
            Work::Input(_) => None,
        }
    }
}

fn became_done(receipt: &Receipt, became: Became) -> Done {
    match became {
        Became::Recorded => Done::Settled,
        Became::Ignored => Done::Ignored,
        Became::Parked(reason) => {
            tracing::error!(stream = %receipt.stream, %reason, "a saga's input is parked: a person must look");
            Done::Parked
        }
    }
}
