//! A copy in one go, and what it does to the shards.

use std::collections::BTreeMap;

use annals_core::envelope::{Header, Record};
use annals_log::Log;

use crate::support::*;

#[test]
fn everything_is_copied_to_any_number_of_shards() {
    for (from, to) in LAYOUTS {
        for seed in 0..10 {
            let source = Source::with(from, seed, 300);
            let target = new_log(2, to);
            let copied = copy(&source.log, &target).unwrap();
            assert_eq!((copied.found, copied.records, copied.is_level), (0, 300, true));
            let ends: Vec<_> = shards(&source.log).map(|shard| source.log.end(shard)).collect();
            assert_eq!((copied.reached, copied.goal), (ends.clone(), ends));
            check_whole(&source.log, &target);
        }
    }
}

#[test]
fn again_copies_nothing() {
    for (from, to) in LAYOUTS {
        let mut source = Source::with(from, 3, 100);
        let target = new_log(2, to);
        copy(&source.log, &target).unwrap();
        let again = copy(&source.log, &target).unwrap();
        assert_eq!((again.found, again.records, again.bytes), (100, 0, 0));
        source.write(7);
        let rest = copy(&source.log, &target).unwrap();
        assert_eq!((rest.found, rest.records), (100, 7));
        check_whole(&source.log, &target);
    }
}

#[test]
fn an_empty_log_has_an_empty_copy() {
    let (source, target) = (new_log(1, 3), new_log(2, 2));
    for _ in 0..2 {
        let copied = copy(&source, &target).unwrap();
        assert_eq!((copied.found, copied.records, copied.is_level), (0, 0, true));
        check_whole(&source, &target);
    }
}

#[test]
fn the_copy_has_claims_of_its_own_and_no_progress() {
    let source = Source::with(8, 5, 300);
    let target = new_log(2, 3);
    copy(&source.log, &target).unwrap();
    for shard in shards(&target) {
        let kinds = target.raw(shard).into_iter().map(|(_, header, _)| header);
        let mut counts = [0; 3];
        for header in kinds {
            match header {
                Header::Genesis => counts[0] += 1,
                Header::Claim => counts[1] += 1,
                Header::Record { epoch, .. } => assert_eq!(epoch.0, 1),
                _ => counts[2] += 1,
            }
        }
        assert_eq!(counts, [1, 1, 0]);
    }
}

#[test]
fn the_time_of_recording_does_not_go_back_in_a_shard() {
    for (from, to) in LAYOUTS {
        let source = Source::with(from, 8, 500);
        let target = new_log(2, to);
        copy(&source.log, &target).unwrap();
        for shard in shards(&target) {
            let times = records(&target, shard).into_iter();
            let times = times.map(|raw| Record::from_bytes(raw.envelope).unwrap().recorded_at_us);
            assert!(times.is_sorted(), "{from} to {to}");
        }
    }
}

#[test]
fn a_copy_can_be_copied_back() {
    let source = Source::with(8, 9, 300);
    let (there, back) = (new_log(2, 3), new_log(3, 8));
    copy(&source.log, &there).unwrap();
    copy(&there, &back).unwrap();
    // Records of one time may change places, unless they are of one stream.
    let streams = |log: &dyn Log, shard| {
        let mut streams: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for raw in records(log, shard) {
            let record = Record::from_bytes(raw.envelope.clone()).unwrap();
            for slice in record.slices {
                streams.entry(slice.stream).or_default().push(raw.envelope.clone());
            }
        }
        streams
    };
    for shard in shards(&back) {
        assert_eq!(streams(&back, shard), streams(&source.log, shard));
    }
}
