//! `log`: what a log's directory holds, whether all of it is sound, making its indexes again, and copying it.

mod copy;

use annals_file::{FileLog, Settings, ShardInfo, Verification};
use annals_log::Log as _;
use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

use super::arguments;
use super::failure::Failure;
use super::output::Output;
use super::place;
use crate::Context;
use crate::open::LogUrl;

pub(crate) fn command(contexts: &[Context]) -> Command {
    let context =
        context(contexts).help("The context; not needed with --log, or where the program holds one only");
    let add = |name: &'static str, about: &'static str| {
        Command::new(name).about(about).arg(context.clone()).arg(arguments::log()).arg(arguments::json())
    };
    Command::new("log")
        .about("Look at a log's directory, and copy logs: info, verify, rebuild-index, copy")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(add("info", "What the log is and holds, at a glance"))
        .subcommand(add(
            "verify",
            "Read and check everything; exit code 1 and every place if there is damage",
        ))
        .subcommand(add("rebuild-index", "Make the index files again; no server may have the log open"))
        .subcommand(copy::command(contexts))
}

/// The context, which may be left away.
fn context(contexts: &[Context]) -> Arg {
    Arg::new(arguments::CONTEXT).value_name("CONTEXT").value_parser(arguments::names(contexts))
}

pub(crate) fn run(contexts: &[Context], matches: &ArgMatches) -> Result<(), Failure> {
    let Some((name, matches)) = matches.subcommand() else {
        return Err(Failure::Use("say info, verify, rebuild-index or copy".to_owned()));
    };
    if name == "copy" {
        return copy::run(contexts, matches);
    }
    let url = url(contexts, matches)?;
    let directory = &place::files(&url)?;
    let json = arguments::wants_json(matches);
    match name {
        "info" => info(&FileLog::open_read_only(directory)?, json),
        "verify" => verify(&annals_file::verify(directory)?, json),
        _ => {
            FileLog::open(directory, Settings::default())?.rebuild_index()?;
            let done = json!({ "rebuilt": directory.display().to_string() });
            let mut output = Output::new();
            match json {
                true => output.line(done)?,
                false => {
                    output.line(format_args!("the indexes of {} were made again", directory.display()))?
                }
            }
            output.flush()
        }
    }
}

fn url(contexts: &[Context], matches: &ArgMatches) -> Result<LogUrl, Failure> {
    match (arguments::text(matches, arguments::CONTEXT), contexts) {
        (Some(name), _) => Ok(place::of(matches, arguments::find(contexts, name)?)),
        (None, [only]) => Ok(place::of(matches, only)),
        (None, _) if matches.contains_id(arguments::LOG) => {
            Ok(matches.get_one::<LogUrl>(arguments::LOG).cloned().unwrap_or(LogUrl::Memory { shards: 1 }))
        }
        (None, _) => Err(Failure::Use("say which log: give a context, or --log".to_owned())),
    }
}

fn info(log: &FileLog, as_json: bool) -> Result<(), Failure> {
    let identity = log.identity();
    let shards = log.info()?;
    let mut output = Output::new();
    if as_json {
        output.line(json!({
            "directory": log.directory().display().to_string(),
            "replica": log.is_replica(),
            "context": identity.context,
            "log_id": identity.log_id,
            "created_at": identity.created_at,
            "shards": shards.iter().map(shard_json).collect::<Vec<_>>(),
        }))?;
        return output.flush();
    }
    output.line(format_args!("directory   {}", log.directory().display()))?;
    if log.is_replica() {
        output.line("replica     of a log that is elsewhere; for reading only")?;
    }
    output.line(format_args!("context     {}", identity.context))?;
    output.line(format_args!("log id      {}", identity.log_id))?;
    output.line(format_args!("created at  {}", identity.created_at))?;
    for shard in &shards {
        shard_lines(&mut output, shard)?;
    }
    output.flush()
}

fn shard_json(shard: &ShardInfo) -> Value {
    json!({
        "shard": shard.shard,
        "records": shard.end,
        "segments": shard.segments,
        "segment_bytes": shard.segment_bytes,
        "used_bytes": shard.used_bytes,
        "index_bytes": shard.index_bytes,
        "epoch": shard.epoch,
        "sealed": shard.sealed,
        "torn_files": shard.torn_files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
    })
}

fn shard_lines(output: &mut Output, shard: &ShardInfo) -> Result<(), Failure> {
    let sealed = if shard.sealed { "closed cleanly" } else { "open, or not closed cleanly" };
    output.line(format_args!(
        "shard {}     {} records in {} segments, {} of {} bytes used, {} bytes of indexes, {sealed}",
        shard.shard, shard.end, shard.segments, shard.used_bytes, shard.segment_bytes, shard.index_bytes
    ))?;
    for torn in &shard.torn_files {
        output.line(format_args!("            a torn tail is kept in {}", torn.display()))?;
    }
    Ok(())
}

fn verify(found: &Verification, as_json: bool) -> Result<(), Failure> {
    let mut output = Output::new();
    let sound = found.is_sound();
    if as_json {
        output.line(verification_json(found))?;
    } else {
        verification_lines(&mut output, found)?;
    }
    output.flush()?;
    match sound {
        true => Ok(()),
        false => Err(Failure::No("the log is damaged; the places are listed above".to_owned())),
    }
}

fn verification_json(found: &Verification) -> Value {
    let shards = found.shards.iter().map(|shard| {
        let places =
            |places: &[annals_file::Damage]| places.iter().map(ToString::to_string).collect::<Vec<_>>();
        json!({
            "shard": shard.shard,
            "segments": shard.segments,
            "bytes": shard.bytes,
            "records": shard.end,
            "accepted": shard.accepted,
            "ignored": shard.ignored.values().sum::<u64>(),
            "streams": shard.streams,
            "events": shard.events,
            "sealed": shard.sealed,
            "unfinished_bytes": shard.unfinished_bytes,
            "damage": places(&shard.damage),
            "broken": places(&shard.broken),
            "index_problems": shard.index_problems.iter()
                .map(|(path, problem)| format!("{}: {problem}", path.display())).collect::<Vec<_>>(),
        })
    });
    json!({ "sound": found.is_sound(), "shards": shards.collect::<Vec<_>>() })
}

fn verification_lines(output: &mut Output, found: &Verification) -> Result<(), Failure> {
    for shard in &found.shards {
        output.line(format_args!(
            "shard {}: {} records in {} segments, {} events in {} streams",
            shard.shard, shard.accepted, shard.segments, shard.events, shard.streams
        ))?;
        for (reason, count) in &shard.ignored {
            output.line(format_args!("  ignored: {count} records ({reason:?})"))?;
        }
        if shard.unfinished_bytes > 0 {
            let bytes = shard.unfinished_bytes;
            output.line(format_args!("  unfinished: {bytes} bytes behind the end, never acknowledged"))?;
        }
        for place in shard.damage.iter().chain(&shard.broken) {
            output.line(format_args!("  damage: {place}"))?;
        }
        for (path, problem) in &shard.index_problems {
            let path = path.display();
            output.line(format_args!("  index: {path}: {problem}; `log rebuild-index` makes it again"))?;
        }
    }
    output.line(if found.is_sound() { "sound" } else { "damaged" })
}
