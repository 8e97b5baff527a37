//! `send`: one command to one entity; through the control socket where a program has the log open.

use std::time::Duration;

use annals_engine::{Engine, ExecuteError, Receipt, Request};
use bytes::Bytes;
use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

use super::arguments::{self, given, required, text};
use super::control::{self, Answer, Client};
use super::failure::Failure;
use super::output::{Output, plain};
use super::place;
use crate::open::{LogUrl, Options, ViewsAt};
use crate::{App, Context, StreamName, Tenant, Timestamp};

/// How long sagas may take to follow up before the command ends; they go on with the next program.
pub(crate) const FOLLOW_UP: Duration = Duration::from_secs(5);

pub(crate) fn command(contexts: &[Context]) -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("send")
        .about("Send a command; exit code 1 if it is refused")
        .arg(arguments::context(contexts))
        .arg(required("decider", "DECIDER", "The decider"))
        .arg(required("id", "ID", "The entity"))
        .arg(required("command", "COMMAND", "The command, as in deposit"))
        .arg(Arg::new("fields").value_name("FIELDS_JSON").help("Its fields, as in '{\"amount\": 100}'"))
        .arg(option("key", "KEY", "It takes effect once under this key, and has one answer for ever"))
        .arg(option("actor", "ACTOR", "Who acts"))
        .arg(
            option("expect-version", "N", "The version the entity must be at")
                .value_parser(clap::value_parser!(u64)),
        )
        .arg(
            option("occurred-at", "TIME", "When it happened in the world, where that is not now")
                .value_parser(clap::value_parser!(Timestamp)),
        )
        .arg(arguments::tenant())
        .arg(arguments::log())
        .arg(arguments::json())
}

pub(crate) fn run(contexts: &[Context], matches: &ArgMatches) -> Result<(), Failure> {
    let context = arguments::named(contexts, matches)?;
    let url = place::of(matches, context);
    place::directory(&url)?;
    let request = request(context, matches)?;
    let runtime = control::runtime()?;
    let answered = runtime.block_on(async {
        match client(&url).await {
            Some(client) => remote(client, context, matches, &request).await,
            None => local(context, &url, &request),
        }
    })?;
    let mut output = Output::new();
    let as_json = arguments::wants_json(matches);
    let told = match answered {
        Ok(receipt) if as_json => output.line(receipt),
        Ok(receipt) => output.line(receipt_text(&receipt)),
        Err(refusal) => {
            if as_json {
                output.line(json!({ "refusal": refusal }))?;
            }
            let said = |field| plain(refusal.get(field).and_then(Value::as_str).unwrap_or_default());
            Err(Failure::No(format!("refused ({}): {}", said("name"), said("text"))))
        }
    };
    output.flush()?;
    told
}

/// A receipt, or a refusal, as JSON.
type Answered = Result<Value, Value>;

async fn client(url: &LogUrl) -> Option<Client> {
    Client::connect(&place::socket(url)?).await
}

/// The command as it was asked for, checked against the context.
fn request(context: &Context, matches: &ArgMatches) -> Result<Request, Failure> {
    let (kind, id) = (given(matches, "decider")?, given(matches, "id")?);
    let stream = stream(context, arguments::tenant_of(matches), kind, id)?;
    let decider = context.deciders().get(kind).ok_or_else(|| unknown(context, kind))?;
    let fields = text(matches, "fields").unwrap_or_default();
    let command = decider.read_command(given(matches, "command")?, fields.as_bytes());
    Ok(Request {
        key: text(matches, "key").map(ToOwned::to_owned),
        actor: text(matches, "actor").unwrap_or_default().to_owned(),
        expected_version: matches.get_one::<u64>("expect-version").copied(),
        occurred_at: matches.get_one::<Timestamp>("occurred-at").copied(),
        ..Request::new(stream, command.map_err(ExecuteError::from)?)
    })
}

/// The stream of an entity, checked against the context.
pub(crate) fn stream(
    context: &Context,
    tenant: Option<&Tenant>,
    decider: &str,
    id: &str,
) -> Result<StreamName, ExecuteError> {
    if !context.deciders().contains_key(decider) {
        return Err(unknown(context, decider));
    }
    let stream = StreamName::new(tenant, decider, id)?;
    let invalid = || ExecuteError::InvalidId { decider: decider.to_owned(), id: id.to_owned() };
    context.shard_of(&stream, 1).map(|_| stream).ok_or_else(invalid)
}

fn unknown(context: &Context, name: &str) -> ExecuteError {
    let known = context.deciders().keys().copied().collect();
    ExecuteError::UnknownDecider { name: name.to_owned(), known }
}

fn local(context: &Context, url: &LogUrl, request: &Request) -> Result<Answered, Failure> {
    let options = Options { by_hand: true, views: ViewsAt::Memory, ..Options::default() };
    let app = App::open(context.core().clone(), url, options)?;
    let answer = execute(app.engine(), request);
    if !app.engine().settle(FOLLOW_UP)? {
        eprintln!("note: sagas have more to do; they go on when the log is opened next, as by serve");
    }
    answer
}

fn execute(engine: &Engine, request: &Request) -> Result<Answered, Failure> {
    match engine.execute(request) {
        Ok(receipt) => Ok(Ok(receipt_json(&receipt))),
        Err(ExecuteError::Refused { refused, .. }) => {
            let fields = engine.decider(request.stream.kind())?.refusal_fields(refused.part());
            Ok(Err(json!({ "name": refused.name, "text": refused.text, "fields": fields })))
        }
        Err(error) => Err(error.into()),
    }
}

async fn remote(
    mut client: Client,
    context: &Context,
    matches: &ArgMatches,
    request: &Request,
) -> Result<Answered, Failure> {
    // A key of our own where none was given: if the connection breaks, it tells what became of the command.
    let made = || uuid::Uuid::now_v7().simple().to_string();
    let key = request.key.clone().unwrap_or_else(made);
    let mut headers = headers(request);
    headers.push((control::KEY, key.clone()));
    let stream = &request.stream;
    let path = control::path(&[context.name(), stream.kind(), stream.id(), request.command.name()]);
    let fields = text(matches, "fields").unwrap_or_default();
    let answer = client.post(&path, &headers, Bytes::copy_from_slice(fields.as_bytes())).await;
    let answer = answer.map_err(|error| {
        Failure::No(format!(
            "{error}; it is not known whether the command took effect; send it with --key {key}"
        ))
    })?;
    answered(answer)
}

/// The headers of a command, but for its key.
pub(crate) fn headers(request: &Request) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    if let Some(tenant) = request.stream.tenant() {
        headers.push((control::TENANT, tenant.to_owned()));
    }
    if !request.actor.is_empty() {
        headers.push((control::ACTOR, request.actor.clone()));
    }
    if let Some(time) = request.occurred_at {
        headers.push((control::OCCURRED_AT, time.to_string()));
    }
    if let Some(version) = request.expected_version {
        headers.push((control::IF_MATCH, format!("\"{version}\"")));
    }
    headers
}

fn answered(answer: Answer) -> Result<Answered, Failure> {
    match (answer.kind(), answer.body.get("refusal")) {
        ("refused", Some(refusal)) => Ok(Err(refusal.clone())),
        _ => answer.ok().map(Ok),
    }
}

pub(crate) fn receipt_json(receipt: &Receipt) -> Value {
    json!({
        "position": receipt.position,
        "stream": receipt.stream,
        "version": receipt.version,
        "events": receipt.events,
        "key": receipt.key,
        "repeated": receipt.repeated,
    })
}

pub(crate) fn receipt_text(receipt: &Value) -> String {
    let part = |field: &str| receipt.get(field).cloned().unwrap_or_default();
    let text = |field: &str| part(field).as_str().map(plain).unwrap_or_default();
    let repeated =
        if part("repeated") == Value::Bool(true) { ", answered before under this key" } else { "" };
    let events = match part("events").as_u64() {
        Some(0) => "no event".to_owned(),
        Some(1) => format!("1 event at {}", text("position")),
        _ => format!("{} events from {} on", part("events"), text("position")),
    };
    format!("{} is at version {}: {events}{repeated} (key {})", text("stream"), part("version"), text("key"))
}
