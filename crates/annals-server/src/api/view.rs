//! Reading documents of views.
//!
//! A read that waits for its view holds no thread while it waits: it looks, lets others run, and looks again.

use std::sync::Arc;
use std::time::Duration;

use annals_core::{Position, Tenant, Timestamp};
use annals_views::{Listing, Page, ViewError, Views};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::time::Instant;

use crate::app::App;
use crate::blocking;
use crate::input::{self, Parameters, Segments};
use crate::problem::{Kind, Problem};

/// How long a read waits where the caller does not say.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a document of the past may take at least.
const PAST: Duration = Duration::from_secs(5);
/// The documents on a page where the caller does not say.
const PAGE_DOCUMENTS: u64 = 100;
/// The most documents on a page.
const PAGE_DOCUMENTS_MAX: u64 = annals_views::store::PAGE_DOCUMENTS_MAX as u64;

/// `GET /api/{context}/views/{view}/{key}`
pub(crate) async fn document(
    State(app): State<Arc<App>>,
    Segments((context, view, key)): Segments<(String, String, String)>,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let views = Arc::clone(&app.hosted(&context)?.views);
    let tenant = input::tenant(&headers)?;
    let after = parameters.take("after")?.map(|text| text.parse::<Position>()).transpose()?;
    let within = parameters.span("within", app.limits.within_max)?.unwrap_or(PATIENCE);
    let at = parameters.time("at")?;
    parameters.finish(&["after", "within", "at"])?;
    if let Some(time) = at {
        if after.is_some() {
            let detail = "after and at exclude each other; give one of them";
            return Err(Problem::new(Kind::InvalidParameter, detail));
        }
        return document_at(&app, views, tenant, (view, key), time, within.max(PAST)).await;
    }
    let after: Vec<_> = after.iter().map(|position| (position.shard, position.offset)).collect();
    let (asked_view, asked_key) = (view.clone(), key.clone());
    let found = patiently(within, move |slice| {
        views.get_after(&asked_view, tenant.as_ref(), &asked_key, &after, slice)
    });
    match found.await? {
        Some(document) => Ok(([(header::CONTENT_TYPE, "application/json")], document).into_response()),
        None => Err(Problem::new(Kind::NoDocument, format!("view {view} has no document {key:?}"))),
    }
}

/// A document as it was at a time. One at a time is folded: it reads all of the log up to there.
async fn document_at(
    app: &App,
    views: Arc<Views>,
    tenant: Option<Tenant>,
    (view, key): (String, String),
    time: Timestamp,
    within: Duration,
) -> Result<Response, Problem> {
    let busy = |_| {
        let detail = "another document of the past is being folded".to_owned();
        Problem::new(Kind::Busy, detail).retry_after(PAST)
    };
    let _turn = app.past.try_acquire().map_err(busy)?;
    let (asked_view, asked_key) = (view.clone(), key.clone());
    let found = blocking::run(move || {
        let cursor = views.cursor_at(time)?;
        views.get_at(&asked_view, tenant.as_ref(), &asked_key, &cursor, within)
    });
    match found.await?? {
        Some(document) => Ok(([(header::CONTENT_TYPE, "application/json")], document).into_response()),
        None => Err(Problem::new(Kind::NoDocument, format!("view {view} had no document {key:?} at {time}"))),
    }
}

/// `GET /api/{context}/views/{view}`
pub(crate) async fn documents(
    State(app): State<Arc<App>>,
    Segments((context, view)): Segments<(String, String)>,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let views = Arc::clone(&app.hosted(&context)?.views);
    let tenant = input::tenant(&headers)?;
    let prefix = parameters.take("prefix")?.unwrap_or_default();
    let wanted = parameters.conditions()?;
    let order = parameters.take("order")?;
    let cursor = parameters.take("cursor")?;
    let limit = parameters.number("limit", 1, PAGE_DOCUMENTS_MAX)?.unwrap_or(PAGE_DOCUMENTS) as usize;
    parameters.finish(&["prefix", "where[field]", "order", "cursor", "limit"])?;
    let page = patiently(PATIENCE, move |slice| {
        views.wait(&view, &[], slice)?;
        let (tenant, order, cursor) = (tenant.as_ref(), order.as_deref(), cursor.as_deref());
        views.list(&view, &Listing { tenant, prefix: &prefix, wanted: &wanted, order, cursor, limit })
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], page_json(&page.await?)).into_response())
}

/// The page as JSON. The documents are JSON already and are taken over as they are.
fn page_json(page: &Page) -> Vec<u8> {
    let mut json = br#"{"documents":["#.to_vec();
    for (index, (key, document)) in page.documents.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        json.extend_from_slice(format!(r#"{{"key":{},"document":"#, Value::from(key.as_str())).as_bytes());
        json.extend_from_slice(document);
        json.push(b'}');
    }
    json.extend_from_slice(format!(r#"],"next":{}}}"#, Value::from(page.next.clone())).as_bytes());
    json
}

/// Asks until the view has come far enough or `within` is over.
async fn patiently<T: Send + 'static>(
    within: Duration,
    ask: impl Fn(Duration) -> Result<T, ViewError> + Send + Sync + 'static,
) -> Result<T, Problem> {
    /// How long one look may hold a thread: a view that is up to date takes a record in within this.
    const LOOK: Duration = Duration::from_millis(2);
    /// The longest pause between two looks.
    const PAUSE_MAX: Duration = Duration::from_millis(32);
    let (ask, deadline) = (Arc::new(ask), Instant::now() + within);
    let mut pause = LOOK;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let look = Arc::clone(&ask);
        match blocking::run(move || look(LOOK.min(left))).await? {
            Err(ViewError::Behind { .. }) if !left.is_zero() => tokio::time::sleep(pause.min(left)).await,
            answer => return Ok(answer?),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_json_whatever_the_keys_hold() {
        let documents =
            vec![("a\"b\\".to_owned(), b"{\"n\":1}".to_vec()), ("\u{e9}\n".to_owned(), b"null".to_vec())];
        for (documents, next) in [(Vec::new(), None), (documents, Some("\u{e9}\n".to_owned()))] {
            let page = Page { documents: documents.clone(), next: next.clone() };
            let json: Value = serde_json::from_slice(&page_json(&page)).unwrap();
            let keys: Vec<&str> = json["documents"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["key"].as_str().unwrap())
                .collect();
            assert_eq!(keys, documents.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>());
            assert_eq!(json["next"], Value::from(next));
        }
    }
}
