//! Commands whose callers do not wait: the same answers, given later.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};

use super::durability::{COMMIT_FAULTS, stored};
use super::*;

/// How many commands may wait for one more to be taken without blocking.
const AT_ONCE_MAX: usize = 2_048;
const PATIENCE: Duration = Duration::from_secs(60);

type Answer = Result<Receipt, ExecuteError>;

/// Sends all and hears of each by its number.
fn send(engine: &Engine, requests: impl IntoIterator<Item = Request>) -> BTreeMap<usize, Answer> {
    let (sender, receiver) = channel();
    let mut count = 0;
    for (n, request) in requests.into_iter().enumerate() {
        let sender = sender.clone();
        engine.execute_then(request, move |answer| sender.send((n, answer)).unwrap());
        count += 1;
    }
    (0..count).map(|_| receiver.recv_timeout(PATIENCE).expect("an answer")).collect()
}

/// Begins a command: whether it was taken at once, and where its answer comes.
fn begin(engine: &Engine, request: Request) -> (bool, Receiver<Answer>) {
    let (sender, receiver) = channel();
    let rest = engine.begin(request, move |answer| drop(sender.send(answer)));
    let taken = rest.is_none();
    if let Some(rest) = rest {
        assert!(receiver.try_recv().is_err(), "nothing was done yet");
        rest();
    }
    (taken, receiver)
}

/// What a begun command came to.
fn begun(engine: &Engine, request: Request) -> (bool, String) {
    let (taken, answer) = begin(engine, request);
    (taken, word(&answer.recv_timeout(PATIENCE).unwrap()))
}

#[test]
fn answers_are_those_of_callers_that_wait() {
    let world = World::new();
    let engine = world.open();
    let nobody = Request::new("nobody/x".parse().unwrap(), AnyCommand::new::<Account>(add(1)).unwrap());
    let answers = send(
        &engine,
        [
            keyed("ann", add(1), "k"),
            keyed("ann", take(5), "short"),
            keyed("ann", add(1), "k"),
            keyed("ann", add(2), "k"),
            request("bob", Command::AddMany { times: 3, by: 1 }),
            Request { expected_version: Some(7), ..request("ann", add(1)) },
            nobody,
        ],
    );
    let words: Vec<_> = answers.values().map(word).collect();
    assert_eq!(words[..5], ["v1+1", "refused short", "again v1+1", "key reused", "v3+3"]);
    assert!(matches!(answers[&5], Err(ExecuteError::Conflict { expected: 7, actual: 1 })), "{answers:?}");
    assert!(matches!(answers[&6], Err(ExecuteError::UnknownDecider { .. })), "{answers:?}");
    assert_eq!(engine.status().waiting_commands, 0, "nobody waits any more");
    world.check();
}

#[test]
fn what_the_log_loses_is_decided_again() {
    for fault in COMMIT_FAULTS {
        let mut struck = 0;
        for seed in 0..20 {
            let world = World::new();
            let engine = world.open();
            world.log.set_faults(FaultPlan::seeded(seed).with(fault, 0.3));
            let (mut told, mut accepted, mut unknown) = (BTreeMap::new(), 0, 0);
            for round in 0..6 {
                let key = |n| format!("k{round}.{n}");
                let command = |n: u64| if n % 3 == 2 { take(7) } else { add(n + 1) };
                let name = |n| if n < 4 { "ann" } else { "bob" };
                let keyed = (0..6).map(|n| keyed(name(n), command(n), &key(n)));
                let without = (0..3).map(|_| request("cat", add(1)));
                for (n, answer) in send(&engine, keyed.chain(without)) {
                    if n >= 6 {
                        accepted += usize::from(answer.is_ok());
                        unknown += usize::from(matches!(answer, Err(ExecuteError::OutcomeUnknown { .. })));
                    } else if !matches!(&answer, Err(error) if error.is_temporary()) {
                        told.insert(key(n as u64), word(&answer).replace("again ", ""));
                    }
                }
            }
            struck += world.log.struck().get(&fault).copied().unwrap_or_default();
            world.heal();
            let stored = stored(&world);
            for (key, answer) in &told {
                assert_eq!(stored.get(key), Some(answer), "{fault:?} {seed}: {key} was answered");
            }
            let found = world.records_of("account/cat").len();
            assert!(
                (accepted..=accepted + unknown).contains(&found),
                "{fault:?} {seed}: {found} of {accepted}"
            );
            world.check();
        }
        assert!(struck > 10, "{fault:?} struck {struck} times only");
    }
}

#[test]
fn what_would_block_is_left_to_the_caller() {
    let world = World::new();
    let engine = world.open();
    let request = || request("ann", add(1));
    assert_eq!(begun(&engine, request()), (false, "v1+1".into()), "nobody else waits");
    let other = engine.submit(&keyed("bob", add(1), "k")).unwrap();
    assert_eq!(begun(&engine, request()), (true, "v2+1".into()));
    let cold = super::request("cat", add(1));
    assert_eq!(begun(&engine, cold), (false, "v1+1".into()), "its state is not in memory");

    assert_eq!(word(&world.open().execute(&request())), "v3+1");
    assert_eq!(begun(&engine, request()), (false, "v4+1".into()), "the shard has to be claimed");
    drop(other);
    world.check();
}

#[test]
fn where_many_wait_one_more_is_left_to_the_caller() {
    let world = World::new();
    let engine = world.open();
    engine.execute(&request("ann", add(1))).unwrap();
    let submit = || engine.submit(&request("ann", add(1))).unwrap();
    let mut tickets: Vec<_> = (1..AT_ONCE_MAX).map(|_| submit()).collect();
    assert!(begun(&engine, request("ann", add(1))).0, "one below the bound");
    tickets.push(submit());
    assert!(!begun(&engine, request("ann", add(1))).0, "at the bound");
    tickets.push(submit());
    assert!(!begun(&engine, request("ann", add(1))).0, "one above it");
    tickets.truncate(1);
    assert!(begun(&engine, request("ann", add(1))).0);
}
