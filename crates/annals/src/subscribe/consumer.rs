//! A handler of events that remembers, across restarts, where it is.
//!
//! Its position is kept in the store of the app's views, as that of a view without documents, under `consumer:` and its
//! name: log id, offset and checksum of the last record, so that another log, or one that was cut, is noticed. Of two that
//! run under one name, one stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use annals_core::{Cursor, Offset, ShardId, StreamName};
use annals_engine::{Engine, Filter, QueryError};
use annals_log::BookmarkError;
use annals_views::store::{Change, Layout, Positions};
use annals_views::{StoreError, ViewId, ViewStore};
use parking_lot::Mutex;

use super::{Delivered, SubscribeError, check_types};
use crate::app::App;

/// How long it waits for news before it looks whether it is to stop.
const TURN: Duration = Duration::from_millis(100);
/// The first and the longest pause before a handler that failed is run again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));
/// How long a position that moved may be unsaved while events go on coming.
const SAVE: Duration = Duration::from_millis(100);

/// A consumer to be started with a handler.
#[must_use = "a consumer begins with run"]
pub struct Consumer {
    app: App,
    name: String,
    filter: Filter,
    from_now: bool,
}

/// How a consumer stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsumerState {
    /// It follows the log.
    #[default]
    Following,
    /// Its handler failed, and is run again with the same event.
    Retrying {
        /// What the handler said.
        reason: String,
    },
    /// It stands still and needs a person.
    Stopped {
        /// What to do about it.
        reason: String,
    },
}

/// A consumer that was not started, or stands still.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// Give it a name of lower-case letters, digits, `-` and `_`.
    #[error("{0:?} cannot name a consumer: use lower-case letters, digits, '-' and '_', at most 64")]
    Name(String),
    /// Open the app for writing: a consumer's position is to be saved.
    #[error("the app is open for reading only, and a consumer has a position to save")]
    ReadOnly,
    /// It says what to do.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// Look at the store of the views, or stop the other consumer of that name.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Find out what happened to the log, or give the consumer another name: it then begins anew.
    #[error("the saved position in shard {shard} does not fit the log: {error}")]
    Bookmark {
        /// The shard.
        shard: ShardId,
        /// Why.
        error: BookmarkError,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl Consumer {
    pub(super) fn new(app: App, name: String) -> Self {
        let filter = Filter { tenant: app.tenant_name().cloned(), ..Filter::default() };
        Self { app, name, filter, from_now: false }
    }

    /// Only events of these stored names.
    pub fn types<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.filter.types = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Only events of this stream.
    pub fn stream(mut self, stream: StreamName) -> Self {
        self.filter.stream = Some(stream);
        self
    }

    /// Only events with this tag.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.filter.tag = Some(tag.into());
        self
    }

    /// Where it has never run, it begins with what happens from now on, and not with all that has happened.
    pub fn from_now(mut self) -> Self {
        self.from_now = true;
        self
    }

    /// Runs `handler` with each event, in the order of its shard, on a thread of its own, until it is stopped.
    ///
    /// An error of the handler is told in [`Running::state`], and the same event is given to it again after a pause. The
    /// position is saved soon after; what was handled and not saved when the process ends is handled again: send commands
    /// under [`Delivered::key`].
    pub fn run<E: std::fmt::Display>(
        self,
        mut handler: impl FnMut(&Delivered) -> Result<(), E> + Send + 'static,
    ) -> Result<Running, ConsumerError> {
        let fits =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(fits) {
            return Err(ConsumerError::Name(self.name));
        }
        let engine = self.app.engine().clone();
        if engine.is_read_only() {
            return Err(ConsumerError::ReadOnly);
        }
        check_types(&engine, &self.filter)?;
        let shared = Arc::new(Shared::default());
        let mut work = Work::open(&self, engine, Arc::clone(&shared))?;
        let thread = std::thread::Builder::new().name(format!("consumer {}", self.name));
        let waker = self.app.engine().clone();
        // The app is held by the thread: the log stays open while the consumer runs.
        let app = self.app;
        let thread = thread.spawn(move || {
            work.run(&mut |delivered| handler(delivered).map_err(|error| error.to_string()));
            drop(app);
        });
        let thread = thread.map_err(|error| SubscribeError::Thread { reason: error.to_string() })?;
        Ok(Running { name: self.name, shared, engine: waker, thread: Some(thread) })
    }
}

/// A consumer that runs. Dropping it stops it, after the event at hand.
pub struct Running {
    name: String,
    shared: Arc<Shared>,
    engine: Engine,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    state: Mutex<ConsumerState>,
    cursor: Mutex<Cursor>,
}

impl Running {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> ConsumerState {
        self.shared.state.lock().clone()
    }

    /// Everything below it was handled.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.shared.cursor.lock().clone()
    }

    /// Stops it after the event at hand, and saves its position.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.engine.wake_readers();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(consumer = self.name, "a consumer's thread panicked");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the thread of a consumer works with.
struct Work {
    engine: Engine,
    store: Arc<dyn ViewStore>,
    view: ViewId,
    filter: Filter,
    cursor: Cursor,
    saved: Positions,
    reached: Positions,
    saved_at: Instant,
    shared: Arc<Shared>,
}

/// The consumer is to stop.
struct Over;

impl Work {
    fn open(consumer: &Consumer, engine: Engine, shared: Arc<Shared>) -> Result<Self, ConsumerError> {
        let store = Arc::clone(consumer.app.views().store());
        let tenant = consumer.filter.tenant.as_ref().map(|tenant| format!("{tenant}:")).unwrap_or_default();
        let view = ViewId::first(format!("consumer:{tenant}{}", consumer.name), 1);
        store.create(&view, &Layout::default())?;
        let saved = store.positions(&view)?;
        let shards = engine.log().identity().shards;
        let mut cursor = Cursor::start(shards);
        for shard in (0..shards).map(ShardId) {
            let at = match saved.get(shard.0 as usize).copied().flatten() {
                Some(bookmark) => bookmark
                    .resume(engine.log().as_ref(), shard)
                    .map_err(|error| ConsumerError::Bookmark { shard, error })?,
                None if consumer.from_now && saved.iter().all(Option::is_none) => engine.log().end(shard),
                None => Offset(0),
            };
            cursor.set(shard, at);
        }
        let mut reached = saved.clone();
        reached.resize(shards as usize, None);
        *shared.cursor.lock() = cursor.clone();
        let filter = consumer.filter.clone();
        Ok(Self { engine, store, view, filter, cursor, saved, reached, saved_at: Instant::now(), shared })
    }

    fn run(&mut self, handler: &mut dyn FnMut(&Delivered) -> Result<(), String>) {
        while !self.shared.stopping.load(Ordering::SeqCst) {
            let before = self.cursor.clone();
            for shard in self.filter.shards(&self.engine) {
                match self.take(shard, handler) {
                    Ok(Ok(())) => {}
                    Ok(Err(Over)) => break,
                    Err(error) => {
                        let reason = error.to_string();
                        tracing::error!(consumer = self.view.name, reason, "a consumer stands still");
                        self.set_state(ConsumerState::Stopped { reason });
                        return;
                    }
                }
            }
            let idle = self.cursor == before;
            if (idle || self.saved_at.elapsed() >= SAVE) && !self.save() {
                return;
            }
            if idle {
                self.engine.wait_beyond(&self.cursor, TURN);
            }
        }
        self.save();
    }

    /// Handles a chunk of a shard.
    fn take(
        &mut self,
        shard: ShardId,
        handler: &mut dyn FnMut(&Delivered) -> Result<(), String>,
    ) -> Result<Result<(), Over>, QueryError> {
        let page = self.filter.read(self.engine.log().as_ref(), shard, self.cursor.of(shard))?;
        for passed in page.records {
            let bookmark = passed.bookmark;
            let mut cursor = self.cursor.clone();
            cursor.set(shard, bookmark.offset.next());
            let passed = Arc::new(passed);
            let positions: Vec<_> = passed.events().map(|stored| stored.position).collect();
            for position in positions {
                let delivered = Delivered { passed: Arc::clone(&passed), position, cursor: cursor.clone() };
                if self.handle(&delivered, handler).is_err() {
                    return Ok(Err(Over));
                }
            }
            self.reach(shard, bookmark, cursor);
            if self.saved_at.elapsed() >= SAVE && !self.save() {
                return Ok(Err(Over));
            }
        }
        let mut cursor = self.cursor.clone();
        cursor.set(shard, page.next);
        if let Some(last) = page.last {
            self.reach(shard, last, cursor);
        } else {
            self.cursor = cursor;
        }
        Ok(Ok(()))
    }

    /// Runs the handler until it takes the event, or the consumer is stopped.
    fn handle(
        &self,
        delivered: &Delivered,
        handler: &mut dyn FnMut(&Delivered) -> Result<(), String>,
    ) -> Result<(), Over> {
        let mut pause = RETRY.0;
        while !self.shared.stopping.load(Ordering::SeqCst) {
            let Err(reason) = handler(delivered) else {
                self.set_state(ConsumerState::Following);
                return Ok(());
            };
            let position = delivered.position();
            tracing::warn!(consumer = self.view.name, %position, reason, "an event is handled again");
            self.set_state(ConsumerState::Retrying { reason });
            let until = Instant::now() + pause;
            while Instant::now() < until && !self.shared.stopping.load(Ordering::SeqCst) {
                std::thread::sleep(RETRY.0.min(pause));
            }
            pause = (pause * 2).min(RETRY.1);
        }
        Err(Over)
    }

    fn reach(&mut self, shard: ShardId, bookmark: annals_log::Bookmark, cursor: Cursor) {
        if let Some(slot) = self.reached.get_mut(shard.0 as usize) {
            *slot = Some(bookmark);
        }
        *self.shared.cursor.lock() = cursor.clone();
        self.cursor = cursor;
    }

    /// Saves the position; `false` where it cannot go on.
    fn save(&mut self) -> bool {
        self.saved_at = Instant::now();
        if self.reached == self.saved {
            return true;
        }
        let change = Change { from: self.saved.clone(), to: self.reached.clone(), ..Change::default() };
        match self.store.save(&self.view, &change) {
            Ok(()) => self.saved.clone_from(&self.reached),
            Err(error @ StoreError::Failed { .. }) => {
                tracing::warn!(consumer = self.view.name, %error, "the position is saved later");
            }
            Err(error) => {
                let reason = error.to_string();
                tracing::error!(consumer = self.view.name, reason, "a consumer stands still");
                self.set_state(ConsumerState::Stopped { reason });
                return false;
            }
        }
        true
    }

    fn set_state(&self, state: ConsumerState) {
        *self.shared.state.lock() = state;
    }
}
