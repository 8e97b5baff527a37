//! The threads that drive followers: one per view, and one per shard that waits for records.
//!
//! A view follows all shards while a log is waited on shard by shard, so a watcher per shard rings one bell for
//! all views. Invariant: a ring between a view's last look at the log and its wait is not lost, because the
//! view waits for a count other than the one it saw before it looked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use annals_core::ShardId;
use annals_log::Log;
use parking_lot::{Condvar, Mutex};

use crate::follower::{Driven, Follower};
use crate::state::OpenError;

/// How long a watcher waits on the log at a time: what a shutdown waits for at most.
const WATCH: Duration = Duration::from_millis(100);
/// The first and the longest pause before a view that failed is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

#[derive(Default)]
pub(crate) struct Runner {
    bell: Arc<Bell>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Rings when there are more records, or the views are stopped.
#[derive(Default)]
pub(crate) struct Bell {
    rings: Mutex<Rings>,
    rung: Condvar,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Rings {
    count: u64,
    pub(crate) stopping: bool,
}

impl Runner {
    /// Starts the threads that follow, and those that wait for records.
    pub(crate) fn start(
        &self,
        log: &Arc<dyn Log>,
        followers: impl Iterator<Item = Arc<Follower>>,
    ) -> Result<(), OpenError> {
        let started = self.spawn_all(log, followers);
        if started.is_err() {
            self.stop();
        }
        started
    }

    pub(crate) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    /// Follows one more; it stands still, and says so, where no thread can be had.
    pub(crate) fn follow(&self, follower: Arc<Follower>) {
        let (followed, bell) = (Arc::clone(&follower), Arc::clone(&self.bell));
        let started = self.spawn(format!("view {}", follower.view), move || follow(&followed, &bell));
        if let Err(error) = started {
            follower.stop(error.to_string());
        }
    }

    /// Stops and joins all threads; whether there were any.
    pub(crate) fn stop(&self) -> bool {
        self.bell.ring(true);
        let threads = std::mem::take(&mut *self.threads.lock());
        let any = !threads.is_empty();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the views panicked");
            }
        }
        any
    }

    fn spawn_all(
        &self,
        log: &Arc<dyn Log>,
        followers: impl Iterator<Item = Arc<Follower>>,
    ) -> Result<(), OpenError> {
        for follower in followers {
            let bell = Arc::clone(&self.bell);
            self.spawn(format!("view {}", follower.view), move || follow(&follower, &bell))?;
        }
        for shard in (0..log.identity().shards).map(ShardId) {
            let (log, bell) = (Arc::clone(log), Arc::clone(&self.bell));
            self.spawn(format!("views, shard {shard}"), move || watch(log.as_ref(), shard, &bell))?;
        }
        Ok(())
    }

    /// Starts a thread that is joined at the end; none once the views are stopped.
    pub(crate) fn spawn(&self, name: String, run: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
        let mut threads = self.threads.lock();
        if self.bell.heard().stopping {
            return Ok(());
        }
        let thread = thread::Builder::new().name(name).spawn(run);
        threads.push(thread.map_err(|error| OpenError::Thread { reason: error.to_string() })?);
        Ok(())
    }
}

impl Bell {
    pub(crate) fn ring(&self, stopping: bool) {
        let mut rings = self.rings.lock();
        rings.count += 1;
        rings.stopping |= stopping;
        self.rung.notify_all();
    }

    pub(crate) fn heard(&self) -> Rings {
        *self.rings.lock()
    }

    /// Waits until it rang since `heard`.
    fn wait(&self, heard: Rings) {
        let mut rings = self.rings.lock();
        self.rung.wait_while(&mut rings, |rings| rings.count == heard.count);
    }

    /// Waits until it rang since `heard`, but not longer than `most`.
    pub(crate) fn wait_at_most(&self, heard: Rings, most: Duration) {
        let mut rings = self.rings.lock();
        self.rung.wait_while_for(&mut rings, |rings| rings.count == heard.count, most);
    }

    /// Waits for `pause`, or until the views are stopped.
    fn pause(&self, pause: Duration) {
        let mut rings = self.rings.lock();
        self.rung.wait_while_for(&mut rings, |rings| !rings.stopping, pause);
    }
}

fn follow(follower: &Follower, bell: &Bell) {
    let mut pause = RETRY.0;
    loop {
        let heard = bell.heard();
        if heard.stopping {
            return;
        }
        let driven = catch_unwind(AssertUnwindSafe(|| follower.drive())).unwrap_or_else(|_| {
            follower.stop("the runner panicked; this is a fault in annals, please report it".to_owned());
            Driven::Stopped
        });
        match driven {
            Driven::Moved => pause = RETRY.0,
            Driven::Idle => bell.wait(heard),
            Driven::Retry => {
                bell.pause(pause);
                pause = (pause * 2).min(RETRY.1);
            }
            Driven::Stopped => return,
        }
    }
}

fn watch(log: &dyn Log, shard: ShardId, bell: &Bell) {
    let mut end = log.end(shard);
    bell.ring(false);
    while !bell.heard().stopping {
        let now = log.wait(shard, end, WATCH);
        if now > end {
            end = now;
            bell.ring(false);
        }
    }
}
