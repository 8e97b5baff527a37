//! A running server, and the commands that work beside it and through it.

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Home, is_sealed};

#[test]
fn commands_go_through_the_server_that_has_the_log() {
    let home = Home::new();
    let server = home.start(&["serve"]);
    assert!(home.path("annals-data/bank/annals.sock").exists());
    let sent = home.ok(&["send", "bank", "account", "ann", "open", "--json"]).json().remove(0);
    assert_eq!(sent["version"], 1);
    home.ok(&["send", "bank", "account", "bob/ä b", "open"]);
    home.ok(&[
        "send",
        "bank",
        "account",
        "ann",
        "deposit",
        r#"{"amount":7}"#,
        "--expect-version",
        "1",
        "--actor",
        "Jürgen",
    ]);
    assert_eq!(server.get("/api/bank/account/ann").1["state"]["balance"], 7);
    // What was just sent is seen, whichever way it is asked for.
    assert_eq!(home.ok(&["view", "get", "bank", "balance", "ann", "--json"]).json()[0]["balance"], 7);
    assert_eq!(home.ok(&["state", "bank", "account", "ann", "--json"]).json()[0]["version"], 2);
    assert_eq!(home.ok(&["events", "bank", "account/ann", "--json"]).json()[1]["actor"], "Jürgen");
    let keys = home.ok(&["view", "list", "bank", "balance", "--json"]).json();
    assert_eq!(keys.iter().map(|entry| &entry["key"]).collect::<Vec<_>>(), ["ann", "bob/ä b"]);
    assert_eq!(
        home.ok(&["view", "list", "bank", "balance", "--prefix", "bob/ä", "--json"]).json(),
        keys[1..]
    );
    let listed = |conditions: &[&str]| -> Vec<String> {
        let listed = home.ok(&[&["view", "list", "bank", "balance", "--json"], conditions].concat()).json();
        listed.iter().map(|entry| entry["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed(&["--where", "balance>=7", "--where", "status=open"]), ["ann"]);
    assert_eq!(listed(&["--order", "-balance"]), ["ann", "bob/ä b"]);
    assert_eq!(listed(&["--order", "balance", "--limit", "1"]), ["bob/ä b"]);
    home.run(&["view", "list", "bank", "balance", "--order", "colour"])
        .refused(2, &["no index on \"colour\""]);
    let lag = home.ok(&["view", "lag", "bank", "--json"]).json();
    assert_eq!((lag.len(), &lag[0]["state"]), (3, &json!("live")));
    home.ok(&["log", "verify"]);
    home.ok(&["log", "info"]);
    server.stop();
    // The same from the files, with no server.
    assert_eq!(listed(&["--where", "balance>=7", "--where", "status=open"]), ["ann"]);
    home.run(&["view", "list", "bank", "balance", "--order", "colour"])
        .refused(2, &["no index on \"colour\""]);
    assert!(is_sealed(&home, "annals-data/bank") && !home.path("annals-data/bank/annals.sock").exists());
}

#[test]
fn answers_that_are_no_come_through_the_server_too() {
    let home = Home::new();
    let server = home.start(&["serve"]);
    home.ok(&["send", "bank", "account", "ann", "open"]);
    let withdraw = ["send", "bank", "account", "ann", "withdraw", r#"{"amount":5}"#, "--json"];
    let refused = home.run(&withdraw);
    refused.refused(1, &["refused (overdrawn)"]);
    assert_eq!(refused.json()[0]["refusal"]["fields"]["short"], 5);
    home.run(&["send", "bank", "account", "ann", "close", "--expect-version", "7"]).refused(1, &["not at 7"]);
    home.run(&["send", "bank", "account", "ann", "fly"]).refused(2, &["no command \"fly\""]);
    home.run(&["view", "get", "bank", "balance", "nobody"]).refused(1, &["no document"]);
    home.run(&["log", "rebuild-index"]).refused(2, &["in use by process", "--log"]);
    home.run(&["serve", "--listen", "127.0.0.1:0"]).refused(2, &["in use by process", "--log"]);
    let port = server.get("/healthz");
    assert_eq!(port, (200, json!("ok\n")));
    server.stop();
}

#[test]
fn a_port_in_use_is_told_before_anything_is_opened() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for command in ["serve", "demo"] {
        home.run(&[command, "--listen", &address]).refused(2, &[&address, "another program", "--listen"]);
    }
    assert!(!home.path("annals-data").exists());
}

#[test]
fn a_socket_left_by_a_kill_is_replaced() {
    let home = Home::new();
    let mut server = home.start(&["serve"]);
    home.ok(&["send", "bank", "account", "ann", "open"]);
    server.signal(Signal::KILL);
    assert_eq!(server.ended(), None);
    assert!(home.path("annals-data/bank/annals.sock").exists(), "a kill leaves it");
    // Nobody answers: the commands open the log themselves.
    home.ok(&["send", "bank", "account", "bob", "open"]);
    let server = home.start(&["serve"]);
    home.ok(&["send", "bank", "account", "cid", "open"]);
    assert_eq!(server.get("/api/bank/account/cid").0, 200);
    server.stop();
    assert_eq!(home.ok(&["events", "bank", "--json"]).json().len(), 3);
}

#[test]
fn sigterm_stops_cleanly_too() {
    let home = Home::new();
    let mut server =
        home.start(&["serve", "bank", "--log", "file:here", "--views", "sqlite:elsewhere.sqlite"]);
    home.ok(&["send", "bank", "account", "ann", "open", "--log", "file:here"]);
    server.get_until("/api/bank/views/balance/ann", |status, _| status == 200);
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0), "{}", server.errors());
    assert!(is_sealed(&home, "here"));
    assert!(home.path("elsewhere.sqlite").exists() && !home.path("here/views.sqlite").exists());
}

/// A request that never ends holds up the clean end; whoever is in a hurry asks twice.
#[test]
fn a_second_signal_ends_it_at_once() {
    use std::io::Write as _;
    let home = Home::new();
    let mut server = home.start(&["serve"]);
    home.ok(&["send", "bank", "account", "ann", "open"]);
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    let head = "POST /api/bank/account/ann/close HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    stream.write_all(format!("{head}Content-Length: 2\r\n\r\n{{").as_bytes()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    server.signal(Signal::INT);
    server.wait_for_error("Ctrl-C again ends at once");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!server.has_ended(), "{}", server.errors());
    server.signal(Signal::INT);
    assert_eq!(server.ended(), Some(130));
    assert_eq!(home.ok(&["events", "bank", "--json"]).json().len(), 1);
}

#[test]
fn events_are_followed_beside_a_server() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;
    let home = Home::new();
    let server = home.start(&["serve"]);
    home.ok(&["send", "bank", "account", "ann", "open"]);
    let deposit = || home.ok(&["send", "bank", "account", "ann", "deposit", r#"{"amount":1}"#]);
    for (deposits, stream) in [(1, None), (2, Some("account/ann"))] {
        if deposits == 1 {
            deposit();
        }
        let limit = (deposits + 1).to_string();
        let mut arguments = vec!["events", "bank", "--follow", "--json", "--type", "account.deposited"];
        arguments.extend(["--limit", &limit]);
        arguments.extend(stream);
        let mut follower = home.command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        let mut version = || {
            let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            line["version"].as_u64().unwrap()
        };
        // What was there, then what comes while it follows.
        for before in 0..deposits {
            assert_eq!(version(), before + 2);
        }
        home.ok(&["send", "bank", "account", stream.unwrap_or("bob"), "open"]);
        deposit();
        assert_eq!(version(), deposits + 2);
        assert!(follower.wait().unwrap().success(), "it ends after --limit");
    }
    server.stop();
}

#[test]
fn a_view_is_rebuilt_beside_the_server_and_without_one() {
    let home = Home::new();
    let server = home.start(&["serve"]);
    home.ok(&["send", "bank", "account", "ann", "open"]);
    let rebuilt = home.ok(&["view", "rebuild", "bank", "balance", "--compare", "--keep", "--json"]).json();
    assert_eq!((&rebuilt[0]["phase"], &rebuilt[0]["to"]), (&json!("done"), &json!("balance@1.2")));
    assert_eq!(rebuilt[0]["compared"]["differing"], 0);
    let builds = home.ok(&["view", "builds", "bank", "balance"]).out;
    assert!(
        builds.starts_with("balance@1: kept\nbalance@1.2: live\n") && builds.contains("done"),
        "{builds}"
    );
    home.run(&["view", "cancel", "bank", "balance"]).refused(1, &["no rebuild"]);
    let waits = ["view", "rebuild", "bank", "balance", "--swap", "when-told", "--json"];
    assert_eq!(home.ok(&waits).json()[0]["phase"], "ready");
    home.run(&["view", "rebuild", "bank", "balance"]).refused(1, &["being rebuilt already"]);
    home.ok(&["view", "swap", "bank", "balance"]);
    let live = || home.ok(&["view", "builds", "bank", "balance"]).out.contains("balance@1.3: live");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !live() {
        assert!(std::time::Instant::now() < until, "the swap takes more than a minute");
    }
    assert_eq!(home.ok(&["view", "get", "bank", "balance", "ann", "--json"]).json()[0]["status"], "open");
    assert_eq!(home.ok(&["view", "aside", "bank", "balance"]).out, "");
    assert!(home.ok(&["view", "retry", "bank", "balance"]).out.starts_with("0 events taken in"));
    home.run(&["view", "drop-event", "bank", "balance", "account/ann"]).refused(1, &["not parked"]);
    server.stop();
    // The same on the files, where nobody has them open.
    home.ok(&["view", "drop-build", "bank", "balance", "balance@1"]);
    home.run(&["view", "drop-build", "bank", "balance", "balance@1.3"]).refused(1, &["no build"]);
    home.run(&["view", "pause", "bank", "balance"]).refused(1, &["running program"]);
    home.run(&["view", "rebuild", "bank", "balance", "--compare"]).refused(2, &["--compare"]);
    let rebuilt = home.ok(&["view", "rebuild", "bank", "balance", "--json"]).json();
    assert!(rebuilt[0]["records"].as_u64().unwrap() >= 3);
    assert_eq!(home.ok(&["view", "builds", "bank", "balance"]).out, "balance@1.4: live\n");
    assert_eq!(home.ok(&["view", "aside", "bank", "balance"]).out, "");
    assert!(home.ok(&["view", "retry", "bank", "balance"]).out.starts_with("0 events taken in"));
    home.run(&["view", "drop-event", "bank", "balance", "account/ann"]).refused(1, &["parked"]);
    assert_eq!(home.ok(&["view", "get", "bank", "balance", "ann", "--json"]).json()[0]["status"], "open");
}

#[test]
fn an_entity_is_compared_rolled_back_and_tried_otherwise() {
    let home = Home::new();
    let deposit = |amount: u32| {
        let fields = format!("{{\"amount\":{amount}}}");
        home.ok(&["send", "bank", "account", "ann", "deposit", &fields]);
    };
    home.ok(&["send", "bank", "account", "ann", "open"]);
    deposit(5);
    deposit(7);
    let ann = ["bank", "account", "ann"];
    let run = |command: &str, rest: &[&str]| home.ok(&[&[command], &ann[..], rest].concat());
    let event = home.ok(&["events", "bank", "account/ann", "--json"]).json().remove(1);
    let then = event["recorded_at"].as_str().unwrap();
    let document = home.ok(&["view", "get", "bank", "balance", "ann", "--at", then, "--json"]).json();
    assert_eq!(document[0]["balance"], 5);
    let diff = run("diff", &["--from", "2"]);
    assert!(diff.out.contains("/balance: 5 -> 12") && diff.out.contains("account.deposited"), "{}", diff.out);
    assert_eq!(run("diff", &["--to", "1", "--json"]).json()[0]["changes"][0]["path"], "/status");
    let what_if = run("what-if", &["--drop", "2", "--insert", "3=account.deposited:{\"amount\":100}"]);
    assert!(what_if.out.contains("/balance: 12 -> 107"), "{}", what_if.out);
    home.run(&[&["what-if"], &ann[..], &["--drop", "9"]].concat()).refused(2, &["versions 1 to 3"]);
    home.run(&[&["what-if"], &ann[..], &["--replace", "x"]].concat()).refused(2, &["N=JSON"]);
    let preview = run("rollback", &["--to", "2", "--preview"]).out;
    assert!(preview.contains("+ account.corrected {\"by\":-7}"), "{preview}");
    // Without a server, and with one.
    let rolled = run("rollback", &["--to", "2", "--reason", "a mistake", "--key", "r1", "--json"]).json();
    assert_eq!((&rolled[0]["version"], &rolled[0]["repeated"]), (&json!(4), &json!(false)));
    let server = home.start(&["serve"]);
    let again = run("rollback", &["--to", "2", "--reason", "a mistake", "--key", "r1", "--json"]).json();
    assert_eq!((&again[0]["version"], &again[0]["repeated"]), (&json!(4), &json!(true)));
    let preview = run("rollback", &["--to", "3", "--preview", "--json"]).json();
    assert_eq!(preview[0]["state"]["balance"], 12);
    run("rollback", &["--to", "3", "--actor", "root"]);
    assert_eq!(server.get("/api/bank/account/ann").1["state"]["balance"], 12);
    home.run(&[&["rollback"], &ann[..], &["--to", "0"]].concat()).refused(1, &["no account"]);
    server.stop();
}
