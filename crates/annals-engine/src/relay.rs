//! The relay of a shard: carries durable records on to sagas, and sagas' commands to their targets.
//!
//! It follows the durable records of its shard. Each wanted event becomes an input of a saga instance, each send
//! of a saga a command, each outcome of such a command an input again, each timer that comes due an input. All go
//! under ids that derive from where they come from, so that doing something twice does nothing the second time;
//! the relay may therefore start again from the lowest record that is not settled.
//!
//! Where another node has claimed the shard since this one did, that node's relay does the work, and this one looks
//! in the log what came of it: were it to do it too, the nodes would take shards from each other without end. Where
//! something stays undone for ten seconds, this node claims the shard: the other may be gone.
//!
//! Invariant: a record leaves `open` when everything it asked for is durably done. Order is kept per (saga
//! instance, target stream) and nowhere else.

mod delivery;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use annals_core::envelope::{FORMAT, Header, InputKind, InputPart, Progress, Record, TimerPart, to_micros};
use annals_core::event::{StoredEvent, events};
use annals_core::index::Term;
use annals_core::{Epoch, Offset, Position, ShardId, StreamName, Tenant};

use delivery::{Attempt, Delivery, Done, Lane, Work};

use crate::engine::Core;
use crate::entity::guarded;
use crate::error::ExecuteError;
use crate::history;
use crate::shard::{InputSignal, SagaInput};

/// How many bytes of records are read at a time.
const READ_BYTES: usize = 1024 * 1024;
/// How many deliveries may be pending before the relay reads on.
const PENDING_MAX: usize = 8192;
/// How many open records a progress record may list: above that the old one stands.
const OPEN_MAX: usize = 250_000;

/// The relay of one shard.
pub(crate) struct Relay {
    shard: ShardId,
    resumed: bool,
    /// The last claim that was read.
    claim: Option<Epoch>,
    /// Whether no other node has claimed the shard since this one did.
    owns: bool,
    /// The next record to read.
    next: Offset,
    /// Records read that are not settled, with the number of things they still ask for.
    open: BTreeMap<Offset, u32>,
    /// Per saga stream, the record that holds its timers.
    timers: HashMap<String, SetTimers>,
    /// All timers by when they are due: (microseconds, stream, timer, version).
    due: BTreeSet<(i64, String, String, u64)>,
    /// What is to be delivered, in order.
    pending: BTreeMap<u64, Box<Delivery>>,
    delivered: u64,
    read_since_progress: u64,
    parked: u64,
    stuck: Option<String>,
}

/// The timers of one saga instance.
struct SetTimers {
    offset: Offset,
    record: Arc<Record>,
    timers: Vec<TimerPart>,
}

/// How a relay is doing.
pub(crate) struct RelayStatus {
    pub(crate) next: Offset,
    pub(crate) pending: usize,
    pub(crate) timers: usize,
    /// When the first of them comes due.
    first_due_us: Option<i64>,
    pub(crate) parked: u64,
    pub(crate) stuck: Option<String>,
}

impl RelayStatus {
    /// Whether there is nothing to do at `now_us` in a shard that ends at `end`.
    pub(crate) fn is_idle(&self, end: Offset, now_us: i64) -> bool {
        let due = self.first_due_us.is_some_and(|due_us| due_us <= now_us);
        self.next >= end && self.pending == 0 && !due
    }
}

impl Relay {
    pub(crate) fn new(shard: ShardId) -> Self {
        Self {
            shard,
            resumed: false,
            claim: None,
            owns: false,
            next: Offset(0),
            open: BTreeMap::new(),
            timers: HashMap::new(),
            due: BTreeSet::new(),
            pending: BTreeMap::new(),
            delivered: 0,
            read_since_progress: 0,
            parked: 0,
            stuck: None,
        }
    }

    pub(crate) fn status(&self) -> RelayStatus {
        RelayStatus {
            next: self.next,
            pending: self.pending.len(),
            timers: self.due.len(),
            first_due_us: self.due.first().map(|(due_us, ..)| *due_us),
            parked: self.parked,
            stuck: self.stuck.clone(),
        }
    }

    /// The offset that a record must reach to be news; `None` while there is no room for news.
    pub(crate) fn wants_beyond(&self) -> Option<Offset> {
        (self.pending.len() < PENDING_MAX).then_some(self.next)
    }

    /// Does what can be done now; returns whether that was anything.
    pub(crate) fn step(&mut self, core: &Core) -> Result<bool, ExecuteError> {
        let moved = self.try_step(core);
        self.stuck = moved.as_ref().err().map(ToString::to_string);
        moved
    }

    fn try_step(&mut self, core: &Core) -> Result<bool, ExecuteError> {
        if !self.resumed {
            self.resume(core)?;
            self.resumed = true;
        }
        // A record that cannot be read holds up what comes after it, not what came before.
        let read = if self.pending.len() < PENDING_MAX { self.read(core) } else { Ok(false) };
        let fired = self.fire(core)?;
        let worked = self.work(core)?;
        let read = read?;
        if self.read_since_progress >= core.settings.progress_every_records {
            self.note_progress(core);
        }
        Ok(read || fired || worked)
    }

    /// Takes up where the last progress record of the shard says.
    fn resume(&mut self, core: &Core) -> Result<(), ExecuteError> {
        // An earlier attempt may have got halfway.
        *self = Self { parked: self.parked, ..Self::new(self.shard) };
        let Some(offset) = core.log.find_last(self.shard, Term::progress())? else { return Ok(()) };
        let Some(raw) = core.log.get(self.shard, offset)? else { return Ok(()) };
        let Header::Progress { epoch, .. } = raw.header else { return Ok(()) };
        self.claim = Some(epoch);
        let progress = Progress::from_bytes(raw.envelope).map_err(|error| ExecuteError::Unreadable {
            position: Position { shard: self.shard, offset, index: 0 },
            reason: error.to_string(),
        })?;
        for &offset in &progress.open {
            if let Some(raw) = core.log.get(self.shard, Offset(offset))? {
                let record = history::decode(self.shard, &raw)?;
                self.take(core, Offset(offset), record)?;
            }
        }
        self.next = Offset(progress.read);
        Ok(())
    }

    /// Reads on in the shard.
    fn read(&mut self, core: &Core) -> Result<bool, ExecuteError> {
        if self.next >= core.log.end(self.shard) {
            return Ok(false);
        }
        let chunk = core.log.read(self.shard, self.next, READ_BYTES)?;
        for raw in &chunk.records {
            match raw.header {
                Header::Record { .. } => {
                    let record = history::decode(self.shard, raw)?;
                    self.take(core, raw.offset, record)?;
                }
                Header::Claim => self.claim = self.claim.max(Some(Epoch(raw.offset.0))),
                _ => {}
            }
            self.next = raw.offset.next();
            self.read_since_progress += 1;
        }
        self.next = self.next.max(chunk.next);
        Ok(true)
    }

    /// Takes a record in: what it asks for becomes deliveries and timers.
    fn take(&mut self, core: &Core, offset: Offset, record: Record) -> Result<(), ExecuteError> {
        let record = Arc::new(record);
        let inputs = self.inputs(core, offset, &record)?;
        for input in inputs {
            self.deliver(Some(offset), Work::Input(input));
        }
        let Some(part) = &record.saga else { return Ok(()) };
        let Some(slice) = record.slices.first() else { return Ok(()) };
        for index in 0..part.sends.len() {
            self.deliver(Some(offset), Work::command(&record, slice, index));
        }
        self.set_timers(offset, &record, &slice.stream);
        Ok(())
    }

    /// The saga inputs that a record's events are.
    fn inputs(
        &self,
        core: &Core,
        offset: Offset,
        record: &Arc<Record>,
    ) -> Result<Vec<SagaInput>, ExecuteError> {
        let mut inputs = Vec::new();
        for (index, stored) in events(self.shard, offset, record).enumerate() {
            for saga in core.context.sagas().values().filter(|saga| saga.wants(&stored.event.name)) {
                let unreadable =
                    |reason: String| ExecuteError::Unreadable { position: stored.position, reason };
                let key = guarded(|| saga.key(&stored)).map_err(unreadable)?;
                let Some(key) = key.map_err(|error| unreadable(error.to_string()))? else { continue };
                let tenant =
                    stored.slice.stream.parse::<StreamName>()?.tenant().map(Tenant::new).transpose()?;
                inputs.push(SagaInput {
                    stream: StreamName::new(tenant.as_ref(), saga.name(), &key)?,
                    input: event_input(&stored),
                    signal: InputSignal::Event { shard: self.shard, offset, index },
                    cause: Arc::clone(record),
                    causation: format!("{}@{}", stored.slice.stream, stored.version),
                });
            }
        }
        Ok(inputs)
    }

    /// Adds something to deliver; the record at `source` stays open until it is done.
    fn deliver(&mut self, source: Option<Offset>, work: Work) {
        if let Some(offset) = source {
            *self.open.entry(offset).or_default() += 1;
        }
        self.delivered += 1;
        self.pending.insert(self.delivered, Box::new(Delivery::new(source, work)));
    }

    /// One of the things the record at `offset` asked for is done.
    fn settled(&mut self, offset: Offset) {
        if let Some(count) = self.open.get_mut(&offset) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&offset);
            }
        }
    }

    /// A saga's record replaces the timers of its stream.
    fn set_timers(&mut self, offset: Offset, record: &Arc<Record>, stream: &str) {
        let timers = record.saga.as_ref().map(|part| part.timers.clone()).unwrap_or_default();
        if let Some(old) = self.timers.remove(stream) {
            for timer in &old.timers {
                self.due.remove(&due(stream, timer));
            }
            self.settled(old.offset);
        }
        if timers.is_empty() {
            return;
        }
        *self.open.entry(offset).or_default() += 1;
        self.due.extend(timers.iter().map(|timer| due(stream, timer)));
        self.timers.insert(stream.to_owned(), SetTimers { offset, record: Arc::clone(record), timers });
    }

    /// Delivers the timers that have come due. Their record stays open until the saga's next record replaces it.
    fn fire(&mut self, core: &Core) -> Result<bool, ExecuteError> {
        let now_us = to_micros(core.environment.clock.now());
        let mut fired = false;
        while let Some((due_us, ..)) = self.due.first()
            && *due_us <= now_us
            && self.pending.len() < PENDING_MAX
        {
            let Some((_, stream, timer, version)) = self.due.pop_first() else { break };
            let Some(set) = self.timers.get(&stream) else { continue };
            let name: StreamName = stream.parse()?;
            let input = SagaInput {
                stream: name,
                input: InputPart { kind: InputKind::Timer as i32, stream: stream.clone(), version, index: 0 },
                cause: Arc::clone(&set.record),
                causation: format!("{stream}@{version}"),
                signal: InputSignal::Timer(timer),
            };
            self.deliver(None, Work::Input(input));
            fired = true;
        }
        Ok(fired)
    }

    /// Submits what is pending, waits for it together, and settles or keeps each.
    fn work(&mut self, core: &Core) -> Result<bool, ExecuteError> {
        if self.pending.is_empty() {
            return Ok(false);
        }
        let now_us = to_micros(core.environment.clock.now());
        self.look_who_owns(core);
        let submitted = self.submit(core, now_us);
        let mut moved = false;
        for (order, attempt) in submitted {
            let Some(delivery) = self.pending.get_mut(&order) else { continue };
            let done = delivery.settle(attempt, now_us);
            moved |= !matches!(done, Done::Later);
            match done {
                Done::Later => {}
                Done::Settled => self.done(order),
                Done::Ignored => {
                    self.forget_timer(order);
                    self.done(order);
                }
                Done::Parked => {
                    self.parked += 1;
                    self.done(order);
                }
                Done::Follow(work) => {
                    // The outcome takes the command's place: its record stays open until the saga has it.
                    delivery.follow(*work);
                    self.skip_forgotten(core, order);
                }
            }
        }
        Ok(moved)
    }

    /// Looks whether the work is this node's; what waited for another node goes at once when it became so.
    fn look_who_owns(&mut self, core: &Core) {
        let Some(shard) = core.shards.get(self.shard.0 as usize) else { return };
        let owns = |claim| shard.claimed() >= claim;
        let is_late = || self.pending.values().any(|delivery| delivery.is_overdue());
        if !owns(self.claim)
            && is_late()
            && let Err(error) = shard.claim()
        {
            tracing::debug!(shard = %self.shard, %error, "the shard could not be taken over");
        }
        let owns = owns(self.claim);
        if owns && !self.owns {
            self.pending.values_mut().for_each(|delivery| delivery.hurry());
        }
        self.owns = owns;
    }

    /// Submits what may go now. What is behind something in its lane goes only if that has gone, and only to the
    /// same writer: if it is lost, so is what follows it, and they go again in order.
    fn submit(&mut self, core: &Core, now_us: i64) -> Vec<(u64, Attempt)> {
        let mut lanes: HashMap<u64, Lane> = HashMap::new();
        let mut submitted = Vec::with_capacity(self.pending.len());
        for (&order, delivery) in &mut self.pending {
            let under = match lanes.get(&delivery.lane) {
                Some(Lane::Blocked) => continue,
                Some(Lane::Under(generation)) => Some(*generation),
                None => None,
            };
            if delivery.not_before_us > now_us {
                lanes.insert(delivery.lane, Lane::Blocked);
                continue;
            }
            let attempt = match self.owns || under.is_some() {
                true => delivery.submit(core, under),
                false => delivery.look(core),
            };
            match attempt {
                Ok(attempt) => {
                    if let Some(lane) = attempt.leaves() {
                        lanes.insert(delivery.lane, lane);
                    }
                    submitted.push((order, attempt));
                }
                Err(error) => {
                    if under.is_none() {
                        delivery.put_off(now_us, &error);
                    }
                    lanes.insert(delivery.lane, Lane::Blocked);
                }
            }
        }
        submitted
    }

    /// A timer that fired was not set any more: its record need not stay open for it.
    fn forget_timer(&mut self, order: u64) {
        let Some((stream, timer, version)) = self.pending.get(&order).and_then(|delivery| delivery.timer())
        else {
            return;
        };
        let Some(set) = self.timers.get_mut(stream) else { return };
        set.timers.retain(|set| set.timer != timer || set.version != version);
        if set.timers.is_empty() {
            let (stream, offset) = (stream.to_owned(), set.offset);
            self.timers.remove(&stream);
            self.settled(offset);
        }
    }

    fn done(&mut self, order: u64) {
        if let Some(delivery) = self.pending.remove(&order)
            && let Some(source) = delivery.source
        {
            self.settled(source);
        }
    }

    /// The planted bug that loses the outcome of a command.
    #[cfg(feature = "planted-bugs")]
    fn skip_forgotten(&mut self, core: &Core, order: u64) {
        let forgets = core.settings.planted_bug == Some(crate::engine::PlantedBug::RelayForgetsOutcome);
        if forgets && order.is_multiple_of(10) {
            self.done(order);
        }
    }

    #[cfg(not(feature = "planted-bugs"))]
    #[allow(clippy::unused_self, clippy::needless_pass_by_ref_mut)]
    fn skip_forgotten(&mut self, _: &Core, _: u64) {}

    /// Writes down how far the relay has come, so that the next one does not start from the beginning.
    pub(crate) fn note_progress(&mut self, core: &Core) {
        if self.read_since_progress == 0 || self.open.len() > OPEN_MAX {
            return;
        }
        let open = self.open.keys().map(|offset| offset.0).collect();
        let progress = Progress { format: FORMAT, read: self.next.0, open };
        let Some(shard) = core.shards.get(self.shard.0 as usize) else { return };
        match shard.append_progress(&progress) {
            Ok(()) => self.read_since_progress = 0,
            // It is only a short cut: the next one will do.
            Err(error) => tracing::debug!(shard = %self.shard, %error, "progress was not noted"),
        }
    }
}

fn due(stream: &str, timer: &TimerPart) -> (i64, String, String, u64) {
    (timer.due_at_us, stream.to_owned(), timer.timer.clone(), timer.version)
}

fn event_input(stored: &StoredEvent<'_>) -> InputPart {
    InputPart {
        kind: InputKind::Event as i32,
        stream: stored.slice.stream.clone(),
        version: stored.version,
        index: 0,
    }
}
