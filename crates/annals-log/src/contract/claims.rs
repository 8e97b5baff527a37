//! Genesis, claims and fencing.

use annals_core::envelope::{Claim, FORMAT, Genesis, Header, to_micros};
use annals_core::{Epoch, Offset, Seq, ShardId};

use super::{
    Check, TestLog, append, append_progress, claim, claimant, commit, envelope, keys, put, read_all,
    shard_of, terms_of,
};
use crate::port::{AppendError, ClaimError, Log, RecordKind, Writer};

pub(super) const CHECKS: &[Check] = &[
    ("a fresh log holds its genesis and nothing else", fresh),
    ("a claim is a record, its offset the epoch", claim_is_a_record),
    ("a claim of a shard that is not there is refused", claim_of_no_shard),
    ("a second claim fences the first writer", second_claim),
    ("a claim in one shard leaves the others alone", claims_are_per_shard),
    ("an answered commit stays answered after a newer claim", answered_stays_answered),
    ("of many claims only the last may write", many_claims),
];

fn fresh(test: &mut dyn TestLog) {
    let log = test.log();
    let identity = log.identity();
    for shard in (0..identity.shards).map(ShardId) {
        assert_eq!(log.end(shard), Offset(1), "shard {shard} of a fresh log ends after its genesis");
        let records = read_all(log, shard, usize::MAX);
        let [record] = records.as_slice() else { panic!("one record in a fresh shard: {records:?}") };
        assert_eq!((record.offset, record.header), (Offset(0), Header::Genesis));
        let genesis = Genesis::from_bytes(record.envelope.clone()).expect("the genesis decodes");
        assert_eq!(genesis.log_id(), Some(identity.log_id));
        assert_eq!((genesis.format, genesis.shards, genesis.shard), (FORMAT, identity.shards, shard.0));
        assert_eq!((&*genesis.context, &*genesis.hash), (&*identity.context, "murmur2"));
        assert_eq!(genesis.created_at_us, to_micros(identity.created_at));
    }
}

fn claim_is_a_record(test: &mut dyn TestLog) {
    let log = test.log();
    let shard = shard_of(log);
    let writer = claim(log, shard, "a");
    assert_eq!(writer.epoch(), Epoch(1), "the first claim follows the genesis");
    assert_eq!(writer.committed(), Seq(0), "nothing was appended");
    assert_eq!(log.end(shard), Offset(2), "a claim is durable when it returns");
    let record = log.get(shard, Offset(1)).unwrap().expect("the claim can be read");
    assert_eq!(record.header, Header::Claim);
    let (body, expected) = (Claim::from_bytes(record.envelope).expect("the claim decodes"), claimant("a"));
    assert_eq!((body.node, body.address), (expected.node, expected.address));
    assert_eq!((&body.nonce[..], body.claimed_at_us), (&expected.nonce[..], to_micros(expected.claimed_at)));
}

fn claim_of_no_shard(test: &mut dyn TestLog) {
    let log = test.log();
    let shards = log.identity().shards;
    match log.claim(ShardId(shards), &claimant("a")).map(|writer| writer.epoch()) {
        Err(ClaimError::Broken(e)) => {
            assert_eq!(e, crate::ReadError::NoShard { shard: ShardId(shards), shards })
        }
        other => panic!("a claim of shard {shards} of {shards}: {other:?}"),
    }
}

fn second_claim(test: &mut dyn TestLog) {
    let log = test.log();
    let shard = shard_of(log);
    let first = claim(log, shard, "first");
    put(&*first, "thing/1", "kept");
    let unsettled: Vec<Seq> = (0..3).map(|n| append(&*first, "thing/1", &format!("lost-{n}"))).collect();
    let second = claim(log, shard, "second");
    assert!(second.epoch() > first.epoch(), "a later claim has a higher epoch");
    for seq in unsettled {
        settled_by_claim(test, &*first, &*second, seq);
    }
    refuses_appends(log, &*first);
    assert!(!first.is_in_force(), "a fenced writer knows that it is");
    assert!(second.is_in_force(), "nothing has ended the last claim");
    put(&*second, "thing/1", "new");
    let found = keys(&read_all(log, shard, usize::MAX));
    assert_eq!((found.first().unwrap().as_str(), found.last().unwrap().as_str()), ("kept", "new"));
    assert!(found.len() == 2 || test.eager(), "what was not committed never appears: {found:?}");
    assert!(!found.contains(&"fenced".to_owned()), "a fenced writer's record is accepted: {found:?}");
}

/// What `older` appended and did not commit is fenced; where the log is eager, it may lie below the newer claim.
fn settled_by_claim(test: &dyn TestLog, older: &dyn Writer, newer: &dyn Writer, seq: Seq) {
    match older.commit(seq) {
        Err(AppendError::Fenced) => {}
        Err(AppendError::OutcomeUnknown { .. }) if test.eager() => {}
        Ok(offset) if test.eager() => assert!(offset.0 < newer.epoch().0, "accepted after the newer claim"),
        other => panic!("commit of {seq} after a newer claim: {other:?}, expected fenced"),
    }
}

/// A log may learn that it is fenced only at the commit.
pub(super) fn refuses_appends(log: &dyn Log, writer: &dyn Writer) {
    let body = envelope("thing/1", "fenced");
    let terms = terms_of(&body);
    let outcome = writer.append(RecordKind::Record, body, terms).and_then(|seq| writer.commit(seq));
    assert_eq!(outcome, Err(AppendError::Fenced), "append by a fenced writer of {}", log.identity().context);
}

fn claims_are_per_shard(test: &mut dyn TestLog) {
    let log = test.log();
    let shards = log.identity().shards;
    let writers: Vec<_> = (0..shards).map(|n| claim(log, ShardId(n), &format!("node-{n}"))).collect();
    for (n, writer) in writers.iter().enumerate() {
        assert_eq!(put(&**writer, "thing/1", &format!("in-{n}")), Offset(2), "shard {n} counts for itself");
    }
    for n in 0..shards {
        let found = keys(&read_all(log, ShardId(n), usize::MAX));
        assert_eq!(found, [format!("in-{n}")], "shard {n} holds its own records");
    }
}

fn answered_stays_answered(test: &mut dyn TestLog) {
    let log = test.log();
    let shard = shard_of(log);
    let first = claim(log, shard, "first");
    let seqs =
        [append(&*first, "thing/1", "a"), append_progress(&*first, 1), append(&*first, "thing/1", "b")];
    let answers = seqs.map(|seq| commit(&*first, seq));
    let second = claim(log, shard, "second");
    put(&*second, "thing/1", "c");
    assert_eq!(seqs.map(|seq| commit(&*first, seq)), answers, "the answers of before");
    assert_eq!(first.committed(), Seq(3));
}

fn many_claims(test: &mut dyn TestLog) {
    let log = test.log();
    let shard = shard_of(log);
    let writers: Vec<_> = (0..20).map(|n| claim(log, shard, &format!("node-{n}"))).collect();
    assert!(writers.is_sorted_by(|a, b| a.epoch() < b.epoch()), "epochs ascend");
    let (last, fenced) = writers.split_last().unwrap();
    fenced.iter().for_each(|writer| refuses_appends(log, &**writer));
    put(&**last, "thing/1", "kept");
    assert_eq!(keys(&read_all(log, shard, usize::MAX)), ["kept"]);
}
