//! Owners on a faulty log: two runs of a seed leave the same bytes, and no answer is ever wrong.
#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy allows it in test functions, and not in what they call"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use annals_core::envelope::Header;
use annals_core::reader::{ReaderRule, Verdict};
use annals_core::{Offset, Seq, ShardId};
use annals_log::{AppendError, Fault, FaultPlan, Log as _, MemoryLog, Writer};
use bytes::Bytes;
use support::{claimant, names_in, new_log, try_append};

const SHARDS: u32 = 3;
const SEEDS: u64 = 300;

/// What an owner was told about its records.
#[derive(Default)]
struct Told {
    accepted: BTreeMap<String, (ShardId, Offset)>,
    refused: BTreeSet<String>,
}

struct Run {
    log: MemoryLog,
    told: Told,
}

/// Owners write groups to all shards, claim again after every error, and now and then the process dies.
fn run(seed: u64) -> Run {
    let log = new_log(SHARDS).with_faults(FaultPlan::every(seed, 0.04));
    let mut told = Told::default();
    let mut writers = BTreeMap::new();
    for step in 0..90_u64 {
        let shard = ShardId((step % 3) as u32);
        let writer = writers.entry(shard).or_insert_with(|| claim(&log, shard, step));
        if !write(&**writer, shard, step, &mut told) {
            writers.remove(&shard);
        }
        if (step + seed) % 37 == 36 {
            log.crash();
            writers.clear();
        }
    }
    log.set_faults(FaultPlan::none());
    Run { log, told }
}

fn claim(log: &MemoryLog, shard: ShardId, step: u64) -> Arc<dyn Writer> {
    let mut attempts = (0..100).map(|attempt| log.claim(shard, &claimant(step * 100 + attempt)));
    attempts.find_map(Result::ok).unwrap_or_else(|| panic!("no claim of shard {shard} came through"))
}

/// Writes a group, one to four records; says whether the claim still holds.
fn write(writer: &dyn Writer, shard: ShardId, step: u64, told: &mut Told) -> bool {
    let mut group: Vec<(String, Seq)> = Vec::new();
    for n in 0..=step % 4 {
        let name = format!("{shard}-{step}-{n}");
        match try_append(writer, &name) {
            Ok(seq) => group.push((name, seq)),
            Err(_) => drop(told.refused.insert(name)),
        }
    }
    let mut holds = true;
    for (name, seq) in group.into_iter().rev() {
        match writer.commit(seq) {
            Ok(offset) => drop(told.accepted.insert(name, (shard, offset))),
            Err(AppendError::OutcomeUnknown { .. }) => holds = false,
            Err(_) => {
                told.refused.insert(name);
                holds = false;
            }
        }
    }
    holds
}

fn dump(log: &MemoryLog) -> Vec<Vec<(Offset, Header, Bytes)>> {
    (0..SHARDS).map(|shard| log.raw(ShardId(shard))).collect()
}

#[test]
fn two_runs_of_a_seed_leave_the_same_bytes() {
    let mut different = BTreeSet::new();
    for seed in 0..40 {
        let (first, second) = (run(seed), run(seed));
        let (first_dump, second_dump) = (dump(&first.log), dump(&second.log));
        assert!(first_dump == second_dump, "seed {seed} left different bytes");
        assert_eq!(first.log.struck(), second.log.struck(), "seed {seed}");
        different.insert(format!("{first_dump:?}"));
    }
    assert_eq!(different.len(), 40, "and other seeds other bytes");
}

#[test]
fn every_answer_is_true() {
    let mut struck: BTreeMap<Fault, u64> = BTreeMap::new();
    let mut ignored = BTreeMap::new();
    for seed in 0..SEEDS {
        let Run { log, told } = run(seed);
        for (name, (shard, offset)) in &told.accepted {
            let found = log.get(*shard, *offset).ok().flatten().map(|record| record.envelope);
            assert_eq!(found.as_deref(), Some(name.as_bytes()), "seed {seed}: {name} was accepted");
        }
        for shard in (0..SHARDS).map(ShardId) {
            let names = names_in(&log, shard);
            let once: BTreeSet<&String> = names.iter().collect();
            assert_eq!(once.len(), names.len(), "seed {seed}: a record is accepted twice");
            let refused = names.iter().find(|name| told.refused.contains(*name));
            assert_eq!(refused, None, "seed {seed}: a refused record is accepted");
        }
        read_again(&log, seed);
        log.struck().into_iter().for_each(|(fault, count)| *struck.entry(fault).or_default() += count);
        log.ignored().into_iter().for_each(|(reason, count)| *ignored.entry(reason).or_insert(0) += count);
    }
    let never: Vec<Fault> = Fault::ALL
        .into_iter()
        .filter(|fault| !struck.contains_key(fault) && *fault != Fault::ReadUnavailable)
        .collect();
    assert_eq!(never, [], "faults that never struck");
    assert_eq!(ignored.len(), 3, "stale, duplicate and holed records were all there: {ignored:?}");
}

/// A reader that judges the raw records anew sees what the log lets readers see, and counts what it ignores.
fn read_again(log: &MemoryLog, seed: u64) {
    let mut ignored = BTreeMap::new();
    for shard in (0..SHARDS).map(ShardId) {
        let mut rule = ReaderRule::default();
        let mut offsets = Vec::new();
        for (offset, header, _) in log.raw(shard) {
            match rule.admit(offset, header) {
                Verdict::Accepted => offsets.push(offset),
                Verdict::Ignored(reason) => *ignored.entry(reason).or_insert(0) += 1,
            }
        }
        let mut seen = Vec::new();
        let mut from = Offset(0);
        while from < log.end(shard) {
            let chunk = log.read(shard, from, 20).unwrap_or_else(|e| panic!("{e}"));
            assert!(chunk.next > from, "seed {seed}: a read gets on");
            seen.extend(chunk.records.iter().map(|record| record.offset));
            from = chunk.next;
        }
        assert_eq!(seen, offsets, "seed {seed}, shard {shard}");
    }
    assert_eq!(log.ignored(), ignored, "seed {seed}");
}
