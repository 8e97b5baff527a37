//! How a command ends that was not done: what a person is told, and the exit code.
//!
//! Messages name what to do; where a flag would help, they name the flag.

use std::process::ExitCode;

use annals_engine::{ExecuteError, QueryError};
use annals_log::copy::CopyError;
use annals_views::{FoldError, StoreError, ViewError};

use super::arguments;
use crate::error::OpenError;
use crate::import::ImportError;

/// A command that was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Call it differently: exit code 2.
    #[error("{0}")]
    Use(String),
    /// The answer is no, or it could not be done now: exit code 1.
    #[error("{0}")]
    No(String),
    /// Nobody reads the output any more, as behind `| head`: nothing to say.
    #[error("the reader of the output has gone")]
    Gone,
}

impl Failure {
    pub(crate) const CODE_NO: u8 = 1;
    pub(crate) const CODE_USE: u8 = 2;

    /// Tells the person at stderr, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Gone => return ExitCode::SUCCESS,
            Self::Use(text) | Self::No(text) => eprintln!("error: {text}"),
        }
        ExitCode::from(if matches!(self, Self::Use(_)) { Self::CODE_USE } else { Self::CODE_NO })
    }

    /// A file that could not be read or written.
    pub(crate) fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::Use(format!("{}: {error}", path.display()))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Gone,
            _ => Self::No(format!("the output cannot be written: {error}")),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::File(error) => error.into(),
            OpenError::ViewStore(error) => error.into(),
            #[cfg(feature = "kafka")]
            OpenError::Kafka(error) => error.into(),
            OpenError::Engine(annals_engine::OpenError::Read(_) | annals_engine::OpenError::Claim(_))
            | OpenError::Views(annals_views::OpenError::Thread { .. }) => Self::No(error.to_string()),
            error => Self::Use(error.to_string()),
        }
    }
}

#[cfg(feature = "kafka")]
impl From<annals_kafka::OpenError> for Failure {
    fn from(error: annals_kafka::OpenError) -> Self {
        use annals_kafka::OpenError as Open;
        match error {
            Open::Replica(annals_file::OpenError::InUse { .. }) => {
                Self::Use(format!("{error}; or name another directory with data= in --log"))
            }
            Open::Unreachable { .. } | Open::Read(_) | Open::NotMade { .. } => Self::No(error.to_string()),
            error => Self::Use(error.to_string()),
        }
    }
}

impl From<annals_file::OpenError> for Failure {
    fn from(error: annals_file::OpenError) -> Self {
        Self::opening(&error, arguments::LOG)
    }
}

impl Failure {
    /// A directory that was not opened, told with the flag that named it.
    pub(crate) fn opening(error: &annals_file::OpenError, flag: &str) -> Self {
        use annals_file::OpenError as Open;
        let hint = match error {
            Open::InUse { .. } | Open::ReadOnlyDirectory { .. } => "; or name another directory with --",
            Open::NotALog { .. } => return Self::no_log(error, flag),
            Open::NotEmpty { .. } | Open::OtherContext { .. } => "; name it with --",
            Open::OtherShards { .. } => "; leave ?shards= away from --",
            Open::Io { source, .. } if is_misnamed(source) => "; name the directory of a log with --",
            Open::Damaged(_) | Open::Io { .. } => return Self::No(error.to_string()),
            _ => return Self::Use(error.to_string()),
        };
        Self::Use(format!("{error}{hint}{flag}"))
    }

    fn no_log(error: &annals_file::OpenError, flag: &str) -> Self {
        Self::Use(format!(
            "{error}; name the directory of a log with --{flag}, or make one with serve or import"
        ))
    }
}

/// Whether the system says that there is no such place, rather than that it cannot serve it.
fn is_misnamed(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{AlreadyExists, NotADirectory, NotFound};
    matches!(error.kind(), AlreadyExists | NotADirectory | NotFound)
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Failed { .. } | StoreError::Superseded { .. } => Self::No(error.to_string()),
            error => Self::Use(format!("{error}; --views names another file")),
        }
    }
}

impl From<FoldError> for Failure {
    fn from(error: FoldError) -> Self {
        match error {
            FoldError::Store(error) => error.into(),
            error => Self::No(error.to_string()),
        }
    }
}

impl From<ViewError> for Failure {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Store(error) => error.into(),
            ViewError::Unknown { .. }
            | ViewError::NotAKey { .. }
            | ViewError::NoIndex { .. }
            | ViewError::Cursor { .. } => Self::Use(error.to_string()),
            error => Self::No(error.to_string()),
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::UnknownKind { .. } | QueryError::InvalidId { .. } => Self::Use(error.to_string()),
            error => Self::No(error.to_string()),
        }
    }
}

impl From<annals_log::ReadError> for Failure {
    fn from(error: annals_log::ReadError) -> Self {
        Self::No(error.to_string())
    }
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::SameLog { .. }
            | CopyError::InUse { .. }
            | CopyError::OtherContext { .. }
            | CopyError::Foreign { .. }
            | CopyError::OtherSource { .. }
            | CopyError::NotInSource { .. }
            | CopyError::Gap { .. } => Self::Use(error.to_string()),
            error => Self::No(error.to_string()),
        }
    }
}

impl From<ExecuteError> for Failure {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::UnknownDecider { .. }
            | ExecuteError::InvalidId { .. }
            | ExecuteError::InvalidName(_)
            | ExecuteError::InvalidKey { .. }
            | ExecuteError::TextTooLong { .. }
            | ExecuteError::Fields(_) => Self::Use(error.to_string()),
            error => Self::No(error.to_string()),
        }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Engine(error) => error.into(),
            ImportError::Query(error) => error.into(),
            error => Self::Use(error.to_string()),
        }
    }
}
