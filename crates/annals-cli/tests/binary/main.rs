//! The `annals` binary, run as a person runs it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod bad_input;
mod copy;
mod copy_kafka;
mod demo;
mod import;
mod keys;
mod round_trip;
mod serve;
mod support;
