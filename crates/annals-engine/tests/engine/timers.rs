//! Timers: they fire once, when due, if they are still set; also after a restart.

use annals_engine::At;

use super::model::{Do, Plan};
use super::wrapped::{account_in, open_deaf, shard_of_saga};
use super::*;

fn after(ms: u64, name: &str) -> Do {
    Do::After(ms, name.to_owned())
}

fn cancel(name: &str) -> Do {
    Do::Cancel(name.to_owned())
}

fn seen(engine: &Engine) -> Vec<String> {
    settle(engine);
    let state = engine.state(&stream("run/r"), At::Now).unwrap().state;
    serde_json::from_value::<Vec<String>>(state["seen"].clone()).unwrap().split_off(1)
}

fn begin(engine: &Engine, plan: Plan) {
    send(engine, "ann", Command::Begin { plan }).unwrap();
    settle(engine);
}

fn nudge(engine: &Engine, with: &str) {
    send(engine, "ann", Command::Nudge { run: "r".into(), with: with.into() }).unwrap();
    settle(engine);
}

#[test]
fn a_timer_fires_once_when_it_is_due() {
    let world = World::new();
    let engine = world.open();
    begin(&engine, Plan::new("r").on("begin", [after(50, "a"), after(20, "b")]));
    assert_eq!(engine.status().timers, 2);
    for (ms, expected) in
        [(19, vec![]), (1, vec!["timer:b"]), (29, vec!["timer:b"]), (1, vec!["timer:b", "timer:a"])]
    {
        world.advance_ms(ms);
        assert_eq!(seen(&engine), expected);
    }
    world.advance_ms(1000);
    assert_eq!(seen(&engine).len(), 2);
    assert_eq!(engine.status().timers, 0);
    engine.stop().unwrap();
    assert_eq!(world.progress().pop().unwrap().open, Vec::<u64>::new(), "nothing is left to do");
    world.check();
}

#[test]
fn a_timer_can_be_cancelled_and_set_again() {
    let world = World::new();
    let engine = world.open();
    let plan = Plan::new("r")
        .on("begin", [after(50, "a"), after(50, "b"), after(50, "c")])
        .on("nudge:cancel", [cancel("a"), cancel("unknown")])
        .on("nudge:again", [after(100, "b")]);
    begin(&engine, plan);
    nudge(&engine, "cancel");
    nudge(&engine, "again");
    assert_eq!(engine.status().timers, 2);
    world.advance_ms(99);
    assert_eq!(seen(&engine), ["nudge:cancel", "nudge:again", "timer:c"]);
    world.advance_ms(1);
    assert_eq!(seen(&engine).last().unwrap(), "timer:b");
    world.advance_ms(1000);
    assert_eq!(seen(&engine).len(), 4);
    world.check();
}

#[test]
fn what_a_reaction_says_last_of_a_timer_holds() {
    for (steps, fires_after) in [
        (vec![after(10, "t"), after(30, "t")], Some(30)),
        (vec![after(30, "t"), after(10, "t")], Some(10)),
        (vec![after(10, "t"), cancel("t")], None),
        (vec![cancel("t"), after(10, "t")], Some(10)),
    ] {
        let world = World::new();
        let engine = world.open();
        begin(&engine, Plan::new("r").on("begin", steps.clone()));
        let fired_at = (1..100).find(|_| {
            world.advance_ms(1);
            !seen(&engine).is_empty()
        });
        assert_eq!(fired_at, fires_after, "{steps:?}");
        world.advance_ms(1000);
        assert_eq!(seen(&engine).len(), usize::from(fires_after.is_some()), "{steps:?}");
        world.check();
    }
}

#[test]
fn a_timer_may_set_itself_again() {
    let world = World::new();
    let engine = world.open();
    begin(&engine, Plan::new("r").on("begin", [after(10, "t")]).on("timer:t", [after(10, "t")]));
    for count in 1..=5 {
        world.advance_ms(10);
        assert_eq!(seen(&engine).len(), count);
    }
    assert_eq!(engine.status().timers, 1);
    world.check();
}

#[test]
fn a_timer_survives_a_restart() {
    // The relay notes its progress after every record, or never.
    for progress_every_records in [1, u64::MAX] {
        let world =
            World { settings: Settings { progress_every_records, ..Settings::default() }, ..World::new() };
        let engine = world.open();
        begin(&engine, Plan::new("r").on("begin", [after(50, "a"), after(70, "b"), after(5, "c")]));
        world.advance_ms(10);
        assert_eq!(seen(&engine), ["timer:c"]);
        engine.stop().unwrap();
        // It comes due while nobody is there.
        world.advance_ms(45);
        let engine = world.reopen();
        assert_eq!(seen(&engine), ["timer:c", "timer:a"]);
        assert_eq!(engine.status().timers, 1);
        let engine = world.reopen();
        world.advance_ms(45);
        assert_eq!(seen(&engine), ["timer:c", "timer:a", "timer:b"]);
        assert_eq!(world.records_of("run/r").len(), 4);
        world.check();
    }
}

#[test]
fn finishing_clears_timers() {
    let world = World::new();
    let engine = world.open();
    begin(
        &engine,
        Plan::new("r").on("begin", [after(10, "a")]).on("nudge:end", [after(20, "b"), Do::Finish]),
    );
    nudge(&engine, "end");
    assert_eq!(engine.status().timers, 0);
    world.advance_ms(100);
    assert_eq!(seen(&engine), ["nudge:end"]);
    world.check();
}

#[test]
fn a_timer_whose_reaction_panics_is_parked_and_gone() {
    let world = World::new();
    let engine = world.open();
    begin(&engine, Plan::new("r").on("begin", [after(10, "a"), after(20, "b")]).on("timer:a", [Do::Panic]));
    world.advance_ms(15);
    settle(&engine);
    assert_eq!((engine.status().parked, engine.status().timers), (1, 1));
    world.advance_ms(15);
    assert_eq!(seen(&engine), ["timer:b"]);
    world.check();
}

/// The record that set the timer has something else open, the one that cleared it is settled: a relay that
/// resumes reads the first and not the second.
#[test]
fn a_timer_that_was_cleared_does_not_hold_its_record_open() {
    let settings = Settings { progress_every_records: 1, ..Settings::default() };
    let world = World { settings, ..World::with_shards(2) };
    let (shard, other) = shard_of_saga();
    let (ann, bob) = (account_in(shard), account_in(other));
    let engine = open_deaf(&world, other);
    let plan =
        Plan::new("r").on("begin", [after(10, "a"), Do::Add(bob.clone(), 1)]).on("nudge:x", [Do::Finish]);
    for command in [Command::Begin { plan }, Command::Nudge { run: "r".into(), with: "x".into() }] {
        send(&engine, &ann, command).unwrap();
        assert_eq!(engine.settle(Duration::ZERO), Ok(false), "bob does not answer");
    }
    assert_eq!((engine.status().relay_pending, engine.status().timers), (1, 0));
    engine.stop().unwrap();
    assert_eq!(world.progress().pop().unwrap().open.len(), 1);

    let engine = world.reopen();
    settle(&engine);
    assert_eq!(total(&engine, &bob), (1, 1));
    world.advance_ms(1000);
    assert_eq!(seen(&engine), ["nudge:x"]);
    assert_eq!(engine.status().timers, 0);
    send(&engine, &ann, add(1)).unwrap();
    settle(&engine);
    engine.stop().unwrap();
    let last = world.log.find_last(shard, annals_core::index::Term::progress()).unwrap().unwrap();
    let last = world.log.get(shard, last).unwrap().unwrap();
    let last = annals_core::envelope::Progress::from_bytes(last.envelope).unwrap();
    assert_eq!(last.open, Vec::<u64>::new(), "nothing is left to do");
    world.check();
}

#[test]
fn settling_waits_for_timers_that_are_due() {
    let world = World::new();
    let engine = world.open();
    engine.start();
    begin(&engine, Plan::new("r").on("begin", [after(10, "t")]).on("timer:t", [after(10, "t")]));
    for count in 1..=20 {
        world.advance_ms(10);
        assert_eq!(seen(&engine).len(), count, "the relay's thread sleeps, settling must wait for it");
    }
    engine.stop().unwrap();
    world.check();
}
