//! The text of a lock file: a section for each shape, a line for each place in the data.
//!
//! ```text
//! [event account.deposited 2, reads 1]
//! amount: integer uint64 >= 0
//! note?: string | null
//! ```
//!
//! Sections and lines are sorted, so that a change of the code is a change of few lines. Invariant:
//! `parse(lock.to_string()) == lock`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::{Entry, Lock, Part, Shape};
use crate::schema::Line;

const HEAD: &str = "\
# The shapes of what is stored for years. Keep this file in version control.
# A test compares it with the code; ANNALS_LOCK=update cargo test writes it.
";

/// A lock file that cannot be read: restore it from version control, or settle the merge conflict in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the lock is not one: {text:?}; {expected}")]
pub struct LockSyntax {
    /// Its number, from 1.
    pub line: usize,
    /// What it says.
    pub text: String,
    /// What it should be.
    pub expected: &'static str,
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        for (entry, shape) in &self.entries {
            write!(f, "\n[{entry}")?;
            if !shape.reads.is_empty() {
                let reads: Vec<String> = shape.reads.iter().map(u32::to_string).collect();
                write!(f, ", reads {}", reads.join(" "))?;
            }
            f.write_str("]\n")?;
            for (path, line) in &shape.lines {
                writeln!(f, "{}", Shown(path, line))?;
            }
        }
        Ok(())
    }
}

/// A line with its path, as the file has it.
pub(super) struct Shown<'a>(pub(super) &'a str, pub(super) &'a Line);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(path, Line { optional, text }) = self;
        write!(f, "{path}{}: {text}", if *optional { "?" } else { "" })
    }
}

impl FromStr for Lock {
    type Err = LockSyntax;

    fn from_str(text: &str) -> Result<Self, LockSyntax> {
        Self::parse(text)
    }
}

impl Lock {
    /// Reads the text of a lock file.
    pub fn parse(text: &str) -> Result<Self, LockSyntax> {
        let mut lock = Self::default();
        let mut section: Option<&mut Shape> = None;
        for (index, line) in text.lines().enumerate() {
            let wrong = |expected| LockSyntax { line: index + 1, text: line.to_owned(), expected };
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with('[') {
                let (entry, reads) = section_head(line)
                    .ok_or_else(|| wrong("a section starts as [event account.opened 1, reads ..]"))?;
                if lock.entries.contains_key(&entry) {
                    return Err(wrong("the section is there already"));
                }
                let shape = Shape { reads, ..Shape::default() };
                section = Some(lock.entries.entry(entry).or_insert(shape));
                continue;
            }
            let (path, shown) = place(line).ok_or_else(|| wrong("a place is written as path: type"))?;
            let shape =
                section.as_mut().ok_or_else(|| wrong("a section must start before the first place"))?;
            if shape.lines.insert(path.to_owned(), shown).is_some() {
                return Err(wrong("the place is there already"));
            }
        }
        Ok(lock)
    }
}

fn section_head(line: &str) -> Option<(Entry, BTreeSet<u32>)> {
    let inside = line.strip_prefix('[')?.strip_suffix(']')?;
    let (entry, reads) =
        inside.split_once(", reads ").map_or((inside, None), |(entry, reads)| (entry, Some(reads)));
    let mut words = entry.split(' ');
    let (word, name, shape, None) = (words.next()?, words.next()?, words.next()?, words.next()) else {
        return None;
    };
    let part = Part::ALL.into_iter().find(|part| part.word() == word)?;
    let shape = shape.parse().ok().filter(|shape| *shape > 0)?;
    let reads =
        reads.map_or(Some(BTreeSet::new()), |reads| reads.split(' ').map(|it| it.parse().ok()).collect());
    (!name.is_empty()).then_some((Entry { part, name: name.to_owned(), shape }, reads?))
}

fn place(line: &str) -> Option<(&str, Line)> {
    let (path, text) = line.split_at_checked(path_len(line))?;
    let text = text.strip_prefix(": ")?.to_owned();
    let (path, optional) = path.strip_suffix('?').map_or((path, false), |path| (path, true));
    (!path.is_empty() && !text.is_empty()).then_some((path, Line { optional, text }))
}

/// Up to the first colon that is not part of a quoted name.
fn path_len(line: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (index, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ':' if !quoted => return index,
            _ => {}
        }
    }
    line.len()
}
