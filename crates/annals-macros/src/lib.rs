//! The derives of Annals: [`macro@Event`], [`macro@Events`], [`macro@Command`] and [`macro@Refusal`].
//!
//! They give an enum's variants the names they are stored under and the upcasts of their older shapes; how a value
//! becomes JSON stays serde's matter. The generated code names everything through the facade crate,
//! `::annals::__private`, so a user depends on `annals` alone. A mistake in an attribute is one compiler error at
//! the attribute, and nothing else fails because of it.
//!
//! The crate checks what can be seen in one enum. That two enums of a context do not share a stored name is checked
//! when the context is opened; that a shape did not change without a new version, by the lock file in a test.

mod attributes;
mod events;
mod expand;
mod model;
mod names;
mod serde_attributes;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

use crate::model::Kind;

/// What can happen to an entity.
///
/// ```ignore
/// #[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
/// #[event(prefix = "account")]
/// enum Event {
///     Opened,                                             // stored as "account.opened"
///     LimitRaised { limit: u64 },                         // stored as "account.limit_raised"
///     #[event(name = "account.deposited")]                // renamed in Rust, the stored name stays
///     Credited { amount: u64 },
///     #[event(shape = 3, was(1 = HeldV1, 2 = HeldV2))]    // HeldV1 -> HeldV2 -> Event, by `From`
///     Held { #[event(tag)] transfer: Uuid, amount: u64 }, // can be found by the tag "transfer:<uuid>"
/// }
/// ```
///
/// On the enum: `prefix` (required), `crate` (where `annals-core`'s items are, for crates below the facade). On a
/// variant: `name`, `shape` (from 1) and `was`, which lists a type for each older shape: the payload is read as
/// that type and goes through `From` up to the enum. On a field: `tag`, or `tag = "name"`; an `Option` or `Vec`
/// gives a tag for each value it holds. A tag is called as its field, or as `#[serde(rename)]` on the field says.
#[proc_macro_derive(Event, attributes(event))]
pub fn event(input: TokenStream) -> TokenStream {
    expand::derive(&parse_macro_input!(input as DeriveInput), Kind::Event).into()
}

/// What can be asked of an entity: variants are named in kebab case, `HoldFunds` is `hold-funds`.
///
/// On the enum: `#[command(crate = "path")]`. On a variant: `name`, `shape` and `was`, as for [`macro@Event`]: a
/// saga may have parked a command years ago.
#[proc_macro_derive(Command, attributes(command))]
pub fn command(input: TokenStream) -> TokenStream {
    expand::derive(&parse_macro_input!(input as DeriveInput), Kind::Command).into()
}

/// Why a command may be refused: variants are named in kebab case, `NoSuchAccount` is `no-such-account`.
///
/// On the enum: `#[refusal(crate = "path")]`. On a variant: `name`, `shape` and `was`, as for [`macro@Event`].
#[proc_macro_derive(Refusal, attributes(refusal))]
pub fn refusal(input: TokenStream) -> TokenStream {
    expand::derive(&parse_macro_input!(input as DeriveInput), Kind::Refusal).into()
}

/// The events of several deciders as one type, for projections and sagas that read them together.
///
/// ```ignore
/// #[derive(Events, Clone)]
/// enum BankEvent { Account(account::Event), Market(market::Event) }
/// ```
///
/// Each variant holds one type of events, and gets a `From` of it. On the enum: `#[events(crate = "path")]`.
#[proc_macro_derive(Events, attributes(events))]
pub fn events(input: TokenStream) -> TokenStream {
    events::derive(&parse_macro_input!(input as DeriveInput)).into()
}
