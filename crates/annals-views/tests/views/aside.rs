//! Events that are bad: a view that parks their streams, one that leaves them out, and what a person does then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annals_core::envelope::EventPart;
use annals_core::{Events as _, Fate, OnBadEvent, Projection, Recorded, Tenant};
use annals_log::Log;
use annals_views::{
    FoldError, Folder, OperateError, Retried, SetAside, Settings, ViewState, ViewStore, Views, Why,
    fold_in_memory,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{Balance, Book, Event, Mended, TENANTS, balance_view, balances, bank_of, small};
use crate::fold::{folder, settle};
use crate::store::every_store;

const LONG: Duration = Duration::from_secs(60);

/// [`Balance`] with another mind about bad events: `PARK` or not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
struct Minded<const PARK: bool>(Balance);

impl<const PARK: bool> Projection for Minded<PARK> {
    const NAME: &'static str = "balance";
    const ON_BAD_EVENT: OnBadEvent = if PARK { OnBadEvent::Park } else { OnBadEvent::Skip };
    type Input = Event;
    type Key = String;

    fn keys(e: &Recorded<Event>) -> impl IntoIterator<Item = String> {
        Balance::keys(e).into_iter().collect::<Vec<_>>()
    }

    fn project(&mut self, key: &String, e: &Recorded<Event>) -> Fate {
        self.0.project(key, e)
    }
}

type Parks = Minded<true>;
type Skips = Minded<false>;

fn deposit(amount: i64) -> Event {
    Event::Deposited { amount }
}

fn poison(place: &str) -> Event {
    Event::Poisoned { place: place.into() }
}

/// An event whose payload is none.
fn garbage() -> EventPart {
    let mut part = deposit(1).store().unwrap();
    part.payload = "{\"amount\":\"much\"}".into();
    part
}

/// Three streams with an event that is bad in a way of its own, others between, and good events behind each. What
/// [`Book::model`] says is what a projection makes of it that takes the first two bad ones for empty ones.
fn bad_book() -> Book {
    let mut book = Book::new(1);
    for n in 0..10 {
        book.record(None, &format!("a{n}"), &[deposit(n)]);
    }
    book.record(None, "keys", &[deposit(1), poison("keys"), deposit(2)]);
    book.record(Some("acme"), "project", &[deposit(10)]);
    book.record(Some("acme"), "project", &[poison("project")]);
    book.record(Some("acme"), "project", &[Event::Moved { to: "a1".into(), amount: 3 }]);
    book.parts(None, "garbage", vec![garbage()]);
    book.record(None, "garbage", &[deposit(100)]);
    for n in 0..10 {
        book.record(None, &format!("a{n}"), &[deposit(n)]);
        book.record(None, "keys", &[deposit(4)]);
    }
    book
}

fn aside(store: &dyn ViewStore) -> Vec<(String, Why, String)> {
    let all = store.set_aside(&balance_view(), None, None, 1_000).unwrap();
    let shown = |event: SetAside| {
        assert_eq!(event.reason.is_empty(), event.why == Why::Waiting);
        (event.stream, event.why, event.reason.split([':', ';']).next().unwrap_or_default().to_owned())
    };
    all.into_iter().map(shown).collect()
}

fn counted(store: &dyn ViewStore) -> BTreeMap<(String, Why), usize> {
    let mut counted = BTreeMap::new();
    for (stream, why, _) in aside(store) {
        *counted.entry((stream, why)).or_default() += 1;
    }
    counted
}

fn amounts(store: &dyn ViewStore) -> Vec<(Option<Tenant>, i64)> {
    let interesting = ["keys", "project", "garbage"];
    let all = balances(store, &TENANTS).into_iter();
    let found = all.filter(|((_, key), _)| interesting.contains(&key.as_str()));
    found.map(|((tenant, _), document)| (tenant, document.amount)).collect()
}

#[test]
fn a_parked_stream_waits_and_the_others_go_on() {
    every_store_shared(|store| {
        let mut book = bad_book();
        let log: Arc<dyn Log> = Arc::new(book.log.clone());
        let mut parking = folder(&bank_of::<Parks>(), Arc::clone(&log), store, small());
        settle(&mut parking).unwrap();
        let acme = Tenant::new("acme").unwrap();
        // What came before the bad events counts, what comes behind does not.
        assert_eq!(amounts(store.as_ref()), [(None, 1), (Some(acme.clone()), 10)]);
        for n in 0..10 {
            let key = (None, format!("a{n}"));
            let expected = book.model.get(&key).unwrap();
            assert_eq!(&balances(store.as_ref(), &TENANTS)[&key], expected, "a{n} went on");
        }
        let parked = |stream: &str| (stream.to_owned(), Why::Parked);
        let waiting = |stream: &str| (stream.to_owned(), Why::Waiting);
        let expected = BTreeMap::from([
            (parked("account/garbage"), 1),
            (waiting("account/garbage"), 1),
            (parked("account/keys"), 1),
            (waiting("account/keys"), 11),
            (parked("acme:account/project"), 1),
            (waiting("acme:account/project"), 1),
        ]);
        assert_eq!(counted(store.as_ref()), expected);
        // It is the same after a restart, for events that come later, and when it is tried again in vain.
        drop(parking);
        book.record(None, "garbage", &[deposit(100)]);
        let mut parking = folder(&bank_of::<Parks>(), Arc::clone(&log), store, small());
        settle(&mut parking).unwrap();
        assert_eq!(counted(store.as_ref())[&waiting("account/garbage")], 2);
        assert_eq!(parking.retry(None).unwrap(), Retried { taken_in: 0, parked: 3 });
        assert_eq!(amounts(store.as_ref()), [(None, 1), (Some(acme.clone()), 10)]);
        drop(parking);
        // Mended, what waits is taken in, in order; only the garbage stays what it is.
        let mut mended = folder(&bank_of::<Mended>(), log, store, small());
        assert_eq!(mended.retry(Some("account/keys")).unwrap(), Retried { taken_in: 12, parked: 0 });
        assert_eq!(mended.retry(None).unwrap(), Retried { taken_in: 2, parked: 1 });
        assert_eq!(store.parked_streams(&balance_view()).unwrap(), ["account/garbage"]);
        let dropped = mended.drop_parked("account/garbage").unwrap();
        assert_eq!(dropped, Some(Retried { taken_in: 2, parked: 0 }));
        assert_eq!(mended.drop_parked("account/garbage").unwrap(), None);
        assert_eq!(counted(store.as_ref()), BTreeMap::from([(("account/garbage".into(), Why::Skipped), 1)]));
        assert_eq!(balances(store.as_ref(), &TENANTS), book.model);
        book.record(None, "keys", &[deposit(5)]);
        settle(&mut mended).unwrap();
        assert_eq!(balances(store.as_ref(), &TENANTS), book.model);
    });
}

/// Every store, as a fold takes it.
fn every_store_shared(check: impl Fn(&Arc<dyn ViewStore>)) {
    let directory = tempfile::tempdir().unwrap();
    check(&(Arc::new(annals_views::MemoryStore::new()) as _));
    check(&(Arc::new(annals_views::SqliteStore::open(directory.path().join("v")).unwrap()) as _));
}

#[test]
fn a_bad_event_is_left_out_on_record() {
    every_store_shared(|store| {
        let book = bad_book();
        let log: Arc<dyn Log> = Arc::new(book.log.clone());
        settle(&mut folder(&bank_of::<Skips>(), Arc::clone(&log), store, small())).unwrap();
        let expected = BTreeMap::from(
            ["account/garbage", "account/keys", "acme:account/project"]
                .map(|stream| ((stream.to_owned(), Why::Skipped), 1)),
        );
        assert_eq!(counted(store.as_ref()), expected);
        let reasons: Vec<String> = aside(store.as_ref()).into_iter().map(|(.., reason)| reason).collect();
        assert_eq!(reasons[0], "reading the event panicked");
        assert_eq!(reasons[1], "projecting panicked");
        let amount = |(key, document): (&(Option<Tenant>, String), &Balance)| (key.clone(), document.amount);
        let found = balances(store.as_ref(), &TENANTS);
        assert_eq!(
            found.iter().map(amount).collect::<Vec<_>>(),
            book.model.iter().map(amount).collect::<Vec<_>>()
        );
        assert_eq!(store.parked_streams(&balance_view()).unwrap(), [""; 0]);
        // The same in memory, in one go.
        let context = bank_of::<Skips>();
        let projection = Arc::clone(&context.projections()["balance"]);
        let memory = fold_in_memory(context, projection, log).unwrap();
        assert_eq!(balances(&memory, &TENANTS), found);
        assert_eq!(counted(&memory), expected);
    });
}

#[test]
fn what_nobody_knows_stops_a_view_whatever_its_mind() {
    let mut book = Book::new(1);
    book.record(None, "ann", &[deposit(1)]);
    let mut unknown = deposit(2).store().unwrap();
    unknown.name = "account.renamed".into();
    book.parts(None, "bob", vec![unknown]);
    every_store_shared(|store| {
        let mut parking = folder(&bank_of::<Parks>(), Arc::new(book.log.clone()), store, small());
        let error = settle(&mut parking).unwrap_err();
        assert!(
            matches!(&error, FoldError::Event { reason, .. } if reason.contains("account.renamed")),
            "{error}"
        );
        assert_eq!(counted(store.as_ref()), BTreeMap::new());
    });
}

#[test]
fn what_is_set_aside_is_listed_in_pages() {
    every_store(|store| {
        let view = balance_view();
        store.create(&view, &annals_views::store::Layout::default()).unwrap();
        let at = |shard, offset, index| annals_core::Position {
            shard: annals_core::ShardId(shard),
            offset: annals_core::Offset(offset),
            index,
        };
        let positions = [at(0, 0, 0), at(0, 0, 1), at(0, 9, 0), at(1, 3, 0), at(1, u64::MAX >> 1, 7)];
        let event = |(n, position): (usize, annals_core::Position)| SetAside {
            position,
            stream: format!("account/{}", n % 2),
            why: [Why::Parked, Why::Waiting, Why::Skipped][n % 3],
            reason: format!("'reason' {n}"),
        };
        let events: Vec<SetAside> = positions.into_iter().enumerate().map(event).collect();
        let change = annals_views::store::Change { set_aside: events.clone(), ..Default::default() };
        store.save(&view, &change).unwrap();
        for size in 1..7 {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let some = store.set_aside(&view, None, after, size).unwrap();
                let Some(last) = some.last() else { break };
                after = Some(last.position);
                seen.extend(some);
            }
            assert_eq!(seen, events);
        }
        assert_eq!(
            store.set_aside(&view, Some("account/1"), None, 9).unwrap(),
            [events[1].clone(), events[3].clone()]
        );
        // What is said later counts, and what was taken in is gone.
        let again = SetAside { why: Why::Skipped, reason: "dropped".into(), ..events[0].clone() };
        let change = annals_views::store::Change {
            set_aside: vec![again.clone()],
            taken_in: vec![positions[1], positions[2]],
            ..Default::default()
        };
        store.save(&view, &change).unwrap();
        assert_eq!(
            store.set_aside(&view, None, None, 9).unwrap(),
            [again, events[3].clone(), events[4].clone()]
        );
        store.drop_view(&view).unwrap();
        assert_eq!(store.set_aside(&view, None, None, 9).unwrap(), []);
    });
}

#[test]
fn views_park_retry_and_drop_while_they_follow() {
    let mut book = bad_book();
    let store: Arc<dyn ViewStore> = Arc::new(annals_views::MemoryStore::new());
    let log: Arc<dyn Log> = Arc::new(book.log.clone());
    let open =
        |context| Views::open(context, Arc::clone(&log), Arc::clone(&store), Settings::default()).unwrap();
    let views = open(bank_of::<Parks>());
    views.catch_up("balance", LONG).unwrap();
    assert_eq!(views.state("balance").unwrap(), ViewState::Live);
    assert_eq!(views.parked_streams("balance").unwrap().len(), 3);
    let first = &views.set_aside("balance", Some("account/keys"), None, 1).unwrap()[0];
    assert_eq!((first.why, first.position.index), (Why::Parked, 1));
    let error = views.drop_parked("balance", "account/a1").unwrap_err();
    assert!(matches!(error, OperateError::NotParked { .. }), "{error}");
    drop(views);
    let views = open(bank_of::<Mended>());
    assert_eq!(views.retry("balance", None).unwrap(), Retried { taken_in: 14, parked: 1 });
    assert_eq!(views.drop_parked("balance", "account/garbage").unwrap(), Retried { taken_in: 1, parked: 0 });
    book.record(None, "garbage", &[deposit(1)]);
    views.catch_up("balance", LONG).unwrap();
    assert_eq!(balances(store.as_ref(), &TENANTS), book.model);
}

/// Bad events thick and fast, in batches of every size: what comes of them does not depend on where batches end.
#[test]
fn where_batches_end_makes_no_difference() {
    let mut book = Book::new(1);
    for n in 0..300_i64 {
        let event = match n % 7 {
            3 => poison("project"),
            5 => poison("keys"),
            _ => deposit(n),
        };
        book.record(None, &format!("a{}", n % 11), &[event]);
    }
    let fold = |batch_events: usize, chunk_bytes: usize| {
        let store: Arc<dyn ViewStore> = Arc::new(annals_views::MemoryStore::new());
        let limits = annals_views::Limits { batch_events, chunk_bytes, ..small() };
        let mut folder: Folder = folder(&bank_of::<Parks>(), Arc::new(book.log.clone()), &store, limits);
        settle(&mut folder).unwrap();
        (balances(store.as_ref(), &TENANTS), aside(store.as_ref()))
    };
    let whole = fold(10_000, 1 << 20);
    assert_eq!(whole.1.iter().filter(|(_, why, _)| *why == Why::Parked).count(), 11);
    for (batch_events, chunk_bytes) in [(1, 1), (2, 200), (7, 300), (64, 4_000)] {
        assert_eq!(fold(batch_events, chunk_bytes), whole, "{batch_events} {chunk_bytes}");
    }
}
