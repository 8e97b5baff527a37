//! The `annals` binary under load, killed with SIGKILL again and again on one directory.
//!
//! What was answered before a kill must be there after it, once, with the same answer; what was cut off is sent
//! again with its key until it is answered and must have one effect. At the end every history, balance, transfer
//! and view is compared with what the clients were answered, and `annals log verify` reads the whole log.
//!
//! `cargo xtask campaign kills` makes 100 kills. The seed gives the moments of the kills and what is sent; what a
//! kill hits is the machine's doing, so a failure keeps its directory and names it. A kill of a process tests what
//! the program orders and repairs, not what a disk keeps without power: the system's cache survives it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../bank/mod.rs"]
mod bank;
mod campaign;
mod client;

use campaign::Campaign;

/// How many kills the short form makes.
const KILLS: u64 = 5;

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

#[test]
fn five_kills_lose_nothing() {
    let mut campaign = Campaign::new(1);
    campaign.kills(KILLS).unwrap();
    campaign.finish().unwrap();
    assert_eq!(campaign.figures.kills, KILLS);
    println!("{}", campaign.figures);
}

#[test]
#[ignore = "takes minutes: cargo xtask campaign kills"]
fn many_kills_lose_nothing() {
    let mut campaign = Campaign::new(number("ANNALS_FIRST_SEED", 1));
    campaign.kills(number("ANNALS_SEEDS", 100)).unwrap();
    campaign.finish().unwrap();
    println!("{}", campaign.figures);
}

/// The checks can fail: a client that says it was answered what it never sent is not believed.
#[test]
fn an_acknowledged_command_that_is_not_there_is_noticed() {
    let mut campaign = Campaign::new(2);
    campaign.kill_under_load().unwrap();
    campaign.pretend_an_answer();
    let wrong = campaign.finish().unwrap_err();
    assert!(wrong.contains("was answered before, but the answer was lost"), "{wrong}");
}

/// The checks can fail: an effect that answers nobody is found in the history.
#[test]
fn a_second_effect_is_noticed() {
    let mut campaign = Campaign::new(3);
    campaign.kill_under_load().unwrap();
    campaign.deposit_behind_the_clients_backs().unwrap();
    let wrong = campaign.finish().unwrap_err();
    assert!(wrong.contains("nobody was answered"), "{wrong}");
}

/// The checks can fail: a directory set back to an earlier moment has lost acknowledged commands.
#[test]
fn a_directory_set_back_is_noticed() {
    let mut campaign = Campaign::new(4);
    campaign.kill_under_load().unwrap();
    let earlier = campaign.copy_directory();
    campaign.kill_under_load().unwrap();
    campaign.set_directory_back(&earlier);
    let wrong = campaign.finish().unwrap_err();
    assert!(wrong.contains("the answer was lost") || wrong.contains("got another answer"), "{wrong}");
}
