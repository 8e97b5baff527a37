//! An account that can do everything a test needs, and a saga that does what a plan tells it.

use std::collections::BTreeMap;
use std::time::Duration;

use annals_core::{Decider, Meta, Outbox, Recorded, Saga, Signal};
use annals_macros::{Command, Event, Refusal};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

#[derive(Default, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Account {
    pub(crate) total: u64,
}

#[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug)]
#[command(crate = "annals_core")]
pub(crate) enum Command {
    /// Adds.
    Add { by: u64 },
    /// Takes; refused where there is not enough.
    Take { by: u64 },
    /// Adds in several events.
    AddMany { times: u32, by: u64 },
    /// Brings the total to a number; nothing happens where it is there.
    Reach { total: u64 },
    /// Records that many bytes.
    Write { bytes: usize },
    /// Panics while deciding if the total is at least this.
    PanicFrom { total: u64 },
    /// Adds, then panics while evolving.
    AddAndPanic { by: u64 },
    /// Begins a plan.
    Begin { plan: Plan },
    /// Tells a running plan something.
    Nudge { run: String, with: String },
    /// Can be written and not read.
    Odd {
        #[serde(deserialize_with = "unreadable")]
        text: String,
    },
}

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[event(prefix = "account", crate = "annals_core")]
pub(crate) enum Event {
    Added { by: u64 },
    Taken { by: u64 },
    Written { text: String },
    Bomb { by: u64 },
    Begun { plan: Plan },
    Nudged { run: String, with: String },
}

#[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[refusal(crate = "annals_core")]
pub(crate) enum No {
    #[error("there are {left} only")]
    Short { left: u64 },
}

impl Decider for Account {
    const NAME: &'static str = "account";
    type Id = String;
    type Command = Command;
    type Event = Event;
    type Refusal = No;

    fn decide(&self, command: &Command, _: &Meta) -> Result<Vec<Event>, No> {
        Ok(match command.clone() {
            Command::Add { by } => vec![Event::Added { by }],
            Command::Take { by } if by > self.total => return Err(No::Short { left: self.total }),
            Command::Take { by } => vec![Event::Taken { by }],
            Command::AddMany { times, by } => (0..times).map(|_| Event::Added { by }).collect(),
            Command::Reach { total } if total == self.total => Vec::new(),
            Command::Reach { total } => vec![Event::Added { by: total - self.total }],
            Command::Write { bytes } => vec![Event::Written { text: "x".repeat(bytes) }],
            Command::PanicFrom { total } if self.total >= total => panic!("at {}", self.total),
            Command::PanicFrom { .. } => vec![Event::Added { by: 1 }],
            Command::AddAndPanic { by } => vec![Event::Added { by }, Event::Bomb { by }],
            Command::Begin { plan } => vec![Event::Begun { plan }],
            Command::Nudge { run, with } => vec![Event::Nudged { run, with }],
            Command::Odd { .. } => Vec::new(),
        })
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Added { by } => self.total += by,
            Event::Taken { by } => self.total -= by,
            Event::Bomb { by } => {
                self.total += by;
                panic!("boom");
            }
            Event::Written { .. } | Event::Begun { .. } | Event::Nudged { .. } => {}
        }
    }
}

fn unreadable<'de, D: Deserializer<'de>>(_: D) -> Result<String, D::Error> {
    Err(serde::de::Error::custom("this cannot be read"))
}

/// What a saga does at which signal.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) run: String,
    pub(crate) on: BTreeMap<String, Vec<Do>>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub(crate) enum Do {
    Add(String, u64),
    Take(String, u64),
    /// Takes as a compensation.
    Undo(String, u64),
    Odd(String),
    After(u64, String),
    Cancel(String),
    Finish,
    Panic,
}

impl Plan {
    /// A plan for the saga `run`.
    pub(crate) fn new(run: &str) -> Self {
        Self { run: run.to_owned(), ..Self::default() }
    }

    /// What it does at `signal`: `begin`, `nudge:x`, `timer:x`, `accepted:add x`, `refused:take x`.
    pub(crate) fn on(mut self, signal: &str, steps: impl IntoIterator<Item = Do>) -> Self {
        self.on.insert(signal.to_owned(), steps.into_iter().collect());
        self
    }
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Run {
    pub(crate) plan: Plan,
    /// The signals it has seen.
    pub(crate) seen: Vec<String>,
}

impl Saga for Run {
    const NAME: &'static str = "run";
    type Key = String;
    type Input = Event;
    type Step = String;
    type Timer = String;

    fn key(e: &Recorded<Event>) -> Option<String> {
        match &e.event {
            Event::Begun { plan } => Some(plan.run.clone()),
            Event::Nudged { run, .. } => Some(run.clone()),
            _ => None,
        }
    }

    fn react(&mut self, signal: Signal<'_, Self>, out: &mut Outbox<Self>) {
        let signal = match signal {
            Signal::Event(e) => match &e.event {
                Event::Begun { plan } => {
                    self.plan = plan.clone();
                    "begin".to_owned()
                }
                Event::Nudged { with, .. } => format!("nudge:{with}"),
                event => panic!("not for sagas: {event:?}"),
            },
            Signal::Timer(timer) => format!("timer:{timer}"),
            Signal::Accepted(step) => format!("accepted:{step}"),
            Signal::Refused(step, _) => format!("refused:{step}"),
        };
        let steps = self.plan.on.get(&signal).cloned().unwrap_or_default();
        self.seen.push(signal);
        steps.into_iter().for_each(|step| carry_out(step, out));
    }
}

fn carry_out(step: Do, out: &mut Outbox<Run>) {
    match step {
        Do::Add(to, by) => out.send::<Account>(format!("add {to}"), to, Command::Add { by }),
        Do::Take(to, by) => out.send::<Account>(format!("take {to}"), to, Command::Take { by }),
        Do::Undo(to, by) => out.compensate::<Account>(format!("undo {to}"), to, Command::Take { by }),
        Do::Odd(to) => out.send::<Account>(format!("odd {to}"), to, Command::Odd { text: "x".into() }),
        Do::After(ms, timer) => out.after(Duration::from_millis(ms), timer),
        Do::Cancel(timer) => out.cancel(&timer),
        Do::Finish => out.finish(),
        Do::Panic => panic!("the plan says so"),
    }
}
