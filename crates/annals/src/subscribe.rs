//! Events as they happen, from Rust: streams, and consumers that remember where they are.
//!
//! Invariant: no gap and nothing twice. A stream goes on from the cursor of any event it gave; a consumer's position is
//! saved after its handler has done its work, so a crash in between repeats the handler: what it sends goes under a key
//! made from the event's place ([`Delivered::key`]), and then has one effect.

mod consumer;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use annals_core::event::StoredEvent;
use annals_core::{Cursor, Events, Offset, Position, Recorded, ShardId, StreamName};
use annals_engine::{Engine, Filter, HistoryEvent, Passed, QueryError};
use tokio::sync::mpsc;

pub use consumer::{Consumer, ConsumerError, ConsumerState, Running};

use crate::app::App;

/// How long a thread waits for news before it looks whether somebody still listens.
const TURN: Duration = Duration::from_millis(250);

/// An event that was delivered.
#[derive(Clone, Debug)]
pub struct Delivered {
    passed: Arc<Passed>,
    position: Position,
    cursor: Cursor,
}

/// Events that cannot be delivered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// Give a cursor of this log.
    #[error("cursor {cursor} is not of this log, which ends at {end}")]
    Cursor {
        /// The cursor given.
        cursor: String,
        /// The log's end.
        end: String,
    },
    /// Name an event that the context knows.
    #[error("the context has no event {name:?}")]
    UnknownType {
        /// The name given.
        name: String,
    },
    /// Let the process have more threads.
    #[error("no thread could be started to follow the log: {reason}")]
    Thread {
        /// What the operating system said.
        reason: String,
    },
    /// It says what to do.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl Delivered {
    /// Where the event is.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Where a subscription goes on that has taken in this event's record: all of its events, of which this may be one.
    /// One that breaks off within a record gets the whole record again.
    #[must_use]
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// The event as its type; `None` where `E` does not hold it.
    #[must_use]
    pub fn event<E: Events>(&self) -> Option<Result<Recorded<E>, annals_core::codec::DecodeError>> {
        self.stored()?.decode()
    }

    /// The event as it is shown: its stored name, its fields, and what is around it.
    #[must_use]
    pub fn show(&self) -> Option<HistoryEvent> {
        self.stored().map(|stored| HistoryEvent::of(&stored))
    }

    /// A key for a command that this event gives rise to: the same for the same event and purpose, so that a handler that
    /// is run again sends no second command.
    ///
    /// It is made of stream and version, not of the place in the log: a copy of the log gives the same keys.
    #[must_use]
    pub fn key(&self, purpose: &str) -> String {
        match self.stored() {
            Some(stored) => format!("{purpose}:{}:{}", stored.slice.stream, stored.version),
            None => format!("{purpose}:{}", self.position),
        }
    }

    fn stored(&self) -> Option<StoredEvent<'_>> {
        self.passed.events().find(|stored| stored.position == self.position)
    }
}

/// Which events are wanted, and from where. [`Subscribe::start`] begins.
#[must_use = "a subscription begins with start"]
pub struct Subscribe {
    app: App,
    filter: Filter,
    from: From,
}

enum From {
    Start,
    Now,
    Cursor(Cursor),
}

impl App {
    /// Asks for events as they happen: all that the log holds of the app's tenant, and then live.
    pub fn subscribe(&self) -> Subscribe {
        let filter = Filter { tenant: self.tenant_name().cloned(), ..Filter::default() };
        Subscribe { app: self.clone(), filter, from: From::Start }
    }

    /// A consumer called `name`: a handler for events that goes on, after a restart, where it was.
    pub fn consumer(&self, name: impl Into<String>) -> Consumer {
        Consumer::new(self.clone(), name.into())
    }
}

impl Subscribe {
    /// Goes on from the cursor of an event ([`Delivered::cursor`]).
    pub fn from(mut self, cursor: Cursor) -> Self {
        self.from = From::Cursor(cursor);
        self
    }

    /// Only what happens from now on.
    pub fn from_now(mut self) -> Self {
        self.from = From::Now;
        self
    }

    /// Only events of these stored names.
    pub fn types<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.filter.types = Some(names.into_iter().map(Into::into).collect::<BTreeSet<String>>());
        self
    }

    /// Only events of this stream, such as `account/ann`.
    pub fn stream(mut self, stream: StreamName) -> Self {
        self.filter.stream = Some(stream);
        self
    }

    /// Only events with this tag.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.filter.tag = Some(tag.into());
        self
    }

    /// Begins. A slow reader holds one chunk of the log; nobody waits for it.
    pub fn start(self) -> Result<Subscription, SubscribeError> {
        let engine = self.app.engine().clone();
        check_types(&engine, &self.filter)?;
        let cursor = start(&engine, self.from)?;
        let (sender, events) = mpsc::channel(1);
        let feed = Feed { engine: engine.clone(), filter: self.filter, cursor };
        let thread = std::thread::Builder::new().name("subscription".to_owned());
        let thread = thread.spawn(move || feed.run(&sender));
        let thread = thread.map_err(|error| SubscribeError::Thread { reason: error.to_string() })?;
        Ok(Subscription { events, engine, thread: Some(thread) })
    }
}

fn check_types(engine: &Engine, filter: &Filter) -> Result<(), SubscribeError> {
    match filter.types.iter().flatten().find(|name| !engine.context().knows_event(name)) {
        Some(name) => Err(SubscribeError::UnknownType { name: name.clone() }),
        None => Ok(()),
    }
}

fn start(engine: &Engine, from: From) -> Result<Cursor, SubscribeError> {
    let log = engine.log();
    let shards = log.identity().shards;
    let end = Cursor((0..shards).map(|shard| log.end(ShardId(shard))).collect());
    match from {
        From::Start => Ok(Cursor::start(shards)),
        From::Now => Ok(end),
        From::Cursor(cursor) => {
            let fits =
                cursor.0.len() == end.0.len() && cursor.0.iter().zip(&end.0).all(|(at, end)| at <= end);
            let wrong = || SubscribeError::Cursor { cursor: cursor.to_string(), end: end.to_string() };
            if fits { Ok(cursor) } else { Err(wrong()) }
        }
    }
}

/// Events as they happen: a stream of them, which ends after its first error. Dropping it ends the subscription.
pub struct Subscription {
    events: mpsc::Receiver<Result<Delivered, SubscribeError>>,
    engine: Engine,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.events.close();
        self.engine.wake_readers();
        // Nothing of it holds the log open any longer.
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a subscription's thread panicked");
        }
    }
}

impl Subscription {
    /// The next event; `None` after an error.
    pub async fn next(&mut self) -> Option<Result<Delivered, SubscribeError>> {
        self.events.recv().await
    }

    /// The next event, for programs without an async runtime: blocks until there is one.
    pub fn wait(&mut self) -> Option<Result<Delivered, SubscribeError>> {
        self.events.blocking_recv()
    }
}

impl futures_core::Stream for Subscription {
    type Item = Result<Delivered, SubscribeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_recv(cx)
    }
}

/// A way through the log.
struct Feed {
    engine: Engine,
    filter: Filter,
    /// Everything below it was handed over.
    cursor: Cursor,
}

impl Feed {
    fn run(mut self, sender: &mpsc::Sender<Result<Delivered, SubscribeError>>) {
        while !sender.is_closed() {
            let before = self.cursor.clone();
            for shard in self.filter.shards(&self.engine) {
                let read = self.take(shard, &mut |delivered| sender.blocking_send(Ok(delivered)).is_ok());
                match read {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => return drop(sender.blocking_send(Err(error.into()))),
                }
            }
            if self.cursor == before {
                self.engine.wait_beyond(&self.cursor, TURN);
            }
        }
    }

    /// Hands over a chunk of a shard; whether somebody takes it.
    fn take(&mut self, shard: ShardId, give: &mut dyn FnMut(Delivered) -> bool) -> Result<bool, QueryError> {
        let from: Offset = self.cursor.of(shard);
        let page = self.filter.read(self.engine.log().as_ref(), shard, from)?;
        for passed in page.records {
            self.cursor.set(shard, passed.bookmark.offset.next());
            let passed = Arc::new(passed);
            let positions: Vec<Position> = passed.events().map(|stored| stored.position).collect();
            for position in positions {
                let (passed, cursor) = (Arc::clone(&passed), self.cursor.clone());
                if !give(Delivered { passed, position, cursor }) {
                    return Ok(false);
                }
            }
        }
        self.cursor.set(shard, page.next);
        Ok(true)
    }
}
