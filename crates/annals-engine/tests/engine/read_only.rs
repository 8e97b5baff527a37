//! An engine that is open for reading answers questions and writes nothing, whatever is asked of it.

use annals_engine::{At, OpenError};

use super::*;

#[test]
fn it_answers_and_writes_nothing() {
    let world = World::new();
    let writer = world.open();
    let plan =
        model::Plan::new("r").on("begin", [model::Do::Add("bob".into(), 1), model::Do::After(0, "t".into())]);
    send(&writer, "ann", Command::Begin { plan }).unwrap();
    send(&writer, "ann", add(3)).unwrap();
    let before = world.log.raw(ShardId(0));

    let reader = Engine::open_read_only(context(), Arc::new(world.log.clone())).unwrap();
    assert!(reader.is_read_only());
    assert_eq!(total(&reader, "ann"), (2, 3));
    assert_eq!(reader.state(&stream("ann"), At::Version(1)).unwrap().version, 1);
    assert_eq!(reader.history(&stream("ann"), 0, 10).unwrap().len(), 2);
    assert_eq!(word(&send(&reader, "ann", add(1))), "unavailable");
    assert!(reader.submit(&request("ann", add(1))).is_err());
    // There is a saga to begin and a timer to fire: not for this one.
    assert_eq!(reader.step(ShardId(0)), Ok(false));
    settle(&reader);
    reader.start();
    reader.stop().unwrap();
    assert_eq!(reader.status(), Default::default());
    assert!(world.log.raw(ShardId(0)) == before, "it wrote");

    // The writer was not disturbed, and the reader sees what it does next.
    assert_eq!(word(&send(&writer, "ann", add(1))), "v3+1");
    assert_eq!(total(&reader, "ann"), (3, 4));
    world.check();
}

#[test]
fn the_context_must_be_the_logs() {
    let world = World::new();
    let other = || annals_core::context("other").decider::<Account>();
    let log = || Arc::new(world.log.clone());
    let environment = Environment::seeded(Arc::clone(&world.clock) as _, 1);
    for opened in [
        Engine::open(other(), log(), environment, Settings::default()),
        Engine::open_read_only(other(), log()),
    ] {
        let Err(OpenError::OtherContext { asked, found }) = opened.map(drop) else { panic!() };
        assert_eq!((asked.as_str(), found.as_str()), ("other", "test"));
    }
    assert_eq!(world.log.raw(ShardId(0)).len(), 1, "nothing was claimed");
}

#[test]
fn a_log_that_cannot_be_claimed_does_not_open() {
    let world = World::new();
    for fault in [Fault::ClaimUnwritten, Fault::ClaimWritten, Fault::ClaimFull] {
        world.fail(fault);
        let environment = Environment::seeded(Arc::clone(&world.clock) as _, 1);
        let opened = Engine::open(context(), Arc::new(world.log.clone()), environment, Settings::default());
        assert!(matches!(opened.map(drop), Err(OpenError::Claim(_))), "{fault:?}");
    }
    world.heal();
    assert_eq!(word(&send(&world.open(), "ann", add(1))), "v1+1");
    world.check();
}
