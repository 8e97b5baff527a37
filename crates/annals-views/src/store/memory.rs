//! Views in memory: for tests, and for reading where nothing may be written.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use annals_core::{Position, Tenant};
use parking_lot::RwLock;

use super::query::Found;
use super::{
    Build, Change, Document, DocumentKey, Layout, Page, Positions, Query, SetAside, Stage, StoreError,
    ViewId, ViewStore, Why, check_layout, check_positions,
};

/// Keeps views in memory. They end with it.
#[derive(Debug, Default)]
pub struct MemoryStore {
    views: RwLock<BTreeMap<ViewId, View>>,
}

#[derive(Debug)]
struct View {
    stage: Stage,
    layout: Layout,
    /// By tenant, then by key: what a list walks.
    documents: BTreeMap<Option<Tenant>, BTreeMap<String, Document>>,
    positions: Positions,
    set_aside: BTreeMap<Position, SetAside>,
}

impl View {
    fn new(layout: Layout) -> Self {
        let (documents, positions, set_aside) = (BTreeMap::new(), Positions::new(), BTreeMap::new());
        Self { stage: Stage::Building, layout, documents, positions, set_aside }
    }

    fn get(&self, tenant: Option<&Tenant>, key: &str) -> Option<Vec<u8>> {
        Some(self.documents.get(&tenant.cloned())?.get(key)?.json.clone())
    }

    fn put(&mut self, key: &DocumentKey, document: Option<&Document>) {
        let documents = self.documents.entry(key.tenant.clone()).or_default();
        match document {
            Some(document) => documents.insert(key.key.clone(), document.clone()),
            None => documents.remove(&key.key),
        };
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All documents of a view, ordered by tenant and key.
    #[must_use]
    pub fn documents(&self, view: &ViewId) -> Vec<(DocumentKey, Vec<u8>)> {
        self.scan(view, None, usize::MAX).unwrap_or_default()
    }
}

impl ViewStore for MemoryStore {
    fn create(&self, view: &ViewId, layout: &Layout) -> Result<(), StoreError> {
        let mut views = self.views.write();
        let kept = views.entry(view.clone()).or_insert_with(|| View::new(layout.clone()));
        check_layout(view, &kept.layout, layout)
    }

    fn positions(&self, view: &ViewId) -> Result<Positions, StoreError> {
        Ok(self.views.read().get(view).map(|view| view.positions.clone()).unwrap_or_default())
    }

    fn load(&self, view: &ViewId, keys: &[DocumentKey]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let views = self.views.read();
        let view = views.get(view);
        let get = |key: &DocumentKey| view.and_then(|view| view.get(key.tenant.as_ref(), &key.key));
        Ok(keys.iter().map(get).collect())
    }

    fn save(&self, view: &ViewId, change: &Change) -> Result<(), StoreError> {
        let mut views = self.views.write();
        let saved = views.get(view).map(|view| view.positions.as_slice()).unwrap_or_default();
        check_positions(view, change, saved)?;
        let kept = views.get_mut(view).ok_or_else(|| StoreError::Missing { view: view.clone() })?;
        for (key, document) in &change.documents {
            kept.put(key, document.as_ref());
        }
        for event in &change.set_aside {
            kept.set_aside.insert(event.position, event.clone());
        }
        for position in &change.taken_in {
            kept.set_aside.remove(position);
        }
        kept.positions.clone_from(&change.to);
        Ok(())
    }

    fn get(&self, view: &ViewId, tenant: Option<&Tenant>, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.views.read().get(view).and_then(|view| view.get(tenant, key)))
    }

    fn list(&self, view: &ViewId, query: &Query<'_>) -> Result<Page, StoreError> {
        let views = self.views.read();
        let Some(documents) = views.get(view).and_then(|view| view.documents.get(&query.tenant.cloned()))
        else {
            return Ok(Page::default());
        };
        let place = |key: &str, document: &Document| {
            let value =
                query.order.index.map(|index| document.values.get(index).cloned().unwrap_or_default());
            (value, key.to_owned())
        };
        let after = query.after.map(|after| (after.value.clone(), after.key.clone()));
        let is_beyond = |place: &(Option<_>, String)| match &after {
            None => true,
            Some(after) if query.order.descending => place < after,
            Some(after) => place > after,
        };
        let mut found: Vec<_> = documents
            .range::<str, _>((Bound::Included(query.prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(query.prefix))
            .filter(|(_, document)| query.filters.iter().all(|filter| filter.admits(&document.values)))
            .map(|(key, document)| (place(key, document), document))
            .filter(|(place, _)| is_beyond(place))
            .collect();
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        if query.order.descending {
            found.reverse();
        }
        let found = found.into_iter().take(query.limit() + 1);
        let found = found.map(|((value, key), document)| Found { key, value, json: document.json.clone() });
        Ok(query.page(found.collect()))
    }

    fn set_aside(
        &self,
        view: &ViewId,
        stream: Option<&str>,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<SetAside>, StoreError> {
        let views = self.views.read();
        let events = views.get(view).into_iter().flat_map(|view| view.set_aside.values());
        let wanted = |event: &&SetAside| {
            stream.is_none_or(|stream| event.stream == stream)
                && after.is_none_or(|after| event.position > after)
        };
        Ok(events.filter(wanted).take(limit).cloned().collect())
    }

    fn parked_streams(&self, view: &ViewId) -> Result<Vec<String>, StoreError> {
        let views = self.views.read();
        let events = views.get(view).into_iter().flat_map(|view| view.set_aside.values());
        let streams = events.filter(|event| event.why != Why::Skipped).map(|event| event.stream.clone());
        Ok(streams.collect::<BTreeSet<String>>().into_iter().collect())
    }

    fn scan(
        &self,
        view: &ViewId,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Vec<u8>)>, StoreError> {
        let views = self.views.read();
        let tenants = views.get(view).into_iter().flat_map(|view| &view.documents);
        let documents = tenants.flat_map(|(tenant, documents)| {
            documents.iter().map(|(key, document)| {
                (DocumentKey { tenant: tenant.clone(), key: key.clone() }, document.json.clone())
            })
        });
        Ok(documents.filter(|(key, _)| after.is_none_or(|after| key > after)).take(limit).collect())
    }

    fn count(&self, view: &ViewId) -> Result<u64, StoreError> {
        let views = self.views.read();
        Ok(views.get(view).map_or(0, |view| view.documents.values().map(|tenant| tenant.len() as u64).sum()))
    }

    fn builds(&self) -> Result<Vec<Build>, StoreError> {
        let views = self.views.read();
        let build = |(view, kept): (&ViewId, &View)| Build {
            view: view.clone(),
            stage: kept.stage,
            layout: kept.layout.clone(),
        };
        Ok(views.iter().map(build).collect())
    }

    fn promote(&self, view: &ViewId) -> Result<(), StoreError> {
        let mut views = self.views.write();
        if !views.contains_key(view) {
            return Err(StoreError::Missing { view: view.clone() });
        }
        for (other, kept) in views.iter_mut().filter(|(other, _)| other.name == view.name) {
            if other == view {
                kept.stage = Stage::Live;
            } else if kept.stage == Stage::Live {
                kept.stage = Stage::Kept;
            }
        }
        Ok(())
    }

    fn drop_view(&self, view: &ViewId) -> Result<(), StoreError> {
        self.views.write().remove(view);
        Ok(())
    }
}
