//! Sentences about sagas.

use std::time::Duration;

use annals_core::Timestamp;
use annals_testkit::{GivenSaga, Heard, given_saga};

use crate::model::{Command, Event, Jar, Mover, Refusal, Step, Timer};
use crate::{fails, failure};

const MINUTE: Duration = Duration::from_secs(60);

fn put(coins: u64) -> Command {
    Command::Put { coins, note: String::new() }
}

fn moving() -> GivenSaga<Mover> {
    given_saga([Heard::event("jar/a", Event::Put { coins: 5 })])
}

fn too_few() -> Refusal {
    Refusal::TooFew { missing: 1, angry: false }
}

#[test]
fn a_story_goes_on_from_what_was_heard() {
    given_saga::<Mover>([])
        .when_event("jar/a", Event::Put { coins: 5 })
        .sends::<Jar>(Step::Move, "b", put(5))
        .sets_timer(Timer::Late, MINUTE)
        .then_state(|mover| assert_eq!(mover.coins, 5))
        .when_timer(Timer::Late)
        .sets_timer(Timer::Later, MINUTE)
        .and()
        .when_timer(Timer::Later)
        .does_nothing()
        .when_refused(Step::Move, too_few())
        .compensates::<Jar>(Step::Back, "c", put(5))
        .cancels(Timer::Late)
        .then_state(|mover| assert_eq!(mover.said, "1 coins are missing"))
        .when_accepted(Step::Back)
        .finishes();
    moving().when_accepted(Step::Move).cancels(Timer::Late).finishes();
}

#[test]
fn a_finished_saga_hears_nothing() {
    given_saga::<Mover>([
        Heard::event("jar/a", Event::Put { coins: 5 }),
        Heard::timer(&Timer::Late),
        Heard::refused(&Step::Move, &too_few()),
        Heard::accepted(&Step::Back),
    ])
    .when_event("jar/a", Event::Put { coins: 6 })
    .does_nothing()
    .then_state(|mover| assert_eq!(mover.coins, 5));
}

#[test]
fn timers_come_due_later_than_now() {
    let noon: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
    let late = || given_saga::<Mover>([]).at(noon).when_event("jar/a", Event::Put { coins: 5 });
    late().sends::<Jar>(Step::Move, "b", put(5)).sets_timer(Timer::Late, MINUTE);
    let late = late().sends::<Jar>(Step::Move, "b", put(5));
    fails(
        || late.sets_timer(Timer::Late, 2 * MINUTE),
        &["another timer", "due: expected \"2026-05-01T12:02:00Z\", found \"2026-05-01T12:01:00Z\""],
    );
}

#[test]
fn other_reactions_fail() {
    let begin = || given_saga::<Mover>([]).when_event("jar/a", Event::Put { coins: 5 });
    fails(
        || begin().sends::<Jar>(Step::Move, "c", put(6)),
        &[
            "another command than expected",
            "fields.coins: expected 6, found 5",
            "to: expected \"jar/c\", found \"jar/b\"",
        ],
    );
    fails(|| begin().sends::<Jar>(Step::Back, "b", put(5)), &["step: expected \"Back\", found \"Move\""]);
    fails(
        || begin().compensates::<Jar>(Step::Move, "b", put(5)),
        &["compensation: expected true, found false"],
    );
    let sent = || begin().sends::<Jar>(Step::Move, "b", put(5));
    fails(|| sent().sends::<Jar>(Step::Move, "b", put(5)), &["the value: expected {", "found null"]);
    fails(
        || sent().cancels(Timer::Late),
        &["expected the timer \"Late\" to be cancelled", "found cancelled: []"],
    );
    fails(|| sent().sets_timer(Timer::Later, MINUTE), &["timer: expected \"Later\", found \"Late\""]);
    fails(|| sent().finishes(), &["expected the saga to finish"]);
    let quiet = || moving().when_accepted(Step::Move).cancels(Timer::Late).finishes();
    fails(|| quiet().sets_timer(Timer::Late, MINUTE), &["another timer", "found null"]);
    fails(|| quiet().finishes(), &["expected the saga to finish"]);
}

#[test]
fn what_a_test_does_not_name_fails() {
    let begin = || given_saga::<Mover>([]).when_event("jar/a", Event::Put { coins: 5 });
    let all = ["did more than the test names", "kit/sagas.rs", "\"to\": \"jar/b\"", "\"timer\": \"Late\""];
    fails(|| begin().does_nothing(), &all);
    fails(begin, &all);
    let message = failure(|| begin().sends::<Jar>(Step::Move, "b", put(5)).and());
    assert!(!message.contains("jar/b") && message.contains("Late"), "{message}");
    fails(|| moving().when_accepted(Step::Move).cancels(Timer::Late), &["\"finished\": true"]);
    fails(|| moving().when_accepted(Step::Move).finishes().and(), &["\\\"Late\\\""]);
}

#[test]
fn what_the_engine_would_not_deliver_fails() {
    fails(|| given_saga::<Mover>([Heard::accepted(&Step::Move)]), &["no command of step \"Move\" waits"]);
    let again = || {
        let refused = moving().when_refused(Step::Move, too_few());
        refused.compensates::<Jar>(Step::Back, "c", put(5)).cancels(Timer::Late)
    };
    again().and().when_accepted(Step::Back).finishes();
    fails(|| again().and().when_timer(Timer::Late), &["the timer \"Late\" is not set; set are []"]);
    fails(|| again().and().when_accepted(Step::Move), &["no command of step \"Move\" waits"]);
    fails(|| again().and().when_refused(Step::Back, too_few()), &["is parked and gives no signal"]);
    fails(|| moving().when_timer(Timer::Later), &["the timer \"Later\" is not set", "Late"]);
    let due = || moving().when_timer(Timer::Late).sets_timer(Timer::Later, MINUTE).and();
    fails(|| due().when_timer(Timer::Late), &["the timer \"Late\" is not set"]);
    fails(|| moving().when_event("jar/x", Event::Put { coins: 1 }), &["belongs to instance \"x\"", "\"a\""]);
    let signed = || Event::Signed { by: String::new(), at: String::new(), jar: String::new(), version: 0 };
    fails(|| moving().when_event("jar/a", signed()), &["matters to no saga \"mover\""]);
    fails(|| moving().when_event("a", Event::Marked), &["names a stream that cannot be"]);
}

#[test]
fn what_cannot_be_stored_fails() {
    fails(|| moving().when_event("jar/a", Event::Marked), &["the state does not survive being stored"]);
    fails(
        || moving().when_event("jar/a", Event::Taken { coins: 1 }),
        &["the saga put out what cannot be stored", "is not an id"],
    );
    let angry = Refusal::TooFew { missing: 1, angry: true };
    fails(|| moving().when_refused(Step::Move, angry), &["the refusal does not survive being stored"]);
    fails(|| moving().when_event("jar/a", Event::Weighed { grams: 1.0 }), &["react is not pure"]);
}
