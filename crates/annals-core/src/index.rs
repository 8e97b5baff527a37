//! Terms: what a record can be found by.
//!
//! The index of a log maps terms to offsets. It is derived: [`terms`] computes a record's terms from its
//! envelope alone, so any index can be thrown away and rebuilt. A term is a 64-bit hash and may collide: who
//! looks something up reads the records found and compares.

use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use crate::envelope::Record;

/// Texts that are hashed in one piece have at most so many bytes, with what stands between them.
const SHORT_BYTES_MAX: usize = 192;

/// A 64-bit hash (XXH3) of what a record can be found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Term(pub u64);

impl Term {
    /// All records of a stream.
    #[must_use]
    pub fn stream(stream: &str) -> Self {
        Self::of(b's', stream, "")
    }

    /// The record of the command `key` in the scope of `stream` (whose name holds the tenant).
    #[must_use]
    pub fn command(stream: &str, key: &str) -> Self {
        Self::of(b'c', stream, key)
    }

    /// All records with an event tagged `tag`, of `tenant` (empty for none).
    #[must_use]
    pub fn tag(tenant: &str, tag: &str) -> Self {
        Self::of(b't', tenant, tag)
    }

    /// The progress records of a shard's relay.
    #[must_use]
    pub fn progress() -> Self {
        Self::of(b'p', "", "")
    }

    fn of(kind: u8, first: &str, second: &str) -> Self {
        // Nearly all are short, and hashing one piece takes a third of the time that a stream of pieces does.
        let mut bytes = [0; SHORT_BYTES_MAX];
        if let Some(length) = join(&mut bytes, &[&[kind], first.as_bytes(), &[0xff], second.as_bytes()]) {
            return Self(xxh3_64(bytes.get(..length).unwrap_or_default()));
        }
        let mut hash = Xxh3Default::new();
        hash.update(&[kind]);
        hash.update(first.as_bytes());
        hash.update(&[0xff]);
        hash.update(second.as_bytes());
        Self(hash.digest())
    }
}

/// Puts `parts` behind each other into `out`; `None` where they do not fit.
fn join(out: &mut [u8], parts: &[&[u8]]) -> Option<usize> {
    let mut length = 0;
    for part in parts {
        out.get_mut(length..length + part.len())?.copy_from_slice(part);
        length += part.len();
    }
    Some(length)
}

/// All terms of a record, without duplicates, in ascending order.
#[must_use]
pub fn terms(record: &Record) -> Vec<Term> {
    let mut terms = Vec::with_capacity(record.slices.len() + 1);
    terms.extend(record.slices.iter().map(|slice| Term::stream(&slice.stream)));
    if let (Some(command), Some(scope)) = (&record.command, record.slices.first()) {
        terms.push(Term::command(&scope.stream, &command.key));
    }
    let events = record.slices.iter().flat_map(|slice| &slice.events);
    terms.extend(events.flat_map(|e| &e.tags).map(|tag| Term::tag(&record.tenant, tag)));
    terms.sort_unstable();
    terms.dedup();
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_does_not_depend_on_how_it_is_computed() {
        for first in [0, 1, 16, 100, 189, 190, 191, 192, 300] {
            for second in [0, 1, 36, 90, 150, 512] {
                let (first, second) = ("f".repeat(first), "s".repeat(second));
                let mut hash = Xxh3Default::new();
                for part in [b"c", first.as_bytes(), &[0xff], second.as_bytes()] {
                    hash.update(part);
                }
                assert_eq!(Term::command(&first, &second), Term(hash.digest()));
            }
        }
    }

    #[test]
    fn terms_are_those_of_format_1() {
        let command = Term::command("account/ann", "k");
        let expected = (0x34d1_04f6_e667_29fa, 0x13a2_fd7d_ec0e_d0ad);
        assert_eq!((Term::stream("account/ann").0, command.0), expected);
    }
}
