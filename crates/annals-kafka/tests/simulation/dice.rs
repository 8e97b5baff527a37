//! Chance, from one seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// All chance of a run.
pub struct Dice {
    source: ChaCha8Rng,
    unique: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self { source: ChaCha8Rng::seed_from_u64(seed), unique: 0 }
    }

    /// A number below `count`; 0 when there is none.
    pub fn below(&mut self, count: u64) -> u64 {
        self.source.next_u64() % count.max(1)
    }

    /// Whether one chance in `count` comes true; never when it is 0.
    pub fn one_in(&mut self, count: u64) -> bool {
        count != 0 && self.below(count) == 0
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }

    /// A number that was not given before.
    pub fn unique(&mut self) -> u64 {
        self.unique += 1;
        self.unique
    }
}

/// How often things go wrong: one in so many; 0 for never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Odds {
    pub odd_report: u64,
    pub shuffled_reports: u64,
    pub lost_report: u64,
    /// The broker appends a duplicate.
    pub forgetful_broker: u64,
}

impl Odds {
    /// Each run has its own; a third of them has none of a kind.
    pub fn draw(dice: &mut Dice) -> Self {
        let mut one = |often: u64| if dice.one_in(3) { 0 } else { often + dice.below(4 * often) };
        Self { odd_report: one(6), shuffled_reports: one(2), lost_report: one(4), forgetful_broker: one(4) }
    }
}
