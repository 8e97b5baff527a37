//! What the engine is given from outside: the time, and keys that are new.
//!
//! Invariant: with a [`ManualClock`] and [`SeededKeys`] nothing the engine writes depends on the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use annals_core::Timestamp;
use annals_core::envelope::from_micros;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Makes keys for commands whose caller gave none.
pub trait Keys: Send + Sync {
    /// 16 bytes that nobody else has or will have.
    fn fresh(&self) -> [u8; 16];
}

/// The clock and the keys of an engine, and how it is called in its claims.
#[derive(Clone)]
pub struct Environment {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes keys.
    pub keys: Arc<dyn Keys>,
    /// The node's name in claims: host and process.
    pub node: String,
}

impl Environment {
    /// The machine's clock and random keys.
    #[must_use]
    pub fn system(node: impl Into<String>) -> Self {
        Self { clock: Arc::new(SystemClock), keys: Arc::new(RandomKeys), node: node.into() }
    }

    /// The clock given, and keys that follow from `seed`.
    #[must_use]
    pub fn seeded(clock: Arc<dyn Clock>, seed: u64) -> Self {
        Self { clock, keys: Arc::new(SeededKeys::new(seed)), node: "seeded".to_owned() }
    }
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands still until it is moved.
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.as_microsecond()))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: std::time::Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Keys that sort by time and are random otherwise (UUID version 7).
pub struct RandomKeys;

impl Keys for RandomKeys {
    fn fresh(&self) -> [u8; 16] {
        uuid::Uuid::now_v7().into_bytes()
    }
}

/// Keys that follow from a seed: the seed, then a counter.
pub struct SeededKeys {
    seed: u64,
    next: AtomicU64,
}

impl SeededKeys {
    /// Keys of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, next: AtomicU64::new(0) }
    }
}

impl Keys for SeededKeys {
    fn fresh(&self) -> [u8; 16] {
        let next = self.next.fetch_add(1, Ordering::SeqCst);
        ((u128::from(self.seed) << 64) | u128::from(next)).to_be_bytes()
    }
}
