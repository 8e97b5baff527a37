//! A copy works as a log: states, keys and views are those of the source, and sagas go on once.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use annals::parts::core::envelope::{Header, Record, SagaPart};
use annals::parts::log::copy::{Job, Next, Until};
use annals::parts::log::{Claimant, Identity, Log, MemoryLog};
use annals::prelude::*;
use annals::{Environment, LogId, ManualClock, Offset, Options, ShardId, StreamName, ViewsAt};

#[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
enum Change {
    Put { amount: u32 },
    Move { amount: u32, to: String },
}

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[event(prefix = "box")]
enum Changed {
    Put { amount: u32 },
    Moved { amount: u32, to: String },
}

#[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
enum No {
    #[error("there is room for 1000, not for {0}")]
    Full(u32),
    #[error("there are only {0}")]
    Short(u32),
}

#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
struct Crate {
    amount: u32,
}

impl Decider for Crate {
    const NAME: &'static str = "box";
    type Id = String;
    type Command = Change;
    type Event = Changed;
    type Refusal = No;

    fn decide(&self, command: &Change, _: &Meta) -> Result<Vec<Changed>, No> {
        match command {
            Change::Put { amount } if self.amount + amount > 1000 => Err(No::Full(self.amount + amount)),
            Change::Put { amount } => Ok(vec![Changed::Put { amount: *amount }]),
            Change::Move { amount, .. } if *amount > self.amount => Err(No::Short(self.amount)),
            Change::Move { amount, to } => Ok(vec![Changed::Moved { amount: *amount, to: to.clone() }]),
        }
    }

    fn evolve(&mut self, event: &Changed) {
        match event {
            Changed::Put { amount } => self.amount += amount,
            Changed::Moved { amount, .. } => self.amount -= amount,
        }
    }
}

/// What was put into a box in all, and how often.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
struct Put {
    total: u32,
    times: u32,
}

impl Projection for Put {
    const NAME: &'static str = "put";
    type Input = Changed;
    type Key = String;

    fn keys(e: &Recorded<Changed>) -> impl IntoIterator<Item = String> {
        [e.meta.id().to_owned()]
    }

    fn project(&mut self, _: &String, e: &Recorded<Changed>) -> Fate {
        if let Changed::Put { amount } = e.event {
            self.total += amount;
            self.times += 1;
        }
        Fate::Keep
    }
}

/// What leaves one box is put into another after ten minutes; what does not fit comes back.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
struct Haul {
    load: Option<(String, String, u32)>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
enum Step {
    Put,
    Back,
}

impl Saga for Haul {
    const NAME: &'static str = "haul";
    type Key = String;
    type Input = Changed;
    type Step = Step;
    type Timer = ();

    fn key(e: &Recorded<Changed>) -> Option<String> {
        matches!(e.event, Changed::Moved { .. }).then(|| format!("{}-{}", e.meta.id(), e.meta.version))
    }

    fn react(&mut self, signal: Signal<'_, Self>, out: &mut Outbox<Self>) {
        match signal {
            Signal::Event(e) => {
                let Changed::Moved { amount, to } = &e.event else { return };
                self.load = Some((e.meta.id().to_owned(), to.clone(), *amount));
                out.after(mins(10), ());
            }
            Signal::Timer(()) => {
                let Some((_, to, amount)) = self.load.clone() else { return };
                out.send::<Crate>(Step::Put, to, Change::Put { amount });
            }
            Signal::Refused(Step::Put, _) => {
                let Some((from, _, amount)) = self.load.clone() else { return };
                out.compensate::<Crate>(Step::Back, from, Change::Put { amount });
            }
            _ => out.finish(),
        }
    }
}

fn boxes() -> annals::Context {
    context("boxes").decider::<Crate>().projection::<Put>().saga::<Haul>()
}

const BOXES: u32 = 12;
const MOVES: u32 = 30;

fn name(n: u32) -> String {
    format!("b{}", n % BOXES)
}

fn new_log(shards: u32) -> MemoryLog {
    let log_id = LogId(uuid::Uuid::new_v4());
    MemoryLog::new(Identity { log_id, context: "boxes".into(), shards, created_at: Timestamp::UNIX_EPOCH })
}

/// An app whose sagas move when they are told to.
fn open(log: &MemoryLog, clock: &Arc<ManualClock>, seed: u64) -> App {
    let environment = Environment::seeded(Arc::clone(clock) as _, seed);
    let options = Options {
        environment: Some(environment),
        by_hand: true,
        views: ViewsAt::Memory,
        ..Options::default()
    };
    App::open_on(boxes().core().clone(), Arc::new(log.clone()), options).unwrap()
}

fn put(app: &App, n: u32, amount: u32) -> Receipt {
    let put = app.send::<Crate>(name(n), Change::Put { amount });
    put.once(format!("put {n}")).wait().unwrap()
}

/// A move that arrives, or, every fifth time, one that does not fit and comes back.
fn begin(app: &App, n: u32) -> Receipt {
    let to = if n.is_multiple_of(5) { "full".to_owned() } else { name(n + 1) };
    let moved = app.send::<Crate>(name(n), Change::Move { amount: 1 + n % 3, to });
    moved.once(format!("move {n}")).wait().unwrap()
}

fn copy(source: &MemoryLog, target: &MemoryLog) -> u64 {
    let shards = target.identity().shards;
    let context = boxes();
    let route = |stream: &str| context.core().shard_of(&stream.parse::<StreamName>().ok()?, shards);
    let claimant = || Claimant {
        node: "test".into(),
        address: String::new(),
        nonce: *uuid::Uuid::new_v4().as_bytes(),
        claimed_at: Timestamp::UNIX_EPOCH,
    };
    let job = Job::new(source, target, &route);
    let copied = job.run(&claimant, Until::Level, &mut |_| Next::GoOn).unwrap();
    assert!(job.check(Some(&copied.reached), &mut |_| Next::GoOn).unwrap().is_same());
    copied.records
}

fn records(log: &MemoryLog) -> Vec<Record> {
    let read = |shard| log.read(ShardId(shard), Offset(0), usize::MAX).unwrap().records;
    let all = (0..log.identity().shards).flat_map(read);
    let records = all.filter(|raw| matches!(raw.header, Header::Record { .. }));
    records.map(|raw| Record::from_bytes(raw.envelope).unwrap()).collect()
}

fn states(app: &App) -> Vec<Crate> {
    let names = (0..BOXES).map(name).chain(["full".to_owned()]);
    names.map(|name| app.state::<Crate>(name).wait().unwrap()).collect()
}

fn views(app: &App) -> Vec<Option<Put>> {
    app.views().settle(Duration::from_secs(10)).unwrap();
    let names = (0..BOXES).map(name).chain(["full".to_owned()]);
    names.map(|name| app.view::<Put>(name).wait().unwrap()).collect()
}

/// Lets timers come due and sagas end.
fn settle(app: &App, clock: &ManualClock) {
    for _ in 0..4 {
        assert_eq!(app.engine().settle(Duration::from_secs(10)), Ok(true));
        clock.advance(Duration::from_secs(601));
    }
}

/// Every saga took its steps once, and every key has one record in its stream.
fn check_once(log: &MemoryLog) {
    let mut keys = BTreeSet::new();
    let mut inputs = 0;
    for record in records(log) {
        let (stream, key) = (record.slices[0].stream.clone(), record.command.clone().unwrap().key);
        assert!(keys.insert((stream, key.clone())), "{key} twice");
        inputs += usize::from(matches!(&record.saga, Some(SagaPart { input: Some(_), .. })));
    }
    // The event, the timer and the outcome; where it came back, one outcome more.
    assert_eq!(inputs, (MOVES * 3 + MOVES / 5) as usize);
}

/// A source with a history, whose sagas stand somewhere on their way.
fn source(shards: u32, steps: u32, clock: &Arc<ManualClock>) -> (MemoryLog, Vec<Receipt>) {
    let log = new_log(shards);
    let app = open(&log, clock, 1);
    app.send::<Crate>("full", Change::Put { amount: 1000 }).once("fill").wait().unwrap();
    let mut receipts: Vec<Receipt> = (0..BOXES).map(|n| put(&app, n, 100)).collect();
    let refused = app.send::<Crate>("b0", Change::Put { amount: 1000 }).once("too-much").wait();
    assert!(matches!(refused, Err(SendError::Refused(No::Full(1100)))));
    receipts.extend((0..MOVES / 2).map(|n| begin(&app, n)));
    for step in 0..steps / 2 {
        app.engine().step(ShardId(step % shards)).unwrap();
    }
    clock.advance(Duration::from_secs(601));
    for step in steps / 2..steps {
        app.engine().step(ShardId(step % shards)).unwrap();
    }
    receipts.extend((MOVES / 2..MOVES).map(|n| begin(&app, n)));
    app.engine().stop().unwrap();
    (log, receipts)
}

#[test]
fn sagas_in_flight_go_on_once_and_everything_else_is_equal() {
    for (from, to) in [(1, 1), (1, 8), (8, 1), (8, 3)] {
        for steps in (0..24).step_by(if from == 1 { 3 } else { 2 }) {
            let clock = || Arc::new(ManualClock::new(Timestamp::from_second(1_000_000).unwrap()));
            let (source_clock, target_clock) = (clock(), clock());
            let (log, receipts) = source(from, steps, &source_clock);
            let target = new_log(to);
            let copied = copy(&log, &target);
            assert_eq!(copied, records(&log).len() as u64);
            target_clock.advance(Duration::from_secs(601));

            let (app, twin) = (open(&log, &source_clock, 2), open(&target, &target_clock, 3));
            assert_eq!((states(&app), views(&app)), (states(&twin), views(&twin)), "{from} to {to}, {steps}");
            for (n, receipt) in (0..BOXES).zip(&receipts) {
                let again = put(&twin, n, 100);
                assert_eq!(
                    (again.version, again.events, again.repeated),
                    (receipt.version, receipt.events, true)
                );
            }
            for (n, receipt) in (0..MOVES).zip(&receipts[BOXES as usize..]) {
                let again = begin(&twin, n);
                assert_eq!(
                    (again.version, again.events, again.repeated),
                    (receipt.version, receipt.events, true)
                );
            }
            let refused = twin.send::<Crate>("b0", Change::Put { amount: 1000 }).once("too-much").wait();
            assert!(matches!(refused, Err(SendError::Refused(No::Full(1100)))), "{refused:?}");
            assert_eq!(records(&target).len() as u64, copied, "asking again records nothing");

            settle(&app, &source_clock);
            settle(&twin, &target_clock);
            check_once(&log);
            check_once(&target);
            assert_eq!((states(&app), views(&app)), (states(&twin), views(&twin)), "{from} to {to}, {steps}");
            let sum: u32 = states(&twin).iter().map(|state| state.amount).sum();
            assert_eq!(sum, BOXES * 100 + 1000);
            assert_eq!((twin.engine().status().timers, twin.engine().status().parked), (0, 0));
        }
    }
}

#[test]
fn the_copy_of_a_copy_that_went_on_is_whole_too() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_000_000).unwrap()));
    let (log, _) = source(8, 12, &clock);
    let (there, back) = (new_log(3), new_log(1));
    copy(&log, &there);
    let app = open(&there, &clock, 2);
    settle(&app, &clock);
    app.engine().stop().unwrap();
    copy(&there, &back);
    let twin = open(&back, &clock, 3);
    let before = records(&back).len();
    settle(&twin, &clock);
    assert_eq!(records(&back).len(), before, "nothing was left to do");
    check_once(&back);
    assert_eq!((states(&app), views(&app)), (states(&twin), views(&twin)));
}
