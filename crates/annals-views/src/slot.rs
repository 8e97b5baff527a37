//! One view as its readers see it: the build that is read now, and the one that takes its place.
//!
//! Invariant: whoever has taken hold of a build reads it to the end, for a build is dropped only when nobody holds
//! it any more. So a swap fails no read and empties none. And no reader is taken back: the build that takes over
//! has come at least as far as the one before.

use std::sync::Arc;
use std::time::Instant;

use annals_core::context::AnyProjection;
use annals_core::{Cursor, Timestamp};
use annals_log::Log;
use parking_lot::{Condvar, Mutex};

use crate::fold::Reached;
use crate::follower::{Follower, Waited};
use crate::rebuild::Rebuild;
use crate::state::{Lag, ViewError, ViewState};
use crate::store::{Build, Layout, StoreError, ViewId, ViewStore};

pub(crate) struct Slot {
    pub(crate) projection: Arc<dyn AnyProjection>,
    served: Mutex<Arc<Served>>,
    swapped: Condvar,
    /// The rebuild under way, or the last one.
    pub(crate) rebuild: Mutex<Option<Arc<Rebuild>>>,
}

/// The build that is read.
pub(crate) struct Served {
    pub(crate) view: ViewId,
    pub(crate) layout: Layout,
    pub(crate) moves: Moves,
}

/// Whether the build that is read is still folded.
pub(crate) enum Moves {
    /// It follows the log.
    Followed(Arc<Follower>),
    /// It is of another revision, which this program cannot fold: it stays where it is until the own one is built.
    Still { reached: Reached, log: Arc<dyn Log> },
}

impl Served {
    /// A build that follows the log.
    pub(crate) fn followed(follower: Arc<Follower>) -> Self {
        let layout = Layout::of(follower.projection.as_ref());
        Self { view: follower.view.clone(), layout, moves: Moves::Followed(follower) }
    }

    /// A build that stays where the store has it.
    pub(crate) fn still(
        build: &Build,
        log: &Arc<dyn Log>,
        store: &Arc<dyn ViewStore>,
    ) -> Result<Self, StoreError> {
        let positions = store.positions(&build.view)?;
        // It can be read even where the log cannot be, now.
        let reached = Reached::at(log.as_ref(), &positions)
            .unwrap_or_else(|_| Reached::unseen(log.as_ref(), &positions));
        let moves = Moves::Still { reached, log: Arc::clone(log) };
        Ok(Self { view: build.view.clone(), layout: build.layout.clone(), moves })
    }

    pub(crate) fn follower(&self) -> Option<Arc<Follower>> {
        match &self.moves {
            Moves::Followed(follower) => Some(Arc::clone(follower)),
            Moves::Still { .. } => None,
        }
    }
}

impl Slot {
    pub(crate) fn new(projection: Arc<dyn AnyProjection>, served: Served) -> Self {
        let served = Mutex::new(Arc::new(served));
        Self { projection, served, swapped: Condvar::new(), rebuild: Mutex::default() }
    }

    /// The build that is read now.
    pub(crate) fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served.lock())
    }

    /// Lets another build be read from now on; the one before.
    pub(crate) fn swap(&self, served: Served) -> Arc<Served> {
        let before = std::mem::replace(&mut *self.served.lock(), Arc::new(served));
        if let Moves::Followed(follower) = &before.moves {
            follower.retire();
        }
        self.swapped.notify_all();
        before
    }

    /// The build that is read once it has passed `cursor`.
    pub(crate) fn wait(
        &self,
        cursor: &Cursor,
        until: Instant,
        now: &dyn Fn() -> Timestamp,
    ) -> Result<Arc<Served>, ViewError> {
        loop {
            let served = self.served();
            let waited = match &served.moves {
                Moves::Followed(follower) => follower.wait(cursor, until, now)?,
                Moves::Still { reached, .. } if reached.passed(cursor) => Waited::Passed,
                Moves::Still { .. } => self.wait_for_swap(&served, until, now)?,
            };
            match waited {
                Waited::Passed => return Ok(served),
                Waited::Retired => {}
            }
        }
    }

    pub(crate) fn lag(&self, now: Timestamp) -> Lag {
        let served = self.served();
        match &served.moves {
            Moves::Followed(follower) => follower.lag(now),
            Moves::Still { reached, log } => {
                let state = ViewState::Older { revision: served.view.revision };
                reached.lag(log.as_ref(), state, now)
            }
        }
    }

    fn wait_for_swap(
        &self,
        served: &Arc<Served>,
        until: Instant,
        now: &dyn Fn() -> Timestamp,
    ) -> Result<Waited, ViewError> {
        let mut current = self.served.lock();
        while Arc::ptr_eq(&current, served) {
            if self.swapped.wait_until(&mut current, until).timed_out() && Arc::ptr_eq(&current, served) {
                drop(current);
                let view = served.view.name.clone();
                return Err(ViewError::Behind { view, lag: self.lag(now()) });
            }
        }
        Ok(Waited::Retired)
    }
}
