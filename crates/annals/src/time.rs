//! Time travel from Rust: builders that are awaited.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;

use annals_core::context::AnyDecider;
use annals_core::{Decider, Event, StreamName, Timestamp};
use annals_engine::{
    At, Difference, Edit, Preview, QueryError, Receipt, Request, Rollback, RollbackError, WhatIf, WhatIfError,
};
use serde_json::Value;

use crate::app::{App, blocking};

impl App {
    /// What changed in the entity `id` between two moments, and the events between them.
    pub async fn difference<D: Decider>(
        &self,
        id: impl Into<D::Id>,
        from: At,
        to: At,
    ) -> Result<Difference, QueryError> {
        let (engine, stream) = (self.engine().clone(), self.stream_of::<D>(&id.into())?);
        blocking(move || engine.difference(&stream, from, to)).await
    }

    /// What a rollback of the entity `id` to a version would do; nothing is written.
    pub async fn preview_rollback<D: Decider>(
        &self,
        id: impl Into<D::Id>,
        to: u64,
    ) -> Result<Preview, RollbackError> {
        let (engine, stream) = (self.engine().clone(), self.stream_of::<D>(&id.into())?);
        blocking(move || engine.preview_rollback(&stream, to)).await
    }

    /// Brings the entity `id` back to a version, by events that its decider gives ([`Decider::roll_back`]).
    pub fn roll_back<D: Decider>(&self, id: impl Into<D::Id>, to: u64) -> RollBack<D> {
        let rollback = Rollback { to, ..Rollback::default() };
        RollBack { app: self.clone(), id: id.into(), rollback, around: Around::default() }
    }

    /// The state that the entity `id` would have with other events, or read by other code; nothing is written.
    pub fn what_if<D: Decider>(&self, id: impl Into<D::Id>) -> Otherwise<D, D> {
        Otherwise { app: self.clone(), id: id.into(), edits: Vec::new(), reader: PhantomData }
    }

    fn stream_of<D: Decider>(&self, id: &D::Id) -> Result<StreamName, QueryError> {
        let id = id.to_string();
        let invalid = |_| QueryError::InvalidId { kind: D::NAME.to_owned(), id: id.clone() };
        StreamName::new(self.tenant_name(), D::NAME, &id).map_err(invalid)
    }
}

/// A rollback. Await it.
#[must_use = "an entity is rolled back when this is awaited"]
pub struct RollBack<D: Decider> {
    app: App,
    id: D::Id,
    rollback: Rollback,
    around: Around,
}

#[derive(Default)]
struct Around {
    key: Option<String>,
    actor: String,
    expected_version: Option<u64>,
    occurred_at: Option<Timestamp>,
}

impl<D: Decider> RollBack<D> {
    /// Why; kept with the command.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.rollback.reason = reason.into();
        self
    }

    /// Does it even where something remains different, which the decider does not undo.
    pub fn partial(mut self) -> Self {
        self.rollback.partial = true;
        self
    }

    /// It takes effect once under this key, and has one answer for ever.
    pub fn once(mut self, key: impl Into<String>) -> Self {
        self.around.key = Some(key.into());
        self
    }

    /// Who acts.
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.around.actor = actor.into();
        self
    }

    /// When it happened in the world, where that is not now.
    pub fn occurred_at(mut self, at: Timestamp) -> Self {
        self.around.occurred_at = Some(at);
        self
    }

    /// The version the entity must be at: that of the [`Preview`].
    pub fn expect_version(mut self, version: u64) -> Self {
        self.around.expected_version = Some(version);
        self
    }

    /// Does it and blocks until the answer is durable: for programs without an async runtime.
    pub fn wait(self) -> Result<Receipt, RollbackError> {
        let Self { app, id, rollback, around } = self;
        let stream = app.stream_of::<D>(&id)?;
        let Around { key, actor, expected_version, occurred_at } = around;
        let request = |stream, command| Request {
            key,
            actor,
            expected_version,
            occurred_at,
            ..Request::new(stream, command)
        };
        app.engine().roll_back(&rollback, request, &stream)
    }
}

impl<D: Decider> IntoFuture for RollBack<D> {
    type Output = Result<Receipt, RollbackError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(blocking(move || self.wait()))
    }
}

/// A question of what would be, read by `R`, which is the decider itself unless said otherwise. Await it.
#[must_use = "a question is answered when it is awaited"]
pub struct Otherwise<D: Decider, R: Decider> {
    app: App,
    id: D::Id,
    edits: Vec<Result<Edit, WhatIfError>>,
    reader: PhantomData<fn() -> R>,
}

impl<D: Decider, R: Decider> Otherwise<D, R> {
    /// The event of this version had not happened.
    pub fn without(mut self, version: u64) -> Self {
        self.edits.push(Ok(Edit::Drop { version }));
        self
    }

    /// The event of this version had been another.
    pub fn replacing(mut self, version: u64, event: &D::Event) -> Self {
        let edit = stored(event).map(|(name, data)| Edit::Replace { version, name: Some(name), data });
        self.edits.push(edit);
        self
    }

    /// Another event had happened after this version; 0 for the beginning.
    pub fn inserting(mut self, after: u64, event: &D::Event) -> Self {
        self.edits.push(stored(event).map(|(name, data)| Edit::Insert { after, name, data }));
        self
    }

    /// The events had been read by other code: a decider with the same stored events.
    pub fn read_by<Other: Decider>(self) -> Otherwise<D, Other> {
        let Self { app, id, edits, .. } = self;
        Otherwise { app, id, edits, reader: PhantomData }
    }

    /// Answers it and blocks: for programs without an async runtime.
    pub fn wait(self) -> Result<WhatIf, WhatIfError> {
        let stream = self.app.stream_of::<D>(&self.id)?;
        let edits: Vec<Edit> = self.edits.into_iter().collect::<Result<_, _>>()?;
        let reader = annals_core::context("what-if").decider::<R>();
        let reader: Option<&dyn AnyDecider> = reader.deciders().get(R::NAME).map(AsRef::as_ref);
        self.app.engine().what_if(&stream, &edits, reader)
    }
}

impl<D: Decider, R: Decider> IntoFuture for Otherwise<D, R> {
    type Output = Result<WhatIf, WhatIfError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(blocking(move || self.wait()))
    }
}

/// An event's stored name and fields.
fn stored<E: Event>(event: &E) -> Result<(String, Value), WhatIfError> {
    let unreadable = |reason: String| WhatIfError::Unreadable { place: "given".to_owned(), reason };
    let part = annals_core::event::encode(event).map_err(|error| unreadable(error.to_string()))?;
    let data = match part.payload.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&part.payload).map_err(|error| unreadable(error.to_string()))?,
    };
    Ok((part.name, data))
}
