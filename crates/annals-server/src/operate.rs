//! The pages that operators and programs watch: health, readiness, metrics, OpenAPI, problem texts.

use std::sync::Arc;

use annals_views::ViewState;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Map, Value, json};

use crate::app::{App, Hosted};
use crate::blocking;
use crate::input::Segments;
use crate::keys::Caller;
use crate::metrics as counters;
use crate::problem::{Kind, Problem};

/// The process answers.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether every context takes commands and every view goes on: 200, or 503 with the reasons.
///
/// Behind a file of keys the reasons are for those who have one.
pub(crate) async fn readyz(
    State(app): State<Arc<App>>,
    caller: Option<Extension<Caller>>,
) -> Result<Response, Problem> {
    let tells = app.keys.is_none() || caller.is_some();
    let degraded: Vec<String> = app.keys.iter().filter_map(|keys| keys.trouble()).collect();
    let contexts: Map<String, Value> = blocking::run(move || {
        let reasons = |(name, hosted): (&String, &Hosted)| (name.clone(), json!(unready(hosted)));
        app.contexts.iter().map(reasons).collect()
    })
    .await?;
    let ready = contexts.values().all(|reasons| reasons.as_array().is_some_and(Vec::is_empty));
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let told = match tells {
        true => json!({ "ready": ready, "degraded": degraded, "contexts": contexts }),
        false => json!({ "ready": ready }),
    };
    Ok((status, Json(told)).into_response())
}

/// Why a context is not ready; nothing where it is.
fn unready(hosted: &Hosted) -> Vec<String> {
    let mut reasons = Vec::new();
    reasons.extend(hosted.unwritable().map(|reason| format!("it takes no commands: {reason}")));
    reasons.extend(hosted.engine.status().stuck.map(|reason| format!("a relay does not go on: {reason}")));
    for view in hosted.views.names() {
        if let Ok(ViewState::Stopped { reason, .. }) = hosted.views.state(view) {
            reasons.push(format!("view {view} stands still: {reason}"));
        }
    }
    reasons
}

/// Counters in the text format of Prometheus.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let page = blocking::run(move || counters::page(&app)).await?;
    Ok(([(header::CONTENT_TYPE, counters::MEDIA_TYPE)], page).into_response())
}

/// The OpenAPI document.
pub(crate) async fn openapi(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], app.openapi.clone()).into_response()
}

/// What a type of problem means, for people.
pub(crate) async fn problem(Segments(name): Segments<String>) -> Result<Response, Problem> {
    let Some(kind) = Kind::ALL.iter().find(|kind| kind.name() == name) else {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        let detail = format!("there is no problem {name:?}");
        return Err(Problem::new(Kind::UnknownRoute, detail).with("known", known));
    };
    Ok(format!("{} ({}): {}\n\n{}\n", kind.name(), kind.status(), kind.title(), kind.text()).into_response())
}
