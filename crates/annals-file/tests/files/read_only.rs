//! Reading beside a writer, and without one.

use std::time::Duration;

use annals_core::{Offset, ShardId};
use annals_file::FileLog;
use annals_log::{ClaimError, Claimant, Log as _};

use super::kill::start_child;
use super::support::{Feed, ZERO, claim, create, find_all, open, read_all, restore, segments, snapshot};

#[test]
fn reading_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let log = create(directory.path(), 1);
    let writer = claim(&log, ZERO);
    let mut feed = Feed::default();
    for n in 0..120 {
        feed.put(&*writer, &format!("thing/{}", n % 5), 300);
    }
    let (records, found) = (read_all(&log, ZERO), find_all(&log, ZERO));
    drop(writer);
    log.abandon();
    // A torn tail, a missing index file and a leftover: all stay.
    let last = segments(directory.path(), 0).pop().unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end + 5..end + 50].fill(9);
    std::fs::write(&last, bytes).unwrap();
    std::fs::write(directory.path().join("shard-000/next-7.tmp"), b"zeros").unwrap();
    std::fs::remove_file(&super::support::indexes(directory.path(), 0)[0]).unwrap();
    let before = snapshot(directory.path());
    {
        let log = FileLog::open_read_only(directory.path()).unwrap();
        assert_eq!((read_all(&log, ZERO), find_all(&log, ZERO)), (records, found));
        assert_eq!(log.wait(ZERO, Offset(10_000), Duration::from_millis(20)), Offset(122));
        let claimant = Claimant {
            node: String::new(),
            address: String::new(),
            nonce: [0; 16],
            claimed_at: Default::default(),
        };
        assert_eq!(log.claim(ZERO, &claimant).err(), Some(ClaimError::ReadOnly));
        assert!(log.rebuild_index().is_err());
        assert!(log.verify().unwrap().is_sound());
        assert_eq!(log.verify().unwrap().shards[0].unfinished_bytes, 49);
    }
    assert_eq!(snapshot(directory.path()), before);
    restore(directory.path(), &before);
    assert_eq!(open(directory.path()).torn_tails().len(), 1);
}

#[test]
fn a_reader_follows_a_writer_in_the_same_process() {
    let directory = tempfile::tempdir().unwrap();
    let log = create(directory.path(), 1);
    let reader = FileLog::open_read_only(directory.path()).unwrap();
    let writer = claim(&log, ZERO);
    let mut feed = Feed::default();
    for n in 0..200 {
        let offset = feed.put(&*writer, &format!("thing/{}", n % 5), 300);
        assert_eq!(reader.wait(ZERO, offset, Duration::from_secs(10)), offset.next());
    }
    assert!(segments(directory.path(), 0).len() > 4);
    assert_eq!(read_all(&reader, ZERO), read_all(&log, ZERO));
    assert_eq!(find_all(&reader, ZERO), find_all(&log, ZERO));
}

/// Everything a reader has seen is in the log after the writer was killed.
#[test]
fn a_reader_beside_a_process_that_is_killed_sees_what_stays() {
    let directory = tempfile::tempdir().unwrap();
    create(directory.path(), 2).close().unwrap();
    let mut child = start_child(directory.path());
    let reader = FileLog::open_read_only(directory.path()).unwrap();
    let mut seen = Vec::new();
    let shard = ShardId(1);
    while seen.len() < 400 {
        let next = Offset(seen.len() as u64);
        assert!(reader.wait(shard, next, Duration::from_secs(30)) > next, "the child writes");
        let chunk = reader.read(shard, next, 100_000).unwrap();
        seen.extend(chunk.records);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let log = open(directory.path());
    let all = read_all(&log, shard);
    assert_eq!(all[..seen.len()], seen[..]);
    assert!(seen.iter().enumerate().all(|(n, record)| record.offset.0 == n as u64));
}
