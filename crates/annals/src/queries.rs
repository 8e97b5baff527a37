//! Asking for states and documents: builders that are awaited.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use annals_core::{Cursor, Decider, Offset, Projection, ShardId, StreamName, Timestamp};
use annals_engine::{At, QueryError, Receipt};
use annals_views::store::Comparison;
use annals_views::{Listing, ViewError, ViewState, Wanted};

use crate::app::{App, blocking};

/// The state of an entity. Await it; [`State::at_version`] and [`State::at`] ask for the past.
#[must_use = "a state is read when it is awaited"]
pub struct State<D: Decider> {
    app: App,
    id: D::Id,
    at: At,
}

impl<D: Decider> State<D> {
    pub(crate) fn new(app: App, id: D::Id) -> Self {
        Self { app, id, at: At::Now }
    }

    /// The state after this many events.
    pub fn at_version(mut self, version: u64) -> Self {
        self.at = At::Version(version);
        self
    }

    /// The state after everything that was recorded up to and including this time.
    pub fn at(mut self, time: Timestamp) -> Self {
        self.at = At::Time(time);
        self
    }

    /// Reads it and blocks: for programs without an async runtime.
    pub fn wait(self) -> Result<D, QueryError> {
        let invalid = |_| QueryError::InvalidId { kind: D::NAME.to_owned(), id: self.id.to_string() };
        let stream =
            StreamName::new(self.app.tenant_name(), D::NAME, &self.id.to_string()).map_err(invalid)?;
        self.app.engine().state_of::<D>(&stream, self.at).map(|(_, state)| state)
    }
}

impl<D: Decider> IntoFuture for State<D> {
    type Output = Result<D, QueryError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(blocking(move || self.wait()))
    }
}

/// A document of a view; `None` where the key has none. Await it; [`View::after`] reads one's own writes.
#[must_use = "a view is read when it is awaited"]
pub struct View<P: Projection> {
    app: App,
    key: P::Key,
    after: Vec<(ShardId, Offset)>,
    at: Option<Moment>,
    within: Duration,
    projection: PhantomData<fn() -> P>,
}

/// A moment of the past.
enum Moment {
    Time(Timestamp),
    Cursor(Cursor),
}

impl<P: Projection> View<P> {
    pub(crate) fn new(app: App, key: P::Key) -> Self {
        let (after, within) = (Vec::new(), Duration::from_secs(5));
        Self { app, key, after, at: None, within, projection: PhantomData }
    }

    /// The document as it was after everything that was recorded up to and including this time. It is folded from the log
    /// for this answer, within the bound of [`View::within`].
    pub fn at(mut self, time: Timestamp) -> Self {
        self.at = Some(Moment::Time(time));
        self
    }

    /// The document as it was after everything below this cursor.
    pub fn at_cursor(mut self, cursor: Cursor) -> Self {
        self.at = Some(Moment::Cursor(cursor));
        self
    }

    /// Waits until the view has taken in the command of this receipt: the caller reads its own write.
    pub fn after(mut self, receipt: &Receipt) -> Self {
        self.after.push((receipt.position.shard, receipt.position.offset));
        self
    }

    /// The longest to wait for that, 5 s where nothing is said; then the answer is [`ViewError::Behind`].
    pub fn within(mut self, bound: Duration) -> Self {
        self.within = bound;
        self
    }

    /// Reads it and blocks: for programs without an async runtime.
    pub fn wait(self) -> Result<Option<P>, ViewError> {
        let key = self.key.to_string();
        let views = self.app.views();
        let tenant = self.app.tenant_name();
        let cursor = match self.at {
            None => None,
            Some(Moment::Time(time)) => Some(views.cursor_at(time)?),
            Some(Moment::Cursor(cursor)) => Some(cursor),
        };
        let json = match cursor {
            None => views.get_after(P::NAME, tenant, &key, &self.after, self.within)?,
            Some(cursor) => views.get_at(P::NAME, tenant, &key, &cursor, self.within)?,
        };
        json.map(|json| self.app.document(&key, &json)).transpose()
    }
}

impl<P: Projection> IntoFuture for View<P> {
    type Output = Result<Option<P>, ViewError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(blocking(move || self.wait()))
    }
}

/// Documents of a view in an order. Await it.
#[must_use = "documents are read when this is awaited"]
pub struct List<P: Projection> {
    app: App,
    prefix: String,
    wanted: Vec<Wanted>,
    order: Option<String>,
    cursor: Option<String>,
    limit: usize,
    projection: PhantomData<fn() -> P>,
}

/// A page of documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Documents<P> {
    /// Keys and documents.
    pub documents: Vec<(String, P)>,
    /// Where the next page starts, for [`List::after`]; `None` on the last page.
    pub next: Option<String>,
}

impl<P: Projection> List<P> {
    pub(crate) fn new(app: App) -> Self {
        let (prefix, wanted, order, cursor, limit) = (String::new(), Vec::new(), None, None, 100);
        Self { app, prefix, wanted, order, cursor, limit, projection: PhantomData }
    }

    /// Only keys that start with this.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Only documents whose indexed `field` is `value`.
    pub fn equal(self, field: &str, value: impl ToString) -> Self {
        self.want(field, Comparison::Equal, &value)
    }

    /// Only documents whose indexed `field` is `value` or more.
    pub fn at_least(self, field: &str, value: impl ToString) -> Self {
        self.want(field, Comparison::AtLeast, &value)
    }

    /// Only documents whose indexed `field` is `value` or less.
    pub fn at_most(self, field: &str, value: impl ToString) -> Self {
        self.want(field, Comparison::AtMost, &value)
    }

    /// Only documents whose indexed `field` is more than `value`.
    pub fn above(self, field: &str, value: impl ToString) -> Self {
        self.want(field, Comparison::Greater, &value)
    }

    /// Only documents whose indexed `field` is less than `value`.
    pub fn below(self, field: &str, value: impl ToString) -> Self {
        self.want(field, Comparison::Less, &value)
    }

    /// By an indexed field, or by `key`, which is the default; with a minus before it the greatest first.
    pub fn order(mut self, order: impl Into<String>) -> Self {
        self.order = Some(order.into());
        self
    }

    /// Goes on after the page before: [`Documents::next`].
    pub fn after(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// At most so many, 100 where nothing is said and 1,000 at most.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Reads them and blocks: for programs without an async runtime.
    pub fn wait(self) -> Result<Documents<P>, ViewError> {
        let listing = Listing {
            tenant: self.app.tenant_name(),
            prefix: &self.prefix,
            wanted: &self.wanted,
            order: self.order.as_deref(),
            cursor: self.cursor.as_deref(),
            limit: self.limit,
        };
        let page = self.app.views().list(P::NAME, &listing)?;
        let documents = page.documents.into_iter().map(|(key, json)| {
            let document = self.app.document(&key, &json)?;
            Ok((key, document))
        });
        Ok(Documents { documents: documents.collect::<Result<_, ViewError>>()?, next: page.next })
    }

    fn want(mut self, field: &str, comparison: Comparison, value: &impl ToString) -> Self {
        self.wanted.push(Wanted { path: field.to_owned(), comparison, value: value.to_string() });
        self
    }
}

impl<P: Projection> IntoFuture for List<P> {
    type Output = Result<Documents<P>, ViewError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(blocking(move || self.wait()))
    }
}

impl App {
    /// Reads a document of `P`.
    fn document<P: Projection>(&self, key: &str, json: &[u8]) -> Result<P, ViewError> {
        serde_json::from_slice(json).or_else(|error| {
            let lag = self.views().lag(P::NAME)?;
            if matches!(lag.state, ViewState::Older { .. }) {
                // It is of another revision, and the present one is not there yet.
                return Err(ViewError::Behind { view: P::NAME.to_owned(), lag });
            }
            let reason = format!(
                "the document of {key:?} does not fit its type ({error}); raise the projection's REVISION"
            );
            Err(ViewError::Stopped { view: P::NAME.to_owned(), position: None, reason })
        })
    }
}
