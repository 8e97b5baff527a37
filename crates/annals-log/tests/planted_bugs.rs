//! A planted bug does what it says; the checks of others show that they catch it.
#![cfg(feature = "planted-bugs")]
#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy allows it in test functions, and not in what they call"
)]

mod support;

use annals_core::Offset;
use annals_log::faults::PlantedBug;
use annals_log::{Fault, FaultPlan, Log as _, MemoryLog};
use support::{SHARD, append, claim, names, new_log};

/// A write that its owner gave up on arrives after the next claim.
fn zombie(log: &MemoryLog) -> Vec<String> {
    let writer = claim(log);
    let seqs = append(&*writer, &["a", "b"]);
    log.set_faults(FaultPlan::seeded(1).with(Fault::UnknownLate, 1.0));
    assert!(writer.commit(seqs[1]).is_err());
    log.set_faults(FaultPlan::none());
    let next = claim(log);
    let seq = append(&*next, &["c"])[0];
    assert_eq!(next.commit(seq), Ok(Offset(5)));
    assert_eq!(log.end(SHARD), Offset(6));
    let mut found = names(log);
    found.sort();
    found
}

#[test]
fn a_stale_epoch_is_believed_where_the_bug_is_planted() {
    let log = new_log(1);
    log.plant(PlantedBug::AcceptStaleEpoch);
    assert_eq!(zombie(&log), ["a", "b", "c"]);
}

#[test]
fn a_stale_epoch_is_ignored_where_it_is_not() {
    assert_eq!(zombie(&new_log(1)), ["c"]);
}
