//! The accept loop: connections in bounds, heads in time, and an end that drops no answer.
//!
//! `axum::serve` sets no deadline for a request's head and knows no bound on connections, so the loop is here;
//! the protocol is hyper's.

use std::future::Future;
#[cfg(unix)]
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::{Listener, ListenerExt as _};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use crate::limits::Limits;
use crate::listen::{self, ListenError};

#[cfg(unix)]
mod unix;

/// The most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Tells handlers that do not end by themselves that the server stops.
#[derive(Clone)]
pub(crate) struct Closing(watch::Receiver<bool>);

impl Closing {
    /// Returns when the server stops; never where there is no server that could.
    pub(crate) async fn of(closing: Option<Self>) {
        match closing {
            // An error means that the server is gone.
            Some(Self(mut stopped)) => drop(stopped.wait_for(|stopped| *stopped).await),
            None => std::future::pending().await,
        }
    }
}

/// Serves `router` on an address within [`Limits::reach`] until `shutdown` is ready, then lets requests in flight finish.
///
/// Returns how many connections were cut off because they took longer than [`Limits::drain`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
    limits: &Limits,
) -> Result<usize, ListenError> {
    let address =
        listener.local_addr().map_err(|source| ListenError::System { at: "tcp".to_owned(), source })?;
    listen::check_reach(address, limits.reach)?;
    let listener = listener.tap_io(|tcp| {
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "small answers may be late on this connection");
        }
    });
    Ok(run(listener, router, shutdown, limits).await)
}

/// Serves `router` on a socket at `path` until `shutdown` is ready: how command-line tools reach the owner of a
/// log's directory. Only the user who runs the process may connect.
///
/// A socket that a dead process left is replaced. Returns as [`serve`] does; the socket is gone afterwards.
#[cfg(unix)]
pub async fn serve_unix(
    path: &Path,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
    limits: &Limits,
) -> Result<usize, ListenError> {
    let (listener, _removed_at_the_end) = unix::bind(path)?;
    Ok(run(listener, router, shutdown, limits).await)
}

async fn run<L: Listener>(
    mut listener: L,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
    limits: &Limits,
) -> usize {
    let (stop, stopped) = watch::channel(false);
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let service = TowerToHyperService::new(router);
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            // A place before the connection: the others wait in the listener's queue.
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await.0)
        };
        tokio::select! {
            () = &mut shutdown => break,
            // Finished tasks are taken out, so that the set does not grow.
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (place, io) = accepted => {
                let connection = connection(io, service.clone(), Closing(stopped.clone()), limits.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    drain(connections, limits.drain).await
}

/// Drives one connection to its end; when the server stops, to the end of the request in flight.
async fn connection<I>(io: I, service: TowerToHyperService<Router>, closing: Closing, limits: Limits)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    // A client that stops reading would hold its place for ever: hyper sets no deadline for writes.
    let mut io = TimeoutStream::new(io);
    io.set_write_timeout(Some(limits.write_timeout));
    let told = closing.clone();
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(told.clone());
        service.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Box::pin(io)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = Closing::of(Some(closing)) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients that go away, are slow, or do not speak HTTP: theirs to see, not ours to mend.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Waits for the connections; returns how many were cut off.
async fn drain(mut connections: JoinSet<()>, patience: Duration) -> usize {
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(patience, all).await.is_ok() {
        return 0;
    }
    let cut_off = connections.len();
    tracing::warn!(connections = cut_off, "requests took too long to finish and were cut off");
    connections.shutdown().await;
    cut_off
}
