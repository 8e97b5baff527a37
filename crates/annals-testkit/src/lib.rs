//! Given/when/then for everything a user of Annals writes: deciders, projections and sagas.
//!
//! The tests it is for read as sentences and need no log, no clock and no runtime:
//!
//! ```
//! # use annals_core::{Decider, Meta};
//! # use annals_macros::{Command, Event, Refusal};
//! # use schemars::JsonSchema;
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
//! # #[event(prefix = "account", crate = "annals_core")]
//! # enum Event { Deposited { amount: u64 }, Withdrawn { amount: u64 } }
//! # #[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
//! # #[command(crate = "annals_core")]
//! # enum Command { Withdraw { amount: u64 } }
//! # #[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
//! # #[refusal(crate = "annals_core")]
//! # enum Refusal { #[error("the account is {short} short")] Overdrawn { short: u64 } }
//! # #[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
//! # struct Account { balance: u64 }
//! # impl Decider for Account {
//! #     const NAME: &'static str = "account";
//! #     type Id = String;
//! #     type Command = Command;
//! #     type Event = Event;
//! #     type Refusal = Refusal;
//! #     fn decide(&self, Command::Withdraw { amount }: &Command, _: &Meta) -> Result<Vec<Event>, Refusal> {
//! #         match amount.saturating_sub(self.balance) {
//! #             0 => Ok(vec![Event::Withdrawn { amount: *amount }]),
//! #             short => Err(Refusal::Overdrawn { short }),
//! #         }
//! #     }
//! #     fn evolve(&mut self, event: &Event) {
//! #         match event {
//! #             Event::Deposited { amount } => self.balance += amount,
//! #             Event::Withdrawn { amount } => self.balance -= amount,
//! #         }
//! #     }
//! # }
//! use annals_testkit::given;
//!
//! given::<Account>([Event::Deposited { amount: 5 }])
//!     .when(Command::Withdraw { amount: 6 })
//!     .refused(Refusal::Overdrawn { short: 1 })
//!     .when(Command::Withdraw { amount: 4 })
//!     .then([Event::Withdrawn { amount: 4 }])
//!     .then_state(|account| assert_eq!(account.balance, 1));
//! ```
//!
//! [`given_view`] does the same for projections (`.event("account/ann", ..).document("ann", ..)`), [`given_saga`]
//! for sagas (`.when_accepted(..).sends::<Account>(..).finishes()`), [`lock`] holds stored shapes still.
//!
//! What it checks without being asked: every event, command, refusal, state, document, step and timer that
//! passes through is written as it would be stored and read back, and a value that comes back changed fails the
//! test. `decide`, `keys` and `react` are asked twice and must answer alike, because they are pure.
//!
//! A failed check panics, as tests do, with the differences by path and both sides as JSON.
//!
//! It is not a place to run a whole application: open a context on the memory log for that.

mod check;
mod decider;
mod diff;
pub mod lock;
mod saga;
mod scene;
mod view;

pub use check::{Compared, TestDecider, TestProjection, TestSaga};
pub use decider::{Given, When, given};
pub use saga::{GivenSaga, Heard, Reacted, given_saga};
pub use view::{GivenView, given_view};
