//! Each fault does what it says, and no more; the rest of the log stays right.
#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy allows it in test functions, and not in what they call"
)]

mod support;

use std::collections::BTreeMap;

use annals_core::envelope::Header;
use annals_core::reader::Ignored;
use annals_core::{Offset, Seq};
use annals_log::{AppendError, ClaimError, Fault, FaultPlan, Log as _, MemoryLog, ReadError};
use support::{SHARD, TERM, append, claim, names, new_log, try_append, try_claim};

const ABC: [&str; 3] = ["a", "b", "c"];

type Outcome = Result<Offset, AppendError>;

/// Commits a group of three under `fault`, once for each of several dice, and lets `see` look at the outcome.
fn strike(fault: Fault, see: impl Fn(&MemoryLog, Outcome, Outcome)) {
    for seed in 0..32 {
        let log = new_log(1);
        let writer = claim(&log);
        let seqs = append(&*writer, &ABC);
        log.set_faults(FaultPlan::seeded(seed).with(fault, 1.0));
        let (last, first) = (writer.commit(seqs[2]), writer.commit(seqs[0]));
        assert_eq!(log.struck(), BTreeMap::from([(fault, 1)]), "one commit reached the log");
        log.set_faults(FaultPlan::none());
        if last.is_err() {
            let after = try_append(&*writer, "after");
            assert_eq!(after.err(), last.clone().err(), "after an error nothing is accepted");
        }
        see(&log, last, first);
    }
}

fn is_unknown(outcome: &Outcome) -> bool {
    matches!(outcome, Err(AppendError::OutcomeUnknown { .. }))
}

/// What a new owner finds, after it wrote a record of its own.
fn after_next_claim(log: &MemoryLog) -> Vec<String> {
    let next = claim(log);
    let seqs = append(&*next, &["x", "y"]);
    let last = next.commit(seqs[1]).map(|offset| log.get(SHARD, offset));
    assert_eq!(last.map(|found| found.map(|r| r.map(|r| r.envelope))), Ok(Ok(Some("y".into()))));
    let found = names(log);
    let (old, new) = found.split_at(found.len() - 2);
    assert_eq!(new, ["x", "y"], "the new owner's records are accepted");
    old.to_vec()
}

#[test]
fn unknown_and_written() {
    strike(Fault::UnknownLanded, |log, last, first| {
        assert!(is_unknown(&last) && is_unknown(&first));
        assert_eq!(names(log), ABC);
        assert_eq!(after_next_claim(log), ABC);
    });
}

#[test]
fn unknown_and_lost() {
    strike(Fault::UnknownLost, |log, last, first| {
        assert!(is_unknown(&last) && is_unknown(&first));
        assert_eq!(log.end(SHARD), Offset(2));
        assert_eq!(after_next_claim(log), [] as [&str; 0]);
        assert_eq!(log.ignored(), BTreeMap::new());
    });
}

#[test]
fn a_zombies_delayed_write_is_ignored() {
    let among = std::cell::Cell::new(0);
    strike(Fault::UnknownLate, |log, last, first| {
        assert!(is_unknown(&last) && is_unknown(&first));
        assert_eq!(log.end(SHARD), Offset(2), "it has not arrived");
        log.crash(); // the process that wrote it is dead; its write is on its way all the same
        assert_eq!(after_next_claim(log), [] as [&str; 0], "what arrives late is not believed");
        assert_eq!(log.ignored(), BTreeMap::from([(Ignored::StaleEpoch, 3)]));
        let headers: Vec<Header> = log.raw(SHARD).into_iter().map(|(_, header, _)| header).collect();
        assert_eq!(headers.get(2), Some(&Header::Claim), "it arrived after the claim");
        let stale = |header: &Header| matches!(header, Header::Record { epoch, .. } if epoch.0 == 1);
        assert_eq!(headers.iter().skip(3).filter(|header| stale(header)).count(), 3);
        among.set(among.get() + u32::from(log.read(SHARD, Offset(3), 0).is_ok_and(|chunk| chunk.next.0 > 4)));
    });
    assert!(among.get() > 0, "no write was held back beyond the claim itself");
}

#[test]
fn a_late_write_comes_with_the_claim_or_among_what_follows() {
    let mut ends = std::collections::BTreeSet::new();
    for seed in 0..32 {
        let log = new_log(1);
        let writer = claim(&log);
        let seqs = append(&*writer, &ABC);
        log.set_faults(FaultPlan::seeded(seed).with(Fault::UnknownLate, 1.0));
        assert!(is_unknown(&writer.commit(seqs[2])));
        log.set_faults(FaultPlan::none());
        let next = claim(&log);
        ends.insert(log.end(SHARD));
        let first = append(&*next, &["x"])[0];
        let offset = next.commit(first);
        assert_eq!(offset, Ok(Offset(6)), "the late records lie below it either way");
        let second = append(&*next, &["y"])[0];
        assert_eq!(next.commit(second), Ok(Offset(7)));
        assert_eq!(next.commit(first), Ok(Offset(6)));
    }
    assert_eq!(ends, [Offset(3), Offset(6)].into(), "both happen");
}

#[test]
fn a_part_of_the_group_is_written() {
    let parts = std::cell::RefCell::new(std::collections::BTreeSet::new());
    strike(Fault::UnknownPrefix, |log, last, first| {
        assert!(is_unknown(&last) && is_unknown(&first));
        let found = names(log);
        assert!(found.len() < 3 && ABC.starts_with(&found.iter().map(String::as_str).collect::<Vec<_>>()));
        assert_eq!(after_next_claim(log), found);
        parts.borrow_mut().insert(found.len());
    });
    assert_eq!(parts.into_inner(), [0, 1, 2].into(), "every part happens");
}

#[test]
fn a_record_within_the_group_is_missing() {
    let parts = std::cell::RefCell::new(std::collections::BTreeSet::new());
    strike(Fault::UnknownHole, |log, last, first| {
        assert!(is_unknown(&last) && is_unknown(&first));
        assert_eq!(log.end(SHARD), Offset(4), "two of three were written");
        let found = names(log);
        let holes = log.ignored().get(&Ignored::Hole).copied().unwrap_or(0) as usize;
        assert_eq!(found.len() + holes, 2, "what lies after the hole is not believed");
        assert!(ABC.starts_with(&found.iter().map(String::as_str).collect::<Vec<_>>()));
        assert_eq!(after_next_claim(log), found);
        parts.borrow_mut().insert(found.len());
    });
    assert_eq!(parts.into_inner(), [0, 1, 2].into(), "every place happens");
}

#[test]
fn records_are_written_twice() {
    strike(Fault::Duplicated, |log, last, first| {
        assert_eq!((last, first), (Ok(Offset(4)), Ok(Offset(2))), "the first writing counts");
        assert_eq!(names(log), ABC, "each is believed once");
        let twice = log.ignored().get(&Ignored::Duplicate).copied().unwrap_or(0);
        assert!((1..=3).contains(&twice));
        assert_eq!(log.end(SHARD).0, 5 + twice);
        assert_eq!(after_next_claim(log), ABC);
    });
}

#[test]
fn offsets_stay_right_after_duplicates() {
    let log = new_log(1);
    let writer = claim(&log);
    let mut answers = Vec::new();
    for seed in 0..20 {
        let seqs = append(&*writer, &[&format!("{seed}-a"), &format!("{seed}-b")]);
        log.set_faults(FaultPlan::seeded(seed).with(Fault::Duplicated, 0.5));
        answers.extend(seqs.iter().map(|seq| writer.commit(*seq)));
    }
    log.set_faults(FaultPlan::none());
    let found = log.read(SHARD, Offset(2), usize::MAX).map(|chunk| chunk.records);
    let offsets: Vec<Outcome> = found.into_iter().flatten().map(|record| Ok(record.offset)).collect();
    assert_eq!(answers, offsets, "each answer names its record");
    let again: Vec<Outcome> = (0..40).map(|seq| writer.commit(Seq(seq))).collect();
    assert_eq!(again, answers, "and does so again");
    assert!(log.ignored().contains_key(&Ignored::Duplicate));
}

#[test]
fn another_node_claims_in_between() {
    let parts = std::cell::RefCell::new(std::collections::BTreeSet::new());
    strike(Fault::ForeignClaim, |log, last, first| {
        assert_eq!(last, Err(AppendError::Fenced));
        let found = names(log);
        assert_eq!(first.is_ok(), !found.is_empty(), "what lies before the claim is answered for");
        assert!(ABC.starts_with(&found.iter().map(String::as_str).collect::<Vec<_>>()));
        assert_eq!(log.end(SHARD), Offset(6), "a claim and three records");
        assert_eq!(log.ignored(), BTreeMap::from([(Ignored::StaleEpoch, 3 - found.len() as u64)]));
        assert_eq!(after_next_claim(log), found);
        parts.borrow_mut().insert(found.len());
    });
    assert_eq!(parts.into_inner(), [0, 1, 2].into(), "every split happens");
}

#[test]
fn a_full_log_at_commit() {
    strike(Fault::CommitFull, |log, last, first| {
        assert!(matches!(last, Err(AppendError::Full { .. })) && first == last);
        assert_eq!(log.end(SHARD), Offset(2));
        assert_eq!(after_next_claim(log), [] as [&str; 0]);
    });
}

#[test]
fn a_full_log_at_append() {
    let log = new_log(1);
    let writer = claim(&log);
    append(&*writer, &["a"]);
    log.set_faults(FaultPlan::seeded(1).with(Fault::AppendFull, 1.0));
    assert!(matches!(try_append(&*writer, "b"), Err(AppendError::Full { .. })));
    log.set_faults(FaultPlan::none());
    assert_eq!(try_append(&*writer, "c"), Ok(Seq(1)), "the refused one took no number");
    assert_eq!(writer.commit(Seq(1)), Ok(Offset(3)));
    assert_eq!(names(&log), ["a", "c"]);
}

#[test]
fn claims_that_fail() {
    for (fault, written) in [(Fault::ClaimUnwritten, 0), (Fault::ClaimWritten, 1), (Fault::ClaimFull, 0)] {
        let log = new_log(1);
        let writer = claim(&log);
        let seq = append(&*writer, &["a"])[0];
        log.set_faults(FaultPlan::seeded(1).with(fault, 1.0));
        match try_claim(&log).map(|writer| writer.epoch()) {
            Err(ClaimError::Unavailable { .. }) => assert_ne!(fault, Fault::ClaimFull),
            Err(ClaimError::Full { .. }) => assert_eq!(fault, Fault::ClaimFull),
            other => panic!("{fault:?}: {other:?}"),
        }
        log.set_faults(FaultPlan::none());
        assert_eq!(log.end(SHARD), Offset(2 + written), "{fault:?}");
        let expected = if written == 1 { Err(AppendError::Fenced) } else { Ok(Offset(2)) };
        assert_eq!(writer.commit(seq), expected, "{fault:?} and the earlier writer");
        assert_eq!(after_next_claim(&log).len() as u64, 1 - written, "{fault:?}");
    }
}

#[test]
fn reads_that_fail() {
    let log = new_log(1);
    log.set_faults(FaultPlan::seeded(1).with(Fault::ReadUnavailable, 1.0));
    let failed = |e: Option<ReadError>| matches!(e, Some(ReadError::Unavailable { .. }));
    assert!(failed(log.read(SHARD, Offset(0), 1).err()));
    assert!(failed(log.get(SHARD, Offset(0)).err()));
    assert!(failed(log.find(SHARD, TERM, Offset(0), 1).err()));
    assert!(failed(log.find_last(SHARD, TERM).err()));
    assert_eq!(log.struck(), BTreeMap::from([(Fault::ReadUnavailable, 4)]));
    log.set_faults(FaultPlan::none());
    assert_eq!(log.read(SHARD, Offset(0), 1).map(|chunk| chunk.records.len()), Ok(1));
}

#[test]
fn a_crash_takes_what_was_not_committed_and_nothing_else() {
    let log = new_log(2);
    let writer = claim(&log);
    let kept = append(&*writer, &["a"])[0];
    assert_eq!(writer.commit(kept), Ok(Offset(2)));
    let lost = append(&*writer, &["b"])[0];
    log.crash();
    assert!(is_unknown(&writer.commit(lost)), "a dead process learns nothing");
    assert!(matches!(try_append(&*writer, "c"), Err(AppendError::OutcomeUnknown { .. })));
    assert_eq!(writer.commit(kept), Ok(Offset(2)), "what was answered stays answered");
    assert_eq!(after_next_claim(&log), ["a"]);
    assert_eq!(log.raw(SHARD).len(), 6, "genesis, claim, a, claim, x, y");
}

#[test]
fn probabilities_have_limits() {
    let plan =
        |odds: f64| std::panic::catch_unwind(|| FaultPlan::seeded(1).with(Fault::ClaimFull, odds)).is_ok();
    assert_eq!([-0.01, 0.0, 1.0, 1.01, f64::NAN].map(plan), [false, true, true, false, false]);
    let sum = |odds: f64| {
        let two = || FaultPlan::seeded(1).with(Fault::ClaimFull, 0.5).with(Fault::ClaimWritten, odds);
        std::panic::catch_unwind(two).is_ok()
    };
    assert_eq!([0.49, 0.5, 0.51].map(sum), [true, true, false]);
    assert_eq!(FaultPlan::every(3, 0.125), FaultPlan::every(3, 0.125));
    assert!(std::panic::catch_unwind(|| FaultPlan::every(3, 0.13)).is_err());
}
