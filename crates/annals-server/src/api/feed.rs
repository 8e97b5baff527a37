//! Events as they happen, as server-sent events: from a cursor up to the log's end, then live.
//!
//! Invariant: the `id` of a message is the cursor after the record it came from, and only the last message of a
//! record carries one. So whoever goes on from the last `id` sees every event once: a record of which only a
//! part arrived comes again from its start, in whole.
//!
//! The stream pulls: it reads one chunk of one shard, hands its events over one by one as the client takes them,
//! and reads the next. A client that is slow holds one chunk, nobody waits for it.

mod page;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use annals_core::{Cursor, ShardId, Tenant};
use annals_engine::{Engine, Filter};
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::Instant;

use crate::app::App;
use crate::blocking;
use crate::input::{self, Parameters, Segments};
use crate::problem::{Kind, Problem};
use crate::serve::Closing;

/// `GET /api/{context}/events`
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    Segments(context): Segments<String>,
    mut parameters: Parameters,
    headers: HeaderMap,
    closing: Option<Extension<Closing>>,
) -> Result<Response, Problem> {
    let hosted = app.hosted(&context)?;
    let filter = filter(&hosted.engine, input::tenant(&headers)?, &mut parameters)?;
    let from = parameters.take("from")?;
    parameters.finish(&["from", "type", "stream", "tag"])?;
    let resumed = input::text(&headers, input::LAST_EVENT_ID)?.map(str::to_owned);
    let cursor = start(&hosted.engine, resumed.or(from).as_deref())?;
    let busy = |_| {
        let detail = format!("{} event streams are open, which is the most", app.limits.subscribers_max);
        Problem::new(Kind::Busy, detail).retry_after(Duration::from_secs(5))
    };
    let place = Arc::clone(&app.subscriptions).try_acquire_owned().map_err(busy)?;
    let unavailable =
        |error| Problem::new(Kind::Unavailable, format!("no thread could follow the log: {error}"));
    let ends = hosted.tide.subscribe().map_err(unavailable)?;
    let (sender, receiver) = mpsc::channel(1);
    let feed = Feed {
        engine: hosted.engine.clone(),
        filter: Arc::new(filter),
        cursor,
        ends,
        sender,
        closing: closing.map(|Extension(closing)| closing),
        heartbeat: app.limits.heartbeat,
        said: Instant::now(),
        _place: place,
    };
    tokio::spawn(feed.run());
    Ok(([("x-accel-buffering", "no")], Sse::new(Messages(receiver))).into_response())
}

/// Which events the caller wants.
fn filter(engine: &Engine, tenant: Option<Tenant>, parameters: &mut Parameters) -> Result<Filter, Problem> {
    let types: Option<BTreeSet<String>> =
        parameters.take("type")?.map(|types| types.split(',').map(str::to_owned).collect());
    if let Some(unknown) = types.iter().flatten().find(|name| !engine.context().knows_event(name)) {
        let detail = format!("{} has no event {unknown:?}", engine.context().name());
        return Err(Problem::new(Kind::InvalidParameter, detail).with("parameter", "type"));
    }
    let stream = match parameters.take("stream")? {
        None => None,
        Some(name) => match name.split_once('/') {
            Some((kind, id)) => Some(super::stream(engine, tenant.as_ref(), kind, id)?),
            None => {
                let detail = format!("{name:?} is not a stream; write decider/id");
                return Err(Problem::new(Kind::InvalidParameter, detail).with("parameter", "stream"));
            }
        },
    };
    let tag = parameters.take("tag")?;
    Ok(Filter { types, stream, tag, tenant })
}

/// Where to begin: at a cursor, at the `start`, which is the default, or `now`.
fn start(engine: &Engine, from: Option<&str>) -> Result<Cursor, Problem> {
    let log = engine.log();
    let shards = log.identity().shards;
    let ends = Cursor((0..shards).map(|shard| log.end(ShardId(shard))).collect());
    let cursor: Cursor = match from {
        None | Some("start") => return Ok(Cursor::start(shards)),
        Some("now") => return Ok(ends),
        Some(text) => text.parse()?,
    };
    if cursor.0.len() != ends.0.len() {
        let detail = format!("cursor {cursor} has {} offsets, the log has {shards} shards", cursor.0.len());
        return Err(Problem::new(Kind::InvalidCursor, detail));
    }
    if cursor.0.iter().zip(&ends.0).any(|(asked, end)| asked > end) {
        let detail = format!("cursor {cursor} lies beyond the log's end {ends}: it is of another log");
        return Err(Problem::new(Kind::InvalidCursor, detail));
    }
    Ok(cursor)
}

/// One client's way through the log.
struct Feed {
    engine: Engine,
    filter: Arc<Filter>,
    /// Everything below it was handed over.
    cursor: Cursor,
    ends: watch::Receiver<Cursor>,
    sender: mpsc::Sender<Event>,
    closing: Option<Closing>,
    heartbeat: Duration,
    /// When something was last handed over.
    said: Instant,
    _place: OwnedSemaphorePermit,
}

/// The client is gone, or the server stops.
struct Over;

impl Feed {
    async fn run(mut self) {
        // The cursor at once: a client that breaks off before the first event goes on from here.
        let hello = Event::default().retry(Duration::from_secs(1)).id(self.cursor.to_string());
        if self.say(hello).await.is_err() {
            return;
        }
        loop {
            // Before reading, so that what comes while it reads wakes it again.
            self.ends.borrow_and_update();
            let before = self.cursor.clone();
            match self.pass().await {
                Ok(()) if self.cursor == before => {
                    if self.rest().await.is_err() {
                        return;
                    }
                }
                Ok(()) => {}
                Err(Some(problem)) => {
                    let told = Event::default().event("problem").data(problem.document().to_string());
                    let _ = self.say(told).await;
                    return;
                }
                Err(None) => return,
            }
        }
    }

    /// Hands over one chunk of each shard. `Err(None)` where it is over.
    async fn pass(&mut self) -> Result<(), Option<Problem>> {
        for shard in self.filter.shards(&self.engine) {
            let (engine, filter, from) =
                (self.engine.clone(), Arc::clone(&self.filter), self.cursor.of(shard));
            let page = blocking::run(move || page::read(&engine, &filter, shard, from)).await??;
            for record in page.records {
                let last = record.events.len().saturating_sub(1);
                self.cursor.set(shard, record.next);
                for (index, json) in record.events.into_iter().enumerate() {
                    let event = Event::default().data(json);
                    let event = if index == last { event.id(self.cursor.to_string()) } else { event };
                    self.say(event).await.map_err(|Over| None)?;
                }
            }
            self.cursor.set(shard, page.next);
            if self.said.elapsed() >= self.heartbeat {
                self.beat().await.map_err(|Over| None)?;
            }
        }
        Ok(())
    }

    /// Waits for the log to grow.
    async fn rest(&mut self) -> Result<(), Over> {
        let silent_until = self.said + self.heartbeat;
        tokio::select! {
            () = self.sender.closed() => Err(Over),
            () = Closing::of(self.closing.clone()) => Err(Over),
            moved = self.ends.changed() => moved.map_err(|_| Over),
            () = tokio::time::sleep_until(silent_until) => self.beat().await,
        }
    }

    /// Says that it is alive, and how far it is: a filter may let nothing through for long.
    async fn beat(&mut self) -> Result<(), Over> {
        self.say(Event::default().comment("alive").id(self.cursor.to_string())).await
    }

    async fn say(&mut self, event: Event) -> Result<(), Over> {
        let said = tokio::select! {
            said = self.sender.send(event) => said.map_err(|_| Over),
            () = Closing::of(self.closing.clone()) => Err(Over),
        };
        self.said = Instant::now();
        said
    }
}

/// The messages as the response's body takes them.
struct Messages(mpsc::Receiver<Event>);

impl Stream for Messages {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|event| event.map(Ok))
    }
}
