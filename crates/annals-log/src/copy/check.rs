//! The comparison of a log with its copy: every record of the source in the target, byte for byte, in order, and
//! nothing more.
//!
//! It goes through the source in the order in which a copy does, and through each shard of the target beside it.
//! Where the next record there is another one (a copy that was broken off, or that followed a source, has another
//! order between source shards), the target's index says where the record is, and the place is remembered until
//! the reading comes by. What the reading comes by without a record of the source is too much.
//!
//! Invariant: each record of the target is matched at most once, and those matched by one source shard ascend.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;

use annals_core::envelope::Record;
use annals_core::{Offset, ShardId};

use super::merge::{Merge, Taken};
use super::{BATCH_OFFSETS, Copied, CopyError, Job, Next, Watch, ends, is_copied, search, shards};
use crate::port::{Log, RawRecord};

/// The most differences that are listed.
const LISTED_MAX: usize = 100;
/// How many records may be matched beyond the one that is next, before that one is looked up in the source.
const BEYOND_MAX: usize = 4096;
/// The most bytes of envelopes that are read ahead in all shards of the target together, and the least in one.
const READ_BYTES: usize = 8 * 1024 * 1024;
const READ_BYTES_MIN: usize = 16 * 1024;

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Records that are in both logs.
    pub records: u64,
    /// The bytes of their envelopes.
    pub bytes: u64,
    /// Records at the source's end that the target does not hold: not copied yet.
    pub behind: u64,
    /// How many differences there are.
    pub differing: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// Whether it came to the end, and was not stopped.
    pub is_complete: bool,
}

/// A difference between a log and its copy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// Records of the source are not in the target, but later ones are.
    Missing {
        /// The source's shard.
        shard: ShardId,
        /// The first of them.
        offset: Offset,
        /// How many there are that go to the same shard of the target, up to the next one that is there.
        count: u64,
        /// The target's shard where they should be.
        target_shard: ShardId,
    },
    /// A record is in the target, before one that it should follow.
    OutOfOrder {
        /// The source's shard.
        shard: ShardId,
        /// The record there.
        offset: Offset,
        /// The target's shard.
        target_shard: ShardId,
        /// The record there.
        target_offset: Offset,
    },
    /// A record of the target is not in the source, or not as often.
    TooMuch {
        /// The target's shard.
        target_shard: ShardId,
        /// The record.
        target_offset: Offset,
    },
}

impl Compared {
    /// Whether the target holds what the source held, and nothing else.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.is_complete && self.behind == 0 && self.differing == 0
    }

    /// How many differences there are beyond those that are listed.
    #[must_use]
    pub fn unlisted(&self) -> u64 {
        self.differing - self.differences.iter().map(Difference::count).sum::<u64>()
    }

    fn add(&mut self, difference: Difference) {
        self.differing += difference.count();
        if self.differences.len() < LISTED_MAX {
            self.differences.push(difference);
        }
    }
}

impl Difference {
    /// How many records it is about.
    fn count(&self) -> u64 {
        match self {
            Self::Missing { count, .. } => *count,
            _ => 1,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { shard, offset, count, target_shard } => write!(
                f,
                "missing in shard {target_shard} of the target: {count} from offset {offset} of shard {shard} of the \
         source on"
            ),
            Self::OutOfOrder { shard, offset, target_shard, target_offset } => write!(
                f,
                "out of order in shard {target_shard} of the target: offset {target_offset}, which is offset {offset} \
         of shard {shard} of the source"
            ),
            Self::TooMuch { target_shard, target_offset } => write!(
                f,
                "too much in shard {target_shard} of the target: offset {target_offset}, which is not in the source"
            ),
        }
    }
}

pub(super) fn compare(
    job: &Job<'_>,
    upto: Option<&[Offset]>,
    watch: Watch<'_>,
) -> Result<Compared, CopyError> {
    // The target's ends first: what it holds below them, the source held before.
    let mut comparison = Comparison::new(job);
    let upto = upto.map_or_else(|| ends(job.source), <[Offset]>::to_vec);
    let begin: Vec<Offset> = shards(job.source).map(|_| Offset(0)).collect();
    let mut records = Merge::new(job.source, &begin);
    records.set_goal(&upto)?;
    let mut progress = Copied { goal: upto, ..Copied::default() };
    while let Some(taken) = records.take()? {
        comparison.take(&taken, &records)?;
        progress.records += 1;
        if progress.records.is_multiple_of(BATCH_OFFSETS) {
            progress.reached = records.positions();
            progress.bytes = comparison.compared.bytes;
            if watch(&progress) == Next::Stop {
                return Ok(comparison.compared);
            }
        }
    }
    comparison.finish()
}

struct Comparison<'a> {
    job: Job<'a>,
    sides: Vec<Side<'a>>,
    pairs: HashMap<(ShardId, ShardId), Pair>,
    compared: Compared,
}

/// What a source shard has in a target shard.
#[derive(Default)]
struct Pair {
    /// Where the last record is.
    last: Option<Offset>,
    /// Records since then that are not there: the first, and how many.
    missing: Option<(Offset, u64)>,
}

/// One shard of the target, read beside the source.
struct Side<'a> {
    log: &'a dyn Log,
    shard: ShardId,
    next: Offset,
    end: Offset,
    read_bytes: usize,
    ahead: VecDeque<RawRecord>,
    /// Records at `ahead` or after that were matched.
    matched: HashSet<Offset>,
    /// The record that was looked up in the source, and is to come there.
    expected: Option<Offset>,
}

impl<'a> Comparison<'a> {
    fn new(job: &Job<'a>) -> Self {
        let read_bytes = (READ_BYTES / job.target.identity().shards.max(1) as usize).max(READ_BYTES_MIN);
        let side = |shard| Side {
            log: job.target,
            shard,
            next: Offset(0),
            end: job.target.end(shard),
            read_bytes,
            ahead: VecDeque::new(),
            matched: HashSet::new(),
            expected: None,
        };
        let sides = shards(job.target).map(side).collect();
        Self { job: *job, sides, pairs: HashMap::new(), compared: Compared::default() }
    }

    /// Looks for a record of the source in the target.
    fn take(&mut self, taken: &Taken, records: &Merge<'_>) -> Result<(), CopyError> {
        let shard = self.job.shard_of(taken)?;
        let Some(side) = self.sides.get_mut(shard.0 as usize) else { return Ok(()) };
        let pair = self.pairs.entry((taken.shard, shard)).or_default();
        let after = pair.last.map_or(Offset(0), Offset::next);
        let Some(found) = side.find(taken, after)? else {
            pair.missing.get_or_insert((taken.offset, 0)).1 += 1;
            return Ok(());
        };
        if found < after {
            let (target_shard, target_offset) = (shard, found);
            let (shard, offset) = (taken.shard, taken.offset);
            self.compared.add(Difference::OutOfOrder { shard, offset, target_shard, target_offset });
        } else {
            pair.last = Some(found);
        }
        if let Some((offset, count)) = pair.missing.take() {
            let (shard, target_shard) = (taken.shard, shard);
            self.compared.add(Difference::Missing { shard, offset, count, target_shard });
        }
        self.compared.records += 1;
        self.compared.bytes += taken.envelope.len() as u64;
        self.unblock(shard, records)
    }

    /// Where much was matched beyond the record that is next in a shard of the target, looks whether that one is
    /// still to come.
    fn unblock(&mut self, shard: ShardId, records: &Merge<'_>) -> Result<(), CopyError> {
        let Some(side) = self.sides.get_mut(shard.0 as usize) else { return Ok(()) };
        while side.matched.len() > BEYOND_MAX
            && let Some(head) = side.head()?.cloned()
            && side.expected != Some(head.offset)
        {
            if is_to_come(&self.job, &head, &records.positions())? {
                side.expected = Some(head.offset);
            } else {
                side.ahead.pop_front();
                self.compared.add(Difference::TooMuch { target_shard: shard, target_offset: head.offset });
            }
        }
        Ok(())
    }

    /// What was not matched is too much; what was not found at the end was not copied yet.
    fn finish(mut self) -> Result<Compared, CopyError> {
        for side in &mut self.sides {
            while let Some(target_offset) = side.head()?.map(|head| head.offset) {
                let target_shard = side.shard;
                side.ahead.pop_front();
                self.compared.add(Difference::TooMuch { target_shard, target_offset });
            }
        }
        let missing = self.pairs.values().filter_map(|pair| pair.missing);
        self.compared.behind = missing.map(|(_, count)| count).sum();
        self.compared.is_complete = true;
        Ok(self.compared)
    }
}

impl Side<'_> {
    /// Where the target holds the record of the source, from `after` on if there is one.
    fn find(&mut self, taken: &Taken, after: Offset) -> Result<Option<Offset>, CopyError> {
        if let Some(head) = self.head()?
            && head.envelope == taken.envelope
        {
            let offset = head.offset;
            self.ahead.pop_front();
            return Ok(Some(offset));
        }
        // What lies before the reading was matched, or told.
        let reading = self.ahead.front().map_or(self.next, |head| head.offset);
        match self.find_between(taken, after.max(reading), self.end)? {
            None if reading < after => self.find_between(taken, reading, after),
            found => Ok(found),
        }
    }

    /// Looks the record up in the index, and leaves out what was matched already.
    fn find_between(
        &mut self,
        taken: &Taken,
        from: Offset,
        end: Offset,
    ) -> Result<Option<Offset>, CopyError> {
        let mut from = from;
        while let Some(offset) = self.look_up(taken, from)?.filter(|offset| *offset < end) {
            if self.matched.insert(offset) {
                return Ok(Some(offset));
            }
            from = offset.next();
        }
        Ok(None)
    }

    fn look_up(&self, taken: &Taken, from: Offset) -> Result<Option<Offset>, CopyError> {
        search::find(self.log, self.shard, &taken.record, &taken.envelope, from).map_err(CopyError::Target)
    }

    /// The next record that was not matched.
    fn head(&mut self) -> Result<Option<&RawRecord>, CopyError> {
        loop {
            while let Some(head) = self.ahead.front()
                && self.matched.remove(&head.offset)
            {
                self.ahead.pop_front();
            }
            if !self.ahead.is_empty() || self.next >= self.end {
                return Ok(self.ahead.front());
            }
            let chunk = self.log.read(self.shard, self.next, self.read_bytes).map_err(CopyError::Target)?;
            let records = chunk.records.into_iter().filter(|raw| is_copied(raw) && raw.offset < self.end);
            self.ahead.extend(records);
            if chunk.next <= self.next {
                return Ok(self.ahead.front());
            }
            self.next = chunk.next;
        }
    }
}

/// Whether the source holds this record of the target, at its position or after.
fn is_to_come(job: &Job<'_>, raw: &RawRecord, positions: &[Offset]) -> Result<bool, CopyError> {
    let Ok(record) = Record::from_bytes(raw.envelope.clone()) else { return Ok(false) };
    for (shard, from) in shards(job.source).zip(positions) {
        let found = search::find(job.source, shard, &record, &raw.envelope, *from);
        if found.map_err(CopyError::Source)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
