//! Imports: every row once, refused rows told, bad rows named, restarts that double nothing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Home, Ran};

fn row(id: &str, command: &str, fields: Value) -> String {
    format!("{}\n", json!({ "decider": "account", "id": id, "command": command, "fields": fields }))
}

/// Accounts that are opened, then get `deposits` deposits of 1 each, in order.
pub fn rows(accounts: usize, deposits: usize) -> String {
    let mut text = String::new();
    for account in 0..accounts {
        text.push_str(&row(&format!("a{account}"), "open", json!({})));
    }
    for _ in 0..deposits {
        for account in 0..accounts {
            text.push_str(&row(&format!("a{account}"), "deposit", json!({ "amount": 1 })));
        }
    }
    text
}

fn report(ran: &Ran) -> [u64; 4] {
    let report = ran.json().pop().unwrap();
    assert!(report["seconds"].is_number() && report["rate_per_s"].is_number(), "{report}");
    ["rows", "accepted", "refused", "repeated"].map(|field| report[field].as_u64().unwrap())
}

fn balance(home: &Home, account: &str) -> Value {
    home.ok(&["state", "bank", "account", account, "--json"]).json()[0]["state"]["balance"].clone()
}

#[test]
fn rows_take_effect_once_and_refused_ones_are_told() {
    let home = Home::new();
    let overdrawn = row("a0", "withdraw", json!({ "amount": 1_000 }));
    home.write("rows", &format!("{}{}", rows(5, 20), overdrawn.repeat(12)));
    let import = ["import", "bank", "rows", "--json", "--refused", "refused"];
    let first = home.ok(&import);
    assert_eq!(report(&first), [117, 105, 12, 0]);
    assert!(
        first.err.contains("refused: rows, row 106: withdraw account/a0: ")
            && first.err.contains("2 rows more"),
        "{first:?}"
    );
    let refused = std::fs::read_to_string(home.path("refused")).unwrap();
    let refused: Vec<Value> = refused.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (refused.len(), &refused[11]["row"], &refused[0]["refusal"]["name"]),
        (12, &json!(117), &json!("overdrawn"))
    );
    assert_eq!((balance(&home, "a0"), balance(&home, "a4")), (json!(20), json!(20)));
    // Again: the same answers, and no effect.
    assert_eq!(report(&home.ok(&import)), [117, 105, 12, 105]);
    assert_eq!(balance(&home, "a0"), 20);
    assert!(home.ok(&["import", "bank", "rows"]).out.contains("refused:    12\n"));
}

#[test]
fn rows_carry_what_is_around_them() {
    let home = Home::new();
    let open = json!({ "decider": "account", "id": "ann", "command": "open", "key": "mine", "actor": "clerk",
        "occurred_at": "2020-02-29T12:00:00Z", "tenant": "acme" });
    let ran = home.run_with(&["import", "bank", "-", "--json"], &open.to_string());
    assert_eq!((ran.code, report(&ran)), (0, [1, 1, 0, 0]), "{ran:?}");
    let event = home.ok(&["events", "bank", "acme:account/ann", "--json"]).json().remove(0);
    assert_eq!(
        (&event["key"], &event["actor"], &event["occurred_at"]),
        (&json!("mine"), &json!("clerk"), &json!("2020-02-29T12:00:00Z"))
    );
}

#[test]
fn a_bad_row_stops_it_and_nothing_is_lost() {
    let home = Home::new();
    for (bad, word) in [
        ("{\"decider\":", "EOF"),
        (r#"{"decider":"acount","id":"a","command":"open"}"#, "no decider"),
        (r#"{"decider":"account","id":"a","command":"fly"}"#, "no command"),
        (
            r#"{"decider":"account","id":"a","command":"deposit","fields":{"amount":"x"}}"#,
            "deposit does not fit",
        ),
        (r#"{"decider":"account","id":"a","command":"open","colour":"red"}"#, "colour"),
        (r#"{"decider":"account","id":"","command":"open"}"#, "is not an id"),
        (r#"{"decider":"account","id":"a","command":"open","key":""}"#, "is not a key"),
        (r#"{"decider":"account","id":"a","command":"open","tenant":"A"}"#, "is not a tenant"),
    ] {
        home.write("rows", &format!("{}{bad}\n{}", rows(1, 2), row("late", "open", json!({}))));
        home.run(&["import", "bank", "rows"]).refused(2, &["rows, row 4: ", word, "start again"]);
        assert_eq!(home.run(&["state", "bank", "account", "late"]).code, 1, "it went on after a bad row");
    }
    let before = balance(&home, "a0").as_u64().unwrap();
    home.write("rows", &rows(1, 2));
    home.ok(&["import", "bank", "rows"]);
    assert_eq!(balance(&home, "a0"), before + 2);
}

#[test]
fn a_kill_halfway_doubles_nothing() {
    let home = Home::new();
    home.write("rows", &rows(50, 400));
    let mut child = home.command(&["import", "bank", "rows"]).spawn().unwrap();
    while !home.path("annals-data/bank/views.sqlite").exists() {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(150));
    child.kill().unwrap();
    child.wait().unwrap();
    let before = home.ok(&["events", "bank", "--json"]).json().len();
    assert!(before < 20_050, "the kill came too late to show anything");
    let again = report(&home.ok(&["import", "bank", "rows", "--json"]));
    assert_eq!((again[0], again[1], again[3]), (20_050, 20_050, before as u64));
    assert_eq!(home.ok(&["events", "bank", "--json"]).json().len(), 20_050);
    assert_eq!(home.ok(&["log", "verify", "--json"]).json()[0]["sound"], true);
    for account in ["a0", "a49"] {
        assert_eq!(balance(&home, account), 400);
    }
}

#[test]
fn it_goes_through_a_running_server() {
    let home = Home::new();
    let server = home.start(&["serve"]);
    let overdrawn = row("a0", "withdraw", json!({ "amount": 1_000 }));
    home.write("rows", &format!("{}{overdrawn}", rows(20, 30)));
    let import = ["import", "bank", "rows", "--json", "--refused", "refused", "--progress"];
    let first = home.ok(&import);
    assert_eq!(report(&first), [621, 620, 1, 0]);
    assert!(first.err.contains("refused: rows, row 621: "));
    assert_eq!(server.get("/api/bank/account/a19").1["state"]["balance"], 30);
    server.stop();
    // The log's owner now: the same keys, and so the same answers.
    assert_eq!(report(&home.ok(&import)), [621, 620, 1, 620]);
    home.write("bad", &format!("{}{{}}\n", rows(1, 1)));
    let server = home.start(&["serve"]);
    home.run(&["import", "bank", "bad"]).refused(2, &["bad, row 3: "]);
    server.stop();
}
