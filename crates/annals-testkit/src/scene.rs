//! What is around a command or an event in a test: when, who, which version.
//!
//! Time stands still unless a test moves it.

use std::collections::BTreeMap;

use annals_core::{Events, Meta, Offset, Position, Recorded, ShardId, StreamName, Timestamp};

use crate::check::{Compared, must, survives_event};

/// The moment of a test that names none: 2026-01-01T00:00:00Z.
const STILL_SECOND: i64 = 1_767_225_600;

/// The moment of a test that names none.
pub(crate) fn still() -> Timestamp {
    Timestamp::from_second(STILL_SECOND).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A stream `kind/id`.
#[track_caller]
pub(crate) fn stream(kind: &str, id: &str) -> StreamName {
    must("the test names an entity that cannot be", StreamName::new(None, kind, id))
}

/// What is around something at version `version` of `stream`, said by nobody, at the still moment.
pub(crate) fn meta(stream: StreamName, version: u64) -> Meta {
    Meta {
        stream,
        version,
        recorded_at: still(),
        occurred_at: None,
        tenant: None,
        actor: None,
        correlation: None,
        causation: None,
    }
}

/// Hands out versions and positions as a log with one shard would.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder {
    versions: BTreeMap<StreamName, u64>,
    next: u64,
}

impl Recorder {
    /// Records an event on the stream of that full name, after checking that it survives being stored.
    #[track_caller]
    pub(crate) fn record<E: Events + Compared>(&mut self, stream: &str, event: &E) -> Recorded<E> {
        let stream: StreamName = must("the test names a stream that cannot be", stream.parse());
        let version = self.versions.entry(stream.clone()).or_default();
        *version += 1;
        self.next += 1;
        let position = Position { shard: ShardId(0), offset: Offset(self.next), index: 0 };
        Recorded { event: survives_event(event), meta: meta(stream, *version), position }
    }
}
