//! The checks behind every sentence: a value survives storage, two values are the same.
//!
//! Invariant: what a test goes on with is the value as it was read back, never the one that was handed in.

#![allow(clippy::panic, reason = "a failed check is a failed test")]

use std::fmt::Debug;

use annals_core::codec::{self, Variants};
use annals_core::{Decider, Events, Projection, Refusal, Saga, Stored, refusal};
use serde_json::Value;

use crate::diff;

/// What can be compared and shown in a failed test.
#[diagnostic::on_unimplemented(
    message = "the test kit cannot compare `{Self}`",
    note = "derive what is missing: #[derive(Debug, PartialEq)]"
)]
pub trait Compared: PartialEq + Debug {}
impl<T: PartialEq + Debug> Compared for T {}

/// A decider whose types can be compared. Implemented for all that can.
pub trait TestDecider: Decider<Command: Compared, Event: Compared, Refusal: Compared> + Compared {}
impl<D: Decider<Command: Compared, Event: Compared, Refusal: Compared> + Compared> TestDecider for D {}

/// A projection whose types can be compared. Implemented for all that can.
pub trait TestProjection: Projection<Key: Debug, Input: Compared> + Compared {}
impl<P: Projection<Key: Debug, Input: Compared> + Compared> TestProjection for P {}

/// A saga whose types can be compared. Implemented for all that can.
pub trait TestSaga: Saga<Input: Compared, Step: Compared, Timer: Compared> + Compared {}
impl<S: Saga<Input: Compared, Step: Compared, Timer: Compared> + Compared> TestSaga for S {}

/// Fails the test.
#[track_caller]
pub(crate) fn fail(message: &str) -> ! {
    panic!("{message}")
}

/// Takes the value out of a result, or fails the test with what could not be done.
#[track_caller]
pub(crate) fn must<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error}"),
    }
}

/// Fails unless both are the same.
#[track_caller]
pub(crate) fn same<T: Compared>(what: &str, expected: &T, found: &T, json: impl Fn(&T) -> Value) {
    if expected == found {
        return;
    }
    let (left, right) = (json(expected), json(found));
    if left == right {
        panic!("{what}\nexpected: {expected:#?}\nfound: {found:#?}");
    }
    panic!("{what}\n{}", diff::report(&left, &right));
}

/// A stored value as JSON, for messages.
pub(crate) fn json<T: Stored>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_else(|error| Value::String(error.to_string()))
}

/// Writes a value as plain JSON and reads it back: states, documents, steps, timers.
#[track_caller]
pub(crate) fn survives<T: Stored + Compared>(what: &str, value: &T) -> T {
    let bytes = must(&cannot(what), serde_json::to_vec(value));
    let back = must(&cannot(what), serde_json::from_slice(&bytes));
    unchanged(what, value, back, &bytes)
}

/// Writes a command variant by variant, as it is stored, and reads it back.
#[track_caller]
pub(crate) fn survives_coded<T: Variants + Stored + Compared>(what: &str, value: &T) -> T {
    let stored = must(&cannot(what), codec::encode(value));
    let back = codec::decode(stored.variant.name, stored.variant.shape, &stored.payload);
    unchanged(what, value, must(&cannot(what), back), &stored.payload)
}

/// Writes a refusal as it is stored and reads it back.
#[track_caller]
pub(crate) fn survives_refusal<R: Refusal + Compared>(value: &R) -> R {
    let what = "the refusal";
    let part = must(&cannot(what), refusal::encode(value));
    let back = must(&cannot(what), refusal::decode(&part));
    unchanged(what, value, back, &part.payload)
}

/// Writes an event as it is stored and reads it back.
#[track_caller]
pub(crate) fn survives_event<E: Events + Compared>(value: &E) -> E {
    let what = "the event";
    let part = must(&cannot(what), value.store());
    let Some(back) = E::read(&part.name, part.shape, &part.payload) else {
        panic!("{}: its stored name {:?} is not among {:?}", cannot(what), part.name, E::names());
    };
    unchanged(what, value, must(&cannot(what), back), &part.payload)
}

#[track_caller]
fn unchanged<T: Compared>(what: &str, before: &T, after: T, stored: &[u8]) -> T {
    if *before != after {
        let stored = String::from_utf8_lossy(stored);
        panic!("{}\nbefore: {before:#?}\nafter: {after:#?}\nstored as: {stored}", cannot(what));
    }
    after
}

fn cannot(what: &str) -> String {
    format!("{what} does not survive being stored")
}
