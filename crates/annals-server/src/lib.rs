//! The HTTP interface of Annals: commands in, states, histories, documents and live events out.
//!
//! [`router`] puts one or more contexts behind one [`axum::Router`]; [`serve`] and [`serve_unix`] run it on a
//! loopback address or on a socket in a log's directory. What the routes are is in [`router`]'s documentation
//! and, for the contexts at hand, in the OpenAPI document at `/openapi.json`.
//!
//! ```no_run
//! use std::sync::Arc;
//! use annals_server::{Limits, Reach, Served, check_listen, router, serve};
//!
//! # async fn run(engine: annals_engine::Engine, views: Arc<annals_views::Views>) -> Result<(), Box<dyn std::error::Error>> {
//! let limits = Limits::default();
//! let router = router(vec![Served { engine, views }], None, limits.clone())?;
//! let address = check_listen("127.0.0.1:7400", Reach::ThisMachine)?;
//! let listener = tokio::net::TcpListener::bind(address).await?;
//! let cut_off = serve(listener, router, async { tokio::signal::ctrl_c().await.unwrap_or(()) }, &limits).await?;
//! assert_eq!(cut_off, 0);
//! # Ok(()) }
//! ```
//!
//! Nothing here decides: every answer about history comes from the engine, every document from the views. What
//! is no success is a problem document (RFC 9457) with a stable `type`.
//!
//! Without a [`KeyFile`] whoever reaches the address may do everything, so it listens on loopback addresses alone. With
//! one, each request needs a key with the route's role, and acts as the key's actor for the key's tenant. It takes no
//! command that a web page of another origin sends.

mod api;
mod app;
mod blocking;
mod body;
mod guard;
mod input;
pub mod keys;
mod limits;
mod listen;
mod metrics;
mod openapi;
mod operate;
mod problem;
mod routes;
mod serve;
mod tide;

pub use app::{Served, SetupError};
pub use keys::{KeyFile, KeyFileError};
pub use limits::Limits;
pub use listen::{ListenError, Reach, check_listen};
pub use routes::router;
pub use serve::serve;
#[cfg(unix)]
pub use serve::serve_unix;
