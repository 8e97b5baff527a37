//! Views as their users see them: stores, folds, threads, crashes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod aside;
mod crash;
mod domain;
mod fold;
mod lists;
mod past;
mod rebuild;
mod runner;
mod speed;
mod store;
