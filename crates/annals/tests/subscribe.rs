//! Subscriptions and consumers: nothing left out, nothing twice, from any place on, across restarts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use annals::prelude::*;
use annals::{ConsumerError, ConsumerState, Cursor, Delivered, SubscribeError, Subscription};
use parking_lot::Mutex;

#[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
enum Ask {
    Put { label: String },
    Fill { count: u32 },
}

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[event(prefix = "box")]
enum Changed {
    Put {
        #[event(tag)]
        label: String,
    },
    Filled,
}

#[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
enum No {
    #[error("never")]
    Never,
}

#[derive(Default, Clone, Serialize, Deserialize, JsonSchema, Debug, PartialEq)]
struct Crate {
    things: u32,
}

impl Decider for Crate {
    const NAME: &'static str = "box";
    type Id = String;
    type Command = Ask;
    type Event = Changed;
    type Refusal = No;

    fn decide(&self, command: &Ask, _: &Meta) -> Result<Vec<Changed>, No> {
        Ok(match command {
            Ask::Put { label } => vec![Changed::Put { label: label.clone() }],
            Ask::Fill { count } => vec![Changed::Filled; *count as usize],
        })
    }

    fn evolve(&mut self, _: &Changed) {
        self.things += 1;
    }
}

fn boxes() -> annals::Context {
    annals::context("boxes").decider::<Crate>()
}

fn put(label: &str) -> Ask {
    Ask::Put { label: label.to_owned() }
}

/// What tells one event from all others.
fn place(delivered: &Delivered) -> (String, u64) {
    let shown = delivered.show().unwrap();
    (shown.stream, shown.version)
}

async fn take(events: &mut Subscription, count: usize) -> Vec<Delivered> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(60), events.next()).await;
        taken.push(
            next.unwrap_or_else(|_| panic!("{} of {count} events came", taken.len())).unwrap().unwrap(),
        );
    }
    taken
}

/// Each stream's versions are 1, 2, 3 .. in this order.
fn is_whole(events: &[Delivered]) -> bool {
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    events.iter().map(place).all(|(stream, version)| {
        let last = versions.entry(stream).or_default();
        *last += 1;
        *last == version
    })
}

fn wait_for(done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < until, "waited for a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_catches_up_and_goes_on_without_a_gap() {
    for shards in [1, 8] {
        let app = boxes().open(&format!("memory:?shards={shards}")).await.unwrap();
        for n in 0..50 {
            app.send::<Crate>(format!("b{}", n % 7), Ask::Fill { count: n % 4 }).await.unwrap();
        }
        let before: u32 = (0..50).map(|n| n % 4).sum();
        let mut events = app.subscribe().start().unwrap();
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let app = app.clone();
                tokio::spawn(async move {
                    for n in 0..100 {
                        let id = format!("b{}", (n + writer) % 9);
                        app.send::<Crate>(id, Ask::Fill { count: 1 + n % 2 }).await.unwrap();
                    }
                })
            })
            .collect();
        let all = before as usize + 3 * 150;
        let seen = take(&mut events, all).await;
        for writer in writers {
            writer.await.unwrap();
        }
        assert!(is_whole(&seen), "{shards} shards");
        // From the cursor of any event the rest comes, records whole.
        for at in (0..seen.len()).step_by(61) {
            let cursor = seen[at].cursor().clone();
            let text = cursor.to_string();
            assert_eq!(text.parse::<Cursor>().unwrap(), cursor);
            let rest = seen[at + 1..].iter().filter(|event| {
                let position = event.position();
                position.offset >= cursor.of(position.shard)
            });
            let mut expected: Vec<_> = rest.map(place).collect();
            let mut events = app.subscribe().from(cursor).start().unwrap();
            let count = expected.len();
            let found = take(&mut events, count).await;
            let mut found: Vec<_> = found.iter().map(place).collect();
            expected.sort();
            found.sort();
            assert_eq!(found, expected, "from {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_let_through_what_they_say() {
    let app = boxes().open("memory:?shards=3").await.unwrap();
    let acme = app.tenant("acme").unwrap();
    for n in 0..40 {
        let id = format!("b{}", n % 5);
        app.send::<Crate>(&*id, put(if n % 2 == 0 { "red" } else { "blue" })).await.unwrap();
        app.send::<Crate>(&*id, Ask::Fill { count: 2 }).await.unwrap();
        acme.send::<Crate>(&*id, put("red")).await.unwrap();
    }
    let count = async |subscribe: annals::Subscribe, wanted: usize| {
        let mut events = subscribe.start().unwrap();
        let app = app.clone();
        tokio::spawn(async move {
            // What comes after tells that nothing more came before.
            app.send::<Crate>("b0", put("red")).await.unwrap();
        });
        let last = |event: &Delivered| event.show().unwrap();
        let seen = take(&mut events, wanted).await;
        assert!(seen.iter().all(|event| last(event).stream.starts_with("box/")));
        seen
    };
    let red = count(app.subscribe().tag("label:red"), 21).await;
    assert!(red.iter().all(
        |event| event.event::<Changed>().unwrap().unwrap().event == Changed::Put { label: "red".into() }
    ));
    let one = count(app.subscribe().stream("box/b0".parse().unwrap()), 8 * 3 + 2).await;
    assert!(one.iter().all(|event| event.show().unwrap().stream == "box/b0"));
    let put = count(app.subscribe().types(["box.put"]).stream("box/b0".parse().unwrap()), 8 + 3).await;
    assert!(put.iter().all(|event| event.show().unwrap().name == "box.put"));
    let mut theirs = acme.subscribe().types(["box.put"]).start().unwrap();
    let theirs = take(&mut theirs, 40).await;
    assert!(theirs.iter().all(|event| event.show().unwrap().stream.starts_with("acme:box/")));
    let mut live = app.subscribe().from_now().tag("label:green").start().unwrap();
    app.send::<Crate>("b1", self::put("green")).await.unwrap();
    assert_eq!(place(&live.next().await.unwrap().unwrap()).0, "box/b1");

    let unknown = app.subscribe().types(["box.gone"]).start().err().unwrap();
    assert_eq!(unknown, SubscribeError::UnknownType { name: "box.gone".into() });
    let beyond = app.subscribe().from("9999.9999.9999".parse().unwrap()).start().err().unwrap();
    assert!(matches!(beyond, SubscribeError::Cursor { .. }), "{beyond}");
    assert!(app.subscribe().from("0".parse().unwrap()).start().is_err(), "a cursor of one shard");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file:{}?shards=2", directory.path().join("log").display());
    let seen: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
    for round in 0..3_u32 {
        let app = boxes().open(&url).await.unwrap();
        let noted = Arc::clone(&seen);
        let consumer = app.consumer("audit").run(move |event| {
            noted.lock().push(place(event));
            Ok::<(), String>(())
        });
        let consumer = consumer.unwrap();
        for n in 0..30 {
            app.send::<Crate>(format!("b{}", n % 4), Ask::Fill { count: 1 }).await.unwrap();
        }
        wait_for(|| seen.lock().len() == 30 * (round as usize + 1));
        assert_eq!((consumer.name(), consumer.state()), ("audit", ConsumerState::Following));
        consumer.stop();
        app.stop().await.unwrap();
    }
    let mut seen = seen.lock().clone();
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((count, seen.len()), (90, 90), "each once");
    // One that begins now gets nothing of the past, and another name gets all of it.
    let app = boxes().open(&url).await.unwrap();
    let counted = |name: &str, from_now: bool| {
        let count = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&count);
        let consumer = app.consumer(name);
        let consumer = if from_now { consumer.from_now() } else { consumer };
        let running = consumer.run(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok::<(), String>(())
        });
        (running.unwrap(), count)
    };
    let ((_late, late), (_all, all)) = (counted("late", true), counted("all", false));
    app.send::<Crate>("b0", Ask::Fill { count: 1 }).await.unwrap();
    wait_for(|| all.load(Ordering::SeqCst) == 91 && late.load(Ordering::SeqCst) == 1);
    for bad in ["", "Audit", "a/b", &"x".repeat(65)] {
        let error = app.consumer(bad).run(|_| Ok::<(), String>(())).err().unwrap();
        assert_eq!(error, ConsumerError::Name(bad.to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_sends_under_the_events_key_takes_effect_once() {
    let app = boxes().open("memory:").await.unwrap();
    let (sender, tries) = (app.clone(), Arc::new(AtomicU32::new(0)));
    let tried = Arc::clone(&tries);
    let consumer = app.consumer("copy").stream("box/a".parse().unwrap()).run(move |event| {
        let sent = sender.send::<Crate>("copy", Ask::Fill { count: 1 }).once(event.key("copy")).wait();
        sent.map_err(|error| error.to_string())?;
        // It fails after it has sent: the event is given to it again.
        match tried.fetch_add(1, Ordering::SeqCst) % 3 {
            2 => Ok(()),
            n => Err(format!("attempt {n}")),
        }
    });
    let consumer = consumer.unwrap();
    for _ in 0..4 {
        app.send::<Crate>("a", Ask::Fill { count: 1 }).await.unwrap();
    }
    wait_for(|| tries.load(Ordering::SeqCst) == 12 && consumer.state() == ConsumerState::Following);
    assert_eq!(app.state::<Crate>("copy").await.unwrap().things, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_consumers_of_a_name_one_stops_and_another_log_is_noticed() {
    let app = boxes().open("memory:").await.unwrap();
    let run = || app.consumer("twice").run(|_| Ok::<(), String>(())).unwrap();
    let (first, second) = (run(), run());
    wait_for(|| {
        app.send::<Crate>("a", Ask::Fill { count: 1 }).wait().unwrap();
        let stopped = |running: &annals::Running| matches!(running.state(), ConsumerState::Stopped { .. });
        stopped(&first) || stopped(&second)
    });
    let directory = tempfile::tempdir().unwrap();
    let views = annals::ViewsAt::Sqlite(directory.path().join("views.sqlite"));
    let open = async |name: &str| {
        let url: annals::LogUrl = format!("file:{}", directory.path().join(name).display()).parse().unwrap();
        let options = annals::Options { views: views.clone(), ..annals::Options::default() };
        boxes().open_at(&url, options).await.unwrap()
    };
    let one = open("one").await;
    let count = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&count);
    let running = one.consumer("c").run(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok::<(), String>(())
    });
    one.send::<Crate>("a", Ask::Fill { count: 1 }).await.unwrap();
    wait_for(|| count.load(Ordering::SeqCst) == 1);
    running.unwrap().stop();
    one.stop().await.unwrap();
    drop(one);
    let other = open("other").await;
    let error = other.consumer("c").run(|_| Ok::<(), String>(())).err().unwrap();
    assert!(matches!(&error, ConsumerError::Bookmark { .. }), "{error}");
}
