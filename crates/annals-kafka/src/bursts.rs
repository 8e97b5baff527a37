//! Records on their way to the client: a lone one goes at once, those that are sent while more than a few are on their
//! way go together when these are written.
//!
//! An idempotent librdkafka producer sends at once what it holds, but nothing while five records or more of a partition
//! are on their way: then its thread spins until they are back. So a burst is handed over on that very thread, between
//! two looks for what to send: it goes as one request, and none of it is left to spin for.
//!
//! Invariant: records are handed over in the order they were pushed, each once; nothing more is after one was refused or
//! may be lost.

use std::collections::VecDeque;

use annals_core::envelope::Header;
use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode;

/// Records that may be on their way when more are handed over: the client sends on with these
/// (`RD_KAFKA_IDEMP_MAX_INFLIGHT` of librdkafka, less one).
const UNDER_WAY_MAX: usize = 4;
/// The most bytes of a burst, so that it is one request (`batch.size` of librdkafka, less what it adds), unless
/// a single record has more.
const BURST_BYTES_MAX: usize = 800_000;
const BURST_RECORDS_MAX: usize = 5_000;
/// What a record counts for beside its bytes.
const RECORD_BYTES: usize = 64;
/// How many bytes may wait to be handed over before there is no room for more.
const UNSENT_BYTES_MAX: usize = 64 << 20;

/// A record that waits to be handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unsent {
    pub(crate) partition: i32,
    pub(crate) header: Header,
    pub(crate) envelope: Bytes,
    pub(crate) token: usize,
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotSent {
    /// Try again when reports have come.
    NoRoom,
    /// Nothing more is taken.
    Refused(String),
}

#[derive(Default)]
pub(crate) struct Bursts(Mutex<State>);

#[derive(Default)]
struct State {
    unsent: VecDeque<Unsent>,
    unsent_bytes: usize,
    under_way: usize,
    /// A thread hands records over, and looks for more before it stops.
    handing_over: bool,
    /// Nothing more is handed over, for this reason.
    ended: Option<String>,
    /// What the client did not take, to be reported.
    refused: Vec<(usize, RDKafkaErrorCode)>,
}

impl Bursts {
    /// Takes a record in; [`Bursts::hand_over`] must be called next.
    pub(crate) fn push(&self, record: Unsent) -> Result<(), NotSent> {
        let mut state = self.0.lock();
        if let Some(reason) = &state.ended {
            return Err(NotSent::Refused(reason.clone()));
        }
        if state.unsent_bytes > UNSENT_BYTES_MAX {
            return Err(NotSent::NoRoom);
        }
        state.unsent_bytes += record.envelope.len();
        state.unsent.push_back(record);
        Ok(())
    }

    /// Gives `send` what may be sent now. No lock is held meanwhile.
    pub(crate) fn hand_over(&self, send: impl Fn(&Unsent) -> Result<(), RDKafkaErrorCode>) {
        let mut state = self.0.lock();
        while let Some(burst) = state.burst() {
            state.handing_over = true;
            drop(state);
            let sent = burst.iter().try_for_each(|record| send(record).map_err(|code| (record.token, code)));
            state = self.0.lock();
            state.handing_over = false;
            if let Err((token, code)) = sent {
                return state.take_back(burst, token, code);
            }
        }
    }

    /// A record that was handed over is written, or may be lost; returns whether more may be handed over.
    pub(crate) fn off_its_way(&self, written: bool) -> bool {
        let mut state = self.0.lock();
        state.under_way = state.under_way.saturating_sub(1);
        if !written {
            state.ended.get_or_insert_with(|| "a record before may be lost".to_owned());
        }
        state.may_hand_over()
    }

    /// Nothing more is handed over.
    pub(crate) fn end(&self, reason: &str) {
        let mut state = self.0.lock();
        state.ended.get_or_insert_with(|| reason.to_owned());
        state.unsent = VecDeque::new();
        state.unsent_bytes = 0;
    }

    /// Forgets records with such tokens that were not handed over yet.
    pub(crate) fn forget_unsent(&self, of: impl Fn(usize) -> bool) {
        let mut state = self.0.lock();
        state.unsent.retain(|record| !of(record.token));
        state.unsent_bytes = state.unsent.iter().map(|record| record.envelope.len()).sum();
    }

    /// What the client did not take, each once.
    pub(crate) fn refused(&self) -> Vec<(usize, RDKafkaErrorCode)> {
        std::mem::take(&mut self.0.lock().refused)
    }
}

impl State {
    fn may_hand_over(&self) -> bool {
        !self.handing_over
            && self.under_way <= UNDER_WAY_MAX
            && self.ended.is_none()
            && !self.unsent.is_empty()
    }

    /// The records to hand over now, which count as being on their way.
    fn burst(&mut self) -> Option<Vec<Unsent>> {
        if !self.may_hand_over() {
            return None;
        }
        let (mut count, mut bytes) = (0, 0);
        for record in self.unsent.iter().take(BURST_RECORDS_MAX) {
            let more = bytes + record.envelope.len() + RECORD_BYTES;
            if count > 0 && more > BURST_BYTES_MAX {
                break;
            }
            (count, bytes) = (count + 1, more);
        }
        self.under_way += count;
        self.unsent_bytes = self.unsent_bytes.saturating_sub(bytes - count * RECORD_BYTES);
        Some(self.unsent.drain(..count).collect())
    }

    /// The client did not take the record with this token, nor what follows it in its burst.
    fn take_back(&mut self, burst: Vec<Unsent>, token: usize, code: RDKafkaErrorCode) {
        let rest: Vec<_> = burst.into_iter().skip_while(|record| record.token != token).collect();
        self.under_way = self.under_way.saturating_sub(rest.len());
        if code == RDKafkaErrorCode::QueueFull && self.ended.is_none() {
            // When reports are taken there is room.
            self.unsent_bytes += rest.iter().map(|record| record.envelope.len()).sum::<usize>();
            rest.into_iter().rev().for_each(|record| self.unsent.push_front(record));
            return;
        }
        self.refused.extend(rest.iter().map(|record| (record.token, code)));
        self.ended.get_or_insert_with(|| format!("the client took no more: {code}"));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn record(token: usize, bytes: usize) -> Unsent {
        Unsent { partition: 0, header: Header::Claim, envelope: Bytes::from(vec![0; bytes]), token }
    }

    /// Pushes records of these sizes, handing over after each; what was sent, in order.
    fn pushed(bursts: &Bursts, tokens: std::ops::Range<usize>, bytes: usize) -> Vec<usize> {
        let sent = RefCell::new(Vec::new());
        for token in tokens {
            bursts.push(record(token, bytes)).unwrap();
            bursts.hand_over(|record| {
                sent.borrow_mut().push(record.token);
                Ok(())
            });
        }
        sent.into_inner()
    }

    fn handed_over(bursts: &Bursts) -> Vec<usize> {
        let sent = RefCell::new(Vec::new());
        bursts.hand_over(|record| {
            sent.borrow_mut().push(record.token);
            Ok(())
        });
        sent.into_inner()
    }

    #[test]
    fn five_go_at_once_and_the_rest_together() {
        let bursts = Bursts::default();
        assert_eq!(pushed(&bursts, 0..20, 10), [0, 1, 2, 3, 4]);
        assert!(bursts.off_its_way(true), "four are under way");
        assert_eq!(handed_over(&bursts), (5..20).collect::<Vec<_>>());
        for _ in 0..15 {
            assert!(!bursts.off_its_way(true), "nothing is left");
        }
        assert_eq!(pushed(&bursts, 20..22, 10), [20]);
    }

    #[test]
    fn a_burst_is_one_request() {
        let bursts = Bursts::default();
        assert_eq!(pushed(&bursts, 0..5, 10).len(), 5);
        assert!(pushed(&bursts, 5..5 + 2 * BURST_RECORDS_MAX, 10).is_empty());
        bursts.off_its_way(true);
        assert_eq!(handed_over(&bursts).len(), BURST_RECORDS_MAX);
        let bursts = Bursts::default();
        let large = BURST_BYTES_MAX / 2 - RECORD_BYTES;
        pushed(&bursts, 0..5, large);
        assert!(pushed(&bursts, 5..10, large).is_empty());
        bursts.off_its_way(true);
        assert_eq!(handed_over(&bursts), [5, 6], "two fill it");
        let bursts = Bursts::default();
        assert_eq!(pushed(&bursts, 0..1, 2 * BURST_BYTES_MAX), [0], "a single one may be larger");
    }

    #[test]
    fn a_full_client_gets_the_rest_later() {
        let bursts = Bursts::default();
        pushed(&bursts, 0..5, 10);
        pushed(&bursts, 5..10, 10);
        bursts.off_its_way(true);
        bursts.hand_over(|record| if record.token < 7 { Ok(()) } else { Err(RDKafkaErrorCode::QueueFull) });
        assert_eq!(bursts.refused(), []);
        for _ in 0..2 {
            bursts.off_its_way(true);
        }
        assert_eq!(handed_over(&bursts), [7, 8, 9]);
    }

    #[test]
    fn nothing_follows_what_is_refused_or_lost() {
        let bursts = Bursts::default();
        pushed(&bursts, 0..5, 10);
        pushed(&bursts, 5..8, 10);
        bursts.off_its_way(true);
        let code = RDKafkaErrorCode::Fatal;
        bursts.hand_over(|record| if record.token < 6 { Ok(()) } else { Err(code) });
        assert_eq!(bursts.refused(), [(6, code), (7, code)]);
        assert_eq!(bursts.refused(), [], "once");
        assert!(matches!(bursts.push(record(8, 10)), Err(NotSent::Refused(_))));

        let bursts = Bursts::default();
        pushed(&bursts, 0..5, 10);
        pushed(&bursts, 5..8, 10);
        assert!(!bursts.off_its_way(false));
        assert!(handed_over(&bursts).is_empty());
        assert!(matches!(bursts.push(record(8, 10)), Err(NotSent::Refused(_))));
    }

    #[test]
    fn there_is_an_end_to_what_waits() {
        let bursts = Bursts::default();
        pushed(&bursts, 0..5, 10);
        let large = UNSENT_BYTES_MAX / 2;
        assert!(pushed(&bursts, 5..7, large).is_empty());
        assert!(pushed(&bursts, 7..8, 1).is_empty(), "at the bound there is room for one more");
        assert_eq!(bursts.push(record(8, 1)), Err(NotSent::NoRoom));
        bursts.forget_unsent(|token| token < 7);
        assert_eq!(bursts.push(record(8, 1)), Ok(()));
        for _ in 0..5 {
            bursts.off_its_way(true);
        }
        assert_eq!(handed_over(&bursts), [7, 8]);
    }
}
