//! Sending a command.

use std::sync::Arc;

use annals_core::Timestamp;
use annals_engine::{ExecuteError, Receipt, Request};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::oneshot;

use crate::app::App;
use crate::input::{self, Parameters, Segments};
use crate::problem::{Problem, of_command};
use crate::{blocking, body};

/// `POST /api/{context}/{decider}/{id}/{command}`
pub(crate) async fn send(
    State(app): State<Arc<App>>,
    Segments((context, decider, id, command)): Segments<(String, String, String, String)>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let engine = &app.hosted(&context)?.engine;
    parameters.finish(&[])?;
    let decider = Arc::clone(engine.decider(&decider)?);
    let stream = super::stream(engine, input::tenant(&headers)?.as_ref(), decider.name(), &id)?;
    let fields = body::read(&headers, body, &app.limits).await?;
    let command = decider.read_command(&command, &fields).map_err(|error| body::unfit(error, &fields))?;
    let request = Around::of(&headers)?.put(Request::new(stream, command));
    let expected = request.expected_version.is_some();

    let (sender, receiver) = oneshot::channel();
    let (hosting, unanswered) = (Arc::clone(&app), request.key.clone());
    let then = move |outcome| {
        // Noted even where the client went away, who is not told.
        if let Ok(hosted) = hosting.hosted(&context) {
            hosted.note(&outcome);
        }
        drop(sender.send(outcome));
    };
    if let Some(rest) = engine.begin(request, then) {
        blocking::run(rest).await?;
    }
    let nobody = |_| {
        let (key, reason) = (unanswered.unwrap_or_default(), "the thread that answers ended".to_owned());
        Err(ExecuteError::OutcomeUnknown { key, reason })
    };
    match receiver.await.unwrap_or_else(nobody) {
        Ok(receipt) => Ok(answer(&receipt)),
        Err(error) => Err(of_command(error, decider.as_ref(), expected)),
    }
}

/// What the headers say around a command.
pub(super) struct Around {
    key: Option<String>,
    expected_version: Option<u64>,
    actor: String,
    correlation: String,
    traceparent: String,
    occurred_at: Option<Timestamp>,
}

impl Around {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let said = |name| Ok::<_, Problem>(input::text(headers, name)?.unwrap_or_default().to_owned());
        Ok(Self {
            key: input::key(headers)?,
            expected_version: input::version(headers)?,
            actor: said(input::ACTOR)?,
            correlation: said(input::CORRELATION)?,
            traceparent: input::traceparent(headers)?.to_owned(),
            occurred_at: input::occurred_at(headers)?,
        })
    }

    pub(super) fn put(self, request: Request) -> Request {
        let Self { key, expected_version, actor, correlation, traceparent, occurred_at } = self;
        Request { key, expected_version, actor, correlation, traceparent, occurred_at, ..request }
    }
}

pub(super) fn answer(receipt: &Receipt) -> Response {
    let mut response = Json(json!({
        "position": receipt.position,
        "stream": receipt.stream,
        "version": receipt.version,
        "events": receipt.events,
        "key": receipt.key,
        "repeated": receipt.repeated,
    }))
    .into_response();
    // A key has no control characters, so it fits into a header.
    if let Ok(key) = HeaderValue::from_bytes(receipt.key.as_bytes()) {
        response.headers_mut().insert(input::IDEMPOTENCY_KEY, key);
    }
    if let Ok(version) = HeaderValue::try_from(format!("\"{}\"", receipt.version)) {
        response.headers_mut().insert(header::ETAG, version);
    }
    response
}
