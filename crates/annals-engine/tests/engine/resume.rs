//! Resuming: whoever takes over does what is not done, does nothing twice, and does not start from the beginning.

use annals_core::envelope::InputKind;

use super::model::{Do, Plan};
use super::wrapped::{account_in, open_deaf, shard_of_saga};
use super::*;

/// A transfer: take from one account, then add to another.
fn transfer(run: &str, from: &str, to: &str) -> Plan {
    Plan::new(run)
        .on("begin", [Do::Take(from.into(), 1)])
        .on(&format!("accepted:take {from}"), [Do::Add(to.into(), 1)])
        .on(&format!("accepted:add {to}"), [Do::Finish])
}

const ACCOUNTS: u64 = 6;
const TRANSFERS: u64 = 24;

fn account(n: u64) -> String {
    format!("a{}", n % ACCOUNTS)
}

fn fund(engine: &Engine) {
    for n in 0..ACCOUNTS {
        engine.execute(&keyed(&account(n), add(100), "fund")).unwrap();
    }
}

fn begin(engine: &Engine, n: u64) -> Result<Receipt, ExecuteError> {
    let plan = transfer(&format!("r{n}"), &account(n), &account(n + 1));
    engine.execute(&keyed(&account(n), Command::Begin { plan }, &format!("begin {n}")))
}

/// Every transfer took each step once, and the money is where it belongs.
fn check_transfers(world: &World, engine: &Engine) {
    for n in 0..TRANSFERS {
        let inputs: Vec<InputKind> = world
            .records_of(&format!("run/r{n}"))
            .iter()
            .map(|r| r.saga.clone().unwrap().input.unwrap().kind())
            .collect();
        assert_eq!(inputs, [InputKind::Event, InputKind::Outcome, InputKind::Outcome], "transfer {n}");
    }
    let totals: Vec<(u64, u64)> = (0..ACCOUNTS).map(|n| total(engine, &account(n))).collect();
    // Funded once, four begun, four taken, four added.
    assert_eq!(totals, [(13, 100); ACCOUNTS as usize]);
    world.check();
}

#[test]
fn a_crash_after_any_number_of_steps_loses_and_doubles_nothing() {
    for shards in [1, 8] {
        for steps in 0..24 {
            let world = World {
                settings: Settings { progress_every_records: 3, ..Settings::default() },
                ..World::with_shards(shards)
            };
            let engine = world.open();
            fund(&engine);
            (0..TRANSFERS).for_each(|n| drop(begin(&engine, n).unwrap()));
            for step in 0..steps {
                engine.step(ShardId(step % shards)).unwrap();
            }
            let engine = world.reopen();
            for step in 0..steps {
                engine.step(ShardId(step % shards)).unwrap();
            }
            let engine = world.reopen();
            settle(&engine);
            check_transfers(&world, &engine);
        }
    }
}

#[test]
fn a_log_that_fails_loses_and_doubles_nothing() {
    for shards in [1, 8] {
        for seed in 0..30 {
            let world = World {
                settings: Settings {
                    progress_every_records: 5,
                    cached_entities_max: 3,
                    ..Settings::default()
                },
                ..World::with_shards(shards)
            };
            let engine = world.open();
            fund(&engine);
            world.log.set_faults(FaultPlan::every(seed, 0.02));
            for n in 0..TRANSFERS {
                drop(begin(&engine, n));
                drop(engine.step(ShardId(n as u32 % shards)));
                world.advance_ms(3);
            }
            world.heal();
            (0..TRANSFERS).for_each(|n| drop(begin(&engine, n).unwrap()));
            let engine = if seed % 2 == 0 { world.reopen() } else { engine };
            for _ in 0..5 {
                drop(engine.settle(Duration::ZERO));
                world.advance_ms(10_000);
            }
            settle(&engine);
            check_transfers(&world, &engine);
        }
    }
}

#[test]
fn a_relay_takes_up_where_the_last_stopped() {
    let world =
        World { settings: Settings { progress_every_records: 10, ..Settings::default() }, ..World::new() };
    let engine = world.open();
    fund(&engine);
    (0..TRANSFERS).for_each(|n| drop(begin(&engine, n).unwrap()));
    settle(&engine);
    engine.stop().unwrap();
    let last = world.progress().pop().unwrap();
    assert_eq!(last.open, Vec::<u64>::new(), "everything is settled");

    // From here on the old records are damaged, so to say: whoever reads them again would not settle.
    let engine = world.reopen();
    assert_eq!(engine.status().relay_lag, world.log.end(ShardId(0)).0, "it has not looked yet");
    engine.step(ShardId(0)).unwrap();
    let records = world.records().len();
    settle(&engine);
    assert_eq!(world.records().len(), records, "nothing is written again");
    check_transfers(&world, &engine);
}

#[test]
fn progress_is_noted_every_so_many_records() {
    for (every, notes) in [(9, 1), (10, 1), (11, 0)] {
        let world = World {
            settings: Settings { progress_every_records: every, ..Settings::default() },
            ..World::new()
        };
        let engine = world.open();
        // With genesis and claim: ten records to read.
        (0..8).for_each(|_| drop(send(&engine, "ann", add(1)).unwrap()));
        settle(&engine);
        // A note becomes durable with the next group.
        send(&engine, "ann", add(1)).unwrap();
        assert_eq!(world.progress().len(), notes, "every {every}");
        world.check();
    }
}

#[test]
fn an_open_record_is_named_in_the_progress() {
    let world =
        World { settings: Settings { progress_every_records: 1, ..Settings::default() }, ..World::new() };
    let engine = world.open();
    let plan = Plan::new("r").on("begin", [Do::After(100, "t".into())]);
    let begun = send(&engine, "ann", Command::Begin { plan }).unwrap();
    settle(&engine);
    engine.stop().unwrap();
    let last = world.progress().pop().unwrap();
    // The saga's record, the first after the event's, holds a timer.
    assert_eq!(last.open, [begun.position.offset.0 + 1]);
    assert!(last.read > last.open[0]);
    world.check();
}

#[test]
fn resuming_that_fails_halfway_starts_over() {
    let settings = Settings { progress_every_records: 1, ..Settings::default() };
    let world = World { settings, ..World::with_shards(2) };
    let (shard, other) = shard_of_saga();
    let (ann, bob) = (account_in(shard), account_in(other));
    let engine = open_deaf(&world, other);
    for n in 0..10 {
        let with = format!("{n}");
        let step = [Do::Add(bob.clone(), 1), Do::After(100, with.clone())];
        let plan = Plan::new("r").on("begin", step.clone()).on(&format!("nudge:{with}"), step);
        send(&engine, &ann, Command::Begin { plan }).unwrap();
        drop(engine.settle(Duration::ZERO));
    }
    engine.stop().unwrap();
    assert_eq!(world.progress().pop().unwrap().open.len(), 10);
    let engine = world.reopen();
    world.log.set_faults(FaultPlan::seeded(3).with(Fault::ReadUnavailable, 0.3));
    for _ in 0..30 {
        assert!(engine.step(shard).is_err(), "choose another seed: it read a dozen records without a fault");
        assert!(engine.status().relay_pending <= 10, "what it read is there twice");
    }
    world.heal();
    world.advance_ms(10);
    settle(&engine);
    assert_eq!((total(&engine, &bob), engine.status().timers), ((10, 10), 10));
    world.check();
}

#[test]
fn an_event_that_cannot_be_read_stops_the_relay_and_not_what_is_under_way() {
    use annals_core::envelope::{EventPart, Slice};
    use annals_core::index::terms;
    use annals_log::{Claimant, RecordKind};

    let world = World::new();
    let engine = world.open();
    let plan = Plan::new("r")
        .on("begin", [Do::Add("bob".into(), 1), Do::After(10, "t".into())])
        .on("timer:t", [Do::Add("bob".into(), 1)]);
    send(&engine, "ann", Command::Begin { plan }).unwrap();
    settle(&engine);
    let claimant =
        Claimant { node: "other".into(), address: String::new(), nonce: [9; 16], claimed_at: from_micros(0) };
    let writer = world.log.claim(ShardId(0), &claimant).unwrap();
    let event = EventPart { name: "account.nudged".into(), shape: 1, payload: "{}".into(), tags: Vec::new() };
    let slice = Slice { stream: "account/odd".into(), expected_version: 0, events: vec![event] };
    let record = Record { format: 1, slices: vec![slice], recorded_at_us: 1_000_000, ..Record::default() };
    let seq = writer.append(RecordKind::Record, record.to_bytes(), terms(&record)).unwrap();
    let offset = writer.commit(seq).unwrap();
    // The shard is this engine's again.
    send(&engine, "eve", add(1)).unwrap();

    world.advance_ms(10);
    for _ in 0..5 {
        assert!(engine.step(ShardId(0)).is_err());
        world.advance_ms(10);
    }
    let stuck = engine.status().stuck.unwrap();
    assert!(stuck.contains(&format!("0-{offset}-0")), "{stuck}");
    // The timer fired nevertheless; what came of it lies behind the bad event.
    assert_eq!(world.records_of("run/r").len(), 3);
    assert_eq!(engine.status().relay_pending, 0);
}
