//! What is done to views while they are followed: building one anew, and looking at the builds there are.

use std::sync::Arc;

use super::{Drive, Views};
use annals_core::Position;

use crate::builds::Builds;
use crate::fold::{FoldError, Retried};
use crate::follower::Follower;
use crate::rebuild::{self, Options, Phase, Rebuild, RebuildError, Status};
use crate::slot::Slot;
use crate::state::ViewError;
use crate::store::{Build, SetAside, Stage, ViewId};

impl Views {
    /// Builds a view anew beside the one that is read; the new build.
    ///
    /// It goes on in threads of its own; [`Views::rebuilding`] tells how far it is.
    pub fn rebuild(&self, view: &str, options: Options) -> Result<ViewId, OperateError> {
        let slot = self.slot_of(view)?;
        if self.settings.drive == Drive::Caller {
            return Err(RebuildError::Driven.into());
        }
        if let Some(rebuild) = slot.rebuild.lock().as_ref().filter(|rebuild| !rebuild.is_over()) {
            return Err(RebuildError::UnderWay { view: view.to_owned(), to: rebuild.to.to_string() }.into());
        }
        let to = self.builds_of(slot)?.next();
        self.start_rebuild(slot, to.clone(), options)?;
        Ok(to)
    }

    /// How the rebuild of a view stands, or how the last one ended; `None` where there was none since the views were
    /// opened.
    pub fn rebuilding(&self, view: &str) -> Result<Option<Status>, ViewError> {
        Ok(self.slot_of(view)?.rebuild.lock().as_ref().map(|rebuild| rebuild.status()))
    }

    /// Pauses the rebuild of a view.
    pub fn pause(&self, view: &str) -> Result<(), OperateError> {
        self.under_way(view)?.pause(true);
        Ok(())
    }

    /// Lets a paused rebuild go on.
    pub fn resume(&self, view: &str) -> Result<(), OperateError> {
        self.under_way(view)?.pause(false);
        Ok(())
    }

    /// Gives the rebuild of a view up and drops what it built.
    pub fn cancel(&self, view: &str) -> Result<(), OperateError> {
        self.under_way(view)?.cancel();
        Ok(())
    }

    /// Lets the new build take over, which waited to be told ([`rebuild::Swap::WhenTold`]).
    pub fn swap(&self, view: &str) -> Result<(), OperateError> {
        let rebuild = self.under_way(view)?;
        if rebuild.phase() != Phase::Ready {
            return Err(RebuildError::NotReady { view: view.to_owned() }.into());
        }
        rebuild.take_over();
        Ok(())
    }

    /// The builds of a view that the store has.
    pub fn builds(&self, view: &str) -> Result<Vec<Build>, ViewError> {
        Ok(self.builds_of(self.slot_of(view)?)?.all)
    }

    /// Drops a build that is neither read nor folded: `name@revision`, or `name@revision.build`.
    pub fn drop_build(&self, view: &str, build: &str) -> Result<(), OperateError> {
        let slot = self.slot_of(view)?;
        let rebuild = slot.rebuild.lock();
        let in_use = |view: &ViewId| {
            slot.served().view == *view
                || rebuild.as_ref().is_some_and(|rebuild| !rebuild.is_over() && rebuild.to == *view)
        };
        let mut idle: Vec<Build> = self.builds_of(slot)?.all;
        idle.retain(|build| build.stage != Stage::Live && !in_use(&build.view));
        let Some(found) = idle.iter().find(|idle| idle.view.to_string() == build) else {
            let known = idle.iter().map(|build| build.view.to_string()).collect();
            let (view, build) = (view.to_owned(), build.to_owned());
            return Err(RebuildError::NoBuild { view, build, known }.into());
        };
        self.store.drop_view(&found.view).map_err(RebuildError::Store)?;
        Ok(())
    }

    /// Events that the view that is read has set aside, of one stream or of all, after a position: at most `limit`.
    pub fn set_aside(
        &self,
        view: &str,
        stream: Option<&str>,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<SetAside>, ViewError> {
        let served = self.slot_of(view)?.served();
        Ok(self.store.set_aside(&served.view, stream, after, limit)?)
    }

    /// The streams that are parked in the view that is read.
    pub fn parked_streams(&self, view: &str) -> Result<Vec<String>, ViewError> {
        let served = self.slot_of(view)?.served();
        Ok(self.store.parked_streams(&served.view)?)
    }

    /// Takes in what waits of a parked stream, or of all, as far as it can be read now.
    pub fn retry(&self, view: &str, stream: Option<&str>) -> Result<Retried, OperateError> {
        let follower = self.followed(view)?;
        let retried = follower.hold().retry(stream)?;
        Ok(retried)
    }

    /// Drops the event at which a stream is parked, for good and on record, and takes in what waits behind it.
    pub fn drop_parked(&self, view: &str, stream: &str) -> Result<Retried, OperateError> {
        let follower = self.followed(view)?;
        let dropped = follower.hold().drop_parked(stream)?;
        let none = || OperateError::NotParked { view: view.to_owned(), stream: stream.to_owned() };
        dropped.ok_or_else(none)
    }

    /// The fold of the build that is read.
    fn followed(&self, view: &str) -> Result<Arc<Follower>, OperateError> {
        let served = self.slot_of(view)?.served();
        served
            .follower()
            .ok_or_else(|| OperateError::Older { view: view.to_owned(), build: served.view.clone() })
    }

    fn builds_of(&self, slot: &Slot) -> Result<Builds, ViewError> {
        Ok(Builds::of(self.store.as_ref(), slot.projection.name(), slot.projection.revision())?)
    }

    fn under_way(&self, view: &str) -> Result<Arc<Rebuild>, OperateError> {
        let rebuild = self.slot_of(view)?.rebuild.lock();
        let under_way = rebuild.as_ref().filter(|rebuild| !rebuild.is_over()).cloned();
        under_way.ok_or_else(|| RebuildError::None { view: view.to_owned() }.into())
    }
}

/// Something that could not be done to a view.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OperateError {
    /// It says what to do.
    #[error(transparent)]
    View(#[from] ViewError),
    /// It says what to do.
    #[error(transparent)]
    Rebuild(#[from] rebuild::RebuildError),
    /// Name a stream that is parked.
    #[error("stream {stream} is not parked in view {view}")]
    NotParked {
        /// The view.
        view: String,
        /// The stream named.
        stream: String,
    },
    /// Wait until the program's own revision is built.
    #[error(
        "view {view} is read at build {build} of another revision, which this program cannot fold; wait until its own is built"
    )]
    Older {
        /// The view.
        view: String,
        /// The build that is read.
        build: ViewId,
    },
    /// It says what is wrong.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// Let the process have more threads.
    #[error(transparent)]
    Open(#[from] crate::OpenError),
}
