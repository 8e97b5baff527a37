//! Two builds of a view, held against each other.

use serde::Serialize;

use crate::store::{DocumentKey, StoreError, ViewId, ViewStore};

/// Documents read at a time.
const CHUNK: usize = 1_000;
/// The keys of documents that differ which are told; the others are counted.
const SHOWN_MAX: usize = 10;

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Documents in the build before.
    pub before: u64,
    /// Documents in the new build.
    pub after: u64,
    /// Documents that were read and compared one by one; `None` where they were only counted.
    pub differing: Option<u64>,
    /// The keys of some that differ, or that one of the builds does not have; with their tenant before a colon.
    pub examples: Vec<String>,
}

impl Compared {
    /// Whether nothing that was compared differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.before == self.after && self.differing.is_none_or(|differing| differing == 0)
    }

    fn differs(&mut self, key: &DocumentKey) {
        self.differing = Some(self.differing.unwrap_or(0) + 1);
        if self.examples.len() < SHOWN_MAX {
            let tenant = key.tenant.as_ref().map(|tenant| format!("{tenant}:")).unwrap_or_default();
            self.examples.push(format!("{tenant}{}", key.key));
        }
    }
}

/// Compares two builds: how many documents they have and, where `documents` is set, each of them.
pub fn compare(
    store: &dyn ViewStore,
    before: &ViewId,
    after: &ViewId,
    documents: bool,
) -> Result<Compared, StoreError> {
    let mut compared =
        Compared { before: store.count(before)?, after: store.count(after)?, ..Compared::default() };
    if !documents {
        return Ok(compared);
    }
    compared.differing = Some(0);
    let (mut before, mut after) = (Scan::of(store, before), Scan::of(store, after));
    let (mut one, mut other) = (before.next()?, after.next()?);
    loop {
        match (&one, &other) {
            (None, None) => return Ok(compared),
            (Some((key, json)), Some((other_key, other_json))) if key == other_key => {
                if !is_same(json, other_json) {
                    compared.differs(key);
                }
                (one, other) = (before.next()?, after.next()?);
            }
            (Some((key, _)), Some((other_key, _))) if key > other_key => {
                compared.differs(other_key);
                other = after.next()?;
            }
            (Some((key, _)), _) => {
                compared.differs(key);
                one = before.next()?;
            }
            (None, Some((key, _))) => {
                compared.differs(key);
                other = after.next()?;
            }
        }
    }
}

/// Whether two documents say the same, in whatever order their fields are.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let read = |json| serde_json::from_slice::<serde_json::Value>(json).ok();
    one == other || read(one).is_some_and(|one| Some(one) == read(other))
}

/// All documents of a build in order.
struct Scan<'a> {
    store: &'a dyn ViewStore,
    view: &'a ViewId,
    chunk: std::vec::IntoIter<(DocumentKey, Vec<u8>)>,
    last: Option<DocumentKey>,
}

impl<'a> Scan<'a> {
    fn of(store: &'a dyn ViewStore, view: &'a ViewId) -> Self {
        Self { store, view, chunk: Vec::new().into_iter(), last: None }
    }

    fn next(&mut self) -> Result<Option<(DocumentKey, Vec<u8>)>, StoreError> {
        if self.chunk.len() == 0 {
            self.chunk = self.store.scan(self.view, self.last.as_ref(), CHUNK)?.into_iter();
        }
        let next = self.chunk.next();
        self.last = next.as_ref().map(|(key, _)| key.clone()).or(self.last.take());
        Ok(next)
    }
}
