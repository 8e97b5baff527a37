//! `views`: a projection folded into documents, against what no fold can be faster than: decoding the events.

use std::sync::Arc;

use annals_core::context::AnyProjection;
use annals_core::envelope::{Header, Record};
use annals_core::{Context, Offset, Projection as _, event};
use annals_log::Log;
use annals_views::{Folder, Limits, SqliteStore, Step, ViewId, ViewStore, fold_in_memory};

use super::domain::{self, AccountEvent, Turnover};
use super::error::BenchError;
use super::fill::{self, SHARD};
use super::options::Options;
use super::place::Place;
use super::report::Row;
use super::stats::Sample;

/// How much of the log is read at once where events are only decoded.
const CHUNK_BYTES: usize = 1 << 20;

/// What is folded.
struct Folded {
    context: Arc<Context>,
    projection: Arc<dyn AnyProjection>,
    log: Arc<dyn Log>,
    events: u64,
}

/// `bench views`.
pub(super) fn views(options: &Options, place: &Place) -> Result<Vec<Row>, BenchError> {
    let history = options.history;
    let log = fill::filled(&place.fresh("log")?, &history, options.notes)?;
    let context = Arc::new(domain::context().checked()?);
    let Some(projection) = context.projections().get(Turnover::NAME).cloned() else { return Ok(Vec::new()) };
    let folded = Folded { context, projection, log: Arc::new(log), events: history.events };
    options.notes.say("views: in memory");
    let memory = options.rounds.compare(|_| folded.decode(), |_| folded.in_memory())?;
    options.notes.say("views: SQLite");
    let sqlite = options.rounds.compare(|_| folded.decode(), |_| folded.in_sqlite(place))?;
    let of = format!("{} events, {} keys", history.events, history.parties);
    Ok(vec![
        Row::compared("views", format!("SQLite, {of}"), 1, &sqlite),
        Row::compared("views", format!("in memory, {of}"), 1, &memory),
    ])
}

impl Folded {
    fn decode(&self) -> Result<Sample, BenchError> {
        Sample::pass(|| {
            let (mut next, end, mut found) = (Offset(0), self.log.end(SHARD), 0);
            while next < end {
                let chunk = self.log.read(SHARD, next, CHUNK_BYTES)?;
                next = chunk.next;
                for raw in chunk.records {
                    let Header::Record { .. } = raw.header else { continue };
                    let record = Record::from_bytes(raw.envelope)?;
                    for stored in event::events(SHARD, raw.offset, &record) {
                        std::hint::black_box(stored.decode::<AccountEvent>().transpose()?);
                        found += 1;
                    }
                }
            }
            Ok(found)
        })
    }

    fn in_memory(&self) -> Result<Sample, BenchError> {
        Sample::pass(|| {
            let (context, projection) = (Arc::clone(&self.context), Arc::clone(&self.projection));
            let store = fold_in_memory(context, projection, Arc::clone(&self.log))?;
            check(&store)?;
            Ok(self.events)
        })
    }

    fn in_sqlite(&self, place: &Place) -> Result<Sample, BenchError> {
        let directory = place.fresh("views")?;
        std::fs::create_dir(&directory).map_err(BenchError::io(&directory))?;
        let store = Arc::new(SqliteStore::open(directory.join("views.sqlite"))?);
        let sample = Sample::pass(|| {
            let mut folder = Folder::new(
                Arc::clone(&self.context),
                Arc::clone(&self.projection),
                Arc::clone(&self.log),
                Arc::clone(&store) as Arc<dyn ViewStore>,
                Limits::default(),
            );
            while folder.step()? != Step::Idle {}
            folder.save()?;
            Ok(self.events)
        })?;
        check(store.as_ref())?;
        Ok(sample)
    }
}

/// The document that the first event went to is there.
fn check(store: &dyn ViewStore) -> Result<(), BenchError> {
    let view = ViewId::first(Turnover::NAME, Turnover::REVISION);
    let page = store.list(&view, &annals_views::store::Query { limit: 1, ..Default::default() })?;
    let found = page.documents.len() as u64;
    if found == 1 {
        Ok(())
    } else {
        Err(BenchError::Wrong { what: "the number of documents", expected: 1, found })
    }
}
