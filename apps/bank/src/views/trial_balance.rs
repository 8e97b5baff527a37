//! Double entry over the whole bank: one document, under `bank`.
//!
//! Every movement is booked on two of three sides: money outside the bank, money on accounts, and money in transit
//! between two accounts. Whatever is booked on one side is taken from another, so `total` is 0 after every event,
//! in whatever order the events of different accounts are read. Money in transit is 0 when no transfer is under
//! way: a bank at rest where it is not has created or lost money.

use annals::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::account::Event;
use crate::money::signed;

/// The key of the one document.
pub const BANK: &str = "bank";

/// The sums of all accounts, in minor units.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct TrialBalance {
    /// Money that came from outside, as a debt to it: withdrawals less deposits.
    pub outside: i64,
    /// The sum of all balances.
    pub accounts: i64,
    /// Money that has left its source (posted) less money that has arrived (credited).
    pub in_transit: i64,
    /// The sum of the three sides: always 0.
    pub total: i64,
    /// How many accounts are open, frozen ones included.
    pub open_accounts: u64,
    /// How many transfers are under way, as their sources see it.
    pub open_holds: u64,
    /// What is set aside for them.
    pub held: u64,
}

impl Projection for TrialBalance {
    const NAME: &'static str = "trial_balance";
    type Input = Event;
    type Key = String;

    fn keys(e: &Recorded<Event>) -> impl IntoIterator<Item = String> {
        let counts = !matches!(e.event, Event::Frozen { .. } | Event::Unfrozen);
        counts.then(|| BANK.to_owned())
    }

    fn project(&mut self, _: &String, e: &Recorded<Event>) -> Fate {
        match &e.event {
            Event::Opened { .. } => self.open_accounts = self.open_accounts.saturating_add(1),
            Event::Closed => self.open_accounts = self.open_accounts.saturating_sub(1),
            Event::Deposited { amount } => book(*amount, &mut self.outside, &mut self.accounts),
            Event::Withdrawn { amount } => book(*amount, &mut self.accounts, &mut self.outside),
            Event::Corrected { by } if *by < 0 => {
                book(by.unsigned_abs(), &mut self.accounts, &mut self.outside);
            }
            Event::Corrected { by } => book(by.unsigned_abs(), &mut self.outside, &mut self.accounts),
            Event::Credited { amount, .. } => book(*amount, &mut self.in_transit, &mut self.accounts),
            Event::Posted { amount, .. } => {
                book(*amount, &mut self.accounts, &mut self.in_transit);
                self.release(*amount);
            }
            Event::Voided { amount, .. } => self.release(*amount),
            Event::Held { amount, .. } => {
                self.open_holds = self.open_holds.saturating_add(1);
                self.held = self.held.saturating_add(*amount);
            }
            Event::Frozen { .. } | Event::Unfrozen => {}
        }
        self.total = self.outside.saturating_add(self.accounts).saturating_add(self.in_transit);
        Fate::Keep
    }
}

impl TrialBalance {
    fn release(&mut self, amount: u64) {
        self.open_holds = self.open_holds.saturating_sub(1);
        self.held = self.held.saturating_sub(amount);
    }
}

/// Books an amount from one side to another.
fn book(amount: u64, from: &mut i64, to: &mut i64) {
    *from = from.saturating_sub(signed(amount));
    *to = to.saturating_add(signed(amount));
}
