//! Importers: how a context takes in a format of its own.
//!
//! `annals import CONTEXT FILES..` reads commands as NDJSON for every context; a context adds more formats with
//! [`crate::Context::importer`]. An importer drives the app itself, under keys that derive from what it reads, so
//! that it can be started again at any point without doubling anything.

use std::path::PathBuf;

use clap::{Arg, ArgMatches};
use serde_json::{Map, Value};

use crate::App;

/// A format that `import` can read.
pub trait Importer: Send + Sync + 'static {
    /// One line for `--help`: what it reads, and how its files are recognised.
    fn about(&self) -> &'static str;

    /// Whether these files are of its format.
    fn accepts(&self, files: &[PathBuf]) -> bool;

    /// Flags it adds to `import`.
    fn arguments(&self) -> Vec<Arg> {
        Vec::new()
    }

    /// Reads the files and sends their commands; returns when every row has its answer. Blocks.
    fn run(&self, import: &Import<'_>) -> Result<Report, ImportError>;
}

/// What an importer is given.
pub struct Import<'a> {
    /// The app to send to.
    pub app: &'a App,
    /// The files.
    pub files: &'a [PathBuf],
    /// The command line, with the importer's own flags.
    pub arguments: &'a ArgMatches,
    /// Where to say how far it has come.
    pub progress: &'a dyn Progress,
}

/// Where an importer says how far it has come.
pub trait Progress: Send + Sync {
    /// How many rows there are in all, as soon as that is known.
    fn total(&self, rows: u64);
    /// How many rows have their answer.
    fn done(&self, rows: u64);
    /// Something a person should see: a refused row, a phase that begins.
    fn note(&self, text: &str);
}

/// What an import came to: the fields of its last line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report(pub Map<String, Value>);

impl Report {
    /// Adds a field.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.to_owned(), value.into());
        self
    }
}

/// An import that could not be finished; what was sent stays sent, and starting it again goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Look at the file.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Correct the row.
    #[error("{file}, row {row}: {reason}")]
    Row {
        /// The file.
        file: String,
        /// The row, counted from 1 without the header.
        row: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Give other flags.
    #[error("{reason}")]
    Arguments {
        /// What does not fit.
        reason: String,
    },
    /// See what the engine says; start the import again when that is settled.
    #[error(transparent)]
    Engine(#[from] annals_engine::ExecuteError),
    /// See what the engine says.
    #[error(transparent)]
    Query(#[from] annals_engine::QueryError),
}
