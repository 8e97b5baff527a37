//! Several `annals` processes contend for the shards of one journal in Kafka; processes and brokers are killed and
//! stopped at random.
//!
//! There is no consumer group: whoever is sent a command claims its shard. Clients send most commands to one
//! process at a time, which changes; what is not answered goes to another with the same key. Processes are killed
//! with SIGKILL, also while they open, stopped for up to four times as long as a record may be on its way, and lose
//! their replicas; brokers are killed one at a time, leaders included.
//!
//! At the end every command has one answer, is asked again and gets the same; every process, every replica and one
//! made anew tell the same history, which has every accepted command once, at the position and version that was
//! answered, no refused one, and each step of each transfer once.
//!
//! `cargo xtask campaign storm` is the long form, on one broker and on three. The seed gives what befalls whom and
//! what is sent; what a strike hits is the machine's doing, so a failure keeps the replicas, the journal and what the
//! clients wrote down, and says where.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../bank/mod.rs"]
mod bank;
mod board;
mod brokers;
mod campaign;
mod chaos;
mod client;
mod journal;
mod node;

use annals_services::{Kafka, Nodes, or_skip};
use campaign::{Size, Storm};
use chaos::Strikes;
use parking_lot::Mutex;

/// Storms take the machine one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What the short form comes to.
const SHORT: Size = Size { nodes: 2, clients: 8, strikes: Strikes { kills: 5, stops: 4, broker_kills: 2 } };
/// A killed broker comes back only when its cluster has forgotten that it is there; else a third of the time goes into that.
const FORGETFUL: [(&str, &str); 2] =
    [("broker.session.timeout.ms", "2000"), ("broker.heartbeat.interval.ms", "400")];
/// How many process kills there are for each of a broker, in the long form.
const KILLS_PER_BROKER_KILL: u64 = 10;

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

fn storm(test: &str, brokers: Nodes, size: Size, seed: u64) {
    let _alone = ONE_AT_A_TIME.lock();
    let Some(kafka) = or_skip(test, Kafka::start_with(brokers, &FORGETFUL)) else { return };
    let mut storm = Storm::new(kafka, size, seed);
    let figures = storm.run().unwrap();
    println!("{figures}");
    assert!(figures.broker_kills >= size.strikes.broker_kills, "{figures}");
    assert_eq!(figures.tally.unknown, figures.tally.settled, "{figures}");
}

fn long(test: &str, brokers: Nodes) {
    let kills = number("ANNALS_SEEDS", 200);
    let strikes = Strikes { kills, stops: kills / 2, broker_kills: kills / KILLS_PER_BROKER_KILL };
    let size = Size { nodes: 3, clients: 16, strikes };
    storm(test, brokers, size, number("ANNALS_FIRST_SEED", 1));
}

#[test]
fn a_short_storm_loses_nothing() {
    storm("a_short_storm_loses_nothing", Nodes::One, SHORT, 1);
}

#[test]
#[ignore = "takes long: cargo xtask campaign storm"]
fn a_storm_on_one_broker_loses_nothing() {
    long("a_storm_on_one_broker_loses_nothing", Nodes::One);
}

#[test]
#[ignore = "takes long: cargo xtask campaign storm"]
fn a_storm_on_three_brokers_loses_nothing() {
    long("a_storm_on_three_brokers_loses_nothing", Nodes::Three);
}
