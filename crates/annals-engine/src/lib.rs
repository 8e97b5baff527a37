//! The engine: decisions on in-flight state, answers on durable state, command ids for ever, durable sagas.
//!
//! A shard is a synchronous state machine behind a mutex, entered by its callers: the caller that comes first
//! leads the group and syncs the log, those that arrive meanwhile form the next group. The same code runs on
//! threads and, step by step, under a seed: on the memory log with a manual clock two runs give the same bytes.
//!
//! ```text
//!  execute ─► submit: repeat? ─► load ─► decide ─► evolve ─► append   (under the shard's mutex)
//!             settle: commit what the answer rests on ─► answer       (outside it, by the caller; for those that
//!                                                                      must not wait, by the shard's thread)
//!  relay:     durable records ─► saga inputs, commands, timers ─► submit, settle ─► next
//! ```
//!
//! It knows no HTTP and no async runtime, opens no files, reads no clock of its own ([`Environment`]).

mod engine;
mod entity;
mod environment;
mod error;
mod feed;
mod history;
mod relay;
mod request;
mod shard;
mod time;

#[cfg(feature = "planted-bugs")]
pub use engine::PlantedBug;
pub use engine::{Engine, EngineStatus, Settings};
pub use environment::{Clock, Environment, Keys, ManualClock, RandomKeys, SeededKeys, SystemClock};
pub use error::{ExecuteError, OpenError, QueryError};
pub use feed::{FeedPage, Filter, Passed};
pub use history::{At, HistoryEvent, StateAt};
pub use request::{Receipt, Request, Ticket};
pub use time::{
    Change, Difference, Edit, PlannedEvent, Preview, Rollback, RollbackError, WhatIf, WhatIfError, changes,
};
