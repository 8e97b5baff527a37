//! What happens next: in the same log, by a saga; elsewhere, by a subscription or a consumer.
//!
//! A *saga* takes events, and the outcomes of commands it sent, and says what is to be sent. Its state, its steps and its
//! deadlines are in the log, so a crash neither loses nor doubles one:
//!
//! ```
//! use annals::prelude::*;
//! # #[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug)] enum Ask { Give { to: String }, Take }
//! # #[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)] #[event(prefix = "box")] enum Did { Given { to: String }, Taken }
//! # #[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug)] enum No { #[error("no")] No }
//! # #[derive(Default, Clone, Serialize, Deserialize, JsonSchema)] struct Crate { taken: u32 }
//! # impl Decider for Crate {
//! #     const NAME: &'static str = "box"; type Id = String; type Command = Ask; type Event = Did; type Refusal = No;
//! #     fn decide(&self, ask: &Ask, _: &Meta) -> Result<Vec<Did>, No> { Ok(vec![match ask { Ask::Give { to } => Did::Given { to: to.clone() }, Ask::Take => Did::Taken }]) }
//! #     fn evolve(&mut self, did: &Did) { if *did == Did::Taken { self.taken += 1 } }
//! # }
//!
//! #[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
//! struct Haul;
//!
//! impl Saga for Haul {
//!     const NAME: &'static str = "haul";
//!     type Key = String;
//!     type Input = Did;
//!     type Step = ();
//!     type Timer = ();
//!
//!     /// An instance for each gift.
//!     fn key(e: &Recorded<Did>) -> Option<String> {
//!         matches!(e.event, Did::Given { .. }).then(|| format!("{}-{}", e.meta.id(), e.meta.version))
//!     }
//!     fn react(&mut self, signal: Signal<'_, Self>, out: &mut Outbox<Self>) {
//!         match signal {
//!             Signal::Event(Recorded { event: Did::Given { to }, .. }) => {
//!                 out.send::<Crate>((), to.clone(), Ask::Take);
//!                 out.after(mins(15), ()); // and if there is no answer by then?
//!             }
//!             Signal::Accepted(()) | Signal::Refused((), _) => { out.cancel(&()); out.finish() }
//!             _ => {}
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "multi_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app = annals::context("boxes").decider::<Crate>().saga::<Haul>().open("memory:").await?;
//! app.send::<Crate>("a", Ask::Give { to: "b".into() }).await?;
//! app.settle().await?; // until sagas and views have nothing left to do but timers
//! assert_eq!(app.state::<Crate>("b").await?.taken, 1);
//!
//! // Everything, from the beginning, and then what comes:
//! let mut events = app.subscribe().types(["box.taken"]).start()?;
//! let taken = events.next().await.expect("it goes on")?;
//! assert_eq!(taken.show().map(|event| event.stream).as_deref(), Some("box/b"));
//!
//! // A handler that remembers where it is. It may be run again with an event that it has handled, after a crash: what it
//! // sends under the event's key has one effect.
//! let sender = app.clone();
//! let running = app.consumer("thanks").types(["box.taken"]).run(move |event| {
//!     sender.send::<Crate>("thanks", Ask::Take).once(event.key("thanks")).wait().map(drop)
//! })?;
//! while app.state::<Crate>("thanks").await?.taken == 0 {}
//! running.stop();
//! # Ok(()) }
//! ```
//!
//! A saga's commands stay inside its context, and are in its history; a consumer reaches anything and promises less: its
//! handler is run at least once.
