//! Walking through the groups of a segment: the one place that decides what a valid group is.
//!
//! Invariant: a group counts as a whole or not at all; nothing after an invalid group is believed. Whether the
//! invalid place is a torn tail or damage is the caller's to decide, with what [`beyond`] finds.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use annals_core::envelope::Header;
use annals_core::reader::{ReaderRule, Verdict};
use annals_core::{Offset, Seq};
use bytes::Bytes;

use crate::format::{
    FRAME_HEADER_BYTES_MAX, Frame, GROUP_HEADER_BYTES, GroupHeader, SEGMENT_HEADER_BYTES, SegmentHeader,
    chained, frame, header_of, u64_at,
};
use crate::index_file::Mark;

const WINDOW_BYTES: usize = 1 << 20;

/// A segment's bytes and what its checksums are seeded with.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a File,
    pub(crate) header: &'a SegmentHeader,
    pub(crate) seed: u32,
}

/// A record met by a scan.
pub(crate) struct Scanned<'a> {
    pub(crate) offset: Offset,
    pub(crate) header: Header,
    pub(crate) verdict: Verdict,
    /// Where its frame begins in the segment.
    pub(crate) position: u64,
    group: &'a Bytes,
    at: usize,
    frame: Frame,
}

impl Scanned<'_> {
    /// Its envelope.
    pub(crate) fn envelope(&self) -> Bytes {
        self.group.slice(self.at + self.frame.envelope_at..self.at + self.frame.bytes)
    }
}

/// Why a scan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The next group's place is zeros, or the segment has no room for one.
    End,
    /// The next group is not valid.
    Invalid { offset: Offset, byte: u64, reason: &'static str },
}

/// Where and why a scan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) mark: Mark,
    pub(crate) stop: Stop,
}

/// The place of a segment's first group.
pub(crate) fn start(header: &SegmentHeader, seed: u32) -> Mark {
    Mark {
        next: header.base,
        position: SEGMENT_HEADER_BYTES as u64,
        chain: seed,
        rule: header.rule.clone(),
        sealed: false,
    }
}

/// Goes through all valid groups from `from` on and shows their records to `visit`.
pub(crate) fn scan(source: Source<'_>, from: Mark, visit: &mut dyn FnMut(&Scanned<'_>)) -> io::Result<Ended> {
    scan_from(source, from, true, visit)
}

/// Goes on behind damage, at a group whose header is right: where the chain stands before it is not known.
pub(crate) fn scan_behind_damage(
    source: Source<'_>,
    (position, group): (u64, GroupHeader),
    visit: &mut dyn FnMut(&Scanned<'_>),
) -> io::Result<Ended> {
    let mut head = [0; FRAME_HEADER_BYTES_MAX];
    let filled = read_up_to(source.file, &mut head, position + GROUP_HEADER_BYTES as u64)?;
    let rule = match header_of(head.get(..filled).unwrap_or_default()) {
        Some(
            Header::Record { epoch, seq } | Header::Progress { epoch, seq } | Header::Release { epoch, seq },
        ) => ReaderRule::resumed(Some(epoch), seq, false),
        _ => ReaderRule::resumed(None, Seq(0), false),
    };
    let from = Mark { next: group.first, position, chain: 0, rule, sealed: false };
    scan_from(source, from, false, visit)
}

fn scan_from(
    source: Source<'_>,
    from: Mark,
    mut chain_known: bool,
    visit: &mut dyn FnMut(&Scanned<'_>),
) -> io::Result<Ended> {
    let mut window = Window { file: source.file, start: 0, block: Bytes::new() };
    let mut mark = from;
    let mut frames = Vec::new();
    loop {
        match next_group(source, &mark, chain_known, &mut window, &mut frames)? {
            Next::End => return Ok(Ended { mark, stop: Stop::End }),
            Next::Invalid { offset, byte, reason } => {
                return Ok(Ended { mark, stop: Stop::Invalid { offset, byte, reason } });
            }
            Next::Group(group, body) => {
                show(&mut mark, &body, &frames, visit);
                mark.position += (GROUP_HEADER_BYTES + body.len()) as u64;
                mark.chain = group.chain;
                mark.sealed = group.is_seal();
                chain_known = true;
            }
        }
    }
}

enum Next {
    End,
    Group(GroupHeader, Bytes),
    Invalid { offset: Offset, byte: u64, reason: &'static str },
}

/// Reads and checks the group at `mark`; leaves its frames and where they begin in `frames`.
fn next_group(
    source: Source<'_>,
    mark: &Mark,
    chain_known: bool,
    window: &mut Window<'_>,
    frames: &mut Vec<(usize, Frame)>,
) -> io::Result<Next> {
    let invalid = |reason| Ok(Next::Invalid { offset: mark.next, byte: mark.position, reason });
    let Some(head) = window.get(mark.position, GROUP_HEADER_BYTES)? else { return Ok(Next::End) };
    if head.iter().all(|byte| *byte == 0) {
        return Ok(Next::End);
    }
    let Some(group) = GroupHeader::decode(&head, source.seed) else {
        return invalid("a group header's checksum does not match");
    };
    if group.first != mark.next || group.durable_upto > group.first {
        return invalid("a group does not continue the one before it");
    }
    let body_at = mark.position + GROUP_HEADER_BYTES as u64;
    let Some(body) = window.get(body_at, group.bytes as usize)? else {
        return invalid("a group does not fit into its segment");
    };
    frames.clear();
    let (mut at, mut chain, mut offset) = (0, mark.chain, group.first);
    for _ in 0..group.count {
        let frame = match frame(body.get(at..).unwrap_or_default(), source.seed, offset) {
            Ok(frame) => frame,
            Err(reason) => return Ok(Next::Invalid { offset, byte: body_at + at as u64, reason }),
        };
        frames.push((at, frame));
        at += frame.bytes;
        chain = chained(chain, frame.crc);
        offset = offset.next();
    }
    if at != body.len() || (chain_known && chain != group.chain) {
        return invalid("a group does not hold the frames it was written with");
    }
    Ok(Next::Group(group, body))
}

fn show(mark: &mut Mark, body: &Bytes, frames: &[(usize, Frame)], visit: &mut dyn FnMut(&Scanned<'_>)) {
    let body_at = mark.position + GROUP_HEADER_BYTES as u64;
    for (at, frame) in frames {
        let offset = mark.next;
        let verdict = mark.rule.admit(offset, frame.header);
        visit(&Scanned {
            offset,
            header: frame.header,
            verdict,
            position: body_at + *at as u64,
            group: body,
            at: *at,
            frame: *frame,
        });
        mark.next = offset.next();
    }
}

/// A moving block of the file, shared with the envelopes cut from it.
struct Window<'a> {
    file: &'a File,
    start: u64,
    block: Bytes,
}

impl Window<'_> {
    /// `bytes` bytes at `at`; `None` where the file does not reach that far.
    fn get(&mut self, at: u64, bytes: usize) -> io::Result<Option<Bytes>> {
        if let Some(slice) = self.cut(at, bytes) {
            return Ok(Some(slice));
        }
        let mut buffer = self.buffer(bytes.max(WINDOW_BYTES));
        let filled = read_up_to(self.file, &mut buffer, at)?;
        buffer.truncate(filled);
        self.block = Bytes::from(buffer);
        self.start = at;
        Ok(self.cut(at, bytes))
    }

    /// The old block's memory, when nobody else holds a part of it.
    fn buffer(&mut self, bytes: usize) -> Vec<u8> {
        let old = std::mem::take(&mut self.block).try_into_mut().map(Vec::from).unwrap_or_default();
        let mut buffer = if old.capacity() >= bytes { old } else { vec![0; bytes] };
        buffer.resize(bytes, 0);
        buffer
    }

    fn cut(&self, at: u64, bytes: usize) -> Option<Bytes> {
        let from = usize::try_from(at.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(bytes)?;
        (to <= self.block.len()).then(|| self.block.slice(from..to))
    }
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What lies behind the place where a scan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beyond {
    /// The byte after the last one that is not zero; the place itself when there is none.
    pub(crate) used_to: u64,
    /// The first group header whose checksum is right, and its place.
    pub(crate) group: Option<(u64, GroupHeader)>,
    /// The highest `durable_upto` of such headers.
    pub(crate) durable_upto: Offset,
}

/// Looks through the rest of the segment behind an invalid or empty place: for bytes that are not zero, and for
/// group headers that prove that records from `mark.next` on were durable once.
pub(crate) fn beyond(source: Source<'_>, mark: &Mark) -> io::Result<Beyond> {
    let mut found = Beyond { used_to: mark.position, group: None, durable_upto: Offset(0) };
    let mut block = vec![0; WINDOW_BYTES];
    let mut at = mark.position;
    let mut skip_to = mark.position + 1;
    loop {
        let filled = read_up_to(source.file, &mut block, at)?;
        let bytes = block.get(..filled).unwrap_or_default();
        if let Some(last) = last_used(bytes) {
            found.used_to = at + last as u64 + 1;
            look_for_groups(source, mark, at, bytes, &mut skip_to, &mut found);
        }
        if filled < block.len() {
            return Ok(found);
        }
        // Blocks overlap, so that no header is missed between two.
        at += (filled - GROUP_HEADER_BYTES) as u64;
    }
}

fn last_used(bytes: &[u8]) -> Option<usize> {
    let mut end = bytes.len();
    // Whole blocks first: the rest of a segment is zeros in almost every case.
    for block in bytes.rchunks(4096) {
        if block.iter().fold(0, |all, byte| all | byte) != 0 {
            break;
        }
        end -= block.len();
    }
    bytes.get(..end)?.iter().rposition(|byte| *byte != 0)
}

fn look_for_groups(
    source: Source<'_>,
    mark: &Mark,
    block_at: u64,
    bytes: &[u8],
    skip_to: &mut u64,
    found: &mut Beyond,
) {
    let offsets = mark.next..Offset(mark.next.0 + source.header.bytes);
    for (start, head) in bytes.windows(GROUP_HEADER_BYTES).enumerate() {
        // Cheap tests first: they leave almost nothing for the checksum.
        let place = block_at + start as u64;
        let plausible = u64_at(head, 8).is_some_and(|first| offsets.contains(&Offset(first)));
        if !plausible || place < *skip_to {
            continue;
        }
        let Some(group) = GroupHeader::decode(head, source.seed) else { continue };
        *skip_to = place + (GROUP_HEADER_BYTES as u64) + u64::from(group.bytes);
        found.group.get_or_insert((place, group));
        found.durable_upto = found.durable_upto.max(group.durable_upto);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use annals_core::{Epoch, LogId, ShardId};

    use super::*;
    use crate::group::{Buffers, Group};
    use crate::segment::Segment;

    /// A segment with a claim, then a group of one record for each envelope; and where the groups end.
    fn written(envelopes: &[&[u8]]) -> (tempfile::TempDir, Arc<Segment>, Vec<u64>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("segment");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(1 << 16).unwrap();
        let header = SegmentHeader {
            log_id: LogId(uuid::Uuid::from_u128(3)),
            shard: ShardId(0),
            base: Offset(10),
            bytes: 1 << 16,
            rule: ReaderRule::resumed(Some(Epoch(4)), Seq(5), false),
            replica: false,
        };
        let segment = Arc::new(Segment::new(path, file, header));
        let mut mark = start(&segment.header, segment.seed);
        let mut ends = Vec::new();
        for envelope in envelopes {
            let mut group = Group::new(Arc::clone(&segment), mark.clone(), None, Buffers::default());
            let seq = mark.rule.next_seq();
            group.push(Header::Record { epoch: Epoch(4), seq }, envelope);
            group.finish(group.first);
            segment.file.write_all_at(&group.bytes, group.start).unwrap();
            mark = group.mark;
            ends.push(mark.position);
        }
        (directory, segment, ends)
    }

    fn scanned(segment: &Segment) -> (Vec<Vec<u8>>, Ended) {
        let mut envelopes = Vec::new();
        let from = start(&segment.header, segment.seed);
        let ended = scan(segment.source(), from, &mut |scanned| {
            assert_eq!(scanned.verdict, Verdict::Accepted);
            envelopes.push(scanned.envelope().to_vec());
        });
        (envelopes, ended.unwrap())
    }

    #[test]
    fn finds_what_was_written() {
        let (_directory, segment, ends) = written(&[b"one", b"two", b"three"]);
        let (envelopes, ended) = scanned(&segment);
        assert_eq!(envelopes, [&b"one"[..], b"two", b"three"]);
        assert_eq!((ended.stop, ended.mark.position, ended.mark.next), (Stop::End, ends[2], Offset(13)));
        assert_eq!(ended.mark.rule.next_seq(), Seq(8));
    }

    /// The second group is as it was written, but behind another first one of the same size: it is from another
    /// life of the segment and must not come back.
    #[test]
    fn a_group_behind_another_one_than_it_was_written_behind_is_not_believed() {
        let (_directory, segment, ends) = written(&[b"one", b"two"]);
        let (_other_directory, other, _) = written(&[b"ONE"]);
        let mut first = vec![0; ends[0] as usize];
        other.file.read_exact_at(&mut first, 0).unwrap();
        let header = SEGMENT_HEADER_BYTES;
        segment.file.write_all_at(&first[header..], header as u64).unwrap();
        let (envelopes, ended) = scanned(&segment);
        assert_eq!(envelopes, [b"ONE"]);
        assert_eq!(ended.mark.position, ends[0]);
        assert!(matches!(ended.stop, Stop::Invalid { offset: Offset(11), .. }), "{:?}", ended.stop);
    }

    #[test]
    fn groups_are_found_behind_anything() {
        let (_directory, segment, ends) = written(&[&[1; 3000], &[2; 3000], &[3; 9]]);
        let mark = start(&segment.header, segment.seed);
        let found = beyond(segment.source(), &mark).unwrap();
        assert_eq!((found.used_to, found.durable_upto), (ends[2], Offset(12)));
        assert_eq!(found.group.map(|(place, group)| (place, group.first)), Some((ends[0], Offset(11))));
        let end = scanned(&segment).1.mark;
        let found = beyond(segment.source(), &end).unwrap();
        assert_eq!((found.used_to, found.durable_upto, found.group), (ends[2], Offset(0), None));
    }

    /// Also where a header lies across two of the blocks in which the file is read.
    #[test]
    fn no_header_is_missed_between_blocks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("segment");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let bytes = 2 << 20;
        file.set_len(bytes).unwrap();
        let (log_id, rule) = (LogId(uuid::Uuid::from_u128(3)), ReaderRule::default());
        let header =
            SegmentHeader { log_id, shard: ShardId(0), base: Offset(0), bytes, rule, replica: false };
        let segment = Segment::new(path, file, header);
        let mark = start(&segment.header, segment.seed);
        let group = GroupHeader { bytes: 9, count: 1, first: Offset(8), durable_upto: Offset(7), chain: 0 };
        let head = group.encode(segment.seed);
        let first_block_ends = mark.position + WINDOW_BYTES as u64;
        for place in [33, 32, 31, 16, 1, 0].map(|before| first_block_ends - before) {
            segment.file.write_all_at(&head, place).unwrap();
            let found = beyond(segment.source(), &mark).unwrap();
            assert_eq!((found.used_to, found.durable_upto), (place + 32, Offset(7)), "at {place}");
            segment.file.write_all_at(&[0; 32], place).unwrap();
        }
    }
}
