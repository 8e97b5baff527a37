//! The past, the way back, and what would have been.
//!
//! Every state there ever was can be asked for, by version or by time; so can a document of a view. What happened is never
//! changed: an entity goes back by events that its decider gives and that are appended, so that both the past and the
//! rollback can be seen.
//!
//! ```
//! use annals::prelude::*;
//! use annals::At;
//! # #[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug)] enum Ask { Set { to: i64 } }
//! #[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
//! #[event(prefix = "dial")]
//! enum Turned { Set { to: i64 } }
//! # #[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug)] enum No { #[error("no")] No }
//!
//! #[derive(Default, Clone, Serialize, Deserialize, JsonSchema, Debug, PartialEq)]
//! struct Dial { at: i64 }
//!
//! impl Decider for Dial {
//! #     const NAME: &'static str = "dial"; type Id = String; type Command = Ask; type Event = Turned; type Refusal = No;
//! #     fn decide(&self, Ask::Set { to }: &Ask, _: &Meta) -> Result<Vec<Turned>, No> { Ok(vec![Turned::Set { to: *to }]) }
//! #     fn evolve(&mut self, Turned::Set { to }: &Turned) { self.at = *to }
//!     // .. and beside `decide` and `evolve`:
//!     fn roll_back(&self, earlier: &Self, _: &Meta) -> Option<Result<Vec<Turned>, No>> {
//!         let back = (self.at != earlier.at).then_some(Turned::Set { to: earlier.at });
//!         Some(Ok(back.into_iter().collect()))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "multi_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app = annals::context("dials").decider::<Dial>().open("memory:").await?;
//! for to in [3, 8, 5] {
//!     app.send::<Dial>("d", Ask::Set { to }).await?;
//! }
//! assert_eq!(app.state::<Dial>("d").at_version(2).await?.at, 8);
//! let difference = app.difference::<Dial>("d", At::Version(1), At::Now).await?;
//! assert_eq!((difference.changes[0].path.as_str(), difference.events.len()), ("/at", 2));
//!
//! // What would be, had the last event not happened? Nothing is written.
//! let what_if = app.what_if::<Dial>("d").without(3).await?;
//! assert_eq!(what_if.other.state["at"], 8);
//!
//! // And back, after a look at what that means.
//! let preview = app.preview_rollback::<Dial>("d", 2).await?;
//! assert!(preview.remaining.is_empty());
//! app.roll_back::<Dial>("d", 2).actor("ann").reason("a slip").expect_version(preview.version).await?;
//! assert_eq!(app.state::<Dial>("d").await?.at, 8);
//! assert_eq!(app.state::<Dial>("d").at_version(3).await?.at, 5);
//! # Ok(()) }
//! ```
//!
//! `app.view::<P>(key).at(time)` is a document as it was: folded from the log for that answer, which takes as long as the
//! log is. On the command line: `annals state --version|--at`, `diff`, `what-if`, `rollback --preview`, `view get --at`.
