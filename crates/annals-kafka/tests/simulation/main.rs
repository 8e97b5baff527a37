//! The claim protocol from seeds: nodes that contend for shards on brokers and clients that do everything they are known
//! to do, and then some.
//!
//! The decisions are made by the code that runs in production: `Tenure`, `Claiming`, `Following` and the reader rule.
//! Simulated are the brokers ([`broker`]), the client library ([`client`]), the network between, the processes
//! ([`shard`], [`world`]), and a small engine with clients that ask again under the same key ([`engine`]). When all is
//! over, what was answered is compared with what a fresh reader finds ([`check`]).
//!
//! `cargo xtask campaign claims` runs 100,000 seeds; a failure prints its seed, and `--first-seed N --seeds 1` runs
//! that one alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where something is wrong"
)]

mod broker;
mod check;
mod client;
mod dice;
mod engine;
mod figures;
mod heal;
mod replica;
mod shard;
mod world;

use std::any::Any;
use std::ops::Range;
use std::panic::catch_unwind;

use annals_kafka::PlantedBug;
use figures::Figures;
use world::{Bugs, World};

const STEPS: u64 = 700;
/// With a bug planted, one of so many seeds must fail.
const CAUGHT_WITHIN: u64 = 2_000;

/// Runs a seed and checks what it left.
fn run(seed: u64, bugs: Bugs) -> Figures {
    let mut world = World::new(seed, bugs);
    world.run(STEPS);
    world.settle();
    check::check(&mut world);
    world.figures
}

/// The seeds of the long form, as `ANNALS_SEEDS` and `ANNALS_FIRST_SEED` say.
fn campaign_seeds() -> Range<u64> {
    let number =
        |name, usual| std::env::var(name).map_or(usual, |text: String| text.parse().expect("a number"));
    let first = number("ANNALS_FIRST_SEED", 1);
    first..first + number("ANNALS_SEEDS", 100_000)
}

fn every_seed(seeds: Range<u64>) {
    let count = seeds.end - seeds.start;
    let mut all = Figures::default();
    for seed in seeds {
        let figures = catch_unwind(|| run(seed, Bugs::default()));
        let figures = figures.unwrap_or_else(|failure| {
            // Another test may have silenced the panic itself.
            println!("seed {seed}: {}", said(&*failure));
            panic!("seed {seed} failed");
        });
        all.add(&figures);
    }
    println!("{count} seeds: {all:?}");
    if count >= 100 {
        all.assert_all_kinds();
    }
}

#[test]
fn nothing_is_lost_or_doubled() {
    every_seed(0..2_000);
}

#[test]
#[ignore = "long: cargo xtask campaign claims"]
fn many_seeds() {
    every_seed(campaign_seeds());
}

/// The first of the seeds that fails with a bug planted, and how.
fn caught(bugs: Bugs, mut seeds: Range<u64>) -> Option<(u64, String)> {
    seeds.find_map(|seed| {
        let failure = catch_unwind(|| run(seed, bugs)).err()?;
        Some((seed, said(&*failure)))
    })
}

fn said(failure: &(dyn Any + Send)) -> String {
    let text = failure.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| failure.downcast_ref().cloned()).unwrap_or_default()
}

/// The checks are worth what they catch. One test, since it silences the panic hook of the process.
#[test]
fn planted_bugs_are_caught() {
    use PlantedBug::{
        FollowUnverified, GoOnAfterUnknown, KeepAppending, MatchByArrival, ServeBeforeRead, SkipGap,
        TrustAnyOffset,
    };
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let kafka = [
        SkipGap,
        TrustAnyOffset,
        MatchByArrival,
        GoOnAfterUnknown,
        ServeBeforeRead,
        KeepAppending,
        FollowUnverified,
    ];
    let planted = kafka.map(|bug| Bugs { kafka: Some(bug), stale_epoch: false });
    let planted = planted.into_iter().chain([Bugs { kafka: None, stale_epoch: true }]);
    let found: Vec<_> = planted.map(|bugs| (bugs, caught(bugs, 0..CAUGHT_WITHIN))).collect();
    std::panic::set_hook(silent);
    for (bugs, caught) in found {
        let Some((seed, how)) = caught else { panic!("{bugs:?} went unnoticed") };
        println!("{bugs:?}: seed {seed}: {}", how.replace('\n', " "));
    }
}
