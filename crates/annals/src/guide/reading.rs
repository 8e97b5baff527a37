//! Views: what is asked, kept ready.
//!
//! A *projection* folds events into documents by key. It may read the events of several deciders, change several
//! documents with one event, and delete some. Documents and the place in the log they are from are saved in one transaction,
//! so a document is always the fold of exactly the events up to there, whatever crashes.
//!
//! ```
//! use annals::prelude::*;
//! # #[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug)] enum Ask { Put { city: String, amount: i64 } }
//! # #[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)] #[event(prefix = "shop")] enum Did { Put { city: String, amount: i64 } }
//! # #[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug)] enum No { #[error("no")] No }
//! # #[derive(Default, Clone, Serialize, Deserialize, JsonSchema)] struct Shop;
//! # impl Decider for Shop {
//! #     const NAME: &'static str = "shop"; type Id = String; type Command = Ask; type Event = Did; type Refusal = No;
//! #     fn decide(&self, Ask::Put { city, amount }: &Ask, _: &Meta) -> Result<Vec<Did>, No> { Ok(vec![Did::Put { city: city.clone(), amount: *amount }]) }
//! #     fn evolve(&mut self, _: &Did) {}
//! # }
//!
//! #[derive(Default, Serialize, Deserialize, JsonSchema, Debug, PartialEq)]
//! struct Sales { city: String, amount: i64 }
//!
//! impl Projection for Sales {
//!     const NAME: &'static str = "sales";
//!     // Fields by which documents are found and ordered.
//!     const INDEXES: &'static [&'static str] = &["city", "amount"];
//!     type Input = Did;
//!     type Key = String;
//!
//!     fn keys(e: &Recorded<Did>) -> impl IntoIterator<Item = String> { [e.meta.id().to_owned()] }
//!     fn project(&mut self, _: &String, e: &Recorded<Did>) -> Fate {
//!         let Did::Put { city, amount } = &e.event;
//!         self.city.clone_from(city);
//!         self.amount += amount;
//!         Fate::Keep
//!     }
//! }
//!
//! # #[tokio::main(flavor = "multi_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app = annals::context("shops").decider::<Shop>().projection::<Sales>().open("memory:").await?;
//! let put = |city: &str, amount| Ask::Put { city: city.into(), amount };
//! app.send::<Shop>("one", put("Bonn", 5)).await?;
//! let receipt = app.send::<Shop>("two", put("Bonn", 9)).await?;
//!
//! // Views follow the log a moment behind. With the receipt of a command one reads one's own write:
//! let two = app.view::<Sales>("two").after(&receipt).within(secs(5)).await?;
//! assert_eq!(two.map(|sales| sales.amount), Some(9));
//! let best = app.list::<Sales>().equal("city", "Bonn").order("-amount").limit(1).await?;
//! assert_eq!(best.documents[0].0, "two");
//! # Ok(()) }
//! ```
//!
//! # When it changes
//!
//! Raise [`crate::Projection::REVISION`] when `keys` or `project` changes. The new program serves the documents of the
//! revision before, folds the new ones beside them from the log's beginning, and changes over when they have caught up.
//! Until then [`crate::ViewState::Older`] tells, and a read that asks for a newer receipt is answered
//! [`crate::ViewError::Behind`].
//!
//! # When an event is bad
//!
//! An event whose shape is wrong, or at which `project` panics, stops the view: nothing is left out silently. With
//! `const ON_BAD_EVENT: OnBadEvent = OnBadEvent::Park` its stream is parked instead, with all later events of it, in order,
//! until a person retries or drops it (`annals view aside, retry, drop-event`); with `OnBadEvent::Skip` it is left out on
//! record.
