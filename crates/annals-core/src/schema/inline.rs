//! A schema without its definitions and its prose: two types that are stored alike give equal schemas.

use serde_json::{Map, Value};

/// Keywords that say nothing about the data, and the places definitions are kept in.
const DROPPED: [&str; 12] = [
    "$anchor",
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
];
/// Keywords that hold data.
const DATA: [&str; 3] = ["const", "default", "enum"];
/// Keywords that hold schemas by name.
const NAMED: [&str; 3] = ["dependentSchemas", "patternProperties", "properties"];

/// The schema with every `$ref` replaced by what it refers to, and without titles and descriptions.
///
/// In a recursive type the inner occurrence becomes `{"$ref": "^n"}`: the schema that was opened `n` references
/// further out. Names of Rust types are therefore no part of the result.
#[must_use]
pub fn inline(schema: &Value) -> Value {
    Inline { root: schema, open: vec!["#"] }.schema(schema)
}

struct Inline<'a> {
    root: &'a Value,
    /// The references that lead here.
    open: Vec<&'a str>,
}

impl<'a> Inline<'a> {
    fn schema(&mut self, schema: &'a Value) -> Value {
        let Value::Object(keywords) = schema else { return schema.clone() };
        let mut inlined = match keywords.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.referred(reference),
            None => Map::new(),
        };
        for (keyword, value) in keywords {
            if keyword != "$ref" && !DROPPED.contains(&keyword.as_str()) {
                inlined.insert(keyword.clone(), self.keyword(keyword, value));
            }
        }
        Value::Object(inlined)
    }

    fn referred(&mut self, reference: &'a str) -> Map<String, Value> {
        let stays = |text: String| Map::from_iter([("$ref".to_owned(), Value::String(text))]);
        if let Some(outer) = self.open.iter().rev().position(|open| *open == reference) {
            return stays(format!("^{outer}"));
        }
        let Some(target) = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) else {
            return stays(reference.to_owned());
        };
        self.open.push(reference);
        let inlined = self.schema(target);
        self.open.pop();
        match inlined {
            Value::Object(keywords) => keywords,
            // `true` and `false` are schemas too: anything, and nothing.
            Value::Bool(false) => Map::from_iter([("not".to_owned(), Value::Object(Map::new()))]),
            _ => Map::new(),
        }
    }

    fn keyword(&mut self, keyword: &str, value: &'a Value) -> Value {
        match value {
            _ if DATA.contains(&keyword) => value.clone(),
            Value::Object(named) if NAMED.contains(&keyword) => Value::Object(
                named.iter().map(|(name, schema)| (name.clone(), self.schema(schema))).collect(),
            ),
            Value::Array(schemas) => Value::Array(schemas.iter().map(|schema| self.schema(schema)).collect()),
            Value::Object(_) => self.schema(value),
            _ => value.clone(),
        }
    }
}
