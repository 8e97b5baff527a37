//! How fast views fold. Run with `cargo test --release -p annals-views -- --ignored --nocapture speed`.

use std::sync::Arc;
use std::time::Instant;

use annals_core::envelope::{Header, Record};
use annals_core::{ShardId, event};
use annals_log::Log;
use annals_views::{Folder, Limits, SqliteStore, Step, ViewStore, fold_in_memory};

use crate::domain::{Book, Event, balance_view, bank};

const EVENTS: u64 = 1_000_000;
const KEYS: u64 = 20_000;

fn book() -> Book {
    let mut book = Book::new(1);
    for n in 0..EVENTS {
        // A multiplicative hash spreads the keys; payloads have about 60 bytes.
        let key = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let account = format!("account-{:05}", key % KEYS);
        let place = format!("a place with a name of some thirty letters {}", n % 10);
        let event = if n % 4 == 0 {
            Event::Poisoned { place }
        } else {
            Event::Moved { to: account.clone() + "-savings-book-of-a-child", amount: 1_000_000 }
        };
        let event = if n % 4 == 1 { Event::Deposited { amount: 5 } } else { event };
        book.record(None, &account, &[event]);
    }
    book
}

fn rate(what: &str, run: impl FnOnce()) {
    let began = Instant::now();
    run();
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("{what:<32} {:>10.0} events/s", EVENTS as f64 / seconds);
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    let book = book();
    let log: Arc<dyn Log> = Arc::new(book.log.clone());
    let projection = Arc::clone(&bank().projections()["balance"]);
    for _ in 0..3 {
        rate("decode only", || decode(log.as_ref()));
        rate("fold in memory", || {
            fold_in_memory(bank(), Arc::clone(&projection), Arc::clone(&log)).unwrap();
        });
        for (what, cache_bytes) in [("SQLite", 64 << 20), ("SQLite, a cache of nothing", 0)] {
            let directory = tempfile::tempdir().unwrap();
            let store = Arc::new(SqliteStore::open(directory.path().join("v")).unwrap());
            rate(what, || fold(&log, &store, Limits { cache_bytes, ..Limits::default() }));
            assert!(store.get(&balance_view(), None, "account-00000").unwrap().is_some());
        }
    }
}

fn fold(log: &Arc<dyn Log>, store: &Arc<SqliteStore>, limits: Limits) {
    let projection = Arc::clone(&bank().projections()["balance"]);
    let store = Arc::clone(store) as Arc<dyn ViewStore>;
    let mut folder = Folder::new(bank(), projection, Arc::clone(log), store, limits);
    while folder.step().unwrap() != Step::Idle {}
}

/// What no fold can be faster than: the same records read and decoded, nothing done with them.
fn decode(log: &dyn Log) {
    let (mut next, end) = (annals_core::Offset(0), log.end(ShardId(0)));
    while next < end {
        let chunk = log.read(ShardId(0), next, 1 << 20).unwrap();
        for raw in chunk.records {
            let Header::Record { .. } = raw.header else { continue };
            let record = Record::from_bytes(raw.envelope).unwrap();
            for stored in event::events(ShardId(0), raw.offset, &record) {
                std::hint::black_box(stored.decode::<Event>().unwrap().unwrap());
            }
        }
        next = chunk.next;
    }
}
