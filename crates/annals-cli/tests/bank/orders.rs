//! What clients ask of accounts, and what they remember of it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use super::http::Answer;

/// What an account gets when it is opened.
const FIRST_DEPOSIT: u64 = 1_000;
/// How many accounts the load is on; the others are older.
const BUSY_ACCOUNTS: usize = 24;

/// What is asked of an account.
#[derive(Clone, Debug)]
pub enum Order {
    Open { overdraft: u64 },
    Deposit { amount: u64 },
    Withdraw { amount: u64 },
    Send { to: String, amount: u64 },
}

impl Order {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Deposit { .. } => "deposit",
            Self::Withdraw { .. } => "withdraw",
            Self::Send { .. } => "send",
        }
    }

    pub fn fields(&self) -> Value {
        match self {
            Self::Open { overdraft } => json!({ "overdraft": overdraft }),
            Self::Deposit { amount } | Self::Withdraw { amount } => json!({ "amount": amount }),
            Self::Send { to, amount } => json!({ "to": to, "amount": amount }),
        }
    }
}

/// The answer a command has for ever.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The receipt, without whether it was given before.
    Accepted(Value),
    /// The whole problem document.
    Refused(Value),
}

impl Reply {
    /// What an answer says for ever, and whether it was given before; `None` where it says nothing for ever.
    pub fn of(answer: &Answer) -> Option<(Self, bool)> {
        let mut body = answer.body.clone();
        match answer.status {
            200 => {
                let repeated = body.as_object_mut().and_then(|receipt| receipt.remove("repeated"));
                Some((Self::Accepted(body), repeated == Some(Value::Bool(true))))
            }
            422 if body["type"] == "/problems/refused" => Some((Self::Refused(body), false)),
            _ => None,
        }
    }
}

/// A command, and what its client knows of it.
#[derive(Debug)]
pub struct Asked {
    pub key: String,
    pub account: String,
    pub order: Order,
    pub reply: Option<Reply>,
    pub attempts: u32,
    /// Whether a connection ended before its answer came.
    pub cut: bool,
}

impl Asked {
    /// It was not sent yet.
    pub fn new(key: String, account: String, order: Order) -> Self {
        Self { key, account, order, reply: None, attempts: 0, cut: false }
    }

    /// Where it is sent.
    pub fn path(&self) -> String {
        format!("/api/bank/account/{}/{}", self.account, self.order.name())
    }

    /// Whether it has made an account.
    pub fn has_opened(&self) -> bool {
        let opens = matches!(self.order, Order::Open { .. });
        opens && matches!(&self.reply, Some(Reply::Accepted(receipt)) if receipt["events"] == 1)
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?} for {})", self.key, self.order, self.account)
    }
}

/// The accounts that are known to be open, in the order in which they were opened.
pub type OpenAccounts = Arc<Mutex<Vec<String>>>;

/// Chooses what a client asks next.
pub struct Chooser {
    number: u64,
    dice: ChaCha8Rng,
    open: OpenAccounts,
    /// What it is going to send before it chooses by itself.
    plan: VecDeque<(String, Order)>,
}

impl Chooser {
    pub fn new(number: u64, open: OpenAccounts) -> Self {
        Self { number, dice: ChaCha8Rng::seed_from_u64(0), open, plan: VecDeque::new() }
    }

    /// What comes next follows from this.
    pub fn reseed(&mut self, seed: u64) {
        self.dice = ChaCha8Rng::seed_from_u64(seed);
        self.dice.set_stream(self.number);
    }

    /// Plans to open a new account, one of the `generation`.
    pub fn open_account(&mut self, generation: u64) {
        let account = format!("a{generation}-{}", self.number);
        self.plan.push_back((account.clone(), Order::Open { overdraft: 0 }));
        self.plan.push_back((account, Order::Deposit { amount: FIRST_DEPOSIT }));
    }

    /// Others may use the account that was opened.
    pub fn opened(&self, account: &str) {
        self.open.lock().unwrap().push(account.to_owned());
    }

    /// An account, and what is asked of it.
    pub fn next(&mut self) -> (String, Order) {
        self.plan.pop_front().unwrap_or_else(|| self.choose())
    }

    fn choose(&mut self) -> (String, Order) {
        let account = self.an_account();
        let order = match self.below(20) {
            0 => Order::Open { overdraft: 0 },
            1 => Order::Open { overdraft: 1 },
            2..6 => Order::Deposit { amount: 1 + self.below(500) },
            6..9 => Order::Withdraw { amount: self.below(1_000) },
            9 => Order::Send { to: format!("nobody-{}", self.number), amount: 1 + self.below(50) },
            _ => Order::Send { to: self.an_account(), amount: 1 + self.below(300) },
        };
        (account, order)
    }

    /// One of the accounts opened last, or, now and then, an older one.
    pub fn an_account(&mut self) -> String {
        let open = Arc::clone(&self.open);
        let open = open.lock().unwrap();
        let oldest = if self.below(5) == 0 { 0 } else { open.len().saturating_sub(BUSY_ACCOUNTS) };
        open[oldest + self.below((open.len() - oldest) as u64) as usize].clone()
    }

    /// A number below this one.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.dice.next_u64() % bound
    }
}
