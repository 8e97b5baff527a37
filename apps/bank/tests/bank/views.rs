//! What the views say after what has happened.

use annals::Timestamp;
use annals_bank::account::{Event, ID_BYTES_MAX, Status};
use annals_bank::views::{Balance, Line, Page, Statement, TrialBalance};
use annals_testkit::given_view;

use crate::{credited, deposited, frozen, held, opened, posted, voided};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn page(text: &str) -> Page {
    text.parse().unwrap()
}

#[test]
fn a_balance_follows_its_account() {
    let (early, late) = (at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z"));
    let balance = |balance, held, status, updated| Balance {
        status,
        balance,
        held,
        available: balance - i64::try_from(held).unwrap() + 20,
        overdraft: 20,
        updated: Some(updated),
    };
    given_view::<Balance>()
        .event("account/ann", opened(20))
        .document("ann", balance(0, 0, Status::Open, early))
        .event("account/ann", deposited(100))
        .event("account/ann", Event::Withdrawn { amount: 10 })
        .document("ann", balance(90, 0, Status::Open, early))
        .event("account/ann", held("ann-4", "bob", 30))
        .event("account/ann", held("ann-5", "bob", 40))
        .document("ann", balance(90, 70, Status::Open, early))
        .event("account/ann", posted("ann-4", "bob", 30))
        .document("ann", balance(60, 40, Status::Open, early))
        .event("account/ann", voided("ann-5", 40))
        .document("ann", balance(60, 0, Status::Open, early))
        .occurred_at(late)
        .event("account/ann", frozen())
        .document("ann", balance(60, 0, Status::Frozen, late))
        .event("account/ann", Event::Unfrozen)
        .event("account/ann", credited("bob-2", "bob", 5))
        .document("ann", balance(65, 0, Status::Open, late))
        .event("account/ann", Event::Closed)
        .document("ann", balance(65, 0, Status::Closed, late))
        .keys(["ann"]);
}

#[test]
fn balances_are_kept_apart() {
    given_view::<Balance>()
        .events("account/ann", [opened(0), deposited(7)])
        .events("account/bob", [opened(0), deposited(9)])
        .then("ann", |ann| assert_eq!(ann.balance, 7))
        .then("bob", |bob| assert_eq!(bob.balance, 9))
        .absent("eve")
        .in_any_order();
}

#[test]
fn statements_are_paged_by_month_of_business_time() {
    let line =
        |at, version, amount| Line { at, version, amount, with: None, transfer: None, reference: None };
    let with = |line, with: &str, transfer: &str| Line {
        with: Some(with.to_owned()),
        transfer: Some(transfer.to_owned()),
        reference: Some("rent".to_owned()),
        ..line
    };
    let (last, first) = (at("2026-01-31T23:59:59.999999Z"), at("2026-02-01T00:00:00Z"));
    given_view::<Statement>()
        .at(at("2026-07-01T00:00:00Z"))
        .occurred_at(last)
        .events("account/ann", [opened(20), deposited(100), held("ann-3", "bob", 30)])
        .event("account/ann", posted("ann-3", "bob", 30))
        .occurred_at(first)
        .event("account/ann", Event::Withdrawn { amount: 10 })
        .events("account/ann", [held("ann-6", "bob", 1), voided("ann-6", 1), frozen(), Event::Unfrozen])
        .event("account/ann", credited("bob-2", "bob", 5))
        .event("account/bob", Event::Closed)
        .keys([page("ann:2026-01"), page("ann:2026-02")])
        .document(
            page("ann:2026-01"),
            Statement {
                paid_in: 100,
                paid_out: 30,
                lines: vec![line(last, 2, 100), with(line(last, 4, -30), "bob", "ann-3")],
            },
        )
        .document(
            page("ann:2026-02"),
            Statement {
                paid_in: 5,
                paid_out: 10,
                lines: vec![line(first, 5, -10), with(line(first, 10, 5), "bob", "bob-2")],
            },
        );
}

#[test]
fn pages_are_read_back() {
    for text in ["ann:2026-01", "a:b:2020-12", "ann:-002-07", "ann:9999-12"] {
        assert_eq!(page(text).to_string(), text);
    }
    for text in [
        "",
        "ann",
        "ann:",
        ":2026-01",
        "ann:2026",
        "ann:2026-1",
        "ann:2026-13",
        "ann:2026-00",
        "ann:26-01",
        "ann:+026-01",
    ] {
        assert!(text.parse::<Page>().is_err(), "{text:?}");
    }
    let longest = "x".repeat(ID_BYTES_MAX);
    assert!(Page::of(&longest, Timestamp::MIN).to_string().len() <= 256);
}

/// Ann sends Bob 30, and Eve, who is not a customer, 7; both as far as the given number of steps.
fn story(steps: usize) -> Vec<(&'static str, Event)> {
    let all = vec![
        ("account/ann", opened(20)),
        ("account/bob", opened(0)),
        ("account/ann", deposited(100)),
        ("account/bob", deposited(10)),
        ("account/ann", held("ann-3", "bob", 30)),
        ("account/ann", held("ann-4", "eve", 7)),
        ("account/bob", credited("ann-3", "ann", 30)),
        ("account/ann", posted("ann-3", "bob", 30)),
        ("account/ann", voided("ann-4", 7)),
        ("account/bob", Event::Withdrawn { amount: 40 }),
        ("account/bob", frozen()),
        ("account/bob", Event::Unfrozen),
        ("account/bob", Event::Closed),
    ];
    all.into_iter().take(steps).collect()
}

#[test]
fn double_entry_comes_to_zero_at_every_moment() {
    for steps in 1..=13 {
        let mut view = given_view::<TrialBalance>();
        for (stream, event) in story(steps) {
            view = view.event(stream, event).then("bank", |sums| assert_eq!(sums.total, 0));
        }
        view.keys(["bank"]).in_any_order();
    }
}

#[test]
fn money_in_transit_shows_while_a_transfer_is_under_way() {
    let after = |steps, expected: TrialBalance| {
        let view =
            story(steps).into_iter().fold(given_view::<TrialBalance>(), |view, (s, e)| view.event(s, e));
        view.document("bank", expected);
    };
    let begun = TrialBalance { outside: -110, accounts: 110, open_accounts: 2, ..TrialBalance::default() };
    after(4, begun.clone());
    after(6, TrialBalance { open_holds: 2, held: 37, ..begun.clone() });
    let arrived = TrialBalance { accounts: 140, in_transit: -30, open_holds: 2, held: 37, ..begun.clone() };
    after(7, arrived);
    after(8, TrialBalance { open_holds: 1, held: 7, ..begun.clone() });
    after(9, begun);
    after(13, TrialBalance { outside: -70, accounts: 70, open_accounts: 1, ..TrialBalance::default() });
}
