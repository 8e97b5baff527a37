//! What an administrator does to views: looks at builds, builds anew, deals with events that were set aside.
//!
//! It concerns all tenants at once, so a key that is for one tenant alone may not.

use std::sync::Arc;

use annals_core::Position;
use annals_views::rebuild::{Compare, Options, Swap};
use annals_views::store::{Build, SetAside};
use annals_views::{OperateError, Views};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::body;
use crate::input::{self, Parameters, Segments};
use crate::problem::{Kind, Problem};
use crate::{blocking, input::ACTOR};

/// The events on a page where the caller does not say.
const PAGE_EVENTS: u64 = 100;
/// The most events on a page.
pub(crate) const PAGE_EVENTS_MAX: u64 = 1_000;

/// What is done to a view: the last segment of the address, and what it does.
pub(crate) const ACTS: [(&str, &str); 8] = [
    ("rebuild", "Builds the view anew beside the one that is read"),
    ("pause", "Pauses a rebuild"),
    ("resume", "Lets a paused rebuild go on"),
    ("cancel", "Gives a rebuild up and drops what it built"),
    ("swap", "Lets a rebuild take over that was to wait for it"),
    ("drop-build", "Drops a build that is neither read nor folded"),
    ("retry", "Takes in events that were set aside, as far as they can be read now"),
    ("drop-event", "Drops the event at which a stream is parked, and takes in what waits behind it"),
];

/// What an act may be told.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
struct Told {
    compare: Option<Comparing>,
    swap: Option<Swapping>,
    keep: Option<bool>,
    build: Option<String>,
    stream: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Comparing {
    Counts,
    Documents,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Swapping {
    Always,
    IfEqual,
    WhenTold,
}

/// `GET /admin/{context}/views`
pub(crate) async fn views(
    State(app): State<Arc<App>>,
    Segments(context): Segments<String>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let views = Arc::clone(&app.hosted(&context)?.views);
    parameters.finish(&[])?;
    let told: Result<Vec<Value>, Problem> =
        blocking::run(move || views.names().into_iter().map(|view| described(&views, view)).collect())
            .await?;
    Ok(Json(json!({ "views": told? })).into_response())
}

fn described(views: &Views, view: &str) -> Result<Value, Problem> {
    let build = |build: Build| json!({ "build": build.view.to_string(), "stage": build.stage, "indexes": build.layout.indexes });
    let builds: Vec<Value> = views.builds(view)?.into_iter().map(build).collect();
    Ok(json!({
        "name": view,
        "lag": views.lag(view)?,
        "builds": builds,
        "rebuild": views.rebuilding(view)?,
        "parked": views.parked_streams(view)?.len(),
    }))
}

/// `GET /admin/{context}/views/{view}/aside`
pub(crate) async fn aside(
    State(app): State<Arc<App>>,
    Segments((context, view)): Segments<(String, String)>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let views = Arc::clone(&app.hosted(&context)?.views);
    let stream = parameters.take("stream")?;
    let after = parameters.take("cursor")?.map(|text| text.parse::<Position>()).transpose()?;
    let limit = parameters.number("limit", 1, PAGE_EVENTS_MAX)?.unwrap_or(PAGE_EVENTS) as usize;
    parameters.finish(&["stream", "cursor", "limit"])?;
    let events: Vec<SetAside> =
        blocking::run(move || views.set_aside(&view, stream.as_deref(), after, limit)).await??;
    let next = events.last().filter(|_| events.len() == limit).map(|event| event.position.to_string());
    Ok(Json(json!({ "events": events, "next": next })).into_response())
}

/// `POST /admin/{context}/views/{view}/{act}`
pub(crate) async fn act(
    State(app): State<Arc<App>>,
    Segments((context, view, act)): Segments<(String, String, String)>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let views = Arc::clone(&app.hosted(&context)?.views);
    parameters.finish(&[])?;
    let bytes = body::read(&headers, body, &app.limits).await?;
    let told: Told = match bytes.is_empty() {
        true => Told::default(),
        false => serde_json::from_slice(&bytes)
            .map_err(|error| Problem::new(Kind::InvalidFields, format!("the body does not fit: {error}")))?,
    };
    let actor = input::text(&headers, ACTOR)?.unwrap_or_default().to_owned();
    let answer = blocking::run(move || {
        let answer = perform(&views, &view, &act, told);
        let outcome = answer.as_ref().map_or_else(|problem| problem.detail(), |_| "done");
        tracing::info!(context, view, act, actor, outcome, "an administrator acted on a view");
        answer
    });
    Ok(Json(answer.await??).into_response())
}

fn perform(views: &Views, view: &str, act: &str, told: Told) -> Result<Value, Problem> {
    let needs = |field: &str| Problem::new(Kind::InvalidFields, format!("{act} needs the field {field:?}"));
    let done = |()| json!({});
    match act {
        "rebuild" => Ok(json!({ "build": views.rebuild(view, told.options())?.to_string() })),
        "pause" => Ok(views.pause(view).map(done)?),
        "resume" => Ok(views.resume(view).map(done)?),
        "cancel" => Ok(views.cancel(view).map(done)?),
        "swap" => Ok(views.swap(view).map(done)?),
        "drop-build" => {
            let build = told.build.ok_or_else(|| needs("build"))?;
            Ok(views.drop_build(view, &build).map(done)?)
        }
        "retry" => Ok(json!(views.retry(view, told.stream.as_deref())?)),
        "drop-event" => {
            let stream = told.stream.ok_or_else(|| needs("stream"))?;
            Ok(json!(views.drop_parked(view, &stream)?))
        }
        _ => {
            let known: Vec<&str> = ACTS.iter().map(|(name, _)| *name).collect();
            let detail = format!("nothing called {act:?} is done to views; there are {}", known.join(", "));
            Err(Problem::new(Kind::UnknownRoute, detail).with("known", known))
        }
    }
}

impl Told {
    fn options(&self) -> Options {
        Options {
            compare: match self.compare {
                Some(Comparing::Documents) => Compare::Documents,
                Some(Comparing::Counts) | None => Compare::Counts,
            },
            swap: match self.swap {
                Some(Swapping::IfEqual) => Swap::IfEqual,
                Some(Swapping::WhenTold) => Swap::WhenTold,
                Some(Swapping::Always) | None => Swap::Always,
            },
            keep: self.keep.unwrap_or(false),
        }
    }
}

impl From<OperateError> for Problem {
    fn from(error: OperateError) -> Self {
        match error {
            OperateError::View(error) => error.into(),
            error => Self::new(Kind::NotPossible, error.to_string()),
        }
    }
}
