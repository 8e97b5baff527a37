//! The lock: the shapes of everything that is stored for years, pinned in a text file beside the code.
//!
//! [`Lock::of`] takes the present shapes from a context's JSON Schemas, [`Lock::parse`] reads the file, and
//! [`Lock::compare`] tells what changed in between and whether old data can still be read. Nested types count, Rust
//! names and doc comments do not. Projections are not pinned: they are rebuilt. Shapes that were superseded stay in
//! the file as history.
//!
//! Nothing here touches a file; `annals-testkit` does, in a test.

mod compare;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

pub use compare::{Change, ChangeKind, LineChange};
pub use text::LockSyntax;

use crate::Context;
use crate::codec::Variant;
use crate::context::{AnyDecider, AnySaga};
use crate::schema::{self, Line};

/// The shapes of a context, or of a lock file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    entries: BTreeMap<Entry, Shape>,
}

/// What a shape belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Which kind of thing it is.
    pub part: Part,
    /// The stored name: `account.opened` of an event, `account/open` of a command or refusal, and the saga's name
    /// of its parts.
    pub name: String,
    /// The version of its shape.
    pub shape: u32,
}

/// The kinds of things that are stored for years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A decider's event.
    Event,
    /// A decider's command: sagas park them.
    Command,
    /// A decider's refusal: the answer to a command with a key.
    Refusal,
    /// A saga's state.
    State,
    /// What a saga calls the commands it sends.
    Step,
    /// What a saga calls its timers.
    Timer,
}

impl Part {
    const ALL: [Self; 6] = [Self::Event, Self::Command, Self::Refusal, Self::State, Self::Step, Self::Timer];

    fn word(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Command => "command",
            Self::Refusal => "refusal",
            Self::State => "state",
            Self::Step => "step",
            Self::Timer => "timer",
        }
    }

    /// Whether it belongs to a saga; these have no shape versions.
    #[must_use]
    pub fn is_of_saga(self) -> bool {
        matches!(self, Self::State | Self::Step | Self::Timer)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.part.word(), self.name, self.shape)
    }
}

/// One pinned shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shape {
    /// The older shapes that the program has upcasts for.
    reads: BTreeSet<u32>,
    lines: BTreeMap<String, Line>,
}

/// A context whose shapes cannot be pinned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// Let schemars see the variant as serde does: remove the `#[schemars(..)]` attribute that differs.
    #[error(
        "the JSON Schema of {entry} does not hold it; remove the #[schemars(..)] attribute that hides or renames it"
    )]
    NotInSchema {
        /// What is missing.
        entry: Entry,
    },
}

impl Lock {
    /// The shapes of a context as its types have them now.
    pub fn of(context: &Context) -> Result<Self, ShapeError> {
        let mut lock = Self::default();
        for decider in context.deciders().values() {
            lock.add_decider(decider.as_ref())?;
        }
        for saga in context.sagas().values() {
            lock.add_saga(saga.as_ref());
        }
        Ok(lock)
    }

    /// What it pins, in order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.keys()
    }

    /// What changed from `old`, the lock file, to `new`, the present shapes.
    #[must_use]
    pub fn compare(old: &Self, new: &Self) -> Vec<Change> {
        compare::compare(old, new)
    }

    /// These shapes together with the superseded ones that `old` holds of the same names.
    #[must_use]
    pub fn with_history_of(mut self, old: &Self) -> Self {
        for (entry, shape) in &old.entries {
            if self.newest(entry).is_some_and(|newest| entry.shape < newest.shape) {
                self.entries.entry(entry.clone()).or_insert_with(|| shape.clone());
            }
        }
        self
    }

    /// The newest shape of what `entry` is a shape of.
    fn newest(&self, entry: &Entry) -> Option<&Entry> {
        let oldest = Entry { shape: 0, ..entry.clone() };
        let youngest = Entry { shape: u32::MAX, ..entry.clone() };
        self.entries.range(oldest..=youngest).next_back().map(|(entry, _)| entry)
    }

    fn add_decider(&mut self, decider: &dyn AnyDecider) -> Result<(), ShapeError> {
        let (schemas, upcasts) = (decider.schemas(), decider.upcasts());
        let owned = |name: &str| format!("{}/{name}", decider.name());
        self.add(Part::Event, decider.events(), &schemas.events, &upcasts.events, str::to_owned)?;
        self.add(Part::Command, decider.commands(), &schemas.commands, &upcasts.commands, owned)?;
        self.add(Part::Refusal, decider.refusals(), &schemas.refusals, &upcasts.refusals, owned)
    }

    fn add(
        &mut self,
        part: Part,
        variants: &[Variant],
        schema: &Value,
        upcasts: &[Vec<u32>],
        name: impl Fn(&str) -> String,
    ) -> Result<(), ShapeError> {
        let schema = schema::inline(schema);
        for (variant, reads) in variants.iter().zip(upcasts) {
            let entry = Entry { part, name: name(variant.name), shape: variant.shape };
            let Some(fields) = schema::variant_schema(&schema, variant.serde_name) else {
                return Err(ShapeError::NotInSchema { entry });
            };
            let shape = Shape { reads: reads.iter().copied().collect(), lines: schema::lines(fields) };
            self.entries.insert(entry, shape);
        }
        Ok(())
    }

    fn add_saga(&mut self, saga: &dyn AnySaga) {
        let [(_, state), (_, step), (_, timer)] = saga.schemas();
        for (part, schema) in [(Part::State, state), (Part::Step, step), (Part::Timer, timer)] {
            let lines = schema::lines(&schema::inline(&schema));
            let entry = Entry { part, name: saga.name().to_owned(), shape: 1 };
            self.entries.insert(entry, Shape { reads: BTreeSet::new(), lines });
        }
    }
}

#[cfg(test)]
mod tests;
