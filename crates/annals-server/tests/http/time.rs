//! Time travel over HTTP: differences, rollbacks, what-ifs.

use serde_json::{Value, json};

use crate::bank::Bank;
use crate::client::{Answer, get, send, send_with};

/// An account with 7 cents at version 3: opened, 10 in, 3 out.
async fn account(bank: &Bank) {
    for (command, fields) in
        [("open", ""), ("deposit", r#"{"amount":{"cents":10}}"#), ("withdraw", r#"{"amount":{"cents":3}}"#)]
    {
        send(&bank.router, &format!("account/ann/{command}"), fields).await.ok();
    }
}

async fn post(bank: &Bank, act: &str, body: Value, headers: &[(&str, &str)]) -> Answer {
    send_with(&bank.router, &format!("account/ann/{act}"), &body.to_string(), headers).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_moments_are_compared() {
    let bank = Bank::open();
    account(&bank).await;
    let diff = async |query: &str| get(&bank.router, &format!("/api/bank/account/ann/diff{query}")).await;
    let found = diff("?from=1&to=3").await.ok();
    assert_eq!(found["changes"], json!([{ "path": "/balance/cents", "before": 0, "after": 7 }]));
    assert_eq!((&found["from"]["version"], &found["to"]["version"]), (&json!(1), &json!(3)));
    let names: Vec<&str> =
        found["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(names, ["account.deposited", "account.withdrawn"]);
    // From the beginning to now, backwards, and between times.
    assert_eq!(diff("").await.ok()["changes"].as_array().unwrap().len(), 2);
    let back = diff("?from=3&to=2").await.ok();
    assert_eq!(back["changes"], json!([{ "path": "/balance/cents", "before": 7, "after": 10 }]));
    assert_eq!(diff("?from=1970-01-01T00:00:00Z&to=now").await.ok()["from"]["version"], 0);
    assert_eq!(diff("?from=3").await.ok()["events"], json!([]));
    diff("?from=4").await.problem(404, "no-version");
    diff("?from=yesterday").await.problem(400, "invalid-parameter");
    diff("?form=1").await.problem(400, "invalid-parameter");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_previewed_and_done_and_both_are_history() {
    let bank = Bank::open();
    account(&bank).await;
    let preview = post(&bank, "rollback", json!({ "to": 2, "preview": true }), &[]).await.ok();
    let planned = json!([{ "type": "account.deposited", "data": { "amount": { "cents": 3 } } }]);
    assert_eq!((&preview["events"], &preview["remaining"]), (&planned, &json!([])));
    assert_eq!((&preview["version"], &preview["state"]["balance"]["cents"]), (&json!(3), &json!(10)));
    assert_eq!(get(&bank.router, "/api/bank/account/ann").await.ok()["version"], 3, "nothing was written");

    let around = [("idempotency-key", "back-1"), ("x-annals-actor", "root")];
    let body = json!({ "to": 2, "reason": "the withdrawal was a mistake" });
    let done = post(&bank, "rollback", body.clone(), &around).await.ok();
    assert_eq!((&done["version"], &done["events"], &done["repeated"]), (&json!(4), &json!(1), &json!(false)));
    let state = |version: &str| {
        let router = bank.router.clone();
        let uri = format!("/api/bank/account/ann{version}");
        async move { get(&router, &uri).await.ok()["state"]["balance"]["cents"].clone() }
    };
    assert_eq!((state("").await, state("?version=3").await), (json!(10), json!(7)));
    let history = get(&bank.router, "/api/bank/account/ann/events?after=3").await.ok();
    let event = &history["events"][0];
    assert_eq!((&event["actor"], &event["command"]), (&json!("root"), &json!("annals.rollback")));
    // The same once more: the first answer, whatever has happened since.
    send(&bank.router, "account/ann/deposit", r#"{"amount":{"cents":999990}}"#).await.ok();
    let again = post(&bank, "rollback", body, &around).await.ok();
    assert_eq!((&again["version"], &again["repeated"]), (&json!(4), &json!(true)));
    post(&bank, "rollback", json!({ "to": 1 }), &around).await.problem(422, "key-reused");
    // Now the decider says no.
    post(&bank, "rollback", json!({ "to": 2, "preview": true }), &[]).await.problem(409, "not-possible");
    let no = [("idempotency-key", "back-2")];
    let refused = post(&bank, "rollback", json!({ "to": 2 }), &no).await.problem(422, "refused");
    assert_eq!(refused["refusal"]["fields"]["balance"]["cents"], 1_000_000, "{refused}");
    // That is its answer for ever, whatever is possible later.
    send(&bank.router, "account/ann/withdraw", r#"{"amount":{"cents":1}}"#).await.ok();
    post(&bank, "rollback", json!({ "to": 2 }), &no).await.problem(422, "refused");
    post(&bank, "rollback", json!({ "to": 2 }), &[]).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_is_not_whole_has_to_be_wanted() {
    let bank = Bank::open();
    account(&bank).await;
    let partial = post(&bank, "rollback", json!({ "to": 0 }), &[]).await.problem(409, "not-possible");
    assert_eq!(partial["remaining"], json!([{ "path": "/open", "before": true, "after": false }]));
    let wrong = post(&bank, "rollback", json!({ "to": 0, "partial": true }), &[("if-match", "\"2\"")]).await;
    wrong.problem(412, "version-mismatch");
    let done =
        post(&bank, "rollback", json!({ "to": 0, "partial": true }), &[("if-match", "\"3\"")]).await.ok();
    assert_eq!(done["version"], 4);
    // Where nothing is to be done, nothing is.
    let nothing = post(&bank, "rollback", json!({ "to": 4 }), &[]).await.ok();
    assert_eq!((&nothing["version"], &nothing["events"]), (&json!(4), &json!(0)));
    post(&bank, "rollback", json!({ "to": 5 }), &[]).await.problem(404, "no-version");
    for body in [json!({}), json!({ "to": -1 }), json!({ "to": 1, "dry": true })] {
        post(&bank, "rollback", body, &[]).await.problem(400, "invalid-fields");
    }
    let saga = send_with(&bank.router, "watch/x/rollback", r#"{"to":0}"#, &[]).await;
    saga.problem(404, "unknown-decider");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_is_told_and_nothing_written() {
    let bank = Bank::open();
    account(&bank).await;
    let ask = async |edits: Value| post(&bank, "what-if", json!({ "edits": edits }), &[]).await;
    let cents = |answer: &Value| answer["other"]["state"]["balance"]["cents"].clone();
    let amount = |cents: u64| json!({ "amount": { "cents": cents } });
    let found = ask(json!([{ "drop": { "version": 3 } }])).await.ok();
    assert_eq!(
        (cents(&found), &found["real"]["version"], &found["other"]["version"]),
        (json!(10), &json!(3), &json!(2))
    );
    assert_eq!(found["changes"], json!([{ "path": "/balance/cents", "before": 7, "after": 10 }]));
    let replaced = ask(json!([{ "replace": { "version": 2, "data": amount(50) } }])).await.ok();
    assert_eq!(cents(&replaced), json!(47));
    let inserted = json!([
        { "insert": { "after": 3, "type": "account.deposited", "data": amount(1) } },
        { "insert": { "after": 3, "type": "account.deposited", "data": amount(2) } },
        { "replace": { "version": 3, "type": "account.deposited", "data": amount(100) } },
    ]);
    assert_eq!(cents(&ask(inserted).await.ok()), json!(113));
    assert_eq!(ask(json!([])).await.ok()["changes"], json!([]));
    assert_eq!(get(&bank.router, "/api/bank/account/ann").await.ok()["version"], 3, "nothing was written");
    for (edits, word) in [
        (json!([{ "drop": { "version": 0 } }]), "versions 1 to 3"),
        (json!([{ "drop": { "version": 4 } }]), "versions 1 to 3"),
        (json!([{ "insert": { "after": 4, "type": "account.opened" } }]), "versions 1 to 3"),
        (json!([{ "drop": { "version": 1 } }, { "replace": { "version": 1, "data": {} } }]), "twice"),
        (json!([{ "insert": { "after": 0, "type": "account.renamed" } }]), "account.deposited"),
        (json!([{ "replace": { "version": 2, "data": { "amount": 1 } } }]), "in the place of version 2"),
        // More goes out than came in: the code that reads it says so.
        (json!([{ "drop": { "version": 2 } }]), "of version 3"),
        (json!([{ "forget": { "version": 2 } }]), "unknown variant"),
    ] {
        let told = ask(edits.clone()).await.problem(400, "invalid-fields");
        assert!(told["detail"].as_str().unwrap().contains(word), "{edits}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_shown_as_it_was() {
    let bank = Bank::open();
    account(&bank).await;
    let history = get(&bank.router, "/api/bank/account/ann/events").await.ok();
    let at = |index: usize| history["events"][index]["recorded_at"].as_str().unwrap().to_owned();
    let ask = async |at: &str| get(&bank.router, &format!("/api/bank/views/balance/ann?at={at}")).await;
    // Events may have been recorded at one time; what was then is what the state was.
    for index in 0..3 {
        let state = get(&bank.router, &format!("/api/bank/account/ann?at={}", at(index))).await.ok();
        assert_eq!(ask(&at(index)).await.ok()["balance"], state["state"]["balance"]);
    }
    ask("1970-01-01T00:00:00Z").await.problem(404, "no-document");
    ask("yesterday").await.problem(400, "invalid-parameter");
    let both = "/api/bank/views/balance/ann?at=2026-01-01T00:00:00Z&after=0-0-0";
    get(&bank.router, both).await.problem(400, "invalid-parameter");
}
