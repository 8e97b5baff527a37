//! One statement to a server: whether it answers, and what makes a database.
//!
//! It is PostgreSQL's protocol 3.0 with the simple query alone, for a user who needs no password: so small that no
//! client library is needed, and none of its runtimes.
//!
//! Source of the bytes: PostgreSQL's manual, "Message Formats".

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::postgres::install::USER;

/// How long a server that runs may take to take a connection.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it may take to answer: a database is made by copying files.
const STATEMENT_LIMIT: Duration = Duration::from_secs(120);
const VERSION: i32 = 3 << 16;
const MESSAGE_BYTES_MAX: usize = 1 << 16;

/// Runs a statement in the database `postgres` of the server at `port`.
pub(crate) fn execute(port: u16, statement: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
    stream.set_read_timeout(Some(STATEMENT_LIMIT))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&startup())?;
    until_ready(&mut stream)?;
    stream.write_all(&query(statement))?;
    until_ready(&mut stream)
}

fn startup() -> Vec<u8> {
    let parameters = format!("user\0{USER}\0database\0postgres\0\0");
    framed(&[&VERSION.to_be_bytes(), parameters.as_bytes()].concat())
}

fn query(statement: &str) -> Vec<u8> {
    [b"Q".as_slice(), &framed(&[statement.as_bytes(), b"\0"].concat())].concat()
}

/// The body behind its length, which counts itself.
fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), body].concat()
}

/// Reads messages until the server waits for a statement.
fn until_ready(stream: &mut impl io::Read) -> io::Result<()> {
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let [tag, length @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
            return Err(invalid(format!("a message of {length} bytes")));
        }
        let mut body = vec![0; length - 4];
        stream.read_exact(&mut body)?;
        match tag {
            b'Z' => return Ok(()),
            b'E' => return Err(io::Error::other(reason(&body))),
            b'R' if body != [0; 4] => return Err(invalid("it asks for a password".to_owned())),
            _ => {}
        }
    }
}

/// The text for people in an error: the field `M`.
fn reason(body: &[u8]) -> String {
    let mut fields = body.split(|byte| *byte == 0);
    let message = fields.find_map(|field| field.strip_prefix(b"M")).unwrap_or_default();
    String::from_utf8_lossy(message).into_owned()
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_what_the_manual_says() {
        let bytes = b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0";
        assert_eq!(startup(), bytes);
        assert_eq!(query("x"), b"Q\0\0\0\x06x\0");
    }

    #[test]
    fn an_answer_is_read_to_its_end_or_its_error() {
        let ready = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x05\0Z\0\0\0\x05I";
        until_ready(&mut &ready[..]).unwrap();
        for length in 0..ready.len() {
            assert!(until_ready(&mut &ready[..length]).is_err(), "{length}");
        }
        let refused = until_ready(&mut &b"E\0\0\0\x0fSFATAL\0Mno\0\0"[..]).unwrap_err();
        assert_eq!(refused.to_string(), "no");
        assert!(until_ready(&mut &b"R\0\0\0\x08\0\0\0\x05"[..]).is_err(), "a password");
        assert!(until_ready(&mut &b"R\0\0\0\x03"[..]).is_err(), "a length less than itself");
    }
}
