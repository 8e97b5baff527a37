//! A guide, from a first decider to a program that serves. Each page compiles.
//!
//! 1. [`deciding`]: what a command does to one entity.
//! 2. [`reading`]: views, their indexes, what one may rely on, and what a bad event does.
//! 3. [`following`]: sagas, subscriptions and consumers: what happens next, here and elsewhere.
//! 4. [`past`]: states and documents as they were, the way back, and what would have been.
//! 5. [`serving`]: a program with a command line, HTTP, keys, and views that change.
//! 6. [`moving_from_cqrs_es`]: for those who know that crate.
//!
//! The bank of the repository (`apps/bank`) is all of it together, to copy from.

pub mod deciding;
pub mod following;
pub mod moving_from_cqrs_es;
pub mod past;
pub mod reading;
pub mod serving;
