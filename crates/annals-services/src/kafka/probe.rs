//! One question to a broker: which brokers do you know?
//!
//! It is Kafka's Metadata request, version 1, for no topic: old enough that every broker answers it, and so small
//! that no client library is needed. A broker listens only when the controller has let it in, so an answer that lists
//! all brokers says that the quorum stands, too.
//!
//! Source of the bytes: the Kafka protocol guide, "Metadata API" and "Request Header v1".

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a healthy broker may take to answer. A paused one takes the connection and says nothing.
const PATIENCE: Duration = Duration::from_secs(1);

const METADATA: i16 = 3;
const VERSION: i16 = 1;
const CORRELATION: i32 = 0x616e_6e61;
const ANSWER_BYTES_MAX: usize = 1 << 16;

/// The ids of the brokers that the broker at `port` knows.
pub(crate) fn brokers(port: u16) -> io::Result<BTreeSet<u32>> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&request())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > ANSWER_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("an answer of {length} bytes")));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    ids(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an answer of Kafka"))
}

fn request() -> Vec<u8> {
    const CLIENT: &[u8] = b"annals-services";
    let mut body = Vec::new();
    body.extend(METADATA.to_be_bytes());
    body.extend(VERSION.to_be_bytes());
    body.extend(CORRELATION.to_be_bytes());
    body.extend(u16::try_from(CLIENT.len()).unwrap_or_default().to_be_bytes());
    body.extend(CLIENT);
    // No topics; a null list would mean all.
    body.extend(0_i32.to_be_bytes());
    let length = u32::try_from(body.len()).unwrap_or_default();
    [length.to_be_bytes().as_slice(), &body].concat()
}

/// The brokers' ids in an answer; what comes after them is not read.
fn ids(mut answer: &[u8]) -> Option<BTreeSet<u32>> {
    let rest = &mut answer;
    if int(rest)? != CORRELATION {
        return None;
    }
    let count = int(rest)?;
    (0..count).map(|_| broker(rest)).collect()
}

/// Id, host, port, and the rack where there is one.
fn broker(rest: &mut &[u8]) -> Option<u32> {
    let id = u32::try_from(int(rest)?).ok()?;
    string(rest)?;
    int(rest)?;
    string(rest)?;
    Some(id)
}

fn int(rest: &mut &[u8]) -> Option<i32> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(i32::from_be_bytes(*bytes))
}

/// Skips a string; a negative length stands for none.
fn string(rest: &mut &[u8]) -> Option<()> {
    let (length, after) = rest.split_first_chunk()?;
    let length = usize::try_from(i16::from_be_bytes(*length)).unwrap_or(0);
    *rest = after.get(length..)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_the_protocol_says() {
        let mut expected = vec![0, 0, 0, 29, 0, 3, 0, 1, 0x61, 0x6e, 0x6e, 0x61, 0, 15];
        expected.extend(b"annals-services");
        expected.extend([0, 0, 0, 0]);
        assert_eq!(request(), expected);
    }

    #[test]
    fn ids_are_read_and_a_cut_answer_is_none() {
        let mut answer = CORRELATION.to_be_bytes().to_vec();
        answer.extend([0, 0, 0, 2]);
        answer.extend([0, 0, 0, 1, 0, 1, b'h', 0, 0, 35, 132, 255, 255]);
        answer.extend([0, 0, 0, 3, 0, 1, b'h', 0, 0, 35, 133, 0, 1, b'r']);
        assert_eq!(ids(&answer), Some(BTreeSet::from([1, 3])));
        for length in 0..answer.len() {
            assert_eq!(ids(&answer[..length]), None);
        }
    }
}
