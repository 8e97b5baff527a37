//! `diff`, `rollback`, `what-if`: two moments of an entity, the way back to one, and what other events would have made.

use annals_engine::{At, Change, Edit, Request, Rollback};
use bytes::Bytes;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use super::arguments::{self, given, required, text};
use super::control::{self, Client};
use super::failure::Failure;
use super::output::{Output, plain};
use super::{place, send};
use crate::open::{Options, ViewsAt};
use crate::{App, Context, Timestamp};

fn entity(command: Command, contexts: &[Context]) -> Command {
    command
        .arg(arguments::context(contexts))
        .arg(required("decider", "DECIDER", "The decider"))
        .arg(required("id", "ID", "The entity"))
        .arg(arguments::tenant())
        .arg(arguments::log())
        .arg(arguments::json())
}

pub(crate) fn commands(contexts: &[Context]) -> [Command; 3] {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let moment = |name: &'static str, usual: &'static str, help: &'static str| {
        option(name, "N|TIME", help).default_value(usual).value_parser(moment)
    };
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let edit = |name: &'static str, value: &'static str, help: &'static str| {
        option(name, value, help).action(ArgAction::Append)
    };
    let diff = Command::new("diff")
        .about("Show what changed in an entity between two moments")
        .arg(moment("from", "0", "A version, a time as in 2026-01-31T12:00:00Z, or now"))
        .arg(moment("to", "now", "The same"));
    let rollback = Command::new("rollback")
        .about("Bring an entity back to a version, by events that are appended")
        .long_about(
            "Bring an entity back to a version, by events that are appended.\n\n\
             What has happened stays in its history, and so does the rollback, with its actor and reason. Which events \
             bring it back is the decider's to say; look at them first with --preview.",
        )
        .arg(option("to", "N", "The version").required(true).value_parser(clap::value_parser!(u64)))
        .arg(option("reason", "TEXT", "Why; kept with the command").default_value(""))
        .arg(flag("preview", "Only show what would be done"))
        .arg(flag("partial", "Do it even where something remains different"))
        .arg(option("key", "KEY", "It takes effect once under this key, and has one answer for ever"))
        .arg(option("actor", "ACTOR", "Who acts"))
        .arg(
            option("expect-version", "N", "The version the entity must be at")
                .value_parser(clap::value_parser!(u64)),
        );
    let what_if = Command::new("what-if")
        .about("Show the state an entity would have with other events; nothing is written")
        .arg(
            edit("drop", "N", "The event of this version had not happened")
                .value_parser(clap::value_parser!(u64)),
        )
        .arg(
            edit("replace", "N=JSON", "The event of this version had had these fields")
                .value_parser(replaced),
        )
        .arg(
            edit(
                "insert",
                "N=TYPE:JSON",
                "Another event had happened after this version; 0 for the beginning",
            )
            .value_parser(inserted),
        );
    [diff, rollback, what_if].map(|command| entity(command, contexts))
}

fn moment(text: &str) -> Result<At, String> {
    let found = match text {
        "now" => Some(At::Now),
        text => text.parse().map(At::Version).ok().or_else(|| text.parse::<Timestamp>().map(At::Time).ok()),
    };
    found.ok_or_else(|| "give a version, a time like 2026-01-31T12:00:00Z, or now".to_owned())
}

fn replaced(text: &str) -> Result<Edit, String> {
    let wrong = || "write N=JSON, as in 3={\"amount\":5}".to_owned();
    let (version, data) = text.split_once('=').ok_or_else(wrong)?;
    let version = version.parse().map_err(|_| wrong())?;
    let data = serde_json::from_str(data).map_err(|error| format!("{}: {error}", wrong()))?;
    Ok(Edit::Replace { version, name: None, data })
}

fn inserted(text: &str) -> Result<Edit, String> {
    let wrong = || "write N=TYPE or N=TYPE:JSON, as in 3=account.deposited:{\"amount\":5}".to_owned();
    let (after, event) = text.split_once('=').ok_or_else(wrong)?;
    let after = after.parse().map_err(|_| wrong())?;
    let (name, data) = event.split_once(':').unwrap_or((event, "{}"));
    let data = serde_json::from_str(data).map_err(|error| format!("{}: {error}", wrong()))?;
    Ok(Edit::Insert { after, name: name.to_owned(), data })
}

pub(crate) fn diff(contexts: &[Context], matches: &ArgMatches) -> Result<(), Failure> {
    let context = arguments::named(contexts, matches)?;
    let engine = place::engine(&place::of(matches, context), context)?;
    let stream =
        engine.stream(arguments::tenant_of(matches), given(matches, "decider")?, given(matches, "id")?)?;
    let at = |name: &str| matches.get_one::<At>(name).copied().unwrap_or(At::Now);
    let found = engine.difference(&stream, at("from"), at("to"))?;
    let mut output = Output::new();
    if arguments::wants_json(matches) {
        output.line(json!({
            "stream": stream.as_str(), "from": found.from.version, "to": found.to.version,
            "changes": found.changes, "events": found.events,
        }))?;
    } else {
        output.line(format_args!("{stream} from version {} to {}", found.from.version, found.to.version))?;
        print_changes(&mut output, &found.changes)?;
        for event in &found.events {
            let (version, name) = (event.version, plain(&event.name));
            output.line(format_args!("  {version}  {name} {}", event.data))?;
        }
    }
    output.flush()
}

fn print_changes(output: &mut Output, changes: &[Change]) -> Result<(), Failure> {
    let shown =
        |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
    changes.iter().try_for_each(|change| {
        let (before, after) = (shown(&change.before), shown(&change.after));
        output.line(format_args!("{}: {before} -> {after}", plain(&change.path)))
    })
}

pub(crate) fn what_if(contexts: &[Context], matches: &ArgMatches) -> Result<(), Failure> {
    let context = arguments::named(contexts, matches)?;
    let engine = place::engine(&place::of(matches, context), context)?;
    let stream =
        engine.stream(arguments::tenant_of(matches), given(matches, "decider")?, given(matches, "id")?)?;
    let dropped = matches.get_many::<u64>("drop").into_iter().flatten();
    let mut edits: Vec<Edit> = dropped.map(|version| Edit::Drop { version: *version }).collect();
    for name in ["replace", "insert"] {
        edits.extend(matches.get_many::<Edit>(name).into_iter().flatten().cloned());
    }
    let found = engine.what_if(&stream, &edits, None).map_err(|error| Failure::Use(error.to_string()))?;
    let mut output = Output::new();
    if arguments::wants_json(matches) {
        let moment = |version: u64, state: &Value| json!({ "version": version, "state": state });
        output.line(json!({
            "stream": stream.as_str(), "real": moment(found.real.version, &found.real.state),
            "other": moment(found.other.version, &found.other.state), "changes": found.changes,
        }))?;
    } else {
        output.line(format_args!("{stream} would be at version {}", found.other.version))?;
        print_changes(&mut output, &found.changes)?;
    }
    output.flush()
}

pub(crate) fn rollback(contexts: &[Context], matches: &ArgMatches) -> Result<(), Failure> {
    let context = arguments::named(contexts, matches)?;
    let url = place::of(matches, context);
    place::directory(&url)?;
    let runtime = control::runtime()?;
    let socket = place::socket(&url);
    let client = runtime.block_on(async { Client::connect(&socket?).await });
    let answer = match client {
        Some(client) => runtime.block_on(remote(client, context, matches))?,
        None => local(context, &url, matches)?,
    };
    let mut output = Output::new();
    if arguments::wants_json(matches) {
        output.line(&answer)?;
    } else if matches.get_flag("preview") {
        print_preview(&mut output, &answer)?;
    } else {
        output.line(send::receipt_text(&answer))?;
    }
    output.flush()
}

fn print_preview(output: &mut Output, preview: &Value) -> Result<(), Failure> {
    let part = |name: &str| preview.get(name).cloned().unwrap_or_default();
    let stream = part("stream").as_str().map(plain).unwrap_or_default();
    output.line(format_args!("{stream}: from version {} back to {}", part("version"), part("to")))?;
    for event in part("events").as_array().into_iter().flatten() {
        let name = event.get("type").and_then(Value::as_str).map(plain).unwrap_or_default();
        output.line(format_args!("  + {name} {}", event.get("data").unwrap_or(&Value::Null)))?;
    }
    output.line(format_args!("then: {}", part("state")))?;
    for change in part("remaining").as_array().into_iter().flatten() {
        output.line(format_args!("remains different: {change}"))?;
    }
    Ok(())
}

async fn remote(mut client: Client, context: &Context, matches: &ArgMatches) -> Result<Value, Failure> {
    let (decider, id) = (given(matches, "decider")?, given(matches, "id")?);
    let to = matches.get_one::<u64>("to").copied().unwrap_or_default();
    let body = json!({
        "to": to, "reason": text(matches, "reason").unwrap_or_default(),
        "preview": matches.get_flag("preview"), "partial": matches.get_flag("partial"),
    });
    let path = control::path(&[context.name(), decider, id, "rollback"]);
    let mut headers: Vec<(&str, String)> = Vec::new();
    let tenant = arguments::tenant_of(matches).map(ToString::to_string);
    let version = matches.get_one::<u64>("expect-version").map(|version| format!("\"{version}\""));
    let said = |name: &str| text(matches, name).map(str::to_owned);
    headers.extend(tenant.map(|tenant| (control::TENANT, tenant)));
    headers.extend(version.map(|version| (control::IF_MATCH, version)));
    headers.extend(said("actor").map(|actor| (control::ACTOR, actor)));
    headers.extend(said("key").map(|key| (control::KEY, key)));
    let answer = client.post(&path, &headers, Bytes::from(body.to_string())).await;
    answer.map_err(|error| Failure::No(error.to_string()))?.ok()
}

fn local(context: &Context, url: &crate::LogUrl, matches: &ArgMatches) -> Result<Value, Failure> {
    let (decider, id) = (given(matches, "decider")?, given(matches, "id")?);
    let stream = send::stream(context, arguments::tenant_of(matches), decider, id)?;
    let options = Options { by_hand: true, views: ViewsAt::Memory, ..Options::default() };
    let app = App::open(context.core().clone(), url, options)?;
    let to = matches.get_one::<u64>("to").copied().unwrap_or_default();
    let no = |error: annals_engine::RollbackError| Failure::No(error.to_string());
    if matches.get_flag("preview") {
        let found = app.engine().preview_rollback(&stream, to).map_err(no)?;
        return Ok(json!({
            "stream": stream.as_str(), "version": found.version, "to": found.to, "events": found.events,
            "state": found.state, "remaining": found.remaining,
        }));
    }
    let reason = text(matches, "reason").unwrap_or_default().to_owned();
    let rollback = Rollback { to, reason, partial: matches.get_flag("partial") };
    let around = |stream, command| Request {
        key: text(matches, "key").map(str::to_owned),
        actor: text(matches, "actor").unwrap_or_default().to_owned(),
        expected_version: matches.get_one::<u64>("expect-version").copied(),
        ..Request::new(stream, command)
    };
    let receipt = app.engine().roll_back(&rollback, around, &stream).map_err(no)?;
    app.engine().settle(send::FOLLOW_UP)?;
    Ok(send::receipt_json(&receipt))
}
