//! The table in the module's documentation is the table of kinds.

use annals_core::{Offset, ShardId};
use annals_engine::{ExecuteError, QueryError};
use annals_log::ReadError;
use annals_views::ViewError;

use super::*;

#[test]
fn the_documented_table_is_the_table_of_kinds() {
    let documented: Vec<&str> =
        include_str!("../problem.rs").lines().filter(|line| line.starts_with("//! | `/problems/")).collect();
    let kinds: Vec<String> = Kind::ALL
        .iter()
        .map(|kind| format!("//! | `/problems/{}` | {} | {} |", kind.name(), kind.status(), kind.title()))
        .collect();
    assert_eq!(documented, kinds);
}

#[test]
fn retry_after_is_rounded_up() {
    for (after, seconds) in [(1, "1"), (999, "1"), (1000, "1"), (1001, "2")] {
        let problem = Problem::new(Kind::Busy, "busy").retry_after(Duration::from_millis(after));
        assert_eq!(problem.into_response().headers()[header::RETRY_AFTER], seconds, "{after} ms");
    }
}

/// What the tests over HTTP cannot bring about.
#[test]
fn errors_that_are_rare_have_their_problem_too() {
    let damaged = ReadError::Damaged {
        shard: ShardId(1),
        offset: Offset(7),
        place: "segment 3".to_owned(),
        reason: "a checksum".to_owned(),
    };
    let unavailable = ReadError::Unavailable { place: "segment 3".to_owned(), reason: "EIO".to_owned() };
    for (problem, kind) in [
        (Problem::from(damaged.clone()), Kind::Damaged),
        (Problem::from(ExecuteError::Damaged(damaged.clone())), Kind::Damaged),
        (Problem::from(QueryError::Damaged(damaged)), Kind::Damaged),
        (Problem::from(ExecuteError::Damaged(unavailable.clone())), Kind::Unavailable),
        (Problem::from(QueryError::Damaged(unavailable)), Kind::Unavailable),
        (Problem::from(ExecuteError::Conflict { expected: 1, actual: 2 }), Kind::Conflict),
        (Problem::from(ViewError::NoShard { shard: ShardId(3), shards: 1 }), Kind::InvalidParameter),
    ] {
        assert_eq!(problem.kind(), kind, "{problem:?}");
    }
}
