//! What a command prints: lines on stdout, as text or as JSON.
//!
//! Invariant: a reader that goes away (`| head`) ends the command quietly, never with a panic.

use std::io::{BufWriter, StdoutLock, Write};

use serde_json::Value;

use super::failure::Failure;

/// Lines on stdout.
pub struct Output {
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    /// Begins to print.
    #[must_use]
    pub fn new() -> Self {
        Self { out: BufWriter::new(std::io::stdout().lock()) }
    }

    /// Prints a line.
    pub fn line(&mut self, text: impl std::fmt::Display) -> Result<(), Failure> {
        Ok(writeln!(self.out, "{text}")?)
    }

    /// Prints JSON over several lines, for people.
    pub(crate) fn pretty(&mut self, json: &Value) -> Result<(), Failure> {
        self.line(format_args!("{json:#}"))
    }

    /// Hands everything to the reader.
    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

/// Text of the log's in one line of a terminal: control characters are written as escapes.
pub(crate) fn plain(text: &str) -> String {
    let escape = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(escape).collect()
}
