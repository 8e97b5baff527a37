//! The index of records that no index file covers yet: the tail of a shard.
//!
//! Invariant: it holds the records of one segment from `first` on without gaps. Terms are stored for accepted
//! records only; a position knows whether its record is ignored.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use annals_core::index::Term;

/// Set in a position whose record the reader rule ignores.
pub(crate) const IGNORED: u32 = 1 << 31;

/// Where records are in their segment, and which records carry a term. Records are numbered from the segment's
/// first one.
#[derive(Debug, Default)]
pub(crate) struct MemoryIndex {
    first: u32,
    positions: Vec<u32>,
    postings: HashMap<u64, Posting, BuildHasherDefault<TermHasher>>,
}

/// Most terms (those of commands) have one record: no list for them.
#[derive(Debug)]
enum Posting {
    One(u32),
    Many(Vec<u32>),
}

impl Posting {
    fn records(&self) -> &[u32] {
        match self {
            Self::One(record) => std::slice::from_ref(record),
            Self::Many(records) => records,
        }
    }

    fn push(&mut self, record: u32) {
        match self {
            Self::One(first) => *self = Self::Many(vec![*first, record]),
            Self::Many(records) => records.push(record),
        }
    }
}

impl MemoryIndex {
    /// An empty index that begins after the `first` records of the segment.
    pub(crate) fn from_record(first: u32) -> Self {
        Self { first, ..Self::default() }
    }

    /// Adds the next records.
    pub(crate) fn extend_positions(&mut self, positions: &[u32]) {
        self.positions.extend_from_slice(positions);
    }

    /// Notes that `record` carries `term`; records come in ascending order.
    pub(crate) fn add(&mut self, term: Term, record: u32) {
        self.postings
            .entry(term.0)
            .and_modify(|posting| posting.push(record))
            .or_insert(Posting::One(record));
    }

    /// The number of records from the segment's first one to the last one here.
    pub(crate) fn records(&self) -> u32 {
        self.first + self.positions.len() as u32
    }

    /// The position of `record`, with [`IGNORED`].
    pub(crate) fn position(&self, record: u32) -> Option<u32> {
        self.positions.get(record.checked_sub(self.first)? as usize).copied()
    }

    /// The positions it holds.
    pub(crate) fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The records from `from` on that carry `term`, ascending.
    pub(crate) fn find(&self, term: Term, from: u32) -> &[u32] {
        let records = self.postings.get(&term.0).map_or(&[][..], Posting::records);
        records.get(records.partition_point(|record| *record < from)..).unwrap_or_default()
    }

    /// All (term, record) pairs, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.postings
            .iter()
            .flat_map(|(term, posting)| posting.records().iter().map(|record| (*term, *record)))
    }
}

/// Terms are hashes already.
#[derive(Default)]
pub(crate) struct TermHasher(u64);

impl Hasher for TermHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, term: u64) {
        self.0 = term;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_added_from_a_record_on() {
        let mut index = MemoryIndex::from_record(10);
        for record in 10..14 {
            index.extend_positions(&[record * 100]);
            index.add(Term(1), record);
        }
        index.add(Term(2), 13);
        assert_eq!((index.records(), index.position(9), index.position(13)), (14, None, Some(1300)));
        assert_eq!(index.find(Term(1), 12), [12, 13]);
        assert_eq!(index.find(Term(2), 0), [13]);
        assert_eq!(index.find(Term(2), 14), [] as [u32; 0]);
        assert_eq!(index.find(Term(3), 0), [] as [u32; 0]);
        assert_eq!(index.entries().count(), 5);
    }
}
