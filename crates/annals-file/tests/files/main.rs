//! What the contract suite cannot know: files, crashes, damage, and other processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where something is wrong"
)]

mod damage;
mod index;
mod kill;
mod mutations;
mod opening;
mod read_only;
mod replica;
mod replica_damage;
mod segments;
mod support;
mod torn;
