//! Views of a running program, asked on its control socket.

use std::sync::Arc;

use annals_core::{Offset, Position, ShardId};
use annals_log::Log;
use annals_views::Page;
use serde_json::Value;

use super::{Behind, Place, broken, conditions};
use crate::cli::arguments::{self, text};
use crate::cli::control::{self, Client};
use crate::cli::failure::Failure;

/// How long the view may take to come to the log's end.
const WITHIN: &str = "10s";

/// A document, once the view has come to what is the log's end now; `None` where there is none.
pub(super) async fn document(
    mut client: Client,
    place: &Place<'_>,
    log: &Arc<dyn Log>,
    view: &str,
    key: &str,
) -> Result<Option<Value>, Failure> {
    let path = control::path(&[place.context.name(), "views", view, key]);
    let mut found = None;
    // One position can be waited for at a time: the last answer is the one that has all shards behind it.
    for shard in (0..log.identity().shards).map(ShardId) {
        let last = Offset(log.end(shard).0.saturating_sub(1));
        let after = Position { shard, offset: last, index: 0 };
        let answer = client.get(&format!("{path}?after={after}&within={WITHIN}"), &tenant(place)).await;
        let answer = answer.map_err(broken)?;
        found = match answer.kind() {
            "no-document" => None,
            _ => Some(answer.ok()?),
        };
    }
    Ok(found)
}

/// A page of documents.
pub(super) async fn page(mut client: Client, place: &Place<'_>, view: &str) -> Result<Page, Failure> {
    let path = control::path(&[place.context.name(), "views", view]);
    let mut query = format!("?limit={}", place.limit());
    for wanted in place.wanted() {
        let condition = control::encoded(&conditions::parameter(&wanted));
        query.push_str(&format!("&{condition}={}", control::encoded(&wanted.value)));
    }
    for name in ["prefix", "order", "cursor"] {
        if let Some(value) = text(place.matches, name) {
            query.push_str(&format!("&{name}={}", control::encoded(value)));
        }
    }
    let answer = client.get(&format!("{path}{query}"), &tenant(place)).await.map_err(broken)?.ok()?;
    let entry = |entry: &Value| {
        let key = entry.get("key")?.as_str()?.to_owned();
        Some((key, entry.get("document")?.to_string().into_bytes()))
    };
    let documents = answer.get("documents").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let next = answer.get("next").and_then(Value::as_str).map(ToOwned::to_owned);
    Ok(Page { documents: documents.iter().filter_map(entry).collect(), next })
}

/// How far each view is behind.
pub(super) async fn lags(mut client: Client, context: &str) -> Result<Vec<(String, Behind)>, Failure> {
    let answer = client.get(&control::path(&[context]), &[]).await.map_err(broken)?.ok()?;
    let views = answer.get("views").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let lag = |view: &Value| {
        let lag = view.get("lag")?;
        let behind = Behind {
            records: lag.get("events")?.as_u64()?,
            seconds: lag.get("seconds")?.as_f64()?,
            state: lag.get("state")?.as_str()?.to_owned(),
        };
        Some((view.get("name")?.as_str()?.to_owned(), behind))
    };
    Ok(views.iter().filter_map(lag).collect())
}

fn tenant(place: &Place<'_>) -> Vec<(&'static str, String)> {
    let tenant = arguments::tenant_of(place.matches);
    tenant.map(|tenant| (control::TENANT, tenant.to_string())).into_iter().collect()
}
