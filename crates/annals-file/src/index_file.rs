//! Index files: for a segment, which records carry a term and where each record is.
//!
//! Invariant: derived. A file is used only if it is bound to its segment (log, shard, offset, the segment
//! header's checksum) and its checksums are right; else it is made again from the segment. It covers the first
//! so many records of the segment, all of them once the segment is full, and says where those end: the next
//! open looks at nothing before that point.
//!
//! Searching costs a filter probe on a miss, and a binary search of the sorted terms on a hit.

use std::fs::File;
use std::io;
use std::path::Path;

use annals_core::Offset;
use annals_core::index::Term;
use annals_core::reader::ReaderRule;

use crate::disk::Disk;
use crate::format::{SegmentHeader, VERSION, put_rule, rule_at, u32_at, u64_at};
use crate::mapped::{CheckedMap, PAGE_BYTES, PageDamaged};
use crate::memory_index::IGNORED;

const MAGIC: &[u8; 8] = b"ANNALIDX";
const HEADER_BYTES: usize = 128;
const FILTER_BLOCK_BYTES: usize = 64;
/// One block of 512 bits for this many terms: about 10 bits each, one miss in a hundred is a false alarm.
const TERMS_PER_BLOCK: usize = 50;
const FILTER_PROBES: u32 = 6;
/// How far from its guess a search looks first, in entries.
const FIRST_STEP: u32 = 128;

/// Where in a segment a scan stands, and so where the next one may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The offset of the next record.
    pub(crate) next: Offset,
    /// The byte after the last group.
    pub(crate) position: u64,
    /// The checksum over all frames before it.
    pub(crate) chain: u32,
    /// The reader rule before the next record.
    pub(crate) rule: ReaderRule,
    /// Whether the last group is a seal.
    pub(crate) sealed: bool,
}

/// An index file that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    Missing,
    Stale,
    Damaged,
}

/// An index file in use.
#[derive(Debug)]
pub(crate) struct IndexFile {
    map: CheckedMap,
    records: u32,
    entries: u32,
    filter_blocks: u32,
    mark: Mark,
    bytes: u64,
}

/// What an index file is made from.
pub(crate) struct Contents {
    /// Of the records in order, with [`IGNORED`].
    pub(crate) positions: Vec<u32>,
    /// (term, record), in any order.
    pub(crate) entries: Vec<(u64, u32)>,
    pub(crate) mark: Mark,
}

impl IndexFile {
    /// Opens the index file of a segment, if there is one that belongs to it.
    pub(crate) fn open(path: &Path, segment: &SegmentHeader, seed: u32) -> Result<Self, Unusable> {
        let file = File::open(path).map_err(|_| Unusable::Missing)?;
        let mut map = CheckedMap::open(&file).map_err(|_| Unusable::Damaged)?;
        let head: [u8; HEADER_BYTES] =
            map.head(HEADER_BYTES).and_then(|head| head.try_into().ok()).ok_or(Unusable::Damaged)?;
        let crc = u32_at(&head, HEADER_BYTES - 4).ok_or(Unusable::Damaged)?;
        let covered = head.get(..HEADER_BYTES - 4).unwrap_or_default();
        if !head.starts_with(MAGIC) || crc32c::crc32c(covered) != crc {
            return Err(Unusable::Damaged);
        }
        if u32_at(&head, 8) != Some(VERSION) || !binds(&head, segment, seed) {
            return Err(Unusable::Stale);
        }
        let index = Self::fields(&head, segment.base).ok_or(Unusable::Damaged)?;
        let (records, entries, filter_blocks, mark, body_bytes, table_crc) = index;
        if !map.set_body(HEADER_BYTES, body_bytes, table_crc) {
            return Err(Unusable::Damaged);
        }
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        let index = Self { map, records, entries, filter_blocks, mark, bytes };
        if index.positions_at() + index.records as usize * 4 != body_bytes {
            return Err(Unusable::Damaged);
        }
        Ok(index)
    }

    fn fields(head: &[u8], base: Offset) -> Option<(u32, u32, u32, Mark, usize, u32)> {
        let records = u32_at(head, 44)?;
        let mark = Mark {
            next: Offset(base.0 + u64::from(records)),
            position: u64_at(head, 56)?,
            chain: u32_at(head, 64)?,
            rule: rule_at(head, 68)?,
            sealed: u32_at(head, 88)? == 1,
        };
        let body_bytes = usize::try_from(u64_at(head, 96)?).ok()?;
        Some((records, u32_at(head, 48)?, u32_at(head, 52)?, mark, body_bytes, u32_at(head, 92)?))
    }

    /// How many records it covers.
    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    /// Where they end.
    pub(crate) fn mark(&self) -> &Mark {
        &self.mark
    }

    /// The size of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The position of a record it covers, with [`IGNORED`].
    pub(crate) fn position(&self, record: u32) -> Result<Option<u32>, PageDamaged> {
        if record >= self.records {
            return Ok(None);
        }
        self.u32(self.positions_at() + record as usize * 4).map(Some)
    }

    /// At most `limit` records from `from` on that carry `term`, ascending.
    pub(crate) fn find(&self, term: Term, from: u32, limit: usize) -> Result<Vec<u32>, PageDamaged> {
        let mut found = Vec::new();
        if self.may_contain(term)? {
            let mut at = self.lower_bound(term, from)?;
            while found.len() < limit && at < self.entries && self.term(at)? == term.0 {
                found.push(self.record(at)?);
                at += 1;
            }
        }
        Ok(found)
    }

    /// The last record that carries `term`.
    pub(crate) fn find_last(&self, term: Term) -> Result<Option<u32>, PageDamaged> {
        if !self.may_contain(term)? {
            return Ok(None);
        }
        let Some(at) = self.lower_bound(term, u32::MAX)?.checked_sub(1) else { return Ok(None) };
        if self.term(at)? == term.0 { self.record(at).map(Some) } else { Ok(None) }
    }

    /// All it holds, to be merged with what came later.
    pub(crate) fn contents(&self) -> Result<Contents, PageDamaged> {
        self.map.check_all()?;
        let positions = (0..self.records).map(|record| self.u32(self.positions_at() + record as usize * 4));
        let entries = (0..self.entries).map(|at| Ok((self.term(at)?, self.record(at)?)));
        Ok(Contents {
            positions: positions.collect::<Result<_, _>>()?,
            entries: entries.collect::<Result<_, _>>()?,
            mark: self.mark.clone(),
        })
    }

    fn may_contain(&self, term: Term) -> Result<bool, PageDamaged> {
        if self.filter_blocks == 0 {
            return Ok(false);
        }
        let block = block_of(term.0, self.filter_blocks) as usize;
        let bits: &[u8; FILTER_BLOCK_BYTES] = self.map.bytes(block * FILTER_BLOCK_BYTES)?;
        Ok(probes(term.0).all(|(byte, bit)| bits.get(byte).is_some_and(|value| value & bit != 0)))
    }

    /// The first entry at or after (term, record).
    fn lower_bound(&self, term: Term, record: u32) -> Result<u32, PageDamaged> {
        let (mut low, mut high) = self.bracket(term, record)?;
        while low < high {
            let middle = low + (high - low) / 2;
            if self.is_before(middle, term, record)? { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// Entries between which (term, record) lies. Terms are hashes, so it is near where an even spread would have
    /// it: a few probes in one or two pages, where halving the whole table would touch twenty.
    fn bracket(&self, term: Term, record: u32) -> Result<(u32, u32), PageDamaged> {
        let guess = ((u128::from(term.0) * u128::from(self.entries)) >> 64) as u32;
        let (mut low, mut high, mut step) = (guess, guess, FIRST_STEP);
        while low > 0 && !self.is_before(low - 1, term, record)? {
            high = low;
            low = low.saturating_sub(step);
            step = step.saturating_mul(2);
        }
        while high < self.entries && self.is_before(high, term, record)? {
            low = high;
            high = high.saturating_add(step).min(self.entries);
            step = step.saturating_mul(2);
        }
        Ok((low, high))
    }

    fn is_before(&self, entry: u32, term: Term, record: u32) -> Result<bool, PageDamaged> {
        let found = self.term(entry)?;
        Ok(found < term.0 || (found == term.0 && self.record(entry)? < record))
    }

    fn term(&self, entry: u32) -> Result<u64, PageDamaged> {
        self.map.bytes(self.terms_at() + entry as usize * 8).map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn record(&self, entry: u32) -> Result<u32, PageDamaged> {
        self.u32(self.records_at() + entry as usize * 4)
    }

    fn u32(&self, at: usize) -> Result<u32, PageDamaged> {
        self.map.bytes(at).map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn terms_at(&self) -> usize {
        self.filter_blocks as usize * FILTER_BLOCK_BYTES
    }

    fn records_at(&self) -> usize {
        self.terms_at() + self.entries as usize * 8
    }

    fn positions_at(&self) -> usize {
        self.records_at() + self.entries as usize * 4
    }
}

/// Writes an index file in place of the one there is; durable when it returns.
pub(crate) fn write(
    disk: &Disk,
    path: &Path,
    segment: &SegmentHeader,
    seed: u32,
    mut contents: Contents,
) -> io::Result<()> {
    contents.entries.sort_unstable();
    let body = body(&contents);
    let mut table = Vec::with_capacity(body.len().div_ceil(PAGE_BYTES) * 4);
    for page in body.chunks(PAGE_BYTES) {
        table.extend_from_slice(&crc32c::crc32c(page).to_le_bytes());
    }
    let header = header(segment, seed, &contents, body.len() as u64, crc32c::crc32c(&table));
    disk.write_file(path, &[&header, &body, &table])
}

fn body(contents: &Contents) -> Vec<u8> {
    let mut out = filter(&contents.entries);
    out.reserve(contents.entries.len() * 12 + contents.positions.len() * 4);
    for (term, _) in &contents.entries {
        out.extend_from_slice(&term.to_le_bytes());
    }
    for (_, record) in &contents.entries {
        out.extend_from_slice(&record.to_le_bytes());
    }
    for position in &contents.positions {
        out.extend_from_slice(&position.to_le_bytes());
    }
    out
}

fn header(
    segment: &SegmentHeader,
    seed: u32,
    contents: &Contents,
    body_bytes: u64,
    table_crc: u32,
) -> Vec<u8> {
    let mark = &contents.mark;
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&segment.shard.0.to_le_bytes());
    out.extend_from_slice(segment.log_id.0.as_bytes());
    out.extend_from_slice(&segment.base.0.to_le_bytes());
    out.extend_from_slice(&seed.to_le_bytes());
    out.extend_from_slice(&(contents.positions.len() as u32).to_le_bytes());
    out.extend_from_slice(&(contents.entries.len() as u32).to_le_bytes());
    out.extend_from_slice(&filter_blocks(&contents.entries).to_le_bytes());
    out.extend_from_slice(&mark.position.to_le_bytes());
    out.extend_from_slice(&mark.chain.to_le_bytes());
    put_rule(&mut out, &mark.rule);
    out.extend_from_slice(&u32::from(mark.sealed).to_le_bytes());
    out.extend_from_slice(&table_crc.to_le_bytes());
    out.extend_from_slice(&body_bytes.to_le_bytes());
    out.resize(HEADER_BYTES - 4, 0);
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out
}

fn binds(head: &[u8], segment: &SegmentHeader, seed: u32) -> bool {
    u32_at(head, 12) == Some(segment.shard.0)
        && head.get(16..32) == Some(segment.log_id.0.as_bytes().as_slice())
        && u64_at(head, 32) == Some(segment.base.0)
        && u32_at(head, 40) == Some(seed)
}

fn filter_blocks(entries: &[(u64, u32)]) -> u32 {
    let terms = entries.chunk_by(|one, next| one.0 == next.0).count();
    terms.div_ceil(TERMS_PER_BLOCK) as u32
}

/// A blocked Bloom filter (Putze, Sanders, Singler: "Cache-, Hash- and Space-Efficient Bloom Filters", 2007).
fn filter(entries: &[(u64, u32)]) -> Vec<u8> {
    let blocks = filter_blocks(entries);
    let mut bits = vec![0_u8; blocks as usize * FILTER_BLOCK_BYTES];
    for (term, _) in entries {
        let start = block_of(*term, blocks) as usize * FILTER_BLOCK_BYTES;
        for (byte, bit) in probes(*term) {
            if let Some(value) = bits.get_mut(start + byte) {
                *value |= bit;
            }
        }
    }
    bits
}

/// The block comes from the term's high half.
fn block_of(term: u64, blocks: u32) -> u32 {
    (((term >> 32) * u64::from(blocks)) >> 32) as u32
}

/// The bits in the block come from a product of the whole term, so that they do not follow from the block.
fn probes(term: u64) -> impl Iterator<Item = (usize, u8)> {
    let mixed = term.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..FILTER_PROBES).map(move |probe| {
        let bit = (mixed >> (10 + probe * 9)) as usize % (FILTER_BLOCK_BYTES * 8);
        (bit / 8, 1 << (bit % 8))
    })
}

/// Whether a position is that of an ignored record, and the position itself.
pub(crate) fn split(position: u32) -> (bool, u64) {
    (position & IGNORED != 0, u64::from(position & !IGNORED))
}

#[cfg(test)]
mod tests {
    use annals_core::{LogId, ShardId};

    use super::*;

    fn segment() -> SegmentHeader {
        SegmentHeader {
            log_id: LogId(uuid::Uuid::from_u128(1)),
            shard: ShardId(0),
            base: Offset(500),
            bytes: 1 << 20,
            rule: ReaderRule::resumed(None, annals_core::Seq(0), false),
            replica: false,
        }
    }

    /// 10,000 records; every one has a term of its own (odd) and one of 100 shared ones (even).
    fn contents() -> Contents {
        let hash = |n: u64| n.wrapping_mul(0xd6e8_feb8_6659_fd93);
        let entries = (0..10_000_u32)
            .flat_map(|n| [(hash(u64::from(n) * 2 + 1), n), (hash(u64::from(n % 100) * 2), n)])
            .collect();
        let mark = Mark {
            next: Offset(10_500),
            position: 4_000_000,
            chain: 9,
            rule: ReaderRule::resumed(Some(annals_core::Epoch(3)), annals_core::Seq(8), false),
            sealed: true,
        };
        Contents { positions: (0..10_000).map(|n| n * 400).collect(), entries, mark }
    }

    #[test]
    fn finds_every_term_and_few_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.index");
        write(&Disk::default(), &path, &segment(), 5, contents()).unwrap();
        let index = IndexFile::open(&path, &segment(), 5).unwrap();
        assert_eq!((index.records(), index.mark()), (10_000, &contents().mark));
        assert_eq!(index.position(9_999), Ok(Some(3_999_600)));
        assert_eq!(index.position(10_000), Ok(None));
        let hash = |n: u64| Term(n.wrapping_mul(0xd6e8_feb8_6659_fd93));
        for n in 0..10_000 {
            assert_eq!(index.find(hash(u64::from(n) * 2 + 1), 0, 9), Ok(vec![n]));
        }
        assert_eq!(index.find(hash(14), 500, 3), Ok(vec![507, 607, 707]));
        assert_eq!(index.find(hash(14), 508, 1), Ok(vec![607]));
        assert_eq!(index.find_last(hash(14)), Ok(Some(9_907)));
        assert_eq!(index.find_last(hash(20_001)), Ok(None));
        let absent = (0..10_000).map(|n| hash(1_000_001 + n * 2));
        let alarms = absent.filter(|term| index.may_contain(*term).unwrap()).count();
        assert!(alarms < 300, "{alarms} of 10,000 misses passed the filter");
        let back = index.contents().unwrap();
        assert_eq!((back.positions, back.entries.len()), (contents().positions, 20_000));
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.index");
        let small = Contents {
            positions: vec![96, 200],
            entries: vec![(7, 0), (8, 1)],
            mark: Mark { next: Offset(502), ..contents().mark },
        };
        write(&Disk::default(), &path, &segment(), 5, small).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            let noticed = match IndexFile::open(&path, &segment(), 5) {
                Err(_) => true,
                Ok(index) => index.find(Term(7), 0, 1).is_err() && index.contents().is_err(),
            };
            assert!(noticed, "byte {at}");
        }
        for length in 0..good.len() {
            std::fs::write(&path, &good[..length]).unwrap();
            assert!(IndexFile::open(&path, &segment(), 5).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn an_index_of_another_segment_is_stale() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.index");
        assert_eq!(IndexFile::open(&path, &segment(), 5).unwrap_err(), Unusable::Missing);
        write(&Disk::default(), &path, &segment(), 5, contents()).unwrap();
        assert_eq!(IndexFile::open(&path, &segment(), 6).unwrap_err(), Unusable::Stale);
        let other = SegmentHeader { base: Offset(501), ..segment() };
        assert_eq!(IndexFile::open(&path, &other, 5).unwrap_err(), Unusable::Stale);
    }
}
