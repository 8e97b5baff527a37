//! Values of documents as bytes that sort as the values do: what the indexes of every store hold.
//!
//! Invariant: of two values of a field the smaller has the smaller bytes, and equal values have equal bytes, as
//! far as [`TEXT_BYTES_MAX`]. Stores compare bytes and know nothing of JSON, so all of them find and order alike.
//!
//! ```text
//! 00                  nothing: null, no such field, a list or an object
//! 01 | 02             false | true
//! 03 f64 rest         a number: the nearest double with its bits in order, and what it is off by (16 bits)
//! 04 utf-8            a text, its first 1,000 bytes
//! ```

use std::fmt;

use serde_json::{Number, Value};

/// Longer texts are found and ordered by so many of their first bytes: what fits into an index of every store.
pub const TEXT_BYTES_MAX: usize = 1_000;

const NOTHING: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const NUMBER: u8 = 3;
const TEXT: u8 = 4;
/// What a number is off by when it is the double itself.
const EXACT: u16 = 0x8000;

/// A value of an indexed field.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexKey(Vec<u8>);

impl IndexKey {
    /// The key of a value.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null | Value::Array(_) | Value::Object(_) => Self(vec![NOTHING]),
            Value::Bool(false) => Self(vec![FALSE]),
            Value::Bool(true) => Self(vec![TRUE]),
            Value::Number(number) => Self::of_number(number),
            Value::String(text) => Self::of_text(text),
        }
    }

    /// The key of a text.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        let text = text.as_bytes();
        let text = text.get(..TEXT_BYTES_MAX).unwrap_or(text);
        Self([&[TEXT], text].concat())
    }

    /// The keys of the fields at `paths` in a document, in their order.
    pub(crate) fn of_document<'a>(
        json: &[u8],
        paths: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<Self>, serde_json::Error> {
        let document: Value = serde_json::from_slice(json)?;
        let at = |path: &str| path.split('.').try_fold(&document, |place, name| place.get(name));
        Ok(paths.map(|path| Self::of(at(path).unwrap_or(&Value::Null))).collect())
    }

    /// The bytes that stores keep and compare.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes back what a store kept.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    fn of_number(number: &Number) -> Self {
        let (near, off) = match (number.as_u64(), number.as_i64()) {
            (Some(whole), _) => near(i128::from(whole)),
            (None, Some(whole)) => near(i128::from(whole)),
            (None, None) => (number.as_f64().unwrap_or_default(), EXACT),
        };
        // Minus zero is zero.
        let bits = (near + 0.0).to_bits();
        let ordered = if bits >> 63 == 0 { bits | 1 << 63 } else { !bits };
        Self([&[NUMBER][..], &ordered.to_be_bytes(), &off.to_be_bytes()].concat())
    }
}

/// The double nearest to a whole number of 64 bits, and what it is off by, moved so that it is not negative.
fn near(whole: i128) -> (f64, u16) {
    #[expect(clippy::cast_precision_loss, reason = "what is lost is the second part")]
    let near = whole as f64;
    #[expect(clippy::cast_possible_truncation, reason = "doubles of this size are whole and fit 128 bits")]
    let off = whole - near as i128;
    (near, u16::try_from(off + i128::from(EXACT)).unwrap_or_default())
}

impl fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_first() {
            Some((&TEXT, text)) => write!(f, "{:?}", String::from_utf8_lossy(text)),
            _ => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_sort_as_values_do() {
        let ascending = [
            json!(null),
            json!(false),
            json!(true),
            json!(-1.5e300),
            json!(i64::MIN),
            json!(i64::MIN + 1),
            json!(-9_007_199_254_740_993_i64),
            json!(-9_007_199_254_740_992_i64),
            json!(-2),
            json!(-1.5),
            json!(-1),
            json!(-0.1),
            json!(0),
            json!(5e-324),
            json!(1),
            json!(1.5),
            json!(2),
            json!(9_007_199_254_740_991_i64),
            json!(9_007_199_254_740_992_i64),
            json!(9_007_199_254_740_993_i64),
            json!(i64::MAX - 1),
            json!(i64::MAX),
            json!(u64::MAX - 1),
            json!(u64::MAX),
            json!(1e300),
            json!(""),
            json!("\u{0}"),
            json!("1"),
            json!("a"),
            json!("a\u{0}"),
            json!("aa"),
            json!("b"),
            json!("ä"),
            json!("\u{10ffff}"),
        ];
        let keys: Vec<IndexKey> = ascending.iter().map(IndexKey::of).collect();
        for (at, pair) in keys.windows(2).enumerate() {
            assert!(pair[0] < pair[1], "{} and {}", ascending[at], ascending[at + 1]);
        }
    }

    #[test]
    fn whole_numbers_sort_as_they_do_at_every_size() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        for _ in 0..100_000 {
            let shift = random.random_range(0..64);
            let a = (random.random::<u64>() >> shift).cast_signed();
            let b = a.wrapping_add(random.random_range(-3..4));
            assert_eq!(IndexKey::of(&json!(a)).cmp(&IndexKey::of(&json!(b))), a.cmp(&b), "{a} and {b}");
            let (a, b) = (a.cast_unsigned(), b.cast_unsigned());
            assert_eq!(IndexKey::of(&json!(a)).cmp(&IndexKey::of(&json!(b))), a.cmp(&b), "{a} and {b}");
        }
    }

    #[test]
    fn equal_values_have_equal_keys() {
        let equal = |a: Value, b: Value| assert_eq!(IndexKey::of(&a), IndexKey::of(&b), "{a} and {b}");
        equal(json!(-0.0), json!(0));
        equal(json!(2.0), json!(2));
        equal(json!(9_007_199_254_740_992.0), json!(9_007_199_254_740_992_i64));
        equal(json!([1]), json!({}));
        let long = "x".repeat(TEXT_BYTES_MAX);
        equal(json!(long), json!(format!("{long}y")));
        assert_ne!(IndexKey::of_text(&long), IndexKey::of_text(&long[1..]));
    }

    #[test]
    fn fields_are_found_by_their_paths() {
        let json = br#"{"a":{"b":2,"c":[1]},"d":"x"}"#;
        let keys = IndexKey::of_document(json, ["a.b", "a.c", "d", "d.e", "f"].into_iter()).unwrap();
        let expected = [json!(2), json!(null), json!("x"), json!(null), json!(null)];
        assert_eq!(keys, expected.iter().map(IndexKey::of).collect::<Vec<_>>());
    }
}
