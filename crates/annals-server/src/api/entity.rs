//! Reading an entity: its state, now or at a moment, and its history.

use std::sync::Arc;

use annals_engine::At;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::app::App;
use crate::blocking;
use crate::input::{self, Parameters, Segments};
use crate::problem::{Kind, Problem};

/// The events on a page where the caller does not say.
const PAGE_EVENTS: u64 = 100;
/// The most events on a page.
pub(crate) const PAGE_EVENTS_MAX: u64 = 1_000;

/// `GET /api/{context}/{decider}/{id}`
pub(crate) async fn state(
    State(app): State<Arc<App>>,
    Segments((context, decider, id)): Segments<(String, String, String)>,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let engine = app.hosted(&context)?.engine.clone();
    let stream = super::stream(&engine, input::tenant(&headers)?.as_ref(), &decider, &id)?;
    let version = parameters.number("version", 0, u64::MAX)?;
    let at = match (version, parameters.time("at")?) {
        (None, None) => At::Now,
        (Some(version), None) => At::Version(version),
        (None, Some(time)) => At::Time(time),
        (Some(_), Some(_)) => {
            let detail = "version and at exclude each other; give one of them";
            return Err(Problem::new(Kind::InvalidParameter, detail));
        }
    };
    parameters.finish(&["version", "at"])?;
    let asked = stream.clone();
    let found = blocking::run(move || engine.state(&asked, at)).await??;
    if found.version == 0 {
        return Err(super::no_entity(&stream));
    }
    let tag = format!("\"{}\"", found.version);
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let document = json!({ "stream": stream, "version": found.version, "state": found.state });
    Ok(([(header::ETAG, tag)], Json(document)).into_response())
}

/// `GET /api/{context}/{decider}/{id}/events`
pub(crate) async fn history(
    State(app): State<Arc<App>>,
    Segments((context, decider, id)): Segments<(String, String, String)>,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let engine = app.hosted(&context)?.engine.clone();
    let stream = super::stream(&engine, input::tenant(&headers)?.as_ref(), &decider, &id)?;
    let after = parameters.number("after", 0, u64::MAX)?.unwrap_or(0);
    let limit = parameters.number("limit", 1, PAGE_EVENTS_MAX)?.unwrap_or(PAGE_EVENTS) as usize;
    parameters.finish(&["after", "limit"])?;
    let asked = stream.clone();
    // One more than asked for tells whether there is a next page.
    let mut events = blocking::run(move || engine.history(&asked, after, limit + 1)).await??;
    let more = events.len() > limit;
    events.truncate(limit);
    let next = events.last().filter(|_| more).map(|event| event.version);
    Ok(Json(json!({ "stream": stream, "events": events, "next": next })).into_response())
}
