//! Events as they are recorded: the records of a shard that a filter lets through, and a wake-up when there are more.
//!
//! A filter on one stream or one tag reads by the index, any other reads the shard in order. What is read is durable, so
//! every reader of the same prefix gets the same events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use annals_core::envelope::{Header, Record};
use annals_core::event::{StoredEvent, events};
use annals_core::index::Term;
use annals_core::{Cursor, Offset, Position, ShardId, StreamName, Tenant};
use annals_log::{Bookmark, Log, RawRecord};
use parking_lot::{Condvar, Mutex};

use crate::engine::Engine;
use crate::error::QueryError;

/// How many bytes of envelopes are read at a time: what one reader may hold.
const CHUNK_BYTES: usize = 64 * 1024;
/// How many records are read at a time by the index.
const CHUNK_RECORDS: usize = 64;
/// How long a thread of a tide waits on the log at a time: what the end of an engine waits for at most.
const TURN: Duration = Duration::from_millis(100);

/// Which events pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Events of these stored names; of all where there is none.
    pub types: Option<BTreeSet<String>>,
    /// Events of this stream; of all where there is none.
    pub stream: Option<StreamName>,
    /// Events with this tag; with any or none where there is none.
    pub tag: Option<String>,
    /// Events of this tenant; of those that have none where there is none.
    pub tenant: Option<Tenant>,
}

/// A record with events that passed.
#[derive(Clone, Debug)]
pub struct Passed {
    /// Where it is.
    pub bookmark: Bookmark,
    /// Its shard.
    pub shard: ShardId,
    record: Record,
    /// The places of the events that passed.
    indexes: Vec<u32>,
}

/// What was read of a shard.
#[derive(Clone, Debug, Default)]
pub struct FeedPage {
    /// Records with at least one event that passed.
    pub records: Vec<Passed>,
    /// Where to go on.
    pub next: Offset,
    /// The last record that was looked at, whether it passed or not.
    pub last: Option<Bookmark>,
}

impl Passed {
    /// The events that passed, in order.
    pub fn events(&self) -> impl Iterator<Item = StoredEvent<'_>> {
        let all = events(self.shard, self.bookmark.offset, &self.record);
        all.filter(|stored| self.indexes.contains(&stored.position.index))
    }
}

impl Filter {
    /// The shards that can hold what passes.
    #[must_use]
    pub fn shards(&self, engine: &Engine) -> Vec<ShardId> {
        let shards = engine.log().identity().shards;
        match self.stream.as_ref().and_then(|stream| engine.context().shard_of(stream, shards)) {
            Some(shard) => vec![shard],
            None => (0..shards).map(ShardId).collect(),
        }
    }

    /// Reads the next chunk of `shard` from `from` on.
    pub fn read(&self, log: &dyn Log, shard: ShardId, from: Offset) -> Result<FeedPage, QueryError> {
        let Some(term) = self.term() else {
            let chunk = log.read(shard, from, CHUNK_BYTES)?;
            let last = chunk.records.last().map(|raw| Bookmark::at(log, raw));
            let records = self.pass_all(log, shard, &chunk.records)?;
            return Ok(FeedPage { records, next: chunk.next.max(from), last });
        };
        // The end before the search: what comes meanwhile is found the next time.
        let end = log.end(shard);
        let offsets = log.find(shard, term, from, CHUNK_RECORDS)?;
        let next = match offsets.last() {
            Some(last) if offsets.len() == CHUNK_RECORDS => last.next(),
            last => end.max(from).max(last.map_or(from, |last| last.next())),
        };
        let mut found = Vec::with_capacity(offsets.len());
        for offset in offsets {
            found.extend(log.get(shard, offset)?);
        }
        let last = found.last().map(|raw| Bookmark::at(log, raw));
        Ok(FeedPage { records: self.pass_all(log, shard, &found)?, next, last })
    }

    fn term(&self) -> Option<Term> {
        let tenant = self.tenant.as_ref().map_or("", Tenant::as_str);
        let stream = self.stream.as_ref().map(|stream| Term::stream(stream.as_str()));
        stream.or_else(|| self.tag.as_ref().map(|tag| Term::tag(tenant, tag)))
    }

    fn pass_all(
        &self,
        log: &dyn Log,
        shard: ShardId,
        records: &[RawRecord],
    ) -> Result<Vec<Passed>, QueryError> {
        let own = records.iter().filter(|raw| matches!(raw.header, Header::Record { .. }));
        let passed = own.map(|raw| self.pass(log, shard, raw));
        passed.filter_map(Result::transpose).collect()
    }

    fn pass(&self, log: &dyn Log, shard: ShardId, raw: &RawRecord) -> Result<Option<Passed>, QueryError> {
        let record = Record::from_bytes(raw.envelope.clone()).map_err(|error| QueryError::Unreadable {
            position: Position { shard, offset: raw.offset, index: 0 },
            reason: error.to_string(),
        })?;
        if record.tenant != self.tenant.as_ref().map_or("", Tenant::as_str) {
            return Ok(None);
        }
        let wanted = events(shard, raw.offset, &record).filter(|stored| self.admits(stored));
        let indexes: Vec<u32> = wanted.map(|stored| stored.position.index).collect();
        let bookmark = Bookmark::at(log, raw);
        Ok(if indexes.is_empty() { None } else { Some(Passed { bookmark, shard, record, indexes }) })
    }

    fn admits(&self, stored: &StoredEvent<'_>) -> bool {
        self.stream.as_ref().is_none_or(|stream| stream.as_str() == stored.slice.stream)
            && self.types.as_ref().is_none_or(|types| types.contains(&stored.event.name))
            && self.tag.as_ref().is_none_or(|tag| stored.event.tags.contains(tag))
    }
}

/// The ends of a log's shards as they move, for all who wait: one thread a shard, from the first who waits on.
#[derive(Default)]
pub(crate) struct Tide {
    state: Arc<State>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    ends: Mutex<Ends>,
    moved: Condvar,
}

#[derive(Default)]
struct Ends {
    cursor: Cursor,
    started: bool,
    stopping: bool,
}

impl Tide {
    /// Returns once one of the log's ends lies beyond `seen`, or after `timeout`, or earlier.
    ///
    /// Where no thread can be had, it looks again after a moment.
    pub(crate) fn wait(&self, log: &Arc<dyn Log>, seen: &Cursor, timeout: Duration) {
        let until = Instant::now() + timeout;
        let mut ends = self.state.ends.lock();
        if !ends.started && !ends.stopping {
            ends.started = true;
            ends.cursor = Cursor::start(log.identity().shards);
            for shard in (0..log.identity().shards).map(ShardId) {
                let (log, state) = (Arc::clone(log), Arc::clone(&self.state));
                let thread = thread::Builder::new().name(format!("feed-{shard}"));
                match thread.spawn(move || follow(log.as_ref(), &state, shard)) {
                    Ok(thread) => self.threads.lock().push(thread),
                    Err(error) => {
                        tracing::warn!(%shard, %error, "subscriptions look for news now and then");
                        ends.started = false;
                    }
                }
            }
        }
        let most = if ends.started { until } else { until.min(Instant::now() + TURN / 10) };
        let news = (0_u32..).map(ShardId).zip(&ends.cursor.0).any(|(shard, end)| *end > seen.of(shard));
        if !news {
            self.state.moved.wait_until(&mut ends, most);
        }
    }

    /// Lets all who wait look whether they are still wanted.
    pub(crate) fn wake(&self) {
        let _ends = self.state.ends.lock();
        self.state.moved.notify_all();
    }

    /// Ends the threads, so that nothing of them holds the log any more.
    pub(crate) fn stop(&self) {
        self.state.ends.lock().stopping = true;
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that follows the log panicked");
            }
        }
    }
}

/// The life of a thread.
fn follow(log: &dyn Log, state: &State, shard: ShardId) {
    let mut seen = Offset(0);
    loop {
        let end = log.end(shard);
        let mut ends = state.ends.lock();
        if ends.stopping {
            return;
        }
        if end > seen {
            seen = end;
            ends.cursor.set(shard, end);
            state.moved.notify_all();
        }
        drop(ends);
        log.wait(shard, seen, TURN);
    }
}
