//! The operations of time travel.

use annals_core::Context;
use serde_json::{Value, json};

use super::{READING, names, operation, problems, query, segment};
use crate::openapi::schemas::Schemas;
use crate::openapi::shared::headers;
use crate::problem::Kind;

fn place() -> Value {
    json!({
        "type": "object",
        "required": ["path"],
        "properties": {
            "path": { "type": "string", "description": "A JSON Pointer (RFC 6901)." }, "before": {}, "after": {},
        },
    })
}

fn moment() -> Value {
    let number = json!({ "type": "integer", "minimum": 0 });
    json!({
        "type": "object", "required": ["version", "state"], "properties": { "version": number, "state": {} },
    })
}

pub(super) fn diff(context: &Context, decider: &str) -> Value {
    let name = names::decider(context, decider);
    let text = json!({ "type": "string" });
    let mut parameters = vec![
        segment("id", "The entity"),
        query("from", &text, "A version, a time, or now; the beginning where nothing is said."),
        query("to", &text, "A version, a time, or now, which is the default."),
    ];
    parameters.extend(headers(&["tenant"]));
    let schema = json!({
        "type": "object",
        "required": ["stream", "from", "to", "changes", "events"],
        "properties": {
            "stream": text, "from": moment(), "to": moment(),
            "changes": { "type": "array", "items": place() },
            "events": { "type": "array", "items": Schemas::reference("event") },
        },
    });
    let kinds = [&READING[..], &[Kind::NoVersion, Kind::Unreadable]].concat();
    let (summary, content) =
        (format!("What changed in one {decider} between two moments"), ("application/json", &schema));
    let answers = problems(&kinds, None);
    Value::Object(operation(&format!("{name}.diff"), &summary, context.name(), parameters, content, answers))
}

pub(super) fn rollback(context: &Context, decider: &str) -> Value {
    let name = names::decider(context, decider);
    let mut parameters = vec![segment("id", "The entity")];
    let around =
        ["idempotency-key", "if-match", "tenant", "actor", "correlation", "occurred-at", "traceparent"];
    parameters.extend(headers(&around));
    let number = json!({ "type": "integer", "minimum": 0 });
    let flag = json!({ "type": "boolean", "default": false });
    let body = json!({
        "type": "object", "required": ["to"], "additionalProperties": false,
        "properties": {
            "to": number, "reason": { "type": "string" }, "preview": flag,
            "partial": { "type": "boolean", "default": false,
                "description": "Do it even where something remains different." },
        },
    });
    let kinds = [
        &READING[..],
        &[
            Kind::InvalidJson,
            Kind::InvalidFields,
            Kind::CrossOrigin,
            Kind::NoVersion,
            Kind::NotPossible,
            Kind::Conflict,
            Kind::VersionMismatch,
            Kind::Refused,
            Kind::KeyReused,
            Kind::Overloaded,
            Kind::Unreadable,
            Kind::OutcomeUnknown,
        ],
    ]
    .concat();
    let schema = json!({ "anyOf": [Schemas::reference("receipt"), {
        "type": "object",
        "required": ["stream", "version", "to", "events", "state", "remaining"],
        "properties": { "remaining": { "type": "array", "items": place() } },
    }] });
    let summary =
        format!("Brings one {decider} back to a version, by events that are appended; or previews that");
    let (content, answers) = (("application/json", &schema), problems(&kinds, None));
    let id = format!("{name}.rollback");
    let mut operation = operation(&id, &summary, context.name(), parameters, content, answers);
    operation.insert(
        "requestBody".to_owned(),
        json!({ "required": true, "content": { "application/json": { "schema": body } } }),
    );
    Value::Object(operation)
}

pub(super) fn what_if(context: &Context, decider: &str) -> Value {
    let name = names::decider(context, decider);
    let mut parameters = vec![segment("id", "The entity")];
    parameters.extend(headers(&["tenant"]));
    let (text, number) = (json!({ "type": "string" }), json!({ "type": "integer", "minimum": 0 }));
    let edit = |name: &str, required: Value, fields: Value| {
        let edit = json!({
            "type": "object", "required": required, "properties": fields, "additionalProperties": false,
        });
        json!({ "type": "object", "required": [name], "properties": { name: edit } })
    };
    let edits = json!({ "oneOf": [
        edit("drop", json!(["version"]), json!({ "version": number })),
        edit("replace", json!(["version", "data"]), json!({ "version": number, "type": text, "data": {} })),
        edit("insert", json!(["after", "type"]), json!({ "after": number, "type": text, "data": {} })),
    ] });
    let body = json!({
        "type": "object", "required": ["edits"], "additionalProperties": false,
        "properties": { "edits": { "type": "array", "items": edits } },
    });
    let schema = json!({
        "type": "object",
        "required": ["stream", "real", "other", "changes"],
        "properties": {
            "stream": text, "real": moment(), "other": moment(),
            "changes": { "type": "array", "items": place() },
        },
    });
    let kinds = [&READING[..], &[Kind::InvalidJson, Kind::InvalidFields, Kind::CrossOrigin]].concat();
    let summary = format!("The state that one {decider} would have with other events; nothing is written");
    let (content, answers) = (("application/json", &schema), problems(&kinds, None));
    let id = format!("{name}.what-if");
    let mut operation = operation(&id, &summary, context.name(), parameters, content, answers);
    operation.insert(
        "requestBody".to_owned(),
        json!({ "required": true, "content": { "application/json": { "schema": body } } }),
    );
    Value::Object(operation)
}
