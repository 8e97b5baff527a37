//! Given a view, events, then documents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use annals_core::{Fate, Recorded, StreamName, Timestamp};

use crate::check::{TestProjection, fail, json, must, same, survives};
use crate::scene::{self, Recorder};

/// How many interleavings [`GivenView::in_any_order`] tries.
const INTERLEAVINGS: u64 = 64;

/// Begins with an empty view.
#[must_use]
pub fn given_view<P: TestProjection>() -> GivenView<P> {
    GivenView {
        recorder: Recorder::default(),
        recorded_at: scene::still(),
        occurred_at: None,
        actor: None,
        past: Vec::new(),
        documents: BTreeMap::new(),
    }
}

/// A view, the events it has read, and what is around the next ones.
#[derive(Debug)]
pub struct GivenView<P: TestProjection> {
    recorder: Recorder,
    recorded_at: Timestamp,
    occurred_at: Option<Timestamp>,
    actor: Option<Arc<str>>,
    past: Vec<Recorded<P::Input>>,
    documents: BTreeMap<String, P>,
}

impl<P: TestProjection> GivenView<P> {
    /// When the next events are recorded; 2026-01-01T00:00:00Z unless a test says otherwise.
    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.recorded_at = at;
        self
    }

    /// When the next events happened in the world.
    #[must_use]
    pub fn occurred_at(mut self, at: Timestamp) -> Self {
        self.occurred_at = Some(at);
        self
    }

    /// Who caused the next events.
    #[must_use]
    pub fn actor(mut self, actor: &str) -> Self {
        self.actor = Some(Arc::from(actor));
        self
    }

    /// Reads an event of the stream of that full name: `account/ann`.
    #[must_use]
    #[track_caller]
    pub fn event(mut self, stream: &str, event: impl Into<P::Input>) -> Self {
        let mut event = self.recorder.record(stream, &event.into());
        event.meta.recorded_at = self.recorded_at;
        event.meta.occurred_at = self.occurred_at;
        event.meta.actor.clone_from(&self.actor);
        read(&mut self.documents, &event);
        self.past.push(event);
        self
    }

    /// Reads several events of one stream.
    #[must_use]
    #[track_caller]
    pub fn events<E: Into<P::Input>>(self, stream: &str, events: impl IntoIterator<Item = E>) -> Self {
        let mut view = self;
        for event in events {
            view = view.event(stream, event);
        }
        view
    }

    /// There is exactly this document under that key.
    #[track_caller]
    pub fn document(self, key: impl Into<P::Key>, expected: P) -> Self {
        let key = key.into().to_string();
        let expected = survives("the expected document", &expected);
        match self.documents.get(&key) {
            Some(found) => same(&format!("another document under {key:?}"), &expected, found, json),
            None => fail(&format!("no document under {key:?}; there are {:?}", self.all_keys())),
        }
        self
    }

    /// There is a document under that key; looks at it.
    #[track_caller]
    pub fn then(self, key: impl Into<P::Key>, look: impl FnOnce(&P)) -> Self {
        let key = key.into().to_string();
        match self.documents.get(&key) {
            Some(found) => look(found),
            None => fail(&format!("no document under {key:?}; there are {:?}", self.all_keys())),
        }
        self
    }

    /// There is no document under that key.
    #[track_caller]
    pub fn absent(self, key: impl Into<P::Key>) -> Self {
        let key = key.into().to_string();
        if let Some(found) = self.documents.get(&key) {
            fail(&format!("expected no document under {key:?}\nfound: {:#}", json(found)));
        }
        self
    }

    /// There are documents under exactly these keys.
    #[track_caller]
    pub fn keys<K: Into<P::Key>>(self, expected: impl IntoIterator<Item = K>) -> Self {
        let expected: BTreeSet<String> = expected.into_iter().map(|key| key.into().to_string()).collect();
        let found: BTreeSet<String> = self.documents.keys().cloned().collect();
        if expected != found {
            fail(&format!("other documents than expected\nexpected: {expected:?}\nfound: {found:?}"));
        }
        self
    }

    /// The documents are the same however the streams are interleaved, each stream in its own order: what a
    /// projection over several shards must hold. Tries 64 interleavings, the same ones every time.
    #[track_caller]
    pub fn in_any_order(self) -> Self {
        for seed in 1..=INTERLEAVINGS {
            let mut documents = BTreeMap::new();
            for event in interleaved(&self.past, seed) {
                read::<P>(&mut documents, event);
            }
            let differs = documents.len() != self.documents.len()
                || documents.iter().any(|(key, document)| self.documents.get(key) != Some(document));
            if differs {
                let order = interleaved(&self.past, seed).into_iter().map(|e| e.meta.stream.as_str());
                let order: Vec<&str> = order.collect();
                fail(&format!(
                    "the documents depend on how streams are interleaved; in the order {order:?}\n\
                     expected: {:#?}\nfound: {documents:#?}",
                    self.documents
                ));
            }
        }
        self
    }

    fn all_keys(&self) -> Vec<&String> {
        self.documents.keys().collect()
    }
}

#[track_caller]
fn read<P: TestProjection>(documents: &mut BTreeMap<String, P>, event: &Recorded<P::Input>) {
    let keys: Vec<P::Key> = P::keys(event).into_iter().collect();
    if keys != P::keys(event).into_iter().collect::<Vec<_>>() {
        fail("keys is not pure: asked twice, it gave two answers");
    }
    for key in keys {
        let text = key.to_string();
        if text.parse::<P::Key>().ok().as_ref() != Some(&key) {
            fail(&format!("the key {key:?} does not survive being stored as {text:?}"));
        }
        let mut document = documents.remove(&text).unwrap_or_default();
        match document.project(&key, event) {
            Fate::Keep => drop(documents.insert(text, survives("the document", &document))),
            Fate::Delete => {}
        }
    }
}

/// The events in another order that keeps the order of each stream, by a seed.
fn interleaved<E>(events: &[Recorded<E>], seed: u64) -> Vec<&Recorded<E>> {
    let mut queues: BTreeMap<&StreamName, std::collections::VecDeque<&Recorded<E>>> = BTreeMap::new();
    for event in events {
        queues.entry(&event.meta.stream).or_default().push_back(event);
    }
    let mut queues: Vec<_> = queues.into_values().collect();
    let mut random = must("a seed is not 0", std::num::NonZeroU64::try_from(seed)).get();
    let mut order = Vec::with_capacity(events.len());
    while !queues.is_empty() {
        // Xorshift (Marsaglia 2003): enough to shuffle a test, and it needs no library.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let chosen = usize::try_from((random >> 16) % queues.len() as u64).unwrap_or(0);
        order.extend(queues.get_mut(chosen).and_then(std::collections::VecDeque::pop_front));
        queues.retain(|queue| !queue.is_empty());
    }
    order
}
