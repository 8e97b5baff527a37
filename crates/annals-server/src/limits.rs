//! The limits a server keeps, all on by default.

use std::time::Duration;

use crate::listen::Reach;

/// What a server lets its clients ask of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From where it may be reached.
    pub reach: Reach,
    /// The most bytes a request's body may have; a larger one is answered 413.
    pub body_bytes_max: usize,
    /// How deep the JSON of a body may nest: `[[1]]` has depth 2.
    pub json_depth_max: usize,
    /// How long a client may take for the head of a request, also for the next one on a connection kept open.
    pub header_timeout: Duration,
    /// How long a client may take to send a request's body, once its head is there.
    pub body_timeout: Duration,
    /// How long a client may take to take in a part of an answer before its connection is cut.
    pub write_timeout: Duration,
    /// Requests that are worked on at the same time; more are answered 503.
    ///
    /// Each may hold a thread while the log syncs: keep it below the runtime's `max_blocking_threads`.
    pub requests_max: usize,
    /// Event streams that are open at the same time; more are answered 503.
    pub subscribers_max: usize,
    /// Connections; more wait until one is closed.
    pub connections_max: usize,
    /// The longest `within=` of a read.
    pub within_max: Duration,
    /// How often an event stream that has nothing to tell says that it is alive.
    pub heartbeat: Duration,
    /// How long requests in flight may take after the server was told to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reach: Reach::ThisMachine,
            body_bytes_max: 1024 * 1024,
            json_depth_max: 64,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            requests_max: 384,
            subscribers_max: 64,
            connections_max: 1024,
            within_max: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
            drain: Duration::from_secs(30),
        }
    }
}
