//! The demo: starts, shows itself, stops, and goes on.

use rustix::process::Signal;

use crate::support::{Home, Server, is_sealed};

const DATA: &str = "annals-data/demo";

/// Waits until the customers have opened more than so many accounts, and returns how many are open.
fn busy(server: &Server, more_than: u64) -> u64 {
    let balance = server.get_until("/api/bank/views/trial_balance/bank", |status, balance| {
        status == 200 && balance["open_accounts"].as_u64().unwrap() > more_than
    });
    assert_eq!(balance["total"], 0);
    balance["open_accounts"].as_u64().unwrap()
}

#[test]
fn it_shows_itself_stops_and_goes_on() {
    let home = Home::new();
    let mut server = home.start(&["demo"]);
    let commands = server.wait_for("from another terminal:\n");
    let commands: Vec<&str> = commands.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(commands.len(), 3, "{commands:?}");
    busy(&server, 10);
    // What it says to look at is there.
    let paths = commands.iter().filter_map(|line| line.split_once("http://")?.1.split_once('/'));
    for (_, path) in paths {
        server.get_until(&format!("/{path}"), |status, _| status == 200);
    }
    let events: Vec<&str> = commands[2].split_whitespace().skip(1).collect();
    assert!(!home.ok(&events).out.is_empty());
    server.stop();
    assert!(is_sealed(&home, DATA));

    let count = || home.ok(&["events", "bank", "--log", "file:annals-data/demo", "--json"]).json().len();
    let first = count();
    let server = home.start(&["demo"]);
    assert!(server.output().contains("going on after "), "{}", server.output());
    let opened = busy(&server, 10);
    busy(&server, opened);
    server.stop();
    assert!(count() > first);
    keys_are_without_gaps(&home);
}

#[test]
fn a_kill_loses_and_doubles_nothing() {
    let home = Home::new();
    let mut server = home.start(&["demo", "--rate", "2000", "--seed", "5"]);
    let before = busy(&server, 10);
    server.signal(Signal::KILL);
    assert_eq!(server.ended(), None);
    let server = home.start(&["demo", "--seed", "5"]);
    busy(&server, before);
    server.stop();
    home.ok(&["log", "verify", "--log", "file:annals-data/demo"]);
    keys_are_without_gaps(&home);
}

/// Each of the customers' commands that left an event did so once, and the numbers hold no hole but for the few that
/// were refused or changed nothing.
fn keys_are_without_gaps(home: &Home) {
    let events = home.ok(&["events", "bank", "--log", "file:annals-data/demo", "--json"]).json();
    let key = |event: &serde_json::Value| event["key"].as_str().unwrap_or_default().to_owned();
    let keys = events.iter().map(key).filter(|key| !key.starts_with("saga:"));
    let mut numbers: Vec<u64> = keys.filter_map(|key| key.split_once('-')?.1.parse().ok()).collect();
    let sent = numbers.len() as u64;
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len() as u64, sent, "a command took effect twice");
    let last = *numbers.last().unwrap();
    assert!(sent * 10 > last * 9, "{sent} of {last} left an event");
}

#[test]
fn without_arguments_the_demo_runs() {
    let help = Home::new().ok(&["--help"]).out;
    assert!(help.contains("runs where no command is given"));
    // Started on its own it would listen on the fixed port; a port taken shows which command ran.
    let taken = std::net::TcpListener::bind("127.0.0.1:7400");
    let home = Home::new();
    if taken.is_ok() {
        home.run(&[]).refused(2, &["127.0.0.1:7400", "--listen"]);
    }
}
