//! Rows of NDJSON files: a command each, with its place and key.
//!
//! Invariant: a file gives the same rows under the same keys whenever it is read. It is read twice, once for its
//! digest; stdin is kept in a temporary file for that.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom, copy};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::STDIN;
use crate::Timestamp;
use crate::import::ImportError;

/// The most bytes of a row: more than any command that can be recorded.
pub(super) const ROW_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How many hex digits of a file's digest go into keys.
const DIGEST_DIGITS: usize = 16;

/// A row as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fields {
    pub(super) decider: String,
    pub(super) id: String,
    pub(super) command: String,
    #[serde(default)]
    pub(super) fields: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) key: Option<String>,
    #[serde(default)]
    pub(super) actor: Option<String>,
    #[serde(default)]
    pub(super) occurred_at: Option<Timestamp>,
    #[serde(default)]
    pub(super) tenant: Option<String>,
}

/// A row with its place.
pub(super) struct Row {
    pub(super) place: Place,
    /// The key it is sent under where it names none.
    pub(super) key: String,
    pub(super) fields: Fields,
}

/// Where a row stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) file: Arc<str>,
    /// Its line, from 1.
    pub(super) row: u64,
}

impl Place {
    /// What is wrong with this row.
    pub(super) fn error(&self, reason: impl std::fmt::Display) -> ImportError {
        let reason = format!("{reason}; the rows before it have their answer, correct it and start again");
        ImportError::Row { file: self.file.to_string(), row: self.row, reason }
    }
}

/// A file, read once for its digest.
pub(super) struct Source {
    name: Arc<str>,
    digest: String,
    lines: u64,
    file: File,
}

impl Source {
    /// Opens a file, or takes in stdin.
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let name: Arc<str> = path.display().to_string().into();
        let source = Self::read(path, &name);
        source.map_err(|error| ImportError::File { file: name.to_string(), reason: error.to_string() })
    }

    fn read(path: &Path, name: &Arc<str>) -> std::io::Result<Self> {
        let mut file = match path.as_os_str() == STDIN {
            false => File::open(path)?,
            true => {
                let mut kept = tempfile::tempfile()?;
                copy(&mut std::io::stdin().lock(), &mut kept)?;
                kept.seek(SeekFrom::Start(0))?;
                kept
            }
        };
        let (digest, lines) = digest(&mut file)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self { name: Arc::clone(name), digest, lines, file })
    }

    /// How many lines it has, blank ones included.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// Its rows, in order. Blank lines are none, but count.
    pub(super) fn rows(self) -> impl Iterator<Item = Result<Row, ImportError>> {
        let Self { name, digest, file, .. } = self;
        let (mut reader, mut row, mut over) = (BufReader::with_capacity(1 << 20, file), 0, false);
        std::iter::from_fn(move || {
            while !over {
                row += 1;
                let place = Place { file: Arc::clone(&name), row };
                match line(&mut reader) {
                    Ok(None) => over = true,
                    Ok(Some(line)) if line.iter().all(u8::is_ascii_whitespace) => {}
                    Ok(Some(line)) => return Some(parse(place, &digest, &line)),
                    Err(error) => {
                        over = true;
                        return Some(Err(place.error(error)));
                    }
                }
            }
            None
        })
    }
}

/// The first digits of the SHA-256 of all bytes, and the number of lines.
fn digest(file: &mut File) -> std::io::Result<(String, u64)> {
    let (mut hash, mut lines, mut last) = (Sha256::new(), 0, b'\n');
    let mut reader = BufReader::with_capacity(1 << 20, file);
    loop {
        let block = reader.fill_buf()?;
        let Some(end) = block.last() else { break };
        last = *end;
        hash.update(block);
        lines += block.iter().filter(|byte| **byte == b'\n').count() as u64;
        let read = block.len();
        reader.consume(read);
    }
    let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let digits = digits.get(..DIGEST_DIGITS).unwrap_or_default().to_owned();
    Ok((digits, lines + u64::from(last != b'\n')))
}

/// The next line without its end.
fn line(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = reader.take(ROW_BYTES_MAX + 1).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    if line.len() as u64 > ROW_BYTES_MAX {
        return Err(std::io::Error::other(format!("it has more than {ROW_BYTES_MAX} bytes")));
    }
    Ok(Some(line))
}

fn parse(place: Place, digest: &str, line: &[u8]) -> Result<Row, ImportError> {
    let fields: Fields = serde_json::from_slice(line).map_err(|error| place.error(error))?;
    let key = fields.key.clone().unwrap_or_else(|| format!("{digest}-{}", place.row));
    Ok(Row { place, key, fields })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8]) -> (u64, Vec<Result<Row, ImportError>>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rows");
        std::fs::write(&path, text).unwrap();
        let source = Source::open(&path).unwrap();
        (source.lines(), source.rows().collect())
    }

    #[test]
    fn rows_keep_their_numbers_and_keys() {
        let row = r#"{"decider":"a","id":"1","command":"go"}"#;
        let keyed = r#"{"decider":"a","id":"1","command":"go","key":"mine","fields":{"n":1}}"#;
        let (lines, rows) = rows(format!("{row}\n\n  \r\n{keyed}\r\n{row}").as_bytes());
        let rows: Vec<Row> = rows.into_iter().map(Result::unwrap).collect();
        assert_eq!(lines, 5);
        assert_eq!(rows.iter().map(|row| row.place.row).collect::<Vec<_>>(), [1, 4, 5]);
        assert_eq!(rows[1].key, "mine");
        assert_eq!(rows[1].fields.fields.as_ref().unwrap().get(), r#"{"n":1}"#);
        let digest = rows[0].key.strip_suffix("-1").unwrap();
        assert_eq!((digest.len(), rows[2].key.as_str()), (16, format!("{digest}-5").as_str()));
    }

    #[test]
    fn the_digest_is_that_of_the_file() {
        let row = "{\"decider\":\"a\",\"id\":\"1\",\"command\":\"go\"}\n";
        let (_, mut rows) = rows(row.as_bytes());
        let expected: String = Sha256::digest(row).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(rows.remove(0).unwrap().key, format!("{}-1", &expected[..16]));
    }

    #[test]
    fn what_is_no_row_is_named_by_file_and_row() {
        for bad in [
            "{",
            "[]",
            "7",
            r#"{"decider":"a","id":"1"}"#,
            r#"{"decider":"a","id":1,"command":"go"}"#,
            r#"{"decider":"a","id":"1","command":"go","amount":1}"#,
            r#"{"decider":"a","id":"1","command":"go","occurred_at":"yesterday"}"#,
        ] {
            let (_, mut rows) = rows(format!("\n{bad}\n").as_bytes());
            let error = rows.remove(0).err().unwrap().to_string();
            assert!(error.contains("rows, row 2: "), "{bad}: {error}");
        }
    }

    #[test]
    fn a_row_has_a_longest_length() {
        let long = |bytes: u64| {
            let mut text = vec![b'x'; bytes as usize];
            text.push(b'\n');
            rows(&text).1.remove(0).err().unwrap().to_string()
        };
        let max = ROW_BYTES_MAX;
        assert!(!long(max - 1).contains("more than") && !long(max).contains("more than"));
        assert!(long(max + 1).contains("more than"));
    }

    #[test]
    fn an_empty_file_has_no_rows() {
        assert_eq!(rows(b"").0, 0);
        assert!(rows(b"\n\n").1.is_empty());
    }
}
