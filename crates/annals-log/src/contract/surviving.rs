//! Closing, dying and coming back: what was committed is there, byte for byte, and can be found.

use annals_core::index::Term;
use annals_core::{Offset, ShardId};

use super::{Check, TestLog, append, append_progress, claim, commit, keys, put, read_all, shard_of};
use crate::port::{Bookmark, Identity, Log, RawRecord};

pub(super) const CHECKS: &[Check] = &[
    ("an empty log comes back", empty_comes_back),
    ("what was committed survives closing", survives_closing),
    ("what was committed survives a crash", survives_a_crash),
    ("what was not committed comes back in order or not at all", uncommitted_after_a_crash),
    ("a log lives through many crashes", many_lives),
];

/// Everything a reader can see of a log.
#[derive(Debug, PartialEq)]
struct Seen {
    identity: Identity,
    records: Vec<Vec<RawRecord>>,
    found: Vec<Vec<Vec<Offset>>>,
    last: Vec<Vec<Option<Offset>>>,
}

fn see(log: &dyn Log) -> Seen {
    let streams = ["thing/0", "thing/1", "thing/2", "thing/3", "thing/none"].map(Term::stream);
    let commands = (0..60).map(|n| Term::command(&format!("thing/{}", n % 4), &format!("k{n}")));
    let others = [Term::progress(), Term::tag("", "shared")];
    let terms: Vec<Term> = streams.into_iter().chain(commands).chain(others).collect();
    let shards: Vec<ShardId> = (0..log.identity().shards).map(ShardId).collect();
    let find = |shard, term| log.find(shard, term, Offset(0), usize::MAX).unwrap();
    let last = |shard, term| log.find_last(shard, term).unwrap();
    Seen {
        identity: log.identity().clone(),
        records: shards.iter().map(|shard| read_all(log, *shard, usize::MAX)).collect(),
        found: shards.iter().map(|shard| terms.iter().map(|term| find(*shard, *term)).collect()).collect(),
        last: shards.iter().map(|shard| terms.iter().map(|term| last(*shard, *term)).collect()).collect(),
    }
}

/// Two claims in each shard, records of several streams, progress, groups of one and of many.
fn populate(log: &dyn Log) {
    for shard in (0..log.identity().shards).map(ShardId) {
        let first = claim(log, shard, "first");
        for n in 0..30 {
            put(&*first, &format!("thing/{}", n % 4), &format!("k{n}"));
        }
        let second = claim(log, shard, "second");
        for n in 30..60 {
            append(&*second, &format!("thing/{}", n % 4), &format!("k{n}"));
        }
        commit(&*second, append_progress(&*second, 40));
    }
}

fn empty_comes_back(test: &mut dyn TestLog) {
    let before = see(test.log());
    test.reopen();
    assert_eq!(see(test.log()), before, "an empty log after closing");
    test.crash();
    assert_eq!(see(test.log()), before, "an empty log after a crash");
    put(&*claim(test.log(), shard_of(test.log()), "a"), "thing/1", "k1");
}

fn survives_closing(test: &mut dyn TestLog) {
    populate(test.log());
    let before = see(test.log());
    assert!(
        before.found.iter().all(|found| found.iter().filter(|offsets| !offsets.is_empty()).count() == 66)
    );
    let shard = shard_of(test.log());
    let bookmark = Bookmark::at(test.log(), before.records[shard.0 as usize].last().unwrap());
    for time in 1..=3 {
        test.reopen();
        assert_eq!(see(test.log()), before, "what was committed, closed and opened {time} times");
    }
    assert_eq!(bookmark.resume(test.log(), shard), Ok(test.log().end(shard)), "a bookmark outlives closing");
    goes_on(test.log());
}

fn survives_a_crash(test: &mut dyn TestLog) {
    populate(test.log());
    let before = see(test.log());
    for time in 1..=3 {
        test.crash();
        assert_eq!(see(test.log()), before, "what was committed, after {time} crashes");
    }
    goes_on(test.log());
}

/// A new claim on a log that came back is the newest, and its records follow what is there.
fn goes_on(log: &dyn Log) {
    let shard = shard_of(log);
    let (before, end) = (read_all(log, shard, usize::MAX), log.end(shard));
    let writer = claim(log, shard, "third");
    assert!(writer.epoch().0 >= end.0, "a new claim comes last");
    let offset = put(&*writer, "thing/1", "k-new");
    assert_eq!(log.find_last(shard, Term::stream("thing/1")).unwrap(), Some(offset), "new beside old");
    let after = read_all(log, shard, usize::MAX);
    assert_eq!(after[..before.len()], before, "what was there stays");
    assert_eq!(after.len(), before.len() + 2, "the claim and its record came after");
}

fn uncommitted_after_a_crash(test: &mut dyn TestLog) {
    let shard = shard_of(test.log());
    let writer = claim(test.log(), shard, "a");
    put(&*writer, "thing/1", "kept");
    for n in 0..10 {
        append(&*writer, "thing/1", &format!("open-{n}"));
    }
    drop(writer);
    test.crash();
    let expected: Vec<String> = (0..10).map(|n| format!("open-{n}")).collect();
    let found = keys(&read_all(test.log(), shard, usize::MAX));
    assert_eq!(found.first().map(String::as_str), Some("kept"), "what was committed is there");
    assert!(
        expected.starts_with(&found[1..]),
        "what was not committed has no holes and no strangers: {found:?}"
    );
    let terms = test.log().find(shard, Term::stream("thing/1"), Offset(0), 99).unwrap();
    assert_eq!(terms.len(), found.len(), "the index agrees with the log");
    goes_on(test.log());
}

fn many_lives(test: &mut dyn TestLog) {
    let shard = shard_of(test.log());
    let mut expected = Vec::new();
    for life in 0..12 {
        let writer = claim(test.log(), shard, &format!("life-{life}"));
        for n in 0..=life {
            let key = format!("{life}-{n}");
            append(&*writer, "thing/1", &key);
            expected.push(key);
        }
        commit(&*writer, annals_core::Seq(life));
        drop(writer);
        if life % 3 == 0 {
            test.reopen()
        } else {
            test.crash()
        }
        assert_eq!(keys(&read_all(test.log(), shard, usize::MAX)), expected, "after life {life}");
    }
    let found = test.log().find(shard, Term::stream("thing/1"), Offset(0), usize::MAX).unwrap();
    assert_eq!(found.len(), expected.len(), "all lives can be found");
}
