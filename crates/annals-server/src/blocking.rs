//! Calls that block: into the engine, the log and the views.
//!
//! Invariant: what was begun is finished. In a runtime with several threads the call runs in the caller's own
//! task without an await, so a client that goes away cannot cut it off; in a runtime with one thread it runs on
//! a thread of its own, which nothing cancels either.

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::problem::{Kind, Problem};

/// Runs `work`, which may block, and returns what it gave.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        return Ok(tokio::task::block_in_place(work));
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => Ok(value),
        // Resumed, so that it is told like every other panic of a handler.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Problem::new(Kind::Unavailable, "the server is stopping")),
    }
}
