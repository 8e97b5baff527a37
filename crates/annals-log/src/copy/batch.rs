//! The copying itself: batch after batch, each committed before the next one begins.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use annals_core::index::terms;
use annals_core::{Offset, Seq, ShardId};

use super::merge::{Merge, Taken};
use super::resume::Place;
use super::{BATCH_BYTES, Copied, CopyError, FOLLOW_INTERVAL, Job, Next, Until, Watch, ends, origin, shards};
use crate::port::{Claimant, ReadError, RecordKind, Writer};

/// How long a claim may take to be seen by readers.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(10);

/// Claims every shard of the target, and waits until all below the claims can be read. Says whether nobody wrote
/// since its ends were at `ends`.
pub(super) fn claim(
    job: &Job<'_>,
    claimant: &dyn Fn() -> Claimant,
    ends: &[Offset],
) -> Result<(Vec<Arc<dyn Writer>>, bool), CopyError> {
    let mut writers = Vec::with_capacity(ends.len());
    let mut untouched = true;
    for (shard, end) in shards(job.target).zip(ends) {
        let claimant = origin::claimant(job.source_id(), claimant());
        let claimed = job.target.claim(shard, &claimant);
        let writer = claimed.map_err(|error| CopyError::Claim { shard, error })?;
        untouched &= writer.epoch().0 == end.0;
        let claim = Offset(writer.epoch().0);
        if job.target.wait(shard, claim, CLAIM_TIMEOUT) <= claim {
            let (place, reason) = (format!("shard {shard}"), "the claim is not there yet".to_owned());
            return Err(CopyError::Target(ReadError::Unavailable { place, reason }));
        }
        writers.push(writer);
    }
    Ok((writers, untouched))
}

/// A copy under way.
pub(super) struct Copying<'a> {
    job: Job<'a>,
    targets: Vec<Target>,
    records: Merge<'a>,
    there: BTreeSet<(ShardId, Offset)>,
    copied: Copied,
}

/// A shard of the target.
struct Target {
    shard: ShardId,
    writer: Arc<dyn Writer>,
    /// The last record appended and not committed.
    last: Option<Seq>,
}

impl<'a> Copying<'a> {
    pub(super) fn new(job: &Job<'a>, writers: Vec<Arc<dyn Writer>>, place: Place) -> Self {
        let target = |(shard, writer)| Target { shard, writer, last: None };
        Self {
            job: *job,
            targets: shards(job.target).zip(writers).map(target).collect(),
            records: Merge::new(job.source, &place.from),
            there: place.there,
            copied: Copied { found: place.found, ..Copied::default() },
        }
    }

    pub(super) fn run(mut self, until: Until, watch: Watch<'_>) -> Result<Copied, CopyError> {
        let mut passed_before = u64::MAX;
        loop {
            let begin = self.records.positions();
            self.copied.goal = ends(self.job.source);
            self.records.set_goal(&self.copied.goal)?;
            let passed = sum(&self.copied.goal).saturating_sub(sum(&begin));
            // Where the source is written all the time, a round finds what came during the one before. It has caught
            // up as far as it can when that does not get much less from round to round.
            let is_last = passed <= self.job.batch_offsets || passed > passed_before / 2;
            passed_before = passed;
            if self.round(is_last, watch)? == Next::Stop || (is_last && until == Until::Level) {
                return Ok(self.copied);
            }
            if is_last {
                self.rest();
            }
        }
    }

    /// Copies everything up to the goal.
    fn round(&mut self, is_last: bool, watch: &mut dyn FnMut(&Copied) -> Next) -> Result<Next, CopyError> {
        loop {
            self.batch()?;
            let is_done = self.records.peek().is_none();
            self.copied.reached = self.records.positions();
            self.copied.is_level = is_done && is_last;
            if watch(&self.copied) == Next::Stop {
                return Ok(Next::Stop);
            }
            if is_done {
                return Ok(Next::GoOn);
            }
        }
    }

    /// Waits a while for the source to go on.
    fn rest(&self) {
        if let (Some(shard), Some(reached)) = (shards(self.job.source).next(), self.copied.reached.first()) {
            self.job.source.wait(shard, *reached, FOLLOW_INTERVAL);
        }
    }

    /// Appends a batch and makes it durable.
    fn batch(&mut self) -> Result<(), CopyError> {
        let begin = self.records.positions();
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && let Some((shard, offset)) = self.records.peek()
            && begin.get(shard.0 as usize).is_some_and(|begin| offset.0 < begin.0 + self.job.batch_offsets)
            && let Some(taken) = self.records.take()?
        {
            bytes += taken.envelope.len();
            if !self.there.remove(&(taken.shard, taken.offset)) {
                self.append(taken)?;
            }
        }
        self.commit()
    }

    fn append(&mut self, taken: Taken) -> Result<(), CopyError> {
        let shard = self.job.shard_of(&taken)?;
        let Some(target) = self.targets.get_mut(shard.0 as usize) else { return Ok(()) };
        let terms = terms(&taken.record);
        self.copied.records += 1;
        self.copied.bytes += taken.envelope.len() as u64;
        let appended = target.writer.append(RecordKind::Record, taken.envelope, terms);
        target.last = Some(appended.map_err(|error| CopyError::append(shard, error))?);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), CopyError> {
        for target in &mut self.targets {
            let Some(seq) = target.last.take() else { continue };
            let committed = target.writer.commit(seq);
            committed.map_err(|error| CopyError::append(target.shard, error))?;
        }
        Ok(())
    }
}

fn sum(offsets: &[Offset]) -> u64 {
    offsets.iter().map(|offset| offset.0).sum()
}
