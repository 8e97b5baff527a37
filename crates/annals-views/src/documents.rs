//! Documents between two saves: decoded, most recently used first, bounded between batches.
//!
//! Invariant: a document that was changed and not saved is never evicted; [`Documents::evict`] runs only after
//! a save. While a view is folded from its beginning and nothing was evicted yet, the cache holds the whole
//! view, and a key it does not have needs no look at the store.

use annals_core::context::Document;
use lru::LruCache;

use crate::store::{self, DocumentKey};

/// What a cached entry costs besides its key and document: map, list and allocations, roughly.
const ENTRY_BYTES: usize = 192;
/// A decoded document takes about this many times the bytes of its JSON.
const DECODED_FACTOR: usize = 2;

pub(crate) struct Documents {
    slots: LruCache<DocumentKey, Slot>,
    bytes: usize,
    bytes_max: usize,
    changed: Vec<DocumentKey>,
    whole: bool,
}

#[derive(Default)]
struct Slot {
    /// `None` where the view has no such document.
    document: Option<Document>,
    bytes: usize,
    changed: bool,
}

/// A document as it is written, `None` to remove it.
pub(crate) type Written = (DocumentKey, Option<store::Document>);

impl Documents {
    pub(crate) fn new(bytes_max: usize, whole: bool) -> Self {
        Self { slots: LruCache::unbounded(), bytes: 0, bytes_max, changed: Vec::new(), whole }
    }

    /// Those of `keys` that must be loaded, ascending, each once.
    pub(crate) fn missing<'a>(&self, keys: impl Iterator<Item = &'a DocumentKey>) -> Vec<DocumentKey> {
        if self.whole {
            return Vec::new();
        }
        let mut missing: Vec<&DocumentKey> = keys.filter(|key| !self.slots.contains(key)).collect();
        missing.sort_unstable();
        missing.dedup();
        missing.into_iter().cloned().collect()
    }

    /// Takes in what the store has under `key`.
    pub(crate) fn loaded(&mut self, key: DocumentKey, document: Option<Document>, json_bytes: usize) {
        let bytes = cost(&key, json_bytes);
        self.bytes += bytes;
        self.slots.put(key, Slot { document, bytes, changed: false });
    }

    /// The document of `key`, to be changed; `None` in it where there is no document.
    pub(crate) fn change(&mut self, key: &DocumentKey) -> &mut Option<Document> {
        let bytes = &mut self.bytes;
        let slot = self.slots.get_or_insert_mut_ref(key, || {
            let cost = cost(key, 0);
            *bytes += cost;
            Slot { bytes: cost, ..Slot::default() }
        });
        if !slot.changed {
            slot.changed = true;
            self.changed.push(key.clone());
        }
        &mut slot.document
    }

    /// Whether it holds more than it is to keep: a save would let it forget some.
    pub(crate) fn is_full(&self) -> bool {
        self.is_changed() && self.bytes > self.bytes_max
    }

    /// Whether anything waits to be saved.
    pub(crate) fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What changed since the last save, written by `encode`, ascending by key.
    pub(crate) fn write<E>(
        &mut self,
        mut encode: impl FnMut(&DocumentKey, &Document) -> Result<store::Document, E>,
    ) -> Result<Vec<Written>, E> {
        let mut keys = std::mem::take(&mut self.changed);
        keys.sort_unstable();
        let mut written = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(slot) = self.slots.peek_mut(&key) else { continue };
            let document = slot.document.as_ref().map(|document| encode(&key, document)).transpose()?;
            let bytes = cost(&key, document.as_ref().map_or(0, |document| document.json.len()));
            self.bytes = self.bytes - slot.bytes + bytes;
            slot.bytes = bytes;
            slot.changed = false;
            written.push((key, document));
        }
        Ok(written)
    }

    /// Forgets the documents that were not used for longest, down to the bound. Call it after a save.
    pub(crate) fn evict(&mut self) {
        while self.bytes > self.bytes_max {
            let Some((_, slot)) = self.slots.pop_lru() else { return };
            self.bytes -= slot.bytes;
            self.whole = false;
        }
    }
}

fn cost(key: &DocumentKey, json_bytes: usize) -> usize {
    // Keys are kept twice: in the map and in the list of changes.
    ENTRY_BYTES + 2 * key.key.len() + DECODED_FACTOR * json_bytes
}
