//! What a command does to one entity.
//!
//! A *decider* is a state and two pure functions. `decide` looks at the state and a command and says what happens: some
//! events, nothing, or a refusal. `evolve` takes an event into the state. Neither waits, fails halfway, reads a clock or
//! sees a store, so both are tested by calling them:
//!
//! ```
//! use annals::prelude::*;
//!
//! #[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
//! pub enum Command { Add { title: String }, Finish }
//!
//! #[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
//! #[event(prefix = "task")] // stored as `task.added`, `task.finished`: for years
//! pub enum Event { Added { title: String }, Finished }
//!
//! #[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
//! pub enum Refusal { #[error("there is no such task")] Unknown }
//!
//! #[derive(Default, Clone, Serialize, Deserialize, JsonSchema, Debug, PartialEq)]
//! pub struct Task { title: Option<String>, done: bool }
//!
//! impl Decider for Task {
//!     const NAME: &'static str = "task";
//!     type Id = String;
//!     type Command = Command;
//!     type Event = Event;
//!     type Refusal = Refusal;
//!
//!     fn decide(&self, command: &Command, _: &Meta) -> Result<Vec<Event>, Refusal> {
//!         match command {
//!             Command::Add { .. } if self.title.is_some() => Ok(vec![]), // it is so already
//!             Command::Add { title } => Ok(vec![Event::Added { title: title.clone() }]),
//!             Command::Finish if self.title.is_none() => Err(Refusal::Unknown),
//!             Command::Finish if self.done => Ok(vec![]),
//!             Command::Finish => Ok(vec![Event::Finished]),
//!         }
//!     }
//!     fn evolve(&mut self, event: &Event) {
//!         match event {
//!             Event::Added { title } => self.title = Some(title.clone()),
//!             Event::Finished => self.done = true,
//!         }
//!     }
//! }
//!
//! let added = || Event::Added { title: "write a guide".into() };
//! given::<Task>([added()]).when(Command::Finish).then([Event::Finished]);
//! given::<Task>([]).when(Command::Finish).refused(Refusal::Unknown);
//! ```
//!
//! What is not the entity's to know goes into the command before it is sent: a price, a rate, who is asked. What follows
//! from the events goes out through a saga ([`super::following`]).
//!
//! # One effect, one answer
//!
//! A command may be sent again, after a timeout or a crash, from another process. Under a key it has one effect and one
//! answer for ever, a refusal included:
//!
//! ```
//! # use annals::prelude::*;
//! # #[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug)] enum Ask { Add { by: u32 } }
//! # #[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)] #[event(prefix = "n")] enum Did { Added { by: u32 } }
//! # #[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug)] enum No { #[error("no")] No }
//! # #[derive(Default, Clone, Serialize, Deserialize, JsonSchema)] struct Number { value: u32 }
//! # impl Decider for Number {
//! #     const NAME: &'static str = "number"; type Id = String; type Command = Ask; type Event = Did; type Refusal = No;
//! #     fn decide(&self, Ask::Add { by }: &Ask, _: &Meta) -> Result<Vec<Did>, No> { Ok(vec![Did::Added { by: *by }]) }
//! #     fn evolve(&mut self, Did::Added { by }: &Did) { self.value += by }
//! # }
//! # #[tokio::main(flavor = "multi_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app = annals::context("numbers").decider::<Number>().open("memory:").await?;
//! for _ in 0..3 {
//!     app.send::<Number>("n", Ask::Add { by: 2 }).once("request-7").actor("ann").await?;
//! }
//! assert_eq!(app.state::<Number>("n").await?.value, 2);
//!
//! // Only if nobody else was faster: the answer is `SendError::Conflict` otherwise.
//! app.send::<Number>("n", Ask::Add { by: 1 }).expect_version(1).await?;
//! # Ok(()) }
//! ```
//!
//! Without `expect_version` a conflict is decided again. [`crate::SendError`] says of every answer whether something was
//! done: `OutcomeUnknown` is said where it is not known, and the same key tells.
//!
//! # For years
//!
//! Events are read for as long as the program lives. Their stored names come from `#[event(prefix)]` and the variant, not
//! from Rust's paths; `annals.lock`, checked by [`crate::testkit::lock::check`] in a test, pins the shape of everything
//! that is stored, and an older shape is read by an upcast.
