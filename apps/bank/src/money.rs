//! Amounts of money: whole numbers of minor units (cents), never floating point.
//!
//! Limits keep every sum exact, in Rust and in a browser: a balance stays below 2^53, the largest whole number
//! that JSON readers in JavaScript hold exactly. There is one currency.

use std::fmt;

/// The most that one command may move, in minor units: ten billion in major units.
pub const AMOUNT_MAX: u64 = 1_000_000_000_000;
/// The most that one account may hold, in minor units.
pub const BALANCE_MAX: i64 = 9_000_000_000_000_000;

/// Shows an amount of minor units to people: `19330` as `193.30`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown(pub u64);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// A text that is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AmountError {
    /// Write digits, with a point before the minor units.
    #[error("an amount is digits, with at most one point between them, as in 193.30")]
    NotDigits,
    /// Round it where it comes from: a bank does not round for its customers.
    #[error("an amount has at most two digits after the point, unless the others are zeros")]
    TooFine,
    /// Split it.
    #[error("the amount is more than {}, the most that is moved at once", Shown(AMOUNT_MAX))]
    TooLarge,
}

/// Reads an amount as minor units, exactly: `193.3` is 19330.
pub fn parse(text: &str) -> Result<u64, AmountError> {
    let (major, minor) = match text.split_once('.') {
        Some((major, minor)) => (major, minor),
        None => (text, "0"),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(major) || !digits(minor) {
        return Err(AmountError::NotDigits);
    }
    let (cents, rest) = minor.split_at(minor.len().min(2));
    if rest.bytes().any(|byte| byte != b'0') {
        return Err(AmountError::TooFine);
    }
    // Digits only, so that parsing can fail for no reason but size.
    let amount = format!("{major}{cents:0<2}").parse().map_err(|_| AmountError::TooLarge)?;
    if amount > AMOUNT_MAX { Err(AmountError::TooLarge) } else { Ok(amount) }
}

/// An amount as a change to a balance. The limits make it exact; what is beyond them is held at the end.
pub(crate) fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_read_exactly() {
        for (text, minor) in [
            ("193.3", 19330),
            ("0.07", 7),
            ("143.11", 14311),
            ("5", 500),
            ("5.0", 500),
            ("5.1000", 510),
            ("007.50", 750),
            ("0", 0),
            ("10000000000.00", AMOUNT_MAX),
            ("9999999999.99", AMOUNT_MAX - 1),
        ] {
            assert_eq!(parse(text), Ok(minor), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", ".", "5.", ".5", "-5", "+5", "1e3", "1,5", " 5", "5 ", "1.2.3", "0x5", "NaN", "٣"] {
            assert_eq!(parse(text), Err(AmountError::NotDigits), "{text:?}");
        }
        for text in ["0.001", "5.129", "5.1001"] {
            assert_eq!(parse(text), Err(AmountError::TooFine), "{text:?}");
        }
        for text in ["10000000000.01", "99999999999999999999999999"] {
            assert_eq!(parse(text), Err(AmountError::TooLarge), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(amount in 0..=AMOUNT_MAX) {
            prop_assert_eq!(parse(&Shown(amount).to_string()), Ok(amount));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse(&text);
        }
    }
}
