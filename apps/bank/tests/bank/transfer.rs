//! A transfer either arrives and is posted, or is refused and is voided.

use annals_bank::account::{Account, Command, Refusal};
use annals_bank::transfer::{Stage, Step, Transfer};
use annals_testkit::{GivenSaga, Heard, given_saga};

use crate::{credit, held, post};

fn under_way() -> GivenSaga<Transfer> {
    given_saga([Heard::event("account/ann", held("ann-3", "bob", 70))])
}

#[test]
fn a_hold_begins_a_transfer() {
    given_saga::<Transfer>([])
        .when_event("account/ann", held("ann-3", "bob", 70))
        .sends::<Account>(Step::Credit, "bob", credit("ann-3", "ann", 70))
        .then_state(|transfer| {
            let expected =
                Transfer { id: "ann-3".to_owned(), from: "ann".to_owned(), stage: Stage::Crediting };
            assert_eq!(*transfer, expected);
        });
}

#[test]
fn what_arrives_is_posted() {
    under_way()
        .when_accepted(Step::Credit)
        .sends::<Account>(Step::Post, "ann", post("ann-3"))
        .finishes()
        .then_state(|transfer| assert_eq!(transfer.stage, Stage::Arrived))
        .when_accepted(Step::Post)
        .does_nothing();
}

#[test]
fn what_cannot_arrive_is_voided_with_the_reason() {
    for refusal in [Refusal::NotOpen, Refusal::Frozen, Refusal::Closed, Refusal::Full { max: 1 }] {
        let (transfer, reason) = ("ann-3".to_owned(), refusal.to_string());
        under_way()
            .when_refused(Step::Credit, refusal)
            .compensates::<Account>(Step::Void, "ann", Command::Void { transfer, reason })
            .finishes()
            .then_state(|transfer| assert_eq!(transfer.stage, Stage::Returned))
            .when_accepted(Step::Void)
            .does_nothing();
    }
}
