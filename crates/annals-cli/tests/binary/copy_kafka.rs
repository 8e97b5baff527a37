//! Copies of a log to a real broker and back.

use std::process::Stdio;
use std::time::Duration;

use annals_services::shared_kafka;
use serde_json::json;

use crate::copy::{copied, copy, report, same};
use crate::import::rows;
use crate::support::Home;

const STREAMS: [&str; 3] = ["account/a0", "account/a7", "account/a49"];

#[test]
fn there_and_back_it_is_the_same_history() {
    let Some(kafka) = shared_kafka("copy_kafka::there_and_back_it_is_the_same_history") else { return };
    let home = Home::new();
    home.write("rows", &rows(50, 100));
    home.ok(&["import", "bank", "rows", "--log", "file:a"]);
    home.ok(&["send", "bank", "account", "a0", "send", r#"{"to":"a7","amount":2}"#, "--log", "file:a"]);
    let deposit = ["send", "bank", "account", "a7", "deposit", r#"{"amount":7}"#, "--key", "k", "--json"];
    let first = home.ok(&[deposit.as_slice(), &["--log", "file:a"]].concat()).json().remove(0);

    let at = |data: &str| format!("{}/there-and-back?shards=8&data=./{data}", kafka.url());
    let (there, elsewhere) = (at("k"), at("other"));
    // Killed on the way, twice, and gone on with; the second time by a program that has another replica.
    for (ms, url) in [(700, &there), (900, &elsewhere)] {
        let mut command = home.command(&copy("file:a", url, &["--no-check"]));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(ms));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let rest = copied(&home, "file:a", &there, &[]);
    let all = rest["found"].as_u64().unwrap() + rest["records"].as_u64().unwrap();
    assert!(all > 5_000, "{rest}");
    assert_eq!((&rest["shards_to"], &rest["check"]["same"]), (&json!(8), &json!(true)), "{rest}");
    assert_eq!(rest["check"]["records"], all);
    same(&home, "file:a", &there, &STREAMS);

    // A key is answered there as it was answered before.
    let repeated = home.ok(&[deposit.as_slice(), &["--log", &there]].concat()).json().remove(0);
    assert_eq!((&repeated["version"], &repeated["repeated"]), (&first["version"], &json!(true)));

    let back = copied(&home, &there, "file:b", &["--shards", "1"]);
    assert_eq!((&back["records"], &back["check"]["same"]), (&json!(all), &json!(true)), "{back}");
    same(&home, "file:a", "file:b", &STREAMS);
    let nothing = report(&home.run(&copy("file:a", "file:b", &["--check-only", "--json"])));
    assert_eq!((&nothing["check"]["same"], &nothing["check"]["records"]), (&json!(true), &json!(all)));
}

#[test]
fn another_log_on_kafka_is_refused() {
    let Some(kafka) = shared_kafka("copy_kafka::another_log_on_kafka_is_refused") else { return };
    let home = Home::new();
    let url = format!("{}/refused?data=./k", kafka.url());
    home.ok(&["send", "bank", "account", "ann", "open", "--log", "file:a"]);
    home.ok(&["send", "bank", "account", "bob", "open", "--log", &url]);
    let refused = home.run(&copy("file:a", &url, &[]));
    assert!(refused.code == 2 && refused.err.contains("and no copy did"), "{refused:?}");
    // What was there is there.
    assert_eq!(home.ok(&["events", "bank", "account/bob", "--log", &url, "--json"]).json().len(), 1);
}

/// What a copy leaves that was killed right after it made the topic.
#[test]
fn a_topic_without_anything_in_it_is_gone_on_with() {
    let Some(kafka) = shared_kafka("copy_kafka::a_topic_without_anything_in_it_is_gone_on_with") else {
        return;
    };
    let settings = ["retention.ms=-1", "max.message.bytes=9437184", "unclean.leader.election.enable=false"];
    let mut create = vec!["--bootstrap-server", kafka.bootstrap(), "--create", "--partitions", "3"];
    create.extend(["--topic", "begun.bank.journal"]);
    create.extend(settings.iter().flat_map(|setting| ["--config", setting]));
    kafka.tool("org.apache.kafka.tools.TopicCommand", &create).unwrap();

    let home = Home::new();
    home.ok(&["send", "bank", "account", "a0", "open", "--log", "file:a"]);
    let url = format!("{}/begun?data=./k", kafka.url());
    let events = ["events", "bank", "--log", &url];
    home.run(&events).refused(2, &["begun.bank.journal is no log yet, partition 0", "for writing once"]);
    let copied = copied(&home, "file:a", &url, &[]);
    assert_eq!((&copied["shards_to"], &copied["check"]["same"]), (&json!(3), &json!(true)), "{copied}");
    same(&home, "file:a", &url, &["account/a0"]);
}
