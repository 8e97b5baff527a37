//! kill -9 of a process whose views follow a log into SQLite, again and again, and which builds one of them anew all the
//! while.
//!
//! What must hold after every kill, for every build of every view: the documents in the file are the fold of exactly the
//! records below the positions in the same file. A store that saved the two apart would be caught here. And of each view
//! one build at most is live, which never goes back.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use annals_core::{Context, Fate, OnBadEvent, Projection, Recorded, ShardId, Timestamp};
use annals_log::Log;
use annals_views::rebuild::Options;
use annals_views::store::Stage;
use annals_views::{Settings, SqliteStore, ViewId, ViewStore, Views, fold_in_memory};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{Account, Balance, Book, Count, Event, Gate, small};

const FILE: &str = "ANNALS_VIEWS_CRASH_FILE";
const RECORDS: usize = 3_000;
const KILLS: u32 = 25;
/// What a child says when it begins to follow.
const READY: &str = "following";

/// A third view: with an index, and one that sets aside the events of every seventh account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Picky {
    events: u64,
}

impl Projection for Picky {
    const NAME: &'static str = "picky";
    const INDEXES: &'static [&'static str] = &["events"];
    const ON_BAD_EVENT: OnBadEvent = OnBadEvent::Park;
    type Input = Event;
    type Key = String;

    fn keys(e: &Recorded<Event>) -> impl IntoIterator<Item = String> {
        [e.meta.id().to_owned()]
    }

    fn project(&mut self, key: &String, _: &Recorded<Event>) -> Fate {
        self.events += 1;
        let bad = self.events > 3 && key.trim_start_matches('a').parse::<u32>().is_ok_and(|n| n % 7 == 0);
        if bad {
            std::panic::resume_unwind(Box::new("too picky"));
        }
        Fate::Keep
    }
}

fn views() -> Arc<Context> {
    let context = annals_core::context("bank").decider::<Account>();
    let context = context.projection::<Balance>().projection::<Count>().projection::<Picky>();
    Arc::new(context.checked().unwrap())
}

/// The same log in every process.
fn book() -> Book {
    let mut book = Book::new(2);
    book.fill(42, RECORDS);
    book
}

/// The process that is killed: follows the log in batches of a few events.
#[test]
#[ignore = "the child of kill_at_any_moment"]
fn child() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let store = Arc::new(SqliteStore::open(path).unwrap());
    let settings = Settings { limits: small(), ..Settings::default() };
    let log = Arc::new(book().log);
    println!("\n{READY}");
    let views = Views::open(views(), log, store, settings).unwrap();
    // Whatever a rebuild that was killed left behind goes on until it is given up for this one.
    let _ = views.cancel("balance");
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while views.rebuild("balance", Options::default()).is_err() && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    views.settle(Duration::from_secs(600)).unwrap();
    let over = || views.rebuilding("balance").unwrap().is_none_or(|rebuild| rebuild.seconds_left.is_none());
    while !over() && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts a child that has begun to follow. Its output must stay open, or its own report of success fails.
fn start(path: &Path) -> (Child, impl Iterator) {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", "crash::child", "--ignored", "--nocapture"]).env(FILE, path);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == READY), "the child begins");
    (child, lines)
}

#[test]
fn kill_at_any_moment() {
    kill(KILLS);
}

#[test]
#[ignore = "the long form: many kills"]
fn kill_at_very_many_moments() {
    kill(std::env::var("ANNALS_SEEDS").map_or(200, |kills| kills.parse().unwrap()));
}

fn kill(kills: u32) {
    let given = std::env::var("ANNALS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| Timestamp::now().as_microsecond().cast_unsigned());
    eprintln!("ANNALS_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("views.sqlite");
    let book = book();
    let ends: u64 = (0..2).map(|shard| book.log.end(ShardId(shard)).0).sum();
    let mut seen = Vec::new();
    for kill in 0..kills {
        let (mut child, _output) = start(&path);
        // Later ones later: a slow machine needs longer to come anywhere.
        let most = (30 + 10 * u64::from(kill)).min(300);
        std::thread::sleep(Duration::from_millis(random.random_range(0..most)));
        child.kill().unwrap();
        child.wait().unwrap();
        seen.push(check(&path, &book, &format!("seed {seed}, kill {kill}")));
    }
    let positions = |view: usize| seen.iter().map(move |seen| seen[view]);
    for view in 0..3 {
        assert!(positions(view).is_sorted(), "a position of view {view} went back: {seen:?}");
        let under_way = positions(view).any(|at| at > 0 && at < ends);
        assert!(under_way, "no kill hit view {view} under way: {seen:?}");
    }
    let (mut last, output) = start(&path);
    output.for_each(drop);
    assert!(last.wait().unwrap().success());
    assert_eq!(check(&path, &book, "the end"), [ends; 3]);
}

/// Compares every build in the file with a fold of the log up to its positions; the records below those of the live
/// build of each view, or of the first, where none is live yet.
fn check(path: &Path, book: &Book, when: &str) -> [u64; 3] {
    let store = SqliteStore::open(path).unwrap();
    let builds = store.builds().unwrap();
    ["balance", "count", "picky"].map(|name| {
        let own: Vec<_> = builds.iter().filter(|build| build.view.name == name).collect();
        let live = own.iter().filter(|build| build.stage == Stage::Live).count();
        assert!(live <= 1, "{when}: {live} live builds of {name}");
        let below: Vec<u64> = own.iter().map(|build| is_a_fold(&store, book, &build.view, when)).collect();
        let read = own.iter().position(|build| build.stage == Stage::Live).unwrap_or(0);
        below.get(read).copied().unwrap_or(0)
    })
}

/// Checks that a build is the fold of the records below its positions; how many these are.
fn is_a_fold(store: &SqliteStore, book: &Book, view: &ViewId, when: &str) -> u64 {
    let gate = Gate::closed(&book.log);
    let mut below = 0;
    for (shard, saved) in (0..).map(ShardId).zip(store.positions(view).unwrap()) {
        let Some(saved) = saved else { continue };
        gate.open(shard, saved.offset.next());
        below += saved.offset.next().0;
    }
    let context = views();
    let projection = Arc::clone(&context.projections()[view.name.as_str()]);
    let first = ViewId::first(view.name.clone(), view.revision);
    let expected = fold_in_memory(context, projection, gate).unwrap();
    let (found, expected_documents) = (store.scan(view, None, 10_000).unwrap(), expected.documents(&first));
    assert!(found == expected_documents, "{when}: the documents of {view} are not those of {below} records");
    let aside = |store: &dyn ViewStore, view: &ViewId| {
        store
            .set_aside(view, None, None, 10_000)
            .unwrap()
            .into_iter()
            .map(|event| (event.position, event.why))
            .collect::<Vec<_>>()
    };
    assert!(aside(store, view) == aside(&expected, &first), "{when}: {view} has set aside other events");
    below
}
