//! The operations of administrators.

use annals_core::Context;
use serde_json::{Value, json};

use super::{limit, names, operation, path, problems, query};
use crate::api::admin::{ACTS, PAGE_EVENTS_MAX};
use crate::problem::Kind;
use crate::routes::Route;

/// What any of them may answer.
const KINDS: [Kind; 4] = [Kind::InvalidParameter, Kind::ViewStopped, Kind::Unavailable, Kind::Internal];

pub(super) fn views(context: &Context) -> Value {
    let id = format!("{}.admin.views", context.name());
    let content = ("application/json", &json!({ "type": "object" }));
    let summary = "How views stand: lag, builds, rebuilds, parked streams";
    Value::Object(operation(&id, summary, context.name(), Vec::new(), content, problems(&KINDS, None)))
}

pub(super) fn aside(context: &Context, view: &str) -> Value {
    let name = names::view(context, view);
    let text = json!({ "type": "string" });
    let parameters = vec![
        query("stream", &text, "Only events of this stream."),
        query("cursor", &text, "next of the page before."),
        query("limit", &limit(PAGE_EVENTS_MAX), "The most events on the page."),
    ];
    let event = json!({
        "type": "object",
        "required": ["position", "stream", "why", "reason"],
        "properties": {
            "position": text, "stream": text, "why": { "enum": ["parked", "waiting", "skipped"] }, "reason": text,
        },
    });
    let schema = json!({
        "type": "object",
        "required": ["events", "next"],
        "properties": { "events": { "type": "array", "items": event }, "next": { "type": ["string", "null"] } },
    });
    let summary = format!("Events that {view} has set aside");
    let (content, answers) = (("application/json", &schema), problems(&KINDS, None));
    Value::Object(operation(&format!("{name}.aside"), &summary, context.name(), parameters, content, answers))
}

/// One path for each thing that is done to each view.
pub(super) fn acts(route: &Route, context: &Context) -> Vec<(String, Value)> {
    let named = |view: &str, (act, summary): (&str, &str)| {
        let id = format!("{}.{act}", names::view(context, view));
        let kinds = [&KINDS[..], &[Kind::InvalidJson, Kind::InvalidFields, Kind::NotPossible]].concat();
        let content = ("application/json", &json!({ "type": "object" }));
        let summary = format!("{summary} ({view})");
        let mut operation =
            operation(&id, &summary, context.name(), Vec::new(), content, problems(&kinds, None));
        if let Some(body) = body(act) {
            operation.insert("requestBody".to_owned(), body);
        }
        (path(route, context, &[("view", view), ("act", act)]), Value::Object(operation))
    };
    context.projections().keys().flat_map(|view| ACTS.map(|act| named(view, act))).collect()
}

/// What an act may be told.
fn body(act: &str) -> Option<Value> {
    let text = json!({ "type": "string" });
    let (properties, required) = match act {
        "rebuild" => (
            json!({
                "compare": { "enum": ["counts", "documents"] },
                "swap": { "enum": ["always", "if_equal", "when_told"] },
                "keep": { "type": "boolean" },
            }),
            json!([]),
        ),
        "drop-build" => (json!({ "build": text }), json!(["build"])),
        "retry" => (json!({ "stream": text }), json!([])),
        "drop-event" => (json!({ "stream": text }), json!(["stream"])),
        _ => return None,
    };
    let is_required = required.as_array().is_some_and(|fields| !fields.is_empty());
    let schema = json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    });
    Some(json!({ "required": is_required, "content": { "application/json": { "schema": schema } } }))
}
