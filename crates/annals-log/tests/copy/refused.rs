//! Targets that are refused, and that nothing is appended to them.

use annals_core::envelope::{FORMAT, Progress, Record, Slice};
use annals_core::index::Term;
use annals_core::{LogId, Offset, ShardId, Timestamp};
use annals_log::copy::{CopyError, Difference, Job, Next, Until};
use annals_log::{Claimant, Identity, Log, MemoryLog, RecordKind};

use crate::support::*;

const ZERO: ShardId = ShardId(0);

/// Copies, and expects to be refused before anything is written.
fn refused(source: &MemoryLog, target: &MemoryLog) -> CopyError {
    let before: Vec<Offset> = shards(target).map(|shard| target.end(shard)).collect();
    let error = copy(source, target).unwrap_err();
    let after: Vec<Offset> = shards(target).map(|shard| target.end(shard)).collect();
    assert_eq!(before, after, "it was written to: {error}");
    assert!(!error.is_temporary());
    error
}

fn half_copied(from: u32, to: u32) -> (Source, MemoryLog) {
    let mut source = Source::with(from, 31, 200);
    let target = new_log(2, to);
    copy(&source.log, &target).unwrap();
    source.write(50);
    (source, target)
}

fn a_record(stream: &str) -> Record {
    let slice = Slice { stream: stream.into(), expected_version: 0, events: vec![] };
    Record { format: FORMAT, slices: vec![slice], actor: "planted".into(), ..Record::default() }
}

fn plant(target: &MemoryLog, shard: ShardId, node: &str, record: &Record) -> Offset {
    let writer = target.claim(shard, &Claimant { node: node.into(), ..claimant() }).unwrap();
    put(&*writer, record)
}

#[test]
fn a_record_of_somebody_else_is_refused() {
    for (from, to) in LAYOUTS {
        let (source, target) = half_copied(from, to);
        let last = ShardId(to - 1);
        let offset = plant(&target, last, "host/2", &a_record("thing/1"));
        // Also where claims and progress follow it.
        drop(target.claim(last, &claimant()).unwrap());
        let error = refused(&source.log, &target);
        assert_eq!(error, CopyError::Foreign { shard: last, offset, node: "host/2".into() });
    }
}

#[test]
fn a_log_that_is_no_copy_is_refused() {
    let (source, target) = (Source::with(1, 1, 10), Source::with(1, 1, 10));
    let error = copy(&source.log, &target.log).unwrap_err();
    assert_eq!(error, CopyError::SameLog { log_id: LogId(uuid::Uuid::from_u128(1)) });
    // The same records, but written by an owner of its own.
    let other = new_log(5, 1);
    let writer = other.claim(ZERO, &claimant()).unwrap();
    for raw in records(&target.log, ZERO) {
        put(&*writer, &Record::from_bytes(raw.envelope).unwrap());
    }
    assert!(matches!(
        refused(&source.log, &other),
        CopyError::Foreign { shard: ZERO, offset: Offset(2), .. }
    ));
}

#[test]
fn a_copy_of_another_log_is_refused() {
    let (source, target) = half_copied(1, 8);
    let other = new_log(7, 1);
    let error = refused(&other, &target);
    assert!(
        matches!(&error, CopyError::OtherSource { shard: ZERO, offset: Offset(2), found, wanted }
            if *found == source.log.identity().log_id && *wanted == other.identity().log_id),
        "{error}"
    );
}

#[test]
fn another_context_is_refused() {
    let source = Source::with(1, 1, 10);
    let log_id = LogId(uuid::Uuid::from_u128(2));
    let created_at = Timestamp::UNIX_EPOCH;
    let target = MemoryLog::new(Identity { log_id, context: "shop".into(), shards: 1, created_at });
    let error = refused(&source.log, &target);
    assert!(error.to_string().contains("\"shop\"") && error.to_string().contains("\"bank\""), "{error}");
}

/// Somebody who pretends to be a copy: what is planted at the end is refused at once.
#[test]
fn a_planted_record_at_the_end_is_refused() {
    for (from, to) in LAYOUTS {
        let (source, target) = half_copied(from, to);
        let node = format!("copy of {} by host/3", source.log.identity().log_id);
        let stream = (0..).map(|n| format!("thing/x{n}")).find(|stream| route(stream, to) == ZERO).unwrap();
        let offset = plant(&target, ZERO, &node, &a_record(&stream));
        assert_eq!(refused(&source.log, &target), CopyError::NotInSource { shard: ZERO, offset });
    }
}

/// What is planted further back is found by the comparison.
#[test]
fn a_planted_record_in_the_middle_is_found_by_the_comparison() {
    let mut source = Source::with(1, 33, 200);
    let target = new_log(2, 1);
    copy(&source.log, &target).unwrap();
    let node = format!("copy of {} by host/3", source.log.identity().log_id);
    let target_offset = plant(&target, ZERO, &node, &a_record("thing/1"));
    let writer = target.claim(ZERO, &Claimant { node, ..claimant() }).unwrap();
    let before = records(&source.log, ZERO).len();
    source.write(200);
    for raw in records(&source.log, ZERO).split_off(before) {
        put(&*writer, &Record::from_bytes(raw.envelope).unwrap());
    }
    copy(&source.log, &target).unwrap();
    let compared = compare(&source.log, &target);
    assert_eq!((compared.records, compared.differing), (400, 1));
    assert_eq!(compared.differences, [Difference::TooMuch { target_shard: ZERO, target_offset }]);
    assert!(compared.differences[0].to_string().contains(&format!("offset {target_offset}")));
}

#[test]
fn a_source_that_went_another_way_is_refused() {
    for (from, to) in LAYOUTS {
        // Two logs with one id, as after a copy of a directory: the same first records, then others.
        let (mut one, mut other) = (Source::with(from, 34, 100), Source::with(from, 34, 100));
        one.write(30);
        let target = new_log(2, to);
        copy(&one.log, &target).unwrap();
        let error = refused(&other.log, &target);
        assert!(matches!(error, CopyError::NotInSource { .. }), "it was cut: {error}");
        other.claim_and_forget(7);
        other.write(60);
        let error = refused(&other.log, &target);
        assert!(matches!(error, CopyError::NotInSource { .. }), "it went another way: {error}");
    }
}

#[test]
fn streams_that_moved_to_other_shards_are_refused() {
    let (source, target) = half_copied(8, 3);
    let moved = |stream: &str| Some(ShardId::of(stream, 3));
    let job = Job::new(&source.log, &target, &moved).with_batch_offsets(BATCH_OFFSETS);
    let error = job.run(&claimant, Until::Level, &mut |_| Next::GoOn).unwrap_err();
    assert!(
        matches!(error, CopyError::NotInSource { .. } | CopyError::Gap { .. } | CopyError::Split { .. }),
        "{error}"
    );
    assert_eq!(
        target
            .raw(ZERO)
            .iter()
            .filter(|(_, header, _)| *header == annals_core::envelope::Header::Claim)
            .count(),
        1
    );
}

#[test]
fn a_gap_is_refused() {
    let source = Source::with(1, 35, 20).log;
    let target = new_log(2, 1);
    let node = format!("copy of {} by host/3", source.identity().log_id);
    let writer = target.claim(ZERO, &Claimant { node, ..claimant() }).unwrap();
    let all = records(&source, ZERO);
    for (n, raw) in all.iter().take(10).enumerate().filter(|(n, _)| *n != 7) {
        let offset = put(&*writer, &Record::from_bytes(raw.envelope.clone()).unwrap());
        assert_eq!(offset, Offset(2 + n as u64 - u64::from(n > 7)));
    }
    let error = refused(&source, &target);
    let missing = all[7].offset;
    assert_eq!(error, CopyError::Gap { shard: ZERO, offset: Offset(9), source_shard: ZERO, missing });
}

#[test]
fn an_owner_that_recorded_nothing_does_no_harm() {
    for (from, to) in LAYOUTS {
        let (source, target) = half_copied(from, to);
        for shard in shards(&target) {
            let writer = target.claim(shard, &claimant()).unwrap();
            let progress = Progress { format: FORMAT, read: 1, open: vec![] }.to_bytes();
            let seq = writer.append(RecordKind::Progress, progress, vec![Term::progress()]).unwrap();
            writer.commit(seq).unwrap();
        }
        assert_eq!(copy(&source.log, &target).unwrap().records, 50);
        check_whole(&source.log, &target);
    }
}

#[test]
fn a_record_for_no_shard_or_for_two_is_named() {
    let source = Source::new(1, 36).log;
    let writer = source.claim(ZERO, &claimant()).unwrap();
    put(&*writer, &a_record("thing/1"));
    let mut both = a_record("thing/1");
    let other =
        (2..).map(|n| format!("thing/{n}")).find(|other| route(other, 8) != route("thing/1", 8)).unwrap();
    both.slices.push(Slice { stream: other.clone(), ..Slice::default() });
    let offset = put(&*writer, &both);
    let error = copy(&source, &new_log(2, 8)).unwrap_err();
    let (first_shard, second_shard) = (route("thing/1", 8), route(&other, 8));
    let first = "thing/1".to_owned();
    assert_eq!(
        error,
        CopyError::Split { shard: ZERO, offset, first, first_shard, second: other, second_shard }
    );
    // One shard has room for both.
    assert_eq!(copy(&source, &new_log(2, 1)).unwrap().records, 2);

    for nowhere in [None, Some(ShardId(8))] {
        let target = new_log(2, 8);
        let route = |_: &str| nowhere;
        let error = Job::new(&source, &target, &route).run(&claimant, Until::Level, &mut |_| Next::GoOn);
        let expected = CopyError::NoShard { shard: ZERO, offset: Offset(3), stream: "thing/1".into() };
        assert_eq!(error.unwrap_err(), expected);
    }
}

#[test]
fn a_newer_envelope_is_refused_by_name() {
    let source = Source::new(1, 37).log;
    let writer = source.claim(ZERO, &claimant()).unwrap();
    let offset = put(&*writer, &Record { format: FORMAT + 1, ..a_record("thing/1") });
    let error = copy(&source, &new_log(2, 1)).unwrap_err();
    assert!(
        matches!(error, CopyError::Unreadable { shard: ZERO, offset: at, .. } if at == offset),
        "{error}"
    );
}
