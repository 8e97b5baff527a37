//! Two engines on one log, as two nodes are: whoever claimed a shard last owns it.

use super::model::{Do, Plan};
use super::*;

/// One account pays another; the first to come has the money.
fn pay(engine: &Engine) {
    send(engine, "ann", add(100)).unwrap();
    let plan = Plan::new("r")
        .on("begin", [Do::Take("ann".into(), 1)])
        .on("accepted:take ann", [Do::Add("bob".into(), 1)])
        .on("accepted:add bob", [Do::Finish]);
    send(engine, "ann", Command::Begin { plan }).unwrap();
}

fn claims(world: &World) -> usize {
    world.accepted().iter().filter(|(header, _)| matches!(header, Header::Claim)).count()
}

/// Lets the relay of `engine` work for so long.
fn work_for_ms(world: &World, engine: &Engine, ms: u64) {
    for _ in 0..ms / 10 {
        world.advance_ms(10);
        engine.step(ShardId(0)).unwrap();
    }
}

#[test]
fn a_state_is_not_read_from_what_another_node_has_moved_on() {
    let world = World::new();
    let (one, other) = (world.open(), world.open());
    send(&one, "ann", add(1)).unwrap();
    assert_eq!(total(&one, "ann"), (1, 1));
    send(&other, "ann", add(2)).unwrap();
    // The first one wrote nothing since, so no append told it that it is fenced.
    assert_eq!(total(&one, "ann"), (2, 3));
    world.check();
}

#[test]
fn a_refusal_does_not_rest_on_what_another_node_has_moved_on() {
    let world = World::new();
    let (one, other) = (world.open(), world.open());
    send(&one, "ann", add(1)).unwrap();
    send(&other, "ann", add(2)).unwrap();
    assert_eq!(word(&send(&one, "ann", take(3))), "v3+1");
    world.check();
}

#[test]
fn a_relay_leaves_the_work_to_the_owner_of_the_shard() {
    let world = World::new();
    let (one, owner) = (world.open(), world.open());
    pay(&owner);
    work_for_ms(&world, &one, 1_000);
    assert_eq!((claims(&world), world.records_of("run/r").len()), (2, 0), "one has done nothing");
    settle(&owner);
    assert_eq!(world.records_of("run/r").len(), 3);
    // It sees in the log what came of each of its deliveries.
    work_for_ms(&world, &one, 1_000);
    assert_eq!((one.status().relay_pending, claims(&world)), (0, 2));
    world.check();
}

#[test]
fn a_relay_takes_over_what_stays_undone() {
    let world = World::new();
    let (one, owner) = (world.open(), world.open());
    pay(&owner);
    drop(owner);
    work_for_ms(&world, &one, 9_000);
    assert_eq!((claims(&world), world.records_of("run/r").len()), (2, 0), "the owner may be slow");
    work_for_ms(&world, &one, 3_000);
    assert_eq!((claims(&world), world.records_of("run/r").len()), (3, 3));
    assert_eq!((total(&one, "ann").1, total(&one, "bob").1), (99, 1));
    world.check();
}

#[test]
fn a_relay_goes_on_at_once_when_a_command_claims_the_shard() {
    let world = World::new();
    let (one, owner) = (world.open(), world.open());
    pay(&owner);
    drop(owner);
    work_for_ms(&world, &one, 3_000);
    send(&one, "eve", add(1)).unwrap();
    work_for_ms(&world, &one, 100);
    assert_eq!((claims(&world), world.records_of("run/r").len()), (3, 3));
    world.check();
}
