//! What a caller asks of a view in words, and what it means for the view's indexes.

use annals_core::Tenant;
use annals_core::context::AnyProjection;
use serde_json::Value;

use crate::index_key::IndexKey;
use crate::state::ViewError;
use crate::store::{Comparison, Filter, Layout, Order, Place, Query};

/// What stands for the document's key in [`Listing::order`].
pub const BY_KEY: &str = "key";

/// Which documents of a view to list, and in which order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listing<'a> {
    /// Whose documents.
    pub tenant: Option<&'a Tenant>,
    /// What their keys start with; empty for all.
    pub prefix: &'a str,
    /// What their indexed fields must fulfil, all of it.
    pub wanted: &'a [Wanted],
    /// The indexed field to order by, or `key`; with a minus before it the greatest comes first. By key where
    /// nothing is said.
    pub order: Option<&'a str>,
    /// Go on after this place: [`crate::Page::next`] of the page before, which had the same order.
    pub cursor: Option<&'a str>,
    /// At most so many; taken as 1 when 0, as [`crate::store::PAGE_DOCUMENTS_MAX`] when above.
    pub limit: usize,
}

/// What the value of an indexed field must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The field: a declared index.
    pub path: String,
    /// How its value compares with `value`.
    pub comparison: Comparison,
    /// A text for a field that holds texts. For others a number, `true`, `false` or `null`; what is none of them
    /// is a text.
    pub value: String,
}

/// A listing in terms of a view's indexes.
pub struct Resolved {
    filters: Vec<Filter>,
    order: Order,
    after: Option<Place>,
}

impl Listing<'_> {
    /// What the listing means for a build of `projection` that is kept in this layout; an error where it asks for an
    /// index that is not there.
    pub fn resolve(&self, projection: &dyn AnyProjection, layout: &Layout) -> Result<Resolved, ViewError> {
        let filter = |wanted: &Wanted| {
            let at = find(projection, layout, &wanted.path)?;
            let key = key(projection, &wanted.path, &wanted.value);
            Ok(Filter { index: at, comparison: wanted.comparison, key })
        };
        let filters = self.wanted.iter().map(filter).collect::<Result<_, ViewError>>()?;
        let order =
            self.order.map_or(Ok(Order::default()), |order| self::order(projection, layout, order))?;
        let after = self.cursor.map(|cursor| {
            let bad = || ViewError::Cursor { view: projection.name().to_owned(), cursor: cursor.to_owned() };
            Place::from_text(cursor, order).ok_or_else(bad)
        });
        Ok(Resolved { filters, order, after: after.transpose()? })
    }

    /// The query for a store.
    #[must_use]
    pub fn query<'a>(&'a self, resolved: &'a Resolved) -> Query<'a> {
        Query {
            tenant: self.tenant,
            prefix: self.prefix,
            filters: &resolved.filters,
            order: resolved.order,
            after: resolved.after.as_ref(),
            limit: self.limit,
        }
    }
}

fn find(projection: &dyn AnyProjection, layout: &Layout, path: &str) -> Result<usize, ViewError> {
    layout.indexes.iter().position(|index| index == path).ok_or_else(|| ViewError::NoIndex {
        view: projection.name().to_owned(),
        path: path.to_owned(),
        known: layout.indexes.clone(),
    })
}

fn order(projection: &dyn AnyProjection, layout: &Layout, text: &str) -> Result<Order, ViewError> {
    let (path, descending) = text.strip_prefix('-').map_or((text, false), |path| (path, true));
    match find(projection, layout, path) {
        Ok(index) => Ok(Order { index: Some(index), descending }),
        Err(_) if path == BY_KEY => Ok(Order { index: None, descending }),
        Err(error) => Err(error),
    }
}

fn key(projection: &dyn AnyProjection, path: &str, text: &str) -> IndexKey {
    let is_text = projection.indexes().iter().any(|index| index.path == path && index.is_text);
    let scalar = || serde_json::from_str(text).ok().filter(|value| !matches!(value, Value::String(_)));
    match scalar().filter(|_| !is_text) {
        Some(value) => IndexKey::of(&value),
        None => IndexKey::of_text(text),
    }
}
