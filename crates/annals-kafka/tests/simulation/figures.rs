//! What runs came to.

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub acknowledged: u64,
    /// Of these, before everything was healed.
    pub under_fire: u64,
    pub fenced: u64,
    pub unknown: u64,
    pub claims: u64,
    pub kills: u64,
    pub stops: u64,
    pub leaders: u64,
    pub cuts: u64,
    pub halts: u64,
    /// Answers of a shard that did not know yet that its journal was cut.
    pub before_noticed: u64,
    /// Journals whose versions do not fit after a cut, which readers notice.
    pub torn: u64,
}

impl Figures {
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.under_fire += other.under_fire;
        self.fenced += other.fenced;
        self.unknown += other.unknown;
        self.claims += other.claims;
        self.kills += other.kills;
        self.stops += other.stops;
        self.leaders += other.leaders;
        self.cuts += other.cuts;
        self.halts += other.halts;
        self.before_noticed += other.before_noticed;
        self.torn += other.torn;
    }

    /// Runs in which something never happened do not test what they are for.
    pub fn assert_all_kinds(&self) {
        let least = [self.under_fire, self.fenced, self.unknown, self.claims, self.kills, self.stops]
            .into_iter()
            .chain([self.leaders, self.cuts, self.halts])
            .min();
        assert!(least > Some(0), "something never happened: {self:?}");
    }
}
