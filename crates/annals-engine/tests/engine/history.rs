//! Questions about the past, and events that this program does not know.

use annals_core::envelope::{EventPart, Slice};
use annals_core::index::terms;
use annals_engine::{At, QueryError, StateAt};
use annals_log::{Claimant, RecordKind};

use super::*;

fn state(engine: &Engine, at: At) -> Result<(u64, u64), QueryError> {
    let StateAt { version, state } = engine.state(&stream("ann"), at)?;
    Ok((version, state["total"].as_u64().unwrap()))
}

/// Three commands, a second apart, at 1 s, 2 s, 3 s: +1, +10 +10 (one record), -5.
fn with_a_past() -> (World, Engine) {
    let world = World::new();
    let engine = world.open();
    for command in [add(1), Command::AddMany { times: 2, by: 10 }, take(5)] {
        send(&engine, "ann", command).unwrap();
        send(&engine, "bob", add(1)).unwrap();
        world.advance_ms(1000);
    }
    (world, engine)
}

#[test]
fn every_version_can_be_seen() {
    let (world, engine) = with_a_past();
    let totals: Vec<_> = (0..=4).map(|version| state(&engine, At::Version(version)).unwrap()).collect();
    assert_eq!(totals, [(0, 0), (1, 1), (2, 11), (3, 21), (4, 16)]);
    let QueryError::NoVersion { asked, version, .. } = state(&engine, At::Version(5)).unwrap_err() else {
        panic!()
    };
    assert_eq!((asked, version), (5, 4));
    assert_eq!(engine.state(&stream("nobody"), At::Version(0)).unwrap().version, 0);
    assert!(engine.state(&stream("nobody"), At::Version(1)).is_err());
    world.check();
}

#[test]
fn every_time_can_be_seen() {
    let (world, engine) = with_a_past();
    for (us, expected) in [
        (999_999, (0, 0)),
        (1_000_000, (1, 1)),
        (1_999_999, (1, 1)),
        (2_000_000, (3, 21)),
        (9_000_000, (4, 16)),
    ] {
        assert_eq!(state(&engine, At::Time(from_micros(us))), Ok(expected), "{us} us");
    }
    world.check();
}

#[test]
fn history_is_paged() {
    let (world, engine) = with_a_past();
    let page = |after, limit| {
        let events = engine.history(&stream("ann"), after, limit).unwrap();
        events.iter().map(|event| (event.version, event.name.clone())).collect::<Vec<_>>()
    };
    let all = [1, 2, 3, 4].map(|v| (v, if v == 4 { "account.taken" } else { "account.added" }.to_owned()));
    assert_eq!(page(0, 10), all);
    assert_eq!(page(0, 4), all);
    assert_eq!(page(0, 3), all[..3]);
    // A page may end inside a record.
    assert_eq!(page(0, 2), all[..2]);
    assert_eq!(page(2, 1), all[2..3]);
    assert_eq!(page(4, 10), []);
    assert_eq!(page(0, 0), []);
    let events = engine.history(&stream("ann"), 1, 1).unwrap();
    assert_eq!(events[0].position.to_string(), "0-4-0");
    assert_eq!(events[0].data, serde_json::json!({"by": 10}));
    assert_eq!(engine.history(&stream("ann"), 2, 1).unwrap()[0].position.to_string(), "0-4-1");
    world.check();
}

#[test]
fn a_long_stream_is_read_whole() {
    let world = World::new();
    let engine = world.open();
    // More records than one question to the index gives.
    let tickets: Vec<_> = (0..2500).map(|_| engine.submit(&request("ann", add(1))).unwrap()).collect();
    drop(tickets);
    assert_eq!(total(&engine, "ann"), (2500, 2500));
    assert_eq!(total(&world.reopen(), "ann"), (2500, 2500));
    assert_eq!(engine.history(&stream("ann"), 2040, 20).unwrap().len(), 20);
    world.check();
}

#[test]
fn an_event_this_program_does_not_know_is_an_error_with_its_place() {
    for (name, payload) in [("account.renamed", &b"{}"[..]), ("account.added", b"{\"by\":-1}")] {
        let world = World::new();
        send(&world.open(), "ann", add(1)).unwrap();
        let strange = strange(&world, name, payload);
        let engine = world.open();
        let answer = engine.execute(&keyed("ann", add(1), "k"));
        let Err(ExecuteError::Unreadable { position, .. }) = &answer else { panic!("{answer:?}") };
        assert_eq!(position.offset, strange);
        let QueryError::Unreadable { position, .. } = state(&engine, At::Now).unwrap_err() else { panic!() };
        assert_eq!((position.offset, position.index), (strange, 1));
        // The past before it, its history, and all other entities can be seen.
        assert_eq!(state(&engine, At::Version(2)), Ok((2, 6)));
        assert_eq!(engine.history(&stream("ann"), 0, 10).unwrap().len(), 3);
        assert!(send(&engine, "bob", add(1)).is_ok());
    }
}

/// Another program appends a record to `ann` whose second event is called `name`; returns its offset.
fn strange(world: &World, name: &str, payload: &'static [u8]) -> Offset {
    let claimant =
        Claimant { node: "other".into(), address: String::new(), nonce: [9; 16], claimed_at: from_micros(0) };
    let writer = world.log.claim(ShardId(0), &claimant).unwrap();
    let event = |name: &str, payload| EventPart {
        name: name.into(),
        shape: 1,
        payload: bytes::Bytes::from_static(payload),
        tags: Vec::new(),
    };
    let events = vec![event("account.added", b"{\"by\":5}"), event(name, payload)];
    let slice = Slice { stream: "account/ann".into(), expected_version: 1, events };
    let record = Record { format: 1, slices: vec![slice], recorded_at_us: 1_000_000, ..Record::default() };
    let seq = writer.append(RecordKind::Record, record.to_bytes(), terms(&record)).unwrap();
    writer.commit(seq).unwrap()
}

#[test]
fn versions_that_do_not_follow_each_other_are_damage() {
    let world = World::new();
    strange(&world, "account.added", b"{\"by\":1}");
    let engine = world.open();
    assert!(matches!(state(&engine, At::Now), Err(QueryError::Broken { found: 1, expected: 0, .. })));
    assert!(matches!(send(&engine, "ann", add(1)), Err(ExecuteError::Unreadable { .. })));
}
