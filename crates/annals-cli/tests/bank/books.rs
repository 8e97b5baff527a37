//! The bank as the answers tell it: which events every account must have, and what they come to.
//!
//! Invariant: nothing here was read from the server but the answers to commands.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::orders::{Asked, Order, Reply};

/// The event that an acknowledged command recorded.
#[derive(Debug)]
pub struct Effect {
    pub key: String,
    pub position: Value,
    /// The event's type.
    pub name: &'static str,
    pub amount: Option<u64>,
}

/// A transfer that was begun.
#[derive(Debug)]
pub struct Transfer {
    pub from: String,
    pub to: String,
    pub amount: u64,
    /// Whether the receiver is an account, which takes it; or nobody, and the money returns.
    pub arrives: bool,
}

/// An account as it must be when every transfer has ended.
#[derive(Debug, Default)]
pub struct Account {
    pub balance: i64,
    /// The effects of commands, by the version they made.
    pub effects: BTreeMap<u64, Effect>,
    /// How many events there are besides: of transfers that end or arrive.
    pub of_transfers: u64,
}

/// What the answers come to.
#[derive(Debug, Default)]
pub struct Books {
    pub accounts: BTreeMap<String, Account>,
    pub transfers: BTreeMap<String, Transfer>,
    /// Withdrawals less deposits.
    pub outside: i64,
    pub accepted: u64,
    pub refused: u64,
}

impl Books {
    /// The books of all commands; each has its answer.
    pub fn of<'a>(asked: impl Iterator<Item = &'a Asked>) -> Result<Self, String> {
        let mut books = Self::default();
        let mut positions = BTreeSet::new();
        for asked in asked {
            match asked.reply.as_ref().ok_or_else(|| format!("{asked} has no answer"))? {
                Reply::Refused(_) => books.refused += 1,
                Reply::Accepted(receipt) => {
                    if !positions.insert(receipt["position"].to_string()) {
                        return Err(format!("two commands were answered with the position of {asked}"));
                    }
                    books.accept(asked, receipt)?;
                }
            }
        }
        books.end_transfers()?;
        Ok(books)
    }

    fn accept(&mut self, asked: &Asked, receipt: &Value) -> Result<(), String> {
        self.accepted += 1;
        let version = receipt["version"].as_u64().ok_or_else(|| format!("{asked} has no version"))?;
        match (&asked.order, receipt["events"].as_u64()) {
            // Opening an open account changes nothing.
            (Order::Open { .. }, Some(0)) => return Ok(()),
            (_, Some(1)) => {}
            (_, events) => return Err(format!("{asked} made {events:?} events")),
        }
        let (name, amount, change) = match &asked.order {
            Order::Open { .. } => ("account.opened", None, 0),
            Order::Deposit { amount } => ("account.deposited", Some(*amount), signed(*amount)),
            Order::Withdraw { amount } => ("account.withdrawn", Some(*amount), -signed(*amount)),
            Order::Send { to, amount } => {
                let (from, to) = (asked.account.clone(), to.clone());
                let arrives = !to.starts_with("nobody");
                let transfer = Transfer { from, to, amount: *amount, arrives };
                self.transfers.insert(format!("{}-{version}", asked.account), transfer);
                ("account.held", Some(*amount), 0)
            }
        };
        self.outside -= change;
        let account = self.accounts.entry(asked.account.clone()).or_default();
        account.balance += change;
        let effect = Effect { key: asked.key.clone(), position: receipt["position"].clone(), name, amount };
        match account.effects.insert(version, effect) {
            None => Ok(()),
            Some(other) => Err(format!("{asked} and {} were both answered version {version}", other.key)),
        }
    }

    fn end_transfers(&mut self) -> Result<(), String> {
        for (id, transfer) in &self.transfers {
            let no_account = |id: &str| format!("{id}: money moved on an account nobody opened");
            let from = self.accounts.get_mut(&transfer.from).ok_or_else(|| no_account(id))?;
            from.of_transfers += 1;
            if transfer.arrives {
                from.balance -= signed(transfer.amount);
                let to = self.accounts.get_mut(&transfer.to).ok_or_else(|| no_account(id))?;
                to.of_transfers += 1;
                to.balance += signed(transfer.amount);
            }
        }
        Ok(())
    }
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap()
}
