//! Wrong use: a clear message, exit code 2, and nothing made or changed.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::Home;

#[test]
fn unknown_names_are_refused_with_those_there_are() {
    let home = Home::new();
    home.ok(&["send", "bank", "account", "ann", "open"]);
    for (arguments, words) in [
        (vec!["fly"], vec!["unrecognized subcommand 'fly'"]),
        (vec!["serve", "--fast"], vec!["unexpected argument '--fast'"]),
        (vec!["state", "shop", "account", "ann"], vec!["'shop'", "possible values: bank"]),
        (vec!["serve", "shop"], vec!["'shop'", "possible values: bank"]),
        (vec!["state", "bank", "acount", "ann"], vec!["\"acount\"", "account", "transfer"]),
        (vec!["send", "bank", "acount", "ann", "open"], vec!["no decider \"acount\"", "there are account"]),
        (vec!["send", "bank", "account", "ann", "fly"], vec!["no command \"fly\"", "deposit"]),
        (vec!["view", "get", "bank", "saldo", "ann"], vec!["no view \"saldo\"", "balance"]),
        (vec!["view", "list", "bank", "saldo"], vec!["no view \"saldo\""]),
        (vec!["view", "rebuild", "bank", "saldo"], vec!["no view \"saldo\""]),
        (vec!["view", "lag", "bank", "saldo"], vec!["no view \"saldo\""]),
        (vec!["view", "get", "bank", "statement", "ann"], vec!["\"ann\" cannot be a key of view statement"]),
        (vec!["events", "bank", "acount/ann"], vec!["\"acount\""]),
        (vec!["events", "bank", "ann"], vec!["write decider/id"]),
        (vec!["events", "bank", "--type", "account.burnt"], vec!["no event type", "account.opened"]),
        (vec!["events", "bank", "--limit", "0"], vec!["0 is not in 1.."]),
        (vec!["state", "bank", "account", "ann", "--at", "yesterday"], vec!["--at <TIME>"]),
        (vec!["state", "bank", "account", "ann", "--version", "x"], vec!["--version"]),
        (vec!["state", "bank", "account", "ann", "--tenant", "A b"], vec!["is not a tenant"]),
        (
            vec!["state", "bank", "account", "ann", "--log", "./x"],
            vec!["write memory:, file:./directory or kafka:"],
        ),
        (
            vec!["state", "bank", "account", "ann", "--log", "memory:"],
            vec!["gone with its process", "--log file:"],
        ),
        (vec!["send", "bank", "account", "ann", "open", "--log", "kafka://"], vec!["names no broker"]),
        (
            vec!["state", "bank", "account", "ann", "--log", "kafka://b:1?acks=1"],
            vec!["no parameter \"acks=1\""],
        ),
        (vec!["serve", "--views", "postgres://h/d"], vec!["not built yet", "sqlite:PATH"]),
        (vec!["serve", "--listen", "0.0.0.0:7400"], vec!["127.0.0.1", "--listen"]),
        (vec!["serve", "--listen", "here"], vec!["\"here\" is not an address", "--listen"]),
        (vec!["demo", "--seed", "x"], vec!["--seed"]),
        (vec!["demo", "--rate", "0"], vec!["--rate"]),
        (vec!["import", "bank"], vec!["<FILES>"]),
        (vec!["import", "bank", "nowhere.ndjson"], vec!["nowhere.ndjson"]),
    ] {
        home.run(&arguments).refused(2, &words);
    }
}

#[test]
fn fields_that_do_not_fit_are_refused() {
    let home = Home::new();
    home.ok(&["send", "bank", "account", "ann", "open"]);
    for (fields, words) in [
        ("{", vec!["deposit does not fit"]),
        ("{}", vec!["deposit does not fit", "amount"]),
        (r#"{"amount":-1}"#, vec!["deposit does not fit"]),
        (r#"{"amount":1,"amonut":2}"#, vec!["no field \"amonut\"", "amount"]),
    ] {
        home.run(&["send", "bank", "account", "ann", "deposit", fields]).refused(2, &words);
    }
    home.run(&["send", "bank", "account", "", "open"]).refused(2, &["is not an id"]);
    home.run(&["send", "bank", "account", "ann", "open", "--key", ""]).refused(2, &["is not a key"]);
    assert_eq!(home.ok(&["events", "bank", "--json"]).json().len(), 1, "nothing was recorded");
}

#[test]
fn an_answer_that_is_no_has_exit_code_1() {
    let home = Home::new();
    home.ok(&["send", "bank", "account", "ann", "open"]);
    let withdraw = ["send", "bank", "account", "ann", "withdraw", r#"{"amount":5}"#, "--json"];
    let refused = home.run(&withdraw);
    refused.refused(1, &["refused (overdrawn)", "0.05 short"]);
    assert_eq!(refused.json()[0]["refusal"]["fields"]["short"], 5);
    home.run(&["send", "bank", "account", "ann", "close", "--expect-version", "7"])
        .refused(1, &["at version 1, not at 7"]);
    home.run(&["state", "bank", "account", "nobody"]).refused(1, &["nothing has happened to account/nobody"]);
    home.run(&["state", "bank", "account", "ann", "--version", "9"]).refused(1, &["has no version 9"]);
    home.run(&["view", "get", "bank", "balance", "nobody"]).refused(1, &["no document \"nobody\""]);
    home.ok(&["send", "bank", "account", "ann", "deposit", r#"{"amount":5}"#, "--key", "k"]);
    home.run(&["send", "bank", "account", "ann", "deposit", r#"{"amount":6}"#, "--key", "k"])
        .refused(1, &["key \"k\" was used for another command"]);
}

#[test]
fn directories_that_hold_no_log_are_left_alone() {
    let home = Home::new();
    std::fs::create_dir(home.path("photos")).unwrap();
    home.write("photos/cat.jpg", "miaow");
    for command in [
        vec!["state", "bank", "account", "ann"],
        vec!["events", "bank"],
        vec!["view", "get", "bank", "balance", "ann"],
        vec!["log", "info"],
        vec!["log", "verify"],
        vec!["log", "rebuild-index"],
    ] {
        let at = |url: &'static str| home.run(&[command.as_slice(), &["--log", url]].concat());
        at("file:photos").refused(2, &["photos", "is not a log directory", "--log"]);
        at("file:nowhere").refused(2, &["nowhere", "--log"]);
    }
    let send = ["send", "bank", "account", "ann", "open", "--log", "file:photos"];
    home.run(&send).refused(2, &["photos is not empty", "--log"]);
    home.run(&["serve", "--listen", "127.0.0.1:0", "--log", "file:photos"])
        .refused(2, &["photos is not empty"]);
    home.run(&["demo", "--listen", "127.0.0.1:0", "--data", "photos"])
        .refused(2, &["photos is not empty", "--data"]);
    let left: Vec<_> = std::fs::read_dir(home.path("photos")).unwrap().collect();
    assert_eq!(left.len(), 1);
    assert!(!home.path("nowhere").exists(), "asking made a directory");
}

#[test]
fn a_log_of_another_context_is_refused() {
    let home = Home::new();
    home.ok(&["send", "bank", "account", "ann", "open", "--log", "file:bank"]);
    // The same log, as if another context had made it: the name stands in the genesis only, so make one.
    let other = annals::context("till");
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let url = format!("file:{}", home.path("till").display());
    drop(runtime.block_on(other.open(&url)).unwrap());
    for command in [
        vec!["send", "bank", "account", "ann", "open"],
        vec!["state", "bank", "account", "ann"],
        vec!["events", "bank"],
        vec!["serve", "bank", "--listen", "127.0.0.1:0"],
    ] {
        home.run(&[command.as_slice(), &["--log", "file:till"]].concat())
            .refused(2, &["\"till\", not of \"bank\"", "--log"]);
    }
    assert_eq!(home.ok(&["events", "bank", "--log", "file:bank", "--json"]).json().len(), 1);
}

/// Whoever may write everywhere (root) cannot be refused, so a file stands where the directory should be as well.
#[test]
fn a_place_that_cannot_be_written_is_refused() {
    let home = Home::new();
    home.write("file", "");
    home.run(&["send", "bank", "account", "ann", "open", "--log", "file:file"]).refused(2, &["file"]);
    home.ok(&["send", "bank", "account", "ann", "open", "--log", "file:log"]);
    let all = |mode| {
        for place in ["log", "log/lock", "log/shard-000", "log/shard-000/00000000000000000000.segment"] {
            std::fs::set_permissions(home.path(place), std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    all(0o555);
    let root = std::fs::File::create(home.path("log/probe")).is_ok();
    if !root {
        home.run(&["send", "bank", "account", "bob", "open", "--log", "file:log"])
            .refused(2, &["cannot be written", "--log"]);
    }
    // Reading needs no right to write, for anybody.
    home.ok(&["state", "bank", "account", "ann", "--log", "file:log"]);
    home.ok(&["view", "get", "bank", "balance", "ann", "--log", "file:log"]);
    home.ok(&["log", "verify", "--log", "file:log"]);
    all(0o755);
}
