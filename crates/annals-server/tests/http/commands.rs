//! Commands: receipts, refusals, keys, versions, and everything that can be wrong with a request.

use annals_engine::{Engine, Settings};
use annals_log::faults::{Fault, FaultPlan};
use annals_server::Limits;
use serde_json::{Value, json};

use crate::bank::{Bank, log, write_event};
use crate::client::{ask, get, get_with, request, send, send_with};

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_says_what_was_recorded() {
    let bank = Bank::open();
    let opened = send(&bank.router, "account/ann/open", "").await;
    let receipt = opened.ok();
    assert_eq!(
        (&receipt["stream"], &receipt["version"], &receipt["events"]),
        (&json!("account/ann"), &json!(1), &json!(1))
    );
    assert_eq!((&receipt["repeated"], opened.header("etag")), (&json!(false), Some("\"1\"")));
    let made = receipt["key"].as_str().unwrap();
    assert_eq!((made.len(), opened.header("idempotency-key")), (32, Some(made)), "a made key is told");
    let position = receipt["position"].as_str().unwrap();
    assert_eq!(
        get(&bank.router, "/api/bank/account/ann/events").await.ok()["events"][0]["position"],
        position
    );
    let deposited = send(&bank.router, "account/ann/deposit", r#"{"amount":{"cents":5}}"#).await.ok();
    assert_eq!((&deposited["version"], &deposited["events"]), (&json!(2), &json!(1)));
    let nothing = send(&bank.router, "account/ann/open", "{}").await.ok();
    assert_eq!((&nothing["version"], &nothing["events"]), (&json!(2), &json!(0)), "it was open already");
}

/// The engine is entered from a runtime with one thread as well.
#[tokio::test(flavor = "current_thread")]
async fn a_runtime_with_one_thread_serves_too() {
    let bank = Bank::open();
    assert_eq!(send(&bank.router, "account/ann/open", "").await.ok()["version"], 1);
    assert_eq!(get(&bank.router, "/api/bank/account/ann").await.ok()["version"], 1);
    send(&bank.router, "account/ann/explode", "").await.problem(500, "panicked");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_headers_say_is_recorded() {
    let bank = Bank::open();
    let headers = [
        ("x-annals-actor", "Jürgen"),
        ("x-correlation-id", "order-1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-occurred-at", "2020-02-29T12:00:00Z"),
        ("idempotency-key", "req-1"),
    ];
    send_with(&bank.router, "account/ann/open", "", &headers).await.ok();
    let event = &get(&bank.router, "/api/bank/account/ann/events").await.ok()["events"][0];
    assert_eq!((&event["actor"], &event["correlation"]), (&json!("Jürgen"), &json!("order-1")));
    assert_eq!((&event["occurred_at"], &event["key"]), (&json!("2020-02-29T12:00:00Z"), &json!("req-1")));
    assert_eq!(event["command"], "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_has_one_answer() {
    let bank = Bank::open();
    send(&bank.router, "account/ann/open", "").await.ok();
    let deposit = |fields: &'static str, key: &'static str| {
        let router = bank.router.clone();
        async move { send_with(&router, "account/ann/deposit", fields, &[("idempotency-key", key)]).await }
    };
    let first = deposit(r#"{"amount":{"cents":5}}"#, "k").await.ok();
    let mut again = deposit(r#"{ "amount": {"cents": 5} }"#, "\"k\"").await.ok();
    assert_eq!(again["repeated"], true);
    again["repeated"] = json!(false);
    assert_eq!(first, again, "but for that it is the same answer");
    assert_eq!(deposit(r#"{"amount":{"cents":6}}"#, "k").await.problem(422, "key-reused")["key"], "k");
    assert_eq!(get(&bank.router, "/api/bank/account/ann").await.ok()["state"]["balance"]["cents"], 5);
    for key in ["", "\"\"", "saga:x", &"k".repeat(257)] {
        let answer = send_with(&bank.router, "account/ann/open", "", &[("idempotency-key", key)]).await;
        answer.problem(400, "invalid-name");
    }
    for length in [1, 255, 256] {
        send_with(&bank.router, "account/ann/open", "", &[("idempotency-key", &"l".repeat(length))])
            .await
            .ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_tells_its_name_text_and_fields() {
    let bank = Bank::open();
    let refused =
        send(&bank.router, "account/ann/deposit", r#"{"amount":{"cents":5}}"#).await.problem(422, "refused");
    assert_eq!(
        refused["refusal"],
        json!({ "name": "not-open", "text": "the account is not open", "fields": null })
    );
    send(&bank.router, "account/ann/open", "").await.ok();
    let keyed = || {
        send_with(
            &bank.router,
            "account/ann/withdraw",
            r#"{"amount":{"cents":1}}"#,
            &[("idempotency-key", "w")],
        )
    };
    let refused = keyed().await.problem(422, "refused");
    assert_eq!(refused["refusal"]["fields"], json!({ "balance": { "cents": 0 } }));
    assert_eq!((&refused["detail"], &refused["key"]), (&json!("there are only 0 cents"), &json!("w")));
    send(&bank.router, "account/ann/deposit", r#"{"amount":{"cents":5}}"#).await.ok();
    assert_eq!(keyed().await.problem(422, "refused"), refused, "with a key it is the answer for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expected_version_must_match() {
    let bank = Bank::open();
    let deposit = |tag: &'static str| {
        let router = bank.router.clone();
        async move {
            send_with(&router, "account/ann/deposit", r#"{"amount":{"cents":5}}"#, &[("if-match", tag)]).await
        }
    };
    send_with(&bank.router, "account/ann/open", "", &[("if-match", "\"0\"")]).await.ok();
    let stale = deposit("\"0\"").await.problem(412, "version-mismatch");
    assert_eq!((&stale["expected"], &stale["actual"]), (&json!(0), &json!(1)));
    deposit("\"2\"").await.problem(412, "version-mismatch");
    assert_eq!(deposit("\"1\"").await.ok()["version"], 2);
    deposit("2").await.problem(400, "invalid-header");
    assert_eq!(get(&bank.router, "/api/bank/account/ann").await.header("etag"), Some("\"2\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_fit_are_refused_and_do_nothing() {
    let bank = Bank::open();
    send(&bank.router, "account/ann/open", "").await.ok();
    for (fields, name) in [
        ("", "invalid-fields"),
        ("{}", "invalid-fields"),
        ("null", "invalid-fields"),
        ("[]", "invalid-fields"),
        (r#"{"amount":5}"#, "invalid-fields"),
        (r#"{"amount":{"cents":-1}}"#, "invalid-fields"),
        (r#"{"amount":{"cents":1.5}}"#, "invalid-fields"),
        (r#"{"amount":{"cents":18446744073709551616}}"#, "invalid-fields"),
        (r#"{"amount":{"cents":5},"amount":{"cents":6}}"#, "invalid-fields"),
        ("{", "invalid-json"),
        ("x", "invalid-json"),
        (r#"{"amount":{"cents":5}} x"#, "invalid-json"),
        (r#"{"amount":{"cents":NaN}}"#, "invalid-json"),
        ("\u{feff}{}", "invalid-json"),
    ] {
        let problem = send(&bank.router, "account/ann/deposit", fields).await.problem(400, name);
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{fields}");
    }
    let unknown = send(&bank.router, "account/ann/deposit", r#"{"amount":{"cents":5},"ammount":1}"#).await;
    let unknown = unknown.problem(400, "invalid-fields");
    assert_eq!((&unknown["field"], &unknown["known"]), (&json!("ammount"), &json!(["amount"])));
    send(&bank.router, "account/ann/open", r#"{"x":1}"#).await.problem(400, "invalid-fields");
    let bytes = request(
        "POST",
        "/api/bank/account/ann/note",
        &[("content-type", "application/json")],
        &b"{\"value\":\"\xff\"}"[..],
    );
    assert!(
        ask(&bank.router, bytes).await.problem(400, "invalid-json")["detail"]
            .as_str()
            .unwrap()
            .contains("UTF-8 from byte 10")
    );
    for media in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let sent = send_with(
            &bank.router,
            "account/ann/deposit",
            r#"{"amount":{"cents":5}}"#,
            &[("content-type", media)],
        )
        .await;
        sent.problem(415, "unsupported-media-type");
    }
    assert_eq!(get(&bank.router, "/api/bank/account/ann").await.ok()["version"], 1, "nothing was done");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_not_there_are_told_with_those_that_are() {
    let bank = Bank::open();
    let unknown = ask(&bank.router, request("POST", "/api/shop/account/ann/open", &[], "")).await;
    assert_eq!(unknown.problem(404, "unknown-context")["known"], json!(["bank"]));
    let unknown = send(&bank.router, "acount/ann/open", "").await.problem(404, "unknown-decider");
    assert_eq!(unknown["known"], json!(["account"]));
    send(&bank.router, "watch/ann/open", "").await.problem(404, "unknown-decider");
    let unknown = send(&bank.router, "account/ann/opn", "").await.problem(404, "unknown-command");
    assert!(unknown["known"].as_array().unwrap().contains(&json!("open")));
    send(&bank.router, "account/ANN/open", "").await.problem(400, "invalid-name");
    send(&bank.router, "account/a%0Ab/open", "").await.problem(400, "invalid-name");
    send(&bank.router, "account/%ff/open", "").await.problem(400, "invalid-name");
    for (length, status) in [(255, 200), (256, 200), (257, 400)] {
        assert_eq!(
            send(&bank.router, &format!("account/{}/open", "x".repeat(length)), "").await.status,
            status
        );
    }
    send(&bank.router, "account/ann", "").await.problem(405, "wrong-method");
    get(&bank.router, "/api/bank/account/ann/open").await.problem(405, "wrong-method");
    get(&bank.router, "/api").await.problem(404, "unknown-route");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_may_hold_what_addresses_escape() {
    let bank = Bank::open();
    for (segment, id) in
        [("a%2Fb", "a/b"), ("j%C3%BCrgen", "jürgen"), ("a%20b%3Fc", "a b?c"), ("events", "events")]
    {
        let receipt = send(&bank.router, &format!("account/{segment}/open"), "").await.ok();
        assert_eq!(receipt["stream"], format!("account/{id}"));
        assert_eq!(
            get(&bank.router, &format!("/api/bank/account/{segment}")).await.ok()["stream"],
            receipt["stream"]
        );
        let history = get(&bank.router, &format!("/api/bank/account/{segment}/events")).await.ok();
        assert_eq!(history["events"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_parameters_that_do_not_fit_are_refused() {
    let bank = Bank::open();
    let long = "x".repeat(257);
    for (name, value) in [
        ("if-match", "*"),
        ("x-occurred-at", "yesterday"),
        ("traceparent", "1"),
        ("x-annals-actor", &long),
        ("x-correlation-id", &long),
    ] {
        send_with(&bank.router, "account/ann/open", "", &[(name, value)])
            .await
            .problem(400, "invalid-header");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    send_with(&bank.router, "account/ann/open", "", &twice).await.problem(400, "invalid-header");
    send_with(&bank.router, "account/ann/open", "", &[("x-annals-tenant", "ACME")])
        .await
        .problem(400, "invalid-name");
    send(&bank.router, "account/ann/open?actor=me", "").await.problem(400, "invalid-parameter");
    get(&bank.router, "/api/bank/account/ann").await.problem(404, "no-entity");
    for shorter in [&long[2..], &long[1..]] {
        send_with(&bank.router, "account/ann/open", "", &[("x-annals-actor", shorter)]).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_sends_nothing() {
    let bank = Bank::open();
    let foreign = [("host", "localhost:7400"), ("origin", "https://evil.example")];
    send_with(&bank.router, "account/ann/open", "", &foreign).await.problem(403, "cross-origin");
    get(&bank.router, "/api/bank/account/ann").await.problem(404, "no-entity");
    let own = [("host", "localhost:7400"), ("origin", "http://localhost:7400")];
    send_with(&bank.router, "account/ann/open", "", &own).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_apart() {
    let bank = Bank::open();
    let acme = [("x-annals-tenant", "acme")];
    assert_eq!(
        send_with(&bank.router, "account/ann/open", "", &acme).await.ok()["stream"],
        "acme:account/ann"
    );
    get(&bank.router, "/api/bank/account/ann").await.problem(404, "no-entity");
    assert_eq!(get(&bank.router, "/api/bank/account/ann/events").await.ok()["events"], json!([]));
    let globex = get_with(&bank.router, "/api/bank/account/ann", &[("x-annals-tenant", "globex")]).await;
    globex.problem(404, "no-entity");
    assert_eq!(get_with(&bank.router, "/api/bank/account/ann", &acme).await.ok()["version"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_decider_fails_that_command_alone() {
    let bank = Bank::open();
    send(&bank.router, "account/ann/open", "").await.ok();
    let panicked = send(&bank.router, "account/ann/explode", "").await.problem(500, "panicked");
    assert!(panicked["detail"].as_str().unwrap().contains("boom"));
    assert_eq!(
        send(&bank.router, "account/ann/deposit", r#"{"amount":{"cents":5}}"#).await.ok()["version"],
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_large_is_refused() {
    let bank = Bank::open();
    send(&bank.router, "account/ann/open", "").await.ok();
    send(&bank.router, "account/ann/fill", r#"{"bytes":9000000}"#).await.problem(413, "too-large");
    assert_eq!(send(&bank.router, "account/ann/fill", r#"{"bytes":9}"#).await.ok()["version"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn overload_is_told_with_when_to_come_back() {
    let full = Settings { waiting_commands_max: 0, ..Settings::default() };
    let bank = Bank::on(log(1), Limits::default(), full);
    let answer = send(&bank.router, "account/ann/open", "").await;
    answer.problem(429, "overloaded");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_takes_nothing_is_unavailable() {
    let bank = Bank::open();
    bank.log.set_faults(FaultPlan::seeded(1).with(Fault::AppendFull, 1.0));
    let answer = send(&bank.router, "account/ann/open", "").await;
    answer.problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
    bank.log.set_faults(FaultPlan::none());
    send(&bank.router, "account/ann/open", "").await.ok();
    let read_only = Engine::open_read_only(crate::bank::bank(), bank.engine.log().clone()).unwrap();
    let copy = Bank::serving(bank.log, read_only, Limits::default());
    send(&copy.router, "account/ann/open", "").await.problem(503, "unavailable");
    assert_eq!(get(&copy.router, "/api/bank/account/ann").await.ok()["version"], 1);
}

/// The answer names a key, with which the same command tells what became of the first attempt.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_can_be_learnt_with_the_key() {
    for (fault, repeated) in [(Fault::UnknownLanded, true), (Fault::UnknownLost, false)] {
        let bank = Bank::open();
        let plan = FaultPlan::seeded(3).with(fault, 1.0).with(Fault::ClaimUnwritten, 1.0);
        bank.log.set_faults(plan);
        let unknown = send(&bank.router, "account/ann/open", "").await.problem(504, "outcome-unknown");
        bank.log.set_faults(FaultPlan::none());
        let key = unknown["key"].as_str().unwrap();
        let receipt = send_with(&bank.router, "account/ann/open", "", &[("idempotency-key", key)]).await.ok();
        assert_eq!((&receipt["repeated"], &receipt["version"]), (&json!(repeated), &json!(1)), "{fault:?}");
        let history = get(&bank.router, "/api/bank/account/ann/events").await.ok();
        assert_eq!(history["events"].as_array().map(Vec::len), Some(1), "{fault:?}: it took effect once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_read_is_named() {
    for (name, payload) in [("account.forgotten", "{}"), ("account.deposited", r#"{"amount":"much"}"#)] {
        let log = log(1);
        write_event(&log, "account/ann", name, payload);
        let bank = Bank::on(log, Limits::default(), Settings::default());
        for answer in [
            get(&bank.router, "/api/bank/account/ann").await,
            send(&bank.router, "account/ann/open", "").await,
        ] {
            let problem: Value = answer.problem(500, "unreadable");
            assert_eq!(problem["position"], "0-2-0");
        }
        send(&bank.router, "account/bob/open", "").await.ok();
        // The history shows what is stored, readable for this program or not.
        let history = get(&bank.router, "/api/bank/account/ann/events").await.ok();
        assert_eq!(history["events"][0]["type"], name);
    }
}
