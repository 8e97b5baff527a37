//! What the index of a segment gets from its records: where each is, and what it can be found by.
//!
//! Invariant: terms are computed from accepted records alone, and the same ones whoever computes them. A record of
//! an envelope format that is newer than this code may carry terms that it does not see: it is never indexed.

use annals_core::Offset;
use annals_core::envelope::{EnvelopeError, FORMAT, Header, Record};
use annals_core::index::{Term, terms};
use annals_core::reader::Verdict;
use bytes::Bytes;

use crate::error::Damage;
use crate::memory_index::IGNORED;
use crate::scan::Scanned;
use crate::segment::Segment;

/// Records that became durable, for the index of their segment.
#[derive(Debug, Default)]
pub(crate) struct Additions {
    pub(crate) positions: Vec<u32>,
    /// (term, record), records ascending.
    pub(crate) entries: Vec<(Term, u32)>,
}

/// A record that this code is too old for.
#[derive(Clone, Debug)]
pub(crate) struct Newer {
    pub(crate) format: u32,
    pub(crate) at: Damage,
}

/// Computes index entries of scanned records.
pub(crate) struct Collector<'a> {
    segment: &'a Segment,
    pub(crate) additions: Additions,
    /// The first record of an envelope format that is newer than this code.
    pub(crate) newer: Option<Newer>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(segment: &'a Segment) -> Self {
        Self { segment, additions: Additions::default(), newer: None }
    }

    pub(crate) fn take(&mut self, scanned: &Scanned<'_>) {
        let accepted = scanned.verdict == Verdict::Accepted;
        let ignored = if accepted { 0 } else { IGNORED };
        self.additions.positions.push(scanned.position as u32 | ignored);
        if !accepted {
            return;
        }
        let record = self.segment.record(scanned.offset);
        match terms_of(scanned.offset, scanned.header, scanned.envelope()) {
            Ok(terms) => self.additions.entries.extend(terms.into_iter().map(|term| (term, record))),
            Err(format) => {
                let reason = EnvelopeError::Format { found: format }.to_string();
                let at = self.segment.damage(scanned.offset, scanned.position, reason);
                self.newer.get_or_insert(Newer { format, at });
            }
        }
    }
}

/// What an accepted record can be found by; the error is an envelope format that is newer than this code.
pub(crate) fn terms_of(offset: Offset, header: Header, envelope: Bytes) -> Result<Vec<Term>, u32> {
    match header {
        Header::Progress { .. } => Ok(vec![Term::progress()]),
        Header::Record { .. } => match Record::from_bytes(envelope) {
            Ok(record) => Ok(terms(&record)),
            Err(EnvelopeError::Format { found }) if found > FORMAT => Err(found),
            // The checksum is right, so this is what was appended; nothing can be found by it.
            Err(error) => {
                tracing::warn!(offset = offset.0, %error, "a record has no terms");
                Ok(Vec::new())
            }
        },
        Header::Genesis | Header::Claim | Header::Release { .. } | Header::Foreign => Ok(Vec::new()),
    }
}
