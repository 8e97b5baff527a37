//! What is asked of a store: which documents, in which order, a page at a time; and how SQL says it.
//!
//! Invariant: pages that follow each other show every document that stays as it is once, in the order asked for;
//! documents with equal values are ordered by their keys, in the same direction.

use std::borrow::Cow;
use std::fmt::Write as _;

use annals_core::Tenant;

use crate::index_key::IndexKey;

/// The most documents one page of a list holds.
pub const PAGE_DOCUMENTS_MAX: usize = 1_000;

/// Which documents to list, and in which order.
#[derive(Clone, Debug, Default)]
pub struct Query<'a> {
    /// Whose documents.
    pub tenant: Option<&'a Tenant>,
    /// What their keys start with; empty for all.
    pub prefix: &'a str,
    /// What all of their indexed fields must fulfil.
    pub filters: &'a [Filter],
    /// The order.
    pub order: Order,
    /// List what comes after this place.
    pub after: Option<&'a Place>,
    /// At most so many; taken as 1 when 0, as [`PAGE_DOCUMENTS_MAX`] when above.
    pub limit: usize,
}

/// What the value of an indexed field must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Which of the view's indexes.
    pub index: usize,
    /// How the value compares with `key`.
    pub comparison: Comparison,
    /// What it is compared with.
    pub key: IndexKey,
}

/// How a value compares with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Greater.
    Greater,
    /// Greater or equal.
    AtLeast,
    /// Less.
    Less,
    /// Less or equal.
    AtMost,
}

/// In which order documents are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// By the value of which index; by the document's key where there is none.
    pub index: Option<usize>,
    /// The greatest first.
    pub descending: bool,
}

/// A place in the order of a list: that of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The value that the list is ordered by; `None` where it is ordered by key.
    pub value: Option<IndexKey>,
    /// The document's key.
    pub key: String,
}

/// Documents in the order asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys and JSON.
    pub documents: Vec<(String, Vec<u8>)>,
    /// Where the next page starts, as [`Place::to_text`]; `None` on the last page.
    pub next: Option<String>,
}

/// A document that a query found, with the value of the index it is ordered by.
pub(crate) struct Found {
    pub(crate) key: String,
    pub(crate) value: Option<IndexKey>,
    pub(crate) json: Vec<u8>,
}

/// What takes the place of a parameter in SQL.
pub(crate) enum Parameter<'a> {
    Text(Cow<'a, str>),
    Bytes(&'a [u8]),
    Whole(i64),
}

impl Filter {
    /// Whether a document with these values is asked for.
    pub(crate) fn admits(&self, values: &[IndexKey]) -> bool {
        let Some(value) = values.get(self.index) else { return false };
        match self.comparison {
            Comparison::Equal => *value == self.key,
            Comparison::Greater => *value > self.key,
            Comparison::AtLeast => *value >= self.key,
            Comparison::Less => *value < self.key,
            Comparison::AtMost => *value <= self.key,
        }
    }
}

impl Comparison {
    const fn sql(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
            Self::Less => "<",
            Self::AtMost => "<=",
        }
    }
}

impl Place {
    /// The place as text: a key where a list is ordered by key; otherwise the value in hexadecimal digits, a dot
    /// and the key.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Some(value) = &self.value else { return self.key.clone() };
        let mut text = String::with_capacity(2 * value.as_bytes().len() + 1 + self.key.len());
        for byte in value.as_bytes() {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text + "." + &self.key
    }

    /// Reads the place from the text of a list in this order; `None` where it is of another.
    #[must_use]
    pub fn from_text(text: &str, order: Order) -> Option<Self> {
        if order.index.is_none() {
            return Some(Self { value: None, key: text.to_owned() });
        }
        let (digits, key) = text.split_once('.')?;
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let is_hex = digits.len() % 2 == 0 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let value: Vec<u8> = digits.as_bytes().chunks(2).map(byte).collect::<Option<_>>()?;
        let value = Some(IndexKey::from_bytes(&value)).filter(|_| is_hex)?;
        Some(Self { value: Some(value), key: key.to_owned() })
    }
}

impl Query<'_> {
    /// How many documents a page may have.
    pub(crate) fn limit(&self) -> usize {
        self.limit.clamp(1, PAGE_DOCUMENTS_MAX)
    }

    /// Makes a page of what was found: up to one document more than the limit.
    pub(crate) fn page(&self, mut found: Vec<Found>) -> Page {
        let more = found.len() > self.limit();
        found.truncate(self.limit());
        let place = |last: &Found| Place { value: last.value.clone(), key: last.key.clone() }.to_text();
        let next = found.last().filter(|_| more).map(place);
        Page { documents: found.into_iter().map(|found| (found.key, found.json)).collect(), next }
    }

    /// The query in SQL over `table`, with `$1`, `$2` .. for its parameters in the order they appear. A row is the key, the JSON and, where
    /// the order has an index, its value; there is one row more than the limit where there are more.
    ///
    /// Text compares by its bytes in both databases, so a prefix is a range of keys: no pattern is needed, and `%`
    /// and `_` are letters like others.
    pub(crate) fn sql<'a>(&'a self, table: &str, tenant: &'a str) -> (String, Vec<Parameter<'a>>) {
        let mut parameters = vec![Parameter::Text(tenant.into())];
        let mut parameter = |value: Parameter<'a>| {
            parameters.push(value);
            format!("${}", parameters.len())
        };
        let mut conditions = "tenant = $1".to_owned();
        for Filter { index, comparison, key } in self.filters {
            let value = parameter(Parameter::Bytes(key.as_bytes()));
            let _ = write!(conditions, " AND i{index} {} {value}", comparison.sql());
        }
        if !self.prefix.is_empty() {
            let prefix = parameter(Parameter::Text(self.prefix.into()));
            let _ = write!(conditions, " AND key >= {prefix}");
        }
        if let Some(beyond) = beyond(self.prefix) {
            let beyond = parameter(Parameter::Text(beyond.into()));
            let _ = write!(conditions, " AND key < {beyond}");
        }
        let (beyond, way) = if self.order.descending { ("<", "DESC") } else { (">", "ASC") };
        if let Some(after) = self.after {
            let value = self.order.index.zip(after.value.as_ref());
            let value = value.map(|(index, value)| (index, parameter(Parameter::Bytes(value.as_bytes()))));
            let key = parameter(Parameter::Text(after.key.as_str().into()));
            let _ = match value {
                Some((index, value)) => write!(conditions, " AND (i{index}, key) {beyond} ({value}, {key})"),
                None => write!(conditions, " AND key {beyond} {key}"),
            };
        }
        let limit = parameter(Parameter::Whole(i64::try_from(self.limit() + 1).unwrap_or(i64::MAX)));
        let (value, by) = match self.order.index {
            Some(index) => (format!(", i{index}"), format!("i{index} {way}, key {way}")),
            None => (String::new(), format!("key {way}")),
        };
        let sql =
            format!("SELECT key, json{value} FROM {table} WHERE {conditions} ORDER BY {by} LIMIT {limit}");
        (sql, parameters)
    }
}

/// The least text that is greater than all that start with `prefix`; `None` where there is none.
fn beyond(prefix: &str) -> Option<String> {
    let (head, last) = prefix.char_indices().next_back().map(|(at, last)| (prefix.get(..at), last))?;
    let next = match last {
        char::MAX => return beyond(head?),
        // The code points of surrogates are no characters.
        '\u{d7ff}' => '\u{e000}',
        last => char::from_u32(u32::from(last) + 1)?,
    };
    Some(format!("{}{next}", head?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        let cases = [("", None), ("a", Some("b")), ("a\u{10ffff}", Some("b")), ("\u{10ffff}", None)];
        for (prefix, expected) in
            cases.into_iter().chain([("x\u{d7ff}", Some("x\u{e000}")), ("é", Some("ê"))])
        {
            assert_eq!(beyond(prefix).as_deref(), expected, "{prefix:?}");
        }
    }

    #[test]
    fn places_survive_being_text() {
        let order = |index| Order { index, descending: false };
        for key in ["ann", "a.b", "", "\u{e9}"] {
            for value in [None, Some(IndexKey::of_text("x.y")), Some(IndexKey::of(&serde_json::json!(-7)))] {
                let place = Place { value: value.clone(), key: key.to_owned() };
                let read = Place::from_text(&place.to_text(), order(value.map(|_| 0)));
                assert_eq!(read, Some(place));
            }
        }
        for bad in ["ann", "0.a", "+1+2.a", "zz.a", "\u{e9}\u{e9}.a"] {
            assert_eq!(Place::from_text(bad, order(Some(0))), None, "{bad}");
        }
    }
}
