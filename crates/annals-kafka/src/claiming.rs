//! A claim on its way, without I/O: from the moment it is sent until its tenure begins.
//!
//! The client's report says where the claim is. That is a hint: the journal is read up to there, and only a record
//! there that is this very claim begins a tenure. When the journal already holds a newer claim, the tenure is over
//! when it begins.
//!
//! Invariant: nothing is decided on a shard before everything up to the claim was read. A claim whose report is of no
//! use is given up; it may be in the journal all the same, where it does no harm but to end earlier tenures.

use annals_core::envelope::Header;
use annals_core::reader::ReaderRule;
use annals_core::{Epoch, Offset, Seq};
use bytes::Bytes;

use crate::planted::{Planted, PlantedBug};
use crate::tenure::{End, Report, Tenure};

/// One claim.
#[derive(Clone, Debug)]
pub struct Claiming {
    envelope: Bytes,
    report: Option<Report>,
    planted: Planted,
}

/// What a claim waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The client's report.
    Report,
    /// That the journal is read up to and including this offset.
    Read(Offset),
    /// Nothing: look at the record at this offset, and call [`Claiming::begin`] with it.
    Begin(Offset),
    /// It did not come through, as far as is known; what it was sent with is not used again.
    Failed(String),
}

impl Claiming {
    /// The claim with this envelope is about to be sent. The envelope must be like no other: it carries a nonce.
    #[must_use]
    pub fn new(envelope: Bytes) -> Self {
        Self { envelope, report: None, planted: Planted::default() }
    }

    /// Plants a bug.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: Option<PlantedBug>) {
        self.planted = Planted::with(bug);
    }

    /// The client reported on it.
    pub fn reported(&mut self, report: Report) {
        self.report = Some(report);
    }

    /// Whether a record that was read is this claim.
    #[must_use]
    pub fn is(&self, header: Header, envelope: &Bytes) -> bool {
        header == Header::Claim && self.envelope == *envelope
    }

    /// What is to be waited for, when the journal was read up to `next`.
    #[must_use]
    pub fn step(&self, next: Offset) -> Step {
        let offset = match &self.report {
            None => return Step::Report,
            Some(Report::Failed(reason)) => return Step::Failed(reason.clone()),
            Some(Report::Written(offset)) => u64::try_from(*offset).map(Offset),
        };
        match offset {
            Ok(offset) if offset < next || self.planted.is(PlantedBug::ServeBeforeRead) => {
                Step::Begin(offset)
            }
            Ok(offset) => Step::Read(offset),
            Err(_) => Step::Failed("the client does not know where the claim was written".to_owned()),
        }
    }

    /// The journal was read up to `next`, where the reader rule stands as `rule`, and this was `found` at `offset`,
    /// where the claim is said to be. An error says that the claim is not there.
    pub fn begin(
        &self,
        offset: Offset,
        found: Option<(Header, Bytes)>,
        rule: &ReaderRule,
        next: Offset,
    ) -> Result<Tenure, String> {
        let early = next <= offset && self.planted.is(PlantedBug::ServeBeforeRead);
        if early {
            return Ok(Tenure::new(Epoch(offset.0), offset.next()));
        }
        if !found.is_some_and(|(header, envelope)| self.is(header, &envelope)) {
            return Err(format!("there is another record at offset {offset} than the claim"));
        }
        let epoch = Epoch(offset.0);
        let mut tenure = Tenure::new(epoch, next);
        if rule.epoch() != Some(epoch) {
            tenure.finish(End::Fenced);
        } else if rule.is_closed() || rule.next_seq() != Seq(0) {
            // A claim that an unclean election lost was at this offset, and these are late records of it.
            return Err(format!("there are records under the claim at offset {offset} that are not its own"));
        }
        Ok(tenure)
    }
}
