//! Moving from `cqrs-es` (0.5): what is called how here, and what is different.
//!
//! | there | here |
//! |---|---|
//! | `Aggregate` with `handle` (async, events go into a sink) and `apply` | [`Decider`](crate::Decider) with `decide` (pure, not async) and `evolve` |
//! | `Aggregate::Services` | nothing: what a decision needs from elsewhere goes into its command |
//! | `DomainEvent::event_type`, `event_version` | `#[derive(Event)]`, `#[event(prefix = "..")]`; shapes pinned by `annals.lock` |
//! | `EventUpcaster` on JSON | typed upcasts, declared on the variant |
//! | `Query` / `GenericQuery` with a `View` by aggregate id | [`Projection`](crate::Projection) with any key, from any streams |
//! | `CqrsFramework::execute` | [`App::send`](crate::App::send), which answers with a receipt |
//! | optimistic locking error, retried by the caller | retried by deciding again, unless `expect_version` was given |
//! | `TestFramework::given(..).when(..).then_expect_events(..)` | [`given`](crate::prelude::given)`(..).when(..).then(..)` |
//! | PostgreSQL, MySQL or DynamoDB as the event store | one directory, or Apache Kafka |
//! | snapshots switched on by the caller | states are kept in memory, and folded by an index where they are not |
//!
//! An aggregate with its command handler becomes a decider almost line by line:
//!
//! ```
//! use annals::prelude::*;
//!
//! // there: an async `handle(&mut self, command, services, sink)`; here:
//! # #[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
//! # enum BankCommand { Deposit { amount: u64 }, Withdraw { amount: u64, atm: String } }
//! # #[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)] #[event(prefix = "account")]
//! # enum BankEvent { Deposited { amount: u64 }, Withdrawn { amount: u64, atm: String } }
//! # #[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
//! # enum BankError { #[error("funds not available")] NotEnough }
//! # #[derive(Default, Clone, Serialize, Deserialize, JsonSchema, Debug, PartialEq)] struct Account { balance: u64 }
//! # impl Decider for Account {
//! #     const NAME: &'static str = "account"; type Id = String; type Command = BankCommand; type Event = BankEvent; type Refusal = BankError;
//! fn decide(&self, command: &BankCommand, _: &Meta) -> Result<Vec<BankEvent>, BankError> {
//!     match command {
//!         BankCommand::Deposit { amount } => Ok(vec![BankEvent::Deposited { amount: *amount }]),
//!         // Whether the machine has the money is asked before the command is sent, or by a saga after it.
//!         BankCommand::Withdraw { amount, .. } if *amount > self.balance => Err(BankError::NotEnough),
//!         BankCommand::Withdraw { amount, atm } => {
//!             Ok(vec![BankEvent::Withdrawn { amount: *amount, atm: atm.clone() }])
//!         }
//!     }
//! }
//! fn evolve(&mut self, event: &BankEvent) {
//!     match event {
//!         BankEvent::Deposited { amount } => self.balance += amount,
//!         BankEvent::Withdrawn { amount, .. } => self.balance -= amount,
//!     }
//! }
//! # }
//! let deposited = BankEvent::Deposited { amount: 200 };
//! let ask = BankCommand::Withdraw { amount: 201, atm: "ATM34f".into() };
//! given::<Account>([deposited]).when(ask).refused(BankError::NotEnough);
//! ```
//!
//! # What changes in what one may rely on
//!
//! - **Views miss nothing.** A query there is called after the events were stored, and an error in it, or a crash before it,
//!   leaves the view behind for good. A projection here follows the log from a place that is saved with its documents.
//! - **A command can be sent again.** Under a key it has one effect and one answer, for ever.
//! - **Services are gone from decisions.** That is what makes them repeatable: they can be decided again on a conflict, and
//!   replayed. What called a service in `handle` is a saga, whose steps are kept and compensated.
//! - **Other views can be added later**, from all the events there ever were, and changed while they are read.
//!
//! # Bringing the events along
//!
//! There is no importer for its tables. Write the history as commands, one a line, oldest first, each with a key of its own
//! and `occurred_at`, and `annals import` them: every row has one effect, however often the import is broken off.
