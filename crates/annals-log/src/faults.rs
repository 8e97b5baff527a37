//! Fault plans: what goes wrong in a memory log, drawn from a seed.
//!
//! Owns the kinds of fault and the dice. Each call of the log draws once; which fault strikes, and how, depends
//! on the seed and the order of calls alone. Calls of a kind without a fault in the plan draw nothing.
//!
//! It does not apply faults: the memory log does, where a real log would fail.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// A commit says that the outcome is unknown; the records were written.
    UnknownLanded,
    /// A commit says that the outcome is unknown; nothing was written.
    UnknownLost,
    /// A commit says that the outcome is unknown; the records arrive after the next claim, as a zombie's do.
    UnknownLate,
    /// A commit says that the outcome is unknown; some of the first records were written, not all.
    UnknownPrefix,
    /// A commit says that the outcome is unknown; all records but one were written.
    UnknownHole,
    /// A commit succeeds, and the records from some on are written twice.
    Duplicated,
    /// Another node claims the shard before a commit's last record: that record, and more, are fenced.
    ForeignClaim,
    /// A commit finds no room; nothing was written.
    CommitFull,
    /// An append finds no room.
    AppendFull,
    /// A claim is unavailable and was not written.
    ClaimUnwritten,
    /// A claim is unavailable and was written: it fences earlier writers and nobody holds it.
    ClaimWritten,
    /// A claim finds no room.
    ClaimFull,
    /// A read or a look-up fails; the next may succeed.
    ReadUnavailable,
}

/// A bug planted into the memory log, to show that a check catches it.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// Readers believe records whose epoch is not the last claim's.
    AcceptStaleEpoch,
}

/// Which faults strike how often.
///
/// ```
/// use annals_log::faults::{Fault, FaultPlan};
/// let plan = FaultPlan::seeded(7).with(Fault::UnknownLanded, 0.05).with(Fault::ClaimUnwritten, 0.1);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPlan {
    seed: u64,
    odds: BTreeMap<Fault, f64>,
}

/// The calls that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Append,
    Commit,
    Claim,
    Read,
}

/// A fault that strikes now, and dice for its details.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    pub(crate) fault: Fault,
    pub(crate) dice: u64,
}

/// The dice of one log.
pub(crate) struct Faults {
    /// Spares a log without faults the lock.
    on: AtomicBool,
    table: Mutex<Table>,
}

struct Table {
    plan: FaultPlan,
    dice: ChaCha8Rng,
    struck: BTreeMap<Fault, u64>,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 13] = [
        Self::UnknownLanded,
        Self::UnknownLost,
        Self::UnknownLate,
        Self::UnknownPrefix,
        Self::UnknownHole,
        Self::Duplicated,
        Self::ForeignClaim,
        Self::CommitFull,
        Self::AppendFull,
        Self::ClaimUnwritten,
        Self::ClaimWritten,
        Self::ClaimFull,
        Self::ReadUnavailable,
    ];

    fn call(self) -> Call {
        match self {
            Self::AppendFull => Call::Append,
            Self::ClaimUnwritten | Self::ClaimWritten | Self::ClaimFull => Call::Claim,
            Self::ReadUnavailable => Call::Read,
            Self::UnknownLanded
            | Self::UnknownLost
            | Self::UnknownLate
            | Self::UnknownPrefix
            | Self::UnknownHole
            | Self::Duplicated
            | Self::ForeignClaim
            | Self::CommitFull => Call::Commit,
        }
    }
}

impl FaultPlan {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self::seeded(0)
    }

    /// Nothing goes wrong yet; add faults with [`FaultPlan::with`].
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { seed, odds: BTreeMap::new() }
    }

    /// Every fault, each with `probability` per call that it can strike.
    ///
    /// # Panics
    /// As [`FaultPlan::with`] does; `probability` is at most 1/8, since eight faults can strike a commit.
    #[must_use]
    pub fn every(seed: u64, probability: f64) -> Self {
        Fault::ALL.into_iter().fold(Self::seeded(seed), |plan, fault| plan.with(fault, probability))
    }

    /// Lets `fault` strike with `probability` (0 to 1) at each call that it can strike.
    ///
    /// # Panics
    /// Where the probability lies outside 0 to 1, or those of one kind of call add up to more than 1.
    #[must_use]
    pub fn with(mut self, fault: Fault, probability: f64) -> Self {
        assert!((0.0..=1.0).contains(&probability), "{fault:?}: {probability} is not a probability");
        self.odds.insert(fault, probability);
        let sum: f64 = self.odds_of(fault.call()).map(|(_, odds)| odds).sum();
        assert!(sum <= 1.0 + f64::EPSILON, "{:?}: probabilities add up to {sum}", fault.call());
        self
    }

    fn odds_of(&self, call: Call) -> impl Iterator<Item = (Fault, f64)> {
        self.odds.iter().map(|(fault, odds)| (*fault, *odds)).filter(move |(fault, _)| fault.call() == call)
    }
}

impl Strike {
    /// A number below `count`; 0 where there is none.
    pub(crate) fn below(self, count: usize) -> usize {
        // The remainder is below `count`, so it fits.
        self.dice.checked_rem(count as u64).unwrap_or(0) as usize
    }

    pub(crate) fn coin(self) -> bool {
        self.dice >> 63 == 1
    }
}

impl Default for Faults {
    fn default() -> Self {
        let plan = FaultPlan::none();
        let table = Table { dice: ChaCha8Rng::seed_from_u64(plan.seed), plan, struck: BTreeMap::new() };
        Self { on: AtomicBool::new(false), table: Mutex::new(table) }
    }
}

impl Faults {
    pub(crate) fn set(&self, plan: FaultPlan) {
        let mut table = self.table.lock();
        self.on.store(!plan.odds.is_empty(), Ordering::Release);
        table.dice = ChaCha8Rng::seed_from_u64(plan.seed);
        table.plan = plan;
    }

    pub(crate) fn struck(&self) -> BTreeMap<Fault, u64> {
        self.table.lock().struck.clone()
    }

    /// The fault that strikes this call, if one does.
    pub(crate) fn draw(&self, call: Call) -> Option<Strike> {
        if !self.on.load(Ordering::Acquire) {
            return None;
        }
        self.table.lock().draw(call)
    }
}

impl Table {
    fn draw(&mut self, call: Call) -> Option<Strike> {
        self.plan.odds_of(call).next()?;
        let (mut point, dice): (f64, u64) = (self.dice.random(), self.dice.random());
        let hit = self.plan.odds_of(call).find(|(_, odds)| {
            point -= odds;
            point < 0.0
        });
        let (fault, _) = hit?;
        *self.struck.entry(fault).or_default() += 1;
        Some(Strike { fault, dice })
    }
}
