//! The HTTP interface as clients see it: every status, every limit, every route.

// Helpers outside of test functions are tests all the same.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod admin;
mod bank;
mod client;
mod commands;
mod documented;
mod feed;
mod keys;
mod limits;
mod network;
mod operate;
mod reads;
mod time;
