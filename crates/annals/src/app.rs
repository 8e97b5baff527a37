//! An open context: what a program sends commands to and asks.

use std::sync::Arc;
use std::time::Duration;

use annals_core::id::InvalidName;
use annals_core::{Decider, Projection, StreamName, Tenant};
use annals_engine::{Engine, Environment, ExecuteError, HistoryEvent, QueryError, Receipt, Request};
use annals_views::{MemoryStore, ViewStore, Views};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::error::OpenError;
use crate::open::{self, LogUrl, Options};
use crate::queries::{List, State, View};
use crate::send::Send;

/// An open context. Cheap to clone; stops when the last clone is dropped, or by [`App::stop`].
#[derive(Clone)]
pub struct App {
    running: Arc<Running>,
    tenant: Option<Tenant>,
}

struct Running {
    engine: Engine,
    views: Arc<Views>,
}

impl App {
    pub(crate) fn open(
        context: annals_core::Context,
        url: &LogUrl,
        options: Options,
    ) -> Result<Self, OpenError> {
        let log = open::log(url, context.name(), options.read_only)?;
        let name = context.name().to_owned();
        Self::on(context, log, options, |at| open::views(url, &name, at))
    }

    /// Opens a context on a log that is open already.
    #[doc(hidden)]
    pub fn open_on(
        context: annals_core::Context,
        log: Arc<dyn annals_log::Log>,
        options: Options,
    ) -> Result<Self, OpenError> {
        Self::on(context, log, options, |_| Ok(Arc::new(MemoryStore::new())))
    }

    fn on(
        context: annals_core::Context,
        log: Arc<dyn annals_log::Log>,
        options: Options,
        store: impl FnOnce(&open::ViewsAt) -> Result<Arc<dyn ViewStore>, OpenError>,
    ) -> Result<Self, OpenError> {
        let drive = options.drive();
        let engine = if options.read_only {
            Engine::open_read_only(context, log)?
        } else {
            let environment = options.environment.clone().unwrap_or_else(|| Environment::system(node()));
            Engine::open(context, log, environment, options.engine.clone())?
        };
        let store = if options.read_only { Arc::new(MemoryStore::new()) } else { store(&options.views)? };
        let clock = Arc::clone(&engine.environment().clock);
        let settings = annals_views::Settings {
            drive: if options.read_only { annals_views::Drive::Caller } else { drive },
            clock: Arc::new(move || clock.now()),
            ..annals_views::Settings::default()
        };
        let views = Views::open(Arc::clone(engine.context()), Arc::clone(engine.log()), store, settings)?;
        if !options.by_hand {
            engine.start();
        }
        Ok(Self { running: Arc::new(Running { engine, views: Arc::new(views) }), tenant: None })
    }

    /// The same app for one tenant: its streams, keys and views are apart from all others.
    pub fn tenant(&self, name: &str) -> Result<Self, InvalidName> {
        Ok(Self { tenant: Some(Tenant::new(name)?), ..self.clone() })
    }

    /// Sends a command to the entity `id`.
    pub fn send<D: Decider>(&self, id: impl Into<D::Id>, command: D::Command) -> Send<D> {
        Send::new(self.clone(), id.into(), command)
    }

    /// Asks for the state of the entity `id`.
    pub fn state<D: Decider>(&self, id: impl Into<D::Id>) -> State<D> {
        State::new(self.clone(), id.into())
    }

    /// Asks for the document of `key` in a view.
    pub fn view<P: Projection>(&self, key: impl Into<P::Key>) -> View<P> {
        View::new(self.clone(), key.into())
    }

    /// Asks for documents of a view: by key, or by the indexes that the projection declares.
    pub fn list<P: Projection>(&self) -> List<P> {
        List::new(self.clone())
    }

    /// Up to `limit` events of the entity `id` after version `after`.
    pub async fn history<D: Decider>(
        &self,
        id: impl Into<D::Id>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<HistoryEvent>, QueryError> {
        let id = id.into().to_string();
        let invalid = |_| QueryError::InvalidId { kind: D::NAME.to_owned(), id: id.clone() };
        let stream = StreamName::new(self.tenant_name(), D::NAME, &id).map_err(invalid)?;
        let engine = self.engine().clone();
        blocking(move || engine.history(&stream, after, limit)).await
    }

    /// Waits until sagas and views have nothing left to do but timers; for tests and imports.
    ///
    /// `Ok(false)` if that took longer than `timeout`.
    pub async fn settle_within(&self, timeout: Duration) -> Result<bool, ExecuteError> {
        let running = Arc::clone(&self.running);
        blocking(move || {
            let settled = running.engine.settle(timeout)?;
            Ok(settled && running.views.settle(timeout).is_ok())
        })
        .await
    }

    /// Like [`App::settle_within`] a minute.
    pub async fn settle(&self) -> Result<bool, ExecuteError> {
        self.settle_within(Duration::from_secs(60)).await
    }

    /// Stops sagas and views, notes how far they came, and waits until everything decided is durable.
    pub async fn stop(&self) -> Result<(), ExecuteError> {
        let running = Arc::clone(&self.running);
        blocking(move || running.stop()).await
    }

    /// The engine below.
    #[doc(hidden)]
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.running.engine
    }

    /// The views below.
    #[doc(hidden)]
    #[must_use]
    pub fn views(&self) -> &Arc<Views> {
        &self.running.views
    }

    pub(crate) fn tenant_name(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }
}

impl Running {
    fn stop(&self) -> Result<(), ExecuteError> {
        self.views.shutdown();
        self.engine.stop().map_err(|error| ExecuteError::Unavailable { reason: error.to_string() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(%error, "the log did not take everything before it was closed");
        }
    }
}

/// How this process is called in claims.
pub(crate) fn node() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}/{}", if host.is_empty() { "localhost" } else { host.trim() }, std::process::id())
}

/// Executes a command; of many, no thread waits while their records are on their way to the disk or the brokers.
///
/// Once it is decided it is answered, whether or not anybody still polls this.
pub(crate) async fn execute(engine: &Engine, request: Request) -> Result<Receipt, ExecuteError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let key = request.key.clone();
    // Who went away is not told.
    let then = move |answer| drop(sender.send(answer));
    if let Some(rest) = engine.begin(request, then) {
        blocking(rest).await;
    }
    let nobody = |_| {
        let (key, reason) = (key.unwrap_or_default(), "the thread that answers ended".to_owned());
        Err(ExecuteError::OutcomeUnknown { key, reason })
    };
    receiver.await.unwrap_or_else(nobody)
}

/// Runs blocking work from async code: in place on a multi-thread runtime, on a thread of its own elsewhere.
pub(crate) async fn blocking<T: std::marker::Send + 'static>(
    work: impl FnOnce() -> T + std::marker::Send + 'static,
) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => on_a_thread(work).await,
    }
}

async fn on_a_thread<T: std::marker::Send + 'static>(
    work: impl FnOnce() -> T + std::marker::Send + 'static,
) -> T {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn(move || {
        let sent = sender.send(work());
        // The caller has gone away: what was decided stays decided.
        drop(sent);
    });
    match receiver.await {
        Ok(value) => value,
        // The work panicked, and with it the thread: go on with its panic.
        Err(_) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => std::future::pending().await,
        },
    }
}
