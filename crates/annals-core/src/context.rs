//! A bounded context: a named set of deciders, projections and sagas that share one log, with types erased.
//!
//! The engine, the views, the server and the command line work on these objects; the user's types are back only
//! in the facade. Nothing here does I/O.

mod decider;
mod index;
mod projection;
mod rollback;
mod saga;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use decider::{
    AnyCommand, AnyDecider, AnyState, DeciderSchemas, DeciderUpcasts, Decision, FieldError, StepError,
};
pub use index::Index;
pub use projection::{AnyProjection, Document, Input};
pub use rollback::ROLLBACK;
pub use saga::{AnySaga, AnySagaState, RawSignal, ReactError};

use crate::codec::Variant;
use crate::id::{ShardId, StreamName, check_name};
use crate::{Decider, Projection, Saga};

/// Begins a context called `name`: lower case, `-` between words.
#[must_use]
pub fn context(name: &str) -> Context {
    Context { name: name.to_owned(), ..Context::default() }
}

/// A bounded context.
#[derive(Clone, Default)]
pub struct Context {
    name: String,
    deciders: BTreeMap<&'static str, Arc<dyn AnyDecider>>,
    projections: BTreeMap<&'static str, Arc<dyn AnyProjection>>,
    sagas: BTreeMap<&'static str, Arc<dyn AnySaga>>,
    /// Stored event name to the stream kind (decider or saga) that owns it.
    owners: BTreeMap<String, &'static str>,
    errors: Vec<ContextError>,
}

/// A context that cannot be opened, found when it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// Choose a name of lower-case letters, digits, `-` and `_`.
    #[error("{0:?} cannot name a {1}: use lower-case letters, digits, '-' and '_', at most 64")]
    Name(String, &'static str),
    /// Rename one of the two.
    #[error("two deciders or sagas are called {0:?}; stream names would clash, rename one")]
    Twice(String),
    /// Rename one of the two.
    #[error("two projections are called {0:?}; rename one")]
    ViewTwice(String),
    /// Correct the path: fields are separated by dots.
    #[error("view {view} has an index on {path:?}, which leads to no field of its documents; there are {}", known.join(", "))]
    Index {
        /// The projection.
        view: String,
        /// The path.
        path: String,
        /// The fields where it leads astray.
        known: Vec<String>,
    },
    /// Give one of the two another prefix.
    #[error("{first} and {second} both store events as {name:?}; give one of them another prefix")]
    EventTwice {
        /// The stored name.
        name: String,
        /// The owner registered first.
        first: String,
        /// The owner registered second.
        second: String,
    },
}

impl Context {
    /// Adds a decider.
    #[must_use]
    pub fn decider<D: Decider>(mut self) -> Self {
        let decider: Arc<dyn AnyDecider> = Arc::new(decider::Typed::<D>::default());
        self.check(D::NAME, "decider");
        self.own(D::NAME, decider.events().iter().map(|variant: &Variant| variant.name.to_owned()).collect());
        if self.deciders.insert(D::NAME, decider).is_some() || self.sagas.contains_key(D::NAME) {
            self.errors.push(ContextError::Twice(D::NAME.to_owned()));
        }
        self
    }

    /// Adds a projection.
    #[must_use]
    pub fn projection<P: Projection>(mut self) -> Self {
        self.check(P::NAME, "projection");
        let projection = projection::Typed::<P>::new().map_err(|(path, known)| ContextError::Index {
            view: P::NAME.to_owned(),
            path,
            known,
        });
        match projection.map(|projection| self.projections.insert(P::NAME, Arc::new(projection))) {
            Ok(None) => {}
            Ok(Some(_)) => self.errors.push(ContextError::ViewTwice(P::NAME.to_owned())),
            Err(error) => self.errors.push(error),
        }
        self
    }

    /// Adds a saga.
    #[must_use]
    pub fn saga<S: Saga>(mut self) -> Self {
        let saga: Arc<dyn AnySaga> = Arc::new(saga::Typed::<S>::default());
        self.check(S::NAME, "saga");
        self.own(S::NAME, vec![saga.state_event().to_owned()]);
        if self.sagas.insert(S::NAME, saga).is_some() || self.deciders.contains_key(S::NAME) {
            self.errors.push(ContextError::Twice(S::NAME.to_owned()));
        }
        self
    }

    /// The context, if everything in it fits together; the first error otherwise.
    pub fn checked(self) -> Result<Self, ContextError> {
        if check_name(&self.name).is_err() {
            return Err(ContextError::Name(self.name, "context"));
        }
        match self.errors.first() {
            None => Ok(self),
            Some(error) => Err(error.clone()),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its deciders by name.
    #[must_use]
    pub fn deciders(&self) -> &BTreeMap<&'static str, Arc<dyn AnyDecider>> {
        &self.deciders
    }

    /// Its projections by name.
    #[must_use]
    pub fn projections(&self) -> &BTreeMap<&'static str, Arc<dyn AnyProjection>> {
        &self.projections
    }

    /// Its sagas by name.
    #[must_use]
    pub fn sagas(&self) -> &BTreeMap<&'static str, Arc<dyn AnySaga>> {
        &self.sagas
    }

    /// Whether an event of this stored name belongs to the context.
    #[must_use]
    pub fn knows_event(&self, name: &str) -> bool {
        self.owners.contains_key(name)
    }

    /// The shard of a stream among `shards`; `None` where its kind is unknown or its id does not fit.
    #[must_use]
    pub fn shard_of(&self, stream: &StreamName, shards: u32) -> Option<ShardId> {
        let key = match self.deciders.get(stream.kind()) {
            Some(decider) => decider.shard_key(stream.id()),
            None => self.sagas.get(stream.kind())?.shard_key(stream.id()),
        }?;
        Some(match stream.tenant() {
            None => ShardId::of(&key, shards),
            Some(tenant) => ShardId::of(&format!("{tenant}:{key}"), shards),
        })
    }

    fn check(&mut self, name: &'static str, what: &'static str) {
        if check_name(name).is_err() {
            self.errors.push(ContextError::Name(name.to_owned(), what));
        }
    }

    fn own(&mut self, owner: &'static str, names: Vec<String>) {
        for name in names {
            if let Some(first) = self.owners.insert(name.clone(), owner) {
                let (first, second) = (first.to_owned(), owner.to_owned());
                self.errors.push(ContextError::EventTwice { name, first, second });
            }
        }
    }
}
