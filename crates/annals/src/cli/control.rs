//! The control socket: how a command reaches the program that has a log open.
//!
//! HTTP over a Unix socket in the log's directory, the same interface as on the network.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use super::failure::Failure;

/// What a path segment may hold as it is (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How a request names the tenant and what is around a command; the server's words.
pub(crate) const TENANT: &str = "x-annals-tenant";
pub(crate) const ACTOR: &str = "x-annals-actor";
pub(crate) const OCCURRED_AT: &str = "x-occurred-at";
pub(crate) const KEY: &str = "idempotency-key";
pub(crate) const IF_MATCH: &str = "if-match";

/// A connection to the program that has a log open.
pub(crate) struct Client(SendRequest<Full<Bytes>>);

/// What it answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Duration,
    pub(crate) body: Value,
}

/// A request that came to no answer: whether it had an effect is not known.
#[derive(Debug, thiserror::Error)]
#[error("the program that has the log open broke the connection: {0}")]
pub(crate) struct Broken(String);

impl Client {
    /// Connects, where a program answers at `socket`.
    pub(crate) async fn connect(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).await.ok()?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the control socket broke");
            }
        });
        Some(Self(sender))
    }

    /// Asks for `path`.
    pub(crate) async fn get(&mut self, path: &str, headers: &[(&str, String)]) -> Result<Answer, Broken> {
        self.ask(Method::GET, path, headers, Bytes::new()).await
    }

    /// Sends JSON to `path`.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<Answer, Broken> {
        self.ask(Method::POST, path, headers, body).await
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<Answer, Broken> {
        let broken = |error: &dyn std::fmt::Display| Broken(error.to_string());
        let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        let request = request.body(Full::new(body)).map_err(|error| broken(&error))?;
        self.0.ready().await.map_err(|error| broken(&error))?;
        let response = self.0.send_request(request).await.map_err(|error| broken(&error))?;
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
        let body = serde_json::from_slice(&bytes).map_err(|error| broken(&error))?;
        Ok(Answer { status, retry_after: Duration::from_secs(seconds.unwrap_or(1)), body })
    }
}

impl Answer {
    /// The answer's JSON, or what a problem document says.
    pub(crate) fn ok(self) -> Result<Value, Failure> {
        let text = || self.detail().to_owned();
        match self.status {
            200..=299 => Ok(self.body),
            404 if matches!(self.kind(), "no-entity" | "no-version" | "no-document") => {
                Err(Failure::No(text()))
            }
            400 | 404 | 413 => Err(Failure::Use(text())),
            _ => Err(Failure::No(text())),
        }
    }

    /// The kind of problem.
    pub(crate) fn kind(&self) -> &str {
        let kind = self.body.get("type").and_then(Value::as_str).unwrap_or_default();
        kind.rsplit('/').next().unwrap_or_default()
    }

    /// What a problem says.
    pub(crate) fn detail(&self) -> &str {
        self.body.get("detail").and_then(Value::as_str).unwrap_or("the server gave no reason")
    }
}

/// An address from its segments.
pub(crate) fn path(segments: &[&str]) -> String {
    segments.iter().fold("/api".to_owned(), |path, segment| format!("{path}/{}", encoded(segment)))
}

/// A text as it may stand in a path or query.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Lets warnings of the layers below be seen; `RUST_LOG` asks for more.
pub(crate) fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).finish();
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        tracing::debug!("the program takes in log lines itself");
    }
}

/// A runtime for one command.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::No(format!("no threads could be started: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_encoded() {
        assert_eq!(path(&["bank", "account", "a/b c?é"]), "/api/bank/account/a%2Fb%20c%3F%C3%A9");
    }

    #[test]
    fn answers_become_the_exit_codes() {
        let answer = |status, kind: &str| {
            let body = serde_json::json!({ "type": format!("/problems/{kind}"), "detail": "why" });
            Answer { status, retry_after: Duration::ZERO, body }.ok()
        };
        assert!(answer(200, "").is_ok());
        for (status, kind, wrong_use) in [
            (404, "unknown-view", true),
            (404, "no-document", false),
            (404, "no-entity", false),
            (400, "invalid-fields", true),
            (412, "version-mismatch", false),
            (422, "refused", false),
            (503, "busy", false),
        ] {
            let failure = answer(status, kind).unwrap_err();
            assert_eq!(matches!(failure, Failure::Use(_)), wrong_use, "{status} {kind}");
            assert_eq!(failure.to_string(), "why");
        }
    }
}
