//! Event sourcing and CQRS in Rust: pure decisions, durable history, read models and sagas, on one local file or
//! on Apache Kafka, with the same code and the same guarantees.
//!
//! A programmer writes a [`Decider`] (`decide`, `evolve`), [`Projection`]s and [`Saga`]s, names them in a
//! [`context`], and opens it on a log. Nothing in a decision can wait, fail halfway or see a store:
//!
//! ```
//! use annals::prelude::*;
//!
//! #[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
//! #[event(prefix = "counter")]
//! enum Counted { Added { by: u32 } }
//! #[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug)]
//! enum Count { Add { by: u32 } }
//! #[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
//! enum No { #[error("adding nothing changes nothing")] Zero }
//!
//! #[derive(Default, Clone, Serialize, Deserialize, JsonSchema)]
//! struct Counter { total: u32 }
//! impl Decider for Counter {
//!     const NAME: &'static str = "counter";
//!     type Id = String;
//!     type Command = Count;
//!     type Event = Counted;
//!     type Refusal = No;
//!     fn decide(&self, Count::Add { by }: &Count, _cx: &Meta) -> Result<Vec<Counted>, No> {
//!         if *by == 0 { Err(No::Zero) } else { Ok(vec![Counted::Added { by: *by }]) }
//!     }
//!     fn evolve(&mut self, Counted::Added { by }: &Counted) { self.total += by }
//! }
//!
//! # #[tokio::main(flavor = "multi_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app = annals::context("demo").decider::<Counter>().open("memory:").await?;
//! let receipt = app.send::<Counter>("clicks", Count::Add { by: 2 }).once("click-1").await?;
//! assert_eq!(receipt.version, 1);
//! // The same key again: the same answer, and nothing happens twice.
//! app.send::<Counter>("clicks", Count::Add { by: 2 }).once("click-1").await?;
//! assert_eq!(app.state::<Counter>("clicks").await?.total, 2);
//! # Ok(())
//! # }
//! ```
//!
//! - [`Context::open`] takes `memory:` or `file:./directory`, with `?shards=8` where one shard is not enough.
//! - [`App::send`], [`App::state`], [`App::view`] are what a program calls; [`cli::run`] makes a whole server and
//!   command line out of contexts.
//! - [`testkit`] tests deciders, projections and sagas without an app; [`App::settle`] waits until sagas and views
//!   have nothing left to do.
//!
//! A [`guide`] leads from here to a program that serves.
//!
//! The facade holds no logic of its own: decisions are in `annals-engine`, stored shapes in `annals-core`.

mod app;
#[cfg(feature = "cli")]
pub mod cli;
mod context;
mod error;
pub mod guide;
#[cfg(feature = "cli")]
pub mod import;
mod open;
mod queries;
mod send;
mod subscribe;
mod time;

pub use annals_core::decider::Command;
pub use annals_core::{
    Cursor, Decider, Event, Events, Fate, Id, LogId, Meta, Offset, OnBadEvent, Outbox, Position, Projection,
    Recorded, Refusal, Refused, Saga, ShardId, Signal, Stored, StreamName, Tenant, Timestamp,
};
pub use annals_engine::{
    At, Change, Clock, Difference, Edit, Environment, HistoryEvent, ManualClock, Preview, QueryError,
    Receipt, RollbackError, WhatIf, WhatIfError,
};
pub use annals_macros::{Command, Event, Events, Refusal};
pub use annals_testkit as testkit;
pub use annals_views::{Lag, ViewError, ViewState};

pub use app::App;
pub use context::{Context, context};
pub use error::{OpenError, SendError};
pub use open::{LogUrl, Options, UrlError, ViewsAt};
pub use queries::{Documents, List, State, View};
pub use send::Send;
pub use subscribe::{
    Consumer, ConsumerError, ConsumerState, Delivered, Running, Subscribe, SubscribeError, Subscription,
};
pub use time::{Otherwise, RollBack};

/// What a domain module needs: the traits, the derives, and short names for durations.
pub mod prelude {
    pub use crate::{
        App, Command, Decider, Event, Events, Fate, Meta, Outbox, Projection, Receipt, Recorded, Refusal,
        Refused, Saga, SendError, Signal, Timestamp, context,
    };
    pub use annals_testkit::{given, given_saga, given_view};
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};

    use std::time::Duration;

    /// So many seconds.
    #[must_use]
    pub const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// So many minutes.
    #[must_use]
    pub const fn mins(minutes: u64) -> Duration {
        Duration::from_secs(minutes * 60)
    }

    /// So many hours.
    #[must_use]
    pub const fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 60 * 60)
    }
}

/// What the derives' code names; not for users.
#[doc(hidden)]
pub mod __private {
    pub use annals_core::*;
    pub use serde_json;
}

/// The parts below the facade, for tools that need more than an [`App`] gives: benchmarks, simulations.
#[doc(hidden)]
pub mod parts {
    pub use annals_core as core;
    pub use annals_engine as engine;
    pub use annals_file as file;
    pub use annals_log as log;
    #[cfg(feature = "cli")]
    pub use annals_server as server;
    pub use annals_views as views;
}
