//! The schemas of the document: definitions moved out of the types' schemas, references rewritten.

use std::collections::BTreeMap;

use annals_core::schema::variant_schema;
use serde_json::{Map, Value, json};

/// `components/schemas` in the making.
#[derive(Default)]
pub(super) struct Schemas(Map<String, Value>);

impl Schemas {
    /// Adds the schema of a type under `name` and its definitions beside it; returns it as it was added.
    pub(super) fn add(&mut self, name: &str, mut schema: Value) -> Value {
        let mut definitions = Map::new();
        if let Some(root) = schema.as_object_mut() {
            root.remove("$schema");
            if let Some(Value::Object(found)) = root.remove("$defs") {
                definitions = found;
            }
        }
        let mut moved = BTreeMap::from([("#".to_owned(), address(name))]);
        let mut named = Vec::new();
        for (definition, body) in definitions {
            let free = self.free(&format!("{name}.defs.{definition}"));
            moved.insert(format!("#/$defs/{definition}"), address(&free));
            // Taken at once, so that two definitions whose names become alike get two names.
            self.0.insert(free.clone(), Value::Null);
            named.push((free, body));
        }
        for (free, mut body) in named {
            rewrite(&mut body, &moved);
            self.0.insert(free, body);
        }
        rewrite(&mut schema, &moved);
        self.0.insert(component(name), schema.clone());
        schema
    }

    /// Adds a schema that has no definitions of its own.
    pub(super) fn insert(&mut self, name: &str, schema: Value) {
        self.0.insert(component(name), schema);
    }

    /// A reference to the schema called `name`.
    pub(super) fn reference(name: &str) -> Value {
        json!({ "$ref": address(name) })
    }

    /// The schema called `name`.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(&component(name))
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// A component name like `name` that nothing has yet.
    fn free(&self, name: &str) -> String {
        let name = component(name);
        let numbered = (2..).map(|number: u32| format!("{name}_{number}"));
        std::iter::once(name.clone()).chain(numbered).find(|name| !self.0.contains_key(name)).unwrap_or(name)
    }
}

/// The schema of a variant's fields, closed where their names are known: the server refuses any other field.
pub(super) fn fields(schema: &Value, serde_name: &str) -> Value {
    match variant_schema(schema, serde_name) {
        // Nothing, or an empty object.
        None | Some(Value::Null) => json!({ "type": "object", "maxProperties": 0 }),
        Some(fields) => {
            let mut fields = fields.clone();
            if let Some(object) = fields.as_object_mut().filter(|object| object.contains_key("properties")) {
                object.entry("additionalProperties").or_insert(Value::Bool(false));
            }
            fields
        }
    }
}

/// The name as a component may be called: letters, digits, `.`, `-` and `_`.
fn component(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

fn address(name: &str) -> String {
    format!("#/components/schemas/{}", component(name))
}

/// Points references to where the definitions went.
fn rewrite(schema: &mut Value, moved: &BTreeMap<String, String>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get_mut("$ref")
                && let Some(to) = moved.get(&unescaped(reference))
            {
                reference.clone_from(to);
            }
            for (keyword, value) in object.iter_mut() {
                // What stands here is data, whatever it looks like.
                if !matches!(keyword.as_str(), "const" | "default" | "enum" | "examples") {
                    rewrite(value, moved);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| rewrite(value, moved)),
        _ => {}
    }
}

/// A reference with the escapes of JSON pointers (`~1`) and of addresses (`%3C`) undone.
fn unescaped(reference: &str) -> String {
    let mut bytes = Vec::with_capacity(reference.len());
    let mut rest = reference.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%').then(|| after.get(..2)).flatten();
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).replace("~1", "/").replace("~0", "~")
}
