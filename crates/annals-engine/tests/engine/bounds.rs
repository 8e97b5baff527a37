//! Bounds: commands that wait, entities in memory.

use super::*;

#[test]
fn more_commands_than_may_wait_are_refused() {
    let world =
        World { settings: Settings { waiting_commands_max: 3, ..Settings::default() }, ..World::new() };
    let engine = world.open();
    let submit = |n| engine.submit(&request("ann", add(n)));
    let mut tickets: Vec<_> = (1..=3).map(|n| submit(n).unwrap()).collect();
    assert_eq!(engine.status().waiting_commands, 3);
    for _ in 0..2 {
        assert!(matches!(submit(4), Err(ExecuteError::Overloaded { .. })), "one above");
    }
    assert_eq!(engine.status().waiting_commands, 3, "who was refused does not wait");
    // Answering makes room, and so does giving up.
    engine.finish(request("ann", add(3)), tickets.pop().unwrap()).unwrap();
    drop(tickets.pop());
    assert_eq!(engine.status().waiting_commands, 1);
    tickets.push(submit(4).unwrap());
    tickets.push(submit(5).unwrap());
    assert!(submit(6).is_err());
    tickets.clear();
    assert_eq!(engine.status().waiting_commands, 0);
    // What was submitted and given up has happened nevertheless, what was refused has not.
    assert_eq!(total(&engine, "ann"), (5, 15));
    world.check();
}

#[test]
fn failed_commands_do_not_wait() {
    let world =
        World { settings: Settings { waiting_commands_max: 1, ..Settings::default() }, ..World::new() };
    let engine = world.open();
    for _ in 0..3 {
        assert_eq!(word(&send(&engine, "ann", take(1))), "refused short");
        assert_eq!(word(&send(&engine, "ann", Command::Write { bytes: 9_000_000 })), "too large");
        assert_eq!(engine.status().waiting_commands, 0);
    }
    world.check();
}

#[test]
fn callers_cannot_keep_sagas_out() {
    let world =
        World { settings: Settings { waiting_commands_max: 2, ..Settings::default() }, ..World::new() };
    let engine = world.open();
    let to = |n: u64| model::Do::Add(format!("b{n}"), 1);
    let plan = model::Plan::new("r").on("begin", (0..20).map(to));
    send(&engine, "ann", Command::Begin { plan }).unwrap();
    let waiting =
        [engine.submit(&request("eve", add(1))).unwrap(), engine.submit(&request("eve", add(1))).unwrap()];
    settle(&engine);
    for n in 0..20 {
        assert_eq!(total(&engine, &format!("b{n}")), (1, 1));
    }
    drop(waiting);
    world.check();
}

/// Two commands in flight on each of 50 accounts with a cache of `entities`, some answered late: their answers and the log's bytes.
fn run_with_cache(entities: usize) -> (Vec<String>, Vec<annals_core::envelope::Record>) {
    let world =
        World { settings: Settings { cached_entities_max: entities, ..Settings::default() }, ..World::new() };
    let engine = world.open();
    let mut answers = Vec::new();
    for round in 0..4_u64 {
        let request = |n: u64| {
            keyed(
                &format!("a{}", n * 37 % 50),
                if n.is_multiple_of(5) { take(4) } else { add(n) },
                &format!("{round}.{n}"),
            )
        };
        let tickets: Vec<_> = (0..100).map(|n| engine.submit(&request(n)).unwrap()).collect();
        for (n, ticket) in (0..).zip(tickets) {
            answers.push(word(&engine.finish(request(n), ticket)));
        }
        answers.extend((0..50).map(|n| format!("{:?}", total(&engine, &format!("a{n}")))));
    }
    world.check();
    (answers, world.records())
}

#[test]
fn a_small_cache_changes_no_answer() {
    let roomy = run_with_cache(1000);
    for entities in [0, 1, 4, 49] {
        assert!(run_with_cache(entities) == roomy, "cache of {entities}");
    }
}
