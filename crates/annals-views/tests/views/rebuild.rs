//! Views built anew beside the ones that are read, while events come and readers read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals_core::Tenant;
use annals_log::{Fault, FaultPlan, Log};
use annals_views::rebuild::{Compare, Options, Phase, Status, Swap};
use annals_views::store::{Build, Change, Document, DocumentKey, Stage};
use annals_views::{MemoryStore, Settings, SqliteStore, ViewId, ViewState, ViewStore, Views};

use crate::domain::{
    Balance, Book, Event, Mended, TENANTS, balance_view, balances, bank, bank_of, small, wait_for,
};

const LONG: Duration = Duration::from_secs(60);

fn open(book: &Book, store: &Arc<dyn ViewStore>) -> Views {
    Views::open(bank(), Arc::new(book.log.clone()), Arc::clone(store), Settings::default()).unwrap()
}

fn memory() -> Arc<dyn ViewStore> {
    Arc::new(MemoryStore::new())
}

fn again() -> ViewId {
    ViewId { build: 2, ..balance_view() }
}

fn status(views: &Views) -> Status {
    views.rebuilding("balance").unwrap().expect("a rebuild")
}

fn wait_until(views: &Views, phase: Phase) -> Status {
    wait_for(|| status(views).phase == phase);
    status(views)
}

fn stages(views: &Views) -> Vec<(u32, Stage)> {
    let build = |build: Build| (build.view.build, build.stage);
    views.builds("balance").unwrap().into_iter().map(build).collect()
}

/// What the live build of `build` holds must be what the model says.
fn is_the_model(book: &Book, store: &dyn ViewStore, build: &ViewId) -> bool {
    let found = annals_views::rebuild::compare(store, build, build, false).unwrap().after;
    let mut model = book.model.clone();
    for tenant in TENANTS {
        let tenant = tenant.map(|name| Tenant::new(name).unwrap());
        for (key, json) in crate::domain::documents(store, build, tenant.as_ref()) {
            let expected = model.remove(&(tenant.clone(), key.clone()));
            assert_eq!(Some(serde_json::from_slice::<Balance>(&json).unwrap()), expected, "{key}");
        }
    }
    model.is_empty() && found > 0
}

#[test]
fn a_view_is_built_anew_while_events_come_and_readers_read() {
    let directory = tempfile::tempdir().unwrap();
    for (n, keep) in [false, true].into_iter().enumerate() {
        let mut book = Book::new(3);
        book.fill(n as u64, 3_000);
        let path = directory.path().join(format!("{n}.sqlite"));
        let store: Arc<dyn ViewStore> = Arc::new(SqliteStore::open(path).unwrap());
        let views = open(&book, &store);
        let first = book.record(None, "reader", &[Event::Deposited { amount: 1 }]);
        views.get_after("balance", None, "reader", &[first], LONG).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let json = views.get("balance", None, "reader").unwrap().expect("never empty");
                    let amount = serde_json::from_slice::<Balance>(&json).unwrap().amount;
                    assert!(amount >= last, "a reader was taken back from {last} to {amount}");
                    last = amount;
                }
            });
            let options = Options { keep, compare: Compare::Documents, swap: Swap::IfEqual };
            assert_eq!(views.rebuild("balance", options).unwrap(), again());
            let mut last = first;
            let mut written = 0;
            while status(&views).phase != Phase::Done || written < 50 {
                last = book.record(None, "reader", &[Event::Deposited { amount: 1 }]);
                written += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            views.get_after("balance", None, "reader", &[last], LONG).unwrap();
            done.store(true, Ordering::Relaxed);
        });
        let status = status(&views);
        assert!(status.compared.as_ref().unwrap().is_equal(), "{status:?}");
        assert!(status.swap_ms.unwrap() <= status.held_ms.unwrap());
        assert_eq!((status.from.as_str(), status.to.as_str()), ("balance@1", "balance@1.2"));
        views.settle(LONG).unwrap();
        assert!(is_the_model(&book, store.as_ref(), &again()));
        let expected: &[_] = if keep { &[(1, Stage::Kept), (2, Stage::Live)] } else { &[(2, Stage::Live)] };
        assert_eq!(stages(&views), expected);
        drop(views);
        // What took over goes on, and what is kept stays until it is dropped.
        let views = open(&book, &store);
        book.record(None, "reader", &[Event::Deposited { amount: 1 }]);
        views.settle(LONG).unwrap();
        assert!(is_the_model(&book, store.as_ref(), &again()));
        assert_eq!(stages(&views), expected);
        let error = views.drop_build("balance", "balance@1.2").unwrap_err().to_string();
        assert!(error.starts_with("view balance has no build balance@1.2 that could be dropped"), "{error}");
        assert_eq!(views.drop_build("balance", "balance@1").is_ok(), keep);
        assert_eq!(stages(&views), [(2, Stage::Live)]);
    }
}

#[test]
fn a_rebuild_is_paused_cancelled_and_begun_again() {
    let mut book = Book::new(2);
    book.fill(5, 2_000);
    let store = memory();
    let settings = Settings { limits: small(), ..Settings::default() };
    let log: Arc<dyn Log> = Arc::new(book.log.clone());
    let views = Views::open(bank(), Arc::clone(&log), Arc::clone(&store), settings.clone()).unwrap();
    views.settle(LONG).unwrap();
    assert_eq!(views.rebuilding("balance").unwrap(), None);
    let error = views.cancel("balance").unwrap_err().to_string();
    assert_eq!(error, "no rebuild of view balance is under way");

    let told = Options { swap: Swap::WhenTold, ..Options::default() };
    views.rebuild("balance", told).unwrap();
    views.pause("balance").unwrap();
    wait_until(&views, Phase::Paused);
    let error = views.rebuild("balance", told).unwrap_err().to_string();
    assert_eq!(error, "view balance is being rebuilt already (balance@1.2); wait for it, or cancel it");
    let error = views.swap("balance").unwrap_err().to_string();
    assert!(error.contains("has not caught up yet"), "{error}");
    let paused = status(&views).records;
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(status(&views).records, paused);
    views.cancel("balance").unwrap();
    wait_until(&views, Phase::Cancelled);
    assert_eq!(stages(&views), [(1, Stage::Live)]);

    views.rebuild("balance", told).unwrap();
    views.pause("balance").unwrap();
    views.resume("balance").unwrap();
    wait_until(&views, Phase::Ready);
    assert_eq!(stages(&views), [(1, Stage::Live), (2, Stage::Building)]);
    // It is broken off, goes on when the views are opened again, and follows the log until it is told.
    drop(views);
    book.fill(6, 100);
    let views = Views::open(bank(), log, Arc::clone(&store), settings).unwrap();
    wait_until(&views, Phase::Ready);
    let receipt = book.record(None, "late", &[Event::Deposited { amount: 1 }]);
    views.get_after("balance", None, "late", &[receipt], LONG).unwrap();
    views.swap("balance").unwrap();
    wait_until(&views, Phase::Done);
    views.settle(LONG).unwrap();
    assert!(is_the_model(&book, store.as_ref(), &again()));
    assert_eq!(stages(&views), [(2, Stage::Live)]);
}

/// Changes a document behind the view's back.
fn tamper(store: &dyn ViewStore, key: &str, json: Option<&str>) {
    let positions = store.positions(&balance_view()).unwrap();
    let document = json.map(|json| Document { json: json.into(), values: Vec::new() });
    let key = DocumentKey { tenant: None, key: key.to_owned() };
    let change = Change {
        documents: vec![(key, document)],
        from: positions.clone(),
        to: positions,
        ..Change::default()
    };
    store.save(&balance_view(), &change).unwrap();
}

#[test]
fn what_differs_is_told_and_does_not_take_over() {
    let mut book = Book::new(1);
    for n in 0..20 {
        book.record(None, &format!("a{n}"), &[Event::Deposited { amount: 1 }]);
    }
    let store = memory();
    let views = open(&book, &store);
    views.settle(LONG).unwrap();
    tamper(store.as_ref(), "a3", Some(r#"{"amount":99,"events":1}"#));
    tamper(store.as_ref(), "a4", Some(r#"{"events":1,"amount":1}"#));
    let careful = Options { compare: Compare::Documents, swap: Swap::IfEqual, keep: false };
    views.rebuild("balance", careful).unwrap();
    let failed = wait_until(&views, Phase::Failed);
    let compared = failed.compared.unwrap();
    assert_eq!((compared.before, compared.after, compared.differing), (20, 20, Some(1)));
    assert_eq!(compared.examples, ["a3"]);
    assert!(failed.reason.unwrap().contains("differs"));
    let json = views.get("balance", None, "a3").unwrap().unwrap();
    assert_eq!(json, br#"{"amount":99,"events":1}"#, "nothing changed for readers");

    // A document too many, counted only; the build that failed is dropped by hand.
    views.drop_build("balance", "balance@1.2").unwrap();
    tamper(store.as_ref(), "ghost", Some(r#"{"amount":0,"events":0}"#));
    views.rebuild("balance", Options { swap: Swap::IfEqual, ..Options::default() }).unwrap();
    let failed = wait_until(&views, Phase::Failed).compared.unwrap();
    assert_eq!((failed.before, failed.after, failed.differing), (21, 20, None));

    // Whoever wants it all the same gets it, and the list of what differed.
    tamper(store.as_ref(), "a5", None);
    let insists = Options { compare: Compare::Documents, ..Options::default() };
    assert_eq!(views.rebuild("balance", insists).unwrap().build, 3);
    let done = wait_until(&views, Phase::Done).compared.unwrap();
    assert_eq!((done.before, done.after, done.differing), (20, 20, Some(3)));
    assert_eq!(done.examples, ["a3", "a5", "ghost"]);
    assert!(is_the_model(&book, store.as_ref(), &ViewId { build: 3, ..balance_view() }));
}

#[test]
fn a_rebuild_that_cannot_go_on_leaves_the_live_view_alone() {
    let mut book = Book::new(1);
    book.record(None, "ann", &[Event::Deposited { amount: 5 }]);
    let store = memory();
    let views =
        Views::open(bank_of::<Mended>(), Arc::new(book.log.clone()), Arc::clone(&store), Settings::default())
            .unwrap();
    book.record(None, "bob", &[Event::Poisoned { place: "project".into() }]);
    views.settle(LONG).unwrap();
    drop(views);
    // The mended projection is lost again: the live build has passed the event, a new one cannot.
    let views = open(&book, &store);
    views.rebuild("balance", Options::default()).unwrap();
    let failed = wait_until(&views, Phase::Failed);
    assert!(failed.reason.unwrap().contains("poisoned project"));
    assert_eq!(views.state("balance").unwrap(), ViewState::Live);
    book.record(None, "ann", &[Event::Deposited { amount: 5 }]);
    views.catch_up("balance", LONG).unwrap();
    assert_eq!(balances(store.as_ref(), &TENANTS), book.model);
}

#[test]
fn a_view_that_stands_still_is_mended_by_a_rebuild() {
    let mut book = Book::new(1);
    book.record(None, "ann", &[Event::Deposited { amount: 5 }]);
    book.record(None, "bob", &[Event::Poisoned { place: "project".into() }]);
    book.record(None, "ann", &[Event::Deposited { amount: 6 }]);
    let store = memory();
    let views = open(&book, &store);
    views.catch_up("balance", LONG).unwrap_err();
    drop(views);
    let log: Arc<dyn Log> = Arc::new(book.log.clone());
    let views = Views::open(bank_of::<Mended>(), log, Arc::clone(&store), Settings::default()).unwrap();
    views.rebuild("balance", Options::default()).unwrap();
    wait_until(&views, Phase::Done);
    views.catch_up("balance", LONG).unwrap();
    assert!(is_the_model(&book, store.as_ref(), &again()));
}

#[test]
fn faults_delay_a_rebuild_and_change_nothing() {
    let mut book = Book::new(2);
    book.fill(9, 1_000);
    let store = memory();
    let views = open(&book, &store);
    views.settle(LONG).unwrap();
    book.log.set_faults(FaultPlan::seeded(3).with(Fault::ReadUnavailable, 0.3));
    views
        .rebuild("balance", Options { compare: Compare::Documents, swap: Swap::IfEqual, keep: false })
        .unwrap();
    wait_until(&views, Phase::Done);
    book.log.set_faults(FaultPlan::none());
    views.settle(LONG).unwrap();
    assert!(is_the_model(&book, store.as_ref(), &again()));
}

/// A view that has not been read yet is built anew at once: what is read in the end is whole all the same.
#[test]
fn half_a_build_never_takes_over() {
    for round in 0..20 {
        let mut book = Book::new(2);
        book.fill(round, 300);
        book.record(None, "reader", &[Event::Deposited { amount: 7 }]);
        let store = memory();
        let settings = Settings { limits: small(), patience: LONG, ..Settings::default() };
        let log: Arc<dyn Log> = Arc::new(book.log.clone());
        let open = || Views::open(bank(), Arc::clone(&log), Arc::clone(&store), settings.clone()).unwrap();
        let views = open();
        if round % 2 == 1 {
            // It has been read, but this process has not looked at it yet.
            views.settle(LONG).unwrap();
        }
        drop(views);
        let views = open();
        // Where an earlier build was broken off, the one that goes on is read.
        let json = {
            views.rebuild("balance", Options::default()).unwrap();
            views.get("balance", None, "reader").unwrap()
        };
        let json = json.unwrap_or_else(|| panic!("round {round}: an empty view was read"));
        assert_eq!(serde_json::from_slice::<Balance>(&json).unwrap().amount, 7, "round {round}");
        wait_until(&views, Phase::Done);
        views.settle(LONG).unwrap();
        let build = views.builds("balance").unwrap().into_iter().find(|build| build.stage == Stage::Live);
        assert!(is_the_model(&book, store.as_ref(), &build.unwrap().view), "round {round}");
    }
}
