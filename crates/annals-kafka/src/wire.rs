//! A record of the journal as a Kafka record: the envelope is the value, all else stands in one header.
//!
//! The header `annals` holds the kind byte and, LEB128, epoch and sequence number: the same bytes as before the
//! envelope in a frame of a file (`docs/format.md`). There is no key; the partition is the shard. A record without a
//! header that reads so is foreign, whatever its value.

use std::ffi::CStr;

use annals_core::envelope::{ENVELOPE_BYTES_MAX, Header};
use annals_core::{Epoch, Seq};
use bytes::Bytes;
use rdkafka::message::{Header as KafkaHeader, OwnedHeaders};

/// The name of the header.
pub(crate) const NAME: &CStr = c"annals";

const GENESIS: u8 = 1;
const CLAIM: u8 = 2;
const RECORD: u8 = 3;
const PROGRESS: u8 = 4;
const RELEASE: u8 = 5;

/// The headers of a record to be sent by rdkafka.
pub(crate) fn headers(header: Header) -> OwnedHeaders {
    let key = NAME.to_str().unwrap_or_default();
    OwnedHeaders::new_with_capacity(1).insert(KafkaHeader { key, value: Some(encode(header).as_slice()) })
}

/// What is in a record that was read, with this value and, under [`NAME`], this header.
pub(crate) fn arrived(header: Option<&[u8]>, value: &[u8]) -> (Header, Bytes) {
    match header.and_then(decode) {
        Some(header) if value.len() <= ENVELOPE_BYTES_MAX => (header, Bytes::copy_from_slice(value)),
        _ => (Header::Foreign, Bytes::copy_from_slice(value.get(..ENVELOPE_BYTES_MAX).unwrap_or(value))),
    }
}

/// What the header of a record to be sent holds.
pub(crate) fn encode(header: Header) -> Vec<u8> {
    let (kind, numbers) = match header {
        Header::Genesis => (GENESIS, None),
        Header::Claim => (CLAIM, None),
        Header::Record { epoch, seq } => (RECORD, Some((epoch, seq))),
        Header::Progress { epoch, seq } => (PROGRESS, Some((epoch, seq))),
        Header::Release { epoch, seq } => (RELEASE, Some((epoch, seq))),
        // Never sent; it would be read as foreign.
        Header::Foreign => (0, None),
    };
    let mut bytes = Vec::with_capacity(12);
    bytes.push(kind);
    if let Some((epoch, seq)) = numbers {
        put_varint(&mut bytes, epoch.0);
        put_varint(&mut bytes, seq.0);
    }
    bytes
}

/// The header in these bytes, which must be all of them.
fn decode(bytes: &[u8]) -> Option<Header> {
    let (kind, mut rest) = bytes.split_first()?;
    let header = match *kind {
        GENESIS => Header::Genesis,
        CLAIM => Header::Claim,
        RECORD | PROGRESS | RELEASE => {
            let epoch = Epoch(varint(&mut rest)?);
            let seq = Seq(varint(&mut rest)?);
            match *kind {
                RECORD => Header::Record { epoch, seq },
                PROGRESS => Header::Progress { epoch, seq },
                _ => Header::Release { epoch, seq },
            }
        }
        _ => return None,
    };
    rest.is_empty().then_some(header)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a number and leaves the bytes behind it; `None` where it has no end or does not fit.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        value |= part.checked_shl(shift).filter(|moved| moved >> shift == part)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back() {
        let numbers = [0, 1, 127, 128, 16_383, 16_384, u64::MAX - 1, u64::MAX];
        let numbered = numbers.into_iter().flat_map(|epoch| numbers.map(|seq| (Epoch(epoch), Seq(seq))));
        let of_each = |(epoch, seq)| {
            [Header::Record { epoch, seq }, Header::Progress { epoch, seq }, Header::Release { epoch, seq }]
        };
        for header in numbered.flat_map(of_each).chain([Header::Genesis, Header::Claim]) {
            let bytes = encode(header);
            assert_eq!(decode(&bytes), Some(header), "{bytes:?}");
            assert_eq!(decode(&[&bytes[..], &[0]].concat()), None, "bytes behind {bytes:?}");
            assert_eq!(decode(&bytes[..bytes.len() - 1]).filter(|_| bytes.len() > 2), None, "{bytes:?} cut");
        }
    }

    #[test]
    fn what_reads_like_nothing_is_foreign() {
        for bytes in [&[][..], &[0], &[6], &[3], &[3, 1], &[3, 0x80, 1], &[1, 0], &[255; 30]] {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
        let too_large = [&[RECORD][..], &[0xff; 9], &[2], &[0]].concat();
        assert_eq!(decode(&too_large), None, "a number of 65 bits");
        assert_eq!(decode(&encode(Header::Foreign)), None);
    }

    /// What is stored for years.
    #[test]
    fn the_bytes_are_those_of_format_1() {
        assert_eq!(encode(Header::Genesis), [1]);
        assert_eq!(encode(Header::Claim), [2]);
        assert_eq!(encode(Header::Record { epoch: Epoch(300), seq: Seq(5) }), [3, 0xac, 2, 5]);
        assert_eq!(encode(Header::Progress { epoch: Epoch(1), seq: Seq(128) }), [4, 1, 0x80, 1]);
        assert_eq!(encode(Header::Release { epoch: Epoch(1), seq: Seq(2) }), [5, 1, 2]);
    }
}
