//! Where a copy goes on: what of each source shard the target holds already. The module above has the argument.

use std::collections::{BTreeSet, HashMap};

use annals_core::envelope::Record;
use annals_core::{Offset, ShardId};

use super::merge::{Merge, Taken};
use super::{CopyError, Job, is_copied, origin, search, shards};

/// The newest records of all target shards together that are looked up in the source, and the most of one shard.
const TAIL_RECORDS: u32 = 4096;
const TAIL_RECORDS_OF_SHARD: u32 = 64;

/// Where a copy goes on.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Per source shard, the first record that the target does not hold.
    pub(super) from: Vec<Offset>,
    /// Records from there on that it holds all the same.
    pub(super) there: BTreeSet<(ShardId, Offset)>,
    /// How many records it holds.
    pub(super) found: u64,
}

/// Finds the place; an error where the target holds anything but an earlier part of this copy.
pub(super) fn find(job: &Job<'_>) -> Result<Place, CopyError> {
    let mut place = Place::default();
    for shard in shards(job.target) {
        place.found += origin::check(job, shard)?;
    }
    if place.found == 0 {
        place.from = shards(job.source).map(|_| Offset(0)).collect();
        return Ok(place);
    }
    for shard in shards(job.source) {
        let end = job.source.end(shard);
        let around = bisect(job, shard, end)?;
        let from = look_around(job, shard, around, end, &mut place.there)?;
        place.from.push(from);
    }
    for shard in shards(job.target) {
        check_tail(job, shard, &place)?;
    }
    Ok(place)
}

/// An offset of `shard` whose record is in the target, and whose next one is not; 0 where none is.
fn bisect(job: &Job<'_>, shard: ShardId, end: Offset) -> Result<Offset, CopyError> {
    let (mut low, mut high) = (Offset(0), end);
    while high.0.saturating_sub(low.0) > 1 {
        let middle = Offset(low.0 + (high.0 - low.0) / 2);
        match first_record(job, shard, middle, high)? {
            Some(taken) if is_there(job, &taken)?.is_some() => low = taken.offset,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// Looks up each record around `around`; returns the first that is not there, and adds what is there after it.
fn look_around(
    job: &Job<'_>,
    shard: ShardId,
    around: Offset,
    end: Offset,
    there: &mut BTreeSet<(ShardId, Offset)>,
) -> Result<Offset, CopyError> {
    let mut missing: HashMap<ShardId, Offset> = HashMap::new();
    let mut first_missing: Option<Offset> = None;
    let mut records = one_shard(job, shard, Offset(around.0.saturating_sub(job.batch_offsets)), end)?;
    while let Some(taken) = records.take()? {
        if first_missing.is_some_and(|first| taken.offset.0 >= first.0 + job.batch_offsets) {
            break;
        }
        let target = job.shard_of(&taken)?;
        match (is_there(job, &taken)?, missing.get(&target)) {
            (Some(offset), Some(missing)) => {
                let (shard, source_shard, missing) = (target, shard, *missing);
                return Err(CopyError::Gap { shard, offset, source_shard, missing });
            }
            (Some(_), None) if first_missing.is_some() => drop(there.insert((shard, taken.offset))),
            (Some(_), None) => {}
            (None, _) => {
                missing.entry(target).or_insert(taken.offset);
                first_missing.get_or_insert(taken.offset);
            }
        }
    }
    Ok(first_missing.unwrap_or(end))
}

/// The records of one source shard.
fn one_shard<'a>(job: &Job<'a>, shard: ShardId, from: Offset, end: Offset) -> Result<Merge<'a>, CopyError> {
    let only = |offset| shards(job.source).map(move |each| if each == shard { offset } else { Offset(0) });
    let mut records = Merge::new(job.source, &only(from).collect::<Vec<_>>());
    records.set_goal(&only(end).collect::<Vec<_>>())?;
    Ok(records)
}

/// The first record of a source shard from `from` on and below `end`.
fn first_record(
    job: &Job<'_>,
    shard: ShardId,
    from: Offset,
    end: Offset,
) -> Result<Option<Taken>, CopyError> {
    let mut next = from;
    while next < end {
        let chunk = job.source.read(shard, next, 0).map_err(CopyError::Source)?;
        let record = chunk.records.into_iter().find(|raw| is_copied(raw) && raw.offset < end);
        if let Some(raw) = record {
            return Taken::decode(shard, raw.offset, raw.envelope).map(Some);
        }
        if chunk.next <= next {
            break;
        }
        next = chunk.next;
    }
    Ok(None)
}

/// Where in its shard of the target a record of the source is.
fn is_there(job: &Job<'_>, taken: &Taken) -> Result<Option<Offset>, CopyError> {
    let shard = job.shard_of(taken)?;
    search::find(job.target, shard, &taken.record, &taken.envelope, Offset(0)).map_err(CopyError::Target)
}

/// Checks that the newest records in `shard` of the target are in the source, below the place.
fn check_tail(job: &Job<'_>, shard: ShardId, place: &Place) -> Result<(), CopyError> {
    let shards = job.target.identity().shards.max(1);
    let mut left = (TAIL_RECORDS / shards).clamp(1, TAIL_RECORDS_OF_SHARD);
    let mut end = job.target.end(shard);
    while left > 0
        && let Some(last) = search::last_below(job.target, shard, end).map_err(CopyError::Target)?
    {
        end = last.offset;
        if !is_copied(&last) {
            continue;
        }
        left -= 1;
        let offset = last.offset;
        let record = Record::from_bytes(last.envelope.clone()).map_err(|reason| CopyError::Unreadable {
            log: "the target",
            shard,
            offset,
            reason,
        })?;
        let taken = Taken { shard, offset, envelope: last.envelope, record };
        if job.shard_of(&taken) != Ok(shard) || !is_in_source(job, &taken, place)? {
            return Err(CopyError::NotInSource { shard, offset });
        }
    }
    Ok(())
}

/// Whether a record of the target is in the source, and counted as copied.
fn is_in_source(job: &Job<'_>, taken: &Taken, place: &Place) -> Result<bool, CopyError> {
    for (shard, from) in shards(job.source).zip(&place.from) {
        let found = search::find(job.source, shard, &taken.record, &taken.envelope, Offset(0));
        if let Some(offset) = found.map_err(CopyError::Source)? {
            return Ok(offset < *from || place.there.contains(&(shard, offset)));
        }
    }
    Ok(false)
}
