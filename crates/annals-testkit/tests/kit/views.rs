//! Sentences about projections.

use annals_core::Timestamp;
use annals_testkit::{GivenView, given_view};

use crate::fails;
use crate::model::{Coins, Event, Last};

fn coins(coins: u64) -> Coins {
    Coins { coins, mark: false }
}

fn two_jars() -> GivenView<Coins> {
    given_view::<Coins>()
        .event("jar/a", Event::Put { coins: 2 })
        .events("jar/b", [Event::Put { coins: 3 }, Event::Taken { coins: 1 }])
}

#[test]
fn documents_follow_their_events() {
    two_jars()
        .document("a", coins(2))
        .document("b", coins(2))
        .document("all", coins(4))
        .absent("c")
        .keys(["all", "a", "b"])
        .then("a", |document| assert_eq!(document.coins, 2))
        .in_any_order()
        .event("jar/a", Event::Taken { coins: 2 })
        .absent("a")
        .keys(["b", "all"])
        .in_any_order();
}

#[test]
fn what_is_around_an_event_can_be_said() {
    let at: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
    let last = |said: &str| Last { said: said.to_owned() };
    given_view::<Last>()
        .event("jar/a", Event::Marked)
        .document("last", last("jar/a 1 2026-01-01T00:00:00Z"))
        .at(at)
        .actor("ann")
        .event("jar/a", Event::Marked)
        .document("last", last("jar/a 2 2026-05-01T12:00:00Z ann"))
        .occurred_at(Timestamp::UNIX_EPOCH)
        .event("jar/b", Event::Marked)
        .document("last", last("jar/b 1 1970-01-01T00:00:00Z ann"));
}

#[test]
fn other_documents_fail() {
    fails(
        || two_jars().document("a", coins(9)),
        &["another document under \"a\"", "coins: expected 9, found 2"],
    );
    fails(|| two_jars().document("c", coins(9)), &["no document under \"c\"", r#"["a", "all", "b"]"#]);
    fails(|| two_jars().then("c", |_| ()), &["no document under \"c\""]);
    fails(|| two_jars().absent("a"), &["expected no document under \"a\"", "\"coins\": 2"]);
    fails(|| two_jars().keys(["a"]), &["other documents than expected", r#"found: {"a", "all", "b"}"#]);
}

#[test]
fn what_does_not_survive_being_stored_fails() {
    fails(
        || given_view::<Coins>().events("jar/a", [Event::Put { coins: 1 }, Event::Marked]),
        &["the document does not survive being stored", "mark: true"],
    );
    fails(
        || two_jars().document("a", Coins { coins: 2, mark: true }),
        &["the expected document does not survive being stored"],
    );
    fails(
        || given_view::<Coins>().event("jar/a", Event::Weighed { grams: f64::INFINITY }),
        &["the event does not survive being stored"],
    );
}

#[test]
fn what_the_log_could_not_give_fails() {
    fails(|| two_jars().event("jar", Event::Marked), &["names a stream that cannot be", "decider/id"]);
    fails(|| given_view::<Coins>().event("jar/a", Event::Weighed { grams: 1.0 }), &["keys is not pure"]);
}

#[test]
fn depending_on_the_order_of_streams_fails() {
    let view = given_view::<Last>().event("jar/a", Event::Marked).event("jar/b", Event::Marked);
    fails(|| view.in_any_order(), &["depend on how streams are interleaved", r#"["jar/b", "jar/a"]"#]);
    let one_stream = given_view::<Last>().events("jar/a", [Event::Marked, Event::Marked, Event::Marked]);
    one_stream.in_any_order();
}
