//! Where a context's log and views are: URLs and options.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use annals_core::LogId;
use annals_engine::{Environment, Settings};
use annals_file::FileLog;
use annals_log::{Identity, Log, MemoryLog};
use annals_views::{Drive, MemoryStore, SqliteStore, ViewStore};

use crate::error::OpenError;

/// The most shards a log may have.
pub(crate) const SHARDS_MAX: u32 = 1024;

/// The shortest and the longest time that a record may be on its way to Kafka.
const MESSAGE_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

/// Where logs and replicas are kept when nothing else is said.
const DATA: &str = "annals-data";

/// The address of a log: `memory:`, `file:./directory`, `kafka://host:9092,host:9092/prefix?data=./replica`; with
/// `shards=8` for a new log of several shards.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogUrl {
    /// Gone with the process: for tests.
    Memory {
        /// How many shards.
        shards: u32,
    },
    /// A directory on this machine.
    File {
        /// The directory.
        directory: PathBuf,
        /// How many shards a new log gets, or an existing one must have.
        shards: Option<u32>,
    },
    /// A topic of Kafka, with a replica on this machine.
    Kafka {
        /// Addresses of brokers to begin with: `host:port`, with commas between.
        brokers: String,
        /// What the names of topics begin with; may be empty.
        prefix: String,
        /// How many shards a new log gets, or an existing one must have.
        shards: Option<u32>,
        /// The directory of replica and views; by default one in `annals-data`, named after the context.
        data: Option<PathBuf>,
        /// How long a record may be on its way before its outcome is unknown; by default 20 s. A short time tells
        /// callers sooner that the brokers do not answer, a long one outlasts more of what befalls brokers.
        message_timeout: Option<Duration>,
    },
}

/// An address that is not one of a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Write `memory:` or `file:./directory`.
    #[error(
        "{0:?} is not the address of a log; write memory:, file:./directory or kafka://host:9092, with ?shards=8 for several shards"
    )]
    Scheme(String),
    /// Use a build with the Kafka log: the feature `kafka` of `annals`.
    #[error("this program was built without Kafka; build it with the feature kafka of the crate annals")]
    NoKafka,
    /// Name a broker.
    #[error("{0:?} names no broker; write kafka://host:9092, or several with commas between")]
    NoBroker(String),
    /// Use letters, digits, dots, hyphens and underscores.
    #[error("{0:?} cannot begin the name of a topic; use letters, digits, dots, - and _")]
    Prefix(String),
    /// Name a directory.
    #[error("{0:?} names no directory; write file:./directory")]
    NoDirectory(String),
    /// Give a number of shards from 1 to 1024.
    #[error("{0:?} is not a number of shards; write shards=1 to shards={SHARDS_MAX}")]
    Shards(String),
    /// Give a time from 1 second to 10 minutes.
    #[error("{0:?} is not a time that a record may take; write message-timeout=1s to message-timeout=600s")]
    MessageTimeout(String),
    /// Remove the parameter.
    #[error(
        "there is no parameter {0:?} here; there is shards=8, and data=./directory and message-timeout=20s for Kafka"
    )]
    Parameter(String),
}

impl FromStr for LogUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let (scheme, path) = place.split_once(':').ok_or_else(|| UrlError::Scheme(text.to_owned()))?;
        let parameters = Parameters::read(query)?;
        let shards = parameters.shards;
        match scheme {
            "memory" if path.is_empty() => {
                parameters.none_of_kafka().map(|()| Self::Memory { shards: shards.unwrap_or(1) })
            }
            "file" => {
                parameters.none_of_kafka()?;
                let path = path.strip_prefix("//").unwrap_or(path);
                if path.is_empty() {
                    return Err(UrlError::NoDirectory(text.to_owned()));
                }
                Ok(Self::File { directory: PathBuf::from(path), shards })
            }
            "kafka" => {
                let place = path.strip_prefix("//").unwrap_or_default();
                let (brokers, prefix) = place.split_once('/').unwrap_or((place, ""));
                if brokers.split(',').any(|broker| broker.is_empty() || broker.contains(char::is_whitespace))
                {
                    return Err(UrlError::NoBroker(text.to_owned()));
                }
                let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                if !prefix.chars().all(fits) {
                    return Err(UrlError::Prefix(prefix.to_owned()));
                }
                let (brokers, prefix) = (brokers.to_owned(), prefix.to_owned());
                let Parameters { data, message_timeout, .. } = parameters;
                Ok(Self::Kafka { brokers, prefix, shards, data, message_timeout })
            }
            _ => Err(UrlError::Scheme(text.to_owned())),
        }
    }
}

/// What stands behind the question mark of an address.
#[derive(Default)]
struct Parameters {
    shards: Option<u32>,
    data: Option<PathBuf>,
    message_timeout: Option<Duration>,
}

impl Parameters {
    fn read(query: &str) -> Result<Self, UrlError> {
        let mut read = Self::default();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("shards", number)) => {
                    let number: Option<u32> =
                        number.parse().ok().filter(|number| (1..=SHARDS_MAX).contains(number));
                    read.shards = Some(number.ok_or_else(|| UrlError::Shards(parameter.to_owned()))?);
                }
                Some(("data", path)) if !path.is_empty() => read.data = Some(PathBuf::from(path)),
                Some(("message-timeout", text)) => {
                    let timeout = duration(text).filter(|timeout| MESSAGE_TIMEOUT.contains(timeout));
                    let refused = || UrlError::MessageTimeout(parameter.to_owned());
                    read.message_timeout = Some(timeout.ok_or_else(refused)?);
                }
                _ => return Err(UrlError::Parameter(parameter.to_owned())),
            }
        }
        Ok(read)
    }

    /// An error where a parameter is given that only Kafka has.
    fn none_of_kafka(&self) -> Result<(), UrlError> {
        let data = self.data.as_ref().map(|data| format!("data={}", data.display()));
        let timeout =
            self.message_timeout.map(|timeout| format!("message-timeout={}ms", timeout.as_millis()));
        data.or(timeout).map_or(Ok(()), |parameter| Err(UrlError::Parameter(parameter)))
    }
}

/// A time as one writes it: `500ms`, `3s`, `2m`.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    }
}

impl LogUrl {
    /// The directory on this machine that holds the log of `context`, or its replica; `None` for a log in memory.
    /// Views and the socket of a program that has the log open are in it too.
    #[must_use]
    pub fn directory(&self, context: &str) -> Option<PathBuf> {
        match self {
            Self::Memory { .. } => None,
            Self::File { directory, .. } => Some(directory.clone()),
            Self::Kafka { data, .. } => Some(
                data.clone().unwrap_or_else(|| Path::new(".").join(DATA).join(format!("{context}-kafka"))),
            ),
        }
    }

    /// The address for one of several contexts: a folder of its own below a directory that was named.
    #[must_use]
    pub fn for_one_of_several(mut self, context: &str) -> Self {
        if let Self::File { directory, .. } | Self::Kafka { data: Some(directory), .. } = &mut self {
            *directory = directory.join(context);
        }
        self
    }
}

#[cfg(feature = "cli")]
impl LogUrl {
    /// The same place, for a log of so many shards.
    pub(crate) fn with_shards(mut self, wanted: u32) -> Self {
        match &mut self {
            Self::Memory { shards } => *shards = wanted,
            Self::File { shards, .. } | Self::Kafka { shards, .. } => *shards = Some(wanted),
        }
        self
    }

    /// The same place, for a log of so many shards where the address says nothing about that.
    pub(crate) fn or_shards(mut self, wanted: u32) -> Self {
        if let Self::File { shards, .. } | Self::Kafka { shards, .. } = &mut self {
            shards.get_or_insert(wanted);
        }
        self
    }
}

/// The address as one would type it.
impl std::fmt::Display for LogUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory { .. } => f.write_str("memory:"),
            Self::File { directory, .. } => write!(f, "file:{}", directory.display()),
            Self::Kafka { brokers, prefix, data, message_timeout, .. } => {
                write!(f, "kafka://{brokers}/{prefix}")?;
                let data = data.as_ref().map(|data| format!("data={}", data.display()));
                let timeout =
                    message_timeout.map(|timeout| format!("message-timeout={}ms", timeout.as_millis()));
                let mut parameters = data.into_iter().chain(timeout);
                parameters.next().map_or(Ok(()), |first| write!(f, "?{first}"))?;
                parameters.try_for_each(|more| write!(f, "&{more}"))
            }
        }
    }
}

/// Where views are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViewsAt {
    /// In `views.sqlite` in the directory of a file log or of a Kafka log's replica; in memory for a memory log.
    #[default]
    BesideLog,
    /// In memory: folded anew each time the app is opened.
    Memory,
    /// In this SQLite file.
    Sqlite(PathBuf),
}

/// How a context is opened.
#[derive(Clone, Default)]
pub struct Options {
    /// The clock and keys; by default the machine's clock and random keys.
    pub environment: Option<Environment>,
    /// Bounds of the engine.
    pub engine: Settings,
    /// Where views are kept.
    pub views: ViewsAt,
    /// Nothing moves by itself: sagas and views advance in [`crate::App::settle`] only. For deterministic tests.
    pub by_hand: bool,
    /// Only questions: nothing is claimed or written, views are folded in memory when asked.
    pub read_only: bool,
}

impl Options {
    pub(crate) fn drive(&self) -> Drive {
        if self.by_hand { Drive::Caller } else { Drive::Threads }
    }
}

/// Opens the log at `url` for `context`; makes it where there is none, unless it is to be read only.
pub(crate) fn log(url: &LogUrl, context: &str, read_only: bool) -> Result<Arc<dyn Log>, OpenError> {
    Ok(match url {
        LogUrl::Memory { shards } => Arc::new(MemoryLog::new(identity(context, *shards))),
        LogUrl::File { directory, shards } => Arc::new(file_log(directory, context, *shards, read_only)?),
        LogUrl::Kafka { .. } => kafka_log(url, context, read_only)?,
    })
}

/// The directory of the replica in that of a log.
#[cfg(any(feature = "kafka", feature = "cli"))]
pub(crate) const REPLICA: &str = "replica";

/// A Kafka log; where another program of this machine has its replica, that is read beside it.
#[cfg(feature = "kafka")]
fn kafka_log(url: &LogUrl, context: &str, read_only: bool) -> Result<Arc<dyn Log>, OpenError> {
    use annals_kafka::{KafkaLog, OpenError as KafkaError};
    let LogUrl::Kafka { brokers, prefix, shards, message_timeout, .. } = url else {
        return Err(UrlError::Scheme(url.to_string()).into());
    };
    let replica = url.directory(context).unwrap_or_default().join(REPLICA);
    let mut settings = annals_kafka::Settings::new(brokers.as_str(), &replica);
    settings.prefix.clone_from(prefix);
    settings.message_timeout = message_timeout.unwrap_or(settings.message_timeout);
    if !read_only {
        let made = || (LogId(uuid::Uuid::new_v4()), annals_core::Timestamp::now());
        return Ok(Arc::new(KafkaLog::open_or_create(settings, context, *shards, made)?));
    }
    match KafkaLog::follow(settings, context, *shards) {
        Err(KafkaError::Replica(annals_file::OpenError::InUse { .. })) => {
            Ok(Arc::new(FileLog::open_read_only(&replica)?.expect_identity(context, *shards)?))
        }
        opened => Ok(Arc::new(opened?)),
    }
}

#[cfg(not(feature = "kafka"))]
fn kafka_log(_: &LogUrl, _: &str, _: bool) -> Result<Arc<dyn Log>, OpenError> {
    Err(UrlError::NoKafka.into())
}

fn file_log(
    directory: &Path,
    context: &str,
    shards: Option<u32>,
    read_only: bool,
) -> Result<FileLog, annals_file::OpenError> {
    if read_only {
        return FileLog::open_read_only(directory)?.expect_identity(context, shards);
    }
    FileLog::open_or_create(directory, context, shards, annals_file::Settings::default(), || {
        let Identity { log_id, created_at, .. } = identity(context, 1);
        (log_id, created_at)
    })
}

/// A new incarnation.
fn identity(context: &str, shards: u32) -> Identity {
    Identity {
        log_id: LogId(uuid::Uuid::new_v4()),
        context: context.to_owned(),
        shards,
        created_at: annals_core::Timestamp::now(),
    }
}

/// Opens the store of views.
pub(crate) fn views(url: &LogUrl, context: &str, at: &ViewsAt) -> Result<Arc<dyn ViewStore>, OpenError> {
    Ok(match (at, url.directory(context)) {
        (ViewsAt::Sqlite(path), _) => Arc::new(SqliteStore::open(path)?),
        (ViewsAt::BesideLog, Some(directory)) => Arc::new(SqliteStore::open(directory.join("views.sqlite"))?),
        (ViewsAt::BesideLog | ViewsAt::Memory, _) => Arc::new(MemoryStore::new()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "cli")]
    #[test]
    fn the_number_of_shards_is_set_or_added() {
        for (text, with, or) in [("file:a", Some(3), Some(3)), ("file:a?shards=2", Some(3), Some(2))] {
            let url: LogUrl = text.parse().unwrap();
            let file = |shards| LogUrl::File { directory: "a".into(), shards };
            assert_eq!((url.clone().with_shards(3), url.or_shards(3)), (file(with), file(or)));
        }
        let memory: LogUrl = "memory:".parse().unwrap();
        assert_eq!(memory.clone().with_shards(3), LogUrl::Memory { shards: 3 });
        assert_eq!(memory.clone().or_shards(3), memory);
    }

    #[test]
    fn addresses_are_read_or_refused_with_a_reason() {
        let file = |directory: &str, shards| LogUrl::File { directory: directory.into(), shards };
        let kafka = |brokers: &str, prefix: &str, shards, data: Option<&str>| LogUrl::Kafka {
            brokers: brokers.into(),
            prefix: prefix.into(),
            shards,
            data: data.map(PathBuf::from),
            message_timeout: None,
        };
        let patient = |seconds| LogUrl::Kafka {
            brokers: "b".into(),
            prefix: String::new(),
            shards: None,
            data: None,
            message_timeout: Some(Duration::from_secs(seconds)),
        };
        let timeout = |text: &str| Err(UrlError::MessageTimeout(text.into()));
        for (text, expected) in [
            ("memory:", Ok(LogUrl::Memory { shards: 1 })),
            ("memory:?shards=8", Ok(LogUrl::Memory { shards: 8 })),
            ("file:./bank", Ok(file("./bank", None))),
            ("file:///var/bank?shards=1024", Ok(file("/var/bank", Some(1024)))),
            ("file:", Err(UrlError::NoDirectory("file:".into()))),
            ("./bank", Err(UrlError::Scheme("./bank".into()))),
            ("memory:x", Err(UrlError::Scheme("memory:x".into()))),
            ("file:./bank?shards=0", Err(UrlError::Shards("shards=0".into()))),
            ("file:./bank?shards=1025", Err(UrlError::Shards("shards=1025".into()))),
            ("file:./bank?shard=1", Err(UrlError::Parameter("shard=1".into()))),
            ("file:./bank?data=x", Err(UrlError::Parameter("data=x".into()))),
            ("kafka://b1:9092", Ok(kafka("b1:9092", "", None, None))),
            ("kafka://b1:9092,b2:9092/", Ok(kafka("b1:9092,b2:9092", "", None, None))),
            (
                "kafka://b1:9092/dev?shards=8&data=./replica",
                Ok(kafka("b1:9092", "dev", Some(8), Some("./replica"))),
            ),
            ("kafka:", Err(UrlError::NoBroker("kafka:".into()))),
            ("kafka://", Err(UrlError::NoBroker("kafka://".into()))),
            ("kafka://a,,b", Err(UrlError::NoBroker("kafka://a,,b".into()))),
            ("kafka://a/b/c", Err(UrlError::Prefix("b/c".into()))),
            ("kafka://a?data=", Err(UrlError::Parameter("data=".into()))),
            ("kafka://a?acks=1", Err(UrlError::Parameter("acks=1".into()))),
            ("kafka://b?message-timeout=3s", Ok(patient(3))),
            ("kafka://b?message-timeout=1000ms", Ok(patient(1))),
            ("kafka://b?message-timeout=10m", Ok(patient(600))),
            ("kafka://b?message-timeout=999ms", timeout("message-timeout=999ms")),
            ("kafka://b?message-timeout=601s", timeout("message-timeout=601s")),
            ("kafka://b?message-timeout=3", timeout("message-timeout=3")),
            ("kafka://b?message-timeout=s", timeout("message-timeout=s")),
            ("memory:?message-timeout=3s", Err(UrlError::Parameter("message-timeout=3000ms".into()))),
        ] {
            assert_eq!(text.parse::<LogUrl>(), expected, "{text}");
        }
    }

    #[test]
    fn an_address_of_kafka_is_shown_as_it_is_typed() {
        for text in [
            "kafka://b1:9092,b2:9092/dev",
            "kafka://b/?data=./replica",
            "kafka://b/?message-timeout=3000ms",
            "kafka://b/dev?data=./replica&message-timeout=3000ms",
        ] {
            assert_eq!(text.parse::<LogUrl>().unwrap().to_string(), text);
        }
    }
}
