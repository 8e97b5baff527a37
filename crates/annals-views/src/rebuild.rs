//! A view built anew beside the one that is read, and the swap.
//!
//! ```text
//! building ──► comparing ──► done        the live build is held for the last two: it stands still, reads go on
//!   │ ▲           │ differs, or to be told
//!   ▼ │           ▼
//! paused        ready ──told──► comparing        cancelled and failed end it; the live build is as it was
//! ```
//!
//! A thread of low priority folds the new build from the log's beginning, never further than the live one has come.
//! When it has caught up, the live build is held, the last records are taken in, both are compared at the same
//! place, and the store and the readers change over.
//!
//! Invariant: until the swap nothing that is read is touched. A rebuild has no effect but documents: sagas and
//! consumers keep positions of their own, and hear no event again.

mod compare;
mod pace;

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::Cursor;
use parking_lot::{Condvar, Mutex};
use serde::Serialize;

use crate::follower::{Driven, Follower, later};
use crate::runner::Runner;
use crate::slot::{Moves, Served, Slot};
use crate::state::ViewState;
use crate::store::{Layout, StoreError, ViewId, ViewStore};
pub use compare::{Compared, compare};
use pace::Pace;

/// How often a paused rebuild looks whether the views are stopped, and a dropped build whether it is still read.
const LOOK: Duration = Duration::from_millis(20);
/// The pause before a build that failed in passing is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// How a rebuild is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What is compared before the swap.
    pub compare: Compare,
    /// When the new build takes over.
    pub swap: Swap,
    /// Whether the build before is kept; it is dropped otherwise.
    pub keep: bool,
}

/// What is compared before the swap, at the same place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// How many documents there are.
    #[default]
    Counts,
    /// Every document. The live view stands still that long; reads of it go on.
    Documents,
}

/// When the new build takes over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Swap {
    /// When it has caught up.
    #[default]
    Always,
    /// When it has caught up and what was compared is equal.
    IfEqual,
    /// When it is told ([`crate::Views::swap`]); it follows the log until then.
    WhenTold,
}

/// Where a rebuild is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It takes in the log.
    Building,
    /// It waits to be resumed.
    Paused,
    /// It is held against the live build.
    Comparing,
    /// It has caught up and waits to be told to take over.
    Ready,
    /// It is the live build.
    Done,
    /// It was given up, and dropped.
    Cancelled,
    /// It cannot go on; the live build is as it was.
    Failed,
}

/// A rebuild as it is told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// The build that was read when it began.
    pub from: String,
    /// The new build.
    pub to: String,
    /// Where it is.
    pub phase: Phase,
    /// Records taken in, over all shards.
    pub records: u64,
    /// Records there are, over all shards.
    pub records_total: u64,
    /// Records a second, lately.
    pub rate_per_s: f64,
    /// How long it will take at that rate, in seconds; `None` where it does not get nearer, or is over.
    pub seconds_left: Option<f64>,
    /// How long it has been at work, in seconds.
    pub seconds: f64,
    /// What the comparison found.
    pub compared: Option<Compared>,
    /// How long the live build was held for comparison and swap, in milliseconds.
    pub held_ms: Option<f64>,
    /// How long the swap itself took, in milliseconds.
    pub swap_ms: Option<f64>,
    /// Why it failed, or why it waits.
    pub reason: Option<String>,
}

/// A rebuild that cannot be told what it was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// Wait for it, or cancel it.
    #[error("view {view} is being rebuilt already ({to}); wait for it, or cancel it")]
    UnderWay {
        /// The view.
        view: String,
        /// The build in the making.
        to: String,
    },
    /// Begin one.
    #[error("no rebuild of view {view} is under way")]
    None {
        /// The view.
        view: String,
    },
    /// Wait until it has caught up.
    #[error("the rebuild of view {view} has not caught up yet; it can take over when it is ready")]
    NotReady {
        /// The view.
        view: String,
    },
    /// Open the views with threads of their own.
    #[error("the views are driven by their caller, who folds a new build with a fold of their own")]
    Driven,
    /// Name a build that is kept.
    #[error("view {view} has no build {build} that could be dropped; there are {}", known.join(", "))]
    NoBuild {
        /// The view.
        view: String,
        /// The build named.
        build: String,
        /// The builds that are neither read nor folded.
        known: Vec<String>,
    },
    /// Look at the store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A rebuild under way.
pub(crate) struct Rebuild {
    pub(crate) to: ViewId,
    from: ViewId,
    options: Options,
    follower: Arc<Follower>,
    layout: Layout,
    /// Where the live build stood in the store when the rebuild began. It knows that itself only once it has looked.
    floor: Cursor,
    told: Mutex<Told>,
    heard: Condvar,
    progress: Mutex<Progress>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    pause: bool,
    cancel: bool,
    swap: bool,
}

struct Progress {
    phase: Phase,
    pace: Pace,
    compared: Option<Compared>,
    held: Option<Duration>,
    swap: Option<Duration>,
    reason: Option<String>,
}

/// What a rebuild works on.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) slot: Arc<Slot>,
    pub(crate) store: Arc<dyn ViewStore>,
    pub(crate) runner: Arc<Runner>,
}

impl Rebuild {
    pub(crate) fn new(
        from: ViewId,
        follower: Arc<Follower>,
        layout: Layout,
        floor: Cursor,
        options: Options,
    ) -> Self {
        let (compared, held, swap, reason) = (None, None, None, None);
        let pace = Pace::new(follower.records(), Instant::now());
        let progress = Progress { phase: Phase::Building, pace, compared, held, swap, reason };
        Self {
            to: follower.view.clone(),
            from,
            options,
            follower,
            layout,
            floor,
            told: Mutex::default(),
            heard: Condvar::new(),
            progress: Mutex::new(progress),
        }
    }

    pub(crate) fn status(&self) -> Status {
        let (records, records_total) = self.follower.records();
        let progress = self.progress.lock();
        let is_over = matches!(progress.phase, Phase::Done | Phase::Cancelled | Phase::Failed);
        let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        Status {
            from: self.from.to_string(),
            to: self.to.to_string(),
            phase: progress.phase,
            records,
            records_total,
            rate_per_s: progress.pace.rate(),
            seconds_left: progress.pace.seconds_left((records, records_total)).filter(|_| !is_over),
            seconds: progress.pace.seconds(),
            compared: progress.compared.clone(),
            held_ms: progress.held.map(ms),
            swap_ms: progress.swap.map(ms),
            reason: progress.reason.clone(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.progress.lock().phase
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase(), Phase::Done | Phase::Cancelled | Phase::Failed)
    }

    pub(crate) fn pause(&self, pause: bool) {
        self.tell(|told| told.pause = pause);
    }

    pub(crate) fn cancel(&self) {
        self.tell(|told| told.cancel = true);
    }

    pub(crate) fn take_over(&self) {
        self.tell(|told| told.swap = true);
    }

    fn tell(&self, tell: impl FnOnce(&mut Told)) {
        tell(&mut self.told.lock());
        self.heard.notify_all();
    }

    /// Works until the new build is live, or cannot be, or the views are stopped.
    pub(crate) fn run(&self, site: &Site) {
        lower_priority();
        let bell = site.runner.bell();
        loop {
            let heard = bell.heard();
            let told = *self.told.lock();
            if heard.stopping {
                return;
            }
            if told.cancel {
                return self.give_up(site);
            }
            if told.pause {
                self.set_phase(Phase::Paused);
                self.wait_for_word(LOOK);
                continue;
            }
            let goal = self.set_ceiling(&site.slot);
            match self.follower.drive() {
                Driven::Moved | Driven::Idle if self.has_caught_up(&goal) => {
                    if self.options.swap == Swap::WhenTold && !told.swap {
                        self.note(Phase::Ready);
                        self.wait_for_word(LOOK);
                    } else if self.finish(site) {
                        return;
                    }
                }
                Driven::Moved => self.note(Phase::Building),
                Driven::Idle => bell.wait_at_most(heard, LOOK),
                Driven::Retry => self.wait_for_word(RETRY),
                Driven::Stopped => {
                    let reason = match self.follower.state() {
                        ViewState::Stopped { reason, .. } => reason,
                        state => state.to_string(),
                    };
                    return self.fail(reason);
                }
            }
        }
    }

    /// Whether it may take over: it has come as far as the live build, and to what was the log's end when it began. The live
    /// one may be no further than the beginning itself.
    fn has_caught_up(&self, goal: &Cursor) -> bool {
        self.follower.has_passed(goal) && self.follower.has_passed(self.follower.target())
    }

    /// Keeps the new build from coming further than the live one; where it is to come to.
    fn set_ceiling(&self, slot: &Slot) -> Cursor {
        let served = slot.served();
        let live = match &served.moves {
            // One that stands still for good holds nobody back.
            Moves::Followed(live) if !matches!(live.state(), ViewState::Stopped { .. }) => {
                Some(later(live.cursor(), &self.floor))
            }
            _ => None,
        };
        self.follower.hold().set_ceiling(live.clone());
        live.unwrap_or_else(|| self.follower.target().clone())
    }

    /// Holds the live build, compares, and swaps; whether the rebuild is over.
    fn finish(&self, site: &Site) -> bool {
        let began = Instant::now();
        let served = site.slot.served();
        let held = match &served.moves {
            Moves::Followed(live) => Some(live.hold()),
            Moves::Still { .. } => None,
        };
        let goal = self.set_ceiling(&site.slot);
        while !self.has_caught_up(&goal) && self.follower.drive() == Driven::Moved {}
        if !self.has_caught_up(&goal) || self.follower.hold().save().is_err() {
            return false;
        }
        self.set_phase(Phase::Comparing);
        let swapped = self.check(site).and_then(|differs| match differs {
            Some(reason) => Ok(Err(reason)),
            None => self.swap(site).map(Ok),
        });
        drop(held);
        self.progress.lock().held = Some(began.elapsed());
        match swapped {
            Ok(Ok(before)) => {
                self.settle(site, served, before);
                true
            }
            Ok(Err(differs)) => {
                self.fail(differs);
                true
            }
            Err(error) => {
                tracing::warn!(view = %self.to, %error, "the swap is tried again");
                self.progress.lock().reason = Some(error.to_string());
                self.wait_for_word(RETRY);
                false
            }
        }
    }

    /// Compares both builds; why the new one must not take over, where it must not.
    fn check(&self, site: &Site) -> Result<Option<String>, StoreError> {
        let documents = self.options.compare == Compare::Documents;
        let compared = compare(site.store.as_ref(), &self.from, &self.to, documents)?;
        let differs = self.options.swap == Swap::IfEqual && !compared.is_equal();
        self.progress.lock().compared = Some(compared);
        let reason = "the new build differs from the one that is read; look at what was compared, then rebuild \
                      with another condition, or cancel";
        Ok(differs.then(|| reason.to_owned()))
    }

    fn swap(&self, site: &Site) -> Result<Arc<Served>, StoreError> {
        let began = Instant::now();
        site.store.promote(&self.to)?;
        let moves = Moves::Followed(Arc::clone(&self.follower));
        self.follower.hold().set_ceiling(None);
        self.follower.open();
        let before = site.slot.swap(Served { view: self.to.clone(), layout: self.layout.clone(), moves });
        self.progress.lock().swap = Some(began.elapsed());
        Ok(before)
    }

    /// Lets the new build follow the log, and drops the one before when nobody reads it any more.
    fn settle(&self, site: &Site, served: Arc<Served>, before: Arc<Served>) {
        site.runner.follow(Arc::clone(&self.follower));
        drop(served);
        if !self.options.keep {
            while Arc::strong_count(&before) > 1 {
                std::thread::sleep(LOOK);
            }
            if let Err(error) = site.store.drop_view(&before.view) {
                tracing::warn!(view = %before.view, %error, "the build before stays in the store");
            }
        }
        tracing::info!(view = %self.to, before = %before.view, "the new build has taken over");
        self.set_phase(Phase::Done);
    }

    fn give_up(&self, site: &Site) {
        self.follower.retire();
        // A batch may be on its way: the fold is held until it is saved.
        drop(self.follower.hold());
        match site.store.drop_view(&self.to) {
            Ok(()) => self.set_phase(Phase::Cancelled),
            Err(error) => self.fail(format!("it was cancelled, but not dropped: {error}")),
        }
    }

    fn fail(&self, reason: String) {
        tracing::error!(view = %self.to, reason, "the rebuild failed");
        let mut progress = self.progress.lock();
        progress.reason = Some(reason);
        progress.phase = Phase::Failed;
    }

    fn note(&self, phase: Phase) {
        let records = self.follower.records();
        let mut progress = self.progress.lock();
        progress.pace.note(records, Instant::now());
        progress.phase = phase;
        progress.reason = None;
    }

    fn set_phase(&self, phase: Phase) {
        self.progress.lock().phase = phase;
    }

    fn wait_for_word(&self, most: Duration) {
        self.heard.wait_for(&mut self.told.lock(), most);
    }
}

/// Lets threads that answer somebody go first, where the system can.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19) {
        tracing::debug!(%error, "a rebuild runs at the usual priority");
    }
}

pub(crate) fn spawn(rebuild: Arc<Rebuild>, site: Site) -> Result<(), crate::OpenError> {
    let runner = Arc::clone(&site.runner);
    runner.spawn(format!("rebuild {}", rebuild.to), move || rebuild.run(&site))
}
