//! Reading the next events of a shard that a filter lets through, as JSON.

use annals_core::{Offset, ShardId};
use annals_engine::{Engine, Filter, HistoryEvent};

use crate::problem::{Kind, Problem};

/// What was read.
pub(super) struct Page {
    /// Records with at least one event that passed.
    pub(super) records: Vec<Shown>,
    /// Where to go on.
    pub(super) next: Offset,
}

/// The events of a record that passed.
pub(super) struct Shown {
    /// The offset after the record.
    pub(super) next: Offset,
    pub(super) events: Vec<String>,
}

/// Reads the next chunk of `shard` from `from` on.
pub(super) fn read(engine: &Engine, filter: &Filter, shard: ShardId, from: Offset) -> Result<Page, Problem> {
    let page = filter.read(engine.log().as_ref(), shard, from)?;
    let mut records = Vec::with_capacity(page.records.len());
    for passed in page.records {
        let unwritable = |error: serde_json::Error| {
            let detail = format!("the record at {shard}-{} cannot be read: {error}", passed.bookmark.offset);
            Problem::new(Kind::Unreadable, detail)
        };
        let events = passed.events().map(|stored| serde_json::to_string(&HistoryEvent::of(&stored)));
        let events = events.collect::<Result<_, _>>().map_err(unwritable)?;
        records.push(Shown { next: passed.bookmark.offset.next(), events });
    }
    Ok(Page { records, next: page.next })
}
