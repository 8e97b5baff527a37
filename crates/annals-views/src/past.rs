//! A view as it was: its documents folded from the log up to a moment.
//!
//! Nothing is stored, and the views that are followed are not asked: what was, is what their projection makes of the log
//! today. It costs a look at all of the log up to the moment, so it has a bound in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::context::AnyProjection;
use annals_core::{Context, Cursor, Offset, ShardId, Timestamp};
use annals_log::{Log, ReadError};

use crate::fold::{FoldError, Folder, Limits, recorded_at};
use crate::store::{DocumentKey, MemoryStore, ViewId, ViewStore};

/// How much is read at a time where a time is looked for, in bytes of envelopes.
const LOOK_BYTES: usize = 16 * 1024;

/// A document of the past that cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PastError {
    /// Give it more time, or ask for a moment before.
    #[error("the log could not be folded up to {cursor} within {} s", within.as_secs_f64())]
    TooLong {
        /// Up to where.
        cursor: Cursor,
        /// The bound.
        within: Duration,
    },
    /// It says what to do.
    #[error(transparent)]
    Fold(#[from] FoldError),
}

/// The cursor that has passed all that was recorded up to and including `time`, and nothing after.
pub fn cursor_at(log: &dyn Log, time: Timestamp) -> Result<Cursor, ReadError> {
    let shards = (0..log.identity().shards).map(ShardId);
    Ok(Cursor(shards.map(|shard| first_after(log, shard, time)).collect::<Result<_, _>>()?))
}

/// The document of `key` as `projection` folds it from everything below `cursor`; `None` where there was none.
pub fn document_at(
    context: Arc<Context>,
    projection: Arc<dyn AnyProjection>,
    log: Arc<dyn Log>,
    key: &DocumentKey,
    cursor: &Cursor,
    within: Duration,
) -> Result<Option<Vec<u8>>, PastError> {
    let until = Instant::now() + within;
    let view = ViewId::first(projection.name(), projection.revision());
    let store = Arc::new(MemoryStore::new());
    let limits = Limits { cache_bytes: usize::MAX, ..Limits::default() };
    let shared: Arc<dyn ViewStore> = Arc::clone(&store) as Arc<dyn ViewStore>;
    let mut folder = Folder::new(context, projection, log, shared, limits);
    folder.set_ceiling(Some(cursor.clone()));
    folder.set_only(key.clone());
    folder.fold_whole(|| Instant::now() < until)?;
    if Instant::now() >= until {
        return Err(PastError::TooLong { cursor: cursor.clone(), within });
    }
    let found = store.get(&view, key.tenant.as_ref(), &key.key).map_err(FoldError::from)?;
    Ok(found)
}

/// The offset of the first record of `shard` that was recorded after `time`. What is recorded in a shard never goes back
/// in time, so it is found by halving.
fn first_after(log: &dyn Log, shard: ShardId, time: Timestamp) -> Result<Offset, ReadError> {
    let (mut low, mut high) = (0, log.end(shard).0);
    while low < high {
        let middle = low + (high - low) / 2;
        match next_timed(log, shard, Offset(middle))? {
            Some((offset, at)) if at <= time => low = offset.0 + 1,
            _ => high = middle,
        }
    }
    Ok(Offset(low))
}

/// The first record from `from` on that tells when it was recorded.
fn next_timed(
    log: &dyn Log,
    shard: ShardId,
    mut from: Offset,
) -> Result<Option<(Offset, Timestamp)>, ReadError> {
    while from < log.end(shard) {
        let chunk = log.read(shard, from, LOOK_BYTES)?;
        let timed = chunk.records.iter().find_map(|raw| Some((raw.offset, recorded_at(raw)?)));
        if timed.is_some() || chunk.next <= from {
            return Ok(timed);
        }
        from = chunk.next;
    }
    Ok(None)
}
