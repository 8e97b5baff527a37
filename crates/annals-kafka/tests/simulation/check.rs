//! What must be true when all is over, judged by a reader that begins at the first record and has no part in it.

use std::collections::{BTreeMap, BTreeSet};

use annals_core::Offset;
use annals_core::envelope::Header;
use annals_core::reader::{ReaderRule, Verdict};
use bytes::Bytes;

use crate::broker::Broker;
use crate::engine::Entry;
use crate::world::{World, agrees};

/// Panics where something is not as promised.
pub fn check(world: &mut World) {
    for at in 0..world.partitions.len() {
        let accepted = accepted(&world.partitions[at].broker, Offset(0), ReaderRule::default());
        if world.partitions[at].cut && !follows_on(&accepted) {
            world.figures.torn += 1;
            continue;
        }
        one_effect(world, at, &accepted);
        nothing_fenced(world, &accepted);
        readers_agree(world, at, &accepted);
        for _ in 0..3 {
            from_a_bookmark(world, at, &accepted);
        }
    }
    assert!(
        world.quiet || world.all_answered(),
        "some commands have no answer, though nothing fails any more"
    );
}

/// What commands wrote, as a reader sees it.
fn accepted(broker: &Broker, from: Offset, mut rule: ReaderRule) -> Vec<(Offset, Bytes)> {
    let mut accepted = Vec::new();
    for record in broker.read(from, usize::MAX) {
        let verdict = rule.admit(record.offset, record.header);
        if verdict == Verdict::Accepted && matches!(record.header, Header::Record { .. }) {
            accepted.push((record.offset, record.envelope));
        }
    }
    accepted
}

/// Whether versions go 1, 2, 3. After a cut they may not: a claim can be at the offset at which another one was lost, and
/// late records of that one are then taken for its own. Whoever reads them finds that their versions do not fit,
/// and says so.
fn follows_on(accepted: &[(Offset, Bytes)]) -> bool {
    let mut versions: BTreeMap<u8, u32> = BTreeMap::new();
    accepted.iter().map(|(_, bytes)| Entry::from_bytes(bytes)).all(|entry| {
        let version = versions.entry(entry.stream).or_default();
        let fits = entry.version == *version + u32::from(entry.accepted);
        *version = entry.version;
        fits
    })
}

/// Versions go 1, 2, 3; a key is there once; what was answered is what is there.
fn one_effect(world: &World, at: usize, accepted: &[(Offset, Bytes)]) {
    let mut versions: BTreeMap<u8, u32> = BTreeMap::new();
    let mut recorded = BTreeMap::new();
    for (offset, bytes) in accepted {
        let entry = Entry::from_bytes(bytes);
        let version = versions.entry(entry.stream).or_default();
        let next = *version + u32::from(entry.accepted);
        assert_eq!(entry.version, next, "stream {} at offset {offset}", entry.stream);
        *version = next;
        let twice = recorded.insert(entry.key, (*offset, entry.accepted, entry.version));
        assert_eq!(twice, None, "key {} is in the history twice", entry.key);
    }
    for asked in &world.asked {
        let key = asked.command.key;
        if usize::from(asked.command.stream) % world.partitions.len() == at && asked.recorded.is_some() {
            assert_eq!(
                asked.recorded,
                recorded.get(&key).copied(),
                "the answer to key {key}, and the history"
            );
        }
    }
}

fn nothing_fenced(world: &World, accepted: &[(Offset, Bytes)]) {
    let attempts: BTreeSet<u64> =
        accepted.iter().map(|(_, bytes)| Entry::from_bytes(bytes).attempt).collect();
    let applied: Vec<_> = attempts.intersection(&world.fenced).collect();
    assert!(applied.is_empty(), "attempts {applied:?} were said to be certainly not applied");
}

/// Each node's replica is the journal, or its shard is stopped, which nothing but a cut may do.
fn readers_agree(world: &World, at: usize, accepted: &[(Offset, Bytes)]) {
    let partition = &world.partitions[at];
    for (node, shard) in world.nodes.iter().enumerate().map(|(node, it)| (node, &it.shards[at])) {
        if let Some(reason) = &shard.halted {
            assert!(partition.cut, "node {node} stopped without a reason: {reason}");
            continue;
        }
        if partition.cut && shard.stands_still() {
            continue;
        }
        let (next, high) = (shard.replica.next(), partition.broker.high());
        assert!(agrees(&shard.replica, partition), "node {node} follows another history");
        let seen = shard.replica.accepted().map(|(offset, bytes)| (offset, bytes.clone()));
        let there = accepted.iter().filter(|(offset, _)| *offset < next).cloned();
        assert!(
            seen.eq(there),
            "node {node} accepts other records than a fresh reader, up to {next} of {high}"
        );
    }
}

/// A reader that goes on from a saved state sees what is left, and nothing else.
fn from_a_bookmark(world: &mut World, at: usize, accepted_all: &[(Offset, Bytes)]) {
    let broker = &world.partitions[at].broker;
    let from = Offset(1 + world.dice.below(broker.len()));
    let mut rule = ReaderRule::default();
    for record in broker.read(Offset(0), usize::MAX).iter().filter(|record| record.offset < from) {
        rule.admit(record.offset, record.header);
    }
    let resumed = ReaderRule::resumed(rule.epoch(), rule.next_seq(), rule.is_closed());
    let rest: Vec<_> = accepted_all.iter().filter(|(offset, _)| *offset >= from).cloned().collect();
    assert_eq!(accepted(broker, from, resumed), rest, "from offset {from} on");
}
