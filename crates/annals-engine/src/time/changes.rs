//! What is different in two JSON values.

use serde::Serialize;
use serde_json::Value;

/// A place in which two values differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The place as a JSON Pointer (RFC 6901); empty for the whole value.
    pub path: String,
    /// What was there; `None` where there was nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What is there; `None` where there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// The places in which `after` differs from `before`, in the order of their paths. Lists are compared place by place.
#[must_use]
pub fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare(&mut found, String::new(), Some(before), Some(after));
    found
}

fn compare(found: &mut Vec<Change>, path: String, before: Option<&Value>, after: Option<&Value>) {
    match (before, after) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                compare(found, format!("{path}/{escaped}"), one.get(name), other.get(name));
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            for index in 0..one.len().max(other.len()) {
                compare(found, format!("{path}/{index}"), one.get(index), other.get(index));
            }
        }
        (before, after) if before == after => {}
        (before, after) => found.push(Change { path, before: before.cloned(), after: after.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_are_named_by_pointers() {
        let before = json!({ "a": 1, "b": { "c/d": [1, 2], "e~": null }, "gone": true });
        let after = json!({ "a": 1, "b": { "c/d": [1, 3, 4], "e~": {} }, "new": 0 });
        let told: Vec<String> = changes(&before, &after)
            .into_iter()
            .map(|change| {
                assert_eq!(before.pointer(&change.path), change.before.as_ref());
                assert_eq!(after.pointer(&change.path), change.after.as_ref());
                change.path
            })
            .collect();
        assert_eq!(told, ["/b/c~1d/1", "/b/c~1d/2", "/b/e~0", "/gone", "/new"]);
        assert_eq!(changes(&after, &after), []);
        assert_eq!(changes(&json!(1), &json!([1])).len(), 1);
    }
}
