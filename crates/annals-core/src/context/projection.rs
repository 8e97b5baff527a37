//! A projection with its types erased.

use std::any::Any;
use std::marker::PhantomData;

use serde_json::Value;

use super::index::Index;
use crate::codec::{DecodeError, EncodeError};
use crate::event::{Events, Recorded, StoredEvent};
use crate::projection::{Fate, OnBadEvent, Projection};

/// A document of a projection, as its type behind `Any`.
pub type Document = Box<dyn Any + Send>;

/// An event that a projection read, and the keys it goes to.
pub struct Input {
    /// The keys as text, in the order the projection gave them.
    pub keys: Vec<String>,
    typed: Box<dyn Any + Send>,
}

/// A registered projection.
pub trait AnyProjection: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Its revision: another one is another view.
    fn revision(&self) -> u32;
    /// The JSON Schema (2020-12) of its documents.
    fn schema(&self) -> Value;
    /// The fields by which its documents can be found and ordered.
    fn indexes(&self) -> &[Index];
    /// What becomes of an event that cannot be read or projected.
    fn on_bad_event(&self) -> OnBadEvent;
    /// Whether it reads events of this stored name.
    fn wants(&self, event_name: &str) -> bool;
    /// Reads an event and its keys; `None` where it does not read such events.
    fn read(&self, event: &StoredEvent<'_>) -> Option<Result<Input, DecodeError>>;
    /// The document a key starts from.
    fn empty(&self) -> Document;
    /// Reads a document from JSON.
    fn decode(&self, json: &[u8]) -> Result<Document, serde_json::Error>;
    /// Writes a document as JSON.
    fn encode(&self, document: &Document) -> Result<Vec<u8>, EncodeError>;
    /// Takes the event into the document of its `key`-th key.
    fn project(&self, document: &mut Document, key: usize, input: &Input) -> Fate;
    /// Whether `key` can be a key of this view.
    fn is_key(&self, key: &str) -> bool;
}

/// The erased form of `P`.
pub(super) struct Typed<P: Projection> {
    names: Vec<&'static str>,
    indexes: Vec<Index>,
    projection: PhantomData<fn(P)>,
}

impl<P: Projection> Typed<P> {
    /// The erased form; or the path of an index that leads nowhere, and the fields there are.
    pub(super) fn new() -> Result<Self, (String, Vec<String>)> {
        let mut names = P::Input::names();
        names.sort_unstable();
        let indexes = match P::INDEXES {
            [] => Vec::new(),
            paths => Index::all(paths, &schemars::schema_for!(P).to_value())?,
        };
        Ok(Self { names, indexes, projection: PhantomData })
    }
}

struct Read<P: Projection> {
    keys: Vec<P::Key>,
    event: Recorded<P::Input>,
}

impl<P: Projection> AnyProjection for Typed<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn revision(&self) -> u32 {
        P::REVISION
    }

    fn schema(&self) -> Value {
        schemars::schema_for!(P).to_value()
    }

    fn indexes(&self) -> &[Index] {
        &self.indexes
    }

    fn on_bad_event(&self) -> OnBadEvent {
        P::ON_BAD_EVENT
    }

    fn wants(&self, event_name: &str) -> bool {
        self.names.binary_search(&event_name).is_ok()
    }

    fn read(&self, event: &StoredEvent<'_>) -> Option<Result<Input, DecodeError>> {
        Some(event.decode::<P::Input>()?.map(|event| {
            let keys: Vec<P::Key> = P::keys(&event).into_iter().collect();
            Input {
                keys: keys.iter().map(ToString::to_string).collect(),
                typed: Box::new(Read::<P> { keys, event }),
            }
        }))
    }

    fn empty(&self) -> Document {
        Box::new(P::default())
    }

    fn decode(&self, json: &[u8]) -> Result<Document, serde_json::Error> {
        Ok(Box::new(serde_json::from_slice::<P>(json)?))
    }

    fn encode(&self, document: &Document) -> Result<Vec<u8>, EncodeError> {
        let type_name = std::any::type_name::<P>();
        let document = document.downcast_ref::<P>().ok_or(EncodeError::NotAnEnum { type_name })?;
        serde_json::to_vec(document)
            .map_err(|error| EncodeError::Serialize { type_name, reason: error.to_string() })
    }

    fn project(&self, document: &mut Document, key: usize, input: &Input) -> Fate {
        let typed =
            input.typed.downcast_ref::<Read<P>>().and_then(|read| Some((read.keys.get(key)?, &read.event)));
        match (document.downcast_mut::<P>(), typed) {
            (Some(document), Some((key, event))) => document.project(key, event),
            _ => {
                debug_assert!(false, "an input or document of another projection than {}", P::NAME);
                Fate::Keep
            }
        }
    }

    fn is_key(&self, key: &str) -> bool {
        key.parse::<P::Key>().is_ok()
    }
}
