//! The fold without threads: what documents hold, and when a view stops.

use std::sync::Arc;

use annals_core::context::AnyProjection;
use annals_core::envelope::EventPart;
use annals_core::{Context, Events as _, Offset, Position, ShardId};
use annals_log::Log;
use annals_views::{
    FoldError, Folder, Limits, MemoryStore, SqliteStore, Step, StoreError, ViewId, ViewStore, fold_in_memory,
};
use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::domain::{
    Book, Cents, Event, Gate, Mended, TENANTS, balance_view, balances, bank, bank_of, documents, small,
};

fn projection(context: &Context, view: &str) -> Arc<dyn AnyProjection> {
    Arc::clone(&context.projections()[view])
}

pub fn folder(
    context: &Arc<Context>,
    log: Arc<dyn Log>,
    store: &Arc<dyn ViewStore>,
    limits: Limits,
) -> Folder {
    let projection = projection(context, "balance");
    Folder::new(Arc::clone(context), projection, log, Arc::clone(store), limits)
}

pub fn settle(folder: &mut Folder) -> Result<(), FoldError> {
    while folder.step()? != Step::Idle {}
    Ok(())
}

fn memory() -> Arc<dyn ViewStore> {
    Arc::new(MemoryStore::new())
}

#[test]
fn documents_are_what_the_events_say() {
    let mut book = Book::new(1);
    book.fill(11, 1_500);
    let directory = tempfile::tempdir().unwrap();
    let file: Arc<dyn ViewStore> = Arc::new(SqliteStore::open(directory.path().join("v")).unwrap());
    let some_cache = Limits { cache_bytes: 5_000, ..small() };
    for (store, limits) in
        [(memory(), Limits::default()), (memory(), small()), (memory(), some_cache), (file, small())]
    {
        settle(&mut folder(&bank(), Arc::new(book.log.clone()), &store, limits)).unwrap();
        assert_eq!(balances(store.as_ref(), &TENANTS), book.model, "{limits:?}");
    }
    let folded = fold_in_memory(bank(), projection(&bank(), "balance"), Arc::new(book.log.clone())).unwrap();
    assert_eq!(balances(&folded, &TENANTS), book.model);
    assert!(book.model.len() > 100, "tenants have documents of their own");
}

#[test]
fn a_fold_goes_on_where_the_store_stands() {
    let mut book = Book::new(1);
    let store = memory();
    for round in 0..20 {
        let before = book.log.end(ShardId(0));
        let before = if round == 0 { Offset(0) } else { before };
        book.fill(round, 40);
        let mut folder = folder(&bank(), Arc::new(book.log.clone()), &store, small());
        let Step::Moved { records } = folder.step().unwrap() else { panic!("there is more") };
        assert!(records <= 14, "a small batch, not {records} records");
        assert_eq!(folder.cursor().of(ShardId(0)).0 - records, before.0, "round {round}");
        settle(&mut folder).unwrap();
        folder.save().unwrap();
        assert_eq!(balances(store.as_ref(), &TENANTS), book.model, "round {round}");
    }
}

#[test]
fn shards_may_interleave_as_they_like() {
    let mut book = Book::new(8);
    let mut random = ChaCha8Rng::seed_from_u64(3);
    for n in 0..2_000_i64 {
        let account = format!("a{}", random.random_range(0..200_u32));
        let to = format!("a{}", random.random_range(0..200_u32));
        book.record(None, &account, &[Event::Deposited { amount: n }, Event::Moved { to, amount: n % 17 }]);
    }
    for seed in 0..5 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let gate = Gate::closed(&book.log);
        let store = memory();
        let mut folder = folder(&bank(), Arc::clone(&gate) as Arc<dyn Log>, &store, small());
        let mut ends = [0_u64; 8];
        while (0..8).any(|shard| Offset(ends[shard as usize]) < book.log.end(ShardId(shard))) {
            let shard = random.random_range(0..8_u32);
            let end = &mut ends[shard as usize];
            *end = (*end + random.random_range(1..40)).min(book.log.end(ShardId(shard)).0);
            gate.open(ShardId(shard), Offset(*end));
            folder.step().unwrap();
        }
        settle(&mut folder).unwrap();
        assert_eq!(balances(store.as_ref(), &TENANTS), book.model, "seed {seed}");
    }
}

#[test]
fn no_shard_starves_behind_a_busy_one() {
    let mut book = Book::new(2);
    let shard_of =
        |account: &str| bank().shard_of(&format!("account/{account}").parse().unwrap(), 2).unwrap();
    let busy = (0..).map(|n| format!("a{n}")).find(|account| shard_of(account) == ShardId(0)).unwrap();
    let quiet = (0..).map(|n| format!("a{n}")).find(|account| shard_of(account) == ShardId(1)).unwrap();
    for _ in 0..3_000 {
        book.record(None, &busy, &[Event::Deposited { amount: 1 }]);
    }
    book.record(None, &quiet, &[Event::Opened]);
    let limits = Limits { batch_events: 1, ..small() };
    let store = memory();
    let mut folder = folder(&bank(), Arc::new(book.log.clone()), &store, limits);
    for _ in 0..2 {
        folder.step().unwrap();
    }
    assert!(store.get(&balance_view(), None, &quiet).unwrap().is_some());
}

/// A bad event, what it is stored as, and what the view says about it.
fn bad_events() -> Vec<(EventPart, &'static str)> {
    let poison = |place: &str| Event::Poisoned { place: place.to_owned() }.store().unwrap();
    let part = |name: &str, payload: &'static str| EventPart {
        name: name.to_owned(),
        shape: 1,
        payload: Bytes::from_static(payload.as_bytes()),
        tags: Vec::new(),
    };
    vec![
        (poison("keys"), "reading the event panicked: poisoned keys"),
        (poison("project"), "projecting panicked: poisoned project"),
        (
            part("account.deposited", r#"{"amount":"much"}"#),
            "account.deposited (shape 1) does not fit its type",
        ),
        (part("nobody.knows", ""), "context \"bank\" has no event stored as \"nobody.knows\""),
    ]
}

#[test]
fn a_bad_event_stops_the_view_and_nothing_is_skipped() {
    for (bad, said) in bad_events() {
        for limits in [small(), Limits::default()] {
            let mut book = Book::new(1);
            book.fill(5, 100);
            let good = book.model.clone();
            let deposit = Event::Deposited { amount: 77 }.store().unwrap();
            let (shard, offset) = book.parts(None, "a1", vec![deposit.clone(), bad.clone()]);
            book.parts(None, "a2", vec![deposit]);
            let store = memory();
            for opened in 0..2 {
                let mut folder = folder(&bank(), Arc::new(book.log.clone()), &store, limits);
                for _ in 0..2 {
                    let error = settle(&mut folder).unwrap_err();
                    let position = Position { shard, offset, index: 1 };
                    assert_eq!(error.position(), Some(position), "opened {opened} times");
                    let text = error.to_string();
                    assert!(text.starts_with(&format!("event {position}: {said}")), "{text}");
                    assert!(!error.is_passing());
                    assert_eq!(folder.cursor().of(shard), offset);
                }
                // All before the record is there, and nothing of the record.
                assert_eq!(balances(store.as_ref(), &TENANTS), good, "{said}");
            }
        }
    }
}

#[test]
fn a_mended_view_goes_on_at_the_event_that_stopped_it() {
    let mut book = Book::new(1);
    book.fill(6, 60);
    book.record(None, "a1", &[Event::Poisoned { place: "project".into() }]);
    book.fill(7, 60);
    let store = memory();
    let stopped = settle(&mut folder(&bank(), Arc::new(book.log.clone()), &store, small()));
    assert!(matches!(stopped, Err(FoldError::Event { .. })));
    settle(&mut folder(&bank_of::<Mended>(), Arc::new(book.log.clone()), &store, small())).unwrap();
    assert_eq!(balances(store.as_ref(), &TENANTS), book.model);
}

#[test]
fn a_record_that_is_no_envelope_stops_the_view() {
    let mut book = Book::new(1);
    book.record(None, "a1", &[Event::Opened]);
    let offset = book.raw(0, b"\xff\xff\xff");
    let store = memory();
    let error = settle(&mut folder(&bank(), Arc::new(book.log.clone()), &store, small())).unwrap_err();
    assert_eq!(error.position(), Some(Position { shard: ShardId(0), offset, index: 0 }));
    assert!(error.to_string().contains("the bytes are not an envelope"), "{error}");
}

#[test]
fn another_log_or_a_cut_one_is_noticed() {
    let mut book = Book::new(1);
    book.fill(1, 50);
    let store = memory();
    settle(&mut folder(&bank(), Arc::new(book.log.clone()), &store, small())).unwrap();
    let saved = store.positions(&balance_view()).unwrap();
    let other_id = {
        let mut book = Book::with_id(1, 2);
        book.fill(1, 60);
        book
    };
    let other_content = {
        let mut book = Book::new(1);
        book.fill(2, 60);
        book
    };
    let cut = {
        let mut book = Book::new(1);
        book.fill(1, 49);
        book
    };
    for (book, said) in [
        (other_id, "it was made from log 00000000-0000-0000-0000-000000000001"),
        (other_content, "holds another record, or none, at offset 51"),
        (cut, "holds another record, or none, at offset 51"),
    ] {
        let error = settle(&mut folder(&bank(), Arc::new(book.log), &store, small())).unwrap_err();
        assert!(matches!(error, FoldError::Bookmark { .. }) && !error.is_passing(), "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(store.positions(&balance_view()).unwrap(), saved, "nothing was written");
    }
}

#[test]
fn the_second_runner_is_superseded_and_writes_nothing() {
    let mut book = Book::new(1);
    let store = memory();
    let log: Arc<dyn Log> = Arc::new(book.log.clone());
    let mut first = folder(&bank(), Arc::clone(&log), &store, small());
    let mut second = folder(&bank(), log, &store, small());
    settle(&mut first).unwrap();
    settle(&mut second).unwrap();
    book.record(None, "a1", &[Event::Deposited { amount: 5 }]);
    settle(&mut first).unwrap();
    let error = settle(&mut second).unwrap_err();
    assert!(
        matches!(error, FoldError::Store(StoreError::Superseded { .. })) && !error.is_passing(),
        "{error}"
    );
    assert_eq!(balances(store.as_ref(), &TENANTS), book.model);
}

#[test]
fn a_document_of_another_type_asks_for_a_revision() {
    let mut book = Book::new(1);
    book.record(None, "a1", &[Event::Deposited { amount: 5 }]);
    let store = memory();
    settle(&mut folder(&bank(), Arc::new(book.log.clone()), &store, small())).unwrap();
    let bookmark = store.positions(&balance_view()).unwrap();
    let change = annals_views::store::Change {
        documents: vec![(
            annals_views::store::DocumentKey { tenant: None, key: "a1".into() },
            Some(annals_views::store::Document {
                json: b"{\"amount\":\"five\"}".to_vec(),
                values: Vec::new(),
            }),
        )],
        from: bookmark.clone(),
        to: bookmark,
        ..annals_views::store::Change::default()
    };
    store.save(&balance_view(), &change).unwrap();
    book.record(None, "a1", &[Event::Deposited { amount: 6 }]);
    let error = settle(&mut folder(&bank(), Arc::new(book.log.clone()), &store, small())).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("document \"a1\": it does not fit its type any more, raise the revision of balance"),
        "{text}"
    );
}

#[test]
fn positions_of_records_nobody_reads_are_saved_when_asked() {
    let mut book = Book::new(1);
    for _ in 0..30 {
        book.record(None, "a1", &[Event::Audited]);
    }
    let store = memory();
    let mut folder = folder(&bank(), Arc::new(book.log.clone()), &store, small());
    settle(&mut folder).unwrap();
    assert_eq!(store.positions(&balance_view()).unwrap(), [], "no document changed");
    folder.save().unwrap();
    let saved = store.positions(&balance_view()).unwrap()[0].unwrap();
    assert_eq!(saved.offset.next(), book.log.end(ShardId(0)));
}

#[test]
fn a_new_revision_is_a_view_of_its_own() {
    let mut book = Book::new(1);
    book.record(None, "a1", &[Event::Deposited { amount: 5 }]);
    let store = memory();
    settle(&mut folder(&bank(), Arc::new(book.log.clone()), &store, small())).unwrap();
    settle(&mut folder(&bank_of::<Cents>(), Arc::new(book.log.clone()), &store, small())).unwrap();
    let second = ViewId { revision: 2, ..balance_view() };
    assert_eq!(documents(store.as_ref(), &second, None), [("a1".to_owned(), br#"{"cents":500}"#.to_vec())]);
    assert_eq!(balances(store.as_ref(), &TENANTS), book.model, "the first is as it was");
}
