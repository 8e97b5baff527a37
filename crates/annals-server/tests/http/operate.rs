//! The pages that operators watch.

use annals_engine::{Engine, Settings};
use annals_log::faults::{Fault, FaultPlan};
use annals_server::Limits;
use serde_json::json;

use crate::bank::{Bank, bank, log, write_event};
use crate::client::{get, send, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_that_works_is_ready() {
    let bank = Bank::open();
    assert_eq!(get(&bank.router, "/healthz").await.text(), "ok\n");
    assert_eq!(
        get(&bank.router, "/readyz").await.ok(),
        json!({ "degraded": [], "ready": true, "contexts": { "bank": [] } })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_takes_no_commands_is_not_ready() {
    let bank = Bank::open();
    bank.log.set_faults(FaultPlan::seeded(1).with(Fault::AppendFull, 1.0));
    send(&bank.router, "account/ann/open", "").await.problem(503, "unavailable");
    let answer = get(&bank.router, "/readyz").await;
    assert_eq!((answer.status, &answer.json()["ready"]), (503, &json!(false)));
    assert!(answer.json()["contexts"]["bank"][0].as_str().unwrap().contains("takes no commands"));
    assert_eq!(get(&bank.router, "/healthz").await.status, 200, "the process itself is well");
    bank.log.set_faults(FaultPlan::none());
    send(&bank.router, "account/ann/open", "").await.ok();
    assert_eq!(get(&bank.router, "/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_open_for_reading_only_is_not_ready() {
    let open = Bank::open();
    let engine = Engine::open_read_only(bank(), open.engine.log().clone()).unwrap();
    let reading = Bank::serving(open.log, engine, Limits::default());
    let answer = get(&reading.router, "/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("reading only"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_stands_still_is_told() {
    let log = log(1);
    write_event(&log, "account/ann", "account.deposited", r#"{"amount":"much"}"#);
    let bank = Bank::on(log, Limits::default(), Settings::default());
    let answer = soon(async {
        loop {
            let answer = get(&bank.router, "/readyz").await;
            if answer.status != 200 {
                break answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    assert!(
        answer.await.json()["contexts"]["bank"][0].as_str().unwrap().contains("view balance stands still")
    );
    get(&bank.router, "/api/bank/views/balance/ann").await.problem(503, "view-stopped");
    get(&bank.router, "/api/bank/views/balance").await.problem(503, "view-stopped");
    send(&bank.router, "account/bob/open", "").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_answers_and_tell_how_things_stand() {
    let bank = Bank::open();
    for _ in 0..3 {
        send(&bank.router, "account/ann/open", "").await.ok();
    }
    send(&bank.router, "account/ann/explode", "").await.problem(500, "panicked");
    get(&bank.router, "/api/bank/account/bob").await.problem(404, "no-entity");
    let page = get(&bank.router, "/metrics").await;
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let page = page.text();
    let post = r#"method="POST",route="/api/{context}/{decider}/{id}/{command}""#;
    for line in [
        format!("annals_http_requests_total{{{post},status=\"200\"}} 3"),
        format!("annals_http_requests_total{{{post},status=\"500\"}} 1"),
        r#"annals_http_requests_total{method="GET",route="/api/{context}/{decider}/{id}",status="404"} 1"#
            .to_owned(),
        r#"annals_waiting_commands{context="bank"} 0"#.to_owned(),
        r#"annals_relay_stuck{context="bank"} 0"#.to_owned(),
        r#"annals_log_end{context="bank",shard="1"} "#.to_owned(),
        r#"annals_view_lag_records{context="bank",view="balance"} "#.to_owned(),
        r#"annals_view_live{context="bank",view="balance"} "#.to_owned(),
    ] {
        assert!(page.lines().any(|found| found.starts_with(&line)), "{line} is missing in\n{page}");
    }
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("annals_") && name.ends_with('}') && value.parse::<f64>().is_ok(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_tells_what_it_has() {
    let bank = Bank::open();
    let described = get(&bank.router, "/api/bank").await.ok();
    assert_eq!(described["context"], "bank");
    assert_eq!(described["log"]["shards"], 2);
    let account = &described["deciders"][0];
    assert_eq!(
        (&account["name"], &account["refusals"]),
        (&json!("account"), &json!(["not-open", "overdrawn"]))
    );
    assert_eq!(account["commands"].as_array().unwrap().len(), 7);
    assert_eq!((&described["sagas"], &described["views"][0]["name"]), (&json!(["watch"]), &json!("balance")));
    assert!(described["views"][0]["lag"]["events"].is_u64());
    get(&bank.router, "/api/bank?x=1").await.problem(400, "invalid-parameter");
}
