//! An account: what may be asked of it, what can happen to it, and why it may say no.
//!
//! Invariant: what is available, the balance less what is held plus the overdraft, never falls below zero.
//!
//! A transfer is two halves that do not share a moment. The source holds the amount ([`Event::Held`]) until the
//! receiver has it, then the hold becomes a debit ([`Event::Posted`]) or is released ([`Event::Voided`]). The
//! account decides its own half alone; [`crate::transfer`] connects the two.

use std::collections::BTreeMap;

use annals::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::money::{AMOUNT_MAX, BALANCE_MAX, Shown, signed};

/// The longest account id, in bytes. It leaves room for what is added to it in the ids of transfers and pages.
pub const ID_BYTES_MAX: usize = 128;

/// An account's state. The default is that of an account nobody has opened.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Account {
    /// Whether it is open.
    pub status: Status,
    /// What it holds, in minor units; negative when overdrawn.
    pub balance: i64,
    /// How far the balance may fall below zero.
    pub overdraft: u64,
    /// What is set aside for transfers under way, by transfer.
    pub holds: BTreeMap<String, Hold>,
}

/// Whether an account is open.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nobody has opened it.
    #[default]
    Unopened,
    /// It takes commands.
    Open,
    /// It moves no money until it is released, but for transfers already under way.
    Frozen,
    /// It is closed for good; its number is not used again.
    Closed,
}

/// Money set aside for one transfer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Hold {
    /// The receiving account.
    pub to: String,
    /// How much.
    pub amount: u64,
    /// What the sender calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// What can be asked of an account. Amounts are in minor units.
#[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub enum Command {
    /// Opens it. An account opened with the same overdraft already stays as it is.
    Open {
        /// How far the balance may fall below zero.
        #[serde(default)]
        overdraft: u64,
    },
    /// Puts money in.
    Deposit {
        /// How much.
        amount: u64,
    },
    /// Takes money out.
    Withdraw {
        /// How much.
        amount: u64,
    },
    /// Begins a transfer to another account. The account gives it an id that is never used again: its own id and
    /// the version the transfer's [`Event::Held`] makes, `ann-7`.
    Send {
        /// The receiving account.
        to: String,
        /// How much.
        amount: u64,
        /// What the sender wants to find it by; the receiver sees it too.
        #[serde(default)]
        reference: Option<String>,
    },
    /// Takes the money of a transfer that has arrived. The transfer sends it, not a customer.
    Post {
        /// The transfer.
        transfer: String,
    },
    /// Releases the money of a transfer that could not arrive. The transfer sends it, not a customer.
    Void {
        /// The transfer.
        transfer: String,
        /// Why it could not.
        reason: String,
    },
    /// Receives a transfer. The transfer sends it, not a customer.
    Credit {
        /// The transfer.
        transfer: String,
        /// The sending account.
        from: String,
        /// How much.
        amount: u64,
        /// What the sender calls it.
        #[serde(default)]
        reference: Option<String>,
    },
    /// Stops all movements but those under way. A frozen account stays as it is.
    Freeze {
        /// Why.
        reason: String,
    },
    /// Ends a freeze. An open account stays as it is.
    Unfreeze,
    /// Closes an empty account for good. A closed account stays as it is.
    Close,
}

/// What can happen to an account.
#[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[event(prefix = "account")]
pub enum Event {
    /// It was opened.
    Opened {
        /// How far the balance may fall below zero.
        overdraft: u64,
    },
    /// Money was put in.
    Deposited {
        /// How much.
        amount: u64,
    },
    /// Money was taken out.
    Withdrawn {
        /// How much.
        amount: u64,
    },
    /// A transfer began: money is set aside for it.
    Held {
        /// The transfer.
        #[event(tag)]
        transfer: String,
        /// The receiving account.
        to: String,
        /// How much.
        amount: u64,
        /// What the sender calls it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
    },
    /// A transfer arrived: what was held has left the account.
    Posted {
        /// The transfer.
        #[event(tag)]
        transfer: String,
        /// The receiving account.
        to: String,
        /// How much.
        amount: u64,
        /// What the sender calls it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
    },
    /// A transfer could not arrive: what was held is available again.
    Voided {
        /// The transfer.
        #[event(tag)]
        transfer: String,
        /// How much.
        amount: u64,
        /// Why.
        reason: String,
    },
    /// A transfer was received.
    Credited {
        /// The transfer.
        #[event(tag)]
        transfer: String,
        /// The sending account.
        from: String,
        /// How much.
        amount: u64,
        /// What the sender calls it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
    },
    /// The balance was corrected: the account was rolled back. The other side of the booking is outside the bank, as that
    /// of deposits and withdrawals is.
    Corrected {
        /// What was added; taken away where it is negative.
        by: i64,
    },
    /// Movements were stopped.
    Frozen {
        /// Why.
        reason: String,
    },
    /// Movements are possible again.
    Unfrozen,
    /// It was closed for good.
    Closed,
}

/// Why an account may say no.
#[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub enum Refusal {
    /// Open it first, or correct the number.
    #[error("there is no account with this number")]
    NotOpen,
    /// Use another number.
    #[error("there is an account with this number already")]
    AlreadyOpen,
    /// Use another account.
    #[error("the account is closed")]
    Closed,
    /// Have the freeze lifted.
    #[error("the account is frozen")]
    Frozen,
    /// Move less, or put money in.
    #[error("the account is {} short", Shown(*short))]
    Overdrawn {
        /// How much is missing.
        short: u64,
    },
    /// Name another account.
    #[error("money cannot be sent to the account it comes from")]
    ToSelf,
    /// Name an amount.
    #[error("the amount must be more than zero")]
    ZeroAmount,
    /// Split it.
    #[error("the amount is more than {}, the most that is moved at once", Shown(*max))]
    TooLarge {
        /// The most that can be.
        max: u64,
    },
    /// Put it elsewhere.
    #[error("the account is full: it would hold more than {}", Shown(*max))]
    Full {
        /// The most it can hold.
        max: u64,
    },
    /// Correct the number.
    #[error("an account number has 1 to {ID_BYTES_MAX} bytes and no control characters")]
    BadNumber,
    /// Look at the account's history: the transfer is settled, or is none of this account's.
    #[error("no money is held for transfer {transfer}")]
    UnknownTransfer {
        /// The transfer asked for.
        transfer: String,
    },
    /// Wait until they are settled, or go back to a moment with the same ones.
    #[error("other transfers were under way then than are now")]
    OtherTransfers,
    /// Move the money away first, and let transfers under way end.
    #[error("the account is not empty: its balance is not zero or a transfer is under way")]
    NotEmpty,
}

impl Decider for Account {
    const NAME: &'static str = "account";
    type Id = String;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Meta) -> Result<Vec<Event>, Refusal> {
        match command {
            Command::Open { overdraft } => self.open(*overdraft, cx),
            Command::Deposit { amount } => self.receive(*amount, Event::Deposited { amount: *amount }),
            Command::Withdraw { amount } => self.spend(*amount, Event::Withdrawn { amount: *amount }),
            Command::Send { to, amount, reference } => self.send(to, *amount, reference.clone(), cx),
            Command::Post { transfer } => {
                let Hold { to, amount, reference } = self.hold(transfer)?.clone();
                Ok(vec![Event::Posted { transfer: transfer.clone(), to, amount, reference }])
            }
            Command::Void { transfer, reason } => {
                let amount = self.hold(transfer)?.amount;
                Ok(vec![Event::Voided { transfer: transfer.clone(), amount, reason: reason.clone() }])
            }
            Command::Credit { transfer, from, amount, reference } => {
                let (transfer, from, reference) = (transfer.clone(), from.clone(), reference.clone());
                self.receive(*amount, Event::Credited { transfer, from, amount: *amount, reference })
            }
            Command::Freeze { reason } => match self.status {
                Status::Frozen => Ok(vec![]),
                _ => self.must_be_open().map(|()| vec![Event::Frozen { reason: reason.clone() }]),
            },
            Command::Unfreeze => match self.status {
                Status::Frozen => Ok(vec![Event::Unfrozen]),
                _ => self.must_be_open().map(|()| vec![]),
            },
            Command::Close => self.close(),
        }
    }

    fn roll_back(&self, earlier: &Self, _: &Meta) -> Option<Result<Vec<Event>, Refusal>> {
        Some(self.back_to(earlier))
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Opened { overdraft } => (self.status, self.overdraft) = (Status::Open, *overdraft),
            Event::Deposited { amount } | Event::Credited { amount, .. } => {
                self.balance = self.balance.saturating_add(signed(*amount));
            }
            Event::Withdrawn { amount } => self.balance = self.balance.saturating_sub(signed(*amount)),
            Event::Corrected { by } => self.balance = self.balance.saturating_add(*by),
            Event::Held { transfer, to, amount, reference } => {
                let hold = Hold { to: to.clone(), amount: *amount, reference: reference.clone() };
                self.holds.insert(transfer.clone(), hold);
            }
            Event::Posted { transfer, amount, .. } => {
                self.holds.remove(transfer);
                self.balance = self.balance.saturating_sub(signed(*amount));
            }
            Event::Voided { transfer, .. } => drop(self.holds.remove(transfer)),
            Event::Frozen { .. } => self.status = Status::Frozen,
            Event::Unfrozen => self.status = Status::Open,
            Event::Closed => self.status = Status::Closed,
        }
    }
}

impl Account {
    /// What is set aside for transfers under way.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.holds.values().fold(0, |sum, hold| sum.saturating_add(hold.amount))
    }

    /// What can be withdrawn or sent: the balance less what is held, plus the overdraft.
    #[must_use]
    pub fn available(&self) -> i64 {
        self.balance.saturating_sub(signed(self.held())).saturating_add(signed(self.overdraft))
    }

    fn open(&self, overdraft: u64, cx: &Meta) -> Result<Vec<Event>, Refusal> {
        match self.status {
            Status::Closed => Err(Refusal::Closed),
            Status::Open | Status::Frozen if self.overdraft == overdraft => Ok(vec![]),
            Status::Open | Status::Frozen => Err(Refusal::AlreadyOpen),
            Status::Unopened => {
                check_number(cx.id())?;
                check_size(overdraft)?;
                Ok(vec![Event::Opened { overdraft }])
            }
        }
    }

    fn send(
        &self,
        to: &str,
        amount: u64,
        reference: Option<String>,
        cx: &Meta,
    ) -> Result<Vec<Event>, Refusal> {
        // The transfer could not even be refused if its receiver had a number that no account can have.
        check_number(to)?;
        if to == cx.id() {
            return Err(Refusal::ToSelf);
        }
        let transfer = format!("{}-{}", cx.id(), cx.version + 1);
        self.spend(amount, Event::Held { transfer, to: to.to_owned(), amount, reference })
    }

    fn receive(&self, amount: u64, event: Event) -> Result<Vec<Event>, Refusal> {
        self.must_be_open()?;
        check_amount(amount)?;
        if self.balance > BALANCE_MAX - signed(amount) {
            return Err(Refusal::Full { max: BALANCE_MAX.unsigned_abs() });
        }
        Ok(vec![event])
    }

    fn spend(&self, amount: u64, event: Event) -> Result<Vec<Event>, Refusal> {
        self.must_be_open()?;
        check_amount(amount)?;
        let left = self.available().saturating_sub(signed(amount));
        if left < 0 { Err(Refusal::Overdrawn { short: left.unsigned_abs() }) } else { Ok(vec![event]) }
    }

    /// Money comes back by a correction that stands in the books, and a freeze by another. Transfers do not come back: a
    /// hold belongs to two accounts. Neither does the opening or the closing.
    fn back_to(&self, earlier: &Self) -> Result<Vec<Event>, Refusal> {
        match (self.status, earlier.status) {
            (Status::Unopened, _) | (_, Status::Unopened) => return Err(Refusal::NotOpen),
            (Status::Closed, _) | (_, Status::Closed) => return Err(Refusal::Closed),
            (Status::Open | Status::Frozen, Status::Open | Status::Frozen) => {}
        }
        if self.holds != earlier.holds {
            return Err(Refusal::OtherTransfers);
        }
        let by = earlier.balance.saturating_sub(self.balance);
        let corrected = (by != 0).then_some(Event::Corrected { by });
        let freeze = match (self.status, earlier.status) {
            (Status::Open, Status::Frozen) => Some(Event::Frozen { reason: "rolled back".to_owned() }),
            (Status::Frozen, Status::Open) => Some(Event::Unfrozen),
            _ => None,
        };
        Ok(corrected.into_iter().chain(freeze).collect())
    }

    fn close(&self) -> Result<Vec<Event>, Refusal> {
        if self.status == Status::Closed {
            return Ok(vec![]);
        }
        self.must_be_open()?;
        if self.balance != 0 || !self.holds.is_empty() {
            return Err(Refusal::NotEmpty);
        }
        Ok(vec![Event::Closed])
    }

    /// A hold, whether the account is frozen or not: a transfer under way must be able to end.
    fn hold(&self, transfer: &str) -> Result<&Hold, Refusal> {
        self.holds.get(transfer).ok_or_else(|| Refusal::UnknownTransfer { transfer: transfer.to_owned() })
    }

    fn must_be_open(&self) -> Result<(), Refusal> {
        match self.status {
            Status::Unopened => Err(Refusal::NotOpen),
            Status::Open => Ok(()),
            Status::Frozen => Err(Refusal::Frozen),
            Status::Closed => Err(Refusal::Closed),
        }
    }
}

fn check_amount(amount: u64) -> Result<(), Refusal> {
    if amount == 0 { Err(Refusal::ZeroAmount) } else { check_size(amount) }
}

fn check_size(amount: u64) -> Result<(), Refusal> {
    if amount > AMOUNT_MAX { Err(Refusal::TooLarge { max: AMOUNT_MAX }) } else { Ok(()) }
}

fn check_number(id: &str) -> Result<(), Refusal> {
    let fits = (1..=ID_BYTES_MAX).contains(&id.len()) && !id.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(Refusal::BadNumber) }
}
