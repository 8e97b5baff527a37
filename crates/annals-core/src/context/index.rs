//! The indexes that a projection declares: checked against the schema of its documents when it is registered.
//!
//! A misspelled path would index nothing and answer every question with nothing, so a path must lead to a field
//! that the schema knows, or into a part of it that is open to any field.

use std::collections::BTreeSet;

use serde_json::Value;

/// A field by which documents can be found and ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// The way to the field, names separated by dots.
    pub path: &'static str,
    /// Whether the field holds texts and no numbers: what is asked for is then a text even if it looks like a number.
    pub is_text: bool,
}

impl Index {
    /// The indexes of `paths` in documents of `schema`; the first path that leads nowhere, and the fields there are,
    /// otherwise.
    pub(super) fn all(
        paths: &'static [&'static str],
        schema: &Value,
    ) -> Result<Vec<Self>, (String, Vec<String>)> {
        let schema = crate::schema::inline(schema);
        let index = |path: &&'static str| {
            let mut place = &schema;
            for name in path.split('.') {
                place = field(place, name).ok_or_else(|| ((*path).to_owned(), names(place)))?;
            }
            Ok(Self { path, is_text: is_text(place) })
        };
        paths.iter().map(index).collect()
    }
}

/// The schemas that together say what a value may be.
fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    let nested =
        ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|keyword| schema.get(keyword)?.as_array());
    std::iter::once(schema).chain(nested.flatten())
}

fn field<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    static ANYTHING: Value = Value::Bool(true);
    if is_open(schema) {
        return Some(&ANYTHING);
    }
    alternatives(schema).find_map(|schema| {
        let named = schema.get("properties").and_then(|properties| properties.get(name));
        named.or_else(|| schema.get("additionalProperties").filter(|more| **more != Value::Bool(false)))
    })
}

/// Whether the schema says nothing of what is allowed.
fn is_open(schema: &Value) -> bool {
    match schema {
        Value::Object(keywords) => keywords.is_empty() || keywords.contains_key("$ref"),
        other => *other == Value::Bool(true),
    }
}

fn names(schema: &Value) -> Vec<String> {
    let named = alternatives(schema).filter_map(|schema| schema.get("properties")?.as_object());
    let names: BTreeSet<String> = named.flat_map(|named| named.keys().cloned()).collect();
    names.into_iter().collect()
}

fn is_text(schema: &Value) -> bool {
    let mut types = BTreeSet::new();
    for schema in alternatives(schema) {
        match schema.get("type") {
            Some(Value::String(name)) => drop(types.insert(name.as_str())),
            Some(Value::Array(names)) => types.extend(names.iter().filter_map(Value::as_str)),
            _ => {}
        }
        let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        if listed.chain(schema.get("const")).any(Value::is_string) {
            types.insert("string");
        }
    }
    types.contains("string") && !["number", "integer", "boolean"].iter().any(|name| types.contains(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemars::JsonSchema;

    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "its schema is what is looked at")]
    struct Document {
        amount: i64,
        owner: Option<Owner>,
        kind: Kind,
        by_month: BTreeMap<String, u64>,
        anything: Value,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "its schema is what is looked at")]
    struct Owner {
        name: String,
        age: Option<u8>,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "its schema is what is looked at")]
    enum Kind {
        Plain,
        Special,
    }

    fn all(paths: &'static [&'static str]) -> Result<Vec<Index>, (String, Vec<String>)> {
        Index::all(paths, &schemars::schema_for!(Document).to_value())
    }

    #[test]
    fn paths_lead_to_fields() {
        let paths = ["amount", "owner.name", "owner.age", "kind", "by_month.any", "anything.at.all"];
        let texts = [false, true, false, true, false, false];
        let expected: Vec<_> =
            paths.into_iter().zip(texts).map(|(path, is_text)| Index { path, is_text }).collect();
        let found = all(&["amount", "owner.name", "owner.age", "kind", "by_month.any", "anything.at.all"]);
        assert_eq!(found, Ok(expected));
    }

    #[test]
    fn paths_that_lead_nowhere_are_told_with_what_there_is() {
        let (path, known) = all(&["amuont"]).unwrap_err();
        assert_eq!(
            (path.as_str(), known.join(" ").as_str()),
            ("amuont", "amount anything by_month kind owner")
        );
        assert_eq!(all(&["owner.nmae"]).unwrap_err().1, ["age", "name"]);
        assert_eq!(all(&["amount.more"]).unwrap_err().1, [""; 0]);
        assert_eq!(all(&[""]).unwrap_err().0, "");
    }
}
