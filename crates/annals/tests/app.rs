//! The facade as a program uses it: opened, sent to, asked, stopped and opened again.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::future::IntoFuture as _;
use std::task::Poll;

use annals::parts::core::context::AnyCommand;
use annals::parts::engine::Request;
use annals::prelude::*;
use annals::{App, Options, QueryError, ViewError, ViewsAt};

#[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
enum Change {
    Put { amount: u32 },
    Move { amount: u32, to: String },
    Panic,
}

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[event(prefix = "box")]
enum Changed {
    Put { amount: u32 },
    Moved { amount: u32, to: String },
}

#[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
enum No {
    #[error("there is room for 100, not for {0}")]
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
            Change::Put { amount } if self.amount + amount > 100 => Err(No::Full(self.amount + amount)),
            Change::Put { amount } => Ok(vec![Changed::Put { amount: *amount }]),
            Change::Move { amount, .. } if *amount > self.amount => Err(No::Short(self.amount)),
            Change::Move { amount, to } => Ok(vec![Changed::Moved { amount: *amount, to: to.clone() }]),
            Change::Panic => panic!("a decision that should not be"),
        }
    }

    fn evolve(&mut self, event: &Changed) {
        match event {
            Changed::Put { amount } => self.amount += amount,
            Changed::Moved { amount, .. } => self.amount -= amount,
        }
    }
}

/// What was put into a box in all.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
struct Put {
    total: u32,
}

impl Projection for Put {
    const NAME: &'static str = "put";
    const INDEXES: &'static [&'static str] = &["total"];
    type Input = Changed;
    type Key = String;

    fn keys(e: &Recorded<Changed>) -> impl IntoIterator<Item = String> {
        [e.meta.id().to_owned()]
    }

    fn project(&mut self, _: &String, e: &Recorded<Changed>) -> Fate {
        if let Changed::Put { amount } = e.event {
            self.total += amount;
        }
        Fate::Keep
    }
}

/// What leaves one box is put into another; what does not fit comes back.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
struct Haul;

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
enum Step {
    Put { from: String, amount: u32 },
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
                let step = Step::Put { from: e.meta.id().to_owned(), amount: *amount };
                out.send::<Crate>(step, to.clone(), Change::Put { amount: *amount });
            }
            Signal::Refused(Step::Put { from, amount }, _) => {
                out.compensate::<Crate>(Step::Back, from.clone(), Change::Put { amount: *amount });
            }
            _ => out.finish(),
        }
    }
}

fn boxes() -> annals::Context {
    context("boxes").decider::<Crate>().projection::<Put>().saga::<Haul>()
}

fn put(amount: u32) -> Change {
    Change::Put { amount }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_there_when_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file:{}", directory.path().join("log").display());
    let app = boxes().open(&url).await.unwrap();
    let first = app.send::<Crate>("a", put(60)).once("k").actor("ann").await.unwrap();
    app.send::<Crate>("a", Change::Move { amount: 20, to: "b".into() }).await.unwrap();
    assert_eq!(app.settle().await, Ok(true));
    app.stop().await.unwrap();
    drop(app);

    let app = boxes().open(&url).await.unwrap();
    assert_eq!(app.state::<Crate>("a").await.unwrap(), Crate { amount: 40 });
    assert_eq!(app.state::<Crate>("b").await.unwrap(), Crate { amount: 20 });
    let again = app.send::<Crate>("a", put(60)).once("k").actor("ann").await.unwrap();
    assert_eq!((again.position, again.version, again.repeated), (first.position, first.version, true));
    let other = app.send::<Crate>("a", put(61)).once("k").await.unwrap_err();
    assert_eq!(other, SendError::KeyReused { key: "k".into() });
    assert_eq!(app.view::<Put>("a").after(&again).await.unwrap(), Some(Put { total: 60 }));
    let history = app.history::<Crate>("a", 0, 10).await.unwrap();
    let seen: Vec<(&str, u64, &str)> = history.iter().map(|e| (&*e.name, e.version, &*e.actor)).collect();
    assert_eq!(seen, [("box.put", 1, "ann"), ("box.moved", 2, "")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_opener_is_told_that_the_directory_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file:{}", directory.path().join("log").display());
    let app = boxes().open(&url).await.unwrap();
    let told = boxes().open(&url).await.err().unwrap().to_string();
    assert!(told.contains("in use"), "{told}");
    drop(app);
    let told = context("other").decider::<Crate>().open(&url).await.err().unwrap().to_string();
    assert!(told.contains("boxes") && told.contains("other"), "{told}");
    let told = boxes().open(&format!("{url}?shards=2")).await.err().unwrap().to_string();
    assert!(told.contains("1 shard"), "{told}");
}

#[tokio::test]
async fn it_works_on_a_runtime_with_one_thread() {
    let app = boxes().open("memory:?shards=8").await.unwrap();
    let receipt = app.send::<Crate>("a", put(1)).await.unwrap();
    assert_eq!(app.view::<Put>("a").after(&receipt).within(secs(5)).await.unwrap(), Some(Put { total: 1 }));
}

/// A command that waits for its answer until this is dropped, so that others are not alone.
fn waiting(app: &App) -> impl Sized + use<> {
    let stream = "box/other".parse().unwrap();
    let request = Request::new(stream, AnyCommand::new::<Crate>(put(0)).unwrap());
    app.engine().submit(&request).unwrap()
}

/// Who hears an answer can close the log and open it again, whatever the threads behind it still do.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_closed_and_opened_again_right_after_an_answer() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file:{}", directory.path().join("log").display());
    for version in (1..40).step_by(2) {
        let app = boxes().open(&url).await.unwrap();
        let other = waiting(&app);
        // The first one loads the state, the second finds it.
        assert_eq!(app.send::<Crate>("a", put(1)).await.unwrap().version, version);
        assert_eq!(app.send::<Crate>("a", put(1)).await.unwrap().version, version + 1);
        drop(other);
    }
}

#[tokio::test]
async fn documents_are_listed_by_an_index() {
    let app = boxes().open("memory:").await.unwrap();
    for (id, amount) in [("a", 30), ("b", 10), ("c", 20), ("d", 20)] {
        let receipt = app.send::<Crate>(id, put(amount)).await.unwrap();
        app.view::<Put>(id).after(&receipt).await.unwrap();
    }
    let keys = |page: annals::Documents<Put>| -> Vec<String> {
        page.documents.into_iter().map(|(key, _)| key).collect()
    };
    let first = app.list::<Put>().at_least("total", 20).order("-total").limit(2).await.unwrap();
    assert_eq!(first.documents[0], ("a".to_owned(), Put { total: 30 }));
    let next = first.next.clone().unwrap();
    let rest = app.list::<Put>().at_least("total", 20).order("-total").after(next).await.unwrap();
    assert_eq!(
        (keys(first), rest.next.clone(), keys(rest)),
        (vec!["a".into(), "d".into()], None, vec!["c".into()])
    );
    assert_eq!(keys(app.list::<Put>().below("total", 20).await.unwrap()), ["b"]);
    let error = app.list::<Put>().equal("colour", "red").await.unwrap_err();
    assert_eq!(error.to_string(), "view put has no index on \"colour\"; there are total");
}

#[tokio::test]
async fn many_commands_are_awaited_by_one_thread() {
    const COMMANDS: u32 = 100;
    let directory = tempfile::tempdir().unwrap();
    let app = boxes().open(&format!("file:{}", directory.path().join("log").display())).await.unwrap();
    let tasks: Vec<_> = (0..COMMANDS)
        .map(|n| {
            let sent = app.send::<Crate>(if n % 2 == 0 { "a" } else { "b" }, put(1));
            tokio::spawn(async move { sent.await.unwrap().version })
        })
        .collect();
    let mut versions = Vec::new();
    for task in tasks {
        versions.push(task.await.unwrap());
    }
    versions.sort_unstable();
    let expected: Vec<_> = (1..=u64::from(COMMANDS / 2)).flat_map(|version| [version, version]).collect();
    assert_eq!(versions, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_nobody_waits_for_any_more_takes_effect() {
    let directory = tempfile::tempdir().unwrap();
    let app = boxes().open(&format!("file:{}", directory.path().join("log").display())).await.unwrap();
    app.send::<Crate>("a", put(1)).await.unwrap();
    let other = waiting(&app);
    let mut pending = 0;
    for _ in 0..20 {
        let mut sent = app.send::<Crate>("a", put(1)).into_future();
        let polled = std::future::poll_fn(|context| Poll::Ready(sent.as_mut().poll(context))).await;
        pending += usize::from(polled.is_pending());
    }
    drop(other);
    assert!(pending > 10, "{pending} were dropped before they were answered");
    assert_eq!(app.state::<Crate>("a").await.unwrap(), Crate { amount: 21 });
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_conflicts_and_panics_keep_their_types() {
    let app = boxes().open("memory:").await.unwrap();
    for _ in 0..2 {
        let refused = app.send::<Crate>("a", put(101)).once("too-much").await;
        assert_eq!(refused, Err(SendError::Refused(No::Full(101))));
    }
    let conflict = app.send::<Crate>("a", put(1)).expect_version(3).await;
    assert_eq!(conflict, Err(SendError::Conflict { expected: 3, actual: 0 }));
    let panicked = app.send::<Crate>("a", Change::Panic).await;
    assert_eq!(panicked, Err(SendError::Panicked { message: "a decision that should not be".into() }));
    assert_eq!(app.send::<Crate>("a", put(1)).expect_version(0).await.unwrap().version, 1);
    assert!(matches!(app.send::<Crate>("", put(1)).await, Err(SendError::Invalid { .. })));
    assert!(matches!(app.send::<Crate>("a", put(1)).once("").await, Err(SendError::Invalid { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn states_of_the_past_are_asked_for_by_version_and_time() {
    let app = boxes().open("memory:").await.unwrap();
    let before = Timestamp::now();
    for amount in 1..=3 {
        app.send::<Crate>("a", put(amount)).await.unwrap();
    }
    assert_eq!(app.state::<Crate>("a").at_version(2).await.unwrap(), Crate { amount: 3 });
    assert_eq!(app.state::<Crate>("a").at(before).await.unwrap(), Crate { amount: 0 });
    assert_eq!(app.state::<Crate>("a").at(Timestamp::now()).await.unwrap(), Crate { amount: 6 });
    let missing = app.state::<Crate>("a").at_version(4).await;
    assert!(matches!(missing, Err(QueryError::NoVersion { asked: 4, version: 3, .. })), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_do_not_see_each_other() {
    let app = boxes().open("memory:?shards=8").await.unwrap();
    let (acme, other) = (app.tenant("acme").unwrap(), app.tenant("other").unwrap());
    let receipt = acme.send::<Crate>("a", put(60)).once("k").await.unwrap();
    acme.send::<Crate>("a", Change::Move { amount: 10, to: "b".into() }).await.unwrap();
    other.send::<Crate>("a", put(7)).once("k").await.unwrap();
    assert_eq!(app.settle().await, Ok(true));
    assert_eq!(acme.view::<Put>("a").after(&receipt).await.unwrap(), Some(Put { total: 60 }));
    assert_eq!(acme.state::<Crate>("b").await.unwrap(), Crate { amount: 10 });
    assert_eq!(other.view::<Put>("a").await.unwrap(), Some(Put { total: 7 }));
    assert_eq!(other.state::<Crate>("b").await.unwrap(), Crate { amount: 0 });
    assert_eq!(app.view::<Put>("a").await.unwrap(), None);
    assert!(app.tenant("no tenant").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_app_sees_all_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file:{}", directory.path().join("log").display());
    let app =
        boxes().open_with(&url, Options { views: ViewsAt::Memory, ..Options::default() }).await.unwrap();
    app.send::<Crate>("a", put(5)).await.unwrap();
    let reader = boxes().open_with(&url, Options { read_only: true, ..Options::default() }).await.unwrap();
    assert_eq!(reader.state::<Crate>("a").await.unwrap(), Crate { amount: 5 });
    assert_eq!(reader.view::<Put>("a").await.unwrap(), Some(Put { total: 5 }));
    assert!(matches!(reader.send::<Crate>("a", put(1)).await, Err(SendError::Unavailable { .. })));
    let receipt = app.send::<Crate>("a", put(6)).await.unwrap();
    assert_eq!(reader.view::<Put>("a").after(&receipt).await.unwrap(), Some(Put { total: 11 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_is_behind_says_so() {
    let app = boxes().open("memory:").await.unwrap();
    let mut receipt = app.send::<Crate>("a", put(5)).await.unwrap();
    receipt.position.offset = annals::Offset(1_000);
    let behind = app.view::<Put>("a").after(&receipt).within(std::time::Duration::from_millis(20)).await;
    assert!(matches!(behind, Err(ViewError::Behind { .. })), "{behind:?}");
}
