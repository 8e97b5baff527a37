//! Every sentence of the test kit passes when it should and fails, with a message that helps, when it should.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test")]

mod deciders;
mod model;
mod sagas;
mod views;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The message with which a sentence fails.
fn failure<T>(sentence: impl FnOnce() -> T) -> String {
    match catch_unwind(AssertUnwindSafe(|| drop(sentence()))) {
        Ok(()) => panic!("the sentence passed; it should have failed"),
        Err(panic) => match panic.downcast::<String>() {
            Ok(message) => *message,
            Err(panic) => (*panic.downcast::<&str>().unwrap()).to_owned(),
        },
    }
}

/// The sentence fails, and its message holds all of these.
fn fails<T>(sentence: impl FnOnce() -> T, pieces: &[&str]) {
    let message = failure(sentence);
    for piece in pieces {
        assert!(message.contains(piece), "no {piece:?} in: {message}");
    }
}
