//! A program that serves: one line, and it has a command line and an HTTP interface.
//!
//! ```no_run
//! # use annals::prelude::*;
//! # fn tasks() -> annals::Context { annals::context("tasks") }
//! fn main() -> std::process::ExitCode {
//!     annals::cli::run([tasks()])
//! }
//! ```
//!
//! | command | does |
//! |---|---|
//! | `serve` | commands, states, views and events over HTTP, sagas and views with them; `/openapi.json` says it all |
//! | `send`, `state`, `events`, `view` | one command, one state, a history, documents; through the running program, or beside it |
//! | `diff`, `what-if`, `rollback` | [`super::past`] |
//! | `view rebuild, builds, aside, retry ..` | [`super::reading`]: a view built anew beside the one that is read; bad events |
//! | `import` | commands as NDJSON, or a format that the context registered |
//! | `log` | what is in a log, whether it is sound, copies of it |
//! | `keys` | who may do what |
//! | `bench` | what this machine allows, and how much of it is reached |
//!
//! `--log` names the log: `file:./data/tasks`, or `kafka://broker:9092` with the feature `kafka`. Nothing else changes.
//!
//! # Who may do what
//!
//! A server without a file of keys lets in whoever reaches it, and so listens on this machine alone. `keys new` makes a key
//! with an actor, roles in contexts (`tasks:read`, `tasks:write`, `*:operate`) and perhaps a tenant; `serve --keys FILE` asks
//! each request for one. Actor and tenant of everything that is done are then the key's.
//!
//! # Tenants
//!
//! `app.tenant("acme")` is the same app with streams, keys and documents of their own. Over HTTP the header
//! `X-Annals-Tenant` says so, or the key.
