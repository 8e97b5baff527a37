//! Views as they were: at every cursor and time what a fold of so many records gives.

use std::sync::Arc;
use std::time::Duration;

use annals_core::envelope::from_micros;
use annals_core::{Cursor, Offset, ShardId, Tenant};
use annals_log::Log;
use annals_views::past::{PastError, cursor_at, document_at};
use annals_views::store::DocumentKey;

use crate::domain::{Balance, Book, Event, bank};

const LONG: Duration = Duration::from_secs(60);

fn ask(book: &Book, tenant: Option<&str>, key: &str, cursor: &Cursor) -> Option<Balance> {
    let context = bank();
    let projection = Arc::clone(&context.projections()["balance"]);
    let key = DocumentKey { tenant: tenant.map(|name| Tenant::new(name).unwrap()), key: key.to_owned() };
    let found = document_at(context, projection, Arc::new(book.log.clone()), &key, cursor, LONG).unwrap();
    found.map(|json| serde_json::from_slice(&json).unwrap())
}

fn end(book: &Book) -> Cursor {
    Cursor((0..book.log.identity().shards).map(|shard| book.log.end(ShardId(shard))).collect())
}

#[test]
fn a_document_is_what_it_was_at_every_moment() {
    for shards in [1, 3] {
        let mut book = Book::new(shards);
        let mut moments = Vec::new();
        for round in 0..40 {
            book.fill(round, 10);
            moments.push((end(&book), book.model.clone()));
        }
        for (cursor, model) in moments.iter().step_by(7) {
            for (tenant, key) in [(None, "a1"), (None, "a2"), (Some("acme"), "a1"), (None, "nobody")] {
                let owner = tenant.map(|name| Tenant::new(name).unwrap());
                let expected = model.get(&(owner, key.to_owned()));
                assert_eq!(ask(&book, tenant, key, cursor).as_ref(), expected, "{key} at {cursor}");
            }
        }
    }
}

#[test]
fn a_time_is_found_by_halving() {
    let mut book = Book::new(2);
    // Genesis and claims at second 1, then a record each millisecond.
    let mut recorded: Vec<(i64, ShardId, Offset)> = Vec::new();
    for n in 0..200_i64 {
        let (shard, offset) = book.record(None, &format!("a{}", n % 9), &[Event::Deposited { amount: 1 }]);
        recorded.push((1_000_000 + (n + 1) * 1_000, shard, offset));
    }
    let log: &dyn Log = &book.log;
    for probe in
        [0, 999_999, 1_000_000, 1_000_999, 1_001_000, 1_001_001, 1_100_500, 1_199_999, 1_200_000, 9_000_000]
    {
        let cursor = cursor_at(log, from_micros(probe)).unwrap();
        for (at, shard, offset) in &recorded {
            assert_eq!(cursor.of(*shard) > *offset, *at <= probe, "{probe}: {shard} {offset} at {at}");
        }
    }
    assert_eq!(cursor_at(log, from_micros(9_000_000)).unwrap(), end(&book));
}

#[test]
fn a_bound_in_time_is_kept() {
    let mut book = Book::new(1);
    book.fill(1, 10);
    let context = bank();
    let projection = Arc::clone(&context.projections()["balance"]);
    let key = DocumentKey { tenant: None, key: "a1".into() };
    let cursor = end(&book);
    let error = document_at(context, projection, Arc::new(book.log.clone()), &key, &cursor, Duration::ZERO);
    assert_eq!(error.unwrap_err(), PastError::TooLong { cursor, within: Duration::ZERO });
}
