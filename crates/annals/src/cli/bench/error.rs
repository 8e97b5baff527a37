//! Why a benchmark did not run, or did not come to its end.

use std::io;
use std::path::{Path, PathBuf};

use crate::UrlError;

/// A benchmark that gave no figures.
#[derive(Debug, thiserror::Error)]
pub(super) enum BenchError {
    /// Write the address of a file log.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Give the address of a log with one shard in a directory.
    #[error(
        "bench needs a log of one shard in a directory, {url:?} is another; write --log file:./annals-bench (bench \
         commands: or --log kafka://host:9092)"
    )]
    NotAFile {
        /// What was given.
        url: String,
    },
    /// Choose an empty or new directory: nothing in this one was touched.
    #[error("{} holds {found:?}, which bench did not make; choose an empty or new directory", directory.display())]
    Occupied {
        /// The directory.
        directory: PathBuf,
        /// Something in it.
        found: String,
    },
    /// Wait for the other benchmark, or choose another directory.
    #[error("another benchmark is running in {}; wait for it, or choose another directory", directory.display())]
    Busy {
        /// The directory.
        directory: PathBuf,
    },
    /// Look at the operating system's message: most often there is no room.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Look at the other message: the disk failed under the bare log.
    #[error("the bare log could not be written")]
    BareLogFailed,
    /// Look at the message: the second process of a benchmark did not do its part.
    #[error("the second process of the benchmark failed: {reason}")]
    Child {
        /// What is known.
        reason: String,
    },
    /// Report it: the log did not give back what the benchmark wrote.
    #[error("{what} is {found}, not {expected}; this is a fault in annals, please report it")]
    Wrong {
        /// What was compared.
        what: &'static str,
        /// What the benchmark wrote.
        expected: u64,
        /// What the log gave.
        found: u64,
    },
    /// Leave `--tasks` away.
    #[error("bench commands --tasks measures a log in a directory; leave --tasks away on Kafka")]
    NoTasks,
    /// Raise the limit of threads.
    #[error("the threads of the benchmark could not be started: {0}")]
    Runtime(io::Error),
    /// Report it: a thread of the benchmark panicked.
    #[error("a thread of the benchmark panicked; this is a fault in annals, please report it")]
    Panicked,
    /// The log in Kafka could not be opened, or its limit not be taken.
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(#[from] annals_kafka::OpenError),
    /// Use a build with Kafka.
    #[cfg(not(feature = "kafka"))]
    #[error(transparent)]
    NoKafka(UrlError),
    /// The log could not be opened.
    #[error(transparent)]
    Open(Box<annals_file::OpenError>),
    /// The log could not be claimed.
    #[error(transparent)]
    Claim(#[from] annals_log::ClaimError),
    /// The log did not take a record.
    #[error(transparent)]
    Append(#[from] annals_log::AppendError),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] annals_log::ReadError),
    /// The engine could not be opened.
    #[error(transparent)]
    Engine(Box<annals_engine::OpenError>),
    /// A command was not executed.
    #[error(transparent)]
    Execute(Box<annals_engine::ExecuteError>),
    /// A state could not be read.
    #[error(transparent)]
    Query(Box<annals_engine::QueryError>),
    /// A view could not be folded.
    #[error(transparent)]
    Fold(Box<annals_views::FoldError>),
    /// The store of the view failed.
    #[error(transparent)]
    Store(Box<annals_views::StoreError>),
    /// A view could not be read.
    #[error(transparent)]
    View(Box<annals_views::ViewError>),
    /// The views could not be opened.
    #[error(transparent)]
    Views(Box<annals_views::OpenError>),
    /// A view could not be rebuilt.
    #[error(transparent)]
    Operate(Box<annals_views::OperateError>),
    /// Report it: a rebuild ended without taking over.
    #[error("the rebuild did not take over: {reason}")]
    NotRebuilt {
        /// What is known.
        reason: String,
    },
    /// A record could not be decoded.
    #[error(transparent)]
    Envelope(#[from] annals_core::envelope::EnvelopeError),
    /// An event could not be decoded.
    #[error(transparent)]
    Decode(#[from] annals_core::codec::DecodeError),
    /// An event could not be encoded.
    #[error(transparent)]
    Encode(#[from] annals_core::codec::EncodeError),
    /// A stream could not be named.
    #[error(transparent)]
    Name(#[from] annals_core::id::InvalidName),
    /// The benchmark's context does not fit together.
    #[error(transparent)]
    Context(#[from] annals_core::context::ContextError),
    /// JSON could not be written or read.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

// Boxed: an error is passed through every measured call, and these have up to 160 bytes.
macro_rules! boxed {
    ($($variant:ident: $error:ty),*) => {$(
        impl From<$error> for BenchError {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        }
    )*};
}
boxed!(
    Open: annals_file::OpenError,
    Engine: annals_engine::OpenError,
    Execute: annals_engine::ExecuteError,
    Query: annals_engine::QueryError,
    Fold: annals_views::FoldError,
    Store: annals_views::StoreError,
    View: annals_views::ViewError,
    Views: annals_views::OpenError,
    Operate: annals_views::OperateError
);

impl BenchError {
    /// What the operating system said about `path`.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// Whether the caller asked for something that cannot be done, rather than it going wrong.
    pub(super) fn is_wrong_use(&self) -> bool {
        matches!(
            self,
            Self::Url(_) | Self::NotAFile { .. } | Self::NoTasks | Self::Occupied { .. } | Self::Busy { .. }
        )
    }
}
