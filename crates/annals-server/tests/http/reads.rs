//! States, histories and documents.

use serde_json::{Value, json};

use crate::bank::Bank;
use crate::client::{get, get_with, send, send_with};

async fn opened(deposits: u64) -> Bank {
    let bank = Bank::open();
    send(&bank.router, "account/ann/open", "").await.ok();
    for cents in 1..=deposits {
        send(&bank.router, "account/ann/deposit", &json!({ "amount": { "cents": cents } }).to_string())
            .await
            .ok();
    }
    bank
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_has_its_version_as_tag() {
    let bank = opened(3).await;
    let answer = get(&bank.router, "/api/bank/account/ann").await;
    let state = json!({ "stream": "account/ann", "version": 4, "state": { "open": true, "balance": { "cents": 6 } } });
    assert_eq!((answer.ok(), answer.header("etag")), (state, Some("\"4\"")));
    let known = get_with(&bank.router, "/api/bank/account/ann", &[("if-none-match", "\"4\"")]).await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    get_with(&bank.router, "/api/bank/account/ann", &[("if-none-match", "\"3\"")]).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn states_of_the_past_are_there() {
    let bank = opened(3).await;
    let cents = |state: Value| state["state"]["balance"]["cents"].as_u64().unwrap();
    for (version, expected) in [(1, 0), (2, 1), (3, 3), (4, 6)] {
        assert_eq!(
            cents(get(&bank.router, &format!("/api/bank/account/ann?version={version}")).await.ok()),
            expected
        );
    }
    let missing = get(&bank.router, "/api/bank/account/ann?version=5").await.problem(404, "no-version");
    assert_eq!(missing["version"], 4);
    get(&bank.router, "/api/bank/account/ann?version=0").await.problem(404, "no-entity");
    let history = get(&bank.router, "/api/bank/account/ann/events").await.ok();
    let at = history["events"][1]["recorded_at"].as_str().unwrap();
    let then = get(&bank.router, &format!("/api/bank/account/ann?at={at}")).await.ok();
    assert!(then["version"].as_u64().unwrap() >= 2, "what was recorded then is in it");
    get(&bank.router, "/api/bank/account/ann?at=2001-01-01T00:00:00Z").await.problem(404, "no-entity");
    for query in [
        "version=x",
        "version=-1",
        "at=now",
        "version=1&at=2001-01-01T00:00:00Z",
        "version=1&version=2",
        "v=1",
    ] {
        get(&bank.router, &format!("/api/bank/account/ann?{query}")).await.problem(400, "invalid-parameter");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_nothing_happened_to_is_not_there() {
    let bank = opened(0).await;
    let nobody = get(&bank.router, "/api/bank/account/bob").await.problem(404, "no-entity");
    assert_eq!(nobody["stream"], "account/bob");
    assert_eq!(get(&bank.router, "/api/bank/account/bob/events").await.ok()["events"], json!([]));
    get(&bank.router, "/api/bank/watch/w").await.problem(404, "no-entity");
    get(&bank.router, "/api/bank/acount/ann").await.problem(404, "unknown-decider");
    get(&bank.router, "/api/bank/account/ANN").await.problem(400, "invalid-name");
    get(&bank.router, "/api/shop/account/ann").await.problem(404, "unknown-context");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_comes_in_pages() {
    let bank = opened(4).await;
    // One record of several events: a page may end within it.
    send(&bank.router, "account/ann/burst", r#"{"events":3}"#).await.ok();
    for limit in [1, 2, 3, 7, 8, 9] {
        let (mut versions, mut after) = (Vec::new(), 0);
        loop {
            let page =
                get(&bank.router, &format!("/api/bank/account/ann/events?after={after}&limit={limit}"))
                    .await
                    .ok();
            let events = page["events"].as_array().unwrap();
            assert!(events.len() <= limit);
            versions.extend(events.iter().map(|event| event["version"].as_u64().unwrap()));
            match page["next"].as_u64() {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(versions, (1..=8).collect::<Vec<u64>>(), "limit {limit}");
    }
    let exact = get(&bank.router, "/api/bank/account/ann/events?limit=8").await.ok();
    assert_eq!(exact["next"], Value::Null, "a full last page has no next");
    for (limit, status) in [(0, 400), (1, 200), (999, 200), (1000, 200), (1001, 400)] {
        assert_eq!(
            get(&bank.router, &format!("/api/bank/account/ann/events?limit={limit}")).await.status,
            status
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_with_a_receipt_reads_its_own_write() {
    let bank = opened(0).await;
    for cents in 1..=50 {
        let receipt = send(&bank.router, "account/ann/deposit", r#"{"amount":{"cents":1}}"#).await.ok();
        let position = receipt["position"].as_str().unwrap();
        let read =
            get(&bank.router, &format!("/api/bank/views/balance/ann?after={position}&within=5s")).await.ok();
        assert_eq!(read["balance"]["cents"], cents);
    }
    let behind = get(&bank.router, "/api/bank/views/balance/ann?after=0-999-0&within=20ms").await;
    assert!(behind.problem(503, "view-behind")["lag"]["events"].is_u64());
    assert_eq!(behind.header("retry-after"), Some("1"));
    get(&bank.router, "/api/bank/views/balance/ann?after=9-1-0").await.problem(400, "invalid-parameter");
    for query in ["after=1", "within=31s", "within=x", "where[cents]=1"] {
        get(&bank.router, &format!("/api/bank/views/balance/ann?{query}"))
            .await
            .problem(400, "invalid-parameter");
    }
}

/// It waits for a record that is written only while it waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_waits_for_its_view() {
    let bank = Bank::open();
    let shard = crate::bank::bank().shard_of(&"account/ann".parse().unwrap(), 2).unwrap();
    // After the genesis and the claim.
    let uri = format!("/api/bank/views/balance/ann?after={shard}-2-0&within=10s");
    let router = bank.router.clone();
    let waiting = tokio::spawn(async move { get(&router, &uri).await });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    send(&bank.router, "account/ann/open", "").await.ok();
    assert_eq!(waiting.await.unwrap().ok(), json!({ "balance": { "cents": 0 } }));
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_found_and_listed_by_key() {
    let bank = Bank::open();
    for id in ["ann", "anton", "bob", "a%22%2Fb"] {
        send(&bank.router, &format!("account/{id}/open"), "").await.ok();
    }
    for id in ["ann", "anton", "bob"] {
        let receipt =
            send(&bank.router, &format!("account/{id}/deposit"), r#"{"amount":{"cents":5}}"#).await.ok();
        let position = receipt["position"].as_str().unwrap();
        get(&bank.router, &format!("/api/bank/views/balance/{id}?after={position}&within=5s")).await.ok();
    }
    let missing = get(&bank.router, "/api/bank/views/balance/carl").await;
    missing.problem(404, "no-document");
    get(&bank.router, "/api/bank/views/balance/ANN").await.problem(400, "invalid-name");
    get(&bank.router, "/api/bank/views/blance/ann").await.problem(404, "unknown-view");
    get(&bank.router, "/api/bank/views/blance").await.problem(404, "unknown-view");
    let keys = |page: &Value| -> Vec<String> {
        page["documents"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["key"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = get(&bank.router, "/api/bank/views/balance").await.ok();
    assert_eq!(
        (keys(&all), &all["next"]),
        (vec!["a\"/b".into(), "ann".into(), "anton".into(), "bob".into()], &Value::Null)
    );
    assert_eq!(all["documents"][1]["document"], json!({ "balance": { "cents": 5 } }));
    let first = get(&bank.router, "/api/bank/views/balance?prefix=an&limit=1").await.ok();
    assert_eq!((keys(&first), &first["next"]), (vec!["ann".into()], &json!("ann")));
    let second = get(&bank.router, "/api/bank/views/balance?prefix=an&limit=1&cursor=ann").await.ok();
    assert_eq!((keys(&second), &second["next"]), (vec!["anton".into()], &Value::Null));
    let rich = get(&bank.router, "/api/bank/views/balance?where[balance.cents][gt]=0&order=-balance.cents");
    assert_eq!(keys(&rich.await.ok()), ["bob", "anton", "ann"]);
    let equal = "/api/bank/views/balance?where[balance.cents]=5&order=-key&limit=2";
    let page = get(&bank.router, equal).await.ok();
    let next = page["next"].as_str().unwrap();
    let rest = get(&bank.router, &format!("{equal}&cursor={next}")).await.ok();
    assert_eq!((keys(&page), keys(&rest)), (vec!["bob".into(), "anton".into()], vec!["ann".into()]));
    let other_order = format!("/api/bank/views/balance?order=balance.cents&cursor={next}");
    get(&bank.router, &other_order).await.problem(400, "invalid-cursor");
    for query in
        ["where[cents]=5", "where[balance.cents][ne]=5", "order=cents", "limit=0", "limit=1001", "prefx=a"]
    {
        get(&bank.router, &format!("/api/bank/views/balance?{query}"))
            .await
            .problem(400, "invalid-parameter");
    }
    let acme = send_with(&bank.router, "account/ann/open", "", &[("x-annals-tenant", "acme")]).await.ok();
    let position = acme["position"].as_str().unwrap();
    let uri = format!("/api/bank/views/balance/ann?after={position}&within=5s");
    let theirs = get_with(&bank.router, &uri, &[("x-annals-tenant", "acme")]).await.ok();
    assert_eq!(
        (theirs, get(&bank.router, &uri).await.ok()),
        (json!({"balance": {"cents": 0}}), json!({"balance": {"cents": 5}}))
    );
}
