//! The bytes of a segment: its header, groups and frames. `docs/format.md` draws them.
//!
//! Invariant: every checksum is seeded by what the bytes belong to. A frame's covers log, shard, segment and
//! offset; a group's chain covers all frames before it in the segment. Bytes that were copied, swapped or left
//! over from an earlier life of the file are never taken for valid. All numbers are little-endian.
//!
//! It does no I/O.

use annals_core::envelope::Header;
use annals_core::reader::ReaderRule;
use annals_core::{Epoch, LogId, Offset, Seq, ShardId};

/// The version of all files of a log directory that this code writes, and the only one it reads.
pub(crate) const VERSION: u32 = 1;
/// The first bytes of a segment.
pub(crate) const SEGMENT_MAGIC: &[u8; 8] = b"ANNALSEG";
pub(crate) const SEGMENT_HEADER_BYTES: usize = 96;
pub(crate) const GROUP_HEADER_BYTES: usize = 32;
/// Checksum, length and kind, then two numbers of up to ten bytes each.
pub(crate) const FRAME_HEADER_BYTES_MAX: usize = FRAME_FIXED_BYTES + 20;

const FRAME_FIXED_BYTES: usize = 8;
const KIND_SHIFT: u32 = 24;
const LENGTH_MASK: u32 = (1 << KIND_SHIFT) - 1;
const RULE_HAS_EPOCH: u32 = 1;
const RULE_CLOSED: u32 = 2;
const REPLICA: u32 = 4;
const RULE_AT: usize = 48;
const FLAGS_AT: usize = RULE_AT + 16;

/// The number at `at`, where the bytes reach that far.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

/// The number at `at`, where the bytes reach that far.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

/// The first 96 bytes of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) log_id: LogId,
    pub(crate) shard: ShardId,
    /// The offset of the segment's first record.
    pub(crate) base: Offset,
    /// The length of the file.
    pub(crate) bytes: u64,
    /// The reader rule before the first record, so that a segment can be read without those before it.
    pub(crate) rule: ReaderRule,
    /// Whether it is part of a replica: derived from a log elsewhere, and nobody's to write.
    pub(crate) replica: bool,
}

/// Why the first bytes of a file are not those of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderProblem {
    Unknown(Unknown),
    Damaged(&'static str),
}

/// What a newer version of this code has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    Version(u32),
    Flags(u32),
}

impl SegmentHeader {
    /// Its bytes, and the seed of all checksums in the segment (the header's own checksum).
    pub(crate) fn encode(&self) -> ([u8; SEGMENT_HEADER_BYTES], u32) {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        out.extend_from_slice(SEGMENT_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.shard.0.to_le_bytes());
        out.extend_from_slice(self.log_id.0.as_bytes());
        out.extend_from_slice(&self.base.0.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        put_rule_and(&mut out, &self.rule, if self.replica { REPLICA } else { 0 });
        out.resize(SEGMENT_HEADER_BYTES - 4, 0);
        let seed = crc32c::crc32c(&out);
        out.extend_from_slice(&seed.to_le_bytes());
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes.copy_from_slice(&out);
        (bytes, seed)
    }

    /// Reads it back, with the seed of all checksums in the segment.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, u32), HeaderProblem> {
        let damaged = HeaderProblem::Damaged;
        let short = || damaged("the segment header is cut short");
        let body = bytes.get(..SEGMENT_HEADER_BYTES - 4).ok_or_else(short)?;
        if !body.starts_with(SEGMENT_MAGIC) {
            return Err(damaged("the file does not begin like a segment"));
        }
        let version = u32_at(body, 8).ok_or_else(short)?;
        if version != VERSION {
            return Err(HeaderProblem::Unknown(Unknown::Version(version)));
        }
        let seed = u32_at(bytes, SEGMENT_HEADER_BYTES - 4).ok_or_else(short)?;
        if crc32c::crc32c(body) != seed {
            return Err(damaged("the segment header's checksum does not match"));
        }
        let flags = u32_at(body, FLAGS_AT).ok_or_else(short)?;
        let unknown = flags & !(RULE_HAS_EPOCH | RULE_CLOSED | REPLICA);
        if unknown != 0 {
            return Err(HeaderProblem::Unknown(Unknown::Flags(unknown)));
        }
        let header = Self::fields(body, flags).ok_or_else(short)?;
        Ok((header, seed))
    }

    /// Whether bytes that are wrong somewhere still look like the header of a replica's segment.
    pub(crate) fn claims_replica(bytes: &[u8]) -> bool {
        let begins = bytes.starts_with(SEGMENT_MAGIC) || u32_at(bytes, 8) == Some(VERSION);
        begins && u32_at(bytes, FLAGS_AT).is_some_and(|flags| flags & REPLICA != 0)
    }

    fn fields(body: &[u8], flags: u32) -> Option<Self> {
        let base = Offset(u64_at(body, 32)?);
        let rule = rule_at(body, RULE_AT)?;
        Some(Self {
            log_id: LogId(uuid::Uuid::from_slice(body.get(16..32)?).ok()?),
            shard: ShardId(u32_at(body, 12)?),
            base,
            bytes: u64_at(body, 40)?,
            rule: if base == Offset(0) { ReaderRule::default() } else { rule },
            replica: flags & REPLICA != 0,
        })
    }
}

/// Writes the state of the reader rule in 20 bytes.
pub(crate) fn put_rule(out: &mut Vec<u8>, rule: &ReaderRule) {
    put_rule_and(out, rule, 0);
}

fn put_rule_and(out: &mut Vec<u8>, rule: &ReaderRule, mut flags: u32) {
    if rule.epoch().is_some() {
        flags |= RULE_HAS_EPOCH;
    }
    if rule.is_closed() {
        flags |= RULE_CLOSED;
    }
    out.extend_from_slice(&rule.epoch().unwrap_or_default().0.to_le_bytes());
    out.extend_from_slice(&rule.next_seq().0.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
}

/// Reads what [`put_rule`] wrote, for a shard whose genesis was seen.
pub(crate) fn rule_at(bytes: &[u8], at: usize) -> Option<ReaderRule> {
    let flags = u32_at(bytes, at + 16)?;
    let epoch = (flags & RULE_HAS_EPOCH != 0).then_some(Epoch(u64_at(bytes, at)?));
    Some(ReaderRule::resumed(epoch, Seq(u64_at(bytes, at + 8)?), flags & RULE_CLOSED != 0))
}

/// The 32 bytes before the frames of one group; without frames it is a seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    /// How many bytes of frames follow.
    pub(crate) bytes: u32,
    /// How many frames they are.
    pub(crate) count: u32,
    /// The offset of the first of them.
    pub(crate) first: Offset,
    /// Every record below this offset was durable when the group was written.
    pub(crate) durable_upto: Offset,
    /// The checksum over the checksums of all frames of the segment up to the last of this group.
    pub(crate) chain: u32,
}

impl GroupHeader {
    pub(crate) fn encode(&self, seed: u32) -> [u8; GROUP_HEADER_BYTES] {
        let mut out = Vec::with_capacity(GROUP_HEADER_BYTES);
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.first.0.to_le_bytes());
        out.extend_from_slice(&self.durable_upto.0.to_le_bytes());
        out.extend_from_slice(&self.chain.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c_append(seed, &out).to_le_bytes());
        let mut bytes = [0; GROUP_HEADER_BYTES];
        bytes.copy_from_slice(&out);
        bytes
    }

    /// Reads a header whose own checksum is right; `None` for anything else.
    pub(crate) fn decode(bytes: &[u8], seed: u32) -> Option<Self> {
        let crc = u32_at(bytes, 28)?;
        if crc32c::crc32c_append(seed, bytes.get(..28)?) != crc {
            return None;
        }
        Some(Self {
            bytes: u32_at(bytes, 0)?,
            count: u32_at(bytes, 4)?,
            first: Offset(u64_at(bytes, 8)?),
            durable_upto: Offset(u64_at(bytes, 16)?),
            chain: u32_at(bytes, 24)?,
        })
    }

    /// Whether it is the mark of a clean close.
    pub(crate) fn is_seal(&self) -> bool {
        self.count == 0
    }
}

/// The chain after a frame with this checksum.
pub(crate) fn chained(chain: u32, frame_crc: u32) -> u32 {
    crc32c::crc32c_append(chain, &frame_crc.to_le_bytes())
}

/// A frame as it lies in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) header: Header,
    pub(crate) crc: u32,
    /// Where its envelope begins, counted from the frame's first byte.
    pub(crate) envelope_at: usize,
    /// The bytes of the whole frame.
    pub(crate) bytes: usize,
}

/// Writes a frame at the end of `out` and returns its checksum.
pub(crate) fn put_frame(
    out: &mut Vec<u8>,
    seed: u32,
    offset: Offset,
    header: Header,
    envelope: &[u8],
) -> u32 {
    let (kind, numbers) = match header {
        Header::Genesis => (1_u32, None),
        Header::Claim => (2, None),
        Header::Record { epoch, seq } => (3, Some((epoch, seq))),
        Header::Progress { epoch, seq } => (4, Some((epoch, seq))),
        Header::Release { epoch, seq } => (5, Some((epoch, seq))),
        Header::Foreign => (6, None),
    };
    let mut head = [0_u8; FRAME_HEADER_BYTES_MAX];
    let mut end = FRAME_FIXED_BYTES;
    if let Some((epoch, seq)) = numbers {
        end = put_varint(&mut head, end, epoch.0);
        end = put_varint(&mut head, end, seq.0);
    }
    let length = (end - FRAME_FIXED_BYTES + envelope.len()) as u32;
    let word = (length & LENGTH_MASK) | (kind << KIND_SHIFT);
    if let Some(slot) = head.get_mut(4..8) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    let crc = crc32c::crc32c_append(frame_seed(seed, offset), head.get(4..end).unwrap_or_default());
    let crc = crc32c::crc32c_append(crc, envelope);
    if let Some(slot) = head.get_mut(..4) {
        slot.copy_from_slice(&crc.to_le_bytes());
    }
    out.extend_from_slice(head.get(..end).unwrap_or_default());
    out.extend_from_slice(envelope);
    crc
}

/// Reads the frame at the beginning of `bytes`, which must be the one of `offset`; the error says what is wrong.
pub(crate) fn frame(bytes: &[u8], seed: u32, offset: Offset) -> Result<Frame, &'static str> {
    let short = "a frame is cut short";
    let crc = u32_at(bytes, 0).ok_or(short)?;
    let word = u32_at(bytes, 4).ok_or(short)?;
    let end = FRAME_FIXED_BYTES + (word & LENGTH_MASK) as usize;
    let covered = bytes.get(4..end).ok_or(short)?;
    if crc32c::crc32c_append(frame_seed(seed, offset), covered) != crc {
        return Err("a frame's checksum does not match");
    }
    let (header, at) = numbers(bytes.get(..end).ok_or(short)?, word >> KIND_SHIFT)?;
    Ok(Frame { header, crc, envelope_at: at, bytes: end })
}

/// The header of a frame of which only the first bytes are at hand; they are not checked.
pub(crate) fn header_of(bytes: &[u8]) -> Option<Header> {
    numbers(bytes, u32_at(bytes, 4)? >> KIND_SHIFT).ok().map(|(header, _)| header)
}

/// The frame's header, and where it ends.
fn numbers(frame: &[u8], kind: u32) -> Result<(Header, usize), &'static str> {
    let short = "a frame is cut short";
    let mut at = FRAME_FIXED_BYTES;
    let header = match kind {
        1 => Header::Genesis,
        2 => Header::Claim,
        3..=5 => {
            let epoch = Epoch(varint(frame, &mut at).ok_or(short)?);
            let seq = Seq(varint(frame, &mut at).ok_or(short)?);
            match kind {
                3 => Header::Record { epoch, seq },
                4 => Header::Progress { epoch, seq },
                _ => Header::Release { epoch, seq },
            }
        }
        6 => Header::Foreign,
        _ => return Err("a frame is of an unknown kind"),
    };
    Ok((header, at))
}

fn frame_seed(seed: u32, offset: Offset) -> u32 {
    crc32c::crc32c_append(seed, &offset.0.to_le_bytes())
}

fn put_varint(out: &mut [u8], mut at: usize, mut value: u64) -> usize {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if let Some(slot) = out.get_mut(at) {
            *slot = if value == 0 { low } else { low | 0x80 };
        }
        at += 1;
        if value == 0 {
            return at;
        }
    }
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use annals_core::envelope::ENVELOPE_BYTES_MAX;

    use super::*;

    const FRAME_BYTES_MAX: usize = FRAME_HEADER_BYTES_MAX + ENVELOPE_BYTES_MAX;

    #[test]
    fn frames_come_back_and_know_their_place() {
        let headers = [
            Header::Genesis,
            Header::Claim,
            Header::Record { epoch: Epoch(1), seq: Seq(127) },
            Header::Record { epoch: Epoch(u64::MAX), seq: Seq(u64::MAX) },
            Header::Progress { epoch: Epoch(128), seq: Seq(0) },
            Header::Release { epoch: Epoch(2), seq: Seq(300) },
            Header::Foreign,
        ];
        for header in headers {
            let mut bytes = Vec::new();
            let crc = put_frame(&mut bytes, 7, Offset(9), header, b"envelope");
            let read = frame(&bytes, 7, Offset(9)).unwrap();
            assert_eq!((read.header, read.crc, read.bytes), (header, crc, bytes.len()));
            assert_eq!(&bytes[read.envelope_at..], b"envelope");
            assert!(frame(&bytes, 7, Offset(10)).is_err());
            assert!(frame(&bytes, 8, Offset(9)).is_err());
            for at in 0..bytes.len() {
                let mut bad = bytes.clone();
                bad[at] ^= 1;
                assert!(frame(&bad, 7, Offset(9)).is_err(), "byte {at}");
            }
        }
    }

    /// What is stored for years: a kind that got another number would make old records say something else.
    #[test]
    fn the_kinds_are_those_of_format_1() {
        let (epoch, seq) = (Epoch(2), Seq(300));
        let frames = [
            (Header::Genesis, "0100000165"),
            (Header::Claim, "0100000265"),
            (Header::Record { epoch, seq }, "0400000302ac0265"),
            (Header::Progress { epoch, seq }, "0400000402ac0265"),
            (Header::Release { epoch, seq }, "0400000502ac0265"),
            (Header::Foreign, "0100000665"),
        ];
        for (header, golden) in frames {
            let mut bytes = Vec::new();
            put_frame(&mut bytes, 7, Offset(9), header, b"e");
            let hex: String = bytes[4..].iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, golden, "{header:?}");
        }
    }

    #[test]
    fn the_largest_frame_fits() {
        let envelope = vec![1; ENVELOPE_BYTES_MAX];
        let header = Header::Record { epoch: Epoch(u64::MAX), seq: Seq(u64::MAX) };
        let mut bytes = Vec::new();
        put_frame(&mut bytes, 0, Offset(0), header, &envelope);
        assert_eq!(bytes.len(), FRAME_BYTES_MAX);
        assert_eq!(frame(&bytes, 0, Offset(0)).unwrap().bytes, FRAME_BYTES_MAX);
    }

    #[test]
    fn headers_come_back() {
        let segment = SegmentHeader {
            log_id: LogId(uuid::Uuid::from_u128(5)),
            shard: ShardId(3),
            base: Offset(77),
            bytes: 4096,
            rule: ReaderRule::resumed(Some(Epoch(70)), Seq(4), true),
            replica: false,
        };
        for replica in [false, true] {
            let segment = SegmentHeader { replica, ..segment.clone() };
            let (bytes, seed) = segment.encode();
            assert_eq!(SegmentHeader::decode(&bytes), Ok((segment, seed)));
        }
        let (_, seed) = segment.encode();
        let group = GroupHeader { bytes: 1, count: 2, first: Offset(77), durable_upto: Offset(76), chain: 5 };
        let mut bytes = group.encode(seed);
        assert_eq!(GroupHeader::decode(&bytes, seed), Some(group));
        bytes[9] ^= 4;
        assert_eq!(GroupHeader::decode(&bytes, seed), None);
    }

    #[test]
    fn an_unknown_version_is_named() {
        let segment = SegmentHeader {
            log_id: LogId(uuid::Uuid::from_u128(5)),
            shard: ShardId(0),
            base: Offset(0),
            bytes: 4096,
            rule: ReaderRule::default(),
            replica: false,
        };
        let (mut bytes, _) = segment.encode();
        bytes[8] = 2;
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderProblem::Unknown(Unknown::Version(2))));
    }

    /// What is stored for years: a segment of a replica that lost its mark would be written to.
    #[test]
    fn a_replica_is_marked_as_in_format_1() {
        let segment = SegmentHeader {
            log_id: LogId(uuid::Uuid::from_u128(0x0102)),
            shard: ShardId(3),
            base: Offset(0x0405),
            bytes: 0x1000,
            rule: ReaderRule::resumed(Some(Epoch(6)), Seq(7), true),
            replica: true,
        };
        let hex: String = segment.encode().0.iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = concat!(
            "414e4e414c534547",                 // magic
            "01000000",                         // version
            "03000000",                         // shard
            "00000000000000000000000000000102", // log id
            "0504000000000000",                 // base
            "0010000000000000",                 // length
            "0600000000000000",                 // epoch
            "0700000000000000",                 // next
            "07000000",                         // flags: a claim, closed, a replica
            "000000000000000000000000000000000000000000000000",
            "3d5eb40e", // seed
        );
        assert_eq!(hex, golden);
    }

    #[test]
    fn unknown_flags_are_named() {
        let segment = SegmentHeader {
            log_id: LogId(uuid::Uuid::from_u128(5)),
            shard: ShardId(0),
            base: Offset(0),
            bytes: 4096,
            rule: ReaderRule::default(),
            replica: true,
        };
        let (mut bytes, _) = segment.encode();
        bytes[FLAGS_AT] |= 24;
        assert!(matches!(SegmentHeader::decode(&bytes), Err(HeaderProblem::Damaged(_))));
        let seed = crc32c::crc32c(&bytes[..SEGMENT_HEADER_BYTES - 4]);
        bytes[SEGMENT_HEADER_BYTES - 4..].copy_from_slice(&seed.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderProblem::Unknown(Unknown::Flags(24))));
    }
}
