//! Append and commit: order, visibility, groups, threads, sizes.

use std::sync::Mutex;
use std::thread;

use annals_core::envelope::{ENVELOPE_BYTES_MAX, Header};
use annals_core::index::Term;
use annals_core::{Offset, Seq};
use bytes::Bytes;

use super::{Check, TestLog, append, append_progress, claim, commit, key, keys, read_all, shard_of};
use crate::port::{AppendError, Log, RecordKind, Writer};

pub(super) const CHECKS: &[Check] = &[
    ("records become visible with their commit, in order", visible_in_order),
    ("a commit takes all before it along", commit_takes_all_before),
    ("many records in flight", many_in_flight),
    ("threads that commit at the same time share the work", threads_commit),
    ("envelopes from one byte to the limit", sizes),
    ("an envelope above the limit is refused, and nothing else", too_large),
];

fn visible_in_order(test: &mut dyn TestLog) {
    let log = test.log();
    let shard = shard_of(log);
    let writer = claim(log, shard, "a");
    let seqs =
        [append(&*writer, "thing/1", "a"), append_progress(&*writer, 7), append(&*writer, "thing/2", "b")];
    assert_eq!(seqs, [Seq(0), Seq(1), Seq(2)], "numbers count from 0 since the claim");
    if !test.eager() {
        assert_eq!(writer.committed(), Seq(0), "an append commits nothing");
        assert_eq!(log.end(shard), Offset(2), "an append is not durable");
        assert_eq!(keys(&read_all(log, shard, usize::MAX)), [] as [&str; 0], "an append is not visible");
        assert_eq!(log.find_last(shard, Term::stream("thing/1")).unwrap(), None, "an append cannot be found");
    }
    assert_eq!(commit(&*writer, Seq(2)), Offset(4));
    assert_eq!(writer.committed(), Seq(3));
    let epoch = writer.epoch();
    let headers: Vec<Header> = read_all(log, shard, 0).iter().map(|record| record.header).collect();
    let numbered = [
        Header::Record { epoch, seq: Seq(0) },
        Header::Progress { epoch, seq: Seq(1) },
        Header::Record { epoch, seq: Seq(2) },
    ];
    assert_eq!(headers, [&[Header::Genesis, Header::Claim], &numbered[..]].concat());
}

fn commit_takes_all_before(test: &mut dyn TestLog) {
    let log = test.log();
    let shard = shard_of(log);
    let writer = claim(log, shard, "a");
    let seqs: Vec<Seq> = (0..5).map(|n| append(&*writer, "thing/1", &format!("k{n}"))).collect();
    assert_eq!(commit(&*writer, seqs[2]), Offset(4));
    assert!(writer.committed() >= Seq(3), "a commit covers what lies before");
    assert!(keys(&read_all(log, shard, usize::MAX)).starts_with(&["k0", "k1", "k2"].map(String::from)));
    for (n, seq) in seqs.iter().enumerate().rev() {
        assert_eq!(commit(&*writer, *seq), Offset(2 + n as u64), "offsets follow the order of appends");
    }
    assert_eq!(writer.committed(), Seq(5));
}

fn many_in_flight(test: &mut dyn TestLog) {
    const COUNT: usize = 2000;
    let log = test.log();
    let shard = shard_of(log);
    let writer = claim(log, shard, "a");
    let expected: Vec<String> = (0..COUNT).map(|n| format!("k{n}")).collect();
    let seqs: Vec<Seq> = expected.iter().map(|key| append(&*writer, "thing/1", key)).collect();
    let last = commit(&*writer, seqs[COUNT - 1]);
    assert_eq!(log.end(shard), last.next(), "the last record is the end");
    let records = read_all(log, shard, 10_000);
    assert_eq!(keys(&records), expected, "order is kept");
    for (seq, record) in seqs.iter().zip(&records[2..]) {
        assert_eq!(commit(&*writer, *seq), record.offset, "a commit names the record's offset");
    }
}

fn threads_commit(test: &mut dyn TestLog) {
    const THREADS: usize = 8;
    const EACH: usize = 100;
    let log = test.log();
    let shard = shard_of(log);
    let writer = claim(log, shard, "a");
    let order = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (order, writer) = (&order, &*writer);
            scope.spawn(move || {
                (0..EACH).for_each(|n| committed_by(log, writer, order, &format!("{thread}-{n}")))
            });
        }
    });
    assert_eq!(
        keys(&read_all(log, shard, usize::MAX)),
        order.into_inner().unwrap(),
        "order is that of appends"
    );
    assert_eq!(writer.committed(), Seq((THREADS * EACH) as u64));
}

/// Appends under the caller's order, commits outside it, and reads the record where the commit says it is.
fn committed_by(log: &dyn Log, writer: &dyn Writer, order: &Mutex<Vec<String>>, name: &str) {
    let seq = {
        let mut order = order.lock().unwrap();
        order.push(name.to_owned());
        append(writer, "thing/1", name)
    };
    let offset = commit(writer, seq);
    assert!(writer.committed() > seq, "what is committed counts as committed");
    let record = log.get(shard_of(log), offset).unwrap().expect("a committed record is visible");
    assert_eq!(key(&record.envelope), name, "the offset is that of this thread's record");
}

fn sizes(test: &mut dyn TestLog) {
    let sizes = [1, 2, 7, 8, 9, 511, 512, 513, 4095, 4096, 4097, 65_536, 1 << 20, 3_000_001];
    let limits = [ENVELOPE_BYTES_MAX - 1, ENVELOPE_BYTES_MAX];
    let shard = shard_of(test.log());
    let envelopes: Vec<Bytes> = sizes.into_iter().chain(limits).map(noise).collect();
    let writer = claim(test.log(), shard, "a");
    for bytes in &envelopes {
        let seq = writer.append(RecordKind::Record, bytes.clone(), Vec::new()).expect("within the limit");
        let offset = commit(&*writer, seq);
        let record = test.log().get(shard, offset).unwrap().expect("committed");
        assert!(record.envelope == *bytes, "{} bytes come back as they were", bytes.len());
    }
    drop(writer);
    test.reopen();
    let records = read_all(test.log(), shard, 1 << 20);
    assert_eq!(records.len(), envelopes.len() + 2, "all sizes are there after reopening");
    for (record, bytes) in records[2..].iter().zip(&envelopes) {
        assert!(record.envelope == *bytes, "{} bytes come back after reopening", bytes.len());
    }
}

fn too_large(test: &mut dyn TestLog) {
    let log = test.log();
    let shard = shard_of(log);
    let writer = claim(log, shard, "a");
    assert_eq!(append(&*writer, "thing/1", "before"), Seq(0));
    let bytes = ENVELOPE_BYTES_MAX + 1;
    let refused = writer.append(RecordKind::Record, noise(bytes), Vec::new());
    assert_eq!(refused, Err(AppendError::TooLarge { bytes, bytes_max: ENVELOPE_BYTES_MAX }));
    assert_eq!(append(&*writer, "thing/1", "after"), Seq(1), "a refused append takes no number");
    commit(&*writer, Seq(1));
    assert_eq!(keys(&read_all(log, shard, usize::MAX)), ["before", "after"]);
}

/// Bytes that are no envelope, with zeros and all other values in them: a log does not look inside.
fn noise(len: usize) -> Bytes {
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ len as u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(next).collect::<Vec<u8>>().into()
}
