//! The routes: one list, from which the router and the OpenAPI document are made.

use std::sync::Arc;

use axum::Router;

use axum::http::{Method as HttpMethod, Uri};
use axum::routing::{MethodRouter, get, post};
use tower_http::catch_panic::CatchPanicLayer;

use crate::api;
use crate::app::{App, Served, SetupError};
use crate::guard::{Guard, guard, panicked};
use crate::keys::{Access, KeyFile, Role};
use crate::limits::Limits;
use crate::operate;
use crate::problem::{Kind, Problem};

/// A route.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) operation: Operation,
    /// Who may ask, where the server has a file of keys.
    pub(crate) access: Access,
}

/// The methods in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
}

impl Method {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Command,
    State,
    History,
    Diff,
    Rollback,
    WhatIf,
    Document,
    Documents,
    Feed,
    Context,
    AdminViews,
    Aside,
    Act,
    Healthz,
    Readyz,
    Metrics,
    OpenApi,
    Problem,
}

/// All routes.
pub(crate) const ROUTES: &[Route] = &[
    route(
        Method::Post,
        "/api/{context}/{decider}/{id}/{command}",
        Operation::Command,
        Access::Context(Role::Write),
    ),
    route(Method::Get, "/api/{context}/{decider}/{id}", Operation::State, Access::Context(Role::Read)),
    route(
        Method::Get,
        "/api/{context}/{decider}/{id}/events",
        Operation::History,
        Access::Context(Role::Read),
    ),
    route(Method::Get, "/api/{context}/{decider}/{id}/diff", Operation::Diff, Access::Context(Role::Read)),
    route(
        Method::Post,
        "/api/{context}/{decider}/{id}/rollback",
        Operation::Rollback,
        Access::Context(Role::Write),
    ),
    route(
        Method::Post,
        "/api/{context}/{decider}/{id}/what-if",
        Operation::WhatIf,
        Access::Context(Role::Read),
    ),
    route(Method::Get, "/api/{context}/views/{view}/{key}", Operation::Document, Access::Context(Role::Read)),
    route(Method::Get, "/api/{context}/views/{view}", Operation::Documents, Access::Context(Role::Read)),
    route(Method::Get, "/api/{context}/events", Operation::Feed, Access::Context(Role::Read)),
    route(Method::Get, "/api/{context}", Operation::Context, Access::Context(Role::Read)),
    route(Method::Get, "/admin/{context}/views", Operation::AdminViews, Access::Context(Role::Operate)),
    route(
        Method::Get,
        "/admin/{context}/views/{view}/aside",
        Operation::Aside,
        Access::Context(Role::Operate),
    ),
    route(
        Method::Post,
        "/admin/{context}/views/{view}/{act}",
        Operation::Act,
        Access::Context(Role::Operate),
    ),
    route(Method::Get, "/healthz", Operation::Healthz, Access::Open),
    route(Method::Get, "/readyz", Operation::Readyz, Access::Open),
    route(Method::Get, "/metrics", Operation::Metrics, Access::Somewhere(Role::Operate)),
    route(Method::Get, "/openapi.json", Operation::OpenApi, Access::Known),
    route(Method::Get, "/problems/{name}", Operation::Problem, Access::Open),
];

const fn route(method: Method, path: &'static str, operation: Operation, access: Access) -> Route {
    Route { method, path, operation, access }
}

/// The HTTP interface of `contexts`.
///
/// | route | does |
/// |---|---|
/// | `POST /api/{context}/{decider}/{id}/{command}` | sends a command; the body is the JSON of its fields. Headers: `Idempotency-Key`, `If-Match: "7"`, `X-Annals-Actor`, `X-Annals-Tenant`, `X-Correlation-Id`, `X-Occurred-At`, `traceparent` |
/// | `GET /api/{context}/{decider}/{id}` | an entity's state; `?version=`, `?at=`; `ETag` is its version |
/// | `GET /api/{context}/{decider}/{id}/events` | its history; `?after=` a version, `?limit=` |
/// | `GET /api/{context}/{decider}/{id}/diff` | the difference between two moments: `?from=`, `?to=`, versions or times |
/// | `POST /api/{context}/{decider}/{id}/rollback` | back to a version, by events that are appended; `{"to":7,"reason":"..","preview":true}` |
/// | `POST /api/{context}/{decider}/{id}/what-if` | the state with other events; `{"edits":[{"drop":{"version":3}}]}` |
/// | `GET /api/{context}/views/{view}/{key}` | a document; `?after=` a receipt's position, `?within=5s`; `?at=` a time |
/// | `GET /api/{context}/views/{view}` | documents by key; `?prefix=`, `?where[field]=`, `?where[field][gte]=`, `?order=-field`, `?cursor=`, `?limit=` |
/// | `GET /api/{context}/events` | server-sent events: `Last-Event-ID` or `?from=`, `?type=`, `?stream=`, `?tag=` |
/// | `GET /api/{context}` | what the context has, and how its views stand |
/// | `GET /admin/{context}/views` | how views stand: lag, builds, rebuild, parked streams |
/// | `GET /admin/{context}/views/{view}/aside` | events that were set aside; `?stream=`, `?cursor=`, `?limit=` |
/// | `POST /admin/{context}/views/{view}/{act}` | `rebuild`, `pause`, `resume`, `cancel`, `swap`, `drop-build`, `retry`, `drop-event` |
/// | `GET /healthz`, `/readyz`, `/metrics`, `/openapi.json`, `/problems/{name}` | for operators and programs |
///
/// With `keys`, each request must come with one that is good for it, and acts as the key's actor for the key's tenant;
/// without, whoever reaches the server may do everything. Give it the same `limits` as [`crate::serve`].
pub fn router(
    contexts: Vec<Served>,
    keys: Option<Arc<KeyFile>>,
    limits: Limits,
) -> Result<Router, SetupError> {
    let app = Arc::new(App::new(contexts, keys, limits)?);
    let mut router = Router::new();
    for (index, route) in ROUTES.iter().enumerate() {
        let bounded = route.path.starts_with("/api/");
        let around = Guard { app: Arc::clone(&app), index, bounded, access: route.access };
        let handler = handler(route.operation)
            .layer(CatchPanicLayer::custom(panicked))
            .layer(axum::middleware::from_fn_with_state(around, guard));
        router = router.route(route.path, handler);
    }
    Ok(router.fallback(unknown_route).method_not_allowed_fallback(wrong_method).with_state(app))
}

fn handler(operation: Operation) -> MethodRouter<Arc<App>> {
    match operation {
        Operation::Command => post(api::command::send),
        Operation::State => get(api::entity::state),
        Operation::History => get(api::entity::history),
        Operation::Diff => get(api::time::diff),
        Operation::Rollback => post(api::time::rollback),
        Operation::WhatIf => post(api::time::what_if),
        Operation::Document => get(api::view::document),
        Operation::Documents => get(api::view::documents),
        Operation::Feed => get(api::feed::events),
        Operation::Context => get(api::context::describe),
        Operation::AdminViews => get(api::admin::views),
        Operation::Aside => get(api::admin::aside),
        Operation::Act => post(api::admin::act),
        Operation::Healthz => get(operate::healthz),
        Operation::Readyz => get(operate::readyz),
        Operation::Metrics => get(operate::metrics),
        Operation::OpenApi => get(operate::openapi),
        Operation::Problem => get(operate::problem),
    }
}

async fn unknown_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(256).collect();
    Problem::new(Kind::UnknownRoute, format!("there is nothing at {path}; see /openapi.json"))
}

async fn wrong_method(method: HttpMethod, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(256).collect();
    Problem::new(Kind::WrongMethod, format!("{path} does not take {method}"))
}
