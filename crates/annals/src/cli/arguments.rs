//! Arguments that several commands take, and how they are read.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches};

use super::failure::Failure;
use crate::{Context, LogUrl, Tenant};

pub(crate) const CONTEXT: &str = "context";
pub(crate) const LOG: &str = "log";
pub(crate) const JSON: &str = "json";
pub(crate) const TENANT: &str = "tenant";

/// Where logs are, for the end of `--help`.
pub(crate) const AFTER_HELP: &str = "\
Logs: --log names a log, as in --log file:./data/bank (memory: for a test). Without it, the log of a context is \
file:./annals-data/CONTEXT. A program that has a log open listens on DIRECTORY/annals.sock; send, import and view \
go through it, the other commands read the directory beside it.";

/// The context, which must be given.
pub(crate) fn context(contexts: &[Context]) -> Arg {
    Arg::new(CONTEXT).value_name("CONTEXT").required(true).value_parser(names(contexts)).help("The context")
}

/// What can be given for a context.
pub(crate) fn names(contexts: &[Context]) -> PossibleValuesParser {
    PossibleValuesParser::new(contexts.iter().map(|context| context.name().to_owned()))
}

/// The log's address.
pub(crate) fn log() -> Arg {
    Arg::new(LOG)
        .long("log")
        .value_name("URL")
        .value_parser(clap::value_parser!(LogUrl))
        .help("The log, as in file:./data/bank [default: file:./annals-data/CONTEXT]")
}

/// Whether data is printed as JSON.
pub(crate) fn json() -> Arg {
    Arg::new(JSON).long("json").action(ArgAction::SetTrue).help("Print JSON, one value per line")
}

/// The tenant.
pub(crate) fn tenant() -> Arg {
    Arg::new(TENANT).long("tenant").value_name("TENANT").value_parser(Tenant::new).help("The tenant")
}

/// An argument that must be given, at its place.
pub(crate) fn required(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).value_name(value_name).required(true).help(help)
}

/// A text that was given.
pub(crate) fn text<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches.get_one::<String>(name).map(String::as_str)
}

/// A text that clap has made sure was given.
pub(crate) fn given<'a>(matches: &'a ArgMatches, name: &str) -> Result<&'a str, Failure> {
    text(matches, name).ok_or_else(|| Failure::Use(format!("{name} must be given")))
}

/// The context that was named.
pub(crate) fn named<'a>(contexts: &'a [Context], matches: &ArgMatches) -> Result<&'a Context, Failure> {
    find(contexts, given(matches, CONTEXT)?)
}

/// The context called `name`.
pub(crate) fn find<'a>(contexts: &'a [Context], name: &str) -> Result<&'a Context, Failure> {
    let known = || contexts.iter().map(|context| context.name()).collect::<Vec<_>>().join(", ");
    let found = contexts.iter().find(|context| context.name() == name);
    found.ok_or_else(|| Failure::Use(format!("there is no context {name:?}; there are {}", known())))
}

/// Whether JSON was asked for.
pub(crate) fn wants_json(matches: &ArgMatches) -> bool {
    matches.get_flag(JSON)
}

/// The tenant that was named.
pub(crate) fn tenant_of(matches: &ArgMatches) -> Option<&Tenant> {
    matches.get_one::<Tenant>(TENANT)
}
