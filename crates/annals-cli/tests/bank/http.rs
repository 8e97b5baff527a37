//! A blocking HTTP/1.1 client: one connection, kept open, one request at a time.
//!
//! Invariant: an answer is returned whole or not at all. A connection that ends before is [`Cut`], and what became of
//! the request is then unknown. It understands what the server sends: bodies with a length, no chunks.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// No answer takes this long, however slow the machine: a read that does is an error, not a kill.
const PATIENCE: Duration = Duration::from_secs(60);

/// The connection ended without an answer.
#[derive(Debug)]
pub struct Cut(pub String);

impl From<std::io::Error> for Cut {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// An answer: status and body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

pub struct Connection {
    address: String,
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(address: &str) -> Result<Self, Cut> {
        Self::with_patience(address, PATIENCE)
    }

    /// A connection on which an answer that takes longer than `patience` is given up.
    pub fn with_patience(address: &str, patience: Duration) -> Result<Self, Cut> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Self { address: address.to_owned(), stream: BufReader::new(stream) })
    }

    pub fn get(&mut self, path: &str) -> Result<Answer, Cut> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.ask(&request)
    }

    pub fn post(&mut self, path: &str, key: &str, body: &str) -> Result<Answer, Cut> {
        let (host, length) = (&self.address, body.len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nIdempotency-Key: {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.ask(&request)
    }

    fn ask(&mut self, request: &str) -> Result<Answer, Cut> {
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut length = None;
        loop {
            let line = self.line()?;
            match line.split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().ok();
                }
                Some(_) => {}
                None => break,
            }
        }
        let (Some(status), Some(length)) = (status, length) else {
            return Err(Cut("the head of an answer has no status or no length".to_owned()));
        };
        let mut body: Vec<u8> = vec![0; length];
        self.stream.read_exact(&mut body)?;
        let body = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body).into_owned()));
        Ok(Answer { status, body })
    }

    /// The next line of the head, without its end. A line cut short is no line.
    fn line(&mut self) -> Result<String, Cut> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(Cut("the connection ended in the head of an answer".to_owned())),
        }
    }
}
