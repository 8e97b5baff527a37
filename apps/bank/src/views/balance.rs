//! How an account stands: one document per account, under its id.
//!
//! A closed account keeps its document, so that asking for it gets an answer other than "unknown".

use annals::Timestamp;
use annals::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::account::{Event, Status};
use crate::money::signed;

/// How an account stands. Amounts are in minor units.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Balance {
    /// Whether it is open.
    pub status: Status,
    /// What it holds; negative when overdrawn.
    pub balance: i64,
    /// What is set aside for transfers under way.
    pub held: u64,
    /// What can be withdrawn or sent.
    pub available: i64,
    /// How far the balance may fall below zero.
    pub overdraft: u64,
    /// When it last changed, in business time.
    #[schemars(with = "Option<String>")]
    pub updated: Option<Timestamp>,
}

impl Projection for Balance {
    const NAME: &'static str = "balance";
    const INDEXES: &'static [&'static str] = &["balance", "status", "updated"];
    type Input = Event;
    type Key = String;

    fn keys(e: &Recorded<Event>) -> impl IntoIterator<Item = String> {
        [e.meta.id().to_owned()]
    }

    fn project(&mut self, _: &String, e: &Recorded<Event>) -> Fate {
        match &e.event {
            Event::Opened { overdraft } => (self.status, self.overdraft) = (Status::Open, *overdraft),
            Event::Deposited { amount } | Event::Credited { amount, .. } => self.change(signed(*amount)),
            Event::Withdrawn { amount } => self.change(-signed(*amount)),
            Event::Corrected { by } => self.change(*by),
            Event::Held { amount, .. } => self.held = self.held.saturating_add(*amount),
            Event::Posted { amount, .. } => {
                self.held = self.held.saturating_sub(*amount);
                self.change(-signed(*amount));
            }
            Event::Voided { amount, .. } => self.held = self.held.saturating_sub(*amount),
            Event::Frozen { .. } => self.status = Status::Frozen,
            Event::Unfrozen => self.status = Status::Open,
            Event::Closed => self.status = Status::Closed,
        }
        let free = self.balance.saturating_sub(signed(self.held));
        self.available = free.saturating_add(signed(self.overdraft));
        self.updated = Some(e.meta.at());
        Fate::Keep
    }
}

impl Balance {
    fn change(&mut self, by: i64) {
        self.balance = self.balance.saturating_add(by);
    }
}
