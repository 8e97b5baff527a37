//! Whatever is asked of accounts and transfers, in whatever order, no rule is broken and no money is made.

use std::collections::VecDeque;

use annals::prelude::*;
use annals_bank::account::{Account, Command, Event};
use annals_bank::money::{AMOUNT_MAX, BALANCE_MAX};
use annals_bank::views::TrialBalance;
use annals_testkit::{GivenView, given, given_view};
use proptest::prelude::*;

fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![5 => 0..300_u64, 1 => (AMOUNT_MAX - 1)..=(AMOUNT_MAX + 1), 1 => Just(u64::MAX)]
}

/// A transfer that may be one of the account's.
fn transfer() -> impl Strategy<Value = String> {
    (0..40_u8).prop_map(|version| format!("ann-{version}"))
}

fn command() -> impl Strategy<Value = Command> {
    let to = prop_oneof![Just("bob"), Just("ann"), Just(""), Just("eve")].prop_map(str::to_owned);
    let reason = String::new;
    prop_oneof![
        2 => prop_oneof![Just(0), Just(50), amount()].prop_map(|overdraft| Command::Open { overdraft }),
        4 => amount().prop_map(|amount| Command::Deposit { amount }),
        3 => amount().prop_map(|amount| Command::Withdraw { amount }),
        6 => (to, amount()).prop_map(|(to, amount)| Command::Send { to, amount, reference: None }),
        4 => transfer().prop_map(|transfer| Command::Post { transfer }),
        4 => transfer().prop_map(move |transfer| Command::Void { transfer, reason: reason() }),
        2 => amount().prop_map(|amount| crate::credit("bob-1", "bob", amount)),
        1 => Just(crate::freeze()),
        1 => Just(Command::Unfreeze),
        1 => Just(Command::Close),
    ]
}

fn check_rules(account: &Account) {
    let overdraft = i64::try_from(account.overdraft).unwrap();
    let held = i64::try_from(account.held()).unwrap();
    assert!(account.available() >= 0, "{account:?}");
    assert!(account.balance >= -overdraft && account.balance <= BALANCE_MAX, "{account:?}");
    assert!(held <= account.balance + overdraft, "{account:?}");
}

/// Asks one account and takes in what happens.
pub(crate) fn ask(
    account: &mut Account,
    version: &mut u64,
    id: &str,
    command: &Command,
) -> Result<Vec<Event>, String> {
    let meta = Meta {
        stream: format!("account/{id}").parse().unwrap(),
        version: *version,
        recorded_at: annals::Timestamp::UNIX_EPOCH,
        occurred_at: None,
        tenant: None,
        actor: None,
        correlation: None,
        causation: None,
    };
    let events = account.decide(command, &meta).map_err(|refusal| refusal.to_string())?;
    events.iter().for_each(|event| account.evolve(event));
    *version += events.len() as u64;
    Ok(events)
}

proptest! {
    #[test]
    fn no_command_breaks_an_account(commands in proptest::collection::vec(command(), 1..60)) {
        let (mut account, mut version) = (Account::default(), 0);
        for command in &commands {
            let before = account.clone();
            if ask(&mut account, &mut version, "ann", command).is_err() {
                prop_assert_eq!(&account, &before);
            }
            check_rules(&account);
        }
    }

    #[test]
    fn no_events_break_evolve(events in proptest::collection::vec((any::<u64>(), 0..6_u8), 0..60)) {
        let mut account = Account::default();
        for (amount, kind) in events {
            let id = (amount % 5).to_string();
            account.evolve(&match kind {
                0 => crate::deposited(amount),
                1 => Event::Withdrawn { amount },
                2 => crate::held(&id, "bob", amount),
                3 => crate::posted(&id, "bob", amount),
                4 => crate::voided(&id, amount),
                _ => crate::opened(amount),
            });
            let _ = (account.held(), account.available());
        }
    }

    #[test]
    fn what_is_decided_survives_being_stored(commands in proptest::collection::vec(command(), 1..12)) {
        let mut events = vec![crate::opened(50), crate::deposited(200)];
        for command in commands {
            let asked = given::<Account>(events.clone()).id("ann").when(command.clone());
            let (mut account, mut version) = (Account::default(), events.len() as u64);
            events.iter().for_each(|event| account.evolve(event));
            if let Ok(more) = ask(&mut account, &mut version, "ann", &command) {
                asked.then(more.clone());
                events.extend(more);
            }
        }
    }

    /// Three accounts send each other money; each transfer goes on at some later time, or is left until the end.
    #[test]
    fn no_order_of_transfers_makes_money(
        steps in proptest::collection::vec((0..3_usize, 0..3_usize, 1..200_u64, 0..4_u8), 1..40)
    ) {
        let mut town = Town::new();
        for (from, to, amount, kind) in steps {
            match kind {
                0 => town.ask(from, &crate::freeze()),
                1 => town.ask(from, &Command::Unfreeze),
                2 => town.ask(from, &crate::send(NAMES[to], amount)),
                _ => town.go_on(),
            }
        }
        while !town.under_way.is_empty() {
            town.go_on();
        }
        town.view.take().unwrap().then("bank", |sums| {
            let at_rest = (sums.in_transit, sums.open_holds, sums.held, sums.accounts);
            assert_eq!(at_rest, (0, 0, 0, 300));
        });
    }
}

const NAMES: [&str; 3] = ["ann", "bob", "cid"];

/// Three accounts, the transfers between them, and the trial balance over all.
struct Town {
    accounts: [(Account, u64); 3],
    under_way: VecDeque<Leg>,
    view: Option<GivenView<TrialBalance>>,
}

/// What a transfer does next.
enum Leg {
    Credit { from: usize, to: usize, transfer: String, amount: u64 },
    Settle { from: usize, command: Command },
}

impl Town {
    fn new() -> Self {
        let mut town =
            Self { accounts: Default::default(), under_way: VecDeque::new(), view: Some(given_view()) };
        for account in 0..3 {
            town.ask(account, &Command::Open { overdraft: 50 });
            town.ask(account, &Command::Deposit { amount: 100 });
        }
        town
    }

    fn ask(&mut self, place: usize, command: &Command) {
        let _ = self.try_ask(place, command);
    }

    fn try_ask(&mut self, place: usize, command: &Command) -> Result<(), String> {
        let (account, version) = &mut self.accounts[place];
        let events = ask(account, version, NAMES[place], command)?;
        check_rules(account);
        for event in events {
            if let Event::Held { transfer, to, amount, .. } = &event {
                let (transfer, amount) = (transfer.clone(), *amount);
                let to = NAMES.iter().position(|name| name == to).unwrap();
                self.under_way.push_back(Leg::Credit { from: place, to, transfer, amount });
            }
            let view = self.view.take().unwrap().event(&format!("account/{}", NAMES[place]), event);
            self.view = Some(view.then("bank", |sums| assert_eq!(sums.total, 0)));
        }
        Ok(())
    }

    fn go_on(&mut self) {
        match self.under_way.pop_front() {
            None => {}
            Some(Leg::Credit { from, to, transfer, amount }) => {
                let credit = crate::credit(&transfer, NAMES[from], amount);
                let arrived = self.try_ask(to, &credit).is_ok();
                let command = if arrived { crate::post(&transfer) } else { crate::void(&transfer) };
                self.under_way.push_back(Leg::Settle { from, command });
            }
            // However the account stands by now, a transfer must be able to end.
            Some(Leg::Settle { from, command }) => self.try_ask(from, &command).unwrap(),
        }
    }
}
