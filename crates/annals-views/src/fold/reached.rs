//! How far a fold has come.

use annals_core::envelope::{self, Claim, Header, Record, Release};
use annals_core::{Cursor, ShardId, Timestamp};
use annals_log::{Bookmark, Log, RawRecord, ReadError};

use crate::state::{Lag, ViewState};
use crate::store::Positions;

/// How far a view has come in each shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reached {
    /// The next offsets to read.
    pub(crate) cursor: Cursor,
    /// When the last records taken in were recorded.
    pub(crate) recorded_at: Vec<Timestamp>,
    /// The last records taken in.
    pub(super) bookmarks: Positions,
}

impl Reached {
    /// The beginning of `log`.
    pub(crate) fn start(log: &dyn Log) -> Self {
        let identity = log.identity();
        let shards = identity.shards as usize;
        Self {
            cursor: Cursor::start(identity.shards),
            recorded_at: vec![identity.created_at; shards],
            bookmarks: vec![None; shards],
        }
    }

    /// Where the saved `positions` stand.
    pub(crate) fn at(log: &dyn Log, positions: &Positions) -> Result<Self, ReadError> {
        let mut reached = Self::start(log);
        for (shard, bookmark) in (0_u32..).map(ShardId).zip(positions) {
            let Some(bookmark) = bookmark else { continue };
            let record = log.get(shard, bookmark.offset)?;
            reached.take(shard, *bookmark, record.as_ref().and_then(recorded_at));
        }
        Ok(reached)
    }

    /// The same without a look at the log: when the records were recorded is not known.
    pub(crate) fn unseen(log: &dyn Log, positions: &Positions) -> Self {
        let mut reached = Self::start(log);
        for (shard, bookmark) in (0_u32..).map(ShardId).zip(positions) {
            bookmark.iter().for_each(|bookmark| reached.take(shard, *bookmark, None));
        }
        reached
    }

    /// Whether everything below `cursor` was taken in.
    pub(crate) fn passed(&self, cursor: &Cursor) -> bool {
        (0_u32..).map(ShardId).zip(&cursor.0).all(|(shard, next)| self.cursor.of(shard) >= *next)
    }

    /// How far this is behind the log's end.
    pub(crate) fn lag(&self, log: &dyn Log, state: ViewState, now: Timestamp) -> Lag {
        let shards = (0_u32..).map(ShardId).zip(self.cursor.0.iter().zip(&self.recorded_at));
        let (mut events, mut oldest) = (0, None);
        for (shard, (next, recorded_at)) in shards {
            let behind = log.end(shard).0.saturating_sub(next.0);
            events += behind;
            if behind > 0 {
                oldest = Some(oldest.map_or(*recorded_at, |oldest: Timestamp| oldest.min(*recorded_at)));
            }
        }
        let seconds = oldest.map_or(0.0, |oldest| now.duration_since(oldest).as_secs_f64().max(0.0));
        Lag { events, seconds, state }
    }

    /// Takes in all of `shard` up to the record of `bookmark`.
    pub(super) fn take(&mut self, shard: ShardId, bookmark: Bookmark, recorded_at: Option<Timestamp>) {
        let index = shard.0 as usize;
        self.cursor.set(shard, bookmark.offset.next());
        if let Some(slot) = self.bookmarks.get_mut(index) {
            *slot = Some(bookmark);
        }
        if let (Some(slot), Some(recorded_at)) = (self.recorded_at.get_mut(index), recorded_at) {
            *slot = recorded_at;
        }
    }
}

/// When a record was recorded, where its kind says.
pub(crate) fn recorded_at(raw: &RawRecord) -> Option<Timestamp> {
    match raw.header {
        Header::Record { .. } => Some(Record::from_bytes(raw.envelope.clone()).ok()?.recorded_at()),
        Header::Claim => {
            let claim = Claim::from_bytes(raw.envelope.clone()).ok()?;
            Some(envelope::from_micros(claim.claimed_at_us))
        }
        Header::Release { .. } => {
            let release = Release::from_bytes(raw.envelope.clone()).ok()?;
            Some(envelope::from_micros(release.released_at_us))
        }
        Header::Genesis | Header::Progress { .. } | Header::Foreign => None,
    }
}

#[cfg(test)]
mod tests {
    use annals_core::{Epoch, Offset, Seq};
    use bytes::Bytes;

    use super::*;

    #[test]
    fn kinds_that_tell_a_time_are_asked_for_it() {
        let at = |header, envelope: Bytes| recorded_at(&RawRecord { offset: Offset(3), header, envelope });
        let (epoch, seq) = (Epoch(1), Seq(0));
        let time = |us| Some(envelope::from_micros(us));
        let claim = Claim { format: 1, claimed_at_us: 5, ..Claim::default() };
        let release = Release { format: 1, to: String::new(), released_at_us: 6 };
        let record = Record { format: 1, recorded_at_us: 7, ..Record::default() };
        assert_eq!(at(Header::Claim, claim.to_bytes()), time(5));
        assert_eq!(at(Header::Release { epoch, seq }, release.to_bytes()), time(6));
        assert_eq!(at(Header::Record { epoch, seq }, record.to_bytes()), time(7));
        assert_eq!(at(Header::Progress { epoch, seq }, Bytes::new()), None);
        assert_eq!(at(Header::Foreign, "anything".into()), None);
    }
}
