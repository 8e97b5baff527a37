//! `import`: commands from files, each under a key that follows from its place, so that nothing counts twice.
//!
//! NDJSON for every context, and the formats that contexts bring along. An import can be broken off at any point
//! and started again: what was answered is answered again, and has no second effect.

mod local;
mod ndjson;
pub(super) mod progress;
mod remote;
mod rows;
mod tally;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches, Command};
use serde_json::Value;

use super::arguments;
use super::control::{self, Client};
use super::failure::Failure;
use super::output::Output;
use super::place;
use super::serve;
use crate::import::{Import, Importer, Progress, Report};
use crate::open::{LogUrl, Options, ViewsAt};
use crate::{App, Context};

use progress::Bar;

/// What stands for stdin among the files.
const STDIN: &str = "-";

pub(crate) fn command(contexts: &[Context]) -> Command {
    let mut command = Command::new("import")
        .about("Send the commands in files, each once however often it is started")
        .long_about(long_about(contexts))
        .arg(arguments::context(contexts))
        .arg(
            Arg::new("files")
                .value_name("FILES")
                .required(true)
                .num_args(1..)
                .value_parser(clap::value_parser!(PathBuf))
                .help("The files; - for commands as NDJSON from stdin"),
        )
        .arg(
            Arg::new("refused")
                .long("refused")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Write every refused row of NDJSON to this file, as NDJSON"),
        )
        .arg(arguments::log())
        .arg(serve::views_argument())
        .arg(progress::argument())
        .arg(arguments::json().help("Print what it came to as one line of JSON"));
    let mut names: Vec<String> =
        command.get_arguments().map(|argument| argument.get_id().to_string()).collect();
    for argument in
        contexts.iter().flat_map(|context| context.importers()).flat_map(|format| format.arguments())
    {
        // Two formats may share a flag; the first one says what it means.
        if !names.contains(&argument.get_id().to_string()) {
            names.push(argument.get_id().to_string());
            command = command.arg(argument);
        }
    }
    command
}

fn long_about(contexts: &[Context]) -> String {
    let mut text = "Send the commands in files, each once however often it is started.\n\n\
        NDJSON, one command a line: {\"decider\": \"account\", \"id\": \"ann\", \"command\": \"deposit\", \
        \"fields\": {\"amount\": 5}}, and where wanted \"key\", \"actor\", \"occurred_at\", \"tenant\". Without \
        \"key\" a row's key is the file's digest and the row's number, so that a second start doubles nothing. \
        Refused rows are reported and do not stop it; a row that is no command does, with its place, and nothing \
        is lost: correct it and start again. Rows with keys of the file's digest count as new rows in the \
        corrected file; give rows keys of their own where that matters."
        .to_owned();
    for context in contexts {
        for importer in context.importers() {
            text.push_str(&format!("\n\n{}: {}", context.name(), importer.about()));
        }
    }
    text
}

pub(crate) fn run(contexts: &[Context], matches: &ArgMatches) -> Result<(), Failure> {
    let context = arguments::named(contexts, matches)?;
    let url = place::of(matches, context);
    let files: Vec<PathBuf> = matches.get_many("files").into_iter().flatten().cloned().collect();
    for file in files.iter().filter(|file| file.as_os_str() != STDIN) {
        // Before anything is opened or made: a mistyped name should cost nothing.
        std::fs::File::open(file).map_err(|error| Failure::file(file, &error))?;
    }
    let bar = Arc::new(Bar::new(matches));
    let runtime = control::runtime()?;
    let owner = runtime.block_on(client(&url));
    let began = Instant::now();
    let importer = context.importers().iter().find(|importer| importer.accepts(&files));
    let report = match (importer, owner) {
        (Some(_), Some(_)) => return Err(must_own(&url)),
        (Some(importer), None) => custom(importer.as_ref(), context, &url, &files, matches, &bar)?,
        (None, Some(_)) => remote::run(&runtime, context, &url, &files, matches, &bar)?,
        (None, None) => ndjson_local(context, &url, &files, matches, &bar)?,
    };
    bar.finish();
    tell(&with_rate(report, began.elapsed()), arguments::wants_json(matches))
}

async fn client(url: &LogUrl) -> Option<Client> {
    Client::connect(&place::socket(url)?).await
}

fn must_own(url: &LogUrl) -> Failure {
    let place = place::directory(url).map(|path| path.display().to_string()).unwrap_or_default();
    Failure::Use(format!(
        "a program has {place} open, and files of this format are imported by the owner of the log alone; stop that \
         program and start the import again, or name another directory with --log"
    ))
}

fn custom(
    importer: &dyn Importer,
    context: &Context,
    url: &LogUrl,
    files: &[PathBuf],
    matches: &ArgMatches,
    bar: &Bar,
) -> Result<Report, Failure> {
    let app = open(context, url, matches)?;
    let report = importer.run(&Import { app: &app, files, arguments: matches, progress: bar });
    end(&app, bar)?;
    Ok(report?)
}

fn ndjson_local(
    context: &Context,
    url: &LogUrl,
    files: &[PathBuf],
    matches: &ArgMatches,
    bar: &Arc<Bar>,
) -> Result<Report, Failure> {
    let tally = tally::Tally::new(matches, Arc::clone(bar))?;
    let app = open(context, url, matches)?;
    let tally = local::run(context, app.engine(), files, tally);
    end(&app, bar)?;
    tally?.report()
}

fn open(context: &Context, url: &LogUrl, matches: &ArgMatches) -> Result<App, Failure> {
    let views = matches.get_one::<PathBuf>("views");
    let views = views.map_or(ViewsAt::BesideLog, |path| ViewsAt::Sqlite(path.clone()));
    let app = App::open(context.core().clone(), url, Options { views, ..Options::default() })?;
    // They would take half of the machine from the import, and catch up when they are next asked.
    app.views().shutdown();
    Ok(app)
}

/// Lets sagas finish what the rows began, then stops the app. What they do not finish goes on when the log is opened
/// next.
fn end(app: &App, bar: &Bar) -> Result<(), Failure> {
    /// How long sagas may stand still before they are left for later.
    const STILL_MAX: Duration = Duration::from_secs(30);
    /// How often they are looked at.
    const LOOK: Duration = Duration::from_secs(1);
    let engine = app.engine();
    let mut last = (engine.status(), Instant::now());
    while !engine.settle(LOOK)? {
        let status = engine.status();
        if let Some(reason) = &status.stuck {
            bar.note(&format!("note: a saga's relay does not go on: {reason}"));
            break;
        }
        if status != last.0 {
            last = (status, Instant::now());
        } else if last.1.elapsed() > STILL_MAX {
            bar.note("note: sagas have more to do; they go on when the log is opened next, as by serve");
            break;
        }
    }
    app.views().shutdown();
    engine.stop().map_err(|error| Failure::No(error.to_string()))
}

/// Adds how long it took, and the rows a second, where the report has rows and does not say so itself.
fn with_rate(report: Report, took: Duration) -> Report {
    let Report(mut fields) = report;
    let seconds = took.as_secs_f64();
    let rows = fields.get("rows").and_then(Value::as_u64);
    fields.entry("seconds").or_insert_with(|| rounded(seconds));
    if let Some(rows) = rows {
        fields.entry("rate_per_s").or_insert_with(|| rounded(rows as f64 / seconds.max(1e-9)));
    }
    Report(fields)
}

fn rounded(number: f64) -> Value {
    Value::from((number * 1000.0).round() / 1000.0)
}

fn tell(report: &Report, as_json: bool) -> Result<(), Failure> {
    let mut output = Output::new();
    if as_json {
        output.line(Value::Object(report.0.clone()))?;
    } else {
        let width = report.0.keys().map(String::len).max().unwrap_or_default() + 1;
        for (field, value) in &report.0 {
            let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            output.line(format_args!("{:width$} {text}", format!("{field}:")))?;
        }
    }
    output.flush()
}
