//! What the rows of an import came to, and who is told of refused ones.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use clap::ArgMatches;
use serde_json::{Value, json};

use super::progress::Bar;
use super::rows::Place;
use crate::cli::failure::Failure;
use crate::cli::output::plain;
use crate::import::{Progress as _, Report};

/// How many refused rows are shown; the others are counted.
const SHOWN_MAX: u64 = 10;

/// Counts answers.
pub(super) struct Tally {
    accepted: u64,
    refused: u64,
    repeated: u64,
    /// Takes every refused row.
    file: Option<(PathBuf, BufWriter<File>)>,
    bar: Arc<Bar>,
}

/// A row that was refused.
pub(super) struct Refused<'a> {
    pub(super) place: &'a Place,
    pub(super) decider: &'a str,
    pub(super) id: &'a str,
    pub(super) command: &'a str,
    pub(super) key: &'a str,
    /// `name`, `text` and `fields`.
    pub(super) refusal: &'a Value,
}

impl Tally {
    /// As the command line asks for.
    pub(super) fn new(matches: &ArgMatches, bar: Arc<Bar>) -> Result<Self, Failure> {
        let open = |path: &PathBuf| match File::create(path) {
            Ok(file) => Ok((path.clone(), BufWriter::new(file))),
            Err(error) => Err(Failure::file(path, &error)),
        };
        let file = matches.get_one::<PathBuf>("refused").map(open).transpose()?;
        Ok(Self { accepted: 0, refused: 0, repeated: 0, file, bar })
    }

    /// How many rows there are.
    pub(super) fn total(&self, rows: u64) {
        self.bar.total(rows);
    }

    /// A row was accepted; `repeated` if an earlier attempt had been already.
    pub(super) fn accept(&mut self, repeated: bool) {
        self.accepted += 1;
        self.repeated += u64::from(repeated);
        self.bar.done(self.rows());
    }

    /// A row was refused.
    pub(super) fn refuse(&mut self, row: &Refused<'_>) -> Result<(), Failure> {
        self.refused += 1;
        self.bar.done(self.rows());
        let Refused { place: Place { file, row: number }, decider, id, command, key, refusal } = row;
        if self.refused <= SHOWN_MAX {
            let text = refusal.get("text").and_then(Value::as_str).unwrap_or_default();
            let (id, text) = (plain(id), plain(text));
            self.bar.note(&format!("refused: {file}, row {number}: {command} {decider}/{id}: {text}"));
        }
        let Some((path, out)) = &mut self.file else { return Ok(()) };
        let line = json!({
            "file": &**file, "row": number, "decider": decider, "id": id, "command": command, "key": key,
            "refusal": refusal,
        });
        writeln!(out, "{line}").map_err(|error| Failure::file(path, &error))
    }

    /// What it came to.
    pub(super) fn report(mut self) -> Result<Report, Failure> {
        if let Some((path, out)) = &mut self.file {
            out.flush().map_err(|error| Failure::file(path, &error))?;
        }
        if self.refused > SHOWN_MAX {
            let more = self.refused - SHOWN_MAX;
            let hint = if self.file.is_none() { "; --refused FILE writes all of them" } else { "" };
            self.bar.note(&format!("refused: {more} rows more{hint}"));
        }
        let Self { accepted, refused, repeated, .. } = self;
        Ok(Report::default()
            .with("rows", accepted + refused)
            .with("accepted", accepted)
            .with("refused", refused)
            .with("repeated", repeated))
    }

    fn rows(&self) -> u64 {
        self.accepted + self.refused
    }
}
