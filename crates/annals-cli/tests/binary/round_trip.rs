//! Commands in, and everything that can be asked about them.

use serde_json::json;

use crate::support::{Home, is_sealed};

#[test]
fn what_is_sent_can_be_asked_for() {
    let home = Home::new();
    home.ok(&["send", "bank", "account", "ann", "open"]);
    home.ok(&["send", "bank", "account", "bob", "open"]);
    let deposit = [
        "send",
        "bank",
        "account",
        "ann",
        "deposit",
        r#"{"amount":500}"#,
        "--key",
        "d1",
        "--actor",
        "teller",
        "--json",
    ];
    let receipt = home.ok(&deposit).json().remove(0);
    assert_eq!(
        (&receipt["version"], &receipt["events"], &receipt["repeated"]),
        (&json!(2), &json!(1), &json!(false))
    );
    let again = home.ok(&deposit).json().remove(0);
    assert_eq!((&again["position"], &again["repeated"]), (&receipt["position"], &json!(true)));
    // The saga follows up before the command ends.
    home.ok(&["send", "bank", "account", "ann", "send", r#"{"to":"bob","amount":200}"#]);

    let state = |arguments: &[&str]| {
        let base = ["state", "bank", "account", "ann", "--json"];
        home.ok(&[&base, arguments].concat()).json().remove(0)
    };
    assert_eq!(state(&[])["state"]["balance"], 300);
    assert_eq!(
        (&state(&["--version", "2"])["state"]["balance"], &state(&["--version", "1"])["version"]),
        (&json!(500), &json!(1))
    );
    let events = home.ok(&["events", "bank", "account/ann", "--json"]).json();
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["account.opened", "account.deposited", "account.held", "account.posted"]);
    assert_eq!(events[1]["actor"], "teller");
    let at = events[1]["recorded_at"].as_str().unwrap();
    assert_eq!(state(&["--at", at])["version"], 2);

    let all = home.ok(&["events", "bank", "--json"]).json();
    assert!(all.len() > events.len(), "other streams too");
    let opened = home.ok(&["events", "bank", "--type", "account.opened", "--json"]).json();
    assert_eq!(
        opened.iter().map(|event| &event["stream"]).collect::<Vec<_>>(),
        ["account/ann", "account/bob"]
    );
    assert_eq!(home.ok(&["events", "bank", "--limit", "3", "--json"]).json(), all[..3]);

    assert_eq!(home.ok(&["view", "get", "bank", "balance", "bob", "--json"]).json()[0]["balance"], 200);
    let list = home.ok(&["view", "list", "bank", "balance", "--json"]).json();
    assert_eq!(list.iter().map(|entry| &entry["key"]).collect::<Vec<_>>(), ["ann", "bob"]);
    let page =
        home.ok(&["view", "list", "bank", "balance", "--limit", "1", "--cursor", "ann", "--json"]).json();
    assert_eq!(page, list[1..]);
    assert_eq!(home.ok(&["view", "list", "bank", "--json"]).json().len(), 3);
}

#[test]
fn text_for_people_says_the_same() {
    let home = Home::new();
    let sent = home.ok(&["send", "bank", "account", "ann", "open", "--key", "k"]).out;
    assert_eq!(sent, "account/ann is at version 1: 1 event at 0-2-0 (key k)\n");
    let events = home.ok(&["events", "bank"]).out;
    assert!(
        events.starts_with("0-2-0 ") && events.ends_with("account/ann v1 account.opened {\"overdraft\":0}\n")
    );
    assert!(home.ok(&["state", "bank", "account", "ann"]).out.starts_with("account/ann at version 1\n{\n"));
    assert!(home.ok(&["log", "verify"]).out.ends_with("\nsound\n"));
}

#[test]
fn tenants_are_apart() {
    let home = Home::new();
    home.ok(&["send", "bank", "account", "ann", "open", "--tenant", "acme"]);
    assert_eq!(home.run(&["state", "bank", "account", "ann"]).code, 1);
    let state = home.ok(&["state", "bank", "account", "ann", "--tenant", "acme", "--json"]).json();
    assert_eq!(state[0]["stream"], "acme:account/ann");
    assert_eq!(home.ok(&["events", "bank", "acme:account/ann", "--json"]).json().len(), 1);
    assert_eq!(home.run(&["view", "get", "bank", "balance", "ann"]).code, 1);
    home.ok(&["view", "get", "bank", "balance", "ann", "--tenant", "acme"]);
}

#[test]
fn views_lag_and_are_folded_anew() {
    let home = Home::new();
    home.ok(&["send", "bank", "account", "ann", "open"]);
    let lag = || home.ok(&["view", "lag", "bank", "balance", "--json"]).json().remove(0);
    assert!(lag()["records"].as_u64().unwrap() > 0 && lag()["state"] == "never folded");
    home.ok(&["view", "get", "bank", "balance", "ann"]);
    assert_eq!((&lag()["records"], &lag()["seconds"]), (&json!(0), &json!(0.0)));
    let rebuilt = home.ok(&["view", "rebuild", "bank", "balance", "--json"]).json().remove(0);
    assert!(rebuilt["records"].as_u64().unwrap() > 2);
    home.ok(&["view", "get", "bank", "balance", "ann"]);
}

#[test]
fn a_log_tells_what_it_holds_and_whether_it_is_sound() {
    let home = Home::new();
    home.ok(&["send", "bank", "account", "ann", "open", "--log", "file:here?shards=3"]);
    let info = home.ok(&["log", "info", "--log", "file:here", "--json"]).json().remove(0);
    assert_eq!((&info["context"], info["shards"].as_array().unwrap().len()), (&json!("bank"), 3));
    assert!(is_sealed(&home, "here"));
    let sound = home.ok(&["log", "verify", "--log", "file:here", "--json"]).json().remove(0);
    assert_eq!(sound["sound"], true);
    let events: u64 =
        sound["shards"].as_array().unwrap().iter().map(|shard| shard["events"].as_u64().unwrap()).sum();
    assert_eq!(events, 1);

    // Damage one byte of an envelope: told with its place, exit code 1.
    let shard = (0..3).find(|shard| sound["shards"][shard]["events"] == 1).unwrap();
    let segment = home.path(&format!("here/shard-00{shard}/00000000000000000000.segment"));
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(11).position(|window| window == b"account/ann").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let damaged = home.run(&["log", "verify", "--log", "file:here", "--json"]);
    damaged.refused(1, &["damaged"]);
    let found = damaged.json().remove(0);
    let place = found["shards"][shard]["damage"][0].as_str().unwrap().to_owned();
    assert!(place.contains("segment byte"), "{place}");
    home.run(&["log", "verify", "--log", "file:here"]).refused(1, &["damaged"]);
}

#[test]
fn indexes_are_made_again() {
    let home = Home::new();
    home.ok(&["send", "bank", "account", "ann", "open"]);
    let index = home.path("annals-data/bank/shard-000/00000000000000000000.index");
    std::fs::remove_file(&index).unwrap();
    home.ok(&["log", "rebuild-index"]);
    assert!(index.exists());
    assert_eq!(home.ok(&["log", "verify", "--json"]).json()[0]["shards"][0]["index_problems"], json!([]));
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    use std::process::Stdio;
    let home = Home::new();
    let rows: String = (0..3000)
        .map(|n| format!("{{\"decider\":\"account\",\"id\":\"a{n}\",\"command\":\"open\"}}\n"))
        .collect();
    home.write("rows", &rows);
    home.ok(&["import", "bank", "rows"]);
    let mut child =
        home.command(&["events", "bank"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty() && output.status.success(), "{output:?}");
}
