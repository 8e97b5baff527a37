//! The Kafka log on real brokers. They are started from their jars; what they print is in files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where something is wrong"
)]

mod contract;
mod fencing;
mod foreign;
mod hand;
mod load;
mod opening;
mod outage;
mod processes;
mod replicas;
mod speed;
mod support;
mod waiting;
