//! Time travel over HTTP: the difference between two moments, rollback, what-if.

use std::sync::Arc;

use annals_engine::{At, Edit, Request, Rollback, RollbackError, StateAt, WhatIfError};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::command::{self, Around};
use crate::app::App;
use crate::input::{self, Parameters, Segments};
use crate::problem::{Kind, Problem, of_command};
use crate::{blocking, body};

/// Which entity is asked for.
type Entity = Segments<(String, String, String)>;

/// What a rollback is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Back {
    to: u64,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    preview: bool,
    #[serde(default)]
    partial: bool,
}

/// What would have been otherwise.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Otherwise {
    edits: Vec<EditText>,
}

/// One edit of a history.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum EditText {
    Drop {
        version: u64,
    },
    Replace {
        version: u64,
        #[serde(rename = "type")]
        name: Option<String>,
        data: Value,
    },
    Insert {
        after: u64,
        #[serde(rename = "type")]
        name: String,
        #[serde(default)]
        data: Value,
    },
}

impl From<EditText> for Edit {
    fn from(text: EditText) -> Self {
        match text {
            EditText::Drop { version } => Self::Drop { version },
            EditText::Replace { version, name, data } => Self::Replace { version, name, data },
            EditText::Insert { after, name, data } => Self::Insert { after, name, data },
        }
    }
}

/// `GET /api/{context}/{decider}/{id}/diff`
pub(crate) async fn diff(
    State(app): State<Arc<App>>,
    Segments((context, decider, id)): Entity,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let engine = app.hosted(&context)?.engine.clone();
    let stream = super::stream(&engine, input::tenant(&headers)?.as_ref(), &decider, &id)?;
    let mut moment = |name: &str| parameters.take(name).map(|text| (name.to_owned(), text));
    let (from, to) = (moment("from")?, moment("to")?);
    parameters.finish(&["from", "to"])?;
    let (from, to) = (at(from, At::Version(0))?, at(to, At::Now)?);
    let asked = stream.clone();
    let found = blocking::run(move || engine.difference(&asked, from, to)).await??;
    Ok(Json(json!({
        "stream": stream,
        "from": moment_json(&found.from),
        "to": moment_json(&found.to),
        "changes": found.changes,
        "events": found.events,
    }))
    .into_response())
}

/// A version or a time, as the parameter says.
fn at((name, text): (String, Option<String>), usual: At) -> Result<At, Problem> {
    let Some(text) = text else { return Ok(usual) };
    if text == "now" {
        return Ok(At::Now);
    }
    let moment = text.parse().map(At::Version).ok().or_else(|| text.parse().map(At::Time).ok());
    moment.ok_or_else(|| {
        let detail =
            format!("parameter {name} is {text:?}; give a version, a time like 2026-01-31T12:00:00Z, or now");
        Problem::new(Kind::InvalidParameter, detail).with("parameter", name)
    })
}

fn moment_json(moment: &StateAt) -> Value {
    json!({ "version": moment.version, "state": moment.state })
}

/// `POST /api/{context}/{decider}/{id}/rollback`
pub(crate) async fn rollback(
    State(app): State<Arc<App>>,
    Segments((context, decider, id)): Entity,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let hosted = app.hosted(&context)?;
    let engine = hosted.engine.clone();
    let stream = super::stream(&engine, input::tenant(&headers)?.as_ref(), &decider, &id)?;
    parameters.finish(&[])?;
    let told: Back = fields(&body::read(&headers, body, &app.limits).await?)?;
    let asked = stream.clone();
    if told.preview {
        let found = blocking::run(move || engine.preview_rollback(&asked, told.to)).await??;
        return Ok(Json(json!({
            "stream": stream, "version": found.version, "to": found.to, "events": found.events,
            "state": found.state, "remaining": found.remaining,
        }))
        .into_response());
    }
    let around = Around::of(&headers)?;
    let decider = Arc::clone(engine.decider(stream.kind())?);
    let expected = headers.contains_key(input::IF_MATCH);
    let rollback = Rollback { to: told.to, reason: told.reason, partial: told.partial };
    let done = blocking::run(move || {
        engine.roll_back(&rollback, |stream, command| around.put(Request::new(stream, command)), &asked)
    });
    match done.await? {
        Ok(receipt) => Ok(command::answer(&receipt)),
        Err(RollbackError::Execute(error)) => Err(of_command(error, decider.as_ref(), expected)),
        Err(error) => Err(error.into()),
    }
}

/// `POST /api/{context}/{decider}/{id}/what-if`
pub(crate) async fn what_if(
    State(app): State<Arc<App>>,
    Segments((context, decider, id)): Entity,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let engine = app.hosted(&context)?.engine.clone();
    let stream = super::stream(&engine, input::tenant(&headers)?.as_ref(), &decider, &id)?;
    parameters.finish(&[])?;
    let told: Otherwise = fields(&body::read(&headers, body, &app.limits).await?)?;
    let edits: Vec<Edit> = told.edits.into_iter().map(Edit::from).collect();
    let asked = stream.clone();
    let found = blocking::run(move || engine.what_if(&asked, &edits, None)).await??;
    Ok(Json(json!({
        "stream": stream,
        "real": moment_json(&found.real),
        "other": moment_json(&found.other),
        "changes": found.changes,
    }))
    .into_response())
}

fn fields<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let kind = if error.is_data() { Kind::InvalidFields } else { Kind::InvalidJson };
        Problem::new(kind, format!("the body does not fit: {error}"))
    })
}

impl From<RollbackError> for Problem {
    fn from(error: RollbackError) -> Self {
        let text = error.to_string();
        match error {
            RollbackError::Query(error) => error.into(),
            RollbackError::Execute(error) => error.into(),
            RollbackError::Partial { remaining, .. } => {
                let detail = format!("{text}; look at remaining, and send partial: true if it may");
                Self::new(Kind::NotPossible, detail).with("remaining", json!(remaining))
            }
            _ => Self::new(Kind::NotPossible, text),
        }
    }
}

impl From<WhatIfError> for Problem {
    fn from(error: WhatIfError) -> Self {
        match error {
            WhatIfError::Query(error) => error.into(),
            error => Self::new(Kind::InvalidFields, error.to_string()),
        }
    }
}
