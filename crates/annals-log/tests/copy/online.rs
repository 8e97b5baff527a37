//! Copies of a source that is written meanwhile.

use annals_log::Log as _;
use annals_log::copy::{Next, Until};

use crate::support::*;
use crate::wrapped::{Hooked, When};

#[test]
fn a_source_that_is_written_meanwhile_is_caught_up_with() {
    for (from, to) in LAYOUTS {
        let mut source = Source::with(from, 1, 200);
        let (log, target) = (source.log.clone(), new_log(2, to));
        let mut told = Vec::new();
        let copied = copy_watched(&log, &target, Until::Level, &mut |copied| {
            source.write(2);
            told.push(copied.records);
            Next::GoOn
        })
        .unwrap();
        assert!(copied.is_level && told.is_sorted() && copied.records > 200, "{copied:?}");
        // What was written during the last round is not there, and all before is.
        let (are, should) = check_prefixes(&log, &target);
        assert!(are as u64 == copied.records && should - are <= 20, "{are} of {should}");
        let compared = compare(&log, &target);
        assert_eq!((compared.behind, compared.differing), ((should - are) as u64, 0));
        assert!(compared.is_complete && !compared.is_same());
        let rest = copy(&log, &target).unwrap();
        assert_eq!((rest.found, rest.records), (are as u64, (should - are) as u64));
        check_whole(&log, &target);
    }
}

#[test]
fn a_copy_can_follow_until_it_is_stopped() {
    for (from, to) in LAYOUTS {
        let mut source = Source::with(from, 2, 50);
        let (log, target) = (source.log.clone(), new_log(2, to));
        let mut levels = 0;
        let copied = copy_watched(&log, &target, Until::Stopped, &mut |copied| {
            levels += u32::from(copied.is_level);
            if levels < 5 {
                source.write(10);
            }
            if levels < 9 { Next::GoOn } else { Next::Stop }
        })
        .unwrap();
        assert!(copied.is_level && copied.records > 90);
        check_whole(&log, &target);
    }
}

#[test]
fn a_copy_that_is_stopped_says_how_far_it_came() {
    for (from, to) in LAYOUTS {
        let source = Source::with(from, 4, 300);
        let target = new_log(2, to);
        let mut runs = 0;
        loop {
            let stopped = copy_watched(&source.log, &target, Until::Level, &mut |_| Next::Stop).unwrap();
            runs += 1;
            let (are, _) = check_prefixes(&source.log, &target);
            assert_eq!(are as u64, stopped.found + stopped.records);
            let below: usize = shards(&source.log)
                .zip(&stopped.reached)
                .map(|(shard, reached)| {
                    records(&source.log, shard).iter().filter(|raw| raw.offset < *reached).count()
                })
                .sum();
            assert_eq!(below, are, "everything below is there");
            if stopped.is_level {
                break;
            }
            assert!(stopped.records > 0 && stopped.goal[0] == source.log.end(annals_core::ShardId(0)));
        }
        assert!(runs > 2);
        check_whole(&source.log, &target);
    }
}

/// What is copied while both logs are compared is behind, and not too much.
#[test]
fn a_comparison_beside_a_copy_finds_no_difference() {
    let mut source = Source::with(1, 7, 100);
    let (log, target) = (source.log.clone(), new_log(2, 1));
    copy(&log, &target).unwrap();
    let copied = target.clone();
    let then = move || {
        source.write(20);
        copy(&source.log, &copied).unwrap();
    };
    let hooked = Hooked::new(&target, When::AfterEnd, then);
    let compared = compare(&log, &hooked);
    assert_eq!((compared.records, compared.behind, compared.differing), (100, 20, 0), "{compared:?}");
    check_whole(&log, &target);
}

/// Between the looking and the claiming, another run copies on.
#[test]
fn what_is_written_before_the_claim_is_seen() {
    for (from, to) in LAYOUTS {
        let source = Source::with(from, 7, 100);
        let target = new_log(2, to);
        let (log, copied) = (source.log.clone(), target.clone());
        let then = move || drop(copy(&log, &copied).unwrap());
        let hooked = Hooked::new(&target, When::BeforeClaim, then);
        assert_eq!(copy(&source.log, &hooked).unwrap().records, 0);
        check_whole(&source.log, &target);
    }
}

#[test]
fn what_comes_between_looking_for_the_end_and_reading_is_copied_once() {
    for (from, to) in LAYOUTS {
        let mut source = Source::with(from, 7, 100);
        let (log, target) = (source.log.clone(), new_log(2, to));
        let hooked = Hooked::new(&log, When::AfterEnd, move || source.write(50));
        copy(&hooked, &target).unwrap();
        check_prefixes(&log, &target);
        copy(&log, &target).unwrap();
        check_whole(&log, &target);
    }
}
