//! An account that is rolled back: what comes back, what does not, and what stands in the books.

use annals::parts::engine::ExecuteError;
use annals::{App, RollbackError};
use annals_bank::account::{Account, Command, Event, Refusal};
use annals_bank::views::{BANK, Balance, Statement, TrialBalance};

use crate::{freeze, send};

async fn bank() -> App {
    annals_bank::bank().open("memory:").await.unwrap()
}

async fn tell(app: &App, id: &str, command: Command) -> u64 {
    app.send::<Account>(id, command).await.unwrap().version
}

async fn books(app: &App) -> TrialBalance {
    app.settle().await.unwrap();
    app.view::<TrialBalance>(BANK).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_and_the_rollback_are_both_shown() {
    let app = bank().await;
    tell(&app, "ann", Command::Open { overdraft: 50 }).await;
    let good = tell(&app, "ann", Command::Deposit { amount: 100 }).await;
    tell(&app, "ann", Command::Withdraw { amount: 70 }).await;
    let bad = tell(&app, "ann", freeze()).await;
    let preview = app.preview_rollback::<Account>("ann", good).await.unwrap();
    let names: Vec<&str> = preview.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!((names, preview.remaining.len()), (vec!["account.corrected", "account.unfrozen"], 0));
    assert_eq!(books(&app).await.accounts, 30, "nothing was written");

    let rolled = app.roll_back::<Account>("ann", good).actor("root").reason("a teller's mistake");
    let receipt = rolled.expect_version(preview.version).once("r-1").await.unwrap();
    assert_eq!((receipt.version, receipt.events), (bad + 2, 2));
    let state = async |version: u64| app.state::<Account>("ann").at_version(version).await.unwrap();
    assert_eq!(state(bad).await.balance, 30);
    assert_eq!(state(receipt.version).await, state(good).await);
    let history = app.history::<Account>("ann", bad, 10).await.unwrap();
    assert_eq!((history[0].actor.as_str(), history[0].command.as_str()), ("root", "annals.rollback"));
    assert_eq!(app.view::<Balance>("ann").after(&receipt).await.unwrap().unwrap().balance, 100);
    let difference =
        app.difference::<Account>("ann", annals::At::Version(good), annals::At::Now).await.unwrap();
    assert_eq!((difference.changes, difference.events.len()), (vec![], 4));
    let page = annals_bank::views::Page::of("ann", annals::Timestamp::now());
    let statement = app.view::<Statement>(page).after(&receipt).await.unwrap().unwrap();
    assert_eq!(statement.lines.iter().map(|line| line.amount).collect::<Vec<_>>(), [100, -70, 70]);
    let books = books(&app).await;
    assert_eq!((books.total, books.accounts, books.outside), (0, 100, -100));
    // The other way, too: money that was too much is taken away.
    tell(&app, "ann", Command::Deposit { amount: 1_000 }).await;
    app.roll_back::<Account>("ann", good).await.unwrap();
    let books = self::books(&app).await;
    assert_eq!((books.total, books.accounts, books.outside), (0, 100, -100));
    // At every moment the books balanced, and the view says what the account did.
    for event in app.history::<Account>("ann", 0, 100).await.unwrap() {
        let then = app.view::<TrialBalance>(BANK).at(event.recorded_at).await.unwrap().unwrap();
        let balance = app.view::<Balance>("ann").at(event.recorded_at).await.unwrap().unwrap().balance;
        assert_eq!((then.total, then.accounts), (0, balance), "at version {}", event.version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_concerns_others_does_not_come_back() {
    let app = bank().await;
    let refused = async |to: u64| match app.roll_back::<Account>("ann", to).await.unwrap_err() {
        RollbackError::Execute(ExecuteError::Refused { refused, .. }) => refused.decode::<Refusal>().unwrap(),
        error => panic!("{error}"),
    };
    tell(&app, "ann", Command::Open { overdraft: 0 }).await;
    tell(&app, "ann", Command::Deposit { amount: 100 }).await;
    assert_eq!(refused(0).await, Refusal::NotOpen);
    // Bob's account is not open: the transfer comes back by itself.
    let held = tell(&app, "ann", send("bob", 10)).await;
    app.settle().await.unwrap();
    assert_eq!(refused(held).await, Refusal::OtherTransfers);
    tell(&app, "ann", Command::Withdraw { amount: 100 }).await;
    tell(&app, "ann", Command::Close).await;
    assert_eq!(refused(2).await, Refusal::Closed);
    assert_eq!(books(&app).await.total, 0);
}

/// An account that counts deposits twice.
#[derive(Default, Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Generous {
    balance: i64,
}

impl annals::Decider for Generous {
    const NAME: &'static str = "account";
    type Id = String;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(&self, _: &Command, _: &annals::Meta) -> Result<Vec<Event>, Refusal> {
        Err(Refusal::Frozen)
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Deposited { amount } => self.balance += 2 * i64::try_from(*amount).unwrap(),
            Event::Withdrawn { amount } => self.balance -= i64::try_from(*amount).unwrap(),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_events_and_other_code_are_tried() {
    let app = bank().await;
    tell(&app, "ann", Command::Open { overdraft: 0 }).await;
    tell(&app, "ann", Command::Deposit { amount: 100 }).await;
    let version = tell(&app, "ann", Command::Withdraw { amount: 30 }).await;
    let balance = |found: annals::WhatIf| found.other.state["balance"].as_i64().unwrap();
    let ann = || app.what_if::<Account>("ann");
    assert_eq!(balance(ann().without(3).await.unwrap()), 100);
    assert_eq!(balance(ann().replacing(2, &Event::Deposited { amount: 500 }).await.unwrap()), 470);
    assert_eq!(balance(ann().inserting(3, &Event::Deposited { amount: 1 }).await.unwrap()), 71);
    assert_eq!(balance(ann().read_by::<Generous>().await.unwrap()), 170);
    let both = ann().without(3).read_by::<Generous>().await.unwrap();
    assert_eq!((balance(both.clone()), both.real.version), (200, version));
    assert_eq!(app.state::<Account>("ann").await.unwrap().balance, 70);
}
