//! What a context has.

use std::sync::Arc;

use annals_core::codec::Variant;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::app::{App, Hosted};
use crate::blocking;
use crate::input::{Parameters, Segments};
use crate::problem::Problem;

/// `GET /api/{context}`
pub(crate) async fn describe(
    State(app): State<Arc<App>>,
    Segments(context): Segments<String>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    app.hosted(&context)?;
    parameters.finish(&[])?;
    let described = blocking::run(move || app.hosted(&context).map(description)).await??;
    Ok(Json(described).into_response())
}

fn description(hosted: &Hosted) -> Value {
    let context = hosted.engine.context();
    let names = |variants: &[Variant]| variants.iter().map(|variant| variant.name).collect::<Vec<_>>();
    let deciders: Vec<Value> = context
        .deciders()
        .values()
        .map(|decider| {
            json!({
                "name": decider.name(),
                "commands": names(decider.commands()),
                "events": names(decider.events()),
                "refusals": names(decider.refusals()),
            })
        })
        .collect();
    let views: Vec<Value> = hosted
        .views
        .names()
        .into_iter()
        .map(|view| json!({ "name": view, "lag": hosted.views.lag(view).ok() }))
        .collect();
    let identity = hosted.engine.log().identity();
    json!({
        "context": context.name(),
        "log": { "id": identity.log_id, "shards": identity.shards, "created_at": identity.created_at },
        "deciders": deciders,
        "sagas": context.sagas().keys().collect::<Vec<_>>(),
        "views": views,
    })
}
