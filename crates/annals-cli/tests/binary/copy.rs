//! Copies of a log: whole, killed and gone on with, while a server writes, and refused where that is right.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::import::rows;
use crate::support::{Home, Ran};

pub fn copy<'a>(from: &'a str, to: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["log", "copy", "bank", "--log", from, "--to", to], more].concat()
}

/// The one line of JSON that a copy prints.
pub fn report(ran: &Ran) -> Value {
    let mut lines = ran.json();
    assert_eq!(lines.len(), 1, "{ran:?}");
    lines.remove(0)
}

pub fn copied(home: &Home, from: &str, to: &str, more: &[&str]) -> Value {
    report(&home.ok(&copy(from, to, &[more, &["--json"]].concat())))
}

/// The events of one stream, without their positions, which belong to a log.
fn history(home: &Home, log: &str, stream: &str) -> Vec<Value> {
    let mut events = home.ok(&["events", "bank", stream, "--log", log, "--json"]).json();
    for event in &mut events {
        event.as_object_mut().unwrap().remove("position");
    }
    events
}

/// Both logs have the same events in every stream, the same states, and are sound.
pub fn same(home: &Home, one: &str, other: &str, streams: &[&str]) {
    for stream in streams {
        let events = history(home, one, stream);
        assert!(!events.is_empty(), "{stream}");
        assert_eq!(events, history(home, other, stream), "{stream}");
        let id = stream.split_once('/').unwrap().1;
        let state = |log| home.ok(&["state", "bank", "account", id, "--log", log, "--json"]).json();
        assert_eq!(state(one), state(other));
    }
    assert_eq!(home.ok(&["log", "verify", "--log", other, "--json"]).json()[0]["sound"], true);
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

#[test]
fn a_copy_has_another_number_of_shards_and_the_same_history() {
    let home = Home::new();
    home.write("rows", &rows(20, 5));
    home.ok(&["import", "bank", "rows", "--log", "file:a"]);
    home.ok(&["send", "bank", "account", "a1", "send", r#"{"to":"a2","amount":2}"#, "--log", "file:a"]);
    let deposit = ["send", "bank", "account", "a3", "deposit", r#"{"amount":7}"#, "--key", "k", "--json"];
    let first = home.ok(&[deposit.as_slice(), &["--log", "file:a"]].concat()).json().remove(0);

    let there = copied(&home, "file:a", "file:b", &["--shards", "8"]);
    let records = there["records"].as_u64().unwrap();
    assert!(
        records > 120 && there["bytes"].as_u64() > Some(records) && there["rate_per_s"].is_u64(),
        "{there}"
    );
    assert_eq!(
        (&there["shards_from"], &there["shards_to"], &there["found"]),
        (&json!(1), &json!(8), &json!(0))
    );
    assert_eq!(there["level"].as_array().unwrap().len(), 1);
    assert_eq!((&there["check"]["same"], &there["check"]["records"]), (&json!(true), &json!(records)));
    let streams = ["account/a1", "account/a2", "account/a3", "account/a19"];
    same(&home, "file:a", "file:b", &streams);

    // The number of shards stands in the address too; without either, it is that of the source.
    let back = copied(&home, "file:b", "file:c?shards=1", &[]);
    assert_eq!((&back["records"], &back["shards_to"]), (&json!(records), &json!(1)));
    assert_eq!(copied(&home, "file:b", "file:d", &[])["shards_to"], 8);
    same(&home, "file:a", "file:c", &streams);
    assert_ne!(back["log_id"], there["log_id"]);

    // Again copies nothing, and says so to people.
    let again = home.ok(&copy("file:a", "file:b", &[])).out;
    assert!(
        again.contains(&format!("there before: {records}\n")) && again.ends_with("the same\n"),
        "{again}"
    );
    // A key is answered as it was answered before.
    let repeated = home.ok(&[deposit.as_slice(), &["--log", "file:b"]].concat()).json().remove(0);
    assert_eq!((&repeated["version"], &repeated["repeated"]), (&first["version"], &json!(true)));
}

/// How far the first segment of a log is written, in steps of 64 KiB.
fn written(home: &Home, log: &str) -> u64 {
    (0..256).find(|step| !is_written(home, log, *step)).unwrap()
}

fn is_written(home: &Home, log: &str, step: u64) -> bool {
    let mut bytes = [0; 64];
    let segment = std::fs::File::open(home.path(log).join("shard-000/00000000000000000000.segment"));
    segment.is_ok_and(|file| file.read_at(&mut bytes, step << 16).is_ok()) && bytes != [0; 64]
}

#[test]
fn killed_again_and_again_it_goes_on() {
    let home = Home::new();
    home.write("rows", &rows(50, 400));
    home.ok(&["import", "bank", "rows", "--log", "file:a"]);
    let mut parts = std::collections::BTreeSet::new();
    for kill in 0..10_u64 {
        let before = written(&home, "b");
        let mut command = home.command(&copy("file:a", "file:b", &["--shards", "3", "--no-check"]));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Now while it writes, now while it looks for its place.
        match kill % 2 {
            0 => while child.try_wait().unwrap().is_none() && !is_written(&home, "b", before) {},
            _ => std::thread::sleep(Duration::from_millis(10 * kill)),
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let check = report(&home.run(&copy("file:a", "file:b", &["--check-only", "--json"])));
        assert_eq!(check["check"]["differing"], 0, "{check}");
        parts.insert(check["check"]["records"].as_u64().unwrap());
    }
    assert!(parts.iter().any(|part| (1..20_050).contains(part)), "no kill hit the copying: {parts:?}");
    let rest = copied(&home, "file:a", "file:b", &[]);
    assert_eq!(rest["found"].as_u64().unwrap() + rest["records"].as_u64().unwrap(), 20_050);
    assert_eq!((&rest["check"]["same"], &rest["check"]["records"]), (&json!(true), &json!(20_050)));
    same(&home, "file:a", "file:b", &["account/a0", "account/a49"]);

    // Ctrl-C ends following, not the comparison after it.
    let mut command = home.command(&copy("file:a", "file:b", &["--follow", "--json"]));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(told.any(|line| line.unwrap().starts_with("level at ")));
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["records"], &report["check"]["records"]), (&json!(0), &json!(20_050)), "{report}");
    assert!(told.any(|line| line.unwrap().contains("Ctrl-C again")) && output.status.success());
}

/// Copies to other numbers of shards, killed at random moments until one ends; then the next.
#[test]
#[ignore = "takes minutes: cargo xtask campaign copy-kills"]
fn many_kills_of_copies_lose_and_double_nothing() {
    let number = |variable: &str, usual| std::env::var(variable).map_or(usual, |text| text.parse().unwrap());
    let (kills_max, seed) = (number("ANNALS_SEEDS", 100), number("ANNALS_FIRST_SEED", 1));
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let home = Home::new();
    home.write("rows", &rows(1_000, 300));
    home.ok(&["import", "bank", "rows", "--log", "file:a?shards=4"]);
    let began = Instant::now();
    home.ok(&copy("file:a", "file:whole", &["--no-check"]));
    let span_ms = began.elapsed().as_millis() as u64;
    let (mut kills, mut halfway, mut copies) = (0, 0, 0);
    while kills < kills_max {
        copies += 1;
        let (target, shards) = (format!("file:c{copies}"), ["1", "3", "4", "8"][copies % 4]);
        let arguments = copy("file:a", &target, &["--shards", shards, "--no-check"]);
        let mut child = home.command(&arguments).stdout(Stdio::null()).spawn().unwrap();
        // Each attempt has more time than the one before, so that every copy comes to its end.
        for attempt in 1.. {
            std::thread::sleep(Duration::from_millis(dice.next_u64() % (span_ms * attempt / 4 + 1)));
            if child.try_wait().unwrap().is_some() {
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            let check = home.run(&copy("file:a", &target, &["--check-only", "--json"]));
            if !check.out.is_empty() {
                let check = report(&check)["check"].clone();
                assert_eq!(check["differing"], 0, "seed {seed}, kill {kills}: {check}");
                halfway += u64::from((1..301_000).contains(&check["records"].as_u64().unwrap()));
            }
            child = home.command(&arguments).stdout(Stdio::null()).spawn().unwrap();
        }
        assert!(child.wait().unwrap().success(), "seed {seed}, kill {kills}");
        assert_eq!(copied(&home, "file:a", &target, &[])["check"]["records"], 301_000);
        std::fs::remove_dir_all(home.path(&format!("c{copies}"))).unwrap();
    }
    println!("{kills} kills of {copies} copies, {halfway} of them halfway: every copy whole");
}

#[test]
fn a_log_is_copied_while_a_server_writes_it() {
    let home = Home::new();
    let server = home.start(&["serve", "bank", "--log", "file:a?shards=2"]);
    home.write("rows", &rows(50, 60));
    let (mut records, enough) = (Vec::new(), AtomicBool::new(false));
    let sent = std::thread::scope(|scope| {
        // Rows as fast as they go, then one command after the other until copies met enough of them.
        let writer = scope.spawn(|| {
            home.ok(&["import", "bank", "rows", "--log", "file:a"]);
            let deposit = ["send", "bank", "account", "a0", "deposit", r#"{"amount":1}"#, "--log", "file:a"];
            (0..1_000)
                .take_while(|_| !enough.load(Ordering::Relaxed))
                .inspect(|_| drop(home.ok(&deposit)))
                .count()
        });
        while !writer.is_finished() {
            let report = report(&home.ok(&copy("file:a", "file:b", &["--shards", "5", "--json"])));
            assert!(report["level"].is_array() && report["check"]["same"] == true, "{report}");
            records.push(report["records"].as_u64().unwrap());
            enough.store(records.iter().filter(|records| **records > 0).count() > 2, Ordering::Relaxed);
        }
        writer.join().unwrap()
    });
    server.stop();
    let last = copied(&home, "file:a", "file:b", &[]);
    let sum = records.iter().sum::<u64>() + last["records"].as_u64().unwrap();
    assert_eq!((sum, &last["check"]["records"]), (3_050 + sent as u64, &json!(3_050 + sent)));
    same(&home, "file:a", "file:b", &["account/a0", "account/a49"]);
}

#[test]
fn a_copy_follows_until_ctrl_c() {
    let home = Home::new();
    home.write("rows", &rows(20, 5));
    home.ok(&["import", "bank", "rows", "--log", "file:a"]);
    let mut command = home.command(&copy("file:a", "file:b", &["--follow", "--json"]));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for n in 0..5 {
        let amount = format!("{{\"amount\":1{n}}}");
        home.ok(&["send", "bank", "account", "a1", "deposit", &amount, "--log", "file:a"]);
    }
    let copied = || home.run(&copy("file:a", "file:b", &["--check-only", "--json"]));
    let began = Instant::now();
    while copied().code != 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", copied());
    }
    // Nobody else may write the target meanwhile.
    home.run(&copy("file:a", "file:b", &[])).refused(2, &["in use", "--to"]);
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && told.contains("level at ") && told.contains("Ctrl-C ends it"),
        "{told}"
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["records"], &report["check"]["same"]), (&json!(125), &json!(true)), "{report}");
}

#[test]
fn what_differs_is_told() {
    let home = Home::new();
    home.ok(&["send", "bank", "account", "ann", "open", "--log", "file:a"]);
    home.ok(&copy("file:a", "file:b", &[]));
    home.ok(&copy("file:a", "file:b", &["--check-only"]));
    home.ok(&["send", "bank", "account", "bob", "open", "--log", "file:a"]);
    let behind = home.run(&copy("file:a", "file:b", &["--check-only"]));
    behind.refused(1, &["copy once more"]);
    assert!(behind.out.contains("not copied yet: 1\nnot the same\n"), "{behind:?}");
    let check = report(&home.run(&copy("file:a", "file:b", &["--check-only", "--json"])));
    assert_eq!((&check["check"]["behind"], &check["check"]["same"]), (&json!(1), &json!(false)));
    assert_eq!((&check["records"], &check["level"]), (&Value::Null, &Value::Null));

    // A copy that somebody wrote to has a life of its own.
    home.ok(&["send", "bank", "account", "cem", "open", "--log", "file:b"]);
    let differs = home.run(&copy("file:a", "file:b", &["--check-only"]));
    differs.refused(1, &["the logs differ"]);
    assert!(differs.out.contains("too much in shard 0 of the target: offset 4"), "{differs:?}");
    home.run(&copy("file:a", "file:b", &[])).refused(2, &["shard 0", "offset 4", "no copy did", "new log"]);
}

#[test]
fn what_cannot_be_copied_is_refused_with_a_reason() {
    let home = Home::new();
    home.ok(&["send", "bank", "account", "ann", "open", "--log", "file:a"]);
    home.ok(&["send", "bank", "account", "ann", "open", "--log", "file:other"]);
    home.write("b", "a file");
    std::fs::create_dir(home.path("c")).unwrap();
    home.write("c/notes", "mine");
    home.ok(&copy("file:a", "file:d", &["--shards", "2"]));
    for (from, to, more, words) in [
        ("file:a", "file:a", &[] as &[&str], &["the same log"] as &[&str]),
        ("file:a", "file:./x/../a", &[], &["the same log"]),
        ("file:a", "file:other", &[], &["no copy did", "new log"]),
        ("file:a", "file:d", &["--shards", "3"], &["has 2 shards, not 3", "--shards"]),
        ("file:a", "file:d?shards=3", &[], &["has 2 shards, not 3"]),
        ("file:a", "file:c", &[], &["not empty", "notes", "--to"]),
        ("file:a", "memory:", &[], &["memory"]),
        ("memory:", "file:e", &[], &["memory"]),
        ("file:nowhere", "file:e", &[], &["does not exist"]),
        ("file:a", "file:e", &["--check-only"], &["does not exist", "--to"]),
        ("file:a", "file:e", &["--shards", "0"], &["--shards"]),
    ] {
        std::fs::create_dir_all(home.path("x")).unwrap();
        home.run(&copy(from, to, more)).refused(2, words);
        assert!(!home.path("e").exists(), "{from} {to}");
    }
    assert_eq!(home.run(&["log", "copy", "bank", "--log", "file:a"]).code, 2, "--to is missing");
    assert_ne!(home.run(&copy("file:a", "file:b", &[])).code, 0);

    let server = home.start(&["serve", "bank", "--log", "file:d"]);
    home.run(&copy("file:a", "file:d", &[])).refused(2, &["in use", "--to"]);
    server.stop();
    // A server that recorded nothing does no harm.
    assert_eq!(copied(&home, "file:a", "file:d", &[])["check"]["same"], true);
}
