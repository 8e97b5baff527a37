//! What all contexts share in the document: parameters, receipts, events, problems.

use std::collections::BTreeMap;

use annals_core::codec::Variant;
use serde_json::{Map, Value, json};

use super::schemas::{Schemas, fields};
use crate::input;
use crate::keys::Access;
use crate::problem::{self, Kind};

/// The header parameters, by the name they are referred to.
pub(super) fn parameters() -> Value {
    let header = |name: &str, description: &str| json!({ "name": name, "in": "header", "required": false, "schema": { "type": "string" }, "description": description });
    json!({
        "tenant": header(input::TENANT, "The tenant; without it, what belongs to no tenant."),
        "actor": header(input::ACTOR, "Who acts. Behind a file of keys it is the key's actor, and must not be another; otherwise it is what the caller says."),
        "correlation": header(input::CORRELATION, "What the command belongs to: one text through a whole flow of work."),
        "occurred-at": header(input::OCCURRED_AT, "When it happened in the world, RFC 3339; without it, when it is recorded."),
        "traceparent": header(input::TRACEPARENT, "W3C trace context."),
        "idempotency-key": header(input::IDEMPOTENCY_KEY, "The command takes effect once and has one answer under this key, for ever. Made and returned when absent."),
        "if-match": header(input::IF_MATCH, "The version the entity must be at, as an entity tag: \"7\"."),
        "last-event-id": header(input::LAST_EVENT_ID, "The id of the last message received; takes precedence over from."),
    })
}

/// References to header parameters.
pub(super) fn headers(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })).collect()
}

/// A variable part of the path.
pub(super) fn segment(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" }, "description": description })
}

/// A query parameter.
pub(super) fn query(name: &str, schema: &Value, description: &str) -> Value {
    json!({ "name": name, "in": "query", "required": false, "schema": schema, "description": description })
}

/// Says who may ask for the operation, and what others are answered.
pub(super) fn secure(operation: &mut Value, access: Access) {
    let Some(operation) = operation.as_object_mut() else { return };
    operation.insert("x-annals-role".to_owned(), access.name().into());
    if access == Access::Open {
        return;
    }
    operation.insert("security".to_owned(), json!([{ "key": [] }, {}]));
    if let Some(Value::Object(responses)) = operation.get_mut("responses") {
        for (status, response) in problems(&[Kind::Unauthenticated, Kind::Forbidden], None) {
            responses.entry(status).or_insert(response);
        }
    }
}

/// Adds the schemas that all contexts share.
pub(super) fn add_schemas(schemas: &mut Schemas) {
    let number = json!({ "type": "integer", "minimum": 0 });
    let text = json!({ "type": "string" });
    let time = json!({ "type": "string", "format": "date-time" });
    let position = json!({ "type": "string", "description": "shard-offset-index" });
    schemas.insert(
        "problem",
        json!({
            "type": "object",
            "required": ["type", "title", "status", "detail"],
            "properties": { "type": text, "title": text, "status": number, "detail": text },
        }),
    );
    schemas.insert("receipt", json!({
        "type": "object",
        "required": ["position", "stream", "version", "events", "key", "repeated"],
        "properties": {
            "position": position, "stream": text, "version": number, "events": number, "key": text,
            "repeated": { "type": "boolean", "description": "Whether this is the answer of an earlier attempt." },
        },
    }));
    schemas.insert("event", json!({
        "type": "object",
        "required": ["position", "stream", "version", "type", "shape", "data", "recorded_at"],
        "properties": {
            "position": position, "stream": text, "version": number, "type": text, "shape": number, "data": {},
            "recorded_at": time, "occurred_at": time, "actor": text, "command": text, "key": text,
            "correlation": text, "causation": text,
        },
    }));
}

/// The problem document of one refusal of a decider.
pub(super) fn refused(refusal: &Variant, schema: &Value) -> Value {
    let none = annals_core::schema::variant_schema(schema, refusal.serde_name).is_none_or(Value::is_null);
    let fields = if none { json!({ "type": "null" }) } else { fields(schema, refusal.serde_name) };
    json!({
        "type": "object",
        "required": ["name", "text", "fields"],
        "properties": { "name": { "const": refusal.name }, "text": { "type": "string" }, "fields": fields },
    })
}

/// The problem document of any refusal of a decider.
pub(super) fn any_refused(refusals: Vec<Value>) -> Value {
    json!({
        "allOf": [Schemas::reference("problem")],
        "type": "object",
        "required": ["type", "refusal", "key"],
        "properties": {
            "type": { "const": format!("/problems/{}", Kind::Refused.name()) },
            "refusal": if refusals.is_empty() { json!(false) } else { json!({ "oneOf": refusals }) },
            "key": { "type": "string" },
        },
    })
}

/// Responses for problems of these kinds, by status; `refused` is the schema of refusals.
pub(super) fn problems(kinds: &[Kind], refused: Option<&str>) -> Map<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    kinds.iter().for_each(|kind| by_status.entry(kind.status()).or_default().push(*kind));
    let response = |(status, kinds): (u16, Vec<Kind>)| {
        let lines: Vec<String> =
            kinds.iter().map(|kind| format!("`/problems/{}`: {}", kind.name(), kind.title())).collect();
        let any = Schemas::reference("problem");
        let schema = match refused.filter(|_| kinds.contains(&Kind::Refused)) {
            Some(refused) => json!({ "anyOf": [Schemas::reference(refused), any] }),
            None => any,
        };
        let content = Map::from_iter([(problem::MEDIA_TYPE.to_owned(), json!({ "schema": schema }))]);
        (status.to_string(), json!({ "description": lines.join("\n\n"), "content": content }))
    };
    by_status.into_iter().map(response).collect()
}
