//! Sentences about deciders.

use annals_core::Timestamp;
use annals_testkit::given;

use crate::fails;
use crate::model::{Command, Event, Jar, Refusal};

fn put(coins: u64) -> Command {
    Command::Put { coins, note: String::new() }
}

fn too_few(missing: u64) -> Refusal {
    Refusal::TooFew { missing, angry: false }
}

#[test]
fn a_story_goes_on_from_what_happened() {
    given::<Jar>([Event::Put { coins: 2 }])
        .when(Command::Take { coins: 3 })
        .refused(too_few(1))
        .when(put(1))
        .then([Event::Put { coins: 1 }])
        .then_state(|jar| assert_eq!(jar.coins, 3))
        .when(Command::Take { coins: 3 })
        .then_state(|jar| assert_eq!(jar.coins, 0))
        .when(put(0))
        .nothing()
        .when(Command::Take { coins: 1 })
        .refused(too_few(1));
}

#[test]
fn what_is_around_a_command_can_be_said() {
    let at: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
    let signed = |by: &str, at: &str, jar: &str, version| Event::Signed {
        by: by.to_owned(),
        at: at.to_owned(),
        jar: jar.to_owned(),
        version,
    };
    given::<Jar>([Event::Put { coins: 2 }])
        .when(Command::Sign)
        .refused(Refusal::Nobody)
        .actor("ann")
        .when(Command::Sign)
        .then([signed("ann", "2026-01-01T00:00:00Z", "given", 1)])
        .id("kitchen")
        .at(at)
        .when(Command::Sign)
        .then([signed("ann", "2026-05-01T12:00:00Z", "kitchen", 2)])
        .when(Command::Sign)
        .actor("bob")
        .id("hall")
        .at(Timestamp::UNIX_EPOCH)
        .then([signed("bob", "1970-01-01T00:00:00Z", "hall", 3)])
        .occurred_at(at)
        .when(Command::Sign)
        .then([signed("bob", "2026-05-01T12:00:00Z", "hall", 4)])
        .when(Command::Sign)
        .occurred_at(Timestamp::UNIX_EPOCH)
        .then([signed("bob", "1970-01-01T00:00:00Z", "hall", 5)]);
    fails(|| given::<Jar>([]).id(""), &["names an entity that cannot be", "1 to 256 bytes"]);
}

#[test]
fn other_events_fail() {
    let jar = || given::<Jar>([]).when(put(2));
    fails(
        || jar().then([Event::Put { coins: 3 }]),
        &["other events than expected", "[0].Put.coins: expected 3, found 2", "expected: [", "found: ["],
    );
    fails(|| jar().nothing(), &["[0]: expected nothing, found {\"Put\":{\"coins\":2}}"]);
    fails(
        || jar().then([Event::Put { coins: 2 }, Event::Marked]),
        &["[1]: expected \"Marked\", found nothing"],
    );
    fails(
        || given::<Jar>([]).when(Command::Take { coins: 1 }).then([Event::Marked]),
        &["found the refusal", "\"missing\": 1", "(1 coins are missing)"],
    );
    fails(
        || given::<Jar>([]).when(Command::Take { coins: 1 }).then_state(|_| ()),
        &["expected the command to be accepted", "(1 coins are missing)"],
    );
}

#[test]
fn other_refusals_fail() {
    fails(
        || given::<Jar>([]).when(Command::Take { coins: 1 }).refused(too_few(2)),
        &["another refusal than expected", "TooFew.missing: expected 2, found 1"],
    );
    fails(
        || given::<Jar>([]).when(put(1)).refused(too_few(2)),
        &["expected the refusal", "(2 coins are missing)", "found the events", "\"Put\""],
    );
}

#[test]
fn what_does_not_survive_being_stored_fails() {
    fails(
        || given::<Jar>([Event::Marked]),
        &[
            "the state does not survive being stored",
            "mark: true",
            "mark: false",
            r#"stored as: {"coins":0}"#,
        ],
    );
    fails(
        || given::<Jar>([]).when(Command::Mark).then([Event::Marked]),
        &["the state does not survive being stored"],
    );
    fails(
        || given::<Jar>([]).when(Command::Put { coins: 1, note: "x".to_owned() }),
        &["the command does not survive being stored", "note: \"x\""],
    );
    fails(
        || given::<Jar>([]).when(Command::Take { coins: 101 }).refused(too_few(101)),
        &["the refusal does not survive being stored", "angry: true", "angry: false"],
    );
    fails(
        || given::<Jar>([Event::Weighed { grams: f64::NAN }]),
        &["the event does not survive being stored", "jar.weighed"],
    );
}

#[test]
fn a_decision_by_dice_fails() {
    fails(|| given::<Jar>([]).when(Command::Dice).then([]), &["decide is not pure"]);
}
