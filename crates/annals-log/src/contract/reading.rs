//! Reading, finding, waiting and bookmarks.

use std::thread;
use std::time::{Duration, Instant};

use annals_core::envelope::Header;
use annals_core::index::Term;
use annals_core::{LogId, Offset, Seq, ShardId};

use super::{Check, TestLog, append, append_progress, claim, commit, put, read_all, shard_of};
use crate::port::{Bookmark, BookmarkError, Chunk, Log, ReadError};

pub(super) const CHECKS: &[Check] = &[
    ("a read starts and stops where it was told", reads),
    ("chunks of any size give the same records", chunk_sizes),
    ("records are got by their offset", gets),
    ("records are found by their terms", finds),
    ("terms are found in their own shard", finds_per_shard),
    ("a shard that is not there is named", no_shard),
    ("a wait ends with the commit", wait_wakes),
    ("a wait ends with its time", wait_times_out),
    ("a bookmark knows its log and its record", bookmarks),
];

/// How long a wait may take that should end at once, on a busy machine.
const PROMPT: Duration = Duration::from_secs(10);

fn fill(log: &dyn Log, shard: ShardId, count: usize) {
    let writer = claim(log, shard, "a");
    for n in 0..count {
        put(&*writer, &format!("thing/{}", n % 3), &format!("k{n}"));
    }
}

fn reads(test: &mut dyn TestLog) {
    let log = test.log();
    let shard = shard_of(log);
    fill(log, shard, 10);
    let all = read_all(log, shard, usize::MAX);
    assert_eq!((all.len(), log.end(shard)), (12, Offset(12)));
    for from in 0..12_usize {
        let chunk = log.read(shard, Offset(from as u64), usize::MAX).unwrap();
        assert_eq!((&chunk.records[..], chunk.next), (&all[from..], Offset(12)), "read from {from}");
        let one = log.read(shard, Offset(from as u64), 0).unwrap();
        assert_eq!(
            (&one.records[..], one.next),
            (&all[from..=from], Offset(from as u64 + 1)),
            "one at {from}"
        );
    }
    for beyond in [Offset(12), Offset(13), Offset(u64::MAX)] {
        let nothing = Chunk { records: Vec::new(), next: beyond };
        assert_eq!(
            log.read(shard, beyond, usize::MAX).unwrap(),
            nothing,
            "read from {beyond}, at or above the end"
        );
    }
}

fn chunk_sizes(test: &mut dyn TestLog) {
    let log = test.log();
    let shard = shard_of(log);
    fill(log, shard, 50);
    let all = read_all(log, shard, usize::MAX);
    let sizes: Vec<usize> = all[2..].iter().map(|record| record.envelope.len()).collect();
    for bytes_max in [0, 1, sizes[0] - 1, sizes[0], sizes[0] + 1, 1000, sizes.iter().sum()] {
        assert_eq!(read_all(log, shard, bytes_max), all, "read in chunks of {bytes_max}");
    }
    for (bytes_max, count) in [(sizes[0] - 1, 1), (sizes[0], 1), (sizes[0] + 1, 2), (sizes[0] + sizes[1], 2)]
    {
        let found = log.read(shard, Offset(2), bytes_max).unwrap().records.len();
        assert_eq!(found, count, "records of {} bytes within {bytes_max}", sizes[0]);
    }
}

fn gets(test: &mut dyn TestLog) {
    let log = test.log();
    let shard = shard_of(log);
    fill(log, shard, 3);
    for record in read_all(log, shard, usize::MAX) {
        assert_eq!(log.get(shard, record.offset).unwrap().as_ref(), Some(&record));
    }
    for none in [log.end(shard), log.end(shard).next(), Offset(u64::MAX)] {
        assert_eq!(log.get(shard, none).unwrap(), None, "there is no record at {none}");
    }
}

fn finds(test: &mut dyn TestLog) {
    let log = test.log();
    let shard = shard_of(log);
    fill(log, shard, 300);
    let writer = claim(log, shard, "b");
    let progress: Vec<Offset> = (0..4).map(|n| commit(&*writer, append_progress(&*writer, n))).collect();
    let all = Offset(0);
    let found = |term, from, limit| log.find(shard, term, from, limit).unwrap();
    let every_third: Vec<Offset> = (0..100).map(|n| Offset(2 + 3 * n)).collect();
    let stream = Term::stream("thing/0");
    assert_eq!(found(stream, all, usize::MAX), every_third, "the records of a stream, ascending");
    assert_eq!(found(stream, all, 7), every_third[..7], "no more than asked for");
    assert_eq!(found(stream, every_third[40], 2), every_third[40..42], "from an offset that is among them");
    assert_eq!(found(stream, every_third[40].next(), 2), every_third[41..43], "from an offset between them");
    assert_eq!(found(stream, all, 0), [], "none when none are asked for");
    assert_eq!(found(stream, every_third[99].next(), 9), [], "none above the last");
    assert_eq!(found(Term::command("thing/1", "k1"), all, 9), [Offset(3)], "a command's record");
    assert_eq!(found(Term::tag("", "shared"), all, usize::MAX).len(), 300, "a tag's records");
    assert_eq!(found(Term::progress(), all, 9), progress, "progress records");
    assert_eq!(found(Term::stream("thing/3"), all, 9), [], "a stream that is not there");
    let last = |term| log.find_last(shard, term).unwrap();
    assert_eq!(last(stream), every_third.last().copied());
    assert_eq!(last(Term::progress()), progress.last().copied());
    assert_eq!(last(Term::stream("thing/3")), None);
}

fn finds_per_shard(test: &mut dyn TestLog) {
    let log = test.log();
    let shards = log.identity().shards;
    for n in 0..shards {
        let writer = claim(log, ShardId(n), "a");
        for m in 0..=n {
            put(&*writer, &format!("only/{n}"), &format!("k{m}"));
        }
    }
    for (n, m) in (0..shards).flat_map(|n| (0..shards).map(move |m| (n, m))) {
        let found = log.find(ShardId(n), Term::stream(&format!("only/{m}")), Offset(0), 99).unwrap();
        let expected = if n == m { n as usize + 1 } else { 0 };
        assert_eq!(found.len(), expected, "records of only/{m} in shard {n}");
    }
}

fn no_shard(test: &mut dyn TestLog) {
    let log = test.log();
    let shards = log.identity().shards;
    let shard = ShardId(shards);
    let expected = ReadError::NoShard { shard, shards };
    assert_eq!(log.read(shard, Offset(0), 1).unwrap_err(), expected);
    assert_eq!(log.get(shard, Offset(0)).unwrap_err(), expected);
    assert_eq!(log.find(shard, Term(1), Offset(0), 1).unwrap_err(), expected);
    assert_eq!(log.find_last(shard, Term(1)).unwrap_err(), expected);
}

fn wait_wakes(test: &mut dyn TestLog) {
    let log = test.log();
    let shard = shard_of(log);
    let writer = claim(log, shard, "a");
    let began = Instant::now();
    thread::scope(|scope| {
        let waiters: Vec<_> =
            (0..3).map(|_| scope.spawn(move || log.wait(shard, Offset(2), PROMPT * 6))).collect();
        thread::sleep(Duration::from_millis(50)); // let them wait first; it is right the other way round too
        let end = put(&*writer, "thing/1", "a").next();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), end, "a wait returns the new end");
        }
    });
    assert!(began.elapsed() < PROMPT, "a wait ends soon after the commit, not after {:?}", began.elapsed());
}

fn wait_times_out(test: &mut dyn TestLog) {
    const SHORT: Duration = Duration::from_millis(40);
    let log = test.log();
    let shard = shard_of(log);
    let writer = claim(log, shard, "a");
    let began = Instant::now();
    assert_eq!(log.wait(shard, Offset(1), PROMPT * 6), Offset(2), "the end is above already");
    assert_eq!(log.wait(shard, Offset(2), Duration::ZERO), Offset(2), "no time is no wait");
    assert!(began.elapsed() < PROMPT, "nothing to wait for took {:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(log.wait(shard, Offset(2), SHORT), Offset(2), "the end did not move");
    assert!((SHORT..PROMPT).contains(&began.elapsed()), "a wait of {SHORT:?} took {:?}", began.elapsed());
    if !test.eager() {
        assert_eq!(append(&*writer, "thing/1", "a"), Seq(0));
        assert_eq!(log.wait(shard, Offset(2), SHORT), Offset(2), "an append does not end a wait");
    }
}

fn bookmarks(test: &mut dyn TestLog) {
    let log = test.log();
    let shard = shard_of(log);
    fill(log, shard, 5);
    for record in read_all(log, shard, usize::MAX) {
        let bookmark = Bookmark::at(log, &record);
        assert_eq!(bookmark.resume(log, shard), Ok(record.offset.next()), "resume after {:?}", record.header);
        let other = Bookmark { crc: !bookmark.crc, ..bookmark };
        let expected = BookmarkError::OtherRecord { shard, offset: record.offset };
        assert_eq!(other.resume(log, shard), Err(expected), "another record stands there");
    }
    let record = log.get(shard, Offset(3)).unwrap().unwrap();
    assert!(matches!(record.header, Header::Record { .. }));
    let cut = Bookmark { offset: log.end(shard), ..Bookmark::at(log, &record) };
    let expected = BookmarkError::OtherRecord { shard, offset: log.end(shard) };
    assert_eq!(cut.resume(log, shard), Err(expected), "nothing stands there");
    let found = log.identity().log_id;
    let saved = LogId(uuid::Uuid::from_u128(!found.0.as_u128()));
    let foreign = Bookmark { log_id: saved, ..Bookmark::at(log, &record) };
    assert_eq!(foreign.resume(log, shard), Err(BookmarkError::OtherLog { saved, found }));
}
