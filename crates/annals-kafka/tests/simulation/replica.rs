//! A node's copy of the journal, judged by the reader rule as it grows.

use annals_core::Offset;
use annals_core::envelope::Header;
use annals_core::reader::{Ignored, ReaderRule, Verdict};
use bytes::Bytes;

/// The copy.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    records: Vec<(Header, Bytes, Verdict)>,
    rule: ReaderRule,
    /// The planted bug that a stale epoch is believed.
    believes_stale: bool,
}

impl Replica {
    pub fn new(genesis: Bytes, believes_stale: bool) -> Self {
        let mut replica = Self { believes_stale, ..Self::default() };
        replica.append(Header::Genesis, genesis);
        replica
    }

    pub fn next(&self) -> Offset {
        Offset(self.records.len() as u64)
    }

    pub fn rule(&self) -> &ReaderRule {
        &self.rule
    }

    pub fn append(&mut self, header: Header, envelope: Bytes) -> Verdict {
        let mut verdict = self.rule.admit(self.next(), header);
        if self.believes_stale && verdict == Verdict::Ignored(Ignored::StaleEpoch) {
            verdict = Verdict::Accepted;
        }
        self.records.push((header, envelope, verdict));
        verdict
    }

    pub fn raw(&self, offset: Offset) -> Option<(Header, Bytes)> {
        self.records.get(offset.0 as usize).map(|(header, envelope, _)| (*header, envelope.clone()))
    }

    /// Whether the record there is accepted.
    pub fn believes(&self, offset: Offset) -> bool {
        self.records.get(offset.0 as usize).is_some_and(|(.., verdict)| *verdict == Verdict::Accepted)
    }

    /// What commands wrote, as far as it is accepted.
    pub fn accepted(&self) -> impl Iterator<Item = (Offset, &Bytes)> {
        self.records.iter().enumerate().filter_map(|(at, (header, envelope, verdict))| {
            let record = matches!(header, Header::Record { .. }) && *verdict == Verdict::Accepted;
            record.then_some((Offset(at as u64), envelope))
        })
    }

    /// Loses its end, as after a crash, and is opened again.
    pub fn reopened(&self, kept: usize) -> Self {
        let mut replica = Self { believes_stale: self.believes_stale, ..Self::default() };
        for (at, (header, envelope, _)) in self.records.iter().take(kept.max(1)).enumerate() {
            if at > 0 {
                let rule = &replica.rule;
                replica.rule = ReaderRule::resumed(rule.epoch(), rule.next_seq(), rule.is_closed());
            }
            replica.append(*header, envelope.clone());
        }
        replica
    }
}
