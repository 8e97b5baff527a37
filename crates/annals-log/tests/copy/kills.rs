//! Copies that end at every point, and go on.

use annals_log::copy::CopyError;
use annals_log::{Fault, FaultPlan, MemoryLog};

use crate::support::*;
use crate::wrapped::{Fated, Mortal};

/// Copies until it dies after `calls` calls of the writers.
fn die_after(source: &MemoryLog, target: &MemoryLog, calls: u64, seed: u64) -> Result<u64, CopyError> {
    copy(source, &Fated::new(target, Mortal::after(calls, seed))).map(|copied| copied.records)
}

#[test]
fn killed_at_every_append_and_commit_it_goes_on() {
    for (from, to) in LAYOUTS {
        let source = Source::with(from, 11, 80);
        for calls in 0.. {
            let target = new_log(2, to);
            let whole = die_after(&source.log, &target, calls, calls).is_ok();
            check_prefixes(&source.log, &target);
            let (are, should) = check_prefixes(&source.log, &target);
            let rest = copy(&source.log, &target).unwrap();
            assert_eq!((rest.found, rest.records), (are as u64, (should - are) as u64));
            check_whole(&source.log, &target);
            if whole {
                assert!(calls > 80);
                break;
            }
        }
    }
}

#[test]
fn killed_again_and_again_it_gets_there() {
    for (from, to) in LAYOUTS {
        for seed in 0..15 {
            let mut source = Source::with(from, seed, 200);
            let target = new_log(2, to);
            let mut deaths = 0;
            // Up to 40 calls, so that it often dies within the first batch, with part of an earlier one behind it.
            while die_after(&source.log, &target, 1 + (seed * 7 + deaths * 13) % 40, seed + deaths).is_err() {
                check_prefixes(&source.log, &target);
                source.write(deaths % 3);
                deaths += 1;
                assert!(deaths < 1000, "it does not get on");
            }
            assert!(deaths > 3);
            check_whole(&source.log, &target);
        }
    }
}

#[test]
fn a_target_that_fails_in_every_way_gets_whole() {
    let mut struck = 0;
    for (from, to) in LAYOUTS {
        for seed in 0..15 {
            let source = Source::with(from, seed, 150);
            let target = new_log(2, to);
            // Looking for the place reads so much that reads must not fail often.
            target.set_faults(FaultPlan::every(seed, 0.03).with(Fault::ReadUnavailable, 0.0002));
            let mut runs = 0;
            while let Err(error) = copy(&source.log, &target) {
                let fenced = matches!(&error, CopyError::InUse { .. });
                let full = error.to_string().contains("no room");
                assert!(error.is_temporary() || fenced || full, "{from} to {to}, seed {seed}: {error}");
                runs += 1;
                assert!(runs < 2000, "it does not get on");
            }
            struck += target.struck().values().sum::<u64>();
            target.set_faults(FaultPlan::none());
            check_whole(&source.log, &target);
        }
    }
    assert!(struck > 300);
}

#[test]
fn a_source_that_cannot_be_read_at_times_is_copied_whole() {
    for (from, to) in LAYOUTS {
        let source = Source::with(from, 6, 200);
        let target = new_log(2, to);
        source.log.set_faults(FaultPlan::seeded(5).with(Fault::ReadUnavailable, 0.02));
        let mut runs = 0;
        while let Err(error) = copy(&source.log, &target) {
            assert!(error.is_temporary(), "{error}");
            runs += 1;
            assert!(runs < 5000, "it does not get on");
        }
        source.log.set_faults(FaultPlan::none());
        check_whole(&source.log, &target);
    }
}

#[test]
fn a_write_of_an_earlier_run_that_arrives_late_does_no_harm() {
    let mut struck = 0;
    for (from, to) in LAYOUTS {
        for seed in 0..20 {
            let source = Source::with(from, seed, 150);
            let target = new_log(2, to);
            target.set_faults(FaultPlan::seeded(seed).with(Fault::UnknownLate, 0.2));
            let done = (0..1000).any(|_| copy(&source.log, &target).is_ok());
            assert!(done, "it does not get on");
            target.set_faults(FaultPlan::none());
            struck += target.struck().len();
            check_whole(&source.log, &target);
        }
    }
    assert!(struck > 50);
}
