//! Limits of the router: one below, at, one above.

use std::time::Duration;

use annals_server::{Limits, SetupError, router};
use axum::body::{Body, Bytes};
use serde_json::Value;

use crate::bank::{Bank, served};
use crate::client::{ask, call, get, request, send, soon};

/// A body that gives its first bytes and then nothing until `finish` is dropped.
fn unfinished(first: &'static str) -> (Body, tokio::sync::oneshot::Sender<()>) {
    struct Slow(Option<&'static str>, tokio::sync::oneshot::Receiver<()>);
    impl futures_core::Stream for Slow {
        type Item = Result<Bytes, std::convert::Infallible>;

        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            if let Some(first) = self.0.take() {
                return std::task::Poll::Ready(Some(Ok(first.into())));
            }
            std::pin::Pin::new(&mut self.1).poll(cx).map(|_| None)
        }
    }
    let (finish, finished) = tokio::sync::oneshot::channel();
    (Body::from_stream(Slow(Some(first), finished)), finish)
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_up_to_the_limit_are_taken() {
    for (limit, lengths) in
        [(1024 * 1024, [1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 1]), (100, [99, 100, 101])]
    {
        let bank = Bank::with(Limits { body_bytes_max: limit, ..Limits::default() });
        send(&bank.router, "account/ann/open", "").await.ok();
        for length in lengths {
            let text = "x".repeat(length - r#"{"value":""}"#.len());
            let body = format!(r#"{{"value":"{text}"}}"#);
            assert_eq!(body.len(), length);
            // Once with the length announced, once without.
            let announced = [("content-type", "application/json"), ("content-length", &length.to_string())];
            for headers in [&announced[..], &announced[..1]] {
                let answer =
                    ask(&bank.router, request("POST", "/api/bank/account/ann/note", headers, body.clone()))
                        .await;
                if length > limit {
                    answer.problem(413, "too-large");
                } else {
                    answer.ok();
                }
            }
        }
    }
}

/// A body that is announced as too large is not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn an_announced_length_is_believed() {
    let bank = Bank::with(Limits { body_bytes_max: 100, ..Limits::default() });
    let (body, _never) = unfinished("{");
    let headers = [("content-type", "application/json"), ("content-length", "101")];
    soon(ask(&bank.router, request("POST", "/api/bank/account/ann/note", &headers, body)))
        .await
        .problem(413, "too-large");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_up_to_the_depth_is_taken() {
    let bank = Bank::open();
    send(&bank.router, "account/ann/open", "").await.ok();
    for (depth, deep) in [(63, false), (64, false), (65, true), (100_000, true)] {
        // The object around the field is a level, too.
        let value = "[".repeat(depth - 1) + &"]".repeat(depth - 1);
        let answer = send(&bank.router, "account/ann/note", &format!(r#"{{"value":{value}}}"#)).await;
        if deep {
            answer.problem(400, "too-deep");
        } else {
            answer.ok();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_given_up() {
    let bank = Bank::with(Limits { body_timeout: Duration::from_millis(50), ..Limits::default() });
    let (body, _never) = unfinished("{");
    let headers = [("content-type", "application/json")];
    soon(ask(&bank.router, request("POST", "/api/bank/account/ann/open", &headers, body)))
        .await
        .problem(408, "slow-request");
    get(&bank.router, "/api/bank/account/ann").await.problem(404, "no-entity");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_are_bounded() {
    let bank = Bank::with(Limits { requests_max: 2, ..Limits::default() });
    let mut held = Vec::new();
    for account in ["ann", "bob"] {
        assert_eq!(get(&bank.router, "/api/bank").await.status, 200, "one below the limit, another one goes");
        let (body, finish) = unfinished("{");
        let (router, uri) = (bank.router.clone(), format!("/api/bank/account/{account}/open"));
        let request = request("POST", &uri, &[("content-type", "application/json")], body);
        let mut pending = Box::pin(async move { ask(&router, request).await });
        let waited = tokio::time::timeout(Duration::from_millis(20), pending.as_mut()).await;
        assert!(waited.is_err(), "it waits for its body: {waited:?}");
        held.push((finish, pending));
    }
    let busy = get(&bank.router, "/api/bank").await;
    busy.problem(503, "busy");
    assert_eq!(busy.header("retry-after"), Some("1"));
    assert_eq!(get(&bank.router, "/healthz").await.status, 200, "operators' pages are not bounded");
    for (finish, pending) in held {
        drop(finish);
        // The body ends at "{": no JSON.
        soon(pending).await.problem(400, "invalid-json");
    }
    assert_eq!(get(&bank.router, "/api/bank").await.status, 200);
}

/// A client that goes away while its command is decided loses nothing but the answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_does_not_undo_its_command() {
    let bank = Bank::open();
    for id in 0..50 {
        let uri = format!("/api/bank/account/a{id}/open");
        let mut pending = Box::pin(call(&bank.router, request("POST", &uri, &[], "")));
        // Polled until it is answered or once more than it needs: then dropped with its answer.
        let polled = tokio::time::timeout(Duration::from_micros(50), pending.as_mut()).await;
        drop((polled, pending));
        let state = get(&bank.router, &format!("/api/bank/account/a{id}")).await;
        let history = get(&bank.router, &format!("/api/bank/account/a{id}/events")).await.ok();
        let events = history["events"].as_array().map_or(0, Vec::len);
        assert_eq!(events, usize::from(state.status == 200), "whole or not at all");
        assert_eq!(events, 1, "the decision was begun, so it was finished");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn contexts_whose_addresses_clash_are_refused() {
    let bank = Bank::open();
    let twice = router(vec![served(&bank.engine), served(&bank.engine)], None, Limits::default());
    assert_eq!(twice.unwrap_err(), SetupError::ContextTwice("bank".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn problems_explain_themselves() {
    let bank = Bank::open();
    let problem: Value = get(&bank.router, "/api/shop").await.problem(404, "unknown-context");
    let text = get(&bank.router, problem["type"].as_str().unwrap()).await;
    assert_eq!(text.status, 200);
    assert!(text.text().starts_with("unknown-context (404): "), "{}", text.text());
    get(&bank.router, "/problems/nothing").await.problem(404, "unknown-route");
}
