//! A small bank to serve: written by hand, as the derives would write it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use annals_core::codec::{self, DecodeError, EncodeError, Variant, Variants};
use annals_core::envelope::{CommandPart, EventPart, FORMAT, Record, Slice};
use annals_core::event::{self, Events};
use annals_core::index::terms;
use annals_core::{
    Command, Context, Decider, Event, Fate, LogId, Meta, Outbox, Projection, Recorded, Refusal, Saga,
    ShardId, Signal, Timestamp, context,
};
use annals_engine::{Engine, Environment, Settings};
use annals_log::{Claimant, Identity, Log, MemoryLog, RecordKind};
use annals_server::{Limits, Served, router};
use annals_views::{MemoryStore, Views};
use axum::Router;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Lower case only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountId(String);

impl FromStr for AccountId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.chars().any(char::is_uppercase) { Err(()) } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq)]
pub struct Money {
    pub cents: u64,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug)]
pub enum Ask {
    Open,
    Deposit { amount: Money },
    Withdraw { amount: Money },
    Burst { events: u32 },
    Fill { bytes: usize },
    Note { value: Value },
    Explode,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub enum Happened {
    Opened,
    Deposited { amount: Money },
    Withdrawn { amount: Money },
    Filled { text: String },
    Noted { value: Value },
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub enum No {
    NotOpen,
    Overdrawn { balance: Money },
}

const fn variant(name: &'static str, serde_name: &'static str) -> Variant {
    Variant { name, serde_name, shape: 1 }
}

impl Variants for Ask {
    const VARIANTS: &'static [Variant] = &[
        variant("open", "Open"),
        variant("deposit", "Deposit"),
        variant("withdraw", "Withdraw"),
        variant("burst", "Burst"),
        variant("fill", "Fill"),
        variant("note", "Note"),
        variant("explode", "Explode"),
    ];
}
impl Command for Ask {}

impl Variants for Happened {
    const VARIANTS: &'static [Variant] = &[
        variant("account.opened", "Opened"),
        variant("account.deposited", "Deposited"),
        variant("account.withdrawn", "Withdrawn"),
        variant("account.filled", "Filled"),
        variant("account.noted", "Noted"),
    ];
}
impl Event for Happened {}
impl Events for Happened {
    fn names() -> Vec<&'static str> {
        Self::VARIANTS.iter().map(|variant| variant.name).collect()
    }

    fn read(name: &str, shape: u32, payload: &[u8]) -> Option<Result<Self, DecodeError>> {
        codec::variant::<Self>(name)?;
        Some(codec::decode(name, shape, payload))
    }

    fn store(&self) -> Result<EventPart, EncodeError> {
        event::encode(self)
    }
}

impl Variants for No {
    const VARIANTS: &'static [Variant] = &[variant("not-open", "NotOpen"), variant("overdrawn", "Overdrawn")];
}
impl Refusal for No {}
impl fmt::Display for No {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen => f.write_str("the account is not open"),
            Self::Overdrawn { balance } => write!(f, "there are only {} cents", balance.cents),
        }
    }
}

#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug)]
pub struct Account {
    open: bool,
    balance: Money,
}

impl Decider for Account {
    const NAME: &'static str = "account";
    type Id = AccountId;
    type Command = Ask;
    type Event = Happened;
    type Refusal = No;

    fn decide(&self, command: &Ask, _: &Meta) -> Result<Vec<Happened>, No> {
        let balance = self.balance;
        match command {
            Ask::Open if self.open => Ok(Vec::new()),
            Ask::Open => Ok(vec![Happened::Opened]),
            Ask::Explode => panic!("boom"),
            _ if !self.open => Err(No::NotOpen),
            Ask::Deposit { amount } => Ok(vec![Happened::Deposited { amount: *amount }]),
            Ask::Withdraw { amount } if amount.cents > balance.cents => Err(No::Overdrawn { balance }),
            Ask::Withdraw { amount } => Ok(vec![Happened::Withdrawn { amount: *amount }]),
            Ask::Burst { events } => {
                Ok((0..*events).map(|n| Happened::Deposited { amount: Money { cents: n.into() } }).collect())
            }
            Ask::Fill { bytes } => Ok(vec![Happened::Filled { text: "x".repeat(*bytes) }]),
            Ask::Note { value } => Ok(vec![Happened::Noted { value: value.clone() }]),
        }
    }

    /// Money comes and goes; an account that was opened stays open, and one that holds a million stays as it is.
    fn roll_back(&self, earlier: &Self, _: &Meta) -> Option<Result<Vec<Happened>, No>> {
        let (now, then) = (self.balance.cents, earlier.balance.cents);
        Some(match now.cmp(&then) {
            _ if now == 1_000_000 => Err(No::Overdrawn { balance: self.balance }),
            std::cmp::Ordering::Equal => Ok(Vec::new()),
            std::cmp::Ordering::Less => Ok(vec![Happened::Deposited { amount: Money { cents: then - now } }]),
            std::cmp::Ordering::Greater => {
                Ok(vec![Happened::Withdrawn { amount: Money { cents: now - then } }])
            }
        })
    }

    fn evolve(&mut self, event: &Happened) {
        match event {
            Happened::Opened => self.open = true,
            Happened::Deposited { amount } => self.balance.cents += amount.cents,
            Happened::Withdrawn { amount } => self.balance.cents -= amount.cents,
            Happened::Filled { .. } | Happened::Noted { .. } => {}
        }
    }
}

/// The balance of each account.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug)]
pub struct Balance {
    balance: Money,
}

impl Projection for Balance {
    const NAME: &'static str = "balance";
    const INDEXES: &'static [&'static str] = &["balance.cents"];
    type Input = Happened;
    type Key = AccountId;

    fn keys(e: &Recorded<Happened>) -> impl IntoIterator<Item = AccountId> {
        [AccountId(e.meta.id().to_owned())]
    }

    fn project(&mut self, _: &AccountId, e: &Recorded<Happened>) -> Fate {
        match &e.event {
            Happened::Deposited { amount } => self.balance.cents += amount.cents,
            Happened::Withdrawn { amount } => self.balance.cents -= amount.cents,
            _ => {}
        }
        Fate::Keep
    }
}

/// Watches, and never does anything: there so that the bank has a saga.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug)]
pub struct Watch {
    seen: Money,
}

impl Saga for Watch {
    const NAME: &'static str = "watch";
    type Key = String;
    type Input = Happened;
    type Step = Money;
    type Timer = Money;

    fn key(_: &Recorded<Happened>) -> Option<String> {
        None
    }

    fn react(&mut self, _: Signal<'_, Self>, _: &mut Outbox<Self>) {}
}

/// The context.
pub fn bank() -> Context {
    context("bank").decider::<Account>().projection::<Balance>().saga::<Watch>()
}

/// The bank, served.
pub struct Bank {
    pub log: MemoryLog,
    pub engine: Engine,
    pub router: Router,
}

impl Bank {
    /// On two shards, with the limits that are on by default.
    pub fn open() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        Self::on(log(2), limits, Settings::default())
    }

    pub fn on(log: MemoryLog, limits: Limits, settings: Settings) -> Self {
        let shared: Arc<dyn Log> = Arc::new(log.clone());
        let engine =
            Engine::open(bank(), Arc::clone(&shared), Environment::system("test"), settings).unwrap();
        Self::serving(log, engine, limits)
    }

    pub fn serving(log: MemoryLog, engine: Engine, limits: Limits) -> Self {
        let served = served(&engine);
        Self { log, router: router(vec![served], None, limits).unwrap(), engine }
    }
}

/// The engine and its views.
pub fn served(engine: &Engine) -> Served {
    let (context, log) = (Arc::clone(engine.context()), Arc::clone(engine.log()));
    let views = Views::open(context, log, Arc::new(MemoryStore::new()), annals_views::Settings::default());
    Served { engine: engine.clone(), views: Arc::new(views.unwrap()) }
}

pub fn log(shards: u32) -> MemoryLog {
    let log_id = LogId(uuid::Uuid::from_u128(7));
    MemoryLog::new(Identity { log_id, context: "bank".into(), shards, created_at: Timestamp::UNIX_EPOCH })
}

/// Writes a record with one event as another program may have written it.
pub fn write_event(log: &MemoryLog, stream: &str, name: &str, payload: &str) {
    let claimant = Claimant {
        node: "other".into(),
        address: String::new(),
        nonce: [9; 16],
        claimed_at: Timestamp::UNIX_EPOCH,
    };
    let event =
        EventPart { name: name.into(), shape: 1, payload: payload.to_owned().into(), tags: Vec::new() };
    let record = Record {
        format: FORMAT,
        slices: vec![Slice { stream: stream.into(), expected_version: 0, events: vec![event] }],
        command: Some(CommandPart { key: "raw".into(), name: "raw".into(), ..CommandPart::default() }),
        recorded_at_us: 1,
        ..Record::default()
    };
    let shard = bank().shard_of(&stream.parse().unwrap(), log.identity().shards).unwrap_or(ShardId(0));
    let writer = log.claim(shard, &claimant).unwrap();
    let seq = writer.append(RecordKind::Record, record.to_bytes(), terms(&record)).unwrap();
    writer.commit(seq).unwrap();
}
