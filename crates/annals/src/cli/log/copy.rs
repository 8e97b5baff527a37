//! `log copy`: a context's log into another one, while it is written, as often as it takes, compared at the end.
//!
//! It opens both logs and tells; what is copied, and how a copy that was broken off goes on, is the log's matter
//! (`annals_log::copy`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use annals_core::{Cursor, Offset, ShardId, StreamName, Timestamp};
use annals_log::copy::{Compared, Copied, CopyError, Job, Next, Until};
use annals_log::{Claimant, Log};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::cli::failure::Failure;
use crate::cli::import::progress::{self, Bar};
use crate::cli::output::Output;
use crate::cli::signals::Signals;
use crate::cli::{arguments, control, place};
use crate::import::Progress as _;
use crate::open::{self, LogUrl, SHARDS_MAX};
use crate::{Context, OpenError, app};

const TO: &str = "to";
const SHARDS: &str = "shards";
const FOLLOW: &str = "follow";
const CHECK_ONLY: &str = "check-only";
const NO_CHECK: &str = "no-check";

/// How often a copy is tried again without having got on.
const ATTEMPTS_MAX: u32 = 10;
/// How long it waits before.
const ATTEMPT_INTERVAL: Duration = Duration::from_secs(1);

const LONG_ABOUT: &str = "\
Copy a log into another one, of any kind and number of shards, also while it is written.

The records of commands are copied byte for byte; the copy has a log id, claims and offsets of its own. It can be \
broken off at any point and started again: what is there is not copied twice. It ends when it has caught up, says up \
to where, and compares both logs record by record; exit code 1 if they differ. A target that holds anything else \
than an earlier part of this copy is refused.

To go over to the copy: copy, stop the program that writes the source, copy once more (with --no-check if that is to \
be quick), and open the copy from then on. Before the source has stopped, the copy may hold what a saga did and not \
yet what made it do so: do not open it for writing.";

pub(super) fn command(contexts: &[Context]) -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new("copy")
        .about("Copy a log into another one, of any kind and number of shards, also while it is written")
        .long_about(LONG_ABOUT)
        .arg(super::context(contexts).help("The context; not needed where the program holds one only"))
        .arg(arguments::log())
        .arg(
            Arg::new(TO)
                .long(TO)
                .value_name("URL")
                .required(true)
                .value_parser(value_parser!(LogUrl))
                .help("The log to copy into; made where there is none"),
        )
        .arg(
            Arg::new(SHARDS)
                .long(SHARDS)
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..=i64::from(SHARDS_MAX)))
                .help("The number of shards of the copy [default: as many as the log has]"),
        )
        .arg(flag(FOLLOW, "Follow the log until Ctrl-C, instead of ending when the copy has caught up"))
        .arg(flag(CHECK_ONLY, "Copy nothing, and compare both logs").conflicts_with_all([FOLLOW, NO_CHECK]))
        .arg(flag(NO_CHECK, "Do not compare the logs after copying"))
        .arg(progress::argument())
        .arg(arguments::json().help("Print what it came to as one line of JSON"))
}

pub(super) fn run(contexts: &[Context], matches: &ArgMatches) -> Result<(), Failure> {
    let context = match (arguments::text(matches, arguments::CONTEXT), contexts) {
        (Some(name), _) => arguments::find(contexts, name)?,
        (None, [only]) => only,
        (None, _) => return Err(Failure::Use("say whose log: give a context".to_owned())),
    };
    control::log_to_stderr();
    let source = place::log(&place::of(matches, context), context)?;
    let target = open_target(context, &*source, matches)?;
    let shards = target.identity().shards;
    let route = |stream: &str| -> Option<ShardId> {
        context.core().shard_of(&stream.parse::<StreamName>().ok()?, shards)
    };
    let runtime = control::runtime()?;
    let copying = Copying {
        job: Job::new(&*source, &*target, &route),
        bar: Bar::new(matches),
        stop: on_interrupt(&runtime)?,
        until: if matches.get_flag(FOLLOW) { Until::Stopped } else { Until::Level },
    };
    let began = Instant::now();
    let copied = match matches.get_flag(CHECK_ONLY) {
        true => None,
        false => Some(copying.copy()?),
    };
    let seconds = began.elapsed().as_secs_f64();
    let compared = match &copied {
        _ if matches.get_flag(NO_CHECK) => None,
        // Who breaks it off wants it to end.
        Some(_) if copying.is_stopped() && copying.until == Until::Level => None,
        Some(copied) => Some(copying.compare(Some(&copied.reached))?),
        None => Some(copying.compare(None)?),
    };
    copying.bar.finish();
    let done = Done { copied, compared, seconds, source: &*source, target: &*target };
    done.tell(arguments::wants_json(matches))?;
    done.judge(copying.until)
}

/// Opens the log to copy into, and makes it where there is none. An existing one is looked at before it is opened
/// for writing: opening repairs what a crash left, and that is the owner's matter if the log is not for this copy.
fn open_target(context: &Context, source: &dyn Log, matches: &ArgMatches) -> Result<Arc<dyn Log>, Failure> {
    let Some(to) = matches.get_one::<LogUrl>(TO).cloned() else {
        return Err(Failure::Use("say where to copy: give --to".to_owned()));
    };
    if matches!(to, LogUrl::Memory { .. }) {
        let text = "a copy in memory is gone with its process; name a directory, as in --to file:./copy";
        return Err(Failure::Use(text.to_owned()));
    }
    let to = match matches.get_one::<u32>(SHARDS) {
        Some(shards) => to.with_shards(*shards),
        None => to,
    };
    let to = place::at_home(to, context);
    let name = context.name();
    let check_only = matches.get_flag(CHECK_ONLY);
    match open::log(&to, name, true) {
        Ok(found) => {
            let log_id = found.identity().log_id;
            if log_id == source.identity().log_id {
                return Err(CopyError::SameLog { log_id }.into());
            }
            if check_only {
                return Ok(found);
            }
            drop(found); // it may hold what is opened now
            open::log(&to, name, false).map_err(target_failure)
        }
        Err(error) if error.is_no_log() && !check_only => {
            open::log(&to.or_shards(source.identity().shards), name, false).map_err(target_failure)
        }
        Err(error) if error.is_unfinished() && !check_only => {
            open::log(&to, name, false).map_err(target_failure)
        }
        Err(error) => Err(target_failure(error)),
    }
}

fn target_failure(error: OpenError) -> Failure {
    match &error {
        OpenError::File(other @ annals_file::OpenError::OtherShards { .. }) => {
            Failure::Use(format!("{other}; leave --{SHARDS} away, or name a new directory with --{TO}"))
        }
        OpenError::File(error) => Failure::opening(error, TO),
        _ => error.into(),
    }
}

/// Becomes true at the first Ctrl-C; the second one ends the process.
fn on_interrupt(runtime: &Runtime) -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let signals = runtime.block_on(async { Signals::new() })?;
    let told = Arc::clone(&stop);
    runtime.spawn(async move {
        signals.first().await;
        told.store(true, Ordering::SeqCst);
    });
    Ok(stop)
}

/// A copy on its way, with those who watch it.
struct Copying<'a> {
    job: Job<'a>,
    bar: Bar,
    stop: Arc<AtomicBool>,
    until: Until,
}

impl Copying<'_> {
    /// Copies, and tries again where that may help.
    fn copy(&self) -> Result<Copied, Failure> {
        let (mut all, mut attempts, mut told) = (None::<Copied>, 0, false);
        loop {
            let mut latest = None::<Copied>;
            let copied = self.job.run(&claimant, self.until, &mut |copied| {
                latest = Some(copied.clone());
                if copied.is_level && self.until == Until::Stopped && !told {
                    told = true;
                    let reached = Cursor(copied.reached.clone());
                    self.bar.note(&format!("level at {reached}; following, Ctrl-C ends it"));
                }
                self.watch(copied)
            });
            match copied {
                Ok(copied) => return Ok(together(all, copied)),
                Err(error) if error.is_temporary() && !self.is_stopped() => {
                    let got_on = latest.as_ref().is_some_and(|latest| latest.records > 0);
                    attempts = if got_on { 1 } else { attempts + 1 };
                    if attempts > ATTEMPTS_MAX {
                        return Err(error.into());
                    }
                    all = latest.map(|latest| together(all.clone(), latest)).or(all);
                    self.bar.note(&format!("note: {error}; trying again"));
                    std::thread::sleep(ATTEMPT_INTERVAL);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn compare(&self, upto: Option<&[Offset]>) -> Result<Compared, Failure> {
        if self.stop.swap(false, Ordering::SeqCst) {
            self.bar.note("comparing the logs; Ctrl-C again ends at once");
        }
        Ok(self.job.check(upto, &mut |copied| self.watch(copied))?)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn watch(&self, copied: &Copied) -> Next {
        let sum = |offsets: &[Offset]| offsets.iter().map(|offset| offset.0).sum();
        self.bar.total(sum(&copied.goal));
        self.bar.done(sum(&copied.reached));
        if self.is_stopped() { Next::Stop } else { Next::GoOn }
    }
}

/// What an attempt and those before it came to. The last batch of a failed one may have been written all the
/// same: the next attempt finds those records.
fn together(before: Option<Copied>, copied: Copied) -> Copied {
    let Some(before) = before else { return copied };
    let records = (copied.found + copied.records).saturating_sub(before.found);
    Copied { found: before.found, records, bytes: before.bytes + copied.bytes, ..copied }
}

fn claimant() -> Claimant {
    Claimant {
        node: app::node(),
        address: String::new(),
        nonce: *uuid::Uuid::new_v4().as_bytes(),
        claimed_at: Timestamp::now(),
    }
}

/// What a command came to.
struct Done<'a> {
    copied: Option<Copied>,
    compared: Option<Compared>,
    seconds: f64,
    source: &'a dyn Log,
    target: &'a dyn Log,
}

impl Done<'_> {
    fn tell(&self, as_json: bool) -> Result<(), Failure> {
        let mut output = Output::new();
        if as_json {
            output.line(self.json())?;
            return output.flush();
        }
        let (from, to) = (self.source.identity(), self.target.identity());
        output.line(format_args!("from {}, shards: {}", from.log_id, from.shards))?;
        output.line(format_args!("to {}, shards: {}", to.log_id, to.shards))?;
        if let Some(copied) = &self.copied {
            let Copied { found, records, bytes, .. } = copied;
            let rate = self.rate(*records);
            output.line(format_args!(
                "records copied: {records} ({bytes} bytes, {rate} per second); there before: {found}"
            ))?;
            let until = if copied.is_level { "level at" } else { "broken off, everything is there below" };
            output.line(format_args!("{until} {}", Cursor(copied.reached.clone())))?;
        }
        if let Some(compared) = &self.compared {
            output.line(format_args!("records compared: {} ({} bytes)", compared.records, compared.bytes))?;
            for difference in &compared.differences {
                output.line(format_args!("  {difference}"))?;
            }
            let more = compared.unlisted();
            if more > 0 {
                output.line(format_args!("  and {more} more"))?;
            }
            if compared.behind > 0 {
                output.line(format_args!("  not copied yet: {}", compared.behind))?;
            }
            output.line(if compared.is_same() { "the same" } else { "not the same" })?;
        }
        output.flush()
    }

    fn json(&self) -> Value {
        let copied = self.copied.as_ref();
        json!({
            "log_id": self.target.identity().log_id,
            "records": copied.map(|copied| copied.records),
            "bytes": copied.map(|copied| copied.bytes),
            "found": copied.map(|copied| copied.found),
            "shards_from": self.source.identity().shards,
            "shards_to": self.target.identity().shards,
            "seconds": copied.map(|_| (self.seconds * 1000.0).round() / 1000.0),
            "rate_per_s": copied.map(|copied| self.rate(copied.records)),
            "level": copied.filter(|copied| copied.is_level).map(|copied| &copied.reached),
            "reached": copied.map(|copied| &copied.reached),
            "check": self.compared.as_ref().map(check_json),
        })
    }

    fn rate(&self, records: u64) -> u64 {
        (records as f64 / self.seconds.max(1e-9)) as u64
    }

    /// The exit code: no where the logs differ, or where it ended before its time.
    fn judge(&self, until: Until) -> Result<(), Failure> {
        let no = |text: &str| Err(Failure::No(text.to_owned()));
        match (&self.copied, &self.compared) {
            (_, Some(compared)) if !compared.is_complete => no("the comparison was broken off"),
            (_, Some(compared)) if compared.differing > 0 => {
                no("the logs differ; copy into a new log, and keep this one to find out why")
            }
            (_, Some(compared)) if compared.behind > 0 => no("the copy is not complete; copy once more"),
            (Some(copied), _) if until == Until::Level && !copied.is_level => {
                no("the copy was broken off; start it again to go on")
            }
            _ => Ok(()),
        }
    }
}

fn check_json(compared: &Compared) -> Value {
    json!({
        "same": compared.is_same(),
        "complete": compared.is_complete,
        "records": compared.records,
        "bytes": compared.bytes,
        "behind": compared.behind,
        "differing": compared.differing,
        "differences": compared.differences.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
