//! Records on their way to the disk: what is appended while a sync runs becomes the next group.
//!
//! Invariant: a group lies in one segment; its records follow each other without a gap. It is written by one
//! call, its header included.

use std::path::PathBuf;
use std::sync::Arc;

use annals_core::Offset;
use annals_core::envelope::Header;
use annals_core::index::Term;
use annals_core::reader::Verdict;

use crate::collector::Additions;
use crate::format::{GROUP_HEADER_BYTES, GroupHeader, SEGMENT_HEADER_BYTES, put_frame};
use crate::index_file::Mark;
use crate::memory_index::IGNORED;
use crate::segment::Segment;

/// Buffers above this size are given back rather than kept.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// A group that is being filled or written.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) segment: Arc<Segment>,
    /// The prepared file's name, when the segment is not in place yet.
    pub(crate) install: Option<PathBuf>,
    /// Where its bytes go.
    pub(crate) start: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) additions: Additions,
    /// Where the segment stands once the group is in it.
    pub(crate) mark: Mark,
    /// The offset of its first record.
    pub(crate) first: Offset,
    header_at: usize,
}

/// Memory of a written group, for the next one.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    bytes: Vec<u8>,
    additions: Additions,
}

impl Group {
    /// An empty group behind `mark`, or at the beginning of a segment that is still to be installed.
    pub(crate) fn new(segment: Arc<Segment>, mark: Mark, install: Option<PathBuf>, buffers: Buffers) -> Self {
        let Buffers { mut bytes, additions } = buffers;
        let mut start = mark.position;
        if install.is_some() {
            start = 0;
            bytes.extend_from_slice(&segment.header.encode().0);
            debug_assert_eq!(mark.position, SEGMENT_HEADER_BYTES as u64);
        }
        let header_at = bytes.len();
        bytes.resize(header_at + GROUP_HEADER_BYTES, 0);
        let mark = Mark { position: mark.position + GROUP_HEADER_BYTES as u64, sealed: false, ..mark };
        Self { segment, install, start, bytes, additions, first: mark.next, mark, header_at }
    }

    /// Adds the next record and judges it.
    pub(crate) fn push(&mut self, header: Header, envelope: &[u8]) -> Verdict {
        let offset = self.mark.next;
        let verdict = self.mark.rule.admit(offset, header);
        let ignored = if verdict == Verdict::Accepted { 0 } else { IGNORED };
        self.additions.positions.push(self.mark.position as u32 | ignored);
        let crc = put_frame(&mut self.bytes, self.segment.seed, offset, header, envelope);
        self.mark.chain = crate::format::chained(self.mark.chain, crc);
        self.mark.position = self.start + self.bytes.len() as u64;
        self.mark.next = offset.next();
        verdict
    }

    /// Notes what the last record can be found by.
    pub(crate) fn index(&mut self, terms: &[Term]) {
        let record = (self.mark.next.0 - self.segment.header.base.0).saturating_sub(1) as u32;
        self.additions.entries.extend(terms.iter().map(|term| (*term, record)));
    }

    /// Fills in the header: all records below `durable_upto` are durable by now.
    pub(crate) fn finish(&mut self, durable_upto: Offset) {
        let body = self.bytes.len() - self.header_at - GROUP_HEADER_BYTES;
        let header = GroupHeader {
            bytes: body as u32,
            count: (self.mark.next.0 - self.first.0) as u32,
            first: self.first,
            durable_upto,
            chain: self.mark.chain,
        };
        self.mark.sealed = header.is_seal();
        let place = self.bytes.get_mut(self.header_at..self.header_at + GROUP_HEADER_BYTES);
        if let Some(place) = place {
            place.copy_from_slice(&header.encode(self.segment.seed));
        }
    }

    /// Its memory, emptied.
    pub(crate) fn into_buffers(self) -> Buffers {
        let Self { mut bytes, mut additions, .. } = self;
        if bytes.capacity() > KEPT_BYTES_MAX {
            return Buffers::default();
        }
        bytes.clear();
        additions.positions.clear();
        additions.entries.clear();
        Buffers { bytes, additions }
    }
}
