//! `events`: what has happened, in order; with `--follow` also what happens next.

use annals_core::{ShardId, StreamName};
use annals_engine::HistoryEvent;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::arguments::{self, text};
use super::failure::Failure;
use super::output::{Output, plain};
use super::place;
use super::stored::{Events, Go};
use crate::Context;

pub(crate) fn command(contexts: &[Context]) -> Command {
    Command::new("events")
        .about("Show events, of one stream or of all, also beside a running server")
        .long_about(
            "Show events, of one stream or of all, also beside a running server.\n\n\
             Without STREAM all shards are shown one after the other; the order between shards means nothing.",
        )
        .arg(arguments::context(contexts))
        .arg(
            Arg::new("stream")
                .value_name("STREAM")
                .value_parser(clap::value_parser!(StreamName))
                .help("DECIDER/ID or TENANT:DECIDER/ID"),
        )
        .arg(Arg::new("type").long("type").value_name("TYPE").help("Only this type, as in account.opened"))
        .arg(
            Arg::new("follow").long("follow").action(ArgAction::SetTrue).help("Go on with events as they come"),
        )
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("N")
                .value_parser(clap::value_parser!(u64).range(1..))
                .help("Stop after this many"),
        )
        .arg(arguments::log())
        .arg(arguments::json())
}

pub(crate) fn run(contexts: &[Context], matches: &ArgMatches) -> Result<(), Failure> {
    let context = arguments::named(contexts, matches)?;
    let wanted = text(matches, "type");
    if let Some(name) = wanted.filter(|name| !context.knows_event(name)) {
        return Err(unknown_type(context, name));
    }
    let engine = place::engine(&place::of(matches, context), context)?;
    let mut events = match matches.get_one::<StreamName>("stream") {
        None => Events::all(engine.log().clone()),
        Some(stream) => {
            let shard = shard_of(&engine, stream)?;
            Events::of(engine.log().clone(), shard, stream.clone())
        }
    };
    let (follow, json) = (matches.get_flag("follow"), arguments::wants_json(matches));
    let limit = matches.get_one::<u64>("limit").copied().unwrap_or(u64::MAX);
    let (mut output, mut shown) = (Output::new(), 0);
    loop {
        let go = events.advance(&mut |event| {
            if wanted.is_some_and(|name| name != event.event.name) {
                return Ok(Go::On);
            }
            shown += 1;
            print(&mut output, &HistoryEvent::of(event), json)?;
            Ok(if shown < limit { Go::On } else { Go::Stop })
        })?;
        output.flush()?;
        if go == Go::Stop || !follow {
            return Ok(());
        }
        events.wait();
    }
}

fn shard_of(engine: &annals_engine::Engine, stream: &StreamName) -> Result<ShardId, Failure> {
    let tenant = stream.tenant().map(crate::Tenant::new).transpose();
    let tenant = tenant.map_err(|error| Failure::Use(error.to_string()))?;
    engine.stream(tenant.as_ref(), stream.kind(), stream.id())?;
    let shard = engine.context().shard_of(stream, engine.log().identity().shards);
    shard.ok_or_else(|| Failure::Use(format!("{stream} is no stream of context {}", engine.context().name())))
}

fn unknown_type(context: &Context, name: &str) -> Failure {
    let deciders = context.deciders().values().flat_map(|decider| decider.events());
    let mut known: Vec<String> = deciders.map(|variant| variant.name.to_owned()).collect();
    known.extend(context.sagas().values().map(|saga| saga.state_event().to_owned()));
    Failure::Use(format!("there is no event type {name:?}; there are {}", known.join(", ")))
}

fn print(output: &mut Output, event: &HistoryEvent, json: bool) -> Result<(), Failure> {
    if json {
        let text = serde_json::to_string(event);
        return output.line(text.map_err(|error| Failure::No(error.to_string()))?);
    }
    let HistoryEvent { position, stream, version, name, data, recorded_at, .. } = event;
    let by = if event.actor.is_empty() { String::new() } else { format!(" by {}", plain(&event.actor)) };
    output.line(format_args!("{position} {recorded_at} {} v{version} {name} {data}{by}", plain(stream)))
}
