//! What moved on an account: one document per account and calendar month of business time (UTC), under
//! `ann:2026-01`.
//!
//! One document per account would grow for ever and be written anew by every movement; a month is what people
//! ask for, and `ann:` as a prefix lists them all. A month's page begins from nothing, so it says what came in and
//! went out, not the balance: that is [`super::Balance`]'s, or the account's state at a time. Holds are no lines:
//! a transfer is one when it is posted.

use std::fmt;
use std::str::FromStr;

use annals::Timestamp;
use annals::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::account::Event;
use crate::money::signed;

/// What moved on an account in one month. Amounts are in minor units.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Statement {
    /// The sum of all that came in.
    pub paid_in: u64,
    /// The sum of all that went out.
    pub paid_out: u64,
    /// The movements, in the order they were recorded.
    pub lines: Vec<Line>,
}

/// One movement.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Line {
    /// When, in business time.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The account's version it made.
    pub version: u64,
    /// How much: positive came in, negative went out.
    pub amount: i64,
    /// The other account, where it was a transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// The transfer, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<String>,
    /// What the sender called the transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// A page of statements: an account and a month. Written `ann:2026-01`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    account: String,
    year: i16,
    month: i8,
}

/// A text that is not a page of statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a page of statements is written as an account and a month, as in ann:2026-01")]
pub struct BadPage;

impl Page {
    /// The page of `account` that holds the moment `at`.
    #[must_use]
    pub fn of(account: &str, at: Timestamp) -> Self {
        let day = jiff::tz::Offset::UTC.to_datetime(at);
        Self { account: account.to_owned(), year: day.year(), month: day.month() }
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:04}-{:02}", self.account, self.year, self.month)
    }
}

impl FromStr for Page {
    type Err = BadPage;

    fn from_str(text: &str) -> Result<Self, BadPage> {
        let (account, month) = text.rsplit_once(':').ok_or(BadPage)?;
        // A year before 0 begins with a sign, which is no separator.
        let (year, month) = month.rsplit_once('-').ok_or(BadPage)?;
        let page = Self {
            account: account.to_owned(),
            year: year.parse().map_err(|_| BadPage)?,
            month: month.parse().map_err(|_| BadPage)?,
        };
        let real = !account.is_empty() && (1..=12).contains(&page.month) && page.to_string() == text;
        if real { Ok(page) } else { Err(BadPage) }
    }
}

impl TryFrom<&str> for Page {
    type Error = BadPage;

    fn try_from(text: &str) -> Result<Self, BadPage> {
        text.parse()
    }
}

impl Projection for Statement {
    const NAME: &'static str = "statement";
    type Input = Event;
    type Key = Page;

    fn keys(e: &Recorded<Event>) -> impl IntoIterator<Item = Page> {
        line(e).map(|line| Page::of(e.meta.id(), line.at))
    }

    fn project(&mut self, _: &Page, e: &Recorded<Event>) -> Fate {
        if let Some(line) = line(e) {
            let sum = if line.amount > 0 { &mut self.paid_in } else { &mut self.paid_out };
            *sum = sum.saturating_add(line.amount.unsigned_abs());
            self.lines.push(line);
        }
        Fate::Keep
    }
}

/// The line an event makes, where it moves money.
fn line(e: &Recorded<Event>) -> Option<Line> {
    let line = |amount| Line {
        at: e.meta.at(),
        version: e.meta.version,
        amount,
        with: None,
        transfer: None,
        reference: None,
    };
    match &e.event {
        Event::Deposited { amount } => Some(line(signed(*amount))),
        Event::Withdrawn { amount } => Some(line(-signed(*amount))),
        Event::Corrected { by } => Some(line(*by)),
        Event::Credited { transfer, from, amount, reference } => Some(Line {
            with: Some(from.clone()),
            transfer: Some(transfer.clone()),
            reference: reference.clone(),
            ..line(signed(*amount))
        }),
        Event::Posted { transfer, to, amount, reference } => Some(Line {
            with: Some(to.clone()),
            transfer: Some(transfer.clone()),
            reference: reference.clone(),
            ..line(-signed(*amount))
        }),
        Event::Opened { .. }
        | Event::Held { .. }
        | Event::Voided { .. }
        | Event::Frozen { .. }
        | Event::Unfrozen
        | Event::Closed => None,
    }
}
