//! A bank on Annals: accounts, transfers between them, and what can be asked about both.
//!
//! Read it in this order: [`account`] decides what one account may do, [`transfer`] connects two accounts,
//! [`views`] answers questions. The rest brings data: [`generator`] makes up plausible customers, [`amlsim`] reads
//! a published data set and [`import`] brings it in. There is no store and no network in it; [`bank`] hands
//! everything to Annals.
//!
//! It is an example to copy from, not a product: one currency, no interest, no people.

pub mod account;
pub mod amlsim;
pub mod generator;
pub mod import;
pub mod money;
pub mod transfer;
pub mod views;

use crate::account::Account;
use crate::transfer::Transfer;
use crate::views::{Balance, Statement, TrialBalance};

/// The bank as a context: `annals::cli::run([annals_bank::bank()])` is a whole program.
#[must_use]
pub fn bank() -> annals::Context {
    annals::context("bank")
        .decider::<Account>()
        .saga::<Transfer>()
        .projection::<Balance>()
        .projection::<Statement>()
        .projection::<TrialBalance>()
        .importer(import::AmlSim)
}
