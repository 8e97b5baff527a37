//! The reader rule: which records of a shard are believed.
//!
//! Run once where records enter (opening a file, feeding a replica); everything downstream reads accepted
//! records only. A record is accepted iff it carries the epoch of the last claim and the next sequence number.
//! A lower number is a duplicate; a higher one is a hole and closes that epoch until the next claim. So does an
//! accepted release.
//!
//! It does not look into envelopes: expected versions are the owner's to check before it answers, and
//! `verify`'s to check again.

use crate::envelope::Header;
use crate::id::{Epoch, Offset, Seq};

/// What a reader makes of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Part of the history.
    Accepted,
    /// Ignored, for this reason.
    Ignored(Ignored),
}

/// Why a record is not part of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ignored {
    /// Written under a claim that is not the last one.
    StaleEpoch,
    /// Its sequence number was there already.
    Duplicate,
    /// Its sequence number skips some, or its epoch was closed by such a record or by a release: this record, and
    /// the rest of its epoch, are not believed.
    Hole,
    /// A genesis at another place than offset 0.
    SecondGenesis,
    /// Anything but a genesis at offset 0.
    NoGenesis,
    /// No record of Annals.
    Foreign,
}

/// The state of the rule in one shard: the last claim and the next sequence number.
///
/// ```
/// use annals_core::envelope::Header;
/// use annals_core::id::{Epoch, Offset, Seq};
/// use annals_core::reader::{Ignored, ReaderRule, Verdict};
///
/// let mut rule = ReaderRule::default();
/// assert_eq!(rule.admit(Offset(0), Header::Genesis), Verdict::Accepted);
/// assert_eq!(rule.admit(Offset(1), Header::Claim), Verdict::Accepted);
/// let record = |epoch, seq| Header::Record { epoch: Epoch(epoch), seq: Seq(seq) };
/// assert_eq!(rule.admit(Offset(2), record(1, 0)), Verdict::Accepted);
/// assert_eq!(rule.admit(Offset(3), record(1, 0)), Verdict::Ignored(Ignored::Duplicate));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReaderRule {
    began: bool,
    epoch: Option<Epoch>,
    next: Seq,
    closed: bool,
}

impl ReaderRule {
    /// The rule as it stands after a genesis and a claim at `epoch` whose records up to `next` were accepted.
    #[must_use]
    pub fn resumed(epoch: Option<Epoch>, next: Seq, closed: bool) -> Self {
        Self { began: true, epoch, next, closed }
    }

    /// Judges the record at `offset` and moves on.
    pub fn admit(&mut self, offset: Offset, header: Header) -> Verdict {
        if !self.began {
            return match header {
                Header::Foreign => Verdict::Ignored(Ignored::Foreign),
                Header::Genesis if offset == Offset(0) => {
                    self.began = true;
                    Verdict::Accepted
                }
                _ => Verdict::Ignored(Ignored::NoGenesis),
            };
        }
        match header {
            Header::Foreign => Verdict::Ignored(Ignored::Foreign),
            Header::Genesis => Verdict::Ignored(Ignored::SecondGenesis),
            Header::Claim => {
                self.epoch = Some(Epoch(offset.0));
                self.next = Seq(0);
                self.closed = false;
                Verdict::Accepted
            }
            Header::Record { epoch, seq } | Header::Progress { epoch, seq } => {
                self.admit_numbered(epoch, seq)
            }
            Header::Release { epoch, seq } => {
                let verdict = self.admit_numbered(epoch, seq);
                self.closed |= verdict == Verdict::Accepted;
                verdict
            }
        }
    }

    /// The epoch of the last claim.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// The sequence number that the next accepted record will carry.
    #[must_use]
    pub fn next_seq(&self) -> Seq {
        self.next
    }

    /// Whether a hole or a release closed the present epoch: only a claim is believed now.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    fn admit_numbered(&mut self, epoch: Epoch, seq: Seq) -> Verdict {
        if self.epoch != Some(epoch) {
            return Verdict::Ignored(Ignored::StaleEpoch);
        }
        if seq < self.next {
            return Verdict::Ignored(Ignored::Duplicate);
        }
        if self.closed || seq > self.next {
            self.closed = true;
            return Verdict::Ignored(Ignored::Hole);
        }
        self.next = seq.next();
        Verdict::Accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: u64, seq: u64) -> Header {
        Header::Record { epoch: Epoch(epoch), seq: Seq(seq) }
    }

    #[test]
    fn follows_the_last_claim_only() {
        use Ignored::{Duplicate, Foreign, Hole, NoGenesis, SecondGenesis, StaleEpoch};
        let release = |epoch, seq| Header::Release { epoch: Epoch(epoch), seq: Seq(seq) };
        let mut rule = ReaderRule::default();
        let steps = [
            (Header::Genesis, Ok(())),
            (record(0, 0), Err(StaleEpoch)), // no claim yet
            (Header::Claim, Ok(())),         // epoch 2
            (record(2, 0), Ok(())),
            (record(2, 1), Ok(())),
            (record(2, 1), Err(Duplicate)),
            (record(2, 3), Err(Hole)),
            (record(2, 2), Err(Hole)), // closed until the next claim
            (Header::Claim, Ok(())),   // epoch 8
            (record(2, 2), Err(StaleEpoch)),
            (record(8, 0), Ok(())),
            (Header::Genesis, Err(SecondGenesis)),
            (Header::Claim, Ok(())), // epoch 12
            (record(8, 1), Err(StaleEpoch)),
            (record(12, 1), Err(Hole)),
            (Header::Claim, Ok(())), // epoch 15
            (release(12, 0), Err(StaleEpoch)),
            (record(15, 0), Ok(())),
            (Header::Foreign, Err(Foreign)),
            (release(15, 0), Err(Duplicate)),
            (release(15, 1), Ok(())),
            (release(15, 1), Err(Duplicate)),
            (record(15, 2), Err(Hole)), // released until the next claim
            (Header::Claim, Ok(())),    // epoch 23
            (record(23, 0), Ok(())),
        ];
        for (offset, (header, expected)) in steps.into_iter().enumerate() {
            let verdict = rule.admit(Offset(offset as u64), header);
            assert_eq!(
                verdict,
                expected.map_or_else(Verdict::Ignored, |()| Verdict::Accepted),
                "at {offset}"
            );
        }
        assert_eq!(ReaderRule::default().admit(Offset(0), Header::Claim), Verdict::Ignored(NoGenesis));
        assert_eq!(ReaderRule::default().admit(Offset(0), Header::Foreign), Verdict::Ignored(Foreign));
    }
}
