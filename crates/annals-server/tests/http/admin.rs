//! What an administrator does to views over HTTP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::{Fate, OnBadEvent, Projection, Recorded};
use annals_engine::{Engine, Environment, Settings};
use annals_log::Log;
use annals_server::Limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bank::{Bank, Happened, bank, log};
use crate::client::{Answer, ask, get, request, send};

/// Counts events by account; a note that says so is too much for it.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Fragile {
    events: u64,
}

impl Projection for Fragile {
    const NAME: &'static str = "fragile";
    const ON_BAD_EVENT: OnBadEvent = OnBadEvent::Park;
    type Input = Happened;
    type Key = String;

    fn keys(e: &Recorded<Happened>) -> impl IntoIterator<Item = String> {
        [e.meta.id().to_owned()]
    }

    fn project(&mut self, _: &String, e: &Recorded<Happened>) -> Fate {
        assert!(!matches!(&e.event, Happened::Noted { value } if value == "poison"), "poisoned");
        self.events += 1;
        Fate::Keep
    }
}

fn fragile_bank() -> Bank {
    let log = log(2);
    let shared: Arc<dyn Log> = Arc::new(log.clone());
    let context = bank().projection::<Fragile>();
    let engine = Engine::open(context, shared, Environment::system("test"), Settings::default()).unwrap();
    Bank::serving(log, engine, Limits::default())
}

async fn act(bank: &Bank, path: &str, body: Value) -> Answer {
    let json = [("content-type", "application/json")];
    let (headers, body) = match body {
        Value::Null => (&[][..], String::new()),
        body => (&json[..], body.to_string()),
    };
    ask(&bank.router, request("POST", &format!("/admin/bank/views/{path}"), headers, body)).await
}

async fn view(bank: &Bank, name: &str) -> Value {
    let all = get(&bank.router, "/admin/bank/views").await.ok();
    let views = all["views"].as_array().unwrap();
    views.iter().find(|view| view["name"] == name).unwrap().clone()
}

/// The rebuild of a view once it is in a phase.
async fn rebuild_in(bank: &Bank, name: &str, phase: &str) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let rebuild = view(bank, name).await["rebuild"].clone();
        if rebuild["phase"] == phase {
            return rebuild;
        }
        assert!(Instant::now() < until, "{rebuild}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_built_anew_and_kept_or_dropped() {
    let bank = Bank::open();
    for id in ["ann", "bob"] {
        send(&bank.router, &format!("account/{id}/open"), "").await.ok();
    }
    assert_eq!(view(&bank, "balance").await["rebuild"], Value::Null);
    let began =
        act(&bank, "balance/rebuild", json!({ "compare": "documents", "swap": "when_told", "keep": true }));
    assert_eq!(began.await.ok(), json!({ "build": "balance@1.2" }));
    let ready = rebuild_in(&bank, "balance", "ready").await;
    assert_eq!((&ready["to"], &ready["from"]), (&json!("balance@1.2"), &json!("balance@1")));
    let twice = act(&bank, "balance/rebuild", Value::Null).await.problem(409, "not-possible");
    assert!(twice["detail"].as_str().unwrap().contains("being rebuilt already"));
    act(&bank, "balance/pause", Value::Null).await.ok();
    rebuild_in(&bank, "balance", "paused").await;
    act(&bank, "balance/swap", Value::Null).await.problem(409, "not-possible");
    act(&bank, "balance/resume", Value::Null).await.ok();
    rebuild_in(&bank, "balance", "ready").await;
    act(&bank, "balance/swap", Value::Null).await.ok();
    let done = rebuild_in(&bank, "balance", "done").await;
    let compared = json!({ "before": 2, "after": 2, "differing": 0, "examples": [] });
    assert_eq!((&done["compared"], &done["seconds_left"]), (&compared, &Value::Null));
    let stages = |view: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let builds = view["builds"].as_array().unwrap();
        builds.iter().map(|build| (text(&build["build"]), text(&build["stage"]))).collect()
    };
    let pair = |build: &str, stage: &str| (build.to_owned(), stage.to_owned());
    assert_eq!(
        stages(&view(&bank, "balance").await),
        [pair("balance@1", "kept"), pair("balance@1.2", "live")]
    );
    act(&bank, "balance/drop-build", json!({ "build": "balance@1.2" })).await.problem(409, "not-possible");
    act(&bank, "balance/drop-build", json!({ "build": "balance@1" })).await.ok();
    assert_eq!(stages(&view(&bank, "balance").await), [pair("balance@1.2", "live")]);
    assert_eq!(
        get(&bank.router, "/api/bank/views/balance/ann").await.ok(),
        json!({ "balance": { "cents": 0 } })
    );

    act(&bank, "balance/rebuild", json!({ "swap": "when_told" })).await.ok();
    act(&bank, "balance/cancel", Value::Null).await.ok();
    rebuild_in(&bank, "balance", "cancelled").await;
    act(&bank, "balance/cancel", Value::Null).await.problem(409, "not-possible");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_aside_is_listed_retried_and_dropped() {
    let bank = fragile_bank();
    let mut last = Value::Null;
    for (path, body) in [
        ("account/ann/open", ""),
        ("account/ann/note", r#"{"value":"poison"}"#),
        ("account/ann/note", r#"{"value":"good"}"#),
        ("account/ann/note", r#"{"value":"poison"}"#),
        ("account/bob/open", ""),
    ] {
        last = send(&bank.router, path, body).await.ok();
    }
    let position = last["position"].as_str().unwrap();
    get(&bank.router, &format!("/api/bank/views/fragile/bob?after={position}&within=20s")).await.ok();
    let until = Instant::now() + Duration::from_secs(60);
    while view(&bank, "fragile").await["lag"]["events"] != 0 {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(view(&bank, "fragile").await["parked"], 1);
    assert_eq!(get(&bank.router, "/readyz").await.status, 200, "it goes on with the others");
    let metrics = get(&bank.router, "/metrics").await.text();
    assert!(metrics.contains("annals_view_parked_streams{context=\"bank\",view=\"fragile\"} 1"), "{metrics}");
    let page = get(&bank.router, "/admin/bank/views/fragile/aside?limit=2").await.ok();
    let why = |page: &Value| -> Vec<String> {
        page["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["why"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(why(&page), ["parked", "waiting"]);
    assert!(page["events"][0]["reason"].as_str().unwrap().contains("poisoned"));
    let next = page["next"].as_str().unwrap();
    let rest = get(&bank.router, &format!("/admin/bank/views/fragile/aside?cursor={next}")).await.ok();
    assert_eq!((why(&rest), &rest["next"]), (vec!["waiting".to_owned()], &Value::Null));
    let stream = json!({ "stream": "account/ann" });
    assert_eq!(act(&bank, "fragile/retry", Value::Null).await.ok(), json!({ "taken_in": 0, "parked": 1 }));
    let dropped = act(&bank, "fragile/drop-event", stream.clone()).await.ok();
    assert_eq!(dropped, json!({ "taken_in": 1, "parked": 1 }));
    act(&bank, "fragile/drop-event", stream.clone()).await.ok();
    act(&bank, "fragile/drop-event", stream).await.problem(409, "not-possible");
    assert_eq!(get(&bank.router, "/api/bank/views/fragile/ann").await.ok(), json!({ "events": 2 }));
    let left = get(&bank.router, "/admin/bank/views/fragile/aside?stream=account/ann").await.ok();
    assert_eq!(why(&left), ["skipped", "skipped"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_use_is_told() {
    let bank = Bank::open();
    act(&bank, "nope/rebuild", Value::Null).await.problem(404, "unknown-view");
    let unknown = act(&bank, "balance/explode", Value::Null).await.problem(404, "unknown-route");
    assert_eq!(unknown["known"].as_array().unwrap().len(), 8);
    act(&bank, "balance/rebuild", json!({ "keeep": true })).await.problem(400, "invalid-fields");
    act(&bank, "balance/rebuild", json!({ "swap": "never" })).await.problem(400, "invalid-fields");
    act(&bank, "balance/drop-build", Value::Null).await.problem(400, "invalid-fields");
    act(&bank, "balance/drop-event", json!({})).await.problem(400, "invalid-fields");
    for query in ["limit=0", "limit=1001", "strem=x"] {
        let path = format!("/admin/bank/views/balance/aside?{query}");
        get(&bank.router, &path).await.problem(400, "invalid-parameter");
    }
    get(&bank.router, "/admin/bank/views/balance/aside?cursor=x").await.problem(400, "invalid-parameter");
    get(&bank.router, "/admin/shop/views").await.problem(404, "unknown-context");
    let cross = [("origin", "http://evil.example"), ("host", "localhost")];
    let evil = ask(&bank.router, request("POST", "/admin/bank/views/balance/rebuild", &cross, "")).await;
    evil.problem(403, "cross-origin");
}
