//! Server-sent events: from a cursor up to the log's end, then live, without gap or repeat.

use std::collections::BTreeMap;
use std::time::Duration;

use annals_server::Limits;
use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::bank::{Bank, log, write_event};
use crate::client::{call, get, get_with, request, send, send_with, soon};

/// A message as a browser would see it.
#[derive(Clone, Debug, PartialEq)]
struct Message {
    id: Option<String>,
    event: Option<String>,
    data: Option<Value>,
}

/// A client that reads messages one by one.
struct Subscriber {
    body: Body,
    buffer: String,
}

impl Subscriber {
    async fn open(router: &Router, uri: &str, headers: &[(&str, &str)]) -> Self {
        let response = call(router, request("GET", uri, headers, "")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), buffer: String::new() }
    }

    /// The next message; `None` at the end.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let message = parse(block);
                self.buffer = rest.to_owned();
                return Some(message);
            }
            let frame = soon(self.body.frame()).await?.unwrap();
            self.buffer.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
    }

    /// The next `count` messages that carry an event.
    async fn events(&mut self, count: usize) -> Vec<Message> {
        let mut events = Vec::new();
        // Bounded as a whole: heartbeats would keep it waiting for ever for an event that was skipped.
        soon(async {
            while events.len() < count {
                let message = self.next().await.expect("the stream ended");
                assert_eq!(message.event, None, "{message:?}");
                events.extend(message.data.is_some().then_some(message));
            }
        })
        .await;
        events
    }
}

fn parse(block: &str) -> Message {
    let field = |name: &str| {
        block
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.trim().to_owned())
    };
    Message {
        id: field("id"),
        event: field("event"),
        data: field("data").map(|data| serde_json::from_str(&data).unwrap()),
    }
}

fn place(message: &Message) -> (String, u64) {
    let data = message.data.as_ref().unwrap();
    (data["stream"].as_str().unwrap().to_owned(), data["version"].as_u64().unwrap())
}

/// Every event of `accounts` once and in order; `events` is how many each has.
#[track_caller]
fn assert_each_once(messages: &[Message], accounts: u64, events: u64) {
    let mut versions: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for message in messages {
        let (stream, version) = place(message);
        versions.entry(stream).or_default().push(version);
    }
    assert_eq!(versions.len() as u64, accounts);
    for (stream, versions) in versions {
        assert_eq!(versions, (1..=events).collect::<Vec<_>>(), "{stream}");
    }
}

const ACCOUNTS: u64 = 6;
const ROUNDS: u64 = 20;
/// Of each account: it is opened, and each round is a record of one event and one of three.
const EVENTS: u64 = 1 + 4 * ROUNDS;

/// Sends the commands of all accounts, a few at the same time.
async fn work(router: Router) {
    let mut tasks = tokio::task::JoinSet::new();
    for account in 0..ACCOUNTS {
        let router = router.clone();
        tasks.spawn(async move {
            send(&router, &format!("account/a{account}/open"), "").await.ok();
            for _ in 0..ROUNDS {
                send(&router, &format!("account/a{account}/deposit"), r#"{"amount":{"cents":1}}"#).await.ok();
                send(&router, &format!("account/a{account}/burst"), r#"{"events":3}"#).await.ok();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn catching_up_goes_over_into_live_without_gap() {
    let bank = Bank::open();
    let working = tokio::spawn(work(bank.router.clone()));
    tokio::time::sleep(Duration::from_millis(15)).await;
    let mut subscriber = Subscriber::open(&bank.router, "/api/bank/events", &[]).await;
    let messages = subscriber.events((ACCOUNTS * EVENTS) as usize).await;
    working.await.unwrap();
    assert_each_once(&messages, ACCOUNTS, EVENTS);
    send(&bank.router, "account/late/open", "").await.ok();
    assert_eq!(place(&subscriber.events(1).await[0]), ("account/late".into(), 1), "still live");
}

/// Whatever the feed is doing when an event is recorded, it wakes for it and not only for its next heartbeat.
#[tokio::test(flavor = "multi_thread")]
async fn news_come_at_once() {
    let bank = Bank::open();
    let mut subscriber = Subscriber::open(&bank.router, "/api/bank/events", &[]).await;
    let rounds = async {
        for round in 0..200 {
            send(&bank.router, &format!("account/a{round}/open"), "").await.ok();
            assert_eq!(place(&subscriber.events(1).await[0]).0, format!("account/a{round}"));
            // So that the next one meets the feed reading, going to rest, and at rest.
            tokio::time::sleep(Duration::from_micros(round * 37 % 8000)).await;
        }
    };
    // Less than one heartbeat.
    tokio::time::timeout(Duration::from_secs(10), rounds).await.expect("an event waited for a heartbeat");
}

/// Breaking off anywhere and going on from the last id gives every event once.
#[tokio::test(flavor = "multi_thread")]
async fn going_on_from_the_last_id_repeats_and_skips_nothing() {
    let bank = Bank::open();
    let working = tokio::spawn(work(bank.router.clone()));
    let (mut kept, mut cursor) = (Vec::new(), "start".to_owned());
    let mut length = 1;
    while (kept.len() as u64) < ACCOUNTS * EVENTS {
        let headers = [("last-event-id", cursor.as_str())];
        let headers = if cursor == "start" { &[][..] } else { &headers[..] };
        let mut subscriber = Subscriber::open(&bank.router, "/api/bank/events?from=start", headers).await;
        let wanted = length.min((ACCOUNTS * EVENTS) as usize - kept.len());
        let messages = subscriber.events(wanted).await;
        // Like a client that takes in whole records: what comes after the last id comes again.
        let whole = messages.iter().rposition(|message| message.id.is_some()).map_or(0, |last| last + 1);
        if let Some(last) = messages[..whole].last() {
            cursor = last.id.clone().unwrap();
        }
        kept.extend_from_slice(&messages[..whole]);
        length = length % 41 + 3;
    }
    working.await.unwrap();
    assert_each_once(&kept, ACCOUNTS, EVENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_last_event_of_a_record_moves_the_cursor() {
    let bank = Bank::on(log(1), Limits::default(), annals_engine::Settings::default());
    send(&bank.router, "account/ann/open", "").await.ok();
    send(&bank.router, "account/ann/burst", r#"{"events":3}"#).await.ok();
    let mut subscriber = Subscriber::open(&bank.router, "/api/bank/events", &[]).await;
    assert_eq!(subscriber.next().await.unwrap(), Message { id: Some("0".into()), event: None, data: None });
    let ids: Vec<_> = subscriber.events(4).await.into_iter().map(|message| message.id).collect();
    assert_eq!(ids, [Some("3".into()), None, None, Some("4".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_let_through_what_they_name() {
    let bank = Bank::open();
    for id in ["ann", "bob", "carl"] {
        send(&bank.router, &format!("account/{id}/open"), "").await.ok();
        send(&bank.router, &format!("account/{id}/deposit"), r#"{"amount":{"cents":5}}"#).await.ok();
    }
    send_with(&bank.router, "account/ann/open", "", &[("x-annals-tenant", "acme")]).await.ok();
    let places = |messages: Vec<Message>| -> Vec<(String, u64)> { messages.iter().map(place).collect() };

    let mut of_stream = Subscriber::open(&bank.router, "/api/bank/events?stream=account/bob", &[]).await;
    assert_eq!(places(of_stream.events(2).await), [("account/bob".into(), 1), ("account/bob".into(), 2)]);
    let mut of_type =
        Subscriber::open(&bank.router, "/api/bank/events?type=account.deposited,account.withdrawn", &[])
            .await;
    let mut found = places(of_type.events(3).await);
    found.sort();
    assert_eq!(found, [("account/ann".into(), 2), ("account/bob".into(), 2), ("account/carl".into(), 2)]);
    let mut of_tenant =
        Subscriber::open(&bank.router, "/api/bank/events", &[("x-annals-tenant", "acme")]).await;
    assert_eq!(places(of_tenant.events(1).await), [("acme:account/ann".into(), 1)]);

    // Live, too: the next event of each is the one that it lets through.
    send(&bank.router, "account/carl/withdraw", r#"{"amount":{"cents":1}}"#).await.ok();
    send(&bank.router, "account/bob/burst", r#"{"events":2}"#).await.ok();
    send_with(
        &bank.router,
        "account/ann/deposit",
        r#"{"amount":{"cents":5}}"#,
        &[("x-annals-tenant", "acme")],
    )
    .await
    .ok();
    assert_eq!(places(of_stream.events(2).await), [("account/bob".into(), 3), ("account/bob".into(), 4)]);
    let mut found = places(of_type.events(3).await);
    found.sort();
    assert_eq!(found, [("account/bob".into(), 3), ("account/bob".into(), 4), ("account/carl".into(), 3)]);
    assert_eq!(places(of_tenant.events(1).await), [("acme:account/ann".into(), 2)]);
}

/// More records than are read at a time, for both ways of reading.
#[tokio::test(flavor = "multi_thread")]
async fn long_histories_come_whole() {
    let bank = Bank::open();
    send(&bank.router, "account/ann/open", "").await.ok();
    for _ in 0..150 {
        send(&bank.router, "account/ann/fill", r#"{"bytes":2000}"#).await.ok();
    }
    for uri in ["/api/bank/events", "/api/bank/events?stream=account/ann"] {
        let mut subscriber = Subscriber::open(&bank.router, uri, &[]).await;
        assert_each_once(&subscriber.events(151).await, 1, 151);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn now_begins_with_what_comes_next() {
    let bank = Bank::open();
    send(&bank.router, "account/ann/open", "").await.ok();
    let mut subscriber = Subscriber::open(&bank.router, "/api/bank/events?from=now", &[]).await;
    let hello = subscriber.next().await.unwrap();
    send(&bank.router, "account/bob/open", "").await.ok();
    assert_eq!(place(&subscriber.events(1).await[0]).0, "account/bob");
    // The cursor of the greeting is worth as much: it leads to the same event.
    let mut again =
        Subscriber::open(&bank.router, "/api/bank/events", &[("last-event-id", &hello.id.unwrap())]).await;
    assert_eq!(place(&again.events(1).await[0]).0, "account/bob");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_broken_by_heartbeats_that_carry_the_cursor() {
    let bank = Bank::with(Limits { heartbeat: Duration::from_millis(30), ..Limits::default() });
    let mut subscriber = Subscriber::open(&bank.router, "/api/bank/events?type=account.withdrawn", &[]).await;
    let before = subscriber.next().await.unwrap().id.unwrap();
    send(&bank.router, "account/ann/open", "").await.ok();
    let after = loop {
        let beat = subscriber.next().await.unwrap();
        assert_eq!(beat.data, None, "the filter lets nothing through");
        if beat.id.as_ref() != Some(&before) && beat.id.as_deref() != Some("2.2") {
            break beat.id.unwrap();
        }
    };
    assert!(["2.3", "3.2"].contains(&after.as_str()), "the record that was filtered out is behind: {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_followed_is_refused() {
    let bank = Bank::open();
    for (query, status, name) in [
        ("from=x", 400, "invalid-cursor"),
        ("from=1", 400, "invalid-cursor"),
        ("from=1.1.1", 400, "invalid-cursor"),
        ("from=1.01", 400, "invalid-cursor"),
        ("from=2.3", 400, "invalid-cursor"),
        ("type=account.forgotten", 400, "invalid-parameter"),
        ("type=", 400, "invalid-parameter"),
        ("stream=account", 400, "invalid-parameter"),
        ("stream=acount/ann", 404, "unknown-decider"),
        ("stream=account/ANN", 400, "invalid-name"),
        ("limit=1", 400, "invalid-parameter"),
    ] {
        get(&bank.router, &format!("/api/bank/events?{query}")).await.problem(status, name);
    }
    // One below the end, at it, and one above.
    for (cursor, status) in [("2.1", 200), ("2.2", 200), ("3.2", 400)] {
        let response =
            call(&bank.router, request("GET", "/api/bank/events", &[("last-event-id", cursor)], "")).await;
        assert_eq!(response.status(), status, "{cursor}");
    }
    get_with(&bank.router, "/api/shop/events", &[]).await.problem(404, "unknown-context");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_ends_the_stream_with_a_problem() {
    let bank = Bank::open();
    write_event(&bank.log, "account/ann", "account.opened", "");
    let mut subscriber = Subscriber::open(&bank.router, "/api/bank/events", &[]).await;
    assert_eq!(subscriber.events(1).await[0].data.as_ref().unwrap()["data"], json!({}));
    bank.log.set_faults(
        annals_log::faults::FaultPlan::seeded(1).with(annals_log::faults::Fault::ReadUnavailable, 1.0),
    );
    write_event(&bank.log, "account/bob", "account.opened", "");
    let told = subscriber.next().await.unwrap();
    assert_eq!(told.event.as_deref(), Some("problem"));
    assert_eq!(told.data.unwrap()["type"], "/problems/unavailable");
    assert_eq!(subscriber.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_counted_while_they_are_open() {
    let bank = Bank::with(Limits { subscribers_max: 2, ..Limits::default() });
    let first = Subscriber::open(&bank.router, "/api/bank/events", &[]).await;
    let _second = Subscriber::open(&bank.router, "/api/bank/events", &[]).await;
    let third = get(&bank.router, "/api/bank/events").await;
    third.problem(503, "busy");
    assert_eq!(third.header("retry-after"), Some("5"));
    drop(first);
    soon(async {
        while call(&bank.router, request("GET", "/api/bank/events", &[], "")).await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A client that reads nothing holds one chunk, and nobody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_nobody_up() {
    let bank = Bank::open();
    let mut idle = Subscriber::open(&bank.router, "/api/bank/events", &[]).await;
    soon(work(bank.router.clone())).await;
    let mut reader = Subscriber::open(&bank.router, "/api/bank/events", &[]).await;
    assert_each_once(&reader.events((ACCOUNTS * EVENTS) as usize).await, ACCOUNTS, EVENTS);
    assert_each_once(&idle.events((ACCOUNTS * EVENTS) as usize).await, ACCOUNTS, EVENTS);
}
