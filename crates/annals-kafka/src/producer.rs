//! A producer, and who takes its delivery reports.
//!
//! Those who wait for a record take the reports themselves, one at a time, and wake the others: so a lone command is
//! answered on the thread that waits for it. A thread of the producer takes them when nobody waits.
//!
//! Invariant: each record that was taken in is reported exactly once, with the token it was sent with, to the shard that the
//! producer serves at that time; also when the producer is given up. A producer whose outcome is unknown is
//! never used again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

use crate::bursts::{Bursts, NotSent, Unsent};
use crate::native::{Delivered, Lane, Listener, Reports, Sender};
use crate::wire;

/// How long the producer's thread waits for reports, or for something to be sent, before it looks around.
const POLL: Duration = Duration::from_millis(100);
/// How long nobody may take reports, while records are on their way, before the producer's thread does.
const UNTAKEN_MAX: Duration = Duration::from_millis(2);
/// How long one who waits for a record waits for reports before it looks around.
const LOOK_AROUND: Duration = Duration::from_millis(10);

/// Who hears of what was sent.
pub(crate) trait Sink: Send + Sync {
    /// These reports came, in this order.
    fn delivered(&self, reports: &[Delivered]);

    /// Nobody takes the reports now: one of those who wait for a record must.
    fn untaken(&self);
}

/// An idempotent producer, ready or getting ready.
pub(crate) struct Producer {
    outbox: Arc<Outbox>,
}

/// What was sent and not reported, and its reports.
struct Outbox {
    /// Before the client, which it must not outlive.
    taking: Mutex<Taking>,
    sender: Sender<Context, Bursts>,
    bursts: Arc<Bursts>,
    sink: Mutex<Option<Weak<dyn Sink>>>,
    given_up: AtomicBool,
    fatal: Arc<AtomicBool>,
    /// Whether one who waits for a record took reports since the thread looked last.
    by_waiters: AtomicBool,
    /// Whether somebody waits for a record while another takes the reports.
    wanted: AtomicBool,
    /// Whether the thread rests since nothing is on its way.
    resting: AtomicBool,
    rest: Mutex<()>,
    rested: Condvar,
}

/// Held by the one who takes the reports.
struct Taking {
    reports: Reports,
    batch: Vec<Delivered>,
}

impl Producer {
    /// Makes a producer for `topic`; it gets ready in the background, which takes about half a second.
    pub(crate) fn new(config: &ClientConfig, topic: &str) -> Result<Self, KafkaError> {
        let (fatal, bursts) = (Arc::new(AtomicBool::new(false)), Arc::new(Bursts::default()));
        let context = Context(Arc::clone(&fatal));
        let sender = Sender::new(config, topic, context, Arc::clone(&bursts))?;
        let no = |what: &str| KafkaError::ClientCreation(format!("no {what} for reports"));
        let reports = Reports::of(sender.client()).ok_or_else(|| no("queue"))?;
        let outbox = Arc::new(Outbox {
            taking: Mutex::new(Taking { reports, batch: Vec::new() }),
            sender,
            bursts,
            sink: Mutex::default(),
            given_up: AtomicBool::new(false),
            fatal,
            by_waiters: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            resting: AtomicBool::new(false),
            rest: Mutex::default(),
            rested: Condvar::new(),
        });
        let attended = Arc::clone(&outbox);
        std::thread::Builder::new()
            .name("annals-reports".to_owned())
            .spawn(move || attended.attend())
            .map_err(|_| no("thread"))?;
        Ok(Self { outbox })
    }

    /// Reports go to `sink` from now on.
    pub(crate) fn serve(&self, sink: Weak<dyn Sink>) {
        *self.outbox.sink.lock() = Some(sink);
    }

    /// Whether it can be used: it had no fatal error and was not given up.
    pub(crate) fn is_usable(&self) -> bool {
        !self.outbox.fatal.load(Ordering::Acquire) && !self.outbox.given_up.load(Ordering::Acquire)
    }

    /// Takes a record to be sent, without waiting; with an error it is certainly not sent.
    pub(crate) fn send(&self, record: Unsent) -> Result<(), NotSent> {
        self.outbox.bursts.push(record)?;
        self.outbox.hand_over();
        self.outbox.wake();
        Ok(())
    }

    /// Records with such tokens are not sent any more, as far as they were not handed to the client.
    pub(crate) fn forget_unsent(&self, of: impl Fn(usize) -> bool) {
        self.outbox.bursts.forget_unsent(of);
    }

    /// Waits a moment for reports and passes them on, unless somebody else does: then `false` comes back at once.
    pub(crate) fn take_reports(&self) -> bool {
        match self.outbox.taking.try_lock() {
            Some(taking) => {
                self.outbox.by_waiters.store(true, Ordering::Release);
                self.outbox.take(taking, LOOK_AROUND);
                true
            }
            None => {
                self.outbox.wanted.store(true, Ordering::Release);
                false
            }
        }
    }

    /// Whether nobody takes reports.
    pub(crate) fn is_untaken(&self) -> bool {
        !self.outbox.taking.is_locked()
    }

    /// Stops sending: what is queued or in flight is reported as failed. It may be written all the same.
    pub(crate) fn give_up(&self) {
        if !self.outbox.given_up.swap(true, Ordering::AcqRel) {
            self.outbox.bursts.end("the producer was given up");
            self.outbox.sender.purge();
            self.outbox.wake();
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Outbox {
    /// Waits for reports, at most so long, and passes them on.
    fn take(&self, mut taking: MutexGuard<'_, Taking>, timeout: Duration) {
        let Taking { reports, batch, .. } = &mut *taking;
        reports.take(timeout, self.sender.client().context().as_ref(), batch);
        // Where the client had no room before.
        self.hand_over();
        let refused = |(token, code)| Delivered { token, written: Err(code) };
        batch.extend(self.bursts.refused().into_iter().map(refused));
        if batch.is_empty() {
            return;
        }
        if let Some(sink) = self.sink() {
            sink.delivered(batch);
        }
        batch.clear();
    }

    fn hand_over(&self) {
        self.bursts.hand_over(|record| send(self.sender.lane(), record));
    }

    fn sink(&self) -> Option<Arc<dyn Sink>> {
        self.sink.lock().as_ref().and_then(Weak::upgrade)
    }

    /// The thread: runs until the producer is given up and everything that was sent is reported.
    fn attend(&self) {
        let mut attentive = false;
        while !self.given_up.load(Ordering::Acquire) || self.sender.unreported() > 0 {
            let woken = self.pause(attentive);
            if woken || self.by_waiters.swap(false, Ordering::AcqRel) {
                attentive = true;
                continue;
            }
            let Some(taking) = self.taking.try_lock() else {
                attentive = true;
                continue;
            };
            self.wanted.store(false, Ordering::Release);
            self.take(taking, Duration::ZERO);
            attentive = self.sender.unreported() > 0;
            // Until somebody waits again, who takes them without a change of threads.
            while self.sender.unreported() > 0 && !self.wanted.swap(false, Ordering::AcqRel) {
                self.take(self.taking.lock(), POLL);
            }
            if let Some(sink) = self.sink() {
                sink.untaken();
            }
        }
    }

    /// A pause of the thread, shorter when it is attentive; whether it was woken since something was sent.
    fn pause(&self, attentive: bool) -> bool {
        let mut rest = self.rest.lock();
        if attentive {
            self.rested.wait_for(&mut rest, UNTAKEN_MAX);
            return false;
        }
        self.resting.store(true, Ordering::SeqCst);
        let sent = self.sender.unreported() > 0;
        let woken = sent || !self.rested.wait_for(&mut rest, POLL).timed_out();
        self.resting.store(false, Ordering::SeqCst);
        woken
    }

    /// Something was sent: the thread must see that it is reported.
    fn wake(&self) {
        if self.resting.load(Ordering::SeqCst) && self.resting.swap(false, Ordering::SeqCst) {
            drop(self.rest.lock());
            self.rested.notify_one();
        }
    }
}

impl Listener for Bursts {
    fn off_its_way(&self, written: bool, lane: &Lane) {
        if Bursts::off_its_way(self, written) {
            self.hand_over(|record| send(lane, record));
        }
    }
}

fn send(lane: &Lane, record: &Unsent) -> Result<(), RDKafkaErrorCode> {
    let header = wire::encode(record.header);
    lane.send(record.partition, (wire::NAME, &header), &record.envelope, record.token)
}

/// Hears of errors of the client; reports are taken from its queue instead.
#[derive(Default)]
pub(crate) struct Context(Arc<AtomicBool>);

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        if matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::Fatal)) {
            self.0.store(true, Ordering::Release);
            tracing::warn!(%error, reason, "the Kafka producer cannot go on and is replaced");
        } else {
            tracing::debug!(%error, reason, "Kafka producer");
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, _: &DeliveryResult<'_>, _: usize) {}
}
