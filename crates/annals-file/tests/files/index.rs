//! The index is derived: whatever happens to its files, the same is found.

use std::path::Path;

use annals_core::Offset;
use annals_core::index::Term;
use annals_log::Log as _;

use super::support::{Feed, ZERO, claim, create, find_all, indexes, open, read_all, segments};

/// A closed log of several segments.
fn filled(directory: &Path) -> (Vec<Vec<Offset>>, usize) {
    let log = create(directory, 1);
    let writer = claim(&log, ZERO);
    let mut feed = Feed::default();
    for n in 0..150 {
        feed.put(&*writer, &format!("thing/{}", n % 11), 200);
    }
    drop(writer);
    let found = find_all(&log, ZERO);
    log.close().unwrap();
    assert_eq!(indexes(directory, 0).len(), segments(directory, 0).len(), "closing writes the last index");
    (found, 152)
}

fn expect_same(directory: &Path, before: &(Vec<Vec<Offset>>, usize), case: &str) {
    let log = open(directory);
    assert_eq!(find_all(&log, ZERO), before.0, "{case}");
    assert_eq!(read_all(&log, ZERO).len(), before.1, "{case}");
    log.close().unwrap();
    let found = annals_file::verify(directory).unwrap();
    assert_eq!(found.shards[0].index_problems, [], "{case}: the files are whole again");
}

#[test]
fn missing_index_files_are_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let before = filled(directory.path());
    for path in indexes(directory.path(), 0) {
        std::fs::remove_file(&path).unwrap();
        expect_same(directory.path(), &before, &path.display().to_string());
    }
    indexes(directory.path(), 0).into_iter().for_each(|path| std::fs::remove_file(path).unwrap());
    expect_same(directory.path(), &before, "all");
}

#[test]
fn damaged_index_files_are_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let before = filled(directory.path());
    let path = indexes(directory.path(), 0).remove(1);
    let good = std::fs::read(&path).unwrap();
    // One byte in every part: header, filter, terms, records, positions, page checksums.
    for at in [3, 60, 140, good.len() / 3, good.len() / 2, good.len() * 5 / 6, good.len() - 2] {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        std::fs::write(&path, bad).unwrap();
        let log = open(directory.path());
        assert_eq!(find_all(&log, ZERO), before.0, "byte {at}");
        log.rebuild_index().unwrap();
        drop(log);
        expect_same(directory.path(), &before, &format!("byte {at}"));
    }
}

#[test]
fn a_stale_index_file_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let before = filled(directory.path());
    let paths = indexes(directory.path(), 0);
    std::fs::copy(&paths[0], &paths[1]).unwrap();
    expect_same(directory.path(), &before, "the index of another segment");
}

/// The last segment's index file is from the last clean closing: what came after it is scanned.
#[test]
fn an_index_file_may_lag() {
    let directory = tempfile::tempdir().unwrap();
    let before = filled(directory.path());
    let log = open(directory.path());
    let writer = claim(&log, ZERO);
    let mut feed = Feed::resume(&log, ZERO);
    let offset = feed.put(&*writer, "thing/3", 5);
    drop(writer);
    log.abandon();
    let log = open(directory.path());
    assert_eq!(read_all(&log, ZERO).len(), before.1 + 2);
    assert_eq!(log.find_last(ZERO, Term::stream("thing/3")).unwrap(), Some(offset));
    let found = log.find(ZERO, Term::stream("thing/3"), Offset(0), usize::MAX).unwrap();
    assert_eq!(found.len(), 150 / 11 + 2, "those before and the one after");
    assert!(log.verify().unwrap().is_sound());
}

#[test]
fn rebuilding_gives_the_same_files() {
    let directory = tempfile::tempdir().unwrap();
    let before = filled(directory.path());
    let files =
        |paths: Vec<_>| paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>();
    let first = files(indexes(directory.path(), 0));
    let log = open(directory.path());
    log.rebuild_index().unwrap();
    assert_eq!(find_all(&log, ZERO), before.0);
    assert_eq!(files(indexes(directory.path(), 0)), first);
}
