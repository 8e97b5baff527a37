//! A log that fails: no answer rests on what is not in the log, nothing that is in the log is forgotten, and
//! what may or may not have happened is said to be unknown.

use std::collections::HashMap;

use super::*;

pub(crate) const COMMIT_FAULTS: [Fault; 8] = [
    Fault::UnknownLanded,
    Fault::UnknownLost,
    Fault::UnknownLate,
    Fault::UnknownPrefix,
    Fault::UnknownHole,
    Fault::Duplicated,
    Fault::ForeignClaim,
    Fault::CommitFull,
];

/// The answer to a key as the log holds it.
pub(crate) fn stored(world: &World) -> HashMap<String, String> {
    let answer = |record: Record| {
        let (slice, command) = (record.slices.first().unwrap().clone(), record.command.unwrap());
        let answer = match record.refusal {
            Some(refusal) => format!("refused {}", refusal.name),
            None => format!("v{}+{}", slice.next_version(), slice.events.len()),
        };
        (command.key, answer)
    };
    world.records().into_iter().map(answer).collect()
}

#[test]
fn every_commit_fault_leaves_answers_and_log_in_agreement() {
    for fault in COMMIT_FAULTS {
        let mut struck = 0;
        for seed in 0..40 {
            let world = World::new();
            let engine = world.open();
            world.log.set_faults(FaultPlan::seeded(seed).with(fault, 0.4));
            let mut answers: HashMap<String, String> = HashMap::new();
            for round in 0..6 {
                let name = |n| format!("k{round}.{n}");
                let command = |n: u64| if n % 3 == 2 { take(7) } else { add(n + 1) };
                let request = |n| keyed(if n < 4 { "ann" } else { "bob" }, command(n), &name(n));
                let tickets: Vec<_> =
                    (0..6).filter_map(|n| Some((n, engine.submit(&request(n)).ok()?))).collect();
                for (n, ticket) in tickets.into_iter().rev() {
                    let answer = engine.finish(request(n), ticket);
                    if !matches!(&answer, Err(error) if error.is_temporary()) {
                        answers.insert(name(n), word(&answer).replace("again ", ""));
                    }
                }
            }
            world.heal();
            let stored = stored(&world);
            for (key, answer) in &answers {
                assert_eq!(stored.get(key), Some(answer), "{fault:?} {seed}: {key} was answered");
            }
            // Asked again, every key has the answer that lies in the log, and the states are those of the log.
            let fresh = world.open();
            for (key, answer) in &stored {
                let (_, n) = key.split_once('.').unwrap();
                let n: u64 = n.parse().unwrap();
                let command = if n % 3 == 2 { take(7) } else { add(n + 1) };
                let again = fresh.execute(&keyed(if n < 4 { "ann" } else { "bob" }, command, key));
                assert_eq!(word(&again).replace("again ", ""), *answer, "{fault:?} {seed}: {key} again");
            }
            struck += world.log.struck().get(&fault).copied().unwrap_or_default();
            world.check();
        }
        assert!(struck > 40, "{fault:?} struck {struck} times only");
    }
}

/// Submits two commands and an unkeyed refusal that rests on them, then lets the commit fail with `fault`.
fn refusal_on_a_lost_state(fault: Fault, expected: &str) {
    let world = World::new();
    let engine = world.open();
    let opened = engine.submit(&request("ann", add(1))).unwrap();
    let no = engine.submit(&request("ann", take(2))).unwrap();
    drop(opened);
    world.fail(fault);
    let answer = engine.finish(request("ann", take(2)), no);
    assert_eq!(word(&answer), "refused short", "{fault:?}");
    let Err(ExecuteError::Refused { refused, .. }) = answer else { panic!("{answer:?}") };
    // It was decided again, on the state that the log has.
    assert_eq!(refused.text, expected, "{fault:?}");
    world.check();
}

#[test]
fn a_refusal_rests_on_what_is_in_the_log() {
    refusal_on_a_lost_state(Fault::UnknownLost, "there are 0 only");
    refusal_on_a_lost_state(Fault::UnknownLate, "there are 0 only");
    refusal_on_a_lost_state(Fault::CommitFull, "there are 0 only");
    refusal_on_a_lost_state(Fault::UnknownLanded, "there are 1 only");
}

#[test]
fn a_read_waits_until_what_it_saw_is_durable() {
    let world = World::new();
    let engine = world.open();
    let ticket = engine.submit(&request("ann", add(1))).unwrap();
    assert_eq!(world.records().len(), 0);
    assert_eq!(total(&engine, "ann"), (1, 1));
    assert_eq!(world.records().len(), 1);
    drop(ticket);

    let ticket = engine.submit(&request("ann", add(1))).unwrap();
    world.fail(Fault::CommitFull);
    // The claim works, so the state is read from the log: without the lost event.
    assert_eq!(total(&engine, "ann"), (1, 1));
    drop(ticket);
    world.check();
}

#[test]
fn a_lost_command_is_decided_again_on_what_the_log_has() {
    let world = World::new();
    let engine = world.open();
    let tickets: Vec<_> = (0..3).map(|_| engine.submit(&request("ann", add(1))).unwrap()).collect();
    // Another node claims and writes in between.
    let other = world.open();
    assert_eq!(word(&send(&other, "ann", add(10))), "v1+1");
    let versions: Vec<String> =
        tickets.into_iter().map(|ticket| word(&engine.finish(request("ann", add(1)), ticket))).collect();
    assert_eq!(versions, ["v2+1", "v3+1", "v4+1"]);
    assert_eq!(total(&engine, "ann"), (4, 13));
    world.check();
}

#[test]
fn what_may_have_happened_is_said_to_be_unknown() {
    let world = World::new();
    let engine = world.open();
    let both = |fault| FaultPlan::seeded(1).with(fault, 1.0).with(Fault::ClaimUnwritten, 1.0);

    // Executed: the record is in the log, the log takes no new claim, so nobody can look.
    world.log.set_faults(both(Fault::UnknownLanded));
    let answer = send(&engine, "ann", add(1));
    let Err(ExecuteError::OutcomeUnknown { key, .. }) = &answer else { panic!("{answer:?}") };
    // Submitted and finished: the same.
    world.heal();
    let ticket = engine.submit(&request("bob", add(1))).unwrap();
    world.log.set_faults(both(Fault::UnknownLanded));
    let finished = engine.finish(request("bob", add(1)), ticket);
    let Err(ExecuteError::OutcomeUnknown { key: bobs, .. }) = &finished else { panic!("{finished:?}") };

    // Its key tells what became of it.
    world.heal();
    assert_eq!(word(&engine.execute(&keyed("ann", add(1), key))), "again v1+1");
    assert_eq!(word(&engine.execute(&keyed("bob", add(1), bobs))), "again v1+1");
    world.check();
}

#[test]
fn what_certainly_did_not_happen_is_not_unknown() {
    let world = World::new();
    let engine = world.open();
    world.log.set_faults(FaultPlan::seeded(1).with(Fault::CommitFull, 1.0).with(Fault::ClaimFull, 1.0));
    assert_eq!(word(&send(&engine, "ann", add(1))), "unavailable");
    world.heal();
    assert_eq!(word(&send(&engine, "ann", add(1))), "v1+1");
    world.check();
}

#[test]
fn a_search_that_fails_leaves_the_outcome_unknown() {
    let world = World::new();
    let engine = world.open();
    let ticket = engine.submit(&keyed("ann", add(1), "k")).unwrap();
    world
        .log
        .set_faults(FaultPlan::seeded(1).with(Fault::UnknownLanded, 1.0).with(Fault::ReadUnavailable, 1.0));
    assert_eq!(word(&engine.finish(keyed("ann", add(1), "k"), ticket)), "unknown");
    world.heal();
    assert_eq!(word(&engine.execute(&keyed("ann", add(1), "k"))), "again v1+1");
    world.check();
}

#[test]
fn an_append_without_room_drops_what_was_in_flight() {
    let world = World::new();
    let engine = world.open();
    let first = engine.submit(&request("ann", add(1))).unwrap();
    let bobs = engine.submit(&request("bob", add(1))).unwrap();
    world.fail(Fault::AppendFull);
    assert_eq!(word(&send(&engine, "ann", add(10))), "unavailable");
    world.heal();
    // The new claim fences what was in flight; the state no longer includes it.
    assert_eq!(word(&send(&engine, "ann", add(100))), "v1+1");
    assert_eq!(word(&engine.execute(&request("bob", add(5)))), "v1+1");
    assert_eq!(word(&engine.finish(request("ann", add(1)), first)), "v2+1");
    assert_eq!(word(&engine.finish(request("bob", add(1)), bobs)), "v2+1");
    assert_eq!((total(&engine, "ann"), total(&engine, "bob")), ((2, 101), (2, 6)));
    world.check();
}

#[test]
fn two_runs_of_one_seed_leave_the_same_bytes() {
    let run = |seed| {
        let world = World::with_shards(2);
        world.log.set_faults(FaultPlan::every(seed, 0.05));
        let mut engine = None;
        for n in 0..60_u64 {
            world.advance_ms(n % 3);
            let environment = Environment::seeded(Arc::clone(&world.clock) as _, n);
            let open = || {
                Engine::open(context(), Arc::new(world.log.clone()), environment, Settings::default()).ok()
            };
            let Some(engine) = engine.get_or_insert_with(open) else {
                engine = None;
                continue;
            };
            drop(send(engine, &format!("a{}", n % 5), add(n)));
            drop(engine.step(ShardId((n % 2) as u32)));
        }
        world.check();
        [ShardId(0), ShardId(1)].map(|shard| world.log.raw(shard))
    };
    for seed in 0..20 {
        assert!(run(seed) == run(seed), "seed {seed}");
    }
    assert!(run(1) != run(2));
}
