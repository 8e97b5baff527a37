//! The index of one shard: term to offsets of accepted records.
//!
//! Invariant: the offsets of a term ascend. Most terms (command ids) have one record for ever, so a single
//! offset needs no allocation.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use annals_core::Offset;
use annals_core::index::Term;

#[derive(Default)]
pub(super) struct Index {
    postings: HashMap<Term, Postings, BuildHasherDefault<TermHasher>>,
}

enum Postings {
    One([Offset; 1]),
    Many(Vec<Offset>),
}

impl Index {
    /// Adds a record above all that are there; a repeated term counts once.
    pub(super) fn add(&mut self, term: Term, offset: Offset) {
        self.postings
            .entry(term)
            .and_modify(|postings| postings.push(offset))
            .or_insert(Postings::One([offset]));
    }

    /// At most `limit` offsets of `term` from `from` on.
    pub(super) fn find(&self, term: Term, from: Offset, limit: usize) -> Vec<Offset> {
        let offsets = self.offsets(term);
        let start = offsets.partition_point(|offset| *offset < from);
        offsets.iter().skip(start).take(limit).copied().collect()
    }

    /// The last offset of `term`.
    pub(super) fn last(&self, term: Term) -> Option<Offset> {
        self.offsets(term).last().copied()
    }

    fn offsets(&self, term: Term) -> &[Offset] {
        match self.postings.get(&term) {
            None => &[],
            Some(Postings::One(offset)) => offset,
            Some(Postings::Many(offsets)) => offsets,
        }
    }
}

impl Postings {
    fn push(&mut self, offset: Offset) {
        match self {
            Self::One([first]) if *first == offset => {}
            Self::One([first]) => *self = Self::Many(vec![*first, offset]),
            Self::Many(offsets) if offsets.last() == Some(&offset) => {}
            Self::Many(offsets) => offsets.push(offset),
        }
    }
}

/// A term is a hash already; hashing it again would only cost time.
#[derive(Default)]
struct TermHasher(u64);

impl Hasher for TermHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
