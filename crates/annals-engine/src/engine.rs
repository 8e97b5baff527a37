//! The engine: a context on a log, its shards and their relays.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use annals_core::context::{AnyDecider, Context};
use annals_core::envelope::to_micros;
use annals_core::{Cursor, Decider, ShardId, StreamName, Tenant};
use annals_log::{AppendError, Log};
use parking_lot::Mutex;

use crate::entity::{self, Entity, State};
use crate::environment::Environment;
use crate::error::{ExecuteError, OpenError, QueryError};
use crate::feed::Tide;
use crate::history::{self, At, HistoryEvent, StateAt};
use crate::relay::{Relay, RelayStatus};
use crate::request::{Receipt, Request, Ticket};
use crate::shard::{Awaited, Key, Shard};

/// How often a command is decided again after the log lost it, before the caller is told.
const ATTEMPTS_MAX: u32 = 8;

/// Bounds of an engine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Entities whose state each shard keeps in memory; more are loaded from the log again.
    pub cached_entities_max: usize,
    /// Commands of each shard that may wait for their answer; more are refused as overload.
    pub waiting_commands_max: usize,
    /// Records the relay reads between two notes of its progress.
    pub progress_every_records: u64,
    /// A bug to switch on, to show that a check catches it.
    #[cfg(feature = "planted-bugs")]
    pub planted_bug: Option<PlantedBug>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cached_entities_max: 100_000,
            waiting_commands_max: 65_536,
            progress_every_records: 10_000,
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        }
    }
}

/// Bugs that a simulation switches on to show that its checks catch them.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// Commands are answered before the log has synced.
    AnswerBeforeDurable,
    /// The relay forgets the outcome of every tenth command it sends.
    RelayForgetsOutcome,
}

/// A context on a log: takes commands, answers questions, runs sagas. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    tide: Tide,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the relays share with the engine.
pub(crate) struct Core {
    pub(crate) context: Arc<Context>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) environment: Environment,
    pub(crate) settings: Settings,
    pub(crate) shards: Vec<Arc<Shard>>,
    relays: Vec<Mutex<Relay>>,
    read_only: bool,
    running: AtomicBool,
    stopping: AtomicBool,
}

/// How an engine is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineStatus {
    /// Commands that wait for their answer.
    pub waiting_commands: usize,
    /// Durable records that the relays have not read yet.
    pub relay_lag: u64,
    /// Saga inputs and commands that are not settled.
    pub relay_pending: usize,
    /// Timers that are set.
    pub timers: usize,
    /// Inputs that were parked since the engine was opened.
    pub parked: u64,
    /// Why a relay does not go on, where one does not.
    pub stuck: Option<String>,
}

impl Engine {
    /// Opens `context` on `log` for reading and writing: every shard is claimed.
    pub fn open(
        context: Context,
        log: Arc<dyn Log>,
        environment: Environment,
        settings: Settings,
    ) -> Result<Self, OpenError> {
        let engine = Self::build(context, log, environment, settings, false)?;
        for shard in &engine.0.core.shards {
            shard.claim().map_err(|error| match error {
                ExecuteError::Damaged(error) => OpenError::Read(error),
                error => OpenError::Claim(annals_log::ClaimError::Unavailable { reason: error.to_string() }),
            })?;
        }
        Ok(engine)
    }

    /// Opens `context` on `log` for questions only: nothing is claimed or written.
    pub fn open_read_only(context: Context, log: Arc<dyn Log>) -> Result<Self, OpenError> {
        Self::build(context, log, Environment::system(""), Settings::default(), true)
    }

    fn build(
        context: Context,
        log: Arc<dyn Log>,
        environment: Environment,
        settings: Settings,
        read_only: bool,
    ) -> Result<Self, OpenError> {
        let context = Arc::new(context.checked()?);
        let identity = log.identity();
        if identity.context != context.name() {
            let (asked, found) = (context.name().to_owned(), identity.context.clone());
            return Err(OpenError::OtherContext { asked, found });
        }
        let ids = (0..identity.shards).map(ShardId);
        let shard = |id| {
            let (context, log) = (Arc::clone(&context), Arc::clone(&log));
            Arc::new(Shard::new(id, context, log, environment.clone(), settings.clone()))
        };
        let core = Core {
            shards: ids.clone().map(shard).collect(),
            relays: ids.map(|id| Mutex::new(Relay::new(id))).collect(),
            context,
            log,
            environment,
            settings,
            read_only,
            running: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        };
        Ok(Self(Arc::new(Inner { core: Arc::new(core), threads: Mutex::default(), tide: Tide::default() })))
    }

    /// The context.
    #[must_use]
    pub fn context(&self) -> &Arc<Context> {
        &self.0.core.context
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.0.core.log
    }

    /// The clock and keys.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.0.core.environment
    }

    /// Whether the engine answers questions only.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.0.core.read_only
    }

    /// The decider called `name`.
    pub fn decider(&self, name: &str) -> Result<&Arc<dyn AnyDecider>, ExecuteError> {
        self.0.core.decider(name)
    }

    /// The stream of `decider`'s entity `id`; an error where there is no such decider or id.
    pub fn stream(&self, tenant: Option<&Tenant>, kind: &str, id: &str) -> Result<StreamName, QueryError> {
        let context = self.context();
        if !context.deciders().contains_key(kind) && !context.sagas().contains_key(kind) {
            return Err(entity::unknown_kind(context, kind));
        }
        let invalid = || QueryError::InvalidId { kind: kind.to_owned(), id: id.to_owned() };
        let stream = StreamName::new(tenant, kind, id).map_err(|_| invalid())?;
        context.shard_of(&stream, 1).ok_or_else(invalid)?;
        Ok(stream)
    }

    /// Executes a command and returns when its answer is durable. Blocks; nothing in it can be cancelled.
    ///
    /// What the log loses is decided again; with [`ExecuteError::OutcomeUnknown`] the caller can send the same
    /// command with the same key to learn what became of it.
    pub fn execute(&self, request: &Request) -> Result<Receipt, ExecuteError> {
        let (shard, key) = self.0.core.route(request)?;
        attempt(shard, request, key, None)
    }

    /// As [`Engine::execute`], but returns once the command is decided: `then` is called with the answer when that is
    /// durable, on any thread, and must be quick. It is called in any case. Blocks for as long as deciding takes: it may
    /// have to claim the shard and to load the state.
    pub fn execute_then(
        &self,
        request: Request,
        then: impl FnOnce(Result<Receipt, ExecuteError>) + Send + 'static,
    ) {
        let decided = self.0.core.route(&request).and_then(|(shard, key)| {
            let ticket = shard.submit(&request, &key)?;
            Ok((shard, key, ticket))
        });
        match decided {
            Ok((shard, key, ticket)) => {
                shard.answer_later(Box::new(Awaited { request, key, ticket, then: Box::new(then) }));
            }
            Err(error) => then(Err(error)),
        }
    }

    /// As [`Engine::execute_then`], for callers that must not block. What comes back, if anything, is the command still
    /// to be executed: call it where it may block.
    ///
    /// That is so where the shard has to be claimed or the state to be loaded, and where no other command waits: a lone
    /// one that syncs by itself is answered sooner than by another thread.
    #[must_use = "what comes back has to be called"]
    pub fn begin<T>(&self, request: Request, then: T) -> Option<impl FnOnce() + Send + 'static + use<T>>
    where
        T: FnOnce(Result<Receipt, ExecuteError>) + Send + 'static,
    {
        let alone = self.0.core.shard(&request.stream).is_ok_and(|shard| shard.waiting() == 0);
        let (request, then) = if alone { (request, then) } else { self.try_execute_then(request, then)? };
        let engine = self.clone();
        Some(move || match alone {
            true => then(engine.execute(&request)),
            false => engine.execute_then(request, then),
        })
    }

    /// Gives both back where deciding would block, and nothing was done.
    fn try_execute_then<T>(&self, request: Request, then: T) -> Option<(Request, T)>
    where
        T: FnOnce(Result<Receipt, ExecuteError>) + Send + 'static,
    {
        match self.0.core.route(&request) {
            Err(error) => then(Err(error)),
            Ok((shard, key)) => match shard.try_submit(&request, &key) {
                None => return Some((request, then)),
                Some(Err(error)) => then(Err(error)),
                Some(Ok(ticket)) => {
                    shard.answer_later(Box::new(Awaited { request, key, ticket, then: Box::new(then) }));
                }
            },
        }
        None
    }

    /// Decides a command and hands it to the log without waiting; [`Engine::finish`] waits for the answer.
    pub fn submit(&self, request: &Request) -> Result<Ticket, ExecuteError> {
        let (shard, key) = self.0.core.route(request)?;
        shard.submit(request, &key)
    }

    /// Waits for the answer of a submitted command; where the log lost it, executes `request` again.
    pub fn finish(&self, request: Request, ticket: Ticket) -> Result<Receipt, ExecuteError> {
        let key = Key { text: ticket.key.clone(), given: request.key.is_some(), look: true, under: None };
        settled(&ticket.shard(), &request, key, ticket)
    }

    /// The state of an entity as JSON.
    pub fn state(&self, stream: &StreamName, at: At) -> Result<StateAt, QueryError> {
        self.look(stream, at, |entity| Ok(StateAt { version: entity.version, state: entity.to_json()? }))
    }

    /// The version and state of an entity as its type.
    pub fn state_of<D: Decider>(&self, stream: &StreamName, at: At) -> Result<(u64, D), QueryError> {
        self.look(stream, at, |entity| {
            let state: Option<&dyn Any> = match &entity.state {
                State::Decider(state) => Some(state.as_any()),
                State::Saga(_) => None,
            };
            match state.and_then(|state| state.downcast_ref::<D>()) {
                Some(state) => Ok((entity.version, state.clone())),
                None => Err(entity::unknown_kind(self.context(), D::NAME)),
            }
        })
    }

    /// Up to `limit` events of a stream after version `after`.
    pub fn history(
        &self,
        stream: &StreamName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<HistoryEvent>, QueryError> {
        let core = &self.0.core;
        history::page(core.log.as_ref(), core.shard_of(stream)?, stream, after, limit)
    }

    /// The shard of a stream.
    pub(crate) fn shard_of(&self, stream: &StreamName) -> Result<ShardId, QueryError> {
        self.0.core.shard_of(stream)
    }

    /// Whether the log, or what is on its way to it, has an answer to a command under this key.
    pub(crate) fn is_recorded(&self, stream: &StreamName, key: &str) -> Result<bool, ExecuteError> {
        Ok(self.0.core.shard(stream)?.recorded(stream, key)?.is_some())
    }

    pub(crate) fn look<T>(
        &self,
        stream: &StreamName,
        at: At,
        see: impl Fn(&Entity) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let core = &self.0.core;
        let shard = core.shard_of(stream)?;
        match core.shards.get(shard.0 as usize) {
            Some(shard) if at == At::Now && !core.read_only => shard.read(stream, see)?,
            _ => see(&history::fold(&core.context, core.log.as_ref(), shard, stream, at)?),
        }
    }

    /// Starts a relay thread for each shard, if the context has sagas. Without it, [`Engine::step`] moves them.
    pub fn start(&self) {
        let core = &self.0.core;
        if core.read_only || core.context.sagas().is_empty() || core.running.swap(true, Ordering::SeqCst) {
            return;
        }
        let threads = core.shards.iter().filter_map(|shard| {
            let (core, id) = (Arc::clone(core), shard.id());
            let spawned =
                std::thread::Builder::new().name(format!("relay-{id}")).spawn(move || core.run_relay(id));
            spawned
                .inspect_err(|error| tracing::error!(shard = %id, %error, "the relay could not be started"))
                .ok()
        });
        self.0.threads.lock().extend(threads);
    }

    /// Lets the relay of `shard` do what it can do now; returns whether it did anything.
    pub fn step(&self, shard: ShardId) -> Result<bool, ExecuteError> {
        self.0.core.step(shard)
    }

    /// Waits until the sagas have nothing left to do but timers; `false` if that took longer than `timeout`.
    pub fn settle(&self, timeout: Duration) -> Result<bool, ExecuteError> {
        let core = &self.0.core;
        let began = Instant::now();
        loop {
            if !core.running.load(Ordering::SeqCst) {
                while core.step_all()? {}
            }
            if core.idle() {
                return Ok(true);
            }
            if began.elapsed() >= timeout {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Returns once a shard's end lies beyond `seen`, or after `timeout`, or earlier: what a reader of new events does
    /// before it looks again.
    pub fn wait_beyond(&self, seen: &Cursor, timeout: Duration) {
        self.0.tide.wait(self.log(), seen, timeout);
    }

    /// Lets all who wait in [`Engine::wait_beyond`] return.
    pub fn wake_readers(&self) {
        self.0.tide.wake();
    }

    /// How the engine is doing.
    #[must_use]
    pub fn status(&self) -> EngineStatus {
        self.0.core.status()
    }

    /// Stops the relays, notes their progress and waits until everything decided is durable.
    pub fn stop(&self) -> Result<(), AppendError> {
        let core = &self.0.core;
        core.stopping.store(true, Ordering::SeqCst);
        self.0.tide.stop();
        for thread in self.0.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a relay thread panicked");
            }
        }
        if core.read_only {
            return Ok(());
        }
        for relay in &core.relays {
            relay.lock().note_progress(core);
        }
        // Each shard gets its chance, whatever the others say.
        core.shards.iter().map(|shard| shard.flush()).fold(Ok(()), Result::and)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.core.stopping.store(true, Ordering::SeqCst);
        self.tide.stop();
    }
}

/// Waits for the answer of a decided command; where the log lost it, it is decided again.
pub(crate) fn settled(
    shard: &Arc<Shard>,
    request: &Request,
    key: Key,
    ticket: Ticket,
) -> Result<Receipt, ExecuteError> {
    match ticket.settle() {
        Ok(answer) => answer,
        Err(lost) => {
            let unknown = lost.maybe_written.then(|| lost.error.to_string());
            attempt(shard, request, Key { look: true, ..key }, unknown)
        }
    }
}

/// Decides until the answer is durable. `unknown` says why an earlier attempt may have been written.
fn attempt(
    shard: &Arc<Shard>,
    request: &Request,
    mut key: Key,
    mut unknown: Option<String>,
) -> Result<Receipt, ExecuteError> {
    for _ in 0..ATTEMPTS_MAX {
        let lost = match shard.submit(request, &key).map(Ticket::settle) {
            Ok(Ok(answer)) => return answer,
            Ok(Err(lost)) => lost,
            Err(error) => return Err(told(error, unknown, &key)),
        };
        if lost.maybe_written {
            unknown = Some(lost.error.to_string());
        }
        key.look = true;
    }
    let reason = "the log lost the record again and again".to_owned();
    Err(told(ExecuteError::Unavailable { reason }, unknown, &key))
}

/// What the caller is told: once a record may have been written, nothing less than that.
fn told(error: ExecuteError, unknown: Option<String>, key: &Key) -> ExecuteError {
    // With these it is not certain that the log was searched for the earlier attempt.
    let unsearched = matches!(error, ExecuteError::Damaged(_) | ExecuteError::Unreadable { .. });
    match unknown {
        Some(reason) if unsearched || error.is_temporary() => {
            ExecuteError::OutcomeUnknown { key: key.text.clone(), reason: format!("{reason}; then: {error}") }
        }
        _ => error,
    }
}

impl Core {
    pub(crate) fn decider(&self, name: &str) -> Result<&Arc<dyn AnyDecider>, ExecuteError> {
        self.context.deciders().get(name).ok_or_else(|| ExecuteError::UnknownDecider {
            name: name.to_owned(),
            known: self.context.deciders().keys().copied().collect(),
        })
    }

    pub(crate) fn shard_of(&self, stream: &StreamName) -> Result<ShardId, QueryError> {
        let shards = self.log.identity().shards;
        if !self.context.deciders().contains_key(stream.kind())
            && !self.context.sagas().contains_key(stream.kind())
        {
            return Err(entity::unknown_kind(&self.context, stream.kind()));
        }
        self.context.shard_of(stream, shards).ok_or_else(|| QueryError::InvalidId {
            kind: stream.kind().to_owned(),
            id: stream.id().to_owned(),
        })
    }

    pub(crate) fn shard(&self, stream: &StreamName) -> Result<&Arc<Shard>, ExecuteError> {
        let id = self.shard_of(stream)?;
        let shards = self.shards.len() as u32;
        self.shards
            .get(id.0 as usize)
            .ok_or(ExecuteError::Damaged(annals_log::ReadError::NoShard { shard: id, shards }))
    }

    /// The shard a request goes to and the key it goes by.
    pub(crate) fn route(&self, request: &Request) -> Result<(&Arc<Shard>, Key), ExecuteError> {
        if self.read_only {
            return Err(ExecuteError::Unavailable { reason: "it is open for reading only".to_owned() });
        }
        request.check()?;
        self.decider(request.stream.kind())?;
        let shard = self.shard(&request.stream)?;
        let key = match &request.key {
            Some(key) => Key { text: key.clone(), given: true, look: true, under: None },
            None => {
                let made = uuid::Uuid::from_bytes(self.environment.keys.fresh());
                Key { text: made.simple().to_string(), given: false, look: false, under: None }
            }
        };
        Ok((shard, key))
    }

    fn step(&self, shard: ShardId) -> Result<bool, ExecuteError> {
        match self.relays.get(shard.0 as usize) {
            Some(relay) if !self.read_only && !self.context.sagas().is_empty() => relay.lock().step(self),
            _ => Ok(false),
        }
    }

    fn step_all(&self) -> Result<bool, ExecuteError> {
        let mut moved = false;
        for shard in &self.shards {
            moved |= self.step(shard.id())?;
        }
        Ok(moved)
    }

    fn statuses(&self) -> Vec<RelayStatus> {
        self.relays.iter().map(|relay| relay.lock().status()).collect()
    }

    /// Whether no relay has anything to do: checked twice, since one relay's work appears in another's shard.
    fn idle(&self) -> bool {
        if self.read_only || self.context.sagas().is_empty() {
            return true;
        }
        let now_us = to_micros(self.environment.clock.now());
        let ends = || self.shards.iter().map(|shard| self.log.end(shard.id())).collect::<Vec<_>>();
        let before = ends();
        let statuses = self.statuses();
        let idle = statuses.iter().zip(&before).all(|(status, end)| status.is_idle(*end, now_us));
        idle && ends() == before
    }

    fn status(&self) -> EngineStatus {
        let mut status = EngineStatus {
            waiting_commands: self.shards.iter().map(|shard| shard.waiting()).sum(),
            ..EngineStatus::default()
        };
        if self.context.sagas().is_empty() || self.read_only {
            return status;
        }
        for (relay, shard) in self.statuses().into_iter().zip(&self.shards) {
            status.relay_lag += self.log.end(shard.id()).0.saturating_sub(relay.next.0);
            status.relay_pending += relay.pending;
            status.timers += relay.timers;
            status.parked += relay.parked;
            status.stuck = status.stuck.or(relay.stuck);
        }
        status
    }

    /// The life of a relay thread.
    fn run_relay(&self, shard: ShardId) {
        /// The longest it sleeps where nothing wakes it: timers and retries are looked at this often.
        const PAUSE: Duration = Duration::from_millis(20);
        let mut failures = 0_u32;
        while !self.stopping.load(Ordering::SeqCst) {
            match self.step(shard) {
                Ok(true) => failures = 0,
                Ok(false) => {
                    failures = 0;
                    match self.relays.get(shard.0 as usize).and_then(|relay| relay.lock().wants_beyond()) {
                        Some(next) => drop(self.log.wait(shard, next, PAUSE)),
                        None => std::thread::sleep(PAUSE),
                    }
                }
                Err(error) => {
                    if failures == 0 {
                        tracing::error!(%shard, %error, "the relay cannot go on; it tries again");
                    }
                    failures = failures.saturating_add(1);
                    std::thread::sleep(PAUSE * failures.min(50));
                }
            }
        }
    }
}
