//! `state`: an entity as it is, or as it was.

use annals_engine::At;
use clap::{Arg, ArgMatches, Command};
use serde_json::json;

use super::arguments::{self, given, required};
use super::failure::Failure;
use super::output::Output;
use super::place;
use crate::{Context, Timestamp};

pub(crate) fn command(contexts: &[Context]) -> Command {
    Command::new("state")
        .about("Show the state of an entity, now or at a version or time")
        .arg(arguments::context(contexts))
        .arg(required("decider", "DECIDER", "The decider or saga"))
        .arg(required("id", "ID", "The entity"))
        .arg(
            Arg::new("version")
                .long("version")
                .value_name("N")
                .value_parser(clap::value_parser!(u64))
                .conflicts_with("at")
                .help("After this many events"),
        )
        .arg(
            Arg::new("at")
                .long("at")
                .value_name("TIME")
                .value_parser(clap::value_parser!(Timestamp))
                .help("After all that was recorded up to this time, as in 2026-01-31T12:00:00Z"),
        )
        .arg(arguments::tenant())
        .arg(arguments::log())
        .arg(arguments::json())
}

pub(crate) fn run(contexts: &[Context], matches: &ArgMatches) -> Result<(), Failure> {
    let context = arguments::named(contexts, matches)?;
    let engine = place::engine(&place::of(matches, context), context)?;
    let (kind, id) = (given(matches, "decider")?, given(matches, "id")?);
    let stream = engine.stream(arguments::tenant_of(matches), kind, id)?;
    let at = match (matches.get_one::<u64>("version"), matches.get_one::<Timestamp>("at")) {
        (Some(version), _) => At::Version(*version),
        (_, Some(time)) => At::Time(*time),
        _ => At::Now,
    };
    let found = engine.state(&stream, at)?;
    if found.version == 0 && at != At::Version(0) {
        return Err(Failure::No(format!("nothing has happened to {stream}{}", moment(at))));
    }
    let mut output = Output::new();
    if arguments::wants_json(matches) {
        output.line(json!({ "stream": stream.as_str(), "version": found.version, "state": found.state }))?;
    } else {
        output.line(format_args!("{stream} at version {}", found.version))?;
        output.pretty(&found.state)?;
    }
    output.flush()
}

fn moment(at: At) -> String {
    if let At::Time(time) = at { format!(" up to {time}") } else { String::new() }
}
