//! `serve`: contexts with their views and sagas, on HTTP, until it is told to stop.

use std::path::PathBuf;
use std::sync::Arc;

use annals_server::{KeyFile, Reach};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::arguments;
use super::control;
use super::failure::Failure;
use super::output::Output;
use super::place;
use super::serving::{Doors, Serving, check_listen};
use super::signals::Signals;
use crate::open::{LogUrl, Options, ViewsAt};
use crate::{App, Context};

/// Where a program listens unless it is told otherwise.
pub(crate) const LISTEN: &str = "127.0.0.1:7400";

pub(crate) fn command(contexts: &[Context]) -> Command {
    Command::new("serve")
        .about("Serve contexts over HTTP, with their views and sagas, until Ctrl-C")
        .long_about(
            "Serve contexts over HTTP, with their views and sagas, until Ctrl-C.\n\n\
             Each context has a log of its own. With one context, --log is its log; with several, \
             --log file:DIR means DIR/CONTEXT for each of them.\n\
             A second Ctrl-C ends the program at once; what was acknowledged is safe then too.",
        )
        .arg(
            Arg::new(arguments::CONTEXT)
                .value_name("CONTEXT")
                .num_args(0..)
                .action(ArgAction::Append)
                .value_parser(arguments::names(contexts))
                .help("The contexts [default: all of the program]"),
        )
        .arg(arguments::log())
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDR")
                .default_value(LISTEN)
                .help("The address, on this machine only unless told otherwise; port 0 takes any free one"),
        )
        .arg(
            Arg::new("keys")
                .long("keys")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Let in only who has a key of this file, which annals keys makes [default: no key is needed]"),
        )
        .arg(
            Arg::new("insecure-plaintext")
                .long("insecure-plaintext")
                .action(ArgAction::SetTrue)
                .requires("keys")
                .help("Listen on addresses that other machines reach, too: put a proxy that speaks TLS in front"),
        )
        .arg(views_argument())
}

/// Where views are kept.
pub(crate) fn views_argument() -> Arg {
    Arg::new("views").long("views").value_name("URL").value_parser(views_at).help(
        "Where views are kept, as in sqlite:./views.sqlite [default: views.sqlite in the log's directory]",
    )
}

fn views_at(text: &str) -> Result<PathBuf, String> {
    match text.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() => Ok(PathBuf::from(path)),
        Some(("postgres" | "postgresql", _)) => {
            Err("views in PostgreSQL are not built yet; use sqlite:PATH".to_owned())
        }
        _ => Err("write sqlite:PATH, as in sqlite:./views.sqlite".to_owned()),
    }
}

pub(crate) fn run(contexts: &[Context], matches: &ArgMatches) -> Result<(), Failure> {
    let chosen = chosen(contexts, matches)?;
    let views = matches.get_one::<PathBuf>("views");
    if views.is_some() && chosen.len() > 1 {
        let text =
            "--views names one file, for one context; name the context to serve, or leave --views away";
        return Err(Failure::Use(text.to_owned()));
    }
    control::log_to_stderr();
    control::runtime()?.block_on(async {
        let signals = Signals::new()?;
        let doors = doors(matches)?;
        let listener = check_listen(arguments::given(matches, "listen")?, doors.reach).await?;
        let several = chosen.len() > 1;
        let mut opened = Vec::new();
        for context in chosen {
            let url = place::of_several(matches, context, several);
            let views = views.map_or(ViewsAt::BesideLog, |path| ViewsAt::Sqlite(path.clone()));
            opened.push(open(context, url, views)?);
        }
        let places: Vec<(String, LogUrl)> =
            opened.iter().map(|(name, url, _)| (name.clone(), url.clone())).collect();
        let apps =
            opened.into_iter().map(|(_, url, app)| (app, place::directory(&url).ok().map(PathBuf::from)));
        let serving = Serving::start(listener, apps.collect(), doors).await?;
        tell(&serving, &places)?;
        signals.first().await;
        eprintln!("stopping; Ctrl-C again ends at once");
        serving.stop().await
    })
}

fn doors(matches: &ArgMatches) -> Result<Doors, Failure> {
    let reach = if matches.get_flag("insecure-plaintext") { Reach::Everywhere } else { Reach::ThisMachine };
    let keys = matches.get_one::<PathBuf>("keys").map(KeyFile::open).transpose();
    let keys = keys.map_err(|error| Failure::Use(format!("{error} (--keys; annals keys new makes one)")))?;
    Ok(Doors { keys: keys.map(Arc::new), reach })
}

fn chosen<'a>(contexts: &'a [Context], matches: &ArgMatches) -> Result<Vec<&'a Context>, Failure> {
    let Some(names) = matches.get_many::<String>(arguments::CONTEXT) else {
        return Ok(contexts.iter().collect());
    };
    let mut chosen: Vec<&Context> = Vec::new();
    for name in names {
        let context = arguments::find(contexts, name)?;
        if !chosen.iter().any(|other| other.name() == context.name()) {
            chosen.push(context);
        }
    }
    Ok(chosen)
}

fn open(context: &Context, url: LogUrl, views: ViewsAt) -> Result<(String, LogUrl, App), Failure> {
    let options = Options { views, ..Options::default() };
    let app = tokio::task::block_in_place(|| App::open(context.core().clone(), &url, options))?;
    Ok((context.name().to_owned(), url, app))
}

fn tell(serving: &Serving, places: &[(String, LogUrl)]) -> Result<(), Failure> {
    let mut output = Output::new();
    let address = serving.address();
    output.line(format_args!("listening on http://{address}"))?;
    for (name, url) in places {
        let place = match url {
            LogUrl::File { directory, .. } => directory.display().to_string(),
            LogUrl::Kafka { .. } => url.to_string(),
            LogUrl::Memory { .. } => "memory, gone at the end".to_owned(),
        };
        output.line(format_args!("  {name}: http://{address}/api/{name} (log: {place})"))?;
    }
    output.line(format_args!("  all routes: http://{address}/openapi.json"))?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_views_are_read_or_refused() {
        assert_eq!(views_at("sqlite:./v"), Ok(PathBuf::from("./v")));
        assert!(views_at("postgres://h/d").unwrap_err().contains("not built yet"));
        for text in ["", "sqlite:", "./v", "mysql:x"] {
            assert!(views_at(text).unwrap_err().contains("sqlite:PATH"), "{text}");
        }
    }
}
