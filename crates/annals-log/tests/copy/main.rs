//! Copies between memory logs: whole, resumed after any end, refused where the target holds anything else, and a
//! comparison that finds what is wrong.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod checking;
mod kills;
mod online;
mod refused;
mod support;
mod whole;
mod wrapped;
