//! Counters: the smallest program that has a decider, a projection and a command line.

use std::process::ExitCode;

use annals::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What can be asked of a counter.
#[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub enum Command {
    /// Counts further.
    Add {
        /// By how much.
        amount: u64,
    },
    /// Begins at 0 again.
    Reset,
}

/// What can happen to a counter.
#[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[event(prefix = "counter")]
pub enum Event {
    /// It counted.
    Added {
        /// By how much.
        amount: u64,
    },
    /// It is at 0 again.
    Reset,
}

/// Why a counter may say no.
#[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub enum Refusal {
    /// Add less.
    #[error("{0} is too much at once")]
    TooMuch(u64),
}

/// A counter.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Counter {
    value: u64,
}

impl Decider for Counter {
    const NAME: &'static str = "counter";
    type Id = String;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, _: &Meta) -> Result<Vec<Event>, Refusal> {
        match command {
            Command::Add { amount } if *amount > 100 => Err(Refusal::TooMuch(*amount)),
            Command::Add { amount } => Ok(vec![Event::Added { amount: *amount }]),
            Command::Reset if self.value == 0 => Ok(vec![]),
            Command::Reset => Ok(vec![Event::Reset]),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Added { amount } => self.value += amount,
            Event::Reset => self.value = 0,
        }
    }
}

/// How much each counter ever counted, resets or not.
#[derive(Default, Serialize, Deserialize, JsonSchema, Debug, PartialEq)]
pub struct Total {
    amount: u64,
}

impl Projection for Total {
    const NAME: &'static str = "total";
    type Input = Event;
    type Key = String;

    fn keys(e: &Recorded<Event>) -> impl IntoIterator<Item = String> {
        [e.meta.id().to_owned()]
    }

    fn project(&mut self, _: &String, e: &Recorded<Event>) -> Fate {
        if let Event::Added { amount } = &e.event {
            self.amount += amount;
        }
        Fate::Keep
    }
}

fn main() -> ExitCode {
    annals::cli::run([context("counters").decider::<Counter>().projection::<Total>()])
}
