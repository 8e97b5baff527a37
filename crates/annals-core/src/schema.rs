//! The shapes of everything that is stored for years, as JSON Schema.

mod inline;
mod lines;

use std::collections::BTreeSet;

use serde_json::Value;

pub use inline::inline;
pub use lines::{Line, lines};

/// The schema of one variant's fields inside the schema of an enum with serde's external tagging: `Null` for a
/// variant without fields; `None` where the schema does not hold the variant.
#[must_use]
pub fn variant_schema<'a>(schema: &'a Value, serde_name: &str) -> Option<&'a Value> {
    static NO_FIELDS: Value = Value::Null;
    let names = |schema: &Value| {
        let listed = schema.get("enum").and_then(Value::as_array);
        listed.is_some_and(|names| names.iter().any(|name| name == serde_name))
            || schema.get("const").is_some_and(|name| name == serde_name)
    };
    let alternatives = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array);
    let alternatives = alternatives.map_or(std::slice::from_ref(schema), Vec::as_slice);
    alternatives.iter().find_map(|alternative| {
        if names(alternative) {
            return Some(&NO_FIELDS);
        }
        alternative.get("properties").and_then(|properties| properties.get(serde_name))
    })
}

/// The names of the fields of one variant; none for a variant without fields, `None` where the fields have no
/// fixed names (a map, a tuple, flattened fields) or the schema does not hold the variant.
#[must_use]
pub fn variant_fields(schema: &Value, serde_name: &str) -> Option<BTreeSet<String>> {
    let mut fields = variant_schema(schema, serde_name)?;
    if fields.is_null() {
        return Some(BTreeSet::new());
    }
    if let Some(name) = fields.get("$ref").and_then(Value::as_str) {
        fields = schema.pointer(name.strip_prefix('#')?)?;
    }
    // `additionalProperties: false` or nothing: serde ignores what it does not know, we do not.
    if fields.get("additionalProperties").is_some_and(|more| more != &Value::Bool(false)) {
        return None;
    }
    Some(fields.get("properties")?.as_object()?.keys().cloned().collect())
}
