//! Conditions on indexed fields, as they are written on the command line and in addresses.

use annals_views::Wanted;
use annals_views::store::Comparison;

/// Of two that begin alike the longer first.
const COMPARISONS: [(&str, Comparison, &str); 5] = [
    (">=", Comparison::AtLeast, "[gte]"),
    ("<=", Comparison::AtMost, "[lte]"),
    (">", Comparison::Greater, "[gt]"),
    ("<", Comparison::Less, "[lt]"),
    ("=", Comparison::Equal, ""),
];

/// Reads `balance>=500`.
pub(super) fn parse(text: &str) -> Result<Wanted, String> {
    let at = text.find(['<', '>', '=']).filter(|at| *at > 0);
    let found = at.map(|at| text.split_at(at)).and_then(|(path, rest)| {
        let sign = COMPARISONS.iter().find(|(sign, ..)| rest.starts_with(sign))?;
        Some((path, sign.1, rest.strip_prefix(sign.0)?))
    });
    let wrong = || "write FIELD=VALUE, or >, >=, <, <= in place of =".to_owned();
    let (path, comparison, value) = found.ok_or_else(wrong)?;
    Ok(Wanted { path: path.to_owned(), comparison, value: value.to_owned() })
}

/// The name of the parameter in an address: `where[balance][gte]`.
pub(super) fn parameter(wanted: &Wanted) -> String {
    let found = COMPARISONS.iter().find(|(_, comparison, _)| *comparison == wanted.comparison);
    format!("where[{}]{}", wanted.path, found.map_or("", |(.., suffix)| suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_and_written() {
        for (text, name, value) in [
            ("a.b=5", "where[a.b]", "5"),
            ("a>=5", "where[a][gte]", "5"),
            ("a<=", "where[a][lte]", ""),
            ("a>-5", "where[a][gt]", "-5"),
            ("a<x=y", "where[a][lt]", "x=y"),
        ] {
            let wanted = parse(text).unwrap();
            assert_eq!((parameter(&wanted).as_str(), wanted.value.as_str()), (name, value), "{text}");
        }
        for bad in ["", "a", "=5", ">5"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
