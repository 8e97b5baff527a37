//! The bank, sentence by sentence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod account;
mod amlsim;
mod generator;
mod random;
mod rollback;
mod transfer;
mod views;

use annals_bank::account::{Command, Event};

/// An account of that overdraft.
fn opened(overdraft: u64) -> Event {
    Event::Opened { overdraft }
}

fn deposited(amount: u64) -> Event {
    Event::Deposited { amount }
}

fn held(transfer: &str, to: &str, amount: u64) -> Event {
    let (transfer, to) = (transfer.to_owned(), to.to_owned());
    Event::Held { transfer, to, amount, reference: Some("rent".to_owned()) }
}

fn posted(transfer: &str, to: &str, amount: u64) -> Event {
    let (transfer, to) = (transfer.to_owned(), to.to_owned());
    Event::Posted { transfer, to, amount, reference: Some("rent".to_owned()) }
}

fn voided(transfer: &str, amount: u64) -> Event {
    Event::Voided { transfer: transfer.to_owned(), amount, reason: "the account is closed".to_owned() }
}

fn credited(transfer: &str, from: &str, amount: u64) -> Event {
    let (transfer, from) = (transfer.to_owned(), from.to_owned());
    Event::Credited { transfer, from, amount, reference: Some("rent".to_owned()) }
}

fn frozen() -> Event {
    Event::Frozen { reason: "court order".to_owned() }
}

fn send(to: &str, amount: u64) -> Command {
    Command::Send { to: to.to_owned(), amount, reference: Some("rent".to_owned()) }
}

fn post(transfer: &str) -> Command {
    Command::Post { transfer: transfer.to_owned() }
}

fn void(transfer: &str) -> Command {
    Command::Void { transfer: transfer.to_owned(), reason: "the account is closed".to_owned() }
}

fn credit(transfer: &str, from: &str, amount: u64) -> Command {
    let (transfer, from) = (transfer.to_owned(), from.to_owned());
    Command::Credit { transfer, from, amount, reference: Some("rent".to_owned()) }
}

fn freeze() -> Command {
    Command::Freeze { reason: "court order".to_owned() }
}

#[test]
fn the_bank_fits_together() {
    let bank = annals_bank::bank().core().clone().checked().unwrap();
    assert_eq!(bank.name(), "bank");
    assert_eq!(bank.deciders().keys().collect::<Vec<_>>(), [&"account"]);
    assert_eq!(bank.sagas().keys().collect::<Vec<_>>(), [&"transfer"]);
    assert_eq!(bank.projections().keys().collect::<Vec<_>>(), [&"balance", &"statement", &"trial_balance"]);
}

#[test]
fn stored_shapes_are_locked() {
    if let Err(error) = annals_testkit::lock::check(&annals_bank::bank(), "annals.lock") {
        panic!("{error}");
    }
}
