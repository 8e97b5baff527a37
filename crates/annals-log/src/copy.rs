//! Copying a log into another one, through the port alone: from any kind of log to any other, to another number
//! of shards, while the source is written.
//!
//! Owns what is copied and in which order, how a copy that was broken off finds its place again, and the comparison
//! of both logs. What is copied are the accepted records of kind [`Header::Record`], their envelopes untouched.
//! Genesis, claims and progress belong to one log; the target has its own. A record goes to the shard of its
//! stream. The source's shards are merged by the time of recording, so that in a shard of the target that time goes
//! back only where the clocks of the source's owners differ, or where the source is written meanwhile.
//!
//! **Invariant.** Take the records of one source shard that go to one target shard, in order. What the target holds
//! of them is always a prefix. For: a record is appended only after all before it, by one writer under one claim;
//! of what a writer appends, a prefix is accepted; and nothing is appended under a claim until everything below
//! that claim was looked at, so a write of an earlier run that arrives late is not accepted.
//!
//! **Where to go on.** A run goes through each source shard in batches of at most `BATCH_OFFSETS` offsets and
//! commits all of a batch before it begins the next. Call `p` the beginning, in one source shard, of the batch that
//! was broken off:
//! 1. every record below `p` is in the target, and none from `p + BATCH_OFFSETS` on. This holds again for the run
//!    that goes on, since it begins at its first missing record, which is not below `p`.
//! 2. So a search by bisection, which asks the target's index for one record of the source at a time, ends within
//!    that stretch, although the records in it go to several shards: any record that is there and followed by one
//!    that is not lies between `p - 1` and `p + BATCH_OFFSETS`.
//! 3. The records around that place, `BATCH_OFFSETS` in each direction, are looked up one by one. What is there is
//!    left out when the copy goes on; a record that is there after one that is not, of the same pair of shards,
//!    contradicts the invariant and is refused.
//!
//! That costs two batches and a logarithm of look-ups, whatever the length of the logs. It rests on the target
//! holding what copies of this source wrote and nothing else, and that is told by the target's claims: a claim of
//! a copy names the source's log id, and everything accepted carries the epoch of its claim. Going from epoch to
//! epoch, from the end to the genesis, takes a few reads for every claim. Last, the newest records of each target
//! shard must be in the source, below the place where the copy goes on. All this is known before anything is
//! appended.
//!
//! What this cannot see (a record in the middle that a copy did not write as it stood) the comparison does:
//! [`Job::check`] reads both logs from end to end.
//!
//! It does not make the logs or open them, reads no clock, and does not try again: an error that
//! [`CopyError::is_temporary`] can be answered by running the job again.

mod batch;
mod check;
mod error;
mod merge;
mod origin;
mod resume;
mod search;

use std::time::Duration;

use annals_core::envelope::Header;
use annals_core::{LogId, Offset, ShardId};

use crate::port::{Claimant, Log, RawRecord};

pub use check::{Compared, Difference};
pub use error::CopyError;

/// The most offsets of one source shard that a batch spans. A later version may raise it, and must not lower it:
/// a run finds its place after a batch of the run before.
const BATCH_OFFSETS: u64 = 8192;
/// The most bytes of envelopes that a batch holds, and one record more.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How long a copy that follows its source waits before it asks again whether to go on.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(50);

/// A copy to be made: from where, to where, and which shard of the target a stream belongs to.
///
/// ```
/// use annals_core::{LogId, ShardId, Timestamp};
/// use annals_log::copy::{Job, Next, Until};
/// use annals_log::{Claimant, Identity, MemoryLog};
///
/// let at = Timestamp::UNIX_EPOCH;
/// let log = |id, shards| {
///     let log_id = LogId(uuid::Uuid::from_u128(id));
///     MemoryLog::new(Identity { log_id, context: "bank".into(), shards, created_at: at })
/// };
/// let (source, target) = (log(1, 1), log(2, 8));
/// let route = |stream: &str| Some(ShardId::of(stream, 8));
/// let job = Job::new(&source, &target, &route);
/// let nonce = || *uuid::Uuid::new_v4().as_bytes();
/// let claimant = || Claimant { node: "a".into(), address: String::new(), nonce: nonce(), claimed_at: at };
/// let copied = job.run(&claimant, Until::Level, &mut |_| Next::GoOn)?;
/// assert!(copied.is_level && job.check(Some(&copied.reached), &mut |_| Next::GoOn)?.is_same());
/// # Ok::<(), annals_log::copy::CopyError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Job<'a> {
    source: &'a dyn Log,
    target: &'a dyn Log,
    route: Route<'a>,
    batch_offsets: u64,
}

/// The shard of the target that a stream belongs to; `None` where that cannot be said. Not asked where the target
/// has one shard.
pub type Route<'a> = &'a dyn Fn(&str) -> Option<ShardId>;

/// When a copy ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When it has caught up with its source.
    Level,
    /// When it is told to stop; until then it follows its source.
    Stopped,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on.
    GoOn,
    /// End cleanly here; what was copied so far is durable.
    Stop,
}

/// How far a copy, or a comparison, has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Records that were in the target when it began.
    pub found: u64,
    /// Records that were copied.
    pub records: u64,
    /// The bytes of their envelopes.
    pub bytes: u64,
    /// Per source shard, the offset below which every record is in the target.
    pub reached: Vec<Offset>,
    /// Per source shard, the end that it goes for now.
    pub goal: Vec<Offset>,
    /// Whether the copy has caught up: everything that the source held when it last looked, at `reached`, is there.
    pub is_level: bool,
}

/// Is told how far a copy has come after each batch, and says whether to go on.
pub type Watch<'a> = &'a mut dyn FnMut(&Copied) -> Next;

impl<'a> Job<'a> {
    /// A copy of `source` into `target`, which holds nothing but an earlier part of this copy.
    #[must_use]
    pub fn new(source: &'a dyn Log, target: &'a dyn Log, route: Route<'a>) -> Self {
        Self { source, target, route, batch_offsets: BATCH_OFFSETS }
    }

    /// Smaller batches, so that a test has many of them. All runs of a copy must have the same, or larger ones.
    #[doc(hidden)]
    #[must_use]
    pub fn with_batch_offsets(self, batch_offsets: u64) -> Self {
        Self { batch_offsets, ..self }
    }

    /// Copies what the target does not hold yet. `claimant` gives who claims, each time with another nonce.
    ///
    /// Broken off at any moment, it can be run again, and goes on. After an error what was copied before it is
    /// in the target.
    pub fn run(
        &self,
        claimant: &dyn Fn() -> Claimant,
        until: Until,
        watch: Watch<'_>,
    ) -> Result<Copied, CopyError> {
        self.check_identities()?;
        let ends = ends(self.target);
        let place = resume::find(self)?;
        let (writers, untouched) = batch::claim(self, claimant, &ends)?;
        // Between looking and claiming somebody may have written; from the claims on nobody else can.
        let place = if untouched { place } else { resume::find(self)? };
        batch::Copying::new(self, writers, place).run(until, watch)
    }

    /// Compares both logs record by record: the source below `upto`, one offset per shard, or as it is now.
    ///
    /// As it is now, it may hold what was not copied yet; see [`Compared::behind`].
    pub fn check(&self, upto: Option<&[Offset]>, watch: Watch<'_>) -> Result<Compared, CopyError> {
        self.check_identities()?;
        check::compare(self, upto, watch)
    }

    fn check_identities(&self) -> Result<(), CopyError> {
        let (source, target) = (self.source.identity(), self.target.identity());
        if source.log_id == target.log_id {
            return Err(CopyError::SameLog { log_id: source.log_id });
        }
        if source.context != target.context {
            let (source, target) = (source.context.clone(), target.context.clone());
            return Err(CopyError::OtherContext { source_context: source, target_context: target });
        }
        Ok(())
    }

    fn source_id(&self) -> LogId {
        self.source.identity().log_id
    }
}

/// The shards of a log.
fn shards(log: &dyn Log) -> impl Iterator<Item = ShardId> + use<> {
    (0..log.identity().shards).map(ShardId)
}

/// The ends of all shards of a log.
fn ends(log: &dyn Log) -> Vec<Offset> {
    shards(log).map(|shard| log.end(shard)).collect()
}

/// Whether a record is one of those that are copied.
fn is_copied(raw: &RawRecord) -> bool {
    matches!(raw.header, Header::Record { .. })
}
