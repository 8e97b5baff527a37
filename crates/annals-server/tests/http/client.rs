//! Asking the router without a network, and reading what it says.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The document, if it is a whole problem of this status and name.
    #[track_caller]
    pub fn problem(&self, status: u16, name: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let document = self.json();
        assert_eq!(document["type"], format!("/problems/{name}"), "{document:#}");
        assert_eq!(document["status"], status);
        for field in ["title", "detail"] {
            assert!(document[field].as_str().is_some_and(|text| !text.is_empty()), "{document:#}");
        }
        document
    }

    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }
}

pub async fn call(router: &Router, request: Request<Body>) -> axum::response::Response {
    TowerToHyperService::new(router.clone()).call(request).await.unwrap()
}

pub async fn ask(router: &Router, request: Request<Body>) -> Answer {
    let response = call(router, request).await;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub fn request(method: &str, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let builder = Request::builder().method(method).uri(uri);
    headers
        .iter()
        .fold(builder, |builder, (name, value)| builder.header(*name, value.as_bytes()))
        .body(body.into())
        .unwrap()
}

pub async fn get(router: &Router, uri: &str) -> Answer {
    ask(router, request("GET", uri, &[], "")).await
}

pub async fn get_with(router: &Router, uri: &str, headers: &[(&str, &str)]) -> Answer {
    ask(router, request("GET", uri, headers, "")).await
}

/// Sends a command: a path below `/api/bank/` and the JSON of its fields, empty for none.
pub async fn send(router: &Router, path: &str, fields: &str) -> Answer {
    send_with(router, path, fields, &[]).await
}

pub async fn send_with(router: &Router, path: &str, fields: &str, headers: &[(&str, &str)]) -> Answer {
    let mut all = headers.to_vec();
    if !fields.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
        all.push(("content-type", "application/json"));
    }
    ask(router, request("POST", &format!("/api/bank/{path}"), &all, fields.to_owned())).await
}

/// Fails a test that would hang.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it did not come in 20 s")
}
