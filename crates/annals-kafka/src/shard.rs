//! One shard of the journal as this node sees it: followed by reading, or owned and fed by its own reports.
//!
//! Invariant: the replica holds the journal's records at their offsets, without a gap, up to its end; `feeding` is
//! held by whoever gives it the next ones. While a shard is owned and nobody else writes, they are its own
//! acknowledged records and nothing is read from the broker; in every other case they are read.
//!
//! What is decided here is decided by [`Claiming`], [`Following`] and [`crate::tenure::Tenure`], which do no I/O.
//!
//! Locks: `claiming` before `feeding` before `state` before a reign's own.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use annals_core::envelope::Header;
use annals_core::reader::Verdict;
use annals_core::{Offset, Seq, ShardId};
use annals_file::{Arrival, ReplicaShard};
use annals_log::{ClaimError, ReadError};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::bursts::Unsent;
use crate::claiming::{Claiming, Step};
use crate::feed::Feed;
use crate::following::{Fetched, Following, Taken, Trouble};
use crate::native::Delivered;
use crate::producer::{Producer, Sink};
use crate::reign::{CLAIM, Reign, Standing, token, untoken};
use crate::tenure::{End, Report};

/// How long reading rests after it failed.
const READING_REST: Duration = Duration::from_millis(500);
/// How long a journal may be quiet, or owned, before it is verified that it is still the same.
const VERIFY_INTERVAL: Duration = Duration::from_secs(10);
/// A shard that was taken over by another node is not claimed again before so long, and up to twice that.
const FENCED_HOLD: Duration = Duration::from_millis(500);
/// After a claim that did not come through, others fail at once for so long.
const FAILED_HOLD: Duration = Duration::from_millis(250);

/// A shard.
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    pub(crate) replica: Arc<ReplicaShard>,
    topic: Arc<str>,
    feed: Arc<Feed>,
    /// How long a claim may take.
    claim_timeout: Duration,
    claiming: Mutex<()>,
    feeding: Mutex<()>,
    state: Mutex<State>,
    changed: Condvar,
    this: Weak<Shard>,
}

#[derive(Default)]
struct State {
    reign: Option<Arc<Reign>>,
    producer: Option<Arc<Producer>>,
    generation: u16,
    /// The claim that is on its way.
    claim: Option<Claiming>,
    following: Following,
    /// When the replica last grew by reading, or reading began.
    grew: Option<Instant>,
    hold: Option<(Instant, String)>,
    halted: Option<ReadError>,
    /// Whether the journal went on behind what is known, when a broker was asked last.
    behind: bool,
    /// Reading could not go on since, and begins anew after a rest.
    rests: Option<Instant>,
    /// What kept the shard from being read last.
    trouble: Option<String>,
}

/// What the feed read of one shard, in order.
#[derive(Default)]
pub(crate) struct Batch {
    fetched: Vec<Fetched>,
    /// The journal ended here: offsets before it at which nothing was read hold nothing.
    end: Option<Offset>,
    /// Reading went wrong after all this: what comes later does not follow.
    failed: Option<String>,
}

impl Batch {
    pub(crate) fn take(&mut self, fetched: Fetched) {
        if self.failed.is_none() {
            self.fetched.push(fetched);
            self.end = None;
        }
    }

    pub(crate) fn reach(&mut self, end: Offset) {
        if self.failed.is_none() {
            self.end = Some(end);
        }
    }

    pub(crate) fn fail(&mut self, reason: String) {
        self.failed.get_or_insert(reason);
    }
}

impl Shard {
    pub(crate) fn new(
        replica: Arc<ReplicaShard>,
        topic: Arc<str>,
        feed: Arc<Feed>,
        claim_timeout: Duration,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            id: replica.id(),
            replica,
            topic,
            feed,
            claim_timeout,
            claiming: Mutex::default(),
            feeding: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            this: Weak::clone(this),
        })
    }

    pub(crate) fn partition(&self) -> i32 {
        i32::try_from(self.id.0).unwrap_or(i32::MAX)
    }

    /// Why the shard was stopped, if it was.
    pub(crate) fn check(&self) -> Result<(), ReadError> {
        self.state.lock().halted.clone().map_or(Ok(()), Err)
    }

    /// Begins to read the shard.
    pub(crate) fn follow(&self) {
        let _feeding = self.feeding.lock();
        self.start_reading(&mut self.state.lock());
    }

    /// Claims the shard: the claim is in the journal, and read up to, when this returns.
    pub(crate) fn claim(
        &self,
        envelope: &Bytes,
        fresh: &dyn Fn() -> Result<Arc<Producer>, ClaimError>,
    ) -> Result<Arc<Reign>, ClaimError> {
        let _one_at_a_time = self.claiming.lock();
        self.check().map_err(ClaimError::Broken)?;
        self.check_hold()?;
        let deadline = Instant::now() + self.claim_timeout;
        let claimed = self.send_claim(envelope, fresh).and_then(|(generation, producer)| {
            let offset = self.await_claim(&producer, deadline)?;
            self.begin(generation, producer, offset)
        });
        self.state.lock().claim = None;
        claimed.inspect_err(|error| self.hold(FAILED_HOLD, error.to_string()))
    }

    /// The log settles what is in flight from here on; the claim is sent behind it.
    fn send_claim(
        &self,
        envelope: &Bytes,
        fresh: &dyn Fn() -> Result<Arc<Producer>, ClaimError>,
    ) -> Result<(u16, Arc<Producer>), ClaimError> {
        let usable = {
            let _feeding = self.feeding.lock();
            let mut state = self.state.lock();
            if let Some(reign) = &state.reign {
                reign.hand_to_log();
                reign.settle();
            }
            self.start_reading(&mut state);
            state.producer.take_if(|producer| !producer.is_usable());
            state.producer.clone()
        };
        let producer = match usable {
            Some(producer) => producer,
            None => fresh()?,
        };
        let sink: Weak<dyn Sink> = self.this.clone();
        producer.serve(sink);
        let mut state = self.state.lock();
        state.generation = state.generation.wrapping_add(1);
        state.producer = Some(Arc::clone(&producer));
        state.claim = Some(Claiming::new(envelope.clone()));
        let generation = state.generation;
        let (partition, token) = (self.partition(), token(generation, CLAIM));
        let claim = Unsent { partition, header: Header::Claim, envelope: envelope.clone(), token };
        let sent = producer.send(claim);
        match sent {
            Ok(()) => Ok((generation, producer)),
            Err(error) => {
                drop(state);
                self.discard(&producer);
                Err(unavailable(format!("the claim was not sent: {error:?}")))
            }
        }
    }

    /// Waits until the journal was read up to the claim, and returns where the client says that it is.
    fn await_claim(&self, producer: &Arc<Producer>, deadline: Instant) -> Result<Offset, ClaimError> {
        let mut state = self.state.lock();
        let (reason, spent) = loop {
            if let Some(error) = &state.halted {
                return Err(ClaimError::Broken(error.clone()));
            }
            let next = self.replica.next();
            let step = state.claim.as_ref().map_or(Step::Report, |claim| claim.step(next));
            match step {
                Step::Begin(offset) => return Ok(offset),
                Step::Failed(reason) => break (reason, true),
                Step::Report | Step::Read(_)
                    if !self.changed.wait_until(&mut state, deadline).timed_out() => {}
                Step::Report => {
                    break (format!("no answer from {} in {:?}", self.topic, self.claim_timeout), true);
                }
                Step::Read(offset) => {
                    let reason =
                        format!("the journal was read up to offset {next} only, the claim is at {offset}");
                    break (reason, false);
                }
            }
        };
        drop(state);
        if spent {
            self.discard(producer);
        }
        Err(unavailable(reason))
    }

    /// The claim was read: the reign begins, or is over already where a newer claim was read too.
    fn begin(
        &self,
        generation: u16,
        producer: Arc<Producer>,
        offset: Offset,
    ) -> Result<Arc<Reign>, ClaimError> {
        let _feeding = self.feeding.lock();
        let found = self.stored(offset).map_err(ClaimError::Broken)?;
        let mut state = self.state.lock();
        let Some(claim) = state.claim.take() else {
            return Err(unavailable("the claim was given up".to_owned()));
        };
        let begun = claim.begin(offset, found, &self.replica.rule(), self.replica.next());
        let tenure = match begun {
            Ok(tenure) => tenure,
            Err(reason) => {
                drop(state);
                self.discard(&producer);
                return Err(unavailable(reason));
            }
        };
        if tenure.end().is_none() {
            self.stop_reading(&mut state);
        }
        let reign = Arc::new(Reign::new(generation, self.partition(), producer, tenure));
        state.reign = Some(Arc::clone(&reign));
        Ok(reign)
    }

    /// What the replica holds at an offset.
    fn stored(&self, offset: Offset) -> Result<Option<(Header, Bytes)>, ReadError> {
        Ok(self.replica.raw(offset)?.map(|raw| (raw.header, raw.envelope)))
    }

    /// The feed read this.
    pub(crate) fn fed(&self, mut batch: Batch) {
        let _feeding = self.feeding.lock();
        if !self.state.lock().following.is_on() {
            return;
        }
        let failed = batch.failed.take();
        match (self.take_in(batch), failed) {
            (Ok(()), None) => {}
            (Ok(()), Some(reason)) | (Err(Trouble::Lookup(reason)), _) => self.rest(reason),
            (Err(Trouble::Cut(reason)), _) => self.halt(reason),
        }
        self.changed.notify_all();
    }

    fn take_in(&self, batch: Batch) -> Result<(), Trouble<String>> {
        let Batch { fetched, end, .. } = batch;
        let first = self.replica.next();
        let stored = |offset| self.stored(offset).map_err(|error| error.to_string());
        let Taken { new, read_from } = self.state.lock().following.take(first, fetched, end, stored)?;
        if let Some(from) = read_from {
            self.feed.follow(self.partition(), from);
        }
        if new.is_empty() {
            self.verified();
            return Ok(());
        }
        let arrival = |Fetched { header, envelope, .. }: Fetched| Arrival { header, envelope, terms: None };
        let arrivals: Vec<Arrival> = new.into_iter().map(arrival).collect();
        let verdicts = self.replica.append(&arrivals).map_err(|error| Trouble::Lookup(error.to_string()))?;
        self.judged(first, &arrivals, &verdicts);
        Ok(())
    }

    /// Reading cannot go on, and begins anew after a moment.
    fn rest(&self, reason: String) {
        tracing::warn!(shard = %self.id, topic = %self.topic, reason, "reading the journal failed and begins anew");
        let mut state = self.state.lock();
        if state.following.is_on() {
            self.stop_reading(&mut state);
            state.rests = Some(Instant::now());
            state.trouble = Some(reason);
        }
    }

    /// Where reading was for verifying only, it ends.
    fn verified(&self) {
        let mut state = self.state.lock();
        let trusting = |reign: &Arc<Reign>| reign.settle() == Standing::Trusting;
        if state.following.is_verified() && state.reign.as_ref().is_some_and(trusting) {
            self.stop_reading(&mut state);
        }
    }

    /// What was read is in the replica and judged: the reign learns of it.
    fn judged(&self, first: Offset, arrivals: &[Arrival], verdicts: &[Verdict]) {
        let mut state = self.state.lock();
        state.grew = Some(Instant::now());
        let foreign_claim = arrivals.iter().any(|arrival| {
            let own = |claim: &Claiming| claim.is(arrival.header, &arrival.envelope);
            arrival.header == Header::Claim && !state.claim.as_ref().is_some_and(own)
        });
        let Some(reign) = state.reign.clone() else { return };
        drop(state);
        let was_over = reign.is_over();
        let rest = reign.read(first, arrivals, verdicts);
        self.publish(&reign, rest);
        match self.settle(&reign) {
            Standing::Trusting => self.stop_reading(&mut self.state.lock()),
            // Once for each reign that is lost: an owner that claims anew all the time must not keep others away.
            Standing::Fenced if foreign_claim && !was_over => {
                let jitter = (uuid::Uuid::new_v4().as_u128() % 1024) as u32;
                let hold = FENCED_HOLD + FENCED_HOLD * jitter / 1024;
                self.hold(hold, "another node has claimed the shard".to_owned());
            }
            _ => {}
        }
    }

    /// Gives what became acknowledged to the replica, then to those who wait for it. `feeding` is held.
    fn publish(&self, reign: &Reign, arrivals: Vec<Arrival>) {
        if !arrivals.is_empty()
            && let Err(error) = self.replica.append(&arrivals)
        {
            reign.replica_failed(error.to_string());
            return;
        }
        reign.commit_acknowledged();
    }

    /// Looks how a reign stands and begins to read where that is needed. `feeding` is held.
    fn settle(&self, reign: &Arc<Reign>) -> Standing {
        let standing = reign.settle();
        if standing == Standing::Trusting {
            return standing;
        }
        let mut state = self.state.lock();
        if state.reign.as_ref().is_some_and(|current| Arc::ptr_eq(current, reign)) {
            self.start_reading(&mut state);
        }
        standing
    }

    /// The offset after everything that is known of the journal.
    pub(crate) fn known(&self) -> Offset {
        self.replica.next()
    }

    /// Whether reading the journal has begun, with the records that it had to begin with.
    pub(crate) fn is_verified(&self) -> bool {
        self.state.lock().following.is_verified()
    }

    /// What kept the shard from being read last.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.state.lock().trouble.clone()
    }

    /// What the brokers say of the journal's beginning and end, asked when `known` was known of it.
    pub(crate) fn watched(&self, known: Offset, low: Offset, high: Offset) {
        let _feeding = self.feeding.lock();
        let mut state = self.state.lock();
        if let Err(reason) = state.following.ends(known, low, high)
            && state.halted.is_none()
        {
            drop(state);
            self.halt(reason);
            return;
        }
        state.behind = high > self.replica.next();
        let quiet = state.grew.map(|grew| grew.elapsed()).unwrap_or_default();
        if state.halted.is_none() && state.rests.is_none() && quiet > VERIFY_INTERVAL {
            self.restart_reading(&mut state);
        }
        let reign = state.reign.clone();
        drop(state);
        if let Some(reign) = reign {
            reign.noticed(high);
            self.settle(&reign);
        }
    }

    /// The journal is gone, or not the one that it was.
    pub(crate) fn stop(&self, reason: &str) {
        let _feeding = self.feeding.lock();
        if self.check().is_ok() {
            self.halt(reason.to_owned());
        }
    }

    /// What takes longer than `patience` is given up or begins anew. Called again and again, also when no broker
    /// answers: nobody waits for ever.
    pub(crate) fn lose_patience(&self, patience: Duration) {
        let _feeding = self.feeding.lock();
        let mut state = self.state.lock();
        let stalled = state.following.is_on()
            && state.behind
            && state.grew.is_some_and(|grew| grew.elapsed() > patience);
        let rested =
            state.halted.is_none() && state.rests.is_some_and(|since| since.elapsed() > READING_REST);
        if stalled || rested {
            tracing::debug!(shard = %self.id, stalled, "reading the journal begins anew");
            self.restart_reading(&mut state);
        }
        let reign = state.reign.clone();
        drop(state);
        if let Some(reign) = reign
            && reign.reading_since().is_some_and(|since| since.elapsed() > patience)
        {
            reign.finish(End::Unknown("the journal could not be read".to_owned()));
            self.settle(&reign);
        }
    }

    /// Whoever waits learns that it is not known; nothing more is sent.
    pub(crate) fn close(&self) {
        let _feeding = self.feeding.lock();
        let (reign, producer) = {
            let mut state = self.state.lock();
            self.stop_reading(&mut state);
            (state.reign.clone(), state.producer.take())
        };
        if let Some(reign) = reign {
            reign.finish(End::Unknown("the log was closed".to_owned()));
            reign.settle();
        }
        if let Some(producer) = producer {
            producer.give_up();
        }
    }

    /// The journal is not what it was: nothing is written or read any more.
    fn halt(&self, reason: String) {
        tracing::error!(shard = %self.id, topic = %self.topic, reason, "the journal is not what it was; the shard is stopped");
        let mut state = self.state.lock();
        state.halted = Some(ReadError::Damaged {
            shard: self.id,
            offset: self.replica.next(),
            place: format!("{}/{}", self.topic, self.id.0),
            reason: reason.clone(),
        });
        self.stop_reading(&mut state);
        let reign = state.reign.clone();
        drop(state);
        if let Some(reign) = reign {
            reign.finish(End::Unknown(reason));
            reign.settle();
        }
        self.changed.notify_all();
    }

    /// A producer whose outcome is unknown is not used again.
    fn discard(&self, producer: &Arc<Producer>) {
        producer.give_up();
        self.state.lock().producer.take_if(|current| Arc::ptr_eq(current, producer));
    }

    fn hold(&self, duration: Duration, reason: String) {
        self.state.lock().hold = Some((Instant::now() + duration, reason));
    }

    fn check_hold(&self) -> Result<(), ClaimError> {
        let state = self.state.lock();
        match &state.hold {
            Some((until, reason)) if *until > Instant::now() => Err(unavailable(reason.clone())),
            _ => Ok(()),
        }
    }

    fn start_reading(&self, state: &mut MutexGuard<'_, State>) {
        if !state.following.is_on() && state.halted.is_none() {
            self.restart_reading(state);
        }
    }

    fn restart_reading(&self, state: &mut MutexGuard<'_, State>) {
        let stored = |offset| self.stored(offset).ok().flatten();
        let from = state.following.begin(self.replica.next(), self.replica.rule().epoch(), stored);
        state.grew = Some(Instant::now());
        state.rests = None;
        self.feed.follow(self.partition(), from);
    }

    fn stop_reading(&self, state: &mut MutexGuard<'_, State>) {
        if state.following.is_on() {
            state.following.stop();
            self.feed.unfollow(self.partition());
        }
    }
}

impl Sink for Shard {
    fn delivered(&self, reports: &[Delivered]) {
        let _feeding = self.feeding.lock();
        let mut state = self.state.lock();
        for delivered in reports {
            let (generation, number) = untoken(delivered.token);
            if number == CLAIM && generation == state.generation {
                let told = report(delivered);
                if let Some(claim) = &mut state.claim {
                    claim.reported(told);
                }
                self.changed.notify_all();
            }
        }
        let Some(reign) = state.reign.clone() else { return };
        drop(state);
        let own = reports.iter().filter_map(|delivered| {
            let (generation, number) = untoken(delivered.token);
            (generation == reign.generation && number != CLAIM).then(|| (Seq(number), report(delivered)))
        });
        let acknowledged = reign.reported(own);
        self.publish(&reign, acknowledged);
        self.settle(&reign);
    }

    fn untaken(&self) {
        let reign = self.state.lock().reign.clone();
        if let Some(reign) = reign {
            reign.untaken();
        }
    }
}

fn report(delivered: &Delivered) -> Report {
    match delivered.written {
        Ok(offset) => Report::Written(offset),
        Err(code) => Report::Failed(code.to_string()),
    }
}

fn unavailable(reason: String) -> ClaimError {
    ClaimError::Unavailable { reason }
}
