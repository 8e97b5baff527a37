//! A panic in a decision fails that command alone, and leaves no half-evolved state behind.

use super::*;

/// Runs without the panic hook's noise: these panics are meant.
fn quietly<T>(run: impl FnOnce() -> T) -> T {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let meant = ["boom", "at ", "the plan says so"];
            let payload = panic.payload();
            let text = payload.downcast_ref::<&str>().copied();
            let text =
                text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
            if !meant.iter().any(|meant| text.starts_with(meant)) {
                hook(panic);
            }
        }));
    });
    run()
}

#[test]
fn a_panic_fails_its_command_alone() {
    let world = World::new();
    let engine = world.open();
    send(&engine, "ann", add(5)).unwrap();
    for (command, expected) in [
        (Command::PanicFrom { total: 5 }, "panicked: at 5"),
        (Command::AddAndPanic { by: 3 }, "panicked: boom"),
        (Command::PanicFrom { total: 6 }, "v2+1"),
        (Command::AddAndPanic { by: 3 }, "panicked: boom"),
        (add(1), "v3+1"),
    ] {
        assert_eq!(quietly(|| word(&send(&engine, "ann", command.clone()))), expected, "{command:?}");
    }
    assert_eq!(total(&engine, "ann"), (3, 7));
    assert_eq!(total(&world.reopen(), "ann"), (3, 7));
    world.check();
}

#[test]
fn a_panic_does_not_lose_what_is_in_flight() {
    for bad in
        [Command::PanicFrom { total: 1 }, Command::AddAndPanic { by: 3 }, Command::Write { bytes: 9_000_000 }]
    {
        let world = World::new();
        let engine = world.open();
        let first = engine.submit(&request("ann", add(1))).unwrap();
        assert!(quietly(|| engine.submit(&request("ann", bad.clone()))).is_err(), "{bad:?}");
        // Decided on the state with the first command, though that was not durable.
        let second = engine.submit(&request("ann", add(1))).unwrap();
        assert_eq!(word(&engine.finish(request("ann", add(1)), second)), "v2+1", "{bad:?}");
        assert_eq!(word(&engine.finish(request("ann", add(1)), first)), "v1+1", "{bad:?}");
        assert_eq!(total(&engine, "ann"), (2, 2));
        world.check();
    }
}

#[test]
fn a_panic_is_not_told_on_what_was_lost() {
    let world = World::new();
    let engine = world.open();
    let first = engine.submit(&request("ann", add(1))).unwrap();
    world.fail(Fault::CommitFull);
    // It panicked on a state with the first command, which then was not to be: nothing can be said.
    let answer = quietly(|| send(&engine, "ann", Command::PanicFrom { total: 1 }));
    assert_eq!(word(&answer), "unavailable");
    world.heal();
    assert_eq!(word(&send(&engine, "ann", Command::PanicFrom { total: 1 })), "v1+1");
    assert_eq!(word(&engine.finish(request("ann", add(1)), first)), "v2+1");
    world.check();
}

#[test]
fn a_keyed_command_that_panicked_can_be_sent_again() {
    let world = World::new();
    let engine = world.open();
    send(&engine, "ann", add(5)).unwrap();
    let request = keyed("ann", Command::PanicFrom { total: 5 }, "k");
    assert_eq!(quietly(|| word(&engine.execute(&request))), "panicked: at 5");
    send(&engine, "ann", take(1)).unwrap();
    assert_eq!(word(&engine.execute(&request)), "v3+1");
    assert_eq!(word(&engine.execute(&request)), "again v3+1");
    world.check();
}

#[test]
fn a_panic_in_a_reaction_is_parked_and_the_saga_goes_on() {
    let world = World::new();
    let engine = world.open();
    let plan = model::Plan::new("r")
        .on("nudge:bad", [model::Do::Add("bob".into(), 7), model::Do::Panic])
        .on("nudge:good", [model::Do::Add("bob".into(), 1)]);
    send(&engine, "ann", Command::Begin { plan }).unwrap();
    for with in ["bad", "good"] {
        send(&engine, "ann", Command::Nudge { run: "r".into(), with: with.into() }).unwrap();
    }
    quietly(|| settle(&engine));
    // What the reaction put out before the panic is not carried out.
    assert_eq!(total(&engine, "bob"), (1, 1));
    let parked: Vec<_> = world.records_of("run/r").iter().map(|r| r.saga.clone().unwrap().parked).collect();
    assert_eq!(parked.len(), 4, "begin, bad, good, accepted");
    assert!(parked.iter().flatten().all(|reason| reason.contains("the plan says so")), "{parked:?}");
    assert_eq!((engine.status().parked, parked.iter().flatten().count()), (1, 1));
    // The state is the one before the panic.
    let state = engine.state(&stream("run/r"), annals_engine::At::Now).unwrap().state;
    assert_eq!(state["seen"], serde_json::json!(["begin", "nudge:good", "accepted:add bob"]));
    world.check();
}
