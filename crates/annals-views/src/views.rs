//! The views of a context: opened on a log and a store, followed, and read.

mod operate;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::context::AnyProjection;
use annals_core::{Context, Cursor, Offset, ShardId, Tenant, Timestamp};
use annals_log::Log;

use crate::builds::Builds;
use crate::fold::{Folder, Limits, Reached};
use crate::follower::{self, Driven, Follower, Live};
use crate::listing::Listing;
use crate::past::{self, PastError};
use crate::rebuild::{self, Rebuild, Site, Swap};
use crate::runner::Runner;
use crate::slot::{Served, Slot};
use crate::state::{Lag, OpenError, ViewError, ViewState};
use crate::store::{Build, DocumentKey, Layout, Page, StoreError, ViewId, ViewStore};

pub use operate::OperateError;

/// Tells the time; only for [`Lag::seconds`].
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Who drives the views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// A thread per view, and one per shard that waits for records.
    Threads,
    /// The caller, by [`Views::settle`]; reads with a bound settle their view first. For deterministic tests.
    Caller,
}

/// How views are followed.
#[derive(Clone)]
pub struct Settings {
    /// Who drives the views.
    pub drive: Drive,
    /// How much a batch and the cache of each view may hold.
    pub limits: Limits,
    /// How long a read without a bound of its own waits for a view that is still building.
    pub patience: Duration,
    /// Tells the time.
    pub clock: Clock,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            drive: Drive::Threads,
            limits: Limits::default(),
            patience: Duration::from_secs(1),
            clock: Arc::new(Timestamp::now),
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("drive", &self.drive)
            .field("limits", &self.limits)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// All views of a context. Dropping them stops their threads, after the batches they are at.
pub struct Views {
    slots: BTreeMap<String, Arc<Slot>>,
    context: Arc<Context>,
    log: Arc<dyn Log>,
    store: Arc<dyn ViewStore>,
    settings: Settings,
    runner: Arc<Runner>,
}

impl Views {
    /// Follows `log` with every projection of `context` and keeps their documents in `store`.
    ///
    /// A view goes on where the store has it. A new revision is built from the log's beginning beside the one that is
    /// read, and takes over when it has caught up. Whatever is wrong with one view is its [`ViewState`], not an error
    /// here.
    pub fn open(
        context: Arc<Context>,
        log: Arc<dyn Log>,
        store: Arc<dyn ViewStore>,
        settings: Settings,
    ) -> Result<Self, OpenError> {
        let identity = log.identity();
        if identity.context != context.name() {
            let (expected, found) = (context.name().to_owned(), identity.context.clone());
            return Err(OpenError::Context { expected, found });
        }
        let runner = Arc::new(Runner::default());
        let mut views = Self { slots: BTreeMap::new(), context, log, store, settings, runner };
        let projections = views.context.projections().clone();
        let opened = projections.into_iter().map(|(name, projection)| Ok((name, views.slot(projection)?)));
        let opened: Vec<(&str, Opened)> = opened.collect::<Result<_, OpenError>>()?;
        let followers = opened.iter().filter_map(|(_, opened)| opened.slot.served().follower());
        if views.settings.drive == Drive::Threads {
            views.runner.start(&views.log, followers)?;
        }
        for (name, Opened { slot, rebuild }) in opened {
            views.slots.insert(name.to_owned(), Arc::clone(&slot));
            if let Some((to, options)) = rebuild {
                views.start_rebuild(&slot, to, options)?;
            }
        }
        Ok(views)
    }

    /// A view as the store has it, and the rebuild that goes on.
    fn slot(&self, projection: Arc<dyn AnyProjection>) -> Result<Opened, OpenError> {
        let builds = Builds::of(self.store.as_ref(), projection.name(), projection.revision())?;
        let is_older = |live: &&Build| live.view.revision != projection.revision();
        if self.settings.drive == Drive::Threads
            && let Some(live) = builds.live.as_ref().filter(is_older)
        {
            let served = Served::still(live, &self.log, &self.store)?;
            let slot = Arc::new(Slot::new(projection, served));
            return Ok(Opened { slot, rebuild: Some((builds.own, rebuild::Options::default())) });
        }
        let is_live = builds.live.as_ref().is_some_and(|live| live.view == builds.own);
        let live = if is_live { Live::Already } else { Live::AtEnd { floor: self.floor(&builds)? } };
        let follower = self.follower(&projection, builds.own, live, self.settings.limits);
        // It was begun by a person, who may have wanted to see it before it takes over.
        let options = rebuild::Options { swap: Swap::WhenTold, ..rebuild::Options::default() };
        let rebuild = builds.broken_off.filter(|_| self.settings.drive == Drive::Threads);
        let slot = Arc::new(Slot::new(projection, Served::followed(follower)));
        Ok(Opened { slot, rebuild: rebuild.map(|to| (to, options)) })
    }

    /// Where the build that is read stands in the store.
    fn floor(&self, builds: &Builds) -> Result<Cursor, StoreError> {
        let positions = builds.live.as_ref().map(|live| self.store.positions(&live.view)).transpose()?;
        Ok(Reached::unseen(self.log.as_ref(), &positions.unwrap_or_default()).cursor)
    }

    fn follower(
        &self,
        projection: &Arc<dyn AnyProjection>,
        view: ViewId,
        live: Live,
        limits: Limits,
    ) -> Arc<Follower> {
        let (log, store) = (Arc::clone(&self.log), Arc::clone(&self.store));
        let folder = Folder::new(
            Arc::clone(&self.context),
            Arc::clone(projection),
            Arc::clone(&log),
            Arc::clone(&store),
            limits,
        );
        let folder = folder.into_build(view);
        Arc::new(Follower::new(folder, Arc::clone(projection), log, store, live))
    }

    fn start_rebuild(
        &self,
        slot: &Arc<Slot>,
        to: ViewId,
        options: rebuild::Options,
    ) -> Result<(), OpenError> {
        let projection = &slot.projection;
        let builds = Builds::of(self.store.as_ref(), projection.name(), projection.revision())?;
        let floor = self.floor(&builds)?;
        // Nobody reads it yet: saved less often, a document that changes often is written less often, and the disk is
        // left to the log.
        let limits = self.settings.limits;
        let limits = Limits {
            batch_events: limits.batch_events.saturating_mul(10),
            batch_time: limits.batch_time.saturating_mul(5),
            ..limits
        };
        let follower = self.follower(projection, to, Live::WhenTold { floor: floor.clone() }, limits);
        let layout = Layout::of(slot.projection.as_ref());
        let rebuild = Arc::new(Rebuild::new(slot.served().view.clone(), follower, layout, floor, options));
        *slot.rebuild.lock() = Some(Arc::clone(&rebuild));
        let (store, runner) = (Arc::clone(&self.store), Arc::clone(&self.runner));
        rebuild::spawn(rebuild, Site { slot: Arc::clone(slot), store, runner })
    }

    /// Where documents and positions are kept.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ViewStore> {
        &self.store
    }

    /// The names of the views, ascending.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.slots.keys().map(String::as_str).collect()
    }

    /// The document of `key` as JSON, as far as the view has come.
    ///
    /// `tenant` is that of the events the document is folded from.
    pub fn get(&self, view: &str, tenant: Option<&Tenant>, key: &str) -> Result<Option<Vec<u8>>, ViewError> {
        self.get_after(view, tenant, key, &[], self.settings.patience)
    }

    /// The document of `key` once the view has taken in the records `after`, those of receipts: a caller so
    /// reads its own writes. [`ViewError::Behind`] where that took longer than `within`.
    pub fn get_after(
        &self,
        view: &str,
        tenant: Option<&Tenant>,
        key: &str,
        after: &[(ShardId, Offset)],
        within: Duration,
    ) -> Result<Option<Vec<u8>>, ViewError> {
        let slot = self.slot_of(view)?;
        if !slot.projection.is_key(key) {
            return Err(ViewError::NotAKey { view: view.to_owned(), key: key.to_owned() });
        }
        let cursor = follower::after(after, self.shards())?;
        let served = self.wait_for(slot, &cursor, within)?;
        Ok(self.store.get(&served.view, tenant, key)?)
    }

    /// The document of `key` as it was at a moment: folded from the log up to `cursor`, in memory. That takes long in a
    /// long log, at most `within`.
    pub fn get_at(
        &self,
        view: &str,
        tenant: Option<&Tenant>,
        key: &str,
        cursor: &Cursor,
        within: Duration,
    ) -> Result<Option<Vec<u8>>, ViewError> {
        let slot = self.slot_of(view)?;
        if !slot.projection.is_key(key) {
            return Err(ViewError::NotAKey { view: view.to_owned(), key: key.to_owned() });
        }
        let key = DocumentKey { tenant: tenant.cloned(), key: key.to_owned() };
        let (context, projection) = (Arc::clone(&self.context), Arc::clone(&slot.projection));
        Ok(past::document_at(context, projection, Arc::clone(&self.log), &key, cursor, within)?)
    }

    /// The cursor that has passed all that was recorded up to and including `time`.
    pub fn cursor_at(&self, time: Timestamp) -> Result<Cursor, ViewError> {
        Ok(past::cursor_at(self.log.as_ref(), time).map_err(|error| PastError::Fold(error.into()))?)
    }

    /// A page of documents.
    ///
    /// Pages read at different times may see different states; a document that stays as it is, is shown once.
    pub fn list(&self, view: &str, listing: &Listing<'_>) -> Result<Page, ViewError> {
        let slot = self.slot_of(view)?;
        let served = self.wait_for(slot, &Cursor::start(self.shards()), self.settings.patience)?;
        let resolved = listing.resolve(slot.projection.as_ref(), &served.layout)?;
        Ok(self.store.list(&served.view, &listing.query(&resolved))?)
    }

    /// Waits until the view may be read and has taken in the records `after`.
    pub fn wait(&self, view: &str, after: &[(ShardId, Offset)], within: Duration) -> Result<(), ViewError> {
        let cursor = follower::after(after, self.shards())?;
        self.wait_for(self.slot_of(view)?, &cursor, within).map(drop)
    }

    /// Waits until the view may be read and has come to `cursor`.
    pub fn wait_until(&self, view: &str, cursor: &Cursor, within: Duration) -> Result<(), ViewError> {
        self.wait_for(self.slot_of(view)?, cursor, within).map(drop)
    }

    /// Waits until the view has come to what is the log's end now.
    pub fn catch_up(&self, view: &str, timeout: Duration) -> Result<(), ViewError> {
        self.wait_for(self.slot_of(view)?, &follower::ends(self.log.as_ref()), timeout).map(drop)
    }

    /// How far the view is behind the log, and how it stands.
    pub fn lag(&self, view: &str) -> Result<Lag, ViewError> {
        Ok(self.slot_of(view)?.lag((self.settings.clock)()))
    }

    /// How the view stands.
    pub fn state(&self, view: &str) -> Result<ViewState, ViewError> {
        Ok(self.lag(view)?.state)
    }

    /// Brings all views to the log's end, in the caller's thread where [`Drive::Caller`] is set.
    ///
    /// The first view that does not come there is the error; the others were brought there all the same.
    pub fn settle(&self, timeout: Duration) -> Result<(), ViewError> {
        let settled: Vec<Result<(), ViewError>> =
            self.slots.keys().map(|view| self.catch_up(view, timeout)).collect();
        settled.into_iter().collect()
    }

    /// Stops following, after the batches at hand, and joins the threads. Reads go on as far as the views came.
    pub fn shutdown(&self) {
        if self.runner.stop() || self.settings.drive == Drive::Caller {
            let followers = self.slots.values().filter_map(|slot| slot.served().follower());
            followers.for_each(|follower| follower.save());
        }
    }

    fn shards(&self) -> u32 {
        self.log.identity().shards
    }

    fn slot_of(&self, view: &str) -> Result<&Arc<Slot>, ViewError> {
        self.slots.get(view).ok_or_else(|| ViewError::Unknown {
            view: view.to_owned(),
            known: self.slots.keys().cloned().collect(),
        })
    }

    fn wait_for(&self, slot: &Slot, cursor: &Cursor, within: Duration) -> Result<Arc<Served>, ViewError> {
        // A bound too far away to be told by the clock is no bound; a year stands for it.
        let now = Instant::now();
        let until = now.checked_add(within).unwrap_or(now + Duration::from_secs(365 * 24 * 3600));
        if self.settings.drive == Drive::Caller {
            if let Some(follower) = slot.served().follower() {
                while follower.drive() == Driven::Moved {}
            }
            return slot.wait(cursor, Instant::now(), &*self.settings.clock);
        }
        slot.wait(cursor, until, &*self.settings.clock)
    }
}

/// A view as it was opened.
struct Opened {
    slot: Arc<Slot>,
    rebuild: Option<(ViewId, rebuild::Options)>,
}

impl Drop for Views {
    fn drop(&mut self) {
        self.shutdown();
    }
}
