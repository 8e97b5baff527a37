//! What the routes share: the contexts that are served, the limits, the counters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_engine::{Engine, ExecuteError, Receipt};
use annals_views::Views;
use axum::body::Bytes;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Semaphore;

use crate::keys::KeyFile;
use crate::limits::Limits;
use crate::listen::Reach;
use crate::metrics::Requests;
use crate::openapi;
use crate::problem::{Kind, Problem};
use crate::tide::Tide;

/// How long a context whose log did not take a command counts as not ready; then the next command tries again.
const UNREADY: Duration = Duration::from_secs(5);

/// What stands in the place of a command in addresses.
const RESERVED: [&str; 4] = ["events", "diff", "rollback", "what-if"];

/// A context to serve.
pub struct Served {
    /// Takes its commands and answers for its streams.
    pub engine: Engine,
    /// Its read models.
    pub views: Arc<Views>,
}

/// Contexts that cannot be served together, or not under their names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Serve each context once, or rename one of the two.
    #[error("two contexts are called {0:?}; their addresses would clash, rename one")]
    ContextTwice(String),
    /// Give the server a file of keys, or let it listen on a loopback address.
    #[error("a server that other machines reach needs a file of keys")]
    NoKeys,
    /// Rename the decider, saga or command: its addresses belong to something else.
    #[error(
        "{context} has a {what} called {name:?}; that word stands for something else in addresses, rename it"
    )]
    Reserved {
        /// The context.
        context: String,
        /// What is called so.
        what: &'static str,
        /// The name.
        name: &'static str,
    },
}

/// The state behind the router.
pub(crate) struct App {
    pub(crate) contexts: BTreeMap<String, Hosted>,
    /// Who may do what; whoever asks may do everything where there is none.
    pub(crate) keys: Option<Arc<KeyFile>>,
    pub(crate) limits: Limits,
    pub(crate) requests: Requests,
    /// Requests that may still be begun.
    pub(crate) slots: Semaphore,
    /// Whether a document of the past may be folded.
    pub(crate) past: Semaphore,
    /// Event streams that may still be opened.
    pub(crate) subscriptions: Arc<Semaphore>,
    /// The OpenAPI document.
    pub(crate) openapi: Bytes,
}

/// A context as it is served.
pub(crate) struct Hosted {
    pub(crate) engine: Engine,
    pub(crate) views: Arc<Views>,
    pub(crate) tide: Tide,
    /// Why the log did not take the last command, and when, where it did not.
    failed: Mutex<Option<(Instant, String)>>,
}

impl App {
    pub(crate) fn new(
        served: Vec<Served>,
        keys: Option<Arc<KeyFile>>,
        limits: Limits,
    ) -> Result<Self, SetupError> {
        if limits.reach == Reach::Everywhere && keys.is_none() {
            return Err(SetupError::NoKeys);
        }
        let mut contexts = BTreeMap::new();
        for Served { engine, views } in served {
            let name = engine.context().name().to_owned();
            check_reserved(&engine)?;
            let tide = Tide::new(Arc::clone(engine.log()));
            let hosted = Hosted { engine, views, tide, failed: Mutex::default() };
            if contexts.insert(name.clone(), hosted).is_some() {
                return Err(SetupError::ContextTwice(name));
            }
        }
        let document = openapi::document(contexts.values().map(|hosted| hosted.engine.context().as_ref()));
        Ok(Self {
            contexts,
            keys,
            requests: Requests::default(),
            slots: Semaphore::new(limits.requests_max),
            past: Semaphore::new(1),
            subscriptions: Arc::new(Semaphore::new(limits.subscribers_max)),
            openapi: document.to_string().into(),
            limits,
        })
    }

    /// The context called `name`.
    pub(crate) fn hosted(&self, name: &str) -> Result<&Hosted, Problem> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let detail = format!("there is no context {name:?}; there are {}", known.join(", "));
            Problem::new(Kind::UnknownContext, detail).with("known", known)
        })
    }
}

impl Hosted {
    /// Remembers whether the log took a command.
    pub(crate) fn note(&self, outcome: &Result<Receipt, ExecuteError>) {
        let failed = match outcome {
            Ok(receipt) if receipt.events > 0 && !receipt.repeated => None,
            Err(error @ (ExecuteError::Unavailable { .. } | ExecuteError::OutcomeUnknown { .. })) => {
                Some((Instant::now(), error.to_string()))
            }
            _ => return,
        };
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }

    /// Why the log takes no commands, as far as the last one told.
    pub(crate) fn unwritable(&self) -> Option<String> {
        if self.engine.is_read_only() {
            return Some("it is open for reading only".to_owned());
        }
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().filter(|(at, _)| at.elapsed() < UNREADY).map(|(_, reason)| reason.clone())
    }
}

/// Refuses names that an address could not tell from the routes of views and histories.
fn check_reserved(engine: &Engine) -> Result<(), SetupError> {
    let context = engine.context();
    let reserved = |what, name| SetupError::Reserved { context: context.name().to_owned(), what, name };
    if context.deciders().contains_key("views") {
        return Err(reserved("decider", "views"));
    }
    if context.sagas().contains_key("views") {
        return Err(reserved("saga", "views"));
    }
    let mut commands = context.deciders().values().flat_map(|decider| decider.commands());
    let taken = commands.find_map(|command| RESERVED.into_iter().find(|name| *name == command.name));
    if let Some(name) = taken {
        return Err(reserved("command", name));
    }
    Ok(())
}
