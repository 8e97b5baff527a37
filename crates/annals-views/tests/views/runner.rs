//! Views with threads: reading one's own writes, lag, stops, revisions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::envelope::from_micros;
use annals_core::{Offset, Position, ShardId, Tenant};
use annals_log::{Fault, FaultPlan, Log};
use annals_views::rebuild::Phase;
use annals_views::{
    Drive, MemoryStore, OpenError, Settings, SqliteStore, StoreError, ViewError, ViewId, ViewState,
    ViewStore, Views,
};

use crate::domain::{
    Balance, Book, Cents, Event, Gate, TENANTS, balance_view, balances, bank, bank_of, by_hand, documents,
    small, wait_for,
};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(20);

fn amount(json: Option<Vec<u8>>) -> i64 {
    serde_json::from_slice::<Balance>(&json.expect("a document")).unwrap().amount
}

fn memory() -> Arc<dyn ViewStore> {
    Arc::new(MemoryStore::new())
}

#[test]
fn a_caller_reads_its_own_writes() {
    for shards in [1, 4] {
        let directory = tempfile::tempdir().unwrap();
        let mut book = Book::new(shards);
        let store = Arc::new(SqliteStore::open(directory.path().join("v")).unwrap());
        let views = Views::open(bank(), Arc::new(book.log.clone()), store, Settings::default()).unwrap();
        let acme = Tenant::new("acme").unwrap();
        for n in 1..=200 {
            let account = format!("a{}", n % 9);
            let receipt = book.record(Some("acme"), &account, &[Event::Deposited { amount: 3 }]);
            let read = views.get_after("balance", Some(&acme), &account, &[receipt], LONG).unwrap();
            let expected = &book.model[&(Some(acme.clone()), account.clone())];
            assert_eq!(amount(read), expected.amount, "write {n}");
            assert_eq!(views.get("balance", None, &account).unwrap(), None, "not without the tenant");
        }
    }
}

#[test]
fn a_bound_is_kept_and_says_how_far_behind() {
    let mut book = Book::new(1);
    let gate = Gate::closed(&book.log);
    gate.open_all();
    let clock = Arc::new(|| from_micros(11_000_000));
    let settings = Settings { clock, ..Settings::default() };
    let views = Views::open(bank(), Arc::clone(&gate) as Arc<dyn Log>, memory(), settings).unwrap();
    views.catch_up("balance", LONG).unwrap();
    let lag = views.lag("balance").unwrap();
    assert_eq!((lag.events, lag.seconds, lag.state), (0, 0.0, ViewState::Live));

    let receipt = book.record(None, "ann", &[Event::Deposited { amount: 5 }]);
    let began = Instant::now();
    let late = views.get_after("balance", None, "ann", &[receipt], SHORT).unwrap_err();
    assert!(began.elapsed() >= SHORT, "it waits as long as it may");
    assert!(matches!(late, ViewError::Behind { .. }), "{late}");
    assert_eq!(views.get("balance", None, "ann").unwrap(), None, "without a bound it answers at once");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| views.get_after("balance", None, "ann", &[receipt], LONG));
        gate.open_all();
        assert_eq!(amount(waiting.join().unwrap().unwrap()), 5);
    });
    // A record that does not exist yet is waited for, too.
    let next = (receipt.0, receipt.1.next());
    assert!(matches!(views.wait("balance", &[receipt, next], SHORT), Err(ViewError::Behind { .. })));
    assert!(views.wait("balance", &[receipt], SHORT).is_ok());
    assert!(views.wait("balance", &[], Duration::MAX).is_ok());
}

#[test]
fn lag_counts_records_and_seconds() {
    let mut book = Book::new(2);
    let clock = Arc::new(|| from_micros(61_000_000));
    let settings = Settings { clock, ..by_hand() };
    let gate = Gate::closed(&book.log);
    gate.open_all();
    let views = Views::open(bank(), Arc::clone(&gate) as Arc<dyn Log>, memory(), settings).unwrap();
    let lag = views.lag("balance").unwrap();
    // A genesis and a claim in each of two shards; the log was made at second 1.
    assert_eq!((lag.events, lag.seconds, lag.state), (4, 60.0, ViewState::Building));
    views.settle(LONG).unwrap();
    assert_eq!(views.lag("balance").unwrap().events, 0);
    let (shard, _) = book.record(None, "ann", &[Event::Opened]);
    gate.open_all();
    views.settle(LONG).unwrap();
    while book.record(None, "ann", &[Event::Opened]).1.0 < 30 {}
    gate.open_all();
    let lag = views.lag("balance").unwrap();
    assert_eq!((lag.events, &lag.state), (28, &ViewState::Live));
    let first_recorded_at = 1.001;
    assert!((lag.seconds - (61.0 - first_recorded_at)).abs() < 1e-9, "{lag:?} in shard {shard}");
    let json = serde_json::to_value(&lag).unwrap();
    assert_eq!((&json["events"], &json["state"]), (&28.into(), &"live".into()));
}

#[test]
fn a_bad_event_stops_its_view_only() {
    let mut book = Book::new(1);
    book.record(None, "ann", &[Event::Deposited { amount: 5 }]);
    let (shard, offset) = book.record(None, "bob", &[Event::Poisoned { place: "project".into() }]);
    let store = memory();
    let views =
        Views::open(bank(), Arc::new(book.log.clone()), Arc::clone(&store), Settings::default()).unwrap();
    views.catch_up("count", LONG).unwrap();
    let stopped = views.catch_up("balance", LONG).unwrap_err();
    let position = Position { shard, offset, index: 0 };
    assert_eq!(
        stopped.to_string(),
        format!(
            "view balance stands still at {position}: event {position}: projecting panicked: poisoned project"
        )
    );
    let read = views.get("balance", None, "ann").unwrap_err();
    assert_eq!(read, stopped, "a view that stands still does not answer as if nothing had happened");
    assert!(
        matches!(views.state("balance").unwrap(), ViewState::Stopped { position: Some(at), .. } if at == position)
    );
    assert_eq!(views.lag("balance").unwrap().events, 1);
    let receipt = book.record(None, "cleo", &[Event::Deposited { amount: 1 }]);
    let count = views.get_after("count", None, "4", &[receipt], LONG).unwrap().unwrap();
    assert_eq!(count, br#"{"events":1,"total":1}"#);
    assert_eq!(amount(store.get(&balance_view(), None, "ann").unwrap()), 5, "what came before is there");
    assert!(views.settle(LONG).is_err());
}

#[test]
fn a_read_that_fails_for_a_while_is_tried_again() {
    let mut book = Book::new(1);
    book.fill(9, 300);
    book.log.set_faults(FaultPlan::seeded(4).with(Fault::ReadUnavailable, 1.0));
    let store = memory();
    let views =
        Views::open(bank(), Arc::new(book.log.clone()), Arc::clone(&store), Settings::default()).unwrap();
    let behind = views.catch_up("balance", Duration::from_millis(150)).unwrap_err();
    let ViewError::Behind { lag, .. } = behind else { panic!("{behind}") };
    assert!(
        matches!(&lag.state, ViewState::Retrying { reason } if reason.contains("the read failed")),
        "{lag}"
    );
    book.log.set_faults(FaultPlan::none());
    views.catch_up("balance", LONG).unwrap();
    assert_eq!(views.state("balance").unwrap(), ViewState::Live);
    assert_eq!(balances(store.as_ref(), &TENANTS), book.model);
}

#[test]
fn faults_now_and_then_change_nothing() {
    for seed in 0..5 {
        let mut book = Book::new(3);
        for n in 0..400 {
            book.record(None, &format!("a{}", n % 50), &[Event::Deposited { amount: n }]);
        }
        book.log.set_faults(FaultPlan::seeded(seed).with(Fault::ReadUnavailable, 0.05));
        let store = memory();
        let settings = Settings { limits: small(), ..by_hand() };
        let views = Views::open(bank(), Arc::new(book.log.clone()), Arc::clone(&store), settings).unwrap();
        let tries = (1..).find(|_| views.settle(LONG).is_ok()).unwrap();
        assert!(tries > 1, "seed {seed}: some reads failed");
        assert_eq!(balances(store.as_ref(), &TENANTS), book.model, "seed {seed}");
    }
}

#[test]
fn another_runner_stops_the_slower_one() {
    let mut book = Book::new(1);
    let store = memory();
    let open = || Views::open(bank(), Arc::new(book.log.clone()), Arc::clone(&store), by_hand()).unwrap();
    let (first, second) = (open(), open());
    first.settle(LONG).unwrap();
    let error = second.settle(LONG);
    assert!(error.is_ok(), "nothing to save yet but the same positions: {error:?}");
    book.record(None, "ann", &[Event::Deposited { amount: 5 }]);
    first.settle(LONG).unwrap();
    let error = second.settle(LONG).unwrap_err();
    assert!(error.to_string().contains("another runner has moved view balance@1 in shard 0"), "{error}");
    assert!(matches!(error, ViewError::Stopped { .. }));
    assert_eq!(balances(store.as_ref(), &TENANTS), book.model);
}

#[test]
fn a_new_revision_is_built_beside_the_old_one() {
    let mut book = Book::new(1);
    for n in 0..100 {
        book.record(None, &format!("a{n}"), &[Event::Deposited { amount: n }]);
    }
    let store = memory();
    let log: Arc<dyn Log> = Arc::new(book.log.clone());
    Views::open(bank(), Arc::clone(&log), Arc::clone(&store), by_hand()).unwrap().settle(LONG).unwrap();

    let old_is_whole = || documents(store.as_ref(), &balance_view(), None).len() == 100;
    // A log that does not show its records yet is no reason to drop what was made of them.
    let hidden = Gate::closed(&book.log);
    let views = Views::open(bank_of::<Cents>(), hidden, Arc::clone(&store), by_hand()).unwrap();
    let behind = views.settle(SHORT).unwrap_err();
    assert!(matches!(behind, ViewError::Behind { .. }), "{behind}");
    assert!(old_is_whole());
    drop(views);

    let settings = Settings { patience: SHORT, ..Settings::default() };
    book.log.set_faults(FaultPlan::seeded(1).with(Fault::ReadUnavailable, 1.0));
    let views = Views::open(bank_of::<Cents>(), log, Arc::clone(&store), settings).unwrap();
    assert_eq!(amount(views.get("balance", None, "a7").unwrap()), 7, "the old build is read");
    assert_eq!(views.state("balance").unwrap(), ViewState::Older { revision: 1 });
    let receipt = book.record(None, "a7", &[Event::Opened]);
    let behind = views.get_after("balance", None, "a7", &[receipt], SHORT).unwrap_err();
    assert!(matches!(behind, ViewError::Behind { .. }), "half a build is not read: {behind}");
    assert!(old_is_whole());
    book.log.set_faults(FaultPlan::none());
    views.get_after("balance", None, "a7", &[receipt], LONG).unwrap();
    assert_eq!(views.get("balance", None, "a7").unwrap().unwrap(), br#"{"cents":700}"#);
    let second = ViewId { revision: 2, ..balance_view() };
    wait_for(|| views.rebuilding("balance").unwrap().unwrap().phase == Phase::Done);
    let views: Vec<ViewId> = store.builds().unwrap().into_iter().map(|build| build.view).collect();
    assert!(
        views.contains(&second) && !views.contains(&balance_view()),
        "the old build is dropped: {views:?}"
    );
    assert_eq!(documents(store.as_ref(), &second, None).len(), 100);
}

#[test]
fn what_does_not_exist_is_named() {
    let book = Book::new(2);
    let log: Arc<dyn Log> = Arc::new(book.log.clone());
    let views = Views::open(bank(), Arc::clone(&log), memory(), by_hand()).unwrap();
    views.settle(LONG).unwrap();
    assert_eq!(views.names(), ["balance", "count"]);
    let said = |error: ViewError| error.to_string();
    assert_eq!(
        said(views.get("nope", None, "a").unwrap_err()),
        "there is no view \"nope\"; there are balance, count"
    );
    assert_eq!(said(views.get("count", None, "many").unwrap_err()), "\"many\" cannot be a key of view count");
    let after = |shard| views.wait("count", &[(ShardId(shard), Offset(0))], SHORT);
    assert!(after(1).is_ok());
    assert_eq!(said(after(2).unwrap_err()), "the log has 2 shards, there is no shard 2");
    assert_eq!(views.get("count", None, "4").unwrap(), None);
    assert_eq!(views.list("count", &annals_views::Listing::default()).unwrap().documents, []);
    let shop = Arc::new(annals_core::context("shop"));
    let error = Views::open(shop, log, memory(), by_hand()).err().unwrap();
    assert_eq!(error, OpenError::Context { expected: "shop".into(), found: "bank".into() });
}

#[test]
fn a_store_for_reading_only_stops_the_views_that_want_to_write() {
    let mut book = Book::new(1);
    book.record(None, "ann", &[Event::Opened]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("v");
    let writer = SqliteStore::open(&path).unwrap();
    let reader: Arc<dyn ViewStore> = Arc::new(SqliteStore::open_read_only(&path).unwrap());
    let views = Views::open(bank(), Arc::new(book.log.clone()), reader, by_hand()).unwrap();
    let error = views.settle(LONG).unwrap_err();
    assert!(error.to_string().ends_with("is open for reading only"), "{error}");
    drop(writer);
}

#[test]
fn a_shutdown_is_prompt_and_saves_what_it_knows() {
    let mut book = Book::new(4);
    book.fill(1, 100);
    book.record(None, "a1", &[Event::Audited]);
    let store = memory();
    let views =
        Views::open(bank(), Arc::new(book.log.clone()), Arc::clone(&store), Settings::default()).unwrap();
    views.settle(LONG).unwrap();
    for _ in 0..10 {
        book.record(None, "a1", &[Event::Audited]);
    }
    views.settle(LONG).unwrap();
    let began = Instant::now();
    views.shutdown();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for (shard, saved) in (0..4).map(ShardId).zip(store.positions(&balance_view()).unwrap()) {
        assert_eq!(saved.unwrap().offset.next(), book.log.end(shard));
    }
    assert!(views.get("balance", None, "a1").is_ok(), "what is there can still be read");
    let receipt = book.record(None, "a1", &[Event::Opened]);
    let behind = views.get_after("balance", None, "a1", &[receipt], SHORT);
    assert!(matches!(behind, Err(ViewError::Behind { .. })));
}

#[test]
fn readers_do_not_wait_for_a_save() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("v");
    let store = SqliteStore::open(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();
    assert_eq!(store.get(&balance_view(), None, "a").unwrap(), None);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    drop(other);
    assert_eq!(store.drop_view(&balance_view()), Ok::<(), StoreError>(()));
}

#[test]
fn settings_say_who_drives() {
    assert_eq!(Settings::default().drive, Drive::Threads);
    let mut book = Book::new(1);
    let views = Views::open(bank(), Arc::new(book.log.clone()), memory(), by_hand()).unwrap();
    let receipt = book.record(None, "ann", &[Event::Deposited { amount: 2 }]);
    assert_eq!(views.lag("balance").unwrap().events, 3, "nobody drives but the caller");
    assert_eq!(amount(views.get_after("balance", None, "ann", &[receipt], Duration::ZERO).unwrap()), 2);
}
