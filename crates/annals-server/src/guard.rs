//! What happens around every route: counting, the bound on requests at once, panics told as problems.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::keys::{self, Access};
use crate::problem::{Kind, Problem};

/// What a guard knows of its route.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) app: Arc<App>,
    /// The route's place in the list of routes.
    pub(crate) index: usize,
    /// Whether the route counts against the bound; the pages that operators watch do not.
    pub(crate) bounded: bool,
    /// Who may ask for it.
    pub(crate) access: Access,
}

/// Counts the request, and lets it through if there is room.
pub(crate) async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let response = match check_key(&guard, &mut request)
        .and_then(|()| admit(&guard, request.method(), request.headers()))
    {
        Ok(_slot) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    guard.app.requests.count(guard.index, response.status().as_u16(), began.elapsed());
    response
}

/// Whether the request's key is good for the route, where keys are needed.
fn check_key(guard: &Guard, request: &mut Request) -> Result<(), Problem> {
    match &guard.app.keys {
        Some(keys) => keys::admit(keys, guard.access, request),
        None => Ok(()),
    }
}

/// A place among the requests at once, where the route needs one.
fn admit<'a>(
    guard: &'a Guard,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<tokio::sync::SemaphorePermit<'a>>, Problem> {
    if method == Method::POST && is_cross_origin(headers) {
        return Err(Problem::new(Kind::CrossOrigin, "a web page of another origin sent this command"));
    }
    if !guard.bounded {
        return Ok(None);
    }
    let busy = |_| {
        let detail = format!("{} requests are being worked on", guard.app.limits.requests_max);
        Problem::new(Kind::Busy, detail).retry_after(Duration::from_secs(1))
    };
    guard.app.slots.try_acquire().map(Some).map_err(busy)
}

/// Whether a browser says that a page of another origin asks. Programs send no `Origin`.
///
/// Without users to tell apart, any page that somebody on this machine opens could otherwise send commands.
fn is_cross_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let own = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let from = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    from.is_none() || from != own
}

/// The answer to a request whose handler panicked.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text =
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned());
    tracing::error!(panic = text, "a request's handler panicked");
    Problem::new(Kind::Panicked, format!("the request panicked: {text}")).into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn pages_of_other_origins_are_told_apart() {
        for (origin, host, cross) in [
            (None, Some("localhost:7400"), false),
            (Some("http://localhost:7400"), Some("localhost:7400"), false),
            (Some("http://localhost:7401"), Some("localhost:7400"), true),
            (Some("https://evil.example"), Some("localhost:7400"), true),
            (Some("null"), Some("localhost:7400"), true),
            (Some("http://localhost:7400"), None, true),
        ] {
            let mut headers = HeaderMap::new();
            origin.map(|origin| headers.insert(header::ORIGIN, HeaderValue::from_static(origin)));
            host.map(|host| headers.insert(header::HOST, HeaderValue::from_static(host)));
            assert_eq!(is_cross_origin(&headers), cross, "{origin:?} {host:?}");
        }
    }
}
