//! Serving open contexts: on an address, and on the control sockets of their logs.
//!
//! Invariant: an end that was asked for loses no answer: requests in flight finish first, then the contexts stop,
//! then their logs are closed and sealed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use annals_server::{KeyFile, Limits, ListenError, Reach, Served, SetupError, router};
use axum::Router;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::failure::Failure;
use crate::App;

/// How long requests in flight may take after the end was asked for.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a control socket may take to appear.
const SOCKET_WAIT: Duration = Duration::from_secs(2);

/// Who may come in at the address that is listened on.
#[derive(Clone, Debug, Default)]
pub struct Doors {
    /// The file of keys; whoever reaches the address may do everything where there is none.
    pub keys: Option<Arc<KeyFile>>,
    /// From where the address may be reached; from everywhere takes a file of keys.
    pub reach: Reach,
}

/// Takes an address to listen on, within `reach`. Call it before a log is opened: what is wrong with an address should
/// not cost the opening.
pub async fn check_listen(text: &str, reach: Reach) -> Result<TcpListener, Failure> {
    let address = annals_server::check_listen(text, reach).map_err(|error| use_listen(&error))?;
    TcpListener::bind(address).await.map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program listens there; give another port with --listen",
            _ => "give another address with --listen",
        };
        Failure::Use(format!("cannot listen on {address}: {error}; {hint}"))
    })
}

fn use_listen(error: &ListenError) -> Failure {
    let hint = match error {
        ListenError::NotLoopback(_) => " (--listen), or give --keys FILE and --insecure-plaintext",
        _ => " (--listen)",
    };
    Failure::Use(format!("{error}{hint}"))
}

/// Contexts that are being served.
pub struct Serving {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Result<usize, ListenError>>>,
    apps: Vec<App>,
}

impl Serving {
    /// Serves `apps`, each with the directory of its log, where it is in one. Who owns that directory needs no key on
    /// the socket in it.
    pub async fn start(
        listener: TcpListener,
        apps: Vec<(App, Option<PathBuf>)>,
        doors: Doors,
    ) -> Result<Self, Failure> {
        let served = |(app, _): &(App, Option<PathBuf>)| Served {
            engine: app.engine().clone(),
            views: Arc::clone(app.views()),
        };
        let limits = Limits { drain: DRAIN, reach: doors.reach, ..Limits::default() };
        let wrong = |error: SetupError| Failure::Use(error.to_string());
        let guarded = router(apps.iter().map(served).collect(), doors.keys, limits.clone()).map_err(wrong)?;
        let own = Limits { reach: Reach::ThisMachine, ..limits.clone() };
        let router = router(apps.iter().map(served).collect(), None, own).map_err(wrong)?;
        let address = listener.local_addr().map_err(|error| Failure::No(error.to_string()))?;
        let (stop, stopped) = watch::channel(false);
        let on_address = {
            let (limits, until) = (limits.clone(), until(stopped.clone()));
            tokio::spawn(async move { annals_server::serve(listener, guarded, until, &limits).await })
        };
        let mut tasks = vec![on_address];
        for socket in
            apps.iter().filter_map(|(_, directory)| Some(super::place::socket_in(directory.as_ref()?)))
        {
            tasks.extend(on_socket(socket, &router, &limits, &stopped).await);
        }
        Ok(Self { address, stop, tasks, apps: apps.into_iter().map(|(app, _)| app).collect() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets requests in flight finish, stops the contexts and closes their logs.
    pub async fn stop(self) -> Result<(), Failure> {
        self.stop.send_replace(true);
        for task in self.tasks {
            match task.await {
                Ok(Ok(0)) => {}
                Ok(Ok(cut)) => {
                    eprintln!("note: {cut} connections were cut off: they took longer than {DRAIN:?}")
                }
                Ok(Err(error)) => eprintln!("note: {error}"),
                Err(error) => eprintln!("note: a listening task ended: {error}"),
            }
        }
        for app in self.apps {
            app.stop().await?;
        }
        Ok(())
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that nobody can ask for the end any more, which is the end too.
    drop(stopped.wait_for(|stopped| *stopped).await);
}

/// Serves on a control socket and returns when it can be reached. Without one everything else works, but tools that
/// need the owner do not reach it: that is told, not fatal.
async fn on_socket(
    socket: PathBuf,
    router: &Router,
    limits: &Limits,
    stopped: &watch::Receiver<bool>,
) -> Option<JoinHandle<Result<usize, ListenError>>> {
    let (router, limits, stop) = (router.clone(), limits.clone(), until(stopped.clone()));
    let path = socket.clone();
    let task = tokio::spawn(async move { annals_server::serve_unix(&path, router, stop, &limits).await });
    let began = tokio::time::Instant::now();
    while !task.is_finished() && began.elapsed() < SOCKET_WAIT {
        if reachable(&socket).await {
            return Some(task);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if task.is_finished()
        && let Ok(Err(error)) = task.await
    {
        eprintln!("note: {error}; send, import and view will not reach this program");
        return None;
    }
    None
}

async fn reachable(socket: &Path) -> bool {
    UnixStream::connect(socket).await.is_ok()
}
