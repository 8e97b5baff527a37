//! A jar of coins, and faulty types that the kit must catch.

use annals_core::{Decider, Fate, Meta, Outbox, Projection, Recorded, Saga, Signal};
use annals_macros::{Command, Event, Refusal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Jar {
    pub coins: u64,
    /// Lost when the state is stored: set by `Event::Marked`.
    #[serde(skip)]
    pub mark: bool,
}

#[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[command(crate = "annals_core")]
pub enum Command {
    Put {
        coins: u64,
        #[serde(skip)]
        note: String,
    },
    Take {
        coins: u64,
    },
    Mark,
    Sign,
    Weigh,
    Dice,
}

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[event(prefix = "jar", crate = "annals_core")]
pub enum Event {
    Put { coins: u64 },
    Taken { coins: u64 },
    Marked,
    Signed { by: String, at: String, jar: String, version: u64 },
    Weighed { grams: f64 },
}

#[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[refusal(crate = "annals_core")]
pub enum Refusal {
    #[error("{missing} coins are missing")]
    TooFew {
        missing: u64,
        #[serde(skip)]
        angry: bool,
    },
    #[error("nobody signed")]
    Nobody,
}

thread_local! {
    static DICE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

pub fn dice() -> u64 {
    DICE.replace(DICE.get() + 1)
}

impl Decider for Jar {
    const NAME: &'static str = "jar";
    type Id = String;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Meta) -> Result<Vec<Event>, Refusal> {
        match command {
            Command::Put { coins: 0, .. } => Ok(vec![]),
            Command::Put { coins, .. } => Ok(vec![Event::Put { coins: *coins }]),
            Command::Take { coins } if *coins > self.coins => {
                // More than a hundred short is refused with a field that is not stored.
                let missing = coins - self.coins;
                Err(Refusal::TooFew { missing, angry: missing > 100 })
            }
            Command::Take { coins } => Ok(vec![Event::Taken { coins: *coins }]),
            Command::Mark => Ok(vec![Event::Marked]),
            Command::Sign => Ok(vec![Event::Signed {
                by: cx.actor.as_deref().ok_or(Refusal::Nobody)?.to_owned(),
                at: cx.at().to_string(),
                jar: cx.id().to_owned(),
                version: cx.version,
            }]),
            Command::Weigh => Ok(vec![Event::Weighed { grams: f64::NAN }]),
            Command::Dice => Ok(vec![Event::Put { coins: dice() }]),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Put { coins } => self.coins += coins,
            Event::Taken { coins } => self.coins -= coins,
            Event::Marked => self.mark = true,
            Event::Signed { .. } | Event::Weighed { .. } => {}
        }
    }
}

/// Coins by jar; an emptied jar has no document.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Coins {
    pub coins: u64,
    #[serde(skip)]
    pub mark: bool,
}

impl Projection for Coins {
    const NAME: &'static str = "coins";
    type Input = Event;
    type Key = String;

    fn keys(e: &Recorded<Event>) -> impl IntoIterator<Item = String> {
        match &e.event {
            Event::Weighed { .. } => vec![format!("{}", dice())],
            _ => vec![e.meta.id().to_owned(), "all".to_owned()],
        }
    }

    fn project(&mut self, _: &String, e: &Recorded<Event>) -> Fate {
        match &e.event {
            Event::Put { coins } => self.coins += coins,
            Event::Taken { coins } => self.coins -= coins,
            Event::Marked => self.mark = true,
            Event::Signed { .. } | Event::Weighed { .. } => {}
        }
        if self.coins == 0 { Fate::Delete } else { Fate::Keep }
    }
}

/// The last thing that happened anywhere: wrong over several shards.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Last {
    pub said: String,
}

impl Projection for Last {
    const NAME: &'static str = "last";
    type Input = Event;
    type Key = String;

    fn keys(_: &Recorded<Event>) -> impl IntoIterator<Item = String> {
        ["last".to_owned()]
    }

    fn project(&mut self, _: &String, e: &Recorded<Event>) -> Fate {
        self.said = format!("{} {} {}", e.meta.stream, e.meta.version, e.meta.at());
        self.said.extend(e.meta.actor.as_deref().map(|actor| format!(" {actor}")));
        Fate::Keep
    }
}

/// Moves what is put into `a` on to `b`, and back into `c` when `b` refuses.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Mover {
    pub coins: u64,
    pub said: String,
    #[serde(skip)]
    pub mark: bool,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq)]
pub enum Step {
    Move,
    Back,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq)]
pub enum Timer {
    Late,
    Later,
}

impl Saga for Mover {
    const NAME: &'static str = "mover";
    type Key = String;
    type Input = Event;
    type Step = Step;
    type Timer = Timer;

    fn key(e: &Recorded<Event>) -> Option<String> {
        (!matches!(e.event, Event::Signed { .. })).then(|| e.meta.id().to_owned())
    }

    fn react(&mut self, signal: Signal<'_, Self>, out: &mut Outbox<Self>) {
        let put = |coins| Command::Put { coins, note: String::new() };
        match signal {
            Signal::Event(e) => match &e.event {
                Event::Put { coins } => {
                    self.coins = *coins;
                    out.send::<Jar>(Step::Move, "b", put(*coins));
                    out.after(std::time::Duration::from_secs(60), Timer::Late);
                }
                Event::Marked => self.mark = true,
                Event::Weighed { .. } => out.send::<Jar>(Step::Move, "b", put(dice())),
                // An id that cannot be.
                Event::Taken { coins } => out.send::<Jar>(Step::Move, "", put(*coins)),
                Event::Signed { .. } => {}
            },
            Signal::Timer(Timer::Late) => out.after(std::time::Duration::from_secs(60), Timer::Later),
            Signal::Timer(Timer::Later) => self.said = "given up waiting".to_owned(),
            Signal::Accepted(Step::Move) => {
                out.cancel(&Timer::Late);
                out.finish();
            }
            Signal::Accepted(Step::Back) => out.finish(),
            Signal::Refused(_, why) => {
                self.said.clone_from(&why.text);
                out.cancel(&Timer::Late);
                out.compensate::<Jar>(Step::Back, "c", put(self.coins));
            }
        }
    }
}
