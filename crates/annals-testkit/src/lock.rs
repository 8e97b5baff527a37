//! The lock file: a test that fails when the shape of something stored for years changes by accident.
//!
//! ```no_run
//! # fn bank() -> annals_core::Context { annals_core::context("bank") }
//! #[test]
//! fn shapes_are_locked() -> Result<(), annals_testkit::lock::LockError> {
//!     annals_testkit::lock::check(&bank(), "annals.lock")
//! }
//! ```
//!
//! The file lies beside the crate's `Cargo.toml`, where tests run, and belongs into version control. After a change
//! that keeps old data readable, `ANNALS_LOCK=update cargo test` writes it again; a breaking change is refused
//! unless `ANNALS_LOCK=force`, which is for data that nobody has stored yet. What is compared, and what counts as
//! breaking, is [`annals_core::lock`]'s matter; this module reads and writes the file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use annals_core::Context;
use annals_core::lock::{Change, Lock, LockSyntax, ShapeError};

/// The environment variable that says what to do with the file.
pub const VARIABLE: &str = "ANNALS_LOCK";

/// What to do with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Compare; any difference is an error. `ANNALS_LOCK` is not set.
    Check,
    /// Write the present shapes if old data stays readable. `ANNALS_LOCK=update`.
    Update,
    /// Write the present shapes whatever the file says; history is kept where it can be read.
    /// `ANNALS_LOCK=force`.
    Force,
}

/// Shapes that do not match their lock file, or a file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Write the file once and commit it.
    #[error("{} is not there yet; write it with {VARIABLE}=update cargo test, and commit it", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Write the file again and commit it: old data stays readable.
    #[error(
        "{} does not have these changes yet, all of them fine:\n\n{}\n\nwrite it with {VARIABLE}=update cargo test, and commit it",
        path.display(), Listed(changes)
    )]
    Outdated {
        /// The file.
        path: PathBuf,
        /// What changed.
        changes: Vec<Change>,
    },
    /// Raise the shape and write an upcast, or restore what was.
    #[error(
        "what was stored before can no longer be read, says {}:\n\n{}\n\nthen write it with {VARIABLE}=update cargo test; if nothing of this was ever stored, {VARIABLE}=force",
        path.display(), Listed(changes)
    )]
    Breaking {
        /// The file.
        path: PathBuf,
        /// The changes that break.
        changes: Vec<Change>,
    },
    /// Restore the file from version control, or settle the merge conflict in it.
    #[error("{}: {error}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        error: LockSyntax,
    },
    /// Let schemars see the types as serde does.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Set the variable to one of the two words, or not at all.
    #[error("{VARIABLE} is {0:?}; set it to update or force, or not at all")]
    Mode(String),
    /// See to the file's rights and place.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

struct Listed<'a>(&'a [Change]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&changes.join("\n\n"))
    }
}

impl Mode {
    /// The mode that `ANNALS_LOCK` asks for.
    pub fn from_env() -> Result<Self, LockError> {
        let value = std::env::var_os(VARIABLE).unwrap_or_default();
        Self::of(&value.to_string_lossy())
    }

    fn of(value: &str) -> Result<Self, LockError> {
        match value {
            "" => Ok(Self::Check),
            "update" => Ok(Self::Update),
            "force" => Ok(Self::Force),
            other => Err(LockError::Mode(other.to_owned())),
        }
    }
}

/// Compares the shapes of `context` with the file at `path`, or writes it, as `ANNALS_LOCK` says.
///
/// A relative path starts at the directory of the crate under test.
pub fn check(context: &Context, path: impl AsRef<Path>) -> Result<(), LockError> {
    check_as(Mode::from_env()?, context, path)
}

/// [`check`] in a given mode.
pub fn check_as(mode: Mode, context: &Context, path: impl AsRef<Path>) -> Result<(), LockError> {
    let path = path.as_ref();
    let new = Lock::of(context)?;
    let old = match (read(path), mode) {
        (Ok(Some(old)), _) => old,
        (Ok(None), Mode::Check) => return Err(LockError::Missing { path: path.to_owned() }),
        (Ok(None), _) | (Err(LockError::Syntax { .. }), Mode::Force) => Lock::default(),
        (Err(error), _) => return Err(error),
    };
    let changes = Lock::compare(&old, &new);
    let breaking: Vec<Change> = changes.iter().filter(|change| change.kind.is_breaking()).cloned().collect();
    if !breaking.is_empty() && mode != Mode::Force {
        return Err(LockError::Breaking { path: path.to_owned(), changes: breaking });
    }
    if changes.is_empty() {
        return Ok(());
    }
    if mode == Mode::Check {
        return Err(LockError::Outdated { path: path.to_owned(), changes });
    }
    let text = new.with_history_of(&old).to_string();
    std::fs::write(path, text).map_err(|error| LockError::File { path: path.to_owned(), error })
}

fn read(path: &Path) -> Result<Option<Lock>, LockError> {
    match std::fs::read_to_string(path) {
        Ok(text) => match Lock::parse(&text) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) => Err(LockError::Syntax { path: path.to_owned(), error }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LockError::File { path: path.to_owned(), error }),
    }
}

#[cfg(test)]
mod tests;
