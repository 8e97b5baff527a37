//! Sagas: steps, compensation, what is parked, and where the texts of a command go.

use annals_core::envelope::SagaPart;
use annals_engine::At;

use super::model::{Do, Plan};
use super::*;

fn begin(engine: &Engine, plan: Plan) {
    send(engine, "ann", Command::Begin { plan }).unwrap();
    settle(engine);
}

fn seen(engine: &Engine, run: &str) -> Vec<String> {
    let state = engine.state(&stream(run), At::Now).unwrap().state;
    serde_json::from_value(state["seen"].clone()).unwrap()
}

fn parts(world: &World, run: &str) -> Vec<SagaPart> {
    world.records_of(run).into_iter().map(|record| record.saga.unwrap()).collect()
}

/// Why inputs of the saga were parked.
fn parked(world: &World, run: &str) -> Vec<String> {
    parts(world, run).into_iter().filter_map(|part| part.parked).collect()
}

#[test]
fn steps_follow_each_other() {
    let world = World::new();
    let engine = world.open();
    let plan = Plan::new("r")
        .on("begin", [Do::Add("bob".into(), 5)])
        .on("accepted:add bob", [Do::Take("bob".into(), 2), Do::Add("eve".into(), 2)])
        .on("accepted:add eve", [Do::Finish]);
    begin(&engine, plan);
    assert_eq!((total(&engine, "bob"), total(&engine, "eve")), ((2, 3), (1, 2)));
    assert_eq!(
        seen(&engine, "run/r"),
        ["begin", "accepted:add bob", "accepted:take bob", "accepted:add eve"]
    );
    assert!(parts(&world, "run/r").last().unwrap().finished);
    // Each command has a key that names where it comes from.
    let keys: Vec<String> =
        world.records_of("account/bob").into_iter().map(|r| r.command.unwrap().key).collect();
    assert_eq!(keys, ["saga:run/r@1/0", "saga:run/r@2/0"]);
    world.check();
}

#[test]
fn a_refusal_is_compensated() {
    let world = World::new();
    let engine = world.open();
    let plan = Plan::new("r")
        .on("begin", [Do::Add("bob".into(), 5), Do::Take("eve".into(), 1)])
        .on("refused:take eve", [Do::Undo("bob".into(), 5)])
        .on("accepted:undo bob", [Do::Finish]);
    begin(&engine, plan);
    assert_eq!((total(&engine, "bob"), total(&engine, "eve")), ((2, 0), (0, 0)));
    assert_eq!(parked(&world, "run/r"), Vec::<String>::new());
    // The refusal of a saga's command is recorded: one key, one answer.
    assert_eq!(world.records_of("account/eve").len(), 1);
    world.check();
}

#[test]
fn a_refused_compensation_is_parked() {
    let world = World::new();
    let engine = world.open();
    begin(
        &engine,
        Plan::new("r").on("begin", [Do::Undo("bob".into(), 5)]).on("refused:undo bob", [Do::Finish]),
    );
    assert_eq!(seen(&engine, "run/r"), ["begin"], "it gives no signal");
    let reasons = parked(&world, "run/r");
    assert!(matches!(reasons.as_slice(), [reason] if reason.contains("there are 0 only")), "{reasons:?}");
    assert_eq!(engine.status().parked, 1);
    world.check();
}

#[test]
fn a_command_that_cannot_be_read_is_parked() {
    let world = World::new();
    let engine = world.open();
    begin(&engine, Plan::new("r").on("begin", [Do::Odd("bob".into()), Do::Add("bob".into(), 1)]));
    assert_eq!(total(&engine, "bob"), (1, 1), "what comes after it goes on");
    let reasons = parked(&world, "run/r");
    assert!(matches!(reasons.as_slice(), [reason] if reason.contains("this cannot be read")), "{reasons:?}");
    assert_eq!((engine.status().parked, engine.status().relay_pending), (1, 0));
    world.check();
}

#[test]
fn what_a_finished_saga_still_hears() {
    let world = World::new();
    let engine = world.open();
    let plan = Plan::new("r")
        .on(
            "begin",
            [Do::Add("bob".into(), 1), Do::Take("eve".into(), 1), Do::After(10, "t".into()), Do::Finish],
        )
        .on("accepted:add bob", [Do::Add("bob".into(), 100)]);
    begin(&engine, plan);
    send(&engine, "ann", Command::Nudge { run: "r".into(), with: "x".into() }).unwrap();
    world.advance_ms(20);
    settle(&engine);
    // Its commands are carried out, its signals ignored; a refusal nobody hears is parked.
    assert_eq!(total(&engine, "bob"), (1, 1));
    assert_eq!(seen(&engine, "run/r"), ["begin"]);
    let reasons = parked(&world, "run/r");
    assert!(
        matches!(reasons.as_slice(), [reason] if reason.contains("after the saga had finished")),
        "{reasons:?}"
    );
    let status = engine.status();
    assert_eq!((status.parked, status.timers, status.relay_pending), (1, 0, 0));
    world.check();
}

#[test]
fn an_ignored_input_waits_for_what_it_rests_on() {
    let world = World::new();
    let engine = world.open();
    begin(&engine, Plan::new("r").on("nudge:end", [Do::Finish]));
    for (name, with) in [("ann", "end"), ("bob", "late")] {
        send(&engine, name, Command::Nudge { run: "r".into(), with: with.into() }).unwrap();
    }
    // The end is decided, the late signal ignored; then the end is lost, and with it what was ignored.
    world.fail(Fault::CommitFull);
    drop(engine.step(ShardId(0)));
    assert_eq!(engine.status().relay_pending, 2);
    world.heal();
    settle(&engine);
    assert_eq!(seen(&engine, "run/r"), ["begin", "nudge:end"]);
    world.check();
}

#[test]
fn a_chain_of_causes_ends() {
    let world = World::new();
    let engine = world.open();
    begin(
        &engine,
        Plan::new("r")
            .on("begin", [Do::Add("bob".into(), 1)])
            .on("accepted:add bob", [Do::Add("bob".into(), 1)]),
    );
    let commands = world.records_of("account/bob");
    // Depth 1 is the saga's first record, whose command has 2; every answer goes one deeper.
    let depths: Vec<u32> = commands.iter().map(|record| record.depth).collect();
    assert_eq!(depths, (2..=64).collect::<Vec<u32>>());
    let reasons = parked(&world, "run/r");
    assert!(matches!(reasons.as_slice(), [reason] if reason.contains("longer than 64")), "{reasons:?}");
    assert_eq!(world.records_of("run/r").last().unwrap().depth, 65);
    world.check();
}

#[test]
fn texts_go_with_the_work() {
    let world = World::with_shards(3);
    let engine = world.open();
    let plan = Plan::new("r").on("begin", [Do::Add("bob".into(), 1)]);
    let request = annals_engine::Request {
        actor: "ann".into(),
        traceparent: "00-1-2-03".into(),
        occurred_at: Some(from_micros(7)),
        ..keyed("acme:account/ann", Command::Begin { plan }, "order-1")
    };
    engine.execute(&request).unwrap();
    settle(&engine);
    // The tenant's bob, and nobody else's.
    assert_eq!((total(&engine, "acme:account/bob"), total(&engine, "bob")), ((1, 1), (0, 0)));
    assert_eq!(world.records_of("acme:run/r").len(), 2);
    for record in world.records() {
        assert_eq!((record.tenant.as_str(), record.actor.as_str()), ("acme", "ann"));
        assert_eq!((record.traceparent.as_str(), record.occurred_at_us), ("00-1-2-03", Some(7)));
    }
    let said: Vec<(String, String)> = ["acme:run/r", "acme:account/bob"]
        .iter()
        .flat_map(|name| world.records_of(name))
        .map(|record| (record.correlation, record.causation))
        .collect();
    let said: Vec<(&str, &str)> = said.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(
        said,
        [("order-1", "acme:account/ann@1"), ("order-1", "saga:acme:run/r@1/0"), ("order-1", "acme:run/r@1"),]
    );
    world.check();
}

#[test]
fn the_longest_names_fit() {
    let world = World::new();
    let engine = world.open();
    let long = "x".repeat(256);
    let tenant = "t".repeat(64);
    let plan = Plan::new(&long).on("begin", [Do::Add(long.clone(), 1)]).on("accepted:add x", []);
    let request = annals_engine::Request {
        correlation: "c".repeat(256),
        causation: "c".repeat(256),
        ..keyed(&format!("{tenant}:account/{long}"), Command::Begin { plan }, &"k".repeat(256))
    };
    engine.execute(&request).unwrap();
    settle(&engine);
    assert_eq!(total(&engine, &format!("{tenant}:account/{long}")), (2, 1));
    assert_eq!(engine.status().parked, 0);
    world.check();
}

#[test]
fn order_is_kept_between_a_saga_and_a_target_whatever_fails() {
    for seed in 0..60 {
        let world = World::new();
        let engine = world.open();
        let to = |n: u64| Do::Add(if n.is_multiple_of(2) { "bob" } else { "eve" }.into(), 1);
        send(&engine, "ann", Command::Begin { plan: Plan::new("r").on("begin", (0..40).map(to)) }).unwrap();
        world.log.set_faults(FaultPlan::every(seed, 0.03));
        for _ in 0..40 {
            drop(engine.step(ShardId(0)));
            world.advance_ms(40);
        }
        world.heal();
        for _ in 0..20 {
            world.advance_ms(6000);
            drop(engine.settle(Duration::ZERO));
        }
        settle(&engine);
        let keys: Vec<String> =
            world.records_of("account/bob").into_iter().map(|record| record.command.unwrap().key).collect();
        let expected: Vec<String> = (0..20).map(|n| format!("saga:run/r@1/{}", n * 2)).collect();
        assert_eq!(keys, expected, "seed {seed}");
        world.check();
    }
}
