//! `annals bench`: what this machine allows, and how much of it Annals reaches.
//!
//! Every figure stands beside its limit, taken in the same run and in turn with it; absolute times move from
//! machine to machine, ratios much less. Logs are made for the benchmark and removed at its end: nothing that
//! was there before is touched. It measures inside one process; servers and peers are measured elsewhere.

mod append;
mod commands;
mod domain;
mod error;
mod fill;
mod kafka;
mod limits;
mod load;
mod open;
mod options;
mod place;
mod rebuild;
mod report;
mod scan;
mod size;
mod stats;
#[cfg(test)]
mod tests;
mod views;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::ArgMatches;

use error::BenchError;
use open::Second;
use options::Options;
use place::Place;
use report::Row;

/// The command line of `bench`.
#[must_use]
pub fn command() -> clap::Command {
    options::command()
}

/// Runs the benchmark that was asked for and prints its figures: 0 done, 1 it failed, 2 wrong use.
#[must_use]
pub fn run(matches: &ArgMatches) -> ExitCode {
    let Some((name, matches)) = matches.subcommand() else { return ExitCode::from(2) };
    let done = match matches.try_get_one::<bool>("child") {
        Ok(Some(true)) => open::child(),
        _ => print(name, matches),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if error.is_wrong_use() { 2 } else { 1 })
        }
    }
}

fn print(name: &str, matches: &ArgMatches) -> Result<(), BenchError> {
    let options = Options::read(name, matches, std::io::stderr().is_terminal())?;
    let rows = measure(name, &options, &Second::this_program()?)?;
    let mut text = Vec::new();
    let written = match options.json {
        true => report::write_json(&mut text, &rows),
        false => report::write_table(&mut text, &rows),
    };
    // Who closed standard output does not want to know.
    let _ = written.and_then(|()| std::io::stdout().write_all(&text));
    Ok(())
}

/// Takes the directory, runs the benchmark `name` and leaves the directory as it was.
fn measure(name: &str, options: &Options, second: &Second) -> Result<Vec<Row>, BenchError> {
    let place = Place::take(&options.directory)?;
    if options.kafka.is_none() && place::is_in_memory(&options.directory) {
        let directory = options.directory.display();
        eprintln!(
            "warning: {directory} lies in memory, where a sync costs nothing: these figures say nothing of a disk"
        );
    }
    match name {
        "disk" => append::disk(options, &place),
        "append" => append::append(options, &place),
        "commands" if options.kafka.is_some() => kafka::commands(options, &place),
        "commands" => commands::commands(options, &place),
        "load" => load::load(options, &place),
        "scan" => scan::scan(options, &place),
        "replay" => scan::replay(options, &place),
        "views" => views::views(options, &place),
        "rebuild" => rebuild::rebuild(options, &place),
        "open" => open::open(options, &place, second),
        // clap knows no other name.
        _ => size::size(options, &place),
    }
}
