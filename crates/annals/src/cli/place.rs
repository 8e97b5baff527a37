//! Where the log of a context is, and opening it for questions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_engine::Engine;
use annals_log::Log;
use clap::ArgMatches;

use super::arguments;
use super::failure::Failure;
use crate::open::{self, LogUrl};
use crate::{Context, OpenError};

/// Where the logs of contexts are unless `--log` says otherwise.
const DATA: &str = "annals-data";
/// The socket on which the program that has a log open answers, in the log's directory.
const SOCKET: &str = "annals.sock";

/// The log of the one context a command is about.
pub(crate) fn of(matches: &ArgMatches, context: &Context) -> LogUrl {
    match matches.get_one::<LogUrl>(arguments::LOG) {
        Some(url) => at_home(url.clone(), context),
        None => default(context),
    }
}

/// The log of one of `several` contexts that are opened together: a folder of its own under a given directory.
pub(crate) fn of_several(matches: &ArgMatches, context: &Context, several: bool) -> LogUrl {
    match matches.get_one::<LogUrl>(arguments::LOG) {
        Some(url) if several => at_home(url.clone().for_one_of_several(context.name()), context),
        _ => of(matches, context),
    }
}

fn default(context: &Context) -> LogUrl {
    LogUrl::File { directory: Path::new(".").join(DATA).join(context.name()), shards: None }
}

/// The address with the directory that the context's replica is in by default.
pub(crate) fn at_home(url: LogUrl, context: &Context) -> LogUrl {
    let home = url.directory(context.name());
    match url {
        LogUrl::Kafka { brokers, prefix, shards, data: None, message_timeout } => {
            LogUrl::Kafka { brokers, prefix, shards, data: home, message_timeout }
        }
        url => url,
    }
}

/// The control socket of a log: there is one only where there is a directory.
pub(crate) fn socket(url: &LogUrl) -> Option<PathBuf> {
    directory(url).ok().map(socket_in)
}

/// The control socket of the log in `directory`.
pub(crate) fn socket_in(directory: &Path) -> PathBuf {
    directory.join(SOCKET)
}

/// The directory of a log that must have one: its own, or that of its replica and views.
pub(crate) fn directory(url: &LogUrl) -> Result<&Path, Failure> {
    match url {
        LogUrl::File { directory, .. } | LogUrl::Kafka { data: Some(directory), .. } => Ok(directory),
        LogUrl::Memory { .. } => {
            let text = "a log in memory is gone with its process; name a directory, as in --log file:./data";
            Err(Failure::Use(text.to_owned()))
        }
        LogUrl::Kafka { data: None, .. } => Err(Failure::Use(
            "say where the replica is, with data=./directory in --log, or name the context".to_owned(),
        )),
    }
}

/// The directory that holds the files of a log, or of its replica.
pub(crate) fn files(url: &LogUrl) -> Result<PathBuf, Failure> {
    let directory = directory(url)?;
    Ok(match url {
        LogUrl::Kafka { .. } => directory.join(open::REPLICA),
        _ => directory.to_owned(),
    })
}

/// Opens a context's log for reading, also beside a running owner.
pub(crate) fn log(url: &LogUrl, context: &Context) -> Result<Arc<dyn Log>, Failure> {
    directory(url)?;
    Ok(open::log(url, context.name(), true)?)
}

/// Opens a context for questions, also beside a running owner.
pub(crate) fn engine(url: &LogUrl, context: &Context) -> Result<Engine, Failure> {
    Ok(Engine::open_read_only(context.core().clone(), log(url, context)?).map_err(OpenError::from)?)
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    #[test]
    fn several_contexts_share_a_directory_and_one_has_it_whole() {
        let bank = crate::context("bank");
        let matches =
            |arguments: &[&str]| Command::new("t").arg(arguments::log()).get_matches_from(arguments);
        let directory = |url: LogUrl| match url {
            LogUrl::File { directory, .. } => directory.display().to_string(),
            LogUrl::Kafka { data, .. } => format!("replica in {}", data.unwrap().display()),
            LogUrl::Memory { .. } => "memory".to_owned(),
        };
        for (arguments, several, expected) in [
            (["t"].as_slice(), false, "./annals-data/bank"),
            (&["t"], true, "./annals-data/bank"),
            (&["t", "--log", "file:x"], false, "x"),
            (&["t", "--log", "file:x"], true, "x/bank"),
            (&["t", "--log", "memory:"], true, "memory"),
            (&["t", "--log", "kafka://b:1"], true, "replica in ./annals-data/bank-kafka"),
            (&["t", "--log", "kafka://b:1?data=x"], false, "replica in x"),
            (&["t", "--log", "kafka://b:1?data=x"], true, "replica in x/bank"),
        ] {
            let url = of_several(&matches(arguments), &bank, several);
            assert_eq!(directory(url), expected, "{arguments:?} {several}");
        }
    }
}
