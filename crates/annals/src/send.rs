//! Sending a command: a builder that is awaited.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use annals_core::context::AnyCommand;
use annals_core::{Decider, StreamName, Timestamp};
use annals_engine::{ExecuteError, Receipt, Request};

use crate::app::{self, App};
use crate::error::SendError;

/// A command on its way to an entity. Await it to send it.
///
/// Once the decision is made nothing in it can be cancelled: dropping the future loses the answer, not the effect.
#[must_use = "a command is sent when it is awaited"]
pub struct Send<D: Decider> {
    app: App,
    id: D::Id,
    command: D::Command,
    around: Around,
}

/// What a caller says around a command.
#[derive(Default)]
struct Around {
    key: Option<String>,
    expected_version: Option<u64>,
    actor: String,
    correlation: String,
    causation: String,
    traceparent: String,
    occurred_at: Option<Timestamp>,
}

impl<D: Decider> Send<D> {
    pub(crate) fn new(app: App, id: D::Id, command: D::Command) -> Self {
        Self { app, id, command, around: Around::default() }
    }

    /// The command takes effect once under this key, and has one answer for ever: a refusal is recorded too.
    pub fn once(mut self, key: impl Into<String>) -> Self {
        self.around.key = Some(key.into());
        self
    }

    /// Who acts.
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.around.actor = actor.into();
        self
    }

    /// What it belongs to: one text through a whole flow of work.
    pub fn correlation(mut self, correlation: impl Into<String>) -> Self {
        self.around.correlation = correlation.into();
        self
    }

    /// What directly caused it.
    pub fn causation(mut self, causation: impl Into<String>) -> Self {
        self.around.causation = causation.into();
        self
    }

    /// W3C trace context.
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.around.traceparent = traceparent.into();
        self
    }

    /// When it happened in the world, where that is not now.
    pub fn occurred_at(mut self, at: Timestamp) -> Self {
        self.around.occurred_at = Some(at);
        self
    }

    /// The version the stream must be at; otherwise the answer is [`SendError::Conflict`].
    pub fn expect_version(mut self, version: u64) -> Self {
        self.around.expected_version = Some(version);
        self
    }

    /// Sends it and blocks until the answer is durable: for programs without an async runtime.
    pub fn wait(self) -> Result<Receipt, SendError<D::Refusal>> {
        let app = self.app.clone();
        let request = self.request()?;
        Ok(app.engine().execute(&request)?)
    }

    fn request(self) -> Result<Request, ExecuteError> {
        let stream = StreamName::new(self.app.tenant_name(), D::NAME, &self.id.to_string())?;
        let Around { key, expected_version, actor, correlation, causation, traceparent, occurred_at } =
            self.around;
        Ok(Request {
            key,
            expected_version,
            actor,
            correlation,
            causation,
            traceparent,
            occurred_at,
            ..Request::new(stream, AnyCommand::new::<D>(self.command)?)
        })
    }
}

impl<D: Decider> IntoFuture for Send<D> {
    type Output = Result<Receipt, SendError<D::Refusal>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + std::marker::Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let app = self.app.clone();
            let request = self.request()?;
            Ok(app::execute(app.engine(), request).await?)
        })
    }
}
