//! Damage to what was durable: named with its place, never cut.

use std::path::Path;

use annals_core::{Offset, ShardId};
use annals_file::{Damage, FileLog, OpenError, verify};
use annals_log::{Log as _, ReadError};

use super::support::{
    Feed, ZERO, claim, create, indexes, open, read_all, restore, segments, small, snapshot, used,
};

/// Twelve records in groups of their own, and where each group ends.
fn twelve(directory: &Path, close: bool) -> Vec<usize> {
    let log = create(directory, 1);
    let mut ends = vec![used(&log)];
    let writer = claim(&log, ZERO);
    ends.push(used(&log));
    let mut feed = Feed::default();
    for _ in 0..10 {
        feed.put(&*writer, "thing/1", 30);
        ends.push(used(&log));
    }
    drop(writer);
    if close {
        log.close().unwrap()
    } else {
        log.abandon()
    }
    ends
}

fn change(path: &Path, at: usize, with: impl Fn(u8) -> u8) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] = with(bytes[at]);
    std::fs::write(path, bytes).unwrap();
}

fn open_error(directory: &Path) -> OpenError {
    FileLog::open(directory, small()).expect_err("the log is damaged")
}

fn damage_at_open(directory: &Path) -> Damage {
    match open_error(directory) {
        OpenError::Damaged(damage) => damage,
        other => panic!("{other}"),
    }
}

fn delete_indexes(directory: &Path) {
    indexes(directory, 0).into_iter().for_each(|path| std::fs::remove_file(path).unwrap());
}

#[test]
fn damage_below_the_last_group_is_named_and_nothing_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let ends = twelve(directory.path(), false);
    let segment = segments(directory.path(), 0).remove(0);
    let files = snapshot(directory.path());
    for (offset, group) in ends.windows(2).enumerate().take(ends.len() - 2) {
        let offset = Offset(offset as u64 + 1);
        for at in group[0]..group[1] {
            restore(directory.path(), &files);
            change(&segment, at, |byte| byte ^ 0x20);
            let before = std::fs::read(&segment).unwrap();
            let damage = damage_at_open(directory.path());
            assert_eq!((damage.shard, &damage.segment, damage.offset), (ZERO, &segment, offset), "byte {at}");
            assert!((group[0]..group[1]).contains(&(damage.byte as usize)), "byte {at}: {damage}");
            assert_eq!(std::fs::read(&segment).unwrap(), before, "byte {at}: opening changed the segment");
            let found = verify(directory.path()).unwrap();
            assert_eq!(found.shards[0].damage.len(), 1, "byte {at}: {:?}", found.shards[0].damage);
            assert_eq!(found.shards[0].damage[0].offset, offset, "byte {at}");
            assert_eq!((found.shards[0].accepted, found.shards[0].end), (11, Offset(12)), "byte {at}");
        }
    }
}

/// Zeros look like the end; the groups behind them prove that they are not.
#[test]
fn a_group_of_zeros_in_the_middle_is_not_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let ends = twelve(directory.path(), false);
    let segment = segments(directory.path(), 0).remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[ends[3]..ends[4]].fill(0);
    std::fs::write(&segment, bytes).unwrap();
    let damage = damage_at_open(directory.path());
    assert_eq!((damage.offset, damage.byte), (Offset(4), ends[3] as u64));
}

#[test]
fn a_seal_protects_the_last_group() {
    for close in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let ends = twelve(directory.path(), close);
        delete_indexes(directory.path());
        let segment = segments(directory.path(), 0).remove(0);
        change(&segment, ends[11] - 3, |byte| byte ^ 1);
        if close {
            assert_eq!(damage_at_open(directory.path()).offset, Offset(11));
        } else {
            assert_eq!(open(directory.path()).torn_tails().len(), 1);
        }
    }
}

/// The index file says how far the log was durable, and it is bound to its segment.
#[test]
fn an_index_file_protects_what_it_covers() {
    let directory = tempfile::tempdir().unwrap();
    let ends = twelve(directory.path(), true);
    let segment = segments(directory.path(), 0).remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[ends[9]..].fill(0);
    std::fs::write(&segment, bytes).unwrap();
    assert_eq!(damage_at_open(directory.path()).offset, Offset(10));
    assert_eq!(verify(directory.path()).unwrap().shards[0].damage[0].offset, Offset(10));
}

#[test]
fn damage_that_opening_does_not_read_is_found_by_reading() {
    let directory = tempfile::tempdir().unwrap();
    let ends = twelve(directory.path(), true);
    let segment = segments(directory.path(), 0).remove(0);
    change(&segment, ends[5] - 1, |byte| byte ^ 1);
    let log = open(directory.path());
    let error = log.read(ZERO, Offset(0), usize::MAX).unwrap_err();
    let ReadError::Damaged { shard, offset, place, .. } = error else { panic!("{error}") };
    assert_eq!((shard, offset), (ZERO, Offset(5)));
    assert!(place.contains(segment.to_str().unwrap()), "{place}");
    let error = log.get(ZERO, Offset(5)).unwrap_err();
    assert!(matches!(error, ReadError::Damaged { offset: Offset(5), .. }), "{error}");
    assert!(log.get(ZERO, Offset(4)).unwrap().is_some());
    assert!(log.get(ZERO, Offset(6)).unwrap().is_some());
    assert!(!log.verify().unwrap().is_sound());
}

#[test]
fn a_segment_that_was_cut_short_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    twelve(directory.path(), false);
    let segment = segments(directory.path(), 0).remove(0);
    let files = snapshot(directory.path());
    let length = std::fs::metadata(&segment).unwrap().len();
    for keep in [0, 95, 96, 1000, length - 1] {
        restore(directory.path(), &files);
        std::fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(keep).unwrap();
        let damage = damage_at_open(directory.path());
        assert_eq!((damage.shard, &damage.segment), (ShardId(0), &segment), "{keep} bytes kept");
        assert!(!verify(directory.path()).unwrap().is_sound(), "{keep} bytes kept");
    }
}

fn many_segments(directory: &Path) -> Vec<std::path::PathBuf> {
    let log = create(directory, 1);
    let writer = claim(&log, ZERO);
    let mut feed = Feed::default();
    for n in 0..200 {
        feed.put(&*writer, &format!("thing/{}", n % 7), 300);
    }
    drop(writer);
    log.close().unwrap();
    let segments = segments(directory, 0);
    assert!(segments.len() > 4, "{segments:?}");
    segments
}

#[test]
fn missing_segments_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let all = many_segments(directory.path());
    let files = snapshot(directory.path());
    for (number, segment) in all.iter().enumerate().take(all.len() - 1) {
        restore(directory.path(), &files);
        std::fs::remove_file(segment).unwrap();
        let error = open_error(directory.path());
        assert!(matches!(error, OpenError::Damaged(_)), "segment {number}: {error}");
        let found = verify(directory.path()).unwrap();
        assert!(!found.is_sound(), "segment {number}");
    }
}

#[test]
fn segments_that_were_swapped_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let all = many_segments(directory.path());
    let (one, two) = (std::fs::read(&all[1]).unwrap(), std::fs::read(&all[2]).unwrap());
    std::fs::write(&all[1], two).unwrap();
    std::fs::write(&all[2], one).unwrap();
    assert_eq!(damage_at_open(directory.path()).segment, all[1]);
}

#[test]
fn verify_names_every_place_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let all = many_segments(directory.path());
    let total = read_all(&open(directory.path()), ZERO).len() as u64;
    for segment in &all[1..4] {
        change(segment, 2000, |byte| byte ^ 1);
        change(segment, 6000, |byte| byte ^ 1);
    }
    let found = verify(directory.path()).unwrap();
    let places: Vec<_> = found.shards[0].damage.iter().map(|damage| damage.segment.clone()).collect();
    assert_eq!(places, [&all[1], &all[1], &all[2], &all[2], &all[3], &all[3]].map(Clone::clone));
    assert_eq!((found.shards[0].accepted, found.shards[0].end), (total - 6, Offset(total)));
    assert_eq!(found.shards[0].broken, [], "a gap is damage, not a writer's fault");
}

#[test]
fn verify_tells_what_a_sound_log_holds() {
    let directory = tempfile::tempdir().unwrap();
    many_segments(directory.path());
    let found = verify(directory.path()).unwrap();
    let shard = &found.shards[0];
    assert!(found.is_sound());
    assert_eq!((shard.accepted, shard.end, shard.streams, shard.events), (202, Offset(202), 7, 200));
    assert_eq!((shard.sealed, shard.epoch, shard.unfinished_bytes), (true, Some(annals_core::Epoch(1)), 0));
    assert_eq!(shard.index_problems, []);
    assert!(shard.ignored.is_empty());
}

#[test]
fn verify_notices_a_version_that_does_not_fit() {
    let directory = tempfile::tempdir().unwrap();
    let log = create(directory.path(), 1);
    let writer = claim(&log, ZERO);
    let mut feed = Feed::default();
    feed.put(&*writer, "thing/1", 1);
    feed.envelope("thing/1", 1);
    let offset = feed.put(&*writer, "thing/1", 1);
    drop(writer);
    log.close().unwrap();
    let found = verify(directory.path()).unwrap();
    let [broken] = found.shards[0].broken.as_slice() else { panic!("{found:?}") };
    assert_eq!(broken.offset, offset);
    assert!(broken.reason.contains("expects version 2 of stream thing/1, which has 1"), "{broken}");
}
