//! The operations of each route, for the contexts at hand.

use annals_core::Context;
use annals_core::context::AnyDecider;
use serde_json::{Map, Value, json};

use super::names;
use super::schemas::Schemas;
use super::shared::{headers, problems, query, segment};
use crate::problem::Kind;
use crate::routes::{Operation, Route};

mod admin;
mod time;

/// What any operation on the log may answer.
const READING: [Kind; 6] = [
    Kind::InvalidName,
    Kind::InvalidHeader,
    Kind::InvalidParameter,
    Kind::Damaged,
    Kind::Unavailable,
    Kind::Busy,
];

/// Paths and operations of a route.
pub(super) fn of(route: &Route, contexts: &[&Context], schemas: &Schemas) -> Vec<(String, Value)> {
    match route.operation {
        Operation::Command => contexts.iter().flat_map(|context| commands(route, context, schemas)).collect(),
        Operation::State => contexts.iter().flat_map(|context| per_stream(route, context, state)).collect(),
        Operation::History => {
            contexts.iter().flat_map(|context| per_stream(route, context, history)).collect()
        }
        Operation::Diff => {
            contexts.iter().flat_map(|context| per_decider(route, context, time::diff)).collect()
        }
        Operation::Rollback => {
            contexts.iter().flat_map(|context| per_decider(route, context, time::rollback)).collect()
        }
        Operation::WhatIf => {
            contexts.iter().flat_map(|context| per_decider(route, context, time::what_if)).collect()
        }
        Operation::Document => {
            contexts.iter().flat_map(|context| per_view(route, context, document)).collect()
        }
        Operation::Documents => {
            contexts.iter().flat_map(|context| per_view(route, context, documents)).collect()
        }
        Operation::Feed => {
            contexts.iter().map(|context| (path(route, context, &[]), feed(context))).collect()
        }
        Operation::Context => {
            contexts.iter().map(|context| (path(route, context, &[]), described(context))).collect()
        }
        Operation::AdminViews => {
            contexts.iter().map(|context| (path(route, context, &[]), admin::views(context))).collect()
        }
        Operation::Aside => {
            contexts.iter().flat_map(|context| per_view(route, context, admin::aside)).collect()
        }
        Operation::Act => contexts.iter().flat_map(|context| admin::acts(route, context)).collect(),
        Operation::Healthz => vec![page(route, "Whether the process answers", "text/plain")],
        Operation::Readyz => vec![readyz(route)],
        Operation::Metrics => vec![page(route, "Counters in the text format of Prometheus", "text/plain")],
        Operation::OpenApi => vec![page(route, "This document", "application/json")],
        Operation::Problem => vec![problem(route)],
    }
}

/// The route's path with its context and `parts` filled in.
fn path(route: &Route, context: &Context, parts: &[(&str, &str)]) -> String {
    let path = route.path.replace("{context}", context.name());
    parts.iter().fold(path, |path, (name, value)| path.replace(&format!("{{{name}}}"), value))
}

fn commands(route: &Route, context: &Context, schemas: &Schemas) -> Vec<(String, Value)> {
    let of_decider = |decider: &dyn AnyDecider| -> Vec<(String, Value)> {
        let named = |command: &str| {
            let path = path(route, context, &[("decider", decider.name()), ("command", command)]);
            (path, self::command(context, decider, command, schemas))
        };
        decider.commands().iter().map(|command| named(command.name)).collect()
    };
    context.deciders().values().flat_map(|decider| of_decider(decider.as_ref())).collect()
}

fn command(context: &Context, decider: &dyn AnyDecider, command: &str, schemas: &Schemas) -> Value {
    let name = names::decider(context, decider.name());
    let schema = names::command(&name, command);
    let required = schemas.get(&schema).and_then(|schema| schema.get("required")).is_some();
    let mut parameters = vec![segment("id", "The entity")];
    parameters.extend(headers(&[
        "idempotency-key",
        "if-match",
        "tenant",
        "actor",
        "correlation",
        "occurred-at",
        "traceparent",
    ]));
    let kinds = [
        Kind::InvalidJson,
        Kind::TooDeep,
        Kind::InvalidFields,
        Kind::InvalidName,
        Kind::InvalidHeader,
        Kind::InvalidParameter,
        Kind::CrossOrigin,
        Kind::SlowRequest,
        Kind::Conflict,
        Kind::VersionMismatch,
        Kind::TooLarge,
        Kind::UnsupportedMediaType,
        Kind::Refused,
        Kind::KeyReused,
        Kind::Overloaded,
        Kind::Panicked,
        Kind::Unreadable,
        Kind::Damaged,
        Kind::Internal,
        Kind::Unavailable,
        Kind::Busy,
        Kind::OutcomeUnknown,
    ];
    let mut operation = operation(
        &format!("{name}.{command}"),
        &format!("Sends {command} to one {}", decider.name()),
        context.name(),
        parameters,
        ("application/json", &Schemas::reference("receipt")),
        problems(&kinds, Some(&names::refused(&name))),
    );
    operation.insert(
        "requestBody".to_owned(),
        json!({
            "required": required,
            "content": { "application/json": { "schema": Schemas::reference(&schema) } },
        }),
    );
    Value::Object(operation)
}

/// An operation for each decider and saga.
fn per_stream(route: &Route, context: &Context, make: fn(&Context, &str) -> Value) -> Vec<(String, Value)> {
    let kinds = context.deciders().keys().chain(context.sagas().keys());
    kinds.map(|kind| (path(route, context, &[("decider", kind)]), make(context, kind))).collect()
}

/// An operation for each decider.
fn per_decider(route: &Route, context: &Context, make: fn(&Context, &str) -> Value) -> Vec<(String, Value)> {
    let deciders = context.deciders().keys();
    deciders.map(|decider| (path(route, context, &[("decider", decider)]), make(context, decider))).collect()
}

/// An operation for each view.
fn per_view(route: &Route, context: &Context, make: fn(&Context, &str) -> Value) -> Vec<(String, Value)> {
    let views = context.projections().keys();
    views.map(|view| (path(route, context, &[("view", view)]), make(context, view))).collect()
}

fn state(context: &Context, kind: &str) -> Value {
    let name = names::decider(context, kind);
    let mut parameters = vec![
        segment("id", "The entity"),
        query("version", &json!({ "type": "integer", "minimum": 0 }), "The state after so many events."),
        query("at", &json!({ "type": "string", "format": "date-time" }), "The state at this time."),
    ];
    parameters.extend(headers(&["tenant"]));
    let schema = json!({
        "type": "object",
        "required": ["stream", "version", "state"],
        "properties": {
            "stream": { "type": "string" },
            "version": { "type": "integer" },
            "state": Schemas::reference(&names::state(&name)),
        },
    });
    let kinds = [&READING[..], &[Kind::NoEntity, Kind::NoVersion, Kind::Unreadable, Kind::Panicked]].concat();
    let summary = format!("The state of one {kind}; its version is the entity tag");
    let mut answers = problems(&kinds, None);
    answers.insert(
        "304".to_owned(),
        json!({ "description": "The entity is still at the version of If-None-Match." }),
    );
    let content = ("application/json", &schema);
    Value::Object(operation(&format!("{name}.state"), &summary, context.name(), parameters, content, answers))
}

fn history(context: &Context, kind: &str) -> Value {
    let name = names::decider(context, kind);
    let mut parameters = vec![
        segment("id", "The entity"),
        query(
            "after",
            &json!({ "type": "integer", "minimum": 0 }),
            "Events after this version; next of the page before.",
        ),
        query("limit", &limit(crate::api::entity::PAGE_EVENTS_MAX), "The most events on the page."),
    ];
    parameters.extend(headers(&["tenant"]));
    let schema = json!({
        "type": "object",
        "required": ["stream", "events", "next"],
        "properties": {
            "stream": { "type": "string" },
            "events": { "type": "array", "items": Schemas::reference("event") },
            "next": { "type": ["integer", "null"] },
        },
    });
    let (summary, kinds) =
        (format!("The events of one {kind}"), [&READING[..], &[Kind::Unreadable]].concat());
    let content = ("application/json", &schema);
    let answers = problems(&kinds, None);
    Value::Object(operation(
        &format!("{name}.history"),
        &summary,
        context.name(),
        parameters,
        content,
        answers,
    ))
}

fn document(context: &Context, view: &str) -> Value {
    let name = names::view(context, view);
    let mut parameters = vec![
        segment("key", "The document's key"),
        query(
            "after",
            &json!({ "type": "string" }),
            "Answer once the view has taken in the record of a receipt: its position.",
        ),
        query(
            "within",
            &json!({ "type": "string", "examples": ["5s", "250ms"] }),
            "How long to wait for that.",
        ),
        query(
            "at",
            &json!({ "type": "string", "format": "date-time" }),
            "The document as it was at this time: folded from the log for this answer.",
        ),
    ];
    parameters.extend(headers(&["tenant"]));
    let kinds = [&READING[..], &[Kind::NoDocument, Kind::ViewBehind, Kind::ViewStopped]].concat();
    let content = ("application/json", &Schemas::reference(&name));
    let (summary, answers) = (format!("One document of {view}"), problems(&kinds, None));
    Value::Object(operation(&format!("{name}.get"), &summary, context.name(), parameters, content, answers))
}

fn documents(context: &Context, view: &str) -> Value {
    let name = names::view(context, view);
    let text = json!({ "type": "string" });
    let mut parameters = vec![
        query("prefix", &text, "What the keys start with."),
        query("cursor", &text, "next of the page before, which had the same order."),
        query(
            "limit",
            &limit(annals_views::store::PAGE_DOCUMENTS_MAX as u64),
            "The most documents on the page.",
        ),
    ];
    parameters.extend(conditions(context, view));
    parameters.extend(headers(&["tenant"]));
    let entry = json!({
        "type": "object",
        "required": ["key", "document"],
        "properties": { "key": text, "document": Schemas::reference(&name) },
    });
    let schema = json!({
        "type": "object",
        "required": ["documents", "next"],
        "properties": { "documents": { "type": "array", "items": entry }, "next": { "type": ["string", "null"] } },
    });
    let kinds = [&READING[..], &[Kind::ViewBehind, Kind::ViewStopped]].concat();
    let (summary, content) = (format!("Documents of {view} by key"), ("application/json", &schema));
    let answers = problems(&kinds, None);
    Value::Object(operation(&format!("{name}.list"), &summary, context.name(), parameters, content, answers))
}

/// The order of a list, and the conditions on its fields: what the view declares indexes for.
fn conditions(context: &Context, view: &str) -> Vec<Value> {
    let indexes = context.projections().get(view).map(|projection| projection.indexes()).unwrap_or_default();
    let mut orders: Vec<String> = indexes.iter().map(|index| index.path.to_owned()).collect();
    if !orders.iter().any(|order| order == annals_views::BY_KEY) {
        orders.push(annals_views::BY_KEY.to_owned());
    }
    orders.extend(orders.clone().into_iter().map(|order| format!("-{order}")));
    let orders = json!({ "type": "string", "enum": orders });
    let mut parameters = vec![query("order", &orders, "By which field; with a minus the greatest first.")];
    let comparisons = ["", "[gt]", "[gte]", "[lt]", "[lte]"];
    for (index, comparison) in indexes.iter().flat_map(|index| comparisons.map(|suffix| (index, suffix))) {
        let name = format!("where[{}]{comparison}", index.path);
        let text = json!({ "type": "string" });
        parameters.push(query(
            &name,
            &text,
            "What the field must be: a number, true, false, null or a text.",
        ));
    }
    parameters
}

fn feed(context: &Context) -> Value {
    let text = json!({ "type": "string" });
    let mut parameters = vec![
        query("from", &text, "A cursor, start (which is the default), or now."),
        query("type", &text, "Only events of these types, separated by commas."),
        query("stream", &text, "Only events of this stream: decider/id."),
        query("tag", &text, "Only events with this tag."),
    ];
    parameters.extend(headers(&["last-event-id", "tenant"]));
    let summary =
        "Events as they happen: up to the log's end, then live. The data of each message is an event";
    let kinds = [&READING[..], &[Kind::InvalidCursor, Kind::UnknownDecider]].concat();
    let (id, schema) = (format!("{}.events", context.name()), Schemas::reference("event"));
    let content = ("text/event-stream", &schema);
    Value::Object(operation(&id, summary, context.name(), parameters, content, problems(&kinds, None)))
}

fn described(context: &Context) -> Value {
    let (id, content) =
        (format!("{}.context", context.name()), ("application/json", &json!({ "type": "object" })));
    let kinds = [Kind::InvalidParameter, Kind::Busy];
    let summary = "What the context has, and how its views stand";
    Value::Object(operation(&id, summary, context.name(), Vec::new(), content, problems(&kinds, None)))
}

fn page(route: &Route, summary: &str, media: &str) -> (String, Value) {
    let id = route.path.trim_matches('/');
    let operation = operation(id, summary, "operation", Vec::new(), (media, &json!({})), Map::new());
    (route.path.to_owned(), Value::Object(operation))
}

fn readyz(route: &Route) -> (String, Value) {
    let (path, mut operation) = page(route, "Whether commands are taken and views go on", "application/json");
    let unready =
        json!({ "description": "The body names what is not ready.", "content": { "application/json": {} } });
    if let Some(answers) = operation.get_mut("responses").and_then(Value::as_object_mut) {
        answers.insert("503".to_owned(), unready);
    }
    (path, operation)
}

fn problem(route: &Route) -> (String, Value) {
    let summary = "What a type of problem means";
    let parameters = vec![segment("name", "The last part of the problem's type")];
    let answers = problems(&[Kind::UnknownRoute], None);
    let content = ("text/plain", &json!({}));
    (
        route.path.to_owned(),
        Value::Object(operation("problem", summary, "operation", parameters, content, answers)),
    )
}

fn limit(most: u64) -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": most })
}

/// An operation that answers `content` with status 200.
fn operation(
    id: &str,
    summary: &str,
    tag: &str,
    parameters: Vec<Value>,
    (media, schema): (&str, &Value),
    mut answers: Map<String, Value>,
) -> Map<String, Value> {
    let content = Map::from_iter([(media.to_owned(), json!({ "schema": schema }))]);
    answers.insert("200".to_owned(), json!({ "description": "Done.", "content": content }));
    let fields = [
        ("operationId", json!(id)),
        ("summary", json!(summary)),
        ("tags", json!([tag])),
        ("parameters", json!(parameters)),
        ("responses", Value::Object(answers)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
