//! The comparison finds what a copy with a bug does.

use annals_core::envelope::{CommandPart, FORMAT, Record, Slice};
use annals_core::{Offset, ShardId};
use annals_log::copy::{Compared, Difference, Next};
use annals_log::{Claimant, Log as _, MemoryLog};
use bytes::Bytes;

use crate::support::*;
use crate::wrapped::{Colliding, Fate, Fated};

/// Does something to the append with this number.
struct Bug<T> {
    at: u64,
    to: T,
}

impl<T: FnMut(Bytes) -> Vec<Bytes> + Send + 'static> Fate for Bug<T> {
    fn instead(&mut self, _: ShardId, envelope: Bytes) -> Vec<Bytes> {
        let hit = self.at == 0;
        self.at = self.at.wrapping_sub(1);
        if hit { (self.to)(envelope) } else { vec![envelope] }
    }
}

fn with_bug(
    source: &MemoryLog,
    to: u32,
    at: u64,
    bug: impl FnMut(Bytes) -> Vec<Bytes> + Send + 'static,
) -> Compared {
    let target = new_log(2, to);
    copy(source, &Fated::new(&target, Bug { at, to: bug })).unwrap();
    let compared = compare(source, &target);
    assert!(compared.is_complete && !compared.is_same());
    compared
}

#[test]
fn a_record_that_is_skipped_is_missing() {
    for (from, to) in LAYOUTS {
        let source = Source::with(from, 21, 100).log;
        for at in 0..100 {
            let compared = with_bug(&source, to, at, |_| vec![]);
            assert_eq!((compared.records, compared.behind + compared.differing), (99, 1), "{compared:?}");
        }
        let first = with_bug(&source, to, 0, |_| vec![]);
        assert!(matches!(first.differences[0], Difference::Missing { count: 1, .. }), "{first:?}");
    }
}

#[test]
fn a_record_that_is_doubled_is_too_much() {
    for (from, to) in LAYOUTS {
        let source = Source::with(from, 22, 100).log;
        for at in 0..100 {
            let compared = with_bug(&source, to, at, |envelope| vec![envelope.clone(), envelope]);
            assert_eq!((compared.records, compared.behind, compared.differing), (100, 0, 1), "{compared:?}");
            assert!(matches!(compared.differences[0], Difference::TooMuch { .. }));
        }
    }
}

#[test]
fn a_byte_that_is_changed_is_noticed() {
    for (from, to) in LAYOUTS {
        let source = Source::with(from, 23, 100).log;
        for at in 0..100 {
            let compared = with_bug(&source, to, at, |envelope| {
                let mut bytes = envelope.to_vec();
                *bytes.last_mut().unwrap() ^= 1;
                vec![bytes.into()]
            });
            assert_eq!((compared.records, compared.behind + compared.differing), (99, 2), "{compared:?}");
            assert!(compared.differences.iter().any(|d| matches!(d, Difference::TooMuch { .. })));
        }
    }
}

#[test]
fn two_records_in_the_wrong_order_are_noticed() {
    let source = Source::with(1, 24, 100).log;
    for at in 0..99_u64 {
        let mut held = None;
        let mut left = at;
        let target = new_log(2, 1);
        // The record is held back until the next one.
        let swap = Bug2(move |envelope: Bytes| {
            let here = left == 0;
            left = left.wrapping_sub(1);
            if here {
                held = Some(envelope);
                return vec![];
            }
            std::iter::once(envelope).chain(held.take()).collect()
        });
        copy(&source, &Fated::new(&target, swap)).unwrap();
        let compared = compare(&source, &target);
        assert_eq!((compared.records, compared.behind, compared.differing), (100, 0, 1), "{at} {compared:?}");
        assert!(matches!(compared.differences[0], Difference::OutOfOrder { .. }));
    }
}

struct Bug2<T>(T);

impl<T: FnMut(Bytes) -> Vec<Bytes> + Send + 'static> Fate for Bug2<T> {
    fn instead(&mut self, _: ShardId, envelope: Bytes) -> Vec<Bytes> {
        (self.0)(envelope)
    }
}

#[test]
fn a_shard_that_should_be_another_is_noticed() {
    let source = Source::with(8, 25, 100).log;
    let target = new_log(2, 3);
    let wrong = |stream: &str| Some(ShardId((route(stream, 3).0 + 1) % 3));
    let job = annals_log::copy::Job::new(&source, &target, &wrong);
    job.run(&claimant, annals_log::copy::Until::Level, &mut |_| Next::GoOn).unwrap();
    let compared = compare(&source, &target);
    assert_eq!((compared.records, compared.behind, compared.differing), (0, 100, 100));
}

#[test]
fn hashes_that_collide_are_told_apart_by_their_bytes() {
    for (from, to) in LAYOUTS {
        let mut source = Source::with(from, 26, 100);
        let target = new_log(2, to);
        copy(&source.log, &target).unwrap();
        source.write(50);
        let colliding = Colliding { log: target.clone(), lie: None };
        assert_eq!(copy(&source.log, &colliding).unwrap().records, 50);
        assert!(compare(&source.log, &colliding).is_same());
        check_whole(&source.log, &target);
    }
}

/// As if the copy took a record that it found by a hash for its own without a look at its bytes.
#[test]
fn a_copy_that_does_not_compare_is_noticed() {
    let mut source = Source::with(1, 27, 100);
    let target = new_log(2, 1);
    copy(&source.log, &target).unwrap();
    source.write(3);
    let lie = records(&source.log, ShardId(0)).into_iter().rev().nth(2).map(|raw| raw.envelope);
    let copied = copy(&source.log, &Colliding { log: target.clone(), lie }).unwrap();
    assert_eq!(copied.records, 2, "one was believed to be there");
    let compared = compare(&source.log, &target);
    assert_eq!((compared.records, compared.differing), (102, 1), "{compared:?}");
    assert!(matches!(compared.differences[0], Difference::Missing { count: 1, .. }));
}

#[test]
fn a_comparison_can_be_stopped() {
    let source = Source::with(1, 28, 20_000).log;
    let target = new_log(2, 1);
    copy(&source, &target).unwrap();
    let route = |stream: &str| Some(route(stream, 1));
    let job = annals_log::copy::Job::new(&source, &target, &route);
    let mut told = Vec::new();
    let mut watch = |copied: &annals_log::copy::Copied| {
        told.push(copied.records);
        Next::Stop
    };
    let compared = job.check(None, &mut watch).unwrap();
    assert_eq!((compared.is_complete, compared.is_same(), told.len()), (false, false, 1));
    assert!(
        compared.differences.is_empty() && target.end(ShardId(0)) > source.end(ShardId(0)).min(Offset(1))
    );
}

/// Two shards whose clocks are an hour apart: each is copied as it comes, and compared in the order of time.
#[test]
fn an_order_far_from_that_of_time_is_no_difference() {
    let source = new_log(1, 2);
    let target = new_log(2, 1);
    let streams: Vec<String> = (0..2)
        .map(|shard| {
            let mut names = (0..).map(|n| format!("thing/{n}"));
            names.find(|name| route(name, 2) == ShardId(shard)).unwrap()
        })
        .collect();
    let writers: Vec<_> = shards(&source).map(|shard| source.claim(shard, &claimant()).unwrap()).collect();
    for (round, shard) in [1, 0, 1, 0].into_iter().enumerate() {
        for n in 0..6_000 {
            let slice = Slice { stream: streams[shard].clone(), ..Slice::default() };
            let at = (round * 6_000 + n) as i64 + shard as i64 * 3_600_000_000;
            let command = CommandPart { key: format!("{round} {n}"), ..CommandPart::default() };
            let command = Some(command);
            let record = Record {
                format: FORMAT,
                slices: vec![slice],
                command,
                recorded_at_us: at,
                ..Record::default()
            };
            put(&*writers[shard], &record);
        }
        copy(&source, &target).unwrap();
    }
    assert!(compare(&source, &target).is_same());
    // And one that is too much, near the beginning, with more behind it than is kept in mind.
    let far = new_log(3, 1);
    let node = format!("copy of {} by host/3", source.identity().log_id);
    let writer = far.claim(ShardId(0), &Claimant { node, ..claimant() }).unwrap();
    for (n, raw) in records(&target, ShardId(0)).into_iter().enumerate() {
        let record = Record::from_bytes(raw.envelope).unwrap();
        if n == 10 {
            put(&*writer, &Record { actor: "planted".into(), ..record.clone() });
        }
        put(&*writer, &record);
    }
    let compared = compare(&source, &far);
    let planted = Difference::TooMuch { target_shard: ShardId(0), target_offset: Offset(12) };
    assert_eq!((compared.records, compared.behind, compared.differences), (24_000, 0, vec![planted]));
}
