//! The shard machine: one mutex, one writer, the states it decides on.
//!
//! Invariant: a state in the cache includes exactly the durable records of its stream and those in flight under
//! the present claim. When an append fails, every state is dropped and the shard is claimed again: states are
//! then read from the log, which alone knows.
//!
//! It does not wait for the log while it holds the mutex, except to load a state, to drop one that may be wrong,
//! and to claim.

mod answers;
mod commands;
mod sagas;
mod tail;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use annals_core::context::Context;
use annals_core::envelope::{Header, Progress, Record};
use annals_core::{Epoch, Offset, ShardId, StreamName, Timestamp};
use annals_log::{AppendError, Claimant, Log};
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};

use answers::Answers;
pub(crate) use answers::Awaited;
pub(crate) use commands::Key;
pub(crate) use sagas::{Became, InputSignal, SagaInput};
use tail::Tail;

use crate::engine::Settings;
use crate::entity::Entity;
use crate::environment::Environment;
use crate::error::{ExecuteError, QueryError};
use crate::history::{self, At};

/// How often a command tries to take the machine before its thread parks: 4 us where a pause takes 40 ns.
const SPINS: u32 = 100;

/// One shard of an engine.
pub(crate) struct Shard {
    id: ShardId,
    context: Arc<Context>,
    log: Arc<dyn Log>,
    environment: Environment,
    settings: Settings,
    waiting: Arc<AtomicUsize>,
    answers: Answers,
    /// The machine is held for longer than deciding takes.
    claiming: AtomicBool,
    machine: Mutex<Machine>,
}

/// What the mutex guards.
struct Machine {
    tail: Tail,
    cache: LruCache<StreamName, Entity>,
    /// The last claim that was made here, in force or not.
    claimed: Option<Epoch>,
}

/// Counts a command as waiting while it is held.
pub(crate) struct Admission(Arc<AtomicUsize>);

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shard {
    pub(crate) fn new(
        id: ShardId,
        context: Arc<Context>,
        log: Arc<dyn Log>,
        environment: Environment,
        settings: Settings,
    ) -> Self {
        // The machine evicts by itself: what is in flight must stay.
        let machine =
            Mutex::new(Machine { tail: Tail::default(), cache: LruCache::unbounded(), claimed: None });
        let (waiting, answers, claiming) = (Arc::default(), Answers::default(), AtomicBool::new(false));
        Self { id, context, log, environment, settings, waiting, answers, claiming, machine }
    }

    pub(crate) fn id(&self) -> ShardId {
        self.id
    }

    /// How many commands wait for their answer.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// The offset of the last durable record.
    pub(crate) fn last_durable(&self) -> Offset {
        Offset(self.log.end(self.id).0.saturating_sub(1))
    }

    /// Whether the planted bug is on that answers before the log has synced.
    pub(crate) fn answers_early(&self) -> bool {
        #[cfg(feature = "planted-bugs")]
        return self.settings.planted_bug == Some(crate::engine::PlantedBug::AnswerBeforeDurable);
        #[cfg(not(feature = "planted-bugs"))]
        false
    }

    /// Takes the machine for a command. Deciding takes a few microseconds, and being switched away for a mutex and
    /// back costs more than that: so it is tried again for about as long before the thread parks.
    fn lock_for_command(&self) -> MutexGuard<'_, Machine> {
        for _ in 0..SPINS {
            if let Some(machine) = self.machine.try_lock() {
                return machine;
            }
            std::hint::spin_loop();
        }
        self.machine.lock()
    }

    /// Claims the shard now, so that opening says what is wrong rather than the first command.
    pub(crate) fn claim(&self) -> Result<(), ExecuteError> {
        self.ready(&mut self.machine.lock())
    }

    /// The last claim that was made here, in force or not.
    pub(crate) fn claimed(&self) -> Option<Epoch> {
        self.machine.lock().claimed
    }

    /// An append of `generation` failed: drops every state that may have seen it and gives up the writer.
    pub(crate) fn lose(&self, generation: u64) {
        let mut machine = self.machine.lock();
        if machine.tail.generation == generation && machine.tail.writer.is_some() {
            machine.tail.lose();
            machine.cache.clear();
        }
    }

    /// The state of `stream` with everything that was decided, once that is durable.
    pub(crate) fn read<T>(&self, stream: &StreamName, look: impl Fn(&Entity) -> T) -> Result<T, QueryError> {
        loop {
            let (seen, rest) = {
                let mut machine = self.machine.lock();
                self.ready(&mut machine)
                    .map_err(|error| QueryError::Unavailable { reason: error.to_string() })?;
                let Machine { tail, cache, .. } = &mut *machine;
                let entity = self.entity(cache, tail, stream)?;
                (look(entity), tail.rest(entity.last))
            };
            match rest {
                None => return Ok(seen),
                Some((writer, generation, seq)) => match writer.commit(seq) {
                    Ok(_) => return Ok(seen),
                    Err(_) => self.lose(generation),
                },
            }
        }
    }

    /// Waits until everything that was decided so far is durable or lost.
    pub(crate) fn flush(&self) -> Result<(), AppendError> {
        let rest = {
            let machine = self.machine.lock();
            machine.tail.rest(machine.tail.last())
        };
        match rest {
            None => Ok(()),
            Some((writer, generation, seq)) => {
                writer.commit(seq).map(drop).inspect_err(|_| self.lose(generation))
            }
        }
    }

    /// Hands the relay's progress to the log. It does not claim the shard for that: the claim would be news to the
    /// relay, which would note that, and so on for ever where appends fail.
    pub(crate) fn append_progress(&self, progress: &Progress) -> Result<(), ExecuteError> {
        let mut machine = self.machine.lock();
        machine.tail.append_progress(progress).map(drop).map_err(commands::append_failed)
    }

    /// Counts the caller as waiting, or refuses it. What is `owed` (a saga's work, which the relay bounds) is
    /// never refused: callers could keep it out for good.
    fn admit(&self, owed: bool) -> Result<Admission, ExecuteError> {
        let waiting = self.waiting.fetch_add(1, Ordering::AcqRel);
        let admission = Admission(Arc::clone(&self.waiting));
        if !owed && waiting >= self.settings.waiting_commands_max {
            return Err(ExecuteError::Overloaded { retry_after: Duration::from_millis(50) });
        }
        Ok(admission)
    }

    /// As [`Shard::ready`], but only while the writer of generation `under` is still there, where one is named.
    fn ready_under(&self, machine: &mut Machine, under: Option<u64>) -> Result<(), ExecuteError> {
        self.ready(machine)?;
        match under {
            Some(generation) if generation != machine.tail.generation => {
                let reason = "the shard was claimed again, what came before must be sent first".to_owned();
                Err(ExecuteError::Unavailable { reason })
            }
            _ => Ok(()),
        }
    }

    /// Makes sure that the machine has a writer; claims the shard where it has none.
    fn ready(&self, machine: &mut Machine) -> Result<(), ExecuteError> {
        if machine.tail.writer.as_ref().is_some_and(|writer| writer.is_in_force()) {
            machine.tail.forget_durable();
            return Ok(());
        }
        self.claiming.store(true, Ordering::Release);
        let claimed = self.claim_now(machine);
        self.claiming.store(false, Ordering::Release);
        claimed
    }

    fn claim_now(&self, machine: &mut Machine) -> Result<(), ExecuteError> {
        machine.tail.lose();
        machine.cache.clear();
        let recorded_at_us = self.last_recorded_at_us()?;
        let now_us = self.environment.clock.now().as_microsecond().max(recorded_at_us);
        let claimant = Claimant {
            node: self.environment.node.clone(),
            address: String::new(),
            nonce: self.environment.keys.fresh(),
            claimed_at: Timestamp::from_microsecond(now_us).unwrap_or(Timestamp::MAX),
        };
        let writer = self
            .log
            .claim(self.id, &claimant)
            .map_err(|error| ExecuteError::Unavailable { reason: error.to_string() })?;
        machine.claimed = Some(writer.epoch());
        // Between looking and claiming another owner may have written.
        let recorded_at_us = self.last_recorded_at_us()?;
        machine.tail.begin(writer, recorded_at_us);
        Ok(())
    }

    /// When the last record of the shard was recorded, by walking back over all that is no command's.
    fn last_recorded_at_us(&self) -> Result<i64, ExecuteError> {
        let mut offset = self.log.end(self.id);
        while offset > Offset(0) {
            offset = Offset(offset.0 - 1);
            let Some(raw) = self.log.get(self.id, offset)? else { continue };
            if matches!(raw.header, Header::Record { .. }) {
                return Ok(history::decode(self.id, &raw)?.recorded_at_us);
            }
        }
        Ok(i64::MIN)
    }

    /// The entity of `stream`, loaded from the log where it is not cached.
    fn entity<'a>(
        &self,
        cache: &'a mut LruCache<StreamName, Entity>,
        tail: &Tail,
        stream: &StreamName,
    ) -> Result<&'a mut Entity, QueryError> {
        if cache.len() >= self.settings.cached_entities_max && !cache.contains(stream) {
            self.evict(cache, tail);
        }
        cache.try_get_or_insert_mut_ref(stream, || {
            history::fold(&self.context, self.log.as_ref(), self.id, stream, At::Now)
        })
    }

    /// Drops a state that may have evolved by what was not recorded, and returns once everything it rested on is
    /// durable: before, the log could not give it back, and what was said on it might not hold.
    fn discard(&self, machine: &mut Machine, stream: &StreamName) -> Result<(), ExecuteError> {
        let Machine { tail, cache, .. } = machine;
        let Some((writer, _, seq)) = cache.pop(stream).and_then(|entity| tail.rest(entity.last)) else {
            return Ok(());
        };
        writer.commit(seq).map(drop).map_err(|error| {
            tail.lose();
            cache.clear();
            ExecuteError::Unavailable { reason: error.to_string() }
        })
    }

    /// Makes room for one more entity. One that is in flight stays: the log could not give its state back yet.
    fn evict(&self, cache: &mut LruCache<StreamName, Entity>, tail: &Tail) {
        while cache.len() >= self.settings.cached_entities_max {
            match cache.peek_lru() {
                Some((_, entity)) if !tail.in_flight(entity.last) => drop(cache.pop_lru()),
                _ => return,
            }
        }
    }
}

/// The texts and times every record carries.
struct Around<'a> {
    actor: &'a str,
    correlation: &'a str,
    causation: &'a str,
    traceparent: &'a str,
    tenant: Option<&'a str>,
    occurred_at_us: Option<i64>,
    depth: u32,
}

impl Around<'_> {
    /// An empty record with these texts.
    fn record(&self, recorded_at_us: i64) -> Record {
        Record {
            format: annals_core::envelope::FORMAT,
            actor: self.actor.to_owned(),
            correlation: self.correlation.to_owned(),
            causation: self.causation.to_owned(),
            traceparent: self.traceparent.to_owned(),
            tenant: self.tenant.unwrap_or_default().to_owned(),
            recorded_at_us,
            occurred_at_us: self.occurred_at_us,
            depth: self.depth,
            ..Record::default()
        }
    }
}
