//! What differs between two JSON values, as text for people.
//!
//! It reports by path, so that one wrong field in a long list is one line. It does not guess which element of a
//! list was inserted or removed: lists are compared place by place.

use serde_json::Value;

/// The differences by path, then both values in full.
pub(crate) fn report(expected: &Value, found: &Value) -> String {
    let mut lines = Vec::new();
    collect("", Some(expected), Some(found), &mut lines);
    let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!("differences:\n{lines}expected: {expected:#}\nfound: {found:#}")
}

fn collect(path: &str, expected: Option<&Value>, found: Option<&Value>, lines: &mut Vec<String>) {
    match (expected, found) {
        (Some(expected), Some(found)) if expected == found => {}
        (Some(Value::Object(expected)), Some(Value::Object(found))) => {
            let added = found.keys().filter(|key| !expected.contains_key(*key));
            for key in expected.keys().chain(added) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(&path, expected.get(key), found.get(key), lines);
            }
        }
        (Some(Value::Array(expected)), Some(Value::Array(found))) => {
            for index in 0..expected.len().max(found.len()) {
                collect(&format!("{path}[{index}]"), expected.get(index), found.get(index), lines);
            }
        }
        _ => {
            let at = if path.is_empty() { "the value" } else { path };
            lines.push(format!("{at}: expected {}, found {}", show(expected), show(found)));
        }
    }
}

fn show(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(expected: &Value, found: &Value, lines: &[&str]) {
        let mut seen = Vec::new();
        collect("", Some(expected), Some(found), &mut seen);
        assert_eq!(seen, lines);
    }

    #[test]
    fn differences_are_named_by_path() {
        let left = json!([{"Deposited": {"amount": 5, "by": "ann"}}, "Closed"]);
        let right = json!([{"Deposited": {"amount": 6, "to": "bob"}}]);
        check(
            &left,
            &right,
            &[
                "[0].Deposited.amount: expected 5, found 6",
                "[0].Deposited.by: expected \"ann\", found nothing",
                "[0].Deposited.to: expected nothing, found \"bob\"",
                "[1]: expected \"Closed\", found nothing",
            ],
        );
        check(&left, &left, &[]);
        check(&json!(1), &json!([1]), &["the value: expected 1, found [1]"]);
    }

    #[test]
    fn a_report_shows_both_sides() {
        let report = report(&json!({"a": 1}), &json!({"a": 2}));
        assert_eq!(
            report,
            "differences:\n  a: expected 1, found 2\nexpected: {\n  \"a\": 1\n}\nfound: {\n  \"a\": 2\n}"
        );
    }
}
