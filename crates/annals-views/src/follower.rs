//! One view being followed: its fold, and what readers see of it.
//!
//! Invariant: the cursor that readers see is never ahead of what the store holds for them. It moves after the
//! save, so whoever waited for it finds the documents in the store.

use std::sync::Arc;
use std::time::Instant;

use annals_core::context::AnyProjection;
use annals_core::{Cursor, Offset, ShardId, Timestamp};
use annals_log::Log;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::fold::{FoldError, Folder, Reached, Step};
use crate::state::{Lag, ViewError, ViewState};
use crate::store::{StoreError, ViewId, ViewStore};

pub(crate) struct Follower {
    pub(crate) projection: Arc<dyn AnyProjection>,
    pub(crate) view: ViewId,
    log: Arc<dyn Log>,
    store: Arc<dyn ViewStore>,
    /// The log's end when the views were opened, or where the build that is read stands: from here on this one may be.
    target: Cursor,
    /// Whether it becomes the build that is read when it comes there; a rebuild does so when it is told.
    goes_live: bool,
    folder: Mutex<Folder>,
    progress: Mutex<Progress>,
    moved: Condvar,
}

struct Progress {
    reached: Reached,
    state: ViewState,
    /// Whether `target` was reached.
    built: bool,
    /// Whether another build has taken its place.
    retired: bool,
}

/// What waiting for a follower came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// It has passed what was waited for.
    Passed,
    /// Another build has taken its place: wait for that one.
    Retired,
}

/// When a build becomes the one that is read. It is never one that has come less far than the one before, which
/// stands at the floor: a log that does not show its records yet is no reason to read an empty view.
pub(crate) enum Live {
    /// It is so already.
    Already,
    /// When it has come to the log's end.
    AtEnd { floor: Cursor },
    /// When it is told.
    WhenTold { floor: Cursor },
}

/// What driving a follower came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driven {
    Moved,
    Idle,
    Retry,
    Stopped,
}

impl Follower {
    pub(crate) fn new(
        folder: Folder,
        projection: Arc<dyn AnyProjection>,
        log: Arc<dyn Log>,
        store: Arc<dyn ViewStore>,
        live: Live,
    ) -> Self {
        let mut target = ends(log.as_ref());
        let (goes_live, floor) = match live {
            Live::Already => (false, None),
            Live::AtEnd { floor } => (true, Some(floor)),
            Live::WhenTold { floor } => (false, Some(floor)),
        };
        if let Some(floor) = floor {
            target = later(target, &floor);
        }
        let reached = Reached::start(log.as_ref());
        let progress = Progress { reached, state: ViewState::Building, built: false, retired: false };
        Self {
            projection,
            view: folder.view().clone(),
            log,
            store,
            target,
            goes_live,
            folder: Mutex::new(folder),
            progress: Mutex::new(progress),
            moved: Condvar::new(),
        }
    }

    /// Where it may be read from.
    pub(crate) fn target(&self) -> &Cursor {
        &self.target
    }

    /// Takes in the next batch.
    pub(crate) fn drive(&self) -> Driven {
        if self.is_over() {
            return Driven::Stopped;
        }
        self.drive_locked(&mut self.folder.lock())
    }

    /// Takes in the next batch with the fold in hand.
    pub(crate) fn drive_locked(&self, folder: &mut Folder) -> Driven {
        if self.is_over() {
            return Driven::Stopped;
        }
        let result = folder.step().and_then(|step| {
            let built = folder.reached().passed(&self.target);
            if built && !self.progress.lock().built {
                folder.save()?;
                if self.goes_live {
                    self.store.promote(&self.view)?;
                    self.drop_older(folder.cursor());
                }
            }
            Ok((step, built))
        });
        match result {
            Ok((step, built)) => {
                self.publish(folder, built);
                if step == Step::Idle { Driven::Idle } else { Driven::Moved }
            }
            Err(error) => self.fail(folder, &error),
        }
    }

    /// Saves positions that no document made worth a save.
    pub(crate) fn save(&self) {
        let result = self.folder.lock().save();
        if let Err(error) = result {
            tracing::warn!(view = %self.view, %error, "the last positions were not saved; they are read again");
        }
    }

    /// The view stands still for a reason outside its fold.
    pub(crate) fn stop(&self, reason: String) {
        self.set_state(ViewState::Stopped { position: None, reason });
    }

    pub(crate) fn lag(&self, now: Timestamp) -> Lag {
        let progress = self.progress.lock();
        self.lag_of(&progress, now)
    }

    /// The log's end as the view must have passed it to be caught up.
    pub(crate) fn ends(&self) -> Cursor {
        ends(self.log.as_ref())
    }

    /// Waits until the view may be read and has passed `cursor`.
    pub(crate) fn wait(
        &self,
        cursor: &Cursor,
        until: Instant,
        now: impl Fn() -> Timestamp,
    ) -> Result<Waited, ViewError> {
        let mut progress = self.progress.lock();
        loop {
            if progress.retired {
                return Ok(Waited::Retired);
            }
            if let ViewState::Stopped { position, reason } = &progress.state {
                let (position, reason) = (*position, reason.clone());
                return Err(ViewError::Stopped { view: self.view.name.clone(), position, reason });
            }
            if progress.built && progress.reached.passed(cursor) {
                return Ok(Waited::Passed);
            }
            if self.moved.wait_until(&mut progress, until).timed_out() && Instant::now() >= until {
                if progress.retired || progress.built && progress.reached.passed(cursor) {
                    continue;
                }
                let lag = self.lag_of(&progress, now());
                return Err(ViewError::Behind { view: self.view.name.clone(), lag });
            }
        }
    }

    fn lag_of(&self, progress: &Progress, now: Timestamp) -> Lag {
        progress.reached.lag(self.log.as_ref(), progress.state.clone(), now)
    }

    /// Keeps the fold from moving while this is held.
    pub(crate) fn hold(&self) -> MutexGuard<'_, Folder> {
        self.folder.lock()
    }

    /// Ends it: another build has taken its place.
    pub(crate) fn retire(&self) {
        self.progress.lock().retired = true;
        self.moved.notify_all();
    }

    /// Lets it be read from now on, as far as it has come.
    pub(crate) fn open(&self) {
        let mut progress = self.progress.lock();
        progress.built = true;
        progress.state = ViewState::Live;
        self.moved.notify_all();
    }

    /// How far it has come, as its readers know it.
    pub(crate) fn cursor(&self) -> Cursor {
        self.progress.lock().reached.cursor.clone()
    }

    /// Whether it has taken in everything below `cursor`.
    pub(crate) fn has_passed(&self, cursor: &Cursor) -> bool {
        self.progress.lock().reached.passed(cursor)
    }

    /// Records taken in, and records there are, over all shards.
    pub(crate) fn records(&self) -> (u64, u64) {
        let sum = |cursor: &Cursor| cursor.0.iter().map(|next| next.0).sum();
        (sum(&self.progress.lock().reached.cursor), sum(&self.ends()))
    }

    pub(crate) fn state(&self) -> ViewState {
        self.progress.lock().state.clone()
    }

    fn is_over(&self) -> bool {
        let progress = self.progress.lock();
        progress.retired || matches!(progress.state, ViewState::Stopped { .. })
    }

    fn publish(&self, folder: &Folder, built: bool) {
        let mut progress = self.progress.lock();
        progress.reached = folder.reached().clone();
        progress.built |= built;
        progress.state = if progress.built { ViewState::Live } else { ViewState::Building };
        self.moved.notify_all();
    }

    fn fail(&self, folder: &Folder, error: &FoldError) -> Driven {
        let reason = error.to_string();
        self.progress.lock().reached = folder.reached().clone();
        if error.is_passing() {
            tracing::warn!(view = %self.view, reason, "the view is tried again");
            self.set_state(ViewState::Retrying { reason });
            return Driven::Retry;
        }
        tracing::error!(view = %self.view, reason, "the view stands still");
        self.set_state(ViewState::Stopped { position: error.position(), reason });
        Driven::Stopped
    }

    fn set_state(&self, state: ViewState) {
        self.progress.lock().state = state;
        self.moved.notify_all();
    }

    /// Removes builds of earlier revisions that did not come further than this one, at `cursor`.
    fn drop_older(&self, cursor: &Cursor) {
        if let Err(error) = self.try_drop_older(cursor) {
            tracing::warn!(view = %self.view, %error, "the older revision stays in the store until the next start");
        }
    }

    fn try_drop_older(&self, cursor: &Cursor) -> Result<(), StoreError> {
        let views = self.store.builds()?.into_iter().map(|build| build.view);
        for older in views.filter(|view| view.name == self.view.name && view.revision < self.view.revision) {
            let saved = self.store.positions(&older)?;
            let mut positions = (0_u32..).map(ShardId).zip(saved);
            if positions.all(|(shard, saved)| saved.is_none_or(|saved| cursor.includes(shard, saved.offset)))
            {
                self.store.drop_view(&older)?;
            }
        }
        Ok(())
    }
}

/// The cursor that has passed each of `records`.
pub(crate) fn after(records: &[(ShardId, Offset)], shards: u32) -> Result<Cursor, ViewError> {
    let mut cursor = Cursor::start(shards);
    for &(shard, offset) in records {
        if shard.0 >= shards {
            return Err(ViewError::NoShard { shard, shards });
        }
        cursor.set(shard, cursor.of(shard).max(offset.next()));
    }
    Ok(cursor)
}

/// Of two cursors what is further, in each shard.
pub(crate) fn later(mut one: Cursor, other: &Cursor) -> Cursor {
    for (shard, next) in (0_u32..).map(ShardId).zip(&other.0) {
        one.set(shard, one.of(shard).max(*next));
    }
    one
}

pub(crate) fn ends(log: &dyn Log) -> Cursor {
    Cursor((0..log.identity().shards).map(|shard| log.end(ShardId(shard))).collect())
}
