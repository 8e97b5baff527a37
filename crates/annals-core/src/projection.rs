//! The read side of the model: projections fold events into documents by key.

use crate::decider::{Id, Stored};
use crate::event::{Events, Recorded};

/// A read model: one document per key, folded from events of any streams.
///
/// The default document is what a key starts from. `keys` and `project` are pure and never refuse.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a projection",
    note = "implement annals::Projection for it"
)]
pub trait Projection: Default + Stored {
    /// The view's name: lower case, `-` or `_` between words.
    const NAME: &'static str;
    /// Raise it when `keys` or `project` changes: the view is built anew beside the one that is read, which it replaces
    /// when it has caught up.
    const REVISION: u32 = 1;
    /// Fields of the document by which documents can be found and ordered: names separated by dots, such as
    /// `"owner.city"`. Raise [`Projection::REVISION`] when they change.
    const INDEXES: &'static [&'static str] = &[];
    /// What becomes of an event that cannot be read, or at which `keys` or `project` panics.
    const ON_BAD_EVENT: OnBadEvent = OnBadEvent::Stop;
    /// The events it reads.
    type Input: Events;
    /// What a document is found by.
    type Key: Id;

    /// The keys whose documents this event changes; none when it does not matter.
    fn keys(e: &Recorded<Self::Input>) -> impl IntoIterator<Item = Self::Key>;

    /// Takes the event into the document of one of its keys.
    fn project(&mut self, key: &Self::Key, e: &Recorded<Self::Input>) -> Fate;
}

/// What a view does about an event that cannot be read, or at which its projection panics. Nothing is left out
/// silently: what is set aside is kept in the view's store, and listed.
///
/// An event of a type that the context does not know, and a record that is damaged, always stop the view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadEvent {
    /// The view stands still until a person has corrected what is wrong.
    #[default]
    Stop,
    /// The event's stream is parked: this event and all later ones of the stream wait, in order, until they are retried
    /// or dropped; the view goes on with the others. For projections whose documents do not depend on how streams
    /// interleave.
    Park,
    /// The event is left out, and recorded.
    Skip,
}

/// What becomes of a document after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Keep,
    /// It is removed; a later event starts from the default again.
    Delete,
}
