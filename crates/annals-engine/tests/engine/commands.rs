//! Commands one at a time: what is answered, what is recorded, and that a key has one answer for ever.

use annals_engine::{ExecuteError, Request};

use super::*;

/// Sends `commands` to one account, then again after a restart; compares the answers in words.
fn check(commands: &[(Option<&str>, Command, &str)], records: usize) {
    let world = World::new();
    let engine = world.open();
    for (key, command, expected) in commands {
        let request = Request { key: key.map(str::to_owned), ..request("ann", command.clone()) };
        assert_eq!(word(&engine.execute(&request)), *expected, "{key:?} {command:?}");
    }
    assert_eq!(world.records().len(), records, "records");
    world.check();
}

#[test]
fn an_accepted_command_has_a_receipt_of_its_record() {
    let world = World::new();
    let engine = world.open();
    let receipt = engine.execute(&keyed("ann", Command::AddMany { times: 3, by: 2 }, "k")).unwrap();
    assert_eq!((receipt.version, receipt.events, receipt.key.as_str(), receipt.repeated), (3, 3, "k", false));
    // After the genesis and the claim.
    assert_eq!(receipt.position.to_string(), "0-2-0");
    let record = world.records().remove(0);
    assert_eq!((record.slices[0].stream.as_str(), record.slices[0].events.len()), ("account/ann", 3));
    assert_eq!(total(&engine, "ann"), (3, 6));
    world.check();
}

#[test]
fn refusals_are_recorded_under_a_key_only() {
    check(&[(None, take(1), "refused short"), (None, add(1), "v1+1"), (None, take(1), "v2+1")], 2);
    check(
        &[
            (Some("k"), take(1), "refused short"),
            (None, add(1), "v1+1"),
            (Some("k"), take(1), "refused short"),
            (Some("l"), take(1), "v2+1"),
        ],
        3,
    );
}

#[test]
fn commands_that_change_nothing_are_recorded_under_a_key_only() {
    check(&[(None, Command::Reach { total: 0 }, "v0+0")], 0);
    check(
        &[
            (Some("k"), Command::Reach { total: 0 }, "v0+0"),
            (None, add(5), "v1+1"),
            (Some("k"), Command::Reach { total: 0 }, "again v0+0"),
            (None, Command::Reach { total: 5 }, "v1+0"),
        ],
        2,
    );
}

#[test]
fn a_key_belongs_to_one_command_of_one_stream() {
    check(
        &[
            (Some("k"), add(1), "v1+1"),
            (Some("k"), add(1), "again v1+1"),
            (Some("k"), add(2), "key reused"),
            (Some("k"), take(1), "key reused"),
            (None, add(1), "v2+1"),
            (Some("k"), add(1), "again v1+1"),
        ],
        2,
    );
    let world = World::new();
    let engine = world.open();
    for name in ["ann", "bob", "acme:account/ann"] {
        assert_eq!(word(&engine.execute(&keyed(name, add(1), "k"))), "v1+1", "{name}");
    }
    world.check();
}

#[test]
fn a_key_has_its_answer_after_a_restart() {
    let world = World::new();
    let requests = [
        keyed("ann", add(3), "a"),
        keyed("ann", take(9), "b"),
        keyed("ann", Command::Reach { total: 3 }, "c"),
    ];
    let engine = world.open();
    let answers =
        |engine: &Engine| requests.iter().map(|request| word(&engine.execute(request))).collect::<Vec<_>>();
    assert_eq!(answers(&engine), ["v1+1", "refused short", "v1+0"]);
    let engine = world.reopen();
    assert_eq!(answers(&engine), ["again v1+1", "refused short", "again v1+0"]);
    assert_eq!(word(&engine.execute(&keyed("ann", add(4), "a"))), "key reused");
    world.check();
}

#[test]
fn a_repeat_in_flight_waits_for_the_first_attempt() {
    let world = World::new();
    let engine = world.open();
    let first = engine.submit(&keyed("ann", add(1), "k")).unwrap();
    let second = engine.submit(&keyed("ann", add(1), "k")).unwrap();
    assert!(matches!(engine.submit(&keyed("ann", add(2), "k")), Err(ExecuteError::KeyReused { .. })));
    assert_eq!(world.records().len(), 0, "nothing is durable yet");
    assert_eq!(word(&engine.finish(keyed("ann", add(1), "k"), second)), "again v1+1");
    assert_eq!(word(&engine.finish(keyed("ann", add(1), "k"), first)), "v1+1");
    assert_eq!(world.records().len(), 1);
    world.check();
}

#[test]
fn an_expected_version_is_checked_on_what_is_in_flight() {
    let world = World::new();
    let engine = world.open();
    let at = |version| Request { expected_version: Some(version), ..request("ann", add(1)) };
    let first = engine.submit(&at(0)).unwrap();
    // The conflict is told when the version it rests on is durable, not before.
    let late = engine.submit(&at(0)).unwrap();
    assert_eq!(world.records().len(), 0);
    assert_eq!(word(&engine.finish(at(0), late)), "conflict 0 1");
    assert_eq!(world.records().len(), 1);
    assert_eq!(word(&engine.finish(at(0), first)), "v1+1");
    assert_eq!(word(&engine.execute(&at(1))), "v2+1");
    // A repeat has the first answer, not a conflict.
    let keyed = Request { key: Some("k".into()), ..at(2) };
    assert_eq!(word(&engine.execute(&keyed)), "v3+1");
    assert_eq!(word(&engine.execute(&keyed)), "again v3+1");
    world.check();
}

#[test]
fn keys_are_checked_at_their_limits() {
    let world = World::new();
    let engine = world.open();
    for (key, expected) in [
        (String::new(), "invalid key"),
        ("k".repeat(255), "v1+1"),
        ("k".repeat(256), "v2+1"),
        ("k".repeat(257), "invalid key"),
        // Bytes, not characters.
        ("é".repeat(128), "v3+1"),
        ("é".repeat(129), "invalid key"),
        ("a\nb".to_owned(), "invalid key"),
        ("saga:run/x@1/0".to_owned(), "invalid key"),
        ("saga".to_owned(), "v4+1"),
        ("Saga:x".to_owned(), "v5+1"),
    ] {
        assert_eq!(word(&engine.execute(&keyed("ann", add(1), &key))), expected, "{key:?}");
    }
    world.check();
}

#[test]
fn texts_are_checked_at_their_limits() {
    type Set = fn(&mut Request, String);
    let fields: [(&str, Set); 4] = [
        ("actor", |request, text| request.actor = text),
        ("correlation", |request, text| request.correlation = text),
        ("causation", |request, text| request.causation = text),
        ("traceparent", |request, text| request.traceparent = text),
    ];
    let world = World::new();
    let engine = world.open();
    for (name, set) in fields {
        for (bytes, fits) in [(255, true), (256, true), (257, false)] {
            let mut request = request("ann", add(1));
            set(&mut request, "x".repeat(bytes));
            match engine.execute(&request) {
                Ok(_) => assert!(fits, "{name} of {bytes} bytes"),
                Err(ExecuteError::TextTooLong { field, bytes: told, bytes_max }) => {
                    assert_eq!((field, told, bytes_max, fits), (name, bytes, 256, false));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    world.check();
}

#[test]
fn what_is_around_a_command_is_recorded() {
    let world = World::new();
    let engine = world.open();
    let request = Request {
        actor: "ann".into(),
        correlation: "flow".into(),
        causation: "mail".into(),
        traceparent: "00-1-2-03".into(),
        occurred_at: Some(from_micros(5)),
        ..keyed("acme:account/ann", add(1), "k")
    };
    engine.execute(&request).unwrap();
    let record = world.records().remove(0);
    assert_eq!(
        (record.actor, record.correlation, record.causation, record.traceparent, record.tenant),
        ("ann".into(), "flow".into(), "mail".into(), "00-1-2-03".into(), "acme".into())
    );
    assert_eq!((record.occurred_at_us, record.recorded_at_us, record.depth), (Some(5), 1_000_000, 0));
    let command = record.command.unwrap();
    assert_eq!((command.key.as_str(), command.name.as_str(), command.digest.len()), ("k", "add", 16));
    world.check();
}

#[test]
fn a_made_key_repeats_its_command() {
    let world = World::new();
    let engine = world.open();
    let receipt = send(&engine, "ann", add(1)).unwrap();
    assert_eq!(receipt.key.len(), 32);
    let again = keyed("ann", add(1), &receipt.key);
    assert_eq!(word(&engine.execute(&again)), "again v1+1");
    assert_eq!(word(&world.reopen().execute(&again)), "again v1+1");
    world.check();
}

#[test]
fn commands_go_to_deciders_only() {
    let world = World::new();
    let engine = world.open();
    let unknown = |name| matches!(send(&engine, name, add(1)), Err(ExecuteError::UnknownDecider { .. }));
    assert!(unknown("nobody/x"));
    assert!(unknown("run/x"), "a saga takes no commands from outside");
    assert_eq!(world.records().len(), 0);
}

#[test]
fn a_record_that_is_too_large_changes_nothing() {
    let world = World::new();
    let engine = world.open();
    send(&engine, "ann", add(1)).unwrap();
    let bytes_max = annals_core::envelope::ENVELOPE_BYTES_MAX;
    for key in [None, Some("k".to_owned())] {
        let request = Request { key, ..request("ann", Command::Write { bytes: bytes_max }) };
        assert_eq!(word(&engine.execute(&request)), "too large");
    }
    // The envelope around the text of a made key: found once, it must stay the same.
    let around = {
        send(&engine, "bob", Command::Write { bytes: bytes_max / 2 }).unwrap();
        let record = world.records_of("account/bob").remove(0);
        record.to_bytes().len() - bytes_max / 2
    };
    for (name, bytes, expected) in
        [("eva", bytes_max + 1, "too large"), ("eve", bytes_max, "v1+1"), ("evi", bytes_max - 1, "v1+1")]
    {
        assert_eq!(word(&send(&engine, name, Command::Write { bytes: bytes - around })), expected, "{bytes}");
    }
    assert_eq!(word(&send(&engine, "ann", add(1))), "v2+1");
    assert_eq!(total(&engine, "ann"), (2, 2));
    world.check();
}

#[test]
fn the_time_of_records_never_goes_back() {
    let world = World::new();
    send(&world.open(), "ann", add(1)).unwrap();
    // Another node whose clock is behind takes over.
    let behind = Arc::new(ManualClock::new(from_micros(5)));
    let environment = Environment::seeded(behind, 9);
    let engine =
        Engine::open(context(), Arc::new(world.log.clone()), environment, Settings::default()).unwrap();
    send(&engine, "ann", add(1)).unwrap();
    send(&engine, "bob", add(1)).unwrap();
    let times: Vec<i64> = world.records().iter().map(|record| record.recorded_at_us).collect();
    assert_eq!(times, [1_000_000; 3]);
    world.check();
}
