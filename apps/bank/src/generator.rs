//! Plausible customers, made up from a seed: an endless stream of commands for a demonstration or a load test.
//!
//! Invariant: one seed and number of accounts give one stream, on every machine and in every release (ChaCha with
//! 8 rounds fixes the random numbers). It keeps a rough book of its own so that most commands are accepted; some are
//! not, on purpose, because customers do ask for what they cannot have.
//!
//! It is pure: it reads no clock and sends nothing.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::account::Command;

/// A command and how to send it.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The account to ask.
    pub id: String,
    /// What to ask.
    pub command: Command,
    /// Who asks.
    pub actor: String,
    /// The key under which to send it: from the seed and the command's number.
    pub key: String,
}

/// An endless stream of commands for a number of accounts.
#[derive(Clone, Debug)]
pub struct Generator {
    random: ChaCha8Rng,
    seed: u64,
    count: u64,
    accounts: Vec<Customer>,
    frozen: BTreeSet<usize>,
    /// What must follow the last command, before chance decides again.
    next: Option<(usize, Command)>,
}

/// What the generator believes of one place at the bank. A closed account is followed by one with a new number.
#[derive(Clone, Debug, Default)]
struct Customer {
    generation: u32,
    open: bool,
    balance: u64,
}

impl Generator {
    /// A stream for `accounts` accounts, at least 2.
    #[must_use]
    pub fn new(seed: u64, accounts: u32) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            seed,
            count: 0,
            accounts: vec![Customer::default(); accounts.max(2) as usize],
            frozen: BTreeSet::new(),
            next: None,
        }
    }

    /// A number below `limit`, by widening multiplication (Lemire 2019). It leaves out the rejection step: the bias
    /// is below `limit` / 2^64, which no load test shows.
    fn below(&mut self, limit: u64) -> u64 {
        let wide = u128::from(self.random.next_u64()) * u128::from(limit);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    fn any_account(&mut self) -> usize {
        usize::try_from(self.below(self.accounts.len() as u64)).unwrap_or(0)
    }

    /// An everyday amount: small ones are common, large ones rare.
    fn amount(&mut self) -> u64 {
        let scale = [1_000, 5_000, 20_000, 100_000];
        let pick = usize::try_from(self.below(4)).unwrap_or(0);
        1 + self.below(scale.get(pick).copied().unwrap_or(1_000))
    }

    fn decide(&mut self) -> (usize, Command) {
        if let Some(due) = self.next.take() {
            return due;
        }
        let place = self.any_account();
        match self.accounts.get(place) {
            Some(customer) if customer.open => (place, self.everyday(place)),
            _ => (place, self.open(place)),
        }
    }

    fn open(&mut self, place: usize) -> Command {
        let overdraft = if self.below(4) == 0 { 50_000 } else { 0 };
        let amount = 10_000 + self.below(500_000);
        if let Some(customer) = self.accounts.get_mut(place) {
            (customer.open, customer.balance) = (true, amount);
        }
        self.next = Some((place, Command::Deposit { amount }));
        Command::Open { overdraft }
    }

    fn everyday(&mut self, place: usize) -> Command {
        if self.frozen.contains(&place) && self.below(4) == 0 {
            self.frozen.remove(&place);
            return Command::Unfreeze;
        }
        match self.below(1_000) {
            0..=2 => {
                self.frozen.insert(place);
                Command::Freeze { reason: "unusual movements".to_owned() }
            }
            3..=4 => self.close(place),
            5..=14 => Command::Withdraw { amount: 100_000_000 + self.amount() },
            15..=164 => self.deposit(place),
            165..=264 => {
                self.spend(place).map_or_else(|| self.deposit(place), |amount| Command::Withdraw { amount })
            }
            _ => self.send(place),
        }
    }

    fn deposit(&mut self, place: usize) -> Command {
        let amount = self.amount();
        self.book(place, amount);
        Command::Deposit { amount }
    }

    fn send(&mut self, place: usize) -> Command {
        let mut to = self.any_account();
        // Now and then somebody mistypes, or names the account the money comes from.
        let mistyped = self.below(200) == 0;
        if to == place && self.below(20) > 0 {
            to = (to + 1) % self.accounts.len();
        }
        let Some(amount) = self.spend(place) else { return self.deposit(place) };
        if !mistyped {
            self.book(to, amount);
        }
        let to = if mistyped { format!("{}x", self.id(to)) } else { self.id(to) };
        let purposes = ["rent", "groceries", "invoice", "gift", "savings"];
        let pick = usize::try_from(self.below(purposes.len() as u64 + 1)).unwrap_or(0);
        Command::Send { to, amount, reference: purposes.get(pick).map(|purpose| (*purpose).to_owned()) }
    }

    /// Takes what is believed to be left and closes the account.
    fn close(&mut self, place: usize) -> Command {
        let balance =
            self.accounts.get_mut(place).map_or(0, |customer| std::mem::take(&mut customer.balance));
        if balance == 0 {
            return Command::Close;
        }
        self.next = Some((place, Command::Close));
        Command::Withdraw { amount: balance }
    }

    /// An amount the account is believed to have, booked off; `None` when it has nothing.
    fn spend(&mut self, place: usize) -> Option<u64> {
        let wish = self.amount();
        let customer = self.accounts.get_mut(place)?;
        let amount = wish.min(customer.balance);
        customer.balance -= amount;
        (amount > 0).then_some(amount)
    }

    fn book(&mut self, place: usize, amount: u64) {
        if let Some(customer) = self.accounts.get_mut(place) {
            customer.balance = customer.balance.saturating_add(amount);
        }
    }

    fn id(&self, place: usize) -> String {
        match self.accounts.get(place).map_or(0, |customer| customer.generation) {
            0 => format!("{place:06}"),
            generation => format!("{place:06}.{generation}"),
        }
    }

    /// Who asks: staff for what only staff does, otherwise the customer.
    fn actor(&mut self, id: &str, command: &Command) -> String {
        match command {
            Command::Freeze { .. } | Command::Unfreeze => "compliance".to_owned(),
            Command::Open { .. } | Command::Close => format!("clerk-{}", 1 + self.below(5)),
            _ => format!("customer-{id}"),
        }
    }
}

impl Iterator for Generator {
    type Item = Generated;

    /// The next command; there is always one.
    fn next(&mut self) -> Option<Generated> {
        let (place, command) = self.decide();
        let id = self.id(place);
        if command == Command::Close
            && let Some(customer) = self.accounts.get_mut(place)
        {
            *customer = Customer { generation: customer.generation + 1, ..Customer::default() };
            self.frozen.remove(&place);
        }
        let actor = self.actor(&id, &command);
        let key = format!("{:016x}-{}", self.seed, self.count);
        self.count += 1;
        Some(Generated { id, command, actor, key })
    }
}
