//! The fold of one view: reads the log, projects, saves. Synchronous; whoever calls [`Folder::step`] drives it.
//!
//! A step takes a batch from all shards in turn, in passes that read some records, load the documents they
//! touch and project their events in order; then it saves documents and positions in one transaction. A batch
//! ends between two records.
//!
//! Invariant: an event that cannot be read or projected is never left out silently. Where the projection says to stop,
//! the batch is thrown away and folded again up to the record before it, that is saved, and every later step gives the
//! same error. Otherwise the event is set aside in the same transaction (`aside`).

mod aside;
mod error;
mod reached;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::context::{AnyProjection, Input};
use annals_core::envelope::{Header, Record};
use annals_core::event::{self, StoredEvent};
use annals_core::{Context, Cursor, Fate, Offset, OnBadEvent, Position, ShardId, Tenant, Timestamp};
use annals_log::{Bookmark, Log, RawRecord};

use aside::Aside;
pub use aside::Retried;
pub use error::FoldError;
pub(crate) use reached::Reached;
pub(crate) use reached::recorded_at;

use crate::documents::{Documents, Written};
use crate::index_key::IndexKey;
use crate::store::{
    Change, Document, DocumentKey, Layout, MemoryStore, Positions, SetAside, ViewId, ViewStore,
};

/// Events or records read before they are projected: so few that what was decoded is still in the processor's
/// caches.
const PASS_MAX: usize = 512;
/// Records that changed no document are not worth a transaction each: positions alone are saved this often.
const IDLE_RECORDS_MAX: u64 = 50_000;

/// How much a batch and the cache may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A batch ends with the chunk of records in which it reaches this many events.
    pub batch_events: usize,
    /// A batch ends when it was read for this long.
    pub batch_time: Duration,
    /// How much of a shard is read at once, in bytes of envelopes; at least one record.
    pub chunk_bytes: usize,
    /// Decoded documents kept between batches, roughly in bytes.
    pub cache_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_events: 20_000,
            batch_time: Duration::from_millis(200),
            chunk_bytes: 128 * 1024,
            cache_bytes: 64 * 1024 * 1024,
        }
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It took in so many records; there may be more.
    Moved {
        /// The records, also those the view does not read.
        records: u64,
    },
    /// The view is at the log's end.
    Idle,
}

/// Folds the log into one view of a store.
pub struct Folder {
    context: Arc<Context>,
    projection: Arc<dyn AnyProjection>,
    log: Arc<dyn Log>,
    store: Arc<dyn ViewStore>,
    view: ViewId,
    limits: Limits,
    documents: Documents,
    /// What the store holds; `None` before the first step and after an error.
    saved: Option<Positions>,
    reached: Reached,
    unsaved_records: u64,
    /// The shard a batch begins with: each in its turn, so that none starves.
    turn: u32,
    halt: Option<Halt>,
    /// Where it does not read on.
    ceiling: Option<Cursor>,
    /// The one document that is folded, where it is one only.
    only: Option<DocumentKey>,
    aside: Aside,
    /// The event at which the projection panicked last.
    panicked: Option<Position>,
}

/// The record at which the view stands still.
struct Halt {
    shard: ShardId,
    offset: Offset,
    error: FoldError,
}

/// An event read, and the documents it goes to.
struct Work {
    input: Input,
    keys: Vec<DocumentKey>,
    position: Position,
}

/// Records read at one go.
struct Pass {
    work: Vec<Work>,
    reached: Reached,
    records: u64,
}

impl Folder {
    /// A fold of `projection` from where `store` stands. Nothing is read yet.
    #[must_use]
    pub fn new(
        context: Arc<Context>,
        projection: Arc<dyn AnyProjection>,
        log: Arc<dyn Log>,
        store: Arc<dyn ViewStore>,
        limits: Limits,
    ) -> Self {
        let view = ViewId::first(projection.name(), projection.revision());
        let documents = Documents::new(limits.cache_bytes, false);
        let reached = Reached::start(log.as_ref());
        let (saved, unsaved_records, turn, halt, ceiling) = (None, 0, 0, None, None);
        Self {
            context,
            projection,
            log,
            store,
            view,
            limits,
            documents,
            saved,
            reached,
            unsaved_records,
            turn,
            halt,
            ceiling,
            only: None,
            aside: Aside::default(),
            panicked: None,
        }
    }

    /// The fold of another build than the first of the projection's revision.
    #[must_use]
    pub fn into_build(self, view: ViewId) -> Self {
        Self { view, ..self }
    }

    /// Reads up to `ceiling` and not on; `None` for the log's end.
    pub fn set_ceiling(&mut self, ceiling: Option<Cursor>) {
        self.ceiling = ceiling;
    }

    /// Folds this document and no other.
    pub(crate) fn set_only(&mut self, key: DocumentKey) {
        self.only = Some(key);
    }

    /// Folds to the end, or until `goes_on` says no; documents stay decoded until then and are written once. After a panic
    /// whose event is set aside it begins anew.
    pub(crate) fn fold_whole(&mut self, goes_on: impl Fn() -> bool) -> Result<(), FoldError> {
        while goes_on() {
            match self.fold_pass() {
                Ok(pass) if pass.records == 0 => break,
                Ok(_) => {}
                Err(error) => {
                    self.saved = None;
                    match &error {
                        FoldError::Event { position, reason } if self.condemned(*position, reason) => {}
                        _ => return Err(error),
                    }
                }
            }
        }
        self.try_save()
    }

    /// The offset after the last record that is read of a shard.
    fn end(&self, shard: ShardId) -> Offset {
        let end = self.log.end(shard);
        self.ceiling.as_ref().map_or(end, |ceiling| end.min(ceiling.of(shard)))
    }

    /// The view that is folded.
    #[must_use]
    pub fn view(&self) -> &ViewId {
        &self.view
    }

    /// The next offset to read in each shard.
    #[must_use]
    pub fn cursor(&self) -> &Cursor {
        &self.reached.cursor
    }

    pub(crate) fn reached(&self) -> &Reached {
        &self.reached
    }

    /// Takes in the next batch and saves it.
    ///
    /// After an error the next step begins again at what is saved; unless [`FoldError::is_passing`], it will
    /// come to the same error.
    pub fn step(&mut self) -> Result<Step, FoldError> {
        loop {
            let error = match self.take_batch() {
                Ok(step) => return Ok(step),
                Err(error) => error,
            };
            self.saved = None;
            if let FoldError::Event { position, reason } = &error
                && self.condemned(*position, reason)
            {
                continue;
            }
            match (&error, &self.halt) {
                (FoldError::Event { position, .. }, None) => {
                    let Position { shard, offset, .. } = *position;
                    self.halt = Some(Halt { shard, offset, error });
                }
                _ => return Err(error),
            }
        }
    }

    /// Remembers an event at which the projection panicked, where it is to be set aside; whether that is news, and the
    /// batch is to be folded again without it.
    fn condemned(&mut self, position: Position, reason: &str) -> bool {
        let panicked = self.panicked.take() == Some(position);
        panicked
            && self.projection.on_bad_event() != OnBadEvent::Stop
            && self.aside.condemn(position, reason.to_owned())
    }

    /// Saves what is not saved yet: positions of records that changed no document.
    pub fn save(&mut self) -> Result<(), FoldError> {
        let result = self.try_save();
        if result.is_err() {
            self.saved = None;
        }
        result
    }

    fn take_batch(&mut self) -> Result<Step, FoldError> {
        let before = self.reached.clone();
        // Readers trust `reached`: it must not say more than the store holds.
        let records = self.fold_batch().inspect_err(|_| self.reached = before)?;
        match self.halted() {
            Some(halt) => Err(halt.error.clone()),
            None if records == 0 => Ok(Step::Idle),
            None => Ok(Step::Moved { records }),
        }
    }

    /// Folds a batch and saves it, where there is something to save; the number of its records.
    fn fold_batch(&mut self) -> Result<u64, FoldError> {
        let until = Instant::now() + self.limits.batch_time;
        let (mut records, mut events) = (0, 0);
        loop {
            let pass = self.fold_pass()?;
            records += pass.records;
            events += pass.work.len();
            let is_full = events >= self.limits.batch_events || self.documents.is_full();
            if pass.records == 0 || is_full || Instant::now() >= until {
                break;
            }
        }
        let halted = self.halted().is_some();
        if self.documents.is_changed()
            || self.aside.is_pending()
            || self.unsaved_records >= IDLE_RECORDS_MAX
            || halted
        {
            self.try_save()?;
        }
        Ok(records)
    }

    /// Reads and projects some records without saving them.
    fn fold_pass(&mut self) -> Result<Pass, FoldError> {
        if self.saved.is_none() {
            self.resume()?;
        }
        let mut pass = self.gather()?;
        self.load(&pass.work)?;
        for work in &pass.work {
            self.project(work)?;
        }
        self.reached = std::mem::take(&mut pass.reached);
        self.unsaved_records += pass.records;
        Ok(pass)
    }

    /// The record at which the view stands still, once it was reached.
    fn halted(&self) -> Option<&Halt> {
        self.halt.as_ref().filter(|halt| self.reached.cursor.of(halt.shard) >= halt.offset)
    }

    /// Goes back to what the store holds, once it is known to fit the log.
    fn resume(&mut self) -> Result<(), FoldError> {
        self.store.create(&self.view, &Layout::of(self.projection.as_ref()))?;
        let saved = self.store.positions(&self.view)?;
        for (shard, bookmark) in (0_u32..).map(ShardId).zip(&saved) {
            let Some(bookmark) = bookmark else { continue };
            let misfit = |error| FoldError::Bookmark { shard, offset: bookmark.offset, error };
            bookmark.resume(self.log.as_ref(), shard).map_err(misfit)?;
        }
        let reached = Reached::at(self.log.as_ref(), &saved)?;
        let whole = saved.iter().all(Option::is_none);
        self.aside.resume(self.store.parked_streams(&self.view)?);
        self.documents = Documents::new(self.limits.cache_bytes, whole);
        self.reached = reached;
        self.unsaved_records = 0;
        self.saved = Some(saved);
        Ok(())
    }

    fn gather(&mut self) -> Result<Pass, FoldError> {
        let mut pass = Pass { work: Vec::new(), reached: self.reached.clone(), records: 0 };
        let events_max = self.limits.batch_events.min(PASS_MAX);
        let shards = self.log.identity().shards;
        let mut at_end = 0;
        while at_end < shards && pass.work.len() < events_max && pass.records < PASS_MAX as u64 {
            let shard = ShardId(self.turn % shards);
            self.turn = (self.turn + 1) % shards;
            at_end = if self.gather_chunk(shard, &mut pass)? { 0 } else { at_end + 1 };
        }
        Ok(pass)
    }

    /// Reads some records of one shard; whether there were any.
    fn gather_chunk(&mut self, shard: ShardId, pass: &mut Pass) -> Result<bool, FoldError> {
        let from = pass.reached.cursor.of(shard);
        let end = self.end(shard);
        if from >= end || self.halts_at(shard, from) {
            return Ok(false);
        }
        let mut chunk = self.log.read(shard, from, self.limits.chunk_bytes)?;
        if chunk.next > end {
            chunk.records.retain(|raw| raw.offset < end);
            chunk.next = end;
        }
        let halt = chunk.records.iter().position(|raw| self.halts_at(shard, raw.offset));
        let records = chunk.records.get(..halt.unwrap_or(chunk.records.len())).unwrap_or_default();
        let mut recorded_at = None;
        for raw in records {
            recorded_at = self.gather_record(shard, raw, &mut pass.work)?.or(recorded_at);
        }
        if let Some(last) = records.last() {
            pass.reached.take(shard, Bookmark::at(self.log.as_ref(), last), recorded_at);
        }
        pass.records += records.len() as u64;
        if let Some(halt) = self.halt.as_ref().filter(|_| halt.is_some()) {
            pass.reached.cursor.set(shard, halt.offset);
            return Ok(!records.is_empty());
        }
        pass.reached.cursor.set(shard, chunk.next);
        Ok(chunk.next > from)
    }

    fn halts_at(&self, shard: ShardId, offset: Offset) -> bool {
        self.halt.as_ref().is_some_and(|halt| halt.shard == shard && offset >= halt.offset)
    }

    /// Reads the events of a record; when it was recorded, where it says.
    fn gather_record(
        &mut self,
        shard: ShardId,
        raw: &RawRecord,
        work: &mut Vec<Work>,
    ) -> Result<Option<Timestamp>, FoldError> {
        let Header::Record { .. } = raw.header else { return Ok(recorded_at(raw)) };
        let bad = |index, reason| FoldError::Event {
            position: Position { shard, offset: raw.offset, index },
            reason,
        };
        let record = Record::from_bytes(raw.envelope.clone()).map_err(|error| bad(0, error.to_string()))?;
        let tenant = tenant_of(&record).map_err(|reason| bad(0, reason))?;
        for stored in event::events(shard, raw.offset, &record) {
            let index = stored.position.index;
            if !self.is_wanted(&stored).map_err(|reason| bad(index, reason))? || self.aside.waits(&stored) {
                continue;
            }
            let known = self.aside.verdict(stored.position).cloned();
            let input = match known.map_or_else(|| self.read(&stored), Err) {
                Ok(Some(input)) => input,
                Ok(None) => continue,
                Err(reason) => {
                    let policy = self.projection.on_bad_event();
                    self.aside.put(&stored, reason, policy).map_err(|reason| bad(index, reason))?;
                    continue;
                }
            };
            let (input, keys) = documents_of(input, tenant.as_ref());
            let wanted = self.only.as_ref().is_none_or(|only| keys.contains(only));
            if wanted && !keys.is_empty() {
                work.push(Work { input, keys, position: stored.position });
            }
        }
        Ok(Some(record.recorded_at()))
    }

    /// Reads an event the projection wants; `None` where it wants no such event.
    fn read(&self, stored: &StoredEvent<'_>) -> Result<Option<Input>, String> {
        let input = guarded("reading the event", || self.projection.read(stored))?;
        input.transpose().map_err(|error| error.to_string())
    }

    /// Whether the projection wants the event; an error where nobody in the context knows such events.
    fn is_wanted(&self, stored: &StoredEvent<'_>) -> Result<bool, String> {
        let name = stored.event.name.as_str();
        if self.projection.wants(name) {
            return Ok(true);
        }
        if self.context.knows_event(name) {
            return Ok(false);
        }
        Err(format!(
            "context {:?} has no event stored as {name:?}; keep the event's type, or open the log with the program that wrote it",
            self.context.name()
        ))
    }

    fn load(&mut self, work: &[Work]) -> Result<(), FoldError> {
        let keys = self.documents.missing(work.iter().flat_map(|work| &work.keys));
        if keys.is_empty() {
            return Ok(());
        }
        let stored = self.store.load(&self.view, &keys)?;
        for (key, json) in keys.into_iter().zip(stored) {
            let document = json.as_ref().map(|json| {
                guarded("reading the document", || self.projection.decode(json))?.map_err(|error| {
                    format!(
                        "it does not fit its type any more, raise the revision of {}: {error}",
                        self.view.name
                    )
                })
            });
            let document = document
                .transpose()
                .map_err(|reason| FoldError::Document { key: key.key.clone(), reason })?;
            self.documents.loaded(key, document, json.map_or(0, |json| json.len()));
        }
        Ok(())
    }

    fn project(&mut self, work: &Work) -> Result<(), FoldError> {
        for (index, key) in work.keys.iter().enumerate() {
            if self.only.as_ref().is_some_and(|only| only != key) {
                continue;
            }
            let slot = self.documents.change(key);
            let fate = guarded("projecting", || {
                let document = slot.get_or_insert_with(|| self.projection.empty());
                self.projection.project(document, index, &work.input)
            });
            match fate {
                Ok(Fate::Keep) => {}
                Ok(Fate::Delete) => *slot = None,
                Err(reason) => {
                    self.panicked = Some(work.position);
                    return Err(FoldError::Event { position: work.position, reason });
                }
            }
        }
        Ok(())
    }

    fn try_save(&mut self) -> Result<(), FoldError> {
        let set_aside = self.aside.pending();
        self.save_with(set_aside, Vec::new())?;
        self.aside.saved();
        Ok(())
    }

    /// Saves documents and positions, what is set aside and what was taken in.
    fn save_with(&mut self, set_aside: Vec<SetAside>, taken_in: Vec<Position>) -> Result<(), FoldError> {
        let Some(from) = self.saved.clone() else { return Ok(()) };
        let projection = &self.projection;
        let documents: Vec<Written> = self.documents.write(|key, document| {
            let written = guarded("writing the document", || write(projection.as_ref(), document));
            written
                .and_then(|document| document)
                .map_err(|reason| FoldError::Document { key: key.key.clone(), reason })
        })?;
        let to = self.reached.bookmarks.clone();
        if documents.is_empty() && from == to && set_aside.is_empty() && taken_in.is_empty() {
            return Ok(());
        }
        self.store.save(&self.view, &Change { documents, set_aside, taken_in, from, to: to.clone() })?;
        self.saved = Some(to);
        self.unsaved_records = 0;
        self.documents.evict();
        Ok(())
    }
}

/// Folds all of `log` into a memory store: what a reader does that may not write.
pub fn fold_in_memory(
    context: Arc<Context>,
    projection: Arc<dyn AnyProjection>,
    log: Arc<dyn Log>,
) -> Result<MemoryStore, FoldError> {
    let store = Arc::new(MemoryStore::new());
    let limits = Limits { cache_bytes: usize::MAX, ..Limits::default() };
    let mut folder = Folder::new(context, projection, log, Arc::clone(&store) as Arc<dyn ViewStore>, limits);
    folder.fold_whole(|| true)?;
    drop(folder);
    Ok(Arc::into_inner(store).unwrap_or_default())
}

fn tenant_of(record: &Record) -> Result<Option<Tenant>, String> {
    match record.tenant.as_str() {
        "" => Ok(None),
        name => Tenant::new(name).map(Some).map_err(|error| error.to_string()),
    }
}

/// An input without its keys, and the documents they mean.
fn documents_of(mut input: Input, tenant: Option<&Tenant>) -> (Input, Vec<DocumentKey>) {
    let keys = std::mem::take(&mut input.keys).into_iter();
    let keys = keys.map(|key| DocumentKey { tenant: tenant.cloned(), key }).collect();
    (input, keys)
}

/// A document as it is stored, with the values of its indexed fields.
fn write(
    projection: &dyn AnyProjection,
    document: &annals_core::context::Document,
) -> Result<Document, String> {
    let json = projection.encode(document).map_err(|error| error.to_string())?;
    let paths = projection.indexes();
    if paths.is_empty() {
        return Ok(Document { json, values: Vec::new() });
    }
    let values = IndexKey::of_document(&json, paths.iter().map(|index| index.path));
    let values = values.map_err(|error| error.to_string())?;
    Ok(Document { json, values })
}

/// Runs code of the user's; a panic becomes the reason.
fn guarded<T>(doing: &str, run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        format!("{doing} panicked: {}", text.unwrap_or("no message"))
    })
}
