//! Accounts to project, and logs of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use annals_core::codec::{self, DecodeError, EncodeError, Variant, Variants};
use annals_core::envelope::{EventPart, FORMAT, Record, Slice, from_micros};
use annals_core::index::{self, Term};
use annals_core::{
    Command, Context, Decider, Events, Fate, LogId, Meta, Offset, Projection, Recorded, Refusal, ShardId,
    StreamName, Tenant, event,
};
use annals_log::{
    Chunk, ClaimError, Claimant, Identity, Log, MemoryLog, RawRecord, ReadError, RecordKind, Writer,
};
use annals_views::{Limits, Settings, ViewId, ViewStore};
use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Event {
    Opened,
    Deposited { amount: i64 },
    Moved { to: String, amount: i64 },
    Closed,
    Poisoned { place: String },
    Audited,
}

impl Variants for Event {
    const VARIANTS: &'static [Variant] = &[
        Variant { name: "account.opened", serde_name: "Opened", shape: 1 },
        Variant { name: "account.deposited", serde_name: "Deposited", shape: 1 },
        Variant { name: "account.moved", serde_name: "Moved", shape: 1 },
        Variant { name: "account.closed", serde_name: "Closed", shape: 1 },
        Variant { name: "account.poisoned", serde_name: "Poisoned", shape: 1 },
        Variant { name: "account.audited", serde_name: "Audited", shape: 1 },
    ];
}

impl annals_core::Event for Event {}

impl Events for Event {
    fn names() -> Vec<&'static str> {
        // `Audited` is an event of the context that no projection here reads.
        Self::VARIANTS.iter().map(|variant| variant.name).filter(|name| *name != "account.audited").collect()
    }

    fn read(name: &str, shape: u32, payload: &[u8]) -> Option<Result<Self, DecodeError>> {
        codec::variant::<Self>(name)?;
        Some(codec::decode(name, shape, payload))
    }

    fn store(&self) -> Result<EventPart, EncodeError> {
        event::encode(self)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub enum Nothing {}

impl Variants for Nothing {
    const VARIANTS: &'static [Variant] = &[];
}
impl Command for Nothing {}
impl std::fmt::Display for Nothing {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}
impl std::error::Error for Nothing {}
impl Refusal for Nothing {}

#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Account {}

impl Decider for Account {
    const NAME: &'static str = "account";
    type Id = String;
    type Command = Nothing;
    type Event = Event;
    type Refusal = Nothing;

    fn decide(&self, command: &Nothing, _: &Meta) -> Result<Vec<Event>, Nothing> {
        match *command {}
    }

    fn evolve(&mut self, _: &Event) {}
}

/// What an account holds: a move changes two documents, a closed account has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Balance {
    pub amount: i64,
    pub events: u64,
}

impl Balance {
    fn take(&mut self, key: &str, e: &Recorded<Event>) -> Fate {
        self.events += 1;
        match &e.event {
            Event::Deposited { amount } => self.amount += amount,
            Event::Moved { to, amount } if key == to => self.amount += amount,
            Event::Moved { amount, .. } => self.amount -= amount,
            Event::Closed => return Fate::Delete,
            Event::Poisoned { place } if place == "project" => {
                self.amount = i64::MAX;
                panic!("poisoned project");
            }
            Event::Opened | Event::Poisoned { .. } | Event::Audited => {}
        }
        Fate::Keep
    }
}

fn accounts(e: &Recorded<Event>) -> Vec<String> {
    let own = e.meta.id().to_owned();
    match &e.event {
        Event::Moved { to, .. } => vec![own, to.clone()],
        Event::Poisoned { place } if place == "keys" => panic!("poisoned {}", "keys"),
        _ => vec![own],
    }
}

impl Projection for Balance {
    const NAME: &'static str = "balance";
    type Input = Event;
    type Key = String;

    fn keys(e: &Recorded<Event>) -> impl IntoIterator<Item = String> {
        accounts(e)
    }

    fn project(&mut self, key: &String, e: &Recorded<Event>) -> Fate {
        self.take(key, e)
    }
}

/// The next revision of [`Balance`]: counts in cents, and no event harms it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cents {
    pub cents: i64,
}

impl Projection for Cents {
    const NAME: &'static str = "balance";
    const REVISION: u32 = 2;
    type Input = Event;
    type Key = String;

    fn keys(e: &Recorded<Event>) -> impl IntoIterator<Item = String> {
        Some(e.meta.id().to_owned())
    }

    fn project(&mut self, _: &String, e: &Recorded<Event>) -> Fate {
        if let Event::Deposited { amount } = &e.event {
            self.cents += amount * 100;
        }
        Fate::Keep
    }
}

/// [`Balance`] as it is after somebody mended it: the same documents, and no event harms it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Mended(Balance);

impl Projection for Mended {
    const NAME: &'static str = "balance";
    type Input = Event;
    type Key = String;

    fn keys(e: &Recorded<Event>) -> impl IntoIterator<Item = String> {
        match &e.event {
            Event::Poisoned { .. } => vec![e.meta.id().to_owned()],
            _ => accounts(e),
        }
    }

    fn project(&mut self, key: &String, e: &Recorded<Event>) -> Fate {
        match &e.event {
            Event::Poisoned { .. } => {
                self.0.events += 1;
                Fate::Keep
            }
            _ => self.0.take(key, e),
        }
    }
}

/// How many events there were, by the number of their account: no string, and no event harms it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Count {
    pub events: u64,
    pub total: i64,
}

impl Projection for Count {
    const NAME: &'static str = "count";
    type Input = Event;
    type Key = u64;

    fn keys(e: &Recorded<Event>) -> impl IntoIterator<Item = u64> {
        Some(e.meta.id().len() as u64)
    }

    fn project(&mut self, _: &u64, e: &Recorded<Event>) -> Fate {
        self.events += 1;
        if let Event::Deposited { amount } | Event::Moved { amount, .. } = &e.event {
            self.total += amount;
        }
        Fate::Keep
    }
}

pub fn bank() -> Arc<Context> {
    let context = annals_core::context("bank").decider::<Account>();
    Arc::new(context.projection::<Balance>().projection::<Count>().checked().unwrap())
}

pub fn bank_of<P: Projection>() -> Arc<Context> {
    Arc::new(annals_core::context("bank").decider::<Account>().projection::<P>().checked().unwrap())
}

pub fn balance_view() -> ViewId {
    ViewId::first("balance", 1)
}

/// Batches so small that every path between batches is taken, and a cache that keeps nothing.
pub fn small() -> Limits {
    Limits { batch_events: 7, batch_time: Duration::from_secs(60), chunk_bytes: 300, cache_bytes: 0 }
}

pub fn by_hand() -> Settings {
    Settings { drive: annals_views::Drive::Caller, ..Settings::default() }
}

/// A log of accounts, and beside it what [`Balance`] must make of it, computed without the code under test.
pub struct Book {
    pub log: MemoryLog,
    pub model: BTreeMap<(Option<Tenant>, String), Balance>,
    writers: Vec<Arc<dyn Writer>>,
    versions: HashMap<String, u64>,
    micros: i64,
}

impl Book {
    pub fn new(shards: u32) -> Self {
        Self::with_id(shards, 1)
    }

    pub fn with_id(shards: u32, id: u128) -> Self {
        let created_at = from_micros(1_000_000);
        let log_id = LogId(uuid::Uuid::from_u128(id));
        let log = MemoryLog::new(Identity { log_id, context: "bank".into(), shards, created_at });
        let claimant =
            Claimant { node: "n".into(), address: String::new(), nonce: [7; 16], claimed_at: created_at };
        let writers = (0..shards).map(|shard| log.claim(ShardId(shard), &claimant).unwrap()).collect();
        Self { log, model: BTreeMap::new(), writers, versions: HashMap::new(), micros: 1_000_000 }
    }

    /// Appends one record, a millisecond after the one before.
    pub fn record(&mut self, tenant: Option<&str>, account: &str, events: &[Event]) -> (ShardId, Offset) {
        let parts = events.iter().map(|event| event.store().unwrap()).collect();
        let place = self.parts(tenant, account, parts);
        let tenant = tenant.map(|name| Tenant::new(name).unwrap());
        events.iter().for_each(|event| self.expect(tenant.as_ref(), account, event));
        place
    }

    pub fn parts(
        &mut self,
        tenant: Option<&str>,
        account: &str,
        events: Vec<EventPart>,
    ) -> (ShardId, Offset) {
        let owner = tenant.map(|name| Tenant::new(name).unwrap());
        let stream = StreamName::new(owner.as_ref(), "account", account).unwrap();
        let shard = bank().shard_of(&stream, self.writers.len() as u32).unwrap();
        let version = self.versions.entry(stream.to_string()).or_default();
        let expected_version = *version;
        *version += events.len() as u64;
        self.micros += 1_000;
        let record = Record {
            format: FORMAT,
            slices: vec![Slice { stream: stream.to_string(), expected_version, events }],
            recorded_at_us: self.micros,
            tenant: tenant.unwrap_or_default().to_owned(),
            ..Record::default()
        };
        let writer = &self.writers[shard.0 as usize];
        let seq = writer.append(RecordKind::Record, record.to_bytes(), index::terms(&record)).unwrap();
        (shard, writer.commit(seq).unwrap())
    }

    pub fn raw(&mut self, shard: usize, envelope: &'static [u8]) -> Offset {
        let writer = &self.writers[shard];
        let seq = writer.append(RecordKind::Record, Bytes::from_static(envelope), Vec::new()).unwrap();
        writer.commit(seq).unwrap()
    }

    /// Appends `records` records, the same for the same seed. Accounts are closed in logs with one shard only:
    /// whether a move from elsewhere comes before or after that depends on how shards interleave.
    pub fn fill(&mut self, seed: u64, records: usize) {
        let closing = self.writers.len() == 1;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..records {
            let account = format!("a{}", random.random_range(0..60_u32));
            let tenant = [None, None, Some("acme"), Some("zeta")][random.random_range(0..4)];
            let events: Vec<Event> =
                (0..random.random_range(1..4)).map(|_| some_event(&mut random, closing)).collect();
            self.record(tenant, &account, &events);
        }
    }

    fn expect(&mut self, tenant: Option<&Tenant>, account: &str, event: &Event) {
        let mut at = |key: &str, amount: i64| {
            let document = self.model.entry((tenant.cloned(), key.to_owned())).or_default();
            document.events += 1;
            document.amount += amount;
        };
        match event {
            Event::Opened | Event::Poisoned { .. } => at(account, 0),
            Event::Deposited { amount } => at(account, *amount),
            Event::Moved { to, amount } if to == account => {
                // Both keys are the account itself, and `project` runs for each.
                at(account, *amount);
                at(account, *amount);
            }
            Event::Moved { to, amount } => {
                at(account, -amount);
                at(to, *amount);
            }
            Event::Closed => drop(self.model.remove(&(tenant.cloned(), account.to_owned()))),
            Event::Audited => {}
        }
    }
}

fn some_event(random: &mut ChaCha8Rng, closing: bool) -> Event {
    let amount = random.random_range(1..1_000);
    match random.random_range(0..10) {
        0 => Event::Opened,
        1 if closing => Event::Closed,
        2 => Event::Audited,
        3..6 => Event::Moved { to: format!("a{}", random.random_range(0..60_u32)), amount },
        _ => Event::Deposited { amount },
    }
}

/// All documents of a view as the store has them.
pub fn balances(
    store: &dyn ViewStore,
    tenants: &[Option<&str>],
) -> BTreeMap<(Option<Tenant>, String), Balance> {
    let mut all = BTreeMap::new();
    for tenant in tenants {
        let tenant = tenant.map(|name| Tenant::new(name).unwrap());
        for (key, json) in documents(store, &balance_view(), tenant.as_ref()) {
            all.insert((tenant.clone(), key), serde_json::from_slice(&json).unwrap());
        }
    }
    all
}

pub const TENANTS: [Option<&str>; 3] = [None, Some("acme"), Some("zeta")];

pub fn documents(store: &dyn ViewStore, view: &ViewId, tenant: Option<&Tenant>) -> Vec<(String, Vec<u8>)> {
    let (mut all, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let after = cursor.take().map(|key| annals_views::store::Place { value: None, key });
        let query =
            annals_views::store::Query { tenant, after: after.as_ref(), limit: 50, ..Default::default() };
        let page = store.list(view, &query).unwrap();
        all.extend(page.documents);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return all,
        }
    }
}

/// A log of which readers see only what the gate lets through.
pub struct Gate {
    log: MemoryLog,
    ends: parking_lot::Mutex<Vec<Offset>>,
}

impl Gate {
    pub fn closed(log: &MemoryLog) -> Arc<Self> {
        let ends = vec![Offset(0); log.identity().shards as usize];
        Arc::new(Self { log: log.clone(), ends: ends.into() })
    }

    /// Lets readers of `shard` see what lies below `end`.
    pub fn open(&self, shard: ShardId, end: Offset) {
        self.ends.lock()[shard.0 as usize] = end;
    }

    /// Lets readers see all there is now.
    pub fn open_all(&self) {
        let ends = (0..self.log.identity().shards).map(|shard| self.log.end(ShardId(shard)));
        *self.ends.lock() = ends.collect();
    }
}

impl Log for Gate {
    fn identity(&self) -> &Identity {
        self.log.identity()
    }

    fn claim(&self, shard: ShardId, claimant: &Claimant) -> Result<Arc<dyn Writer>, ClaimError> {
        self.log.claim(shard, claimant)
    }

    fn end(&self, shard: ShardId) -> Offset {
        self.ends.lock()[shard.0 as usize]
    }

    fn read(&self, shard: ShardId, from: Offset, bytes_max: usize) -> Result<Chunk, ReadError> {
        let end = self.end(shard);
        let mut chunk = self.log.read(shard, from, bytes_max)?;
        chunk.records.retain(|record: &RawRecord| record.offset < end);
        chunk.next = chunk.next.min(end);
        Ok(chunk)
    }

    fn find(&self, shard: ShardId, term: Term, from: Offset, limit: usize) -> Result<Vec<Offset>, ReadError> {
        self.log.find(shard, term, from, limit)
    }

    fn find_last(&self, shard: ShardId, term: Term) -> Result<Option<Offset>, ReadError> {
        self.log.find_last(shard, term)
    }

    fn wait(&self, shard: ShardId, beyond: Offset, timeout: Duration) -> Offset {
        let until = std::time::Instant::now() + timeout;
        while self.end(shard) <= beyond && std::time::Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.end(shard)
    }
}

/// Waits until `done`; a busy machine may take long.
pub fn wait_for(done: impl Fn() -> bool) {
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(std::time::Instant::now() < until, "waited for a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}
