//! Giving a shard up: the release is a record like others, and the last of its claim.

use annals_core::envelope::{FORMAT, Header, Release};
use annals_core::{Offset, Seq};

use super::claims::refuses_appends;
use super::{Check, TestLog, append, claim, commit, keys, put, read_all, shard_of};
use crate::port::{RecordKind, Writer};

pub(super) const CHECKS: &[Check] = &[
    ("a release is a record that readers see", release_is_a_record),
    ("a release ends its writer, and keeps what it appended", release_ends_the_writer),
    ("a released shard is claimed again", released_and_claimed),
    ("a release survives closing and a crash", release_survives),
];

fn release() -> Release {
    Release { format: FORMAT, to: "heir".to_owned(), released_at_us: 1_700_000_000_000_003 }
}

fn append_release(writer: &dyn Writer) -> Seq {
    let body = release().to_bytes();
    writer
        .append(RecordKind::Release, body, Vec::new())
        .unwrap_or_else(|e| panic!("append of a release: {e}"))
}

fn release_is_a_record(test: &mut dyn TestLog) {
    let log = test.log();
    let shard = shard_of(log);
    let writer = claim(log, shard, "a");
    put(&*writer, "thing/1", "before");
    let seq = append_release(&*writer);
    assert_eq!(seq, Seq(1), "a release is numbered like any record");
    assert_eq!(commit(&*writer, seq), Offset(3));
    let record = log.get(shard, Offset(3)).unwrap().expect("the release can be read");
    assert_eq!(record.header, Header::Release { epoch: writer.epoch(), seq });
    assert_eq!(Release::from_bytes(record.envelope), Ok(release()));
    assert_eq!(read_all(log, shard, usize::MAX).len(), 4, "it is among the accepted records");
}

fn release_ends_the_writer(test: &mut dyn TestLog) {
    let log = test.log();
    let shard = shard_of(log);
    let writer = claim(log, shard, "a");
    let before = append(&*writer, "thing/1", "before");
    let seq = append_release(&*writer);
    refuses_appends(log, &*writer);
    assert_eq!(commit(&*writer, seq), Offset(3), "the release itself is committed");
    refuses_appends(log, &*writer);
    assert_eq!(commit(&*writer, before), Offset(2), "and what was appended before it");
    assert_eq!(writer.committed(), Seq(2));
    assert_eq!(log.end(shard), Offset(4), "nothing came behind it");
    assert_eq!(keys(&read_all(log, shard, usize::MAX)), ["before"]);
}

fn released_and_claimed(test: &mut dyn TestLog) {
    let log = test.log();
    let shard = shard_of(log);
    for life in 0..3 {
        let writer = claim(log, shard, "a");
        put(&*writer, "thing/1", &format!("k{life}"));
        commit(&*writer, append_release(&*writer));
        let heir = claim(log, shard, "heir");
        assert!(heir.epoch() > writer.epoch(), "the heir's claim comes later");
        put(&*heir, "thing/1", &format!("k{life}-heir"));
        refuses_appends(log, &*writer);
        assert_eq!(writer.committed(), Seq(2), "what was committed stays committed");
    }
    let expected = ["k0", "k0-heir", "k1", "k1-heir", "k2", "k2-heir"];
    assert_eq!(keys(&read_all(log, shard, usize::MAX)), expected);
}

fn release_survives(test: &mut dyn TestLog) {
    let shard = shard_of(test.log());
    let writer = claim(test.log(), shard, "a");
    put(&*writer, "thing/1", "before");
    commit(&*writer, append_release(&*writer));
    drop(writer);
    let before = read_all(test.log(), shard, usize::MAX);
    test.reopen();
    assert_eq!(read_all(test.log(), shard, usize::MAX), before, "after closing");
    test.crash();
    assert_eq!(read_all(test.log(), shard, usize::MAX), before, "after a crash");
    put(&*claim(test.log(), shard, "heir"), "thing/1", "after");
    test.crash();
    assert_eq!(keys(&read_all(test.log(), shard, usize::MAX)), ["before", "after"]);
}
