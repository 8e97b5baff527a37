//! A schema as lines for people and for comparison: one for each place in the data, by path.
//!
//! Paths: `amount` is a field, `address.city` a field in it, `labels[]` the elements of a list, `pair[0]` a place in
//! a tuple, `prices{}` the values of a map, `step|Credit` a case of an enum, `$` the value itself. Fields and cases
//! come in the order of their names, since their order in the Rust type does not matter to what is stored.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde_json::{Map, Value};

/// What is at one place in the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// It may be missing.
    pub optional: bool,
    /// Its type: `integer uint64 >= 0`.
    pub text: String,
}

/// The lines of an inlined schema, by path.
#[must_use]
pub fn lines(schema: &Value) -> BTreeMap<String, Line> {
    let mut lines = Lines { lines: BTreeMap::new() };
    if !schema.is_null() {
        lines.place("$", false, schema);
    }
    // That the fields are an object goes without saying, that something else stands there does not.
    if lines.lines.get("$").is_some_and(|line| line.text == "object") {
        lines.lines.remove("$");
    }
    lines.lines
}

struct Lines {
    lines: BTreeMap<String, Line>,
}

impl Lines {
    fn place(&mut self, path: &str, optional: bool, schema: &Value) {
        let keywords = match schema {
            Value::Object(keywords) => without_null(keywords),
            Value::Bool(false) => (Map::from_iter([("not".to_owned(), Value::Bool(true))]), false),
            _ => (Map::new(), false),
        };
        let (keywords, null) = keywords;
        let cases = cases(&keywords);
        let mut text = if cases.is_empty() { described(&keywords) } else { one_of(&keywords) };
        if null {
            text.push_str(" | null");
        }
        self.lines.insert(path.to_owned(), Line { optional, text });
        self.fields(path, &keywords);
        self.elements(path, &keywords);
        for (label, case) in cases {
            self.case(&format!("{path}|{}", Segment(&label)), &case);
        }
    }

    fn case(&mut self, path: &str, case: &Case) {
        match case {
            Case::Unit => {
                self.lines.insert(path.to_owned(), Line { optional: false, text: "unit".to_owned() });
            }
            Case::Holds(schema) => self.place(path, false, schema),
        }
    }

    fn fields(&mut self, path: &str, keywords: &Map<String, Value>) {
        let required = keywords.get("required").and_then(Value::as_array);
        let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|it| it == name));
        let fields = keywords.get("properties").and_then(Value::as_object);
        for (name, schema) in fields.into_iter().flatten() {
            let place = match path {
                "$" => Segment(name).to_string(),
                path => format!("{path}.{}", Segment(name)),
            };
            self.place(&place, !is_required(name), schema);
        }
        if let Some(values @ Value::Object(_)) = keywords.get("additionalProperties") {
            self.place(&format!("{path}{{}}"), false, values);
        }
    }

    fn elements(&mut self, path: &str, keywords: &Map<String, Value>) {
        let places = keywords.get("prefixItems").and_then(Value::as_array);
        for (index, schema) in places.into_iter().flatten().enumerate() {
            self.place(&format!("{path}[{index}]"), false, schema);
        }
        if let Some(elements @ Value::Object(_)) = keywords.get("items") {
            self.place(&format!("{path}[]"), false, elements);
        }
        let parts = keywords.get("allOf").and_then(Value::as_array);
        for (index, schema) in parts.into_iter().flatten().enumerate() {
            self.place(&format!("{path}&{index}"), false, schema);
        }
    }
}

/// A name as part of a path; quoted where it would not be plain.
struct Segment<'a>(&'a str);

impl fmt::Display for Segment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '=');
        if !self.0.is_empty() && self.0.chars().all(plain) {
            f.write_str(self.0)
        } else {
            write!(f, "{}", Value::from(self.0))
        }
    }
}

enum Case {
    Unit,
    Holds(Value),
}

/// The cases of an enum, by name. However the schema writes them: a list of texts, or alternatives.
fn cases(keywords: &Map<String, Value>) -> Vec<(String, Case)> {
    if let Some(names) = texts(keywords) {
        return names.into_iter().map(|name| (name, Case::Unit)).collect();
    }
    let mut cases = Vec::new();
    for keyword in ["oneOf", "anyOf"] {
        for schema in keywords.get(keyword).and_then(Value::as_array).into_iter().flatten() {
            match schema.as_object().and_then(texts) {
                Some(names) => cases.extend(names.into_iter().map(|name| (name, Case::Unit))),
                None => cases.push(case(schema, cases.len())),
            }
        }
    }
    cases
}

/// The texts of a schema that allows these texts only.
fn texts(keywords: &Map<String, Value>) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match (keywords.get("const"), keywords.get("enum")) {
        (Some(name), _) => Some(vec![text(name)?]),
        (None, Some(names)) => names.as_array()?.iter().map(text).collect(),
        (None, None) => None,
    }
}

/// One alternative: serde's external tag, an internal one, or else its number.
fn case(schema: &Value, index: usize) -> (String, Case) {
    let fields = schema.get("properties").and_then(Value::as_object);
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    let mut names = fields.into_iter().flatten();
    if let (Some((name, inner)), None, true) = (names.next(), names.next(), closed)
        && inner.get("const").is_none()
    {
        return (name.clone(), Case::Holds(inner.clone()));
    }
    let tag = fields
        .into_iter()
        .flatten()
        .find_map(|(name, schema)| Some(format!("{name}={}", schema.get("const")?.as_str()?)));
    (tag.unwrap_or_else(|| index.to_string()), Case::Holds(schema.clone()))
}

/// The schema without the alternative `null`, and whether it had it.
fn without_null(keywords: &Map<String, Value>) -> (Map<String, Value>, bool) {
    let is_null = |value: &Value| value.get("type").is_some_and(|ty| ty == "null");
    let mut rest = keywords.clone();
    let mut null = false;
    if let Some(Value::Array(names)) = rest.get_mut("enum") {
        null |= names.iter().any(Value::is_null);
        names.retain(|name| !name.is_null());
    }
    if let Some(Value::Array(types)) = rest.get_mut("type") {
        null |= types.iter().any(|ty| ty == "null");
        types.retain(|ty| ty != "null");
    }
    for keyword in ["anyOf", "oneOf"] {
        let Some(Value::Array(alternatives)) = rest.get_mut(keyword) else { continue };
        let before = alternatives.len();
        alternatives.retain(|alternative| !is_null(alternative));
        let dropped = alternatives.len() < before;
        null |= dropped;
        if let (true, [Value::Object(only)]) = (dropped, alternatives.as_slice()) {
            let (only, inner) = without_null(only);
            null |= inner;
            rest.remove(keyword);
            rest.extend(only);
        }
    }
    (rest, null)
}

/// Keywords that are told elsewhere: by lines of their own, by `?`, or by being an object at all.
const ELSEWHERE: [&str; 14] = [
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "default",
    "enum",
    "format",
    "maximum",
    "minimum",
    "oneOf",
    "properties",
    "required",
    "type",
];

fn one_of(keywords: &Map<String, Value>) -> String {
    let mut text = "one of".to_owned();
    // A flattened enum stands beside the fields of a struct.
    if keywords.contains_key("properties") {
        text.insert_str(0, "object and ");
    }
    more(&mut text, keywords);
    text
}

fn described(keywords: &Map<String, Value>) -> String {
    let mut text = match keywords.get("type") {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => match keywords.get("$ref").and_then(Value::as_str) {
            Some(outer) => format!("recursive {outer}"),
            None if keywords.contains_key("properties") => "object".to_owned(),
            None => "any".to_owned(),
        },
    };
    if let Some(format) = keywords.get("format").and_then(Value::as_str) {
        let _ = write!(text, " {format}");
    }
    for (keyword, sign) in [("minimum", ">="), ("maximum", "<="), ("const", "="), ("enum", "in")] {
        if let Some(value) = keywords.get(keyword) {
            let _ = write!(text, " {sign} {value}");
        }
    }
    more(&mut text, keywords);
    text
}

/// Everything else a schema says, so that no change of it goes unseen.
fn more(text: &mut String, keywords: &Map<String, Value>) {
    for (keyword, value) in keywords {
        let nested = matches!(keyword.as_str(), "items" | "prefixItems") && !value.is_boolean();
        // Whether unknown fields are refused does not matter: a field that goes is a change of its own.
        let open = keyword == "unevaluatedProperties";
        if !nested && !open && !ELSEWHERE.contains(&keyword.as_str()) {
            let _ = write!(text, " {keyword}={value}");
        }
    }
    if keywords.get("additionalProperties") == Some(&Value::Bool(true)) {
        text.push_str(" of any");
    }
    // Data without the field reads as the default: another default is another meaning of old data.
    if let Some(default) = keywords.get("default").filter(|default| !default.is_null()) {
        let _ = write!(text, " default {default}");
    }
}
