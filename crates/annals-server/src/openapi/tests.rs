//! The document on schemas as the types give them.

use serde_json::{Value, json};

use super::schemas::{Schemas, fields};
use super::*;

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn definitions_move_and_references_follow() {
    let schema = |of: &str| {
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "properties": {
                "a": { "$ref": "#/$defs/Money" },
                "b": { "$ref": "#/$defs/Pair%3CA~1B%3E" },
                "self": { "$ref": "#" },
                "data": { "const": { "$ref": "#/$defs/Money" } },
            },
            "$defs": { "Money": { "title": of, "items": { "$ref": "#/$defs/Pair<A/B>" } }, "Pair<A/B>": {}, "Pair<A~B>": {} },
        })
    };
    let mut schemas = Schemas::default();
    let one = schemas.add("bank.one", schema("one"));
    schemas.add("bank.two", schema("two"));
    assert_eq!(one["properties"]["self"]["$ref"], "#/components/schemas/bank.one");
    assert_eq!(one["properties"]["data"]["const"]["$ref"], "#/$defs/Money", "data stays as it is");
    assert_eq!((one.get("$defs"), one.get("$schema")), (None, None));
    let all = schemas.into_value();
    assert_eq!(all["bank.one.defs.Money"]["title"], "one");
    assert_eq!(all["bank.two.defs.Money"]["title"], "two");
    assert_eq!(all.as_object().unwrap().len(), 8, "no definition took another's place: {all:#}");
    let (mut found, document) = (Vec::new(), json!({ "components": { "schemas": all } }));
    references(&document, &mut found);
    for reference in found.iter().filter(|reference| *reference != "#/$defs/Money") {
        let target = document.pointer(reference.strip_prefix('#').unwrap());
        assert!(target.is_some_and(Value::is_object), "{reference} leads nowhere");
    }
}

#[test]
fn fields_are_closed_where_their_names_are_known() {
    let schema = json!({ "oneOf": [
        { "const": "Open" },
        { "properties": { "Pay": { "type": "object", "properties": { "amount": {} } } } },
        { "properties": { "Tag": { "type": "object", "additionalProperties": { "type": "string" } } } },
    ] });
    assert_eq!(fields(&schema, "Open"), json!({ "type": "object", "maxProperties": 0 }));
    assert_eq!(fields(&schema, "Pay")["additionalProperties"], json!(false));
    assert_eq!(fields(&schema, "Tag")["additionalProperties"], json!({ "type": "string" }));
}

#[test]
fn without_contexts_only_the_operators_pages_are_there() {
    let document = document(std::iter::empty());
    let paths: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(paths, ["/healthz", "/metrics", "/openapi.json", "/problems/{name}", "/readyz"]);
}
