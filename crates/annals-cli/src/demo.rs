//! `demo`: the bank with made-up customers, served over HTTP, with figures of what it does.
//!
//! Started again it goes on: the customers' commands follow from the seed, and the log knows which were sent.

mod figures;
mod load;

use std::path::PathBuf;
use std::sync::Arc;

use annals::cli::{Doors, Failure, Output, Reach, Serving, Signals, check_listen};
use annals::{App, LogUrl, Options};
use clap::{Arg, ArgMatches, Command};

use figures::Figures;
use load::Load;

/// What the command is called.
pub const NAME: &str = "demo";

const DATA: &str = "./annals-data/demo";
const LISTEN: &str = "127.0.0.1:7400";
const SEED: &str = "1";
const RATE: &str = "200";
/// The most commands a second that can be asked for.
const RATE_MAX: u64 = 100_000;

/// Its command line.
pub fn command() -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new(NAME)
        .about("A bank with made-up customers, served over HTTP; runs where no command is given")
        .arg(
            option("data", "DIR", "The directory of its log; delete it to begin anew")
                .default_value(DATA)
                .value_parser(clap::value_parser!(PathBuf)),
        )
        .arg(
            option("listen", "ADDR", "The address, on this machine only; port 0 takes any free one")
                .default_value(LISTEN),
        )
        .arg(
            option("log", "URL", "Its log, instead of --data")
                .value_parser(clap::value_parser!(LogUrl))
                .conflicts_with("data"),
        )
        .arg(
            option("seed", "N", "What the customers are made up from")
                .default_value(SEED)
                .value_parser(clap::value_parser!(u64)),
        )
        .arg(
            option("rate", "N", "Commands a second")
                .default_value(RATE)
                .value_parser(clap::value_parser!(u64).range(1..=RATE_MAX)),
        )
}

/// Runs it until Ctrl-C.
pub fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime
        .map_err(|error| Failure::No(format!("no threads could be started: {error}")))?
        .block_on(demo(matches))
}

async fn demo(matches: &ArgMatches) -> Result<(), Failure> {
    let number = |name: &str| matches.get_one::<u64>(name).copied().unwrap_or_default();
    let signals = Signals::new()?;
    let listener =
        check_listen(matches.get_one::<String>("listen").map_or(LISTEN, String::as_str), Reach::ThisMachine)
            .await?;
    let url = match matches.get_one::<LogUrl>("log") {
        Some(url) => url.clone(),
        None => LogUrl::File {
            directory: matches.get_one::<PathBuf>("data").cloned().unwrap_or_else(|| DATA.into()),
            shards: None,
        },
    };
    let app =
        annals_bank::bank().open_at(&url, Options::default()).await.map_err(|error| here(error.into()))?;
    let load = Load::resume(app.engine().clone(), number("seed"), number("rate"))?;
    let directory = url.directory("bank");
    let serving = Serving::start(listener, vec![(app.clone(), directory)], Doors::default()).await?;
    tell(&serving, &url, &load)?;
    attend(signals, app, load).await?;
    serving.stop().await
}

/// Lets the customers come and shows the figures, until a signal or an error.
async fn attend(signals: Signals, app: App, load: Load) -> Result<(), Failure> {
    let load = Arc::new(load);
    let figures = Figures::start(app, Arc::clone(&load))?;
    let customers = {
        let load = Arc::clone(&load);
        tokio::task::spawn_blocking(move || load.run())
    };
    let stopped = {
        let load = Arc::clone(&load);
        async move {
            signals.first().await;
            load.stop();
        }
    };
    let stopping = tokio::spawn(stopped);
    let came = customers.await;
    load.stop();
    stopping.abort();
    figures.stop().await;
    eprintln!("stopping; Ctrl-C again ends at once");
    came.map_err(|error| Failure::No(format!("the customers ended: {error}")))?
}

/// Says where to look.
fn tell(serving: &Serving, url: &LogUrl, load: &Load) -> Result<(), Failure> {
    let program = std::env::args().next().unwrap_or_else(|| "annals".to_owned());
    let (address, account) = (serving.address(), load.first_account());
    let mut output = Output::new();
    output.line(format_args!("a bank with {} made-up customers (seed {})", load::CUSTOMERS, load.seed()))?;
    if load.resumed_at() > 0 {
        output.line(format_args!("going on after {} commands", load.resumed_at()))?;
    }
    output.line(format_args!("listening on http://{address}"))?;
    output.line("")?;
    output.line("look at it from another terminal:")?;
    output.line(format_args!("  curl http://{address}/api/bank/account/{account}"))?;
    output.line(format_args!("  curl http://{address}/api/bank/views/balance/{account}"))?;
    match url {
        LogUrl::Kafka { .. } => {
            output.line(format_args!("  {program} events bank account/{account} --log '{url}'"))?;
            output.line("")?;
            output.line("Ctrl-C stops it; started again it goes on")?;
        }
        LogUrl::File { directory, .. } => {
            let directory = directory.display();
            output.line(format_args!("  {program} events bank account/{account} --log file:{directory}"))?;
            output.line("")?;
            output.line(format_args!(
                "Ctrl-C stops it; started again it goes on. To begin anew, delete {directory}"
            ))?;
        }
        _ => output.line(format_args!("  curl http://{address}/api/bank/account/{account}/events"))?,
    }
    output.line("")?;
    output.flush()
}

/// The demo names its directory with `--data`.
fn here(failure: Failure) -> Failure {
    match failure {
        Failure::Use(text) => Failure::Use(text.replace("--log", "--data")),
        failure => failure,
    }
}
