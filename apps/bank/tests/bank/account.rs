//! What an account accepts and what it refuses.

use annals_bank::account::{Account, Command, Event, ID_BYTES_MAX, Refusal, Status};
use annals_bank::money::{AMOUNT_MAX, BALANCE_MAX};
use annals_testkit::{Given, given};

use crate::{credit, credited, deposited, freeze, frozen, held, opened, post, posted, send, void, voided};

fn unopened() -> Given<Account> {
    given([]).id("ann")
}

/// Ann has 100 and may overdraw 20.
fn ann() -> Given<Account> {
    given([opened(20), deposited(100)]).id("ann")
}

/// Ann's transfer `ann-3` of 70 is under way.
fn sending() -> Given<Account> {
    given([opened(20), deposited(100), held("ann-3", "bob", 70)]).id("ann")
}

fn iced() -> Given<Account> {
    given([opened(20), deposited(100), held("ann-3", "bob", 70), frozen()]).id("ann")
}

fn closed() -> Given<Account> {
    given([opened(20), Event::Closed]).id("ann")
}

fn full() -> Vec<Event> {
    let chunks = BALANCE_MAX.unsigned_abs() / AMOUNT_MAX;
    std::iter::once(opened(0)).chain((0..chunks).map(|_| deposited(AMOUNT_MAX))).collect()
}

#[test]
fn an_account_is_opened_once() {
    unopened().when(Command::Open { overdraft: 5 }).then([opened(5)]).then_state(|account| {
        assert_eq!((account.status, account.overdraft, account.available()), (Status::Open, 5, 5));
    });
    ann().when(Command::Open { overdraft: 20 }).nothing();
    ann().when(Command::Open { overdraft: 21 }).refused(Refusal::AlreadyOpen);
    iced().when(Command::Open { overdraft: 20 }).nothing();
    iced().when(Command::Open { overdraft: 0 }).refused(Refusal::AlreadyOpen);
    closed().when(Command::Open { overdraft: 20 }).refused(Refusal::Closed);
}

#[test]
fn an_overdraft_has_a_limit() {
    for overdraft in [0, AMOUNT_MAX - 1, AMOUNT_MAX] {
        unopened().when(Command::Open { overdraft }).then([opened(overdraft)]);
    }
    let over = Command::Open { overdraft: AMOUNT_MAX + 1 };
    unopened().when(over).refused(Refusal::TooLarge { max: AMOUNT_MAX });
}

#[test]
fn numbers_of_accounts_have_a_limit() {
    let open = |length| given::<Account>([]).id("x".repeat(length)).when(Command::Open { overdraft: 0 });
    open(ID_BYTES_MAX - 1).then([opened(0)]);
    open(ID_BYTES_MAX).then([opened(0)]);
    open(ID_BYTES_MAX + 1).refused(Refusal::BadNumber);
    let send_to = |to: &str| ann().when(send(to, 1));
    let long = "x".repeat(ID_BYTES_MAX);
    send_to(&long).then([held("ann-3", &long, 1)]);
    for to in ["", "bob\n", &format!("{long}x")] {
        send_to(to).refused(Refusal::BadNumber);
    }
}

#[test]
fn nothing_moves_where_no_account_is() {
    for command in [
        Command::Deposit { amount: 1 },
        Command::Withdraw { amount: 1 },
        send("bob", 1),
        credit("bob-3", "bob", 1),
        freeze(),
        Command::Unfreeze,
        Command::Close,
    ] {
        unopened().when(command).refused(Refusal::NotOpen);
    }
}

#[test]
fn nothing_moves_on_a_closed_account() {
    for command in [
        Command::Deposit { amount: 1 },
        Command::Withdraw { amount: 1 },
        send("bob", 1),
        credit("bob-3", "bob", 1),
        freeze(),
        Command::Unfreeze,
    ] {
        closed().when(command).refused(Refusal::Closed);
    }
    closed().when(Command::Close).nothing();
}

#[test]
fn nothing_moves_on_a_frozen_account() {
    for command in [
        Command::Deposit { amount: 1 },
        Command::Withdraw { amount: 1 },
        send("bob", 1),
        credit("bob-3", "bob", 1),
        Command::Close,
    ] {
        iced().when(command).refused(Refusal::Frozen);
    }
    iced().when(freeze()).nothing();
    iced()
        .when(Command::Unfreeze)
        .then([Event::Unfrozen])
        .when(send("bob", 1))
        .then([held("ann-6", "bob", 1)]);
}

#[test]
fn transfers_under_way_end_on_a_frozen_account_too() {
    iced().when(post("ann-3")).then([posted("ann-3", "bob", 70)]);
    iced().when(void("ann-3")).then([voided("ann-3", 70)]);
}

#[test]
fn deposits_and_withdrawals_change_the_balance() {
    ann()
        .when(Command::Deposit { amount: 50 })
        .then([deposited(50)])
        .when(Command::Withdraw { amount: 30 })
        .then([Event::Withdrawn { amount: 30 }])
        .then_state(|account| assert_eq!((account.balance, account.available()), (120, 140)));
}

#[test]
fn amounts_have_limits() {
    let rich = || given::<Account>([opened(0), deposited(AMOUNT_MAX), deposited(AMOUNT_MAX)]).id("ann");
    for (amount, refusal) in [
        (0, Refusal::ZeroAmount),
        (AMOUNT_MAX + 1, Refusal::TooLarge { max: AMOUNT_MAX }),
        (u64::MAX, Refusal::TooLarge { max: AMOUNT_MAX }),
    ] {
        rich().when(Command::Deposit { amount }).refused(refusal.clone());
        rich().when(Command::Withdraw { amount }).refused(refusal.clone());
        rich().when(send("bob", amount)).refused(refusal.clone());
        rich().when(credit("bob-3", "bob", amount)).refused(refusal);
    }
    for amount in [1, AMOUNT_MAX - 1, AMOUNT_MAX] {
        rich().when(Command::Deposit { amount }).then([deposited(amount)]);
        rich().when(Command::Withdraw { amount }).then([Event::Withdrawn { amount }]);
        rich().when(send("bob", amount)).then([held("ann-4", "bob", amount)]);
        rich().when(credit("bob-3", "bob", amount)).then([credited("bob-3", "bob", amount)]);
    }
}

#[test]
fn an_account_can_be_full() {
    let refusal = Refusal::Full { max: BALANCE_MAX.unsigned_abs() };
    let almost = || given::<Account>(full().into_iter().chain([Event::Withdrawn { amount: 10 }])).id("ann");
    almost().when(Command::Deposit { amount: 9 }).then([deposited(9)]);
    almost().when(Command::Deposit { amount: 10 }).then([deposited(10)]);
    almost().when(Command::Deposit { amount: 11 }).refused(refusal.clone());
    almost().when(credit("bob-3", "bob", 10)).then([credited("bob-3", "bob", 10)]);
    almost().when(credit("bob-3", "bob", 11)).refused(refusal);
}

#[test]
fn an_account_can_be_overdrawn_so_far() {
    ann().when(Command::Withdraw { amount: 119 }).then([Event::Withdrawn { amount: 119 }]);
    ann()
        .when(Command::Withdraw { amount: 120 })
        .then([Event::Withdrawn { amount: 120 }])
        .then_state(|account| assert_eq!((account.balance, account.available()), (-20, 0)))
        .when(Command::Withdraw { amount: 1 })
        .refused(Refusal::Overdrawn { short: 1 });
    ann().when(Command::Withdraw { amount: 121 }).refused(Refusal::Overdrawn { short: 1 });
    ann().when(send("bob", 120)).then([held("ann-3", "bob", 120)]);
    ann().when(send("bob", 125)).refused(Refusal::Overdrawn { short: 5 });
}

#[test]
fn what_is_held_is_not_available() {
    sending().when(Command::Withdraw { amount: 50 }).then([Event::Withdrawn { amount: 50 }]);
    sending().when(Command::Withdraw { amount: 51 }).refused(Refusal::Overdrawn { short: 1 });
    sending()
        .then_state(|account| {
            assert_eq!((account.balance, account.held(), account.available()), (100, 70, 50));
        })
        .when(send("eve", 51))
        .refused(Refusal::Overdrawn { short: 1 });
}

#[test]
fn each_transfer_gets_an_id_of_its_own() {
    sending()
        .when(send("bob", 10))
        .then([held("ann-4", "bob", 10)])
        .when(post("ann-3"))
        .then([posted("ann-3", "bob", 70)])
        .when(send("bob", 10))
        .then([held("ann-6", "bob", 10)])
        .then_state(|account| assert_eq!(account.holds.keys().collect::<Vec<_>>(), ["ann-4", "ann-6"]));
    ann().when(send("ann", 10)).refused(Refusal::ToSelf);
}

#[test]
fn a_hold_is_posted_or_voided_once() {
    let unknown = |transfer: &str| Refusal::UnknownTransfer { transfer: transfer.to_owned() };
    sending()
        .when(post("ann-3"))
        .then([posted("ann-3", "bob", 70)])
        .then_state(|account| assert_eq!((account.balance, account.available()), (30, 50)))
        .when(post("ann-3"))
        .refused(unknown("ann-3"))
        .when(void("ann-3"))
        .refused(unknown("ann-3"));
    sending()
        .when(void("ann-3"))
        .then([voided("ann-3", 70)])
        .then_state(|account| assert_eq!((account.balance, account.available()), (100, 120)))
        .when(post("ann-3"))
        .refused(unknown("ann-3"));
    unopened().when(post("bob-3")).refused(unknown("bob-3"));
    closed().when(void("bob-3")).refused(unknown("bob-3"));
}

#[test]
fn a_transfer_is_received() {
    ann()
        .when(credit("bob-7", "bob", 5))
        .then([credited("bob-7", "bob", 5)])
        .then_state(|account| assert_eq!(account.balance, 105));
}

#[test]
fn only_an_empty_account_is_closed() {
    ann().when(Command::Close).refused(Refusal::NotEmpty);
    let empty = given::<Account>([opened(20), deposited(70), Event::Withdrawn { amount: 70 }]).id("ann");
    empty.when(Command::Close).then([Event::Closed]);
    let overdrawn = given::<Account>([opened(20), Event::Withdrawn { amount: 1 }]).id("ann");
    overdrawn.when(Command::Close).refused(Refusal::NotEmpty);
    // A balance of zero with a transfer under way on the overdraft.
    let under_way = given::<Account>([opened(20), held("ann-2", "bob", 20)]).id("ann");
    under_way.when(Command::Close).refused(Refusal::NotEmpty);
}

#[test]
fn an_account_is_frozen_and_unfrozen() {
    ann()
        .when(freeze())
        .then([frozen()])
        .when(Command::Unfreeze)
        .then([Event::Unfrozen])
        .when(Command::Unfreeze)
        .nothing();
}

#[test]
fn refusals_speak_to_customers() {
    assert_eq!(Refusal::Overdrawn { short: 1234 }.to_string(), "the account is 12.34 short");
    let text = Refusal::TooLarge { max: AMOUNT_MAX }.to_string();
    assert_eq!(text, "the amount is more than 10000000000.00, the most that is moved at once");
}
