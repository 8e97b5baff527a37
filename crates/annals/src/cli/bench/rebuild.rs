//! `rebuild`: a view built anew beside the one that is read, while commands come at half of what the engine takes.
//!
//! Commands are sent when they are due and not when the last one was answered, and each is timed from when it was due,
//! so that a wait delays all that come behind it. The limit is the same load without a rebuild, before and after. A
//! reader asks for a document all the time; an empty or failed answer is an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use annals_core::Projection as _;
use annals_engine::{Engine, Environment, ExecuteError, Receipt, Settings};
use annals_log::Log;
use annals_views::rebuild::{Compare, Options as Rebuild, Phase, Status, Swap};
use annals_views::{SqliteStore, ViewStore, Views};

use super::commands::{Client, check};
use super::domain::{self, Turnover};
use super::error::BenchError;
use super::fill;
use super::options::{Notes, Options};
use super::place::Place;
use super::report::Row;
use super::stats::{Compared, Figure, Sample, nanoseconds};

/// Commands outstanding while the engine's rate is taken, of which half is sent.
const CLIENTS: usize = 64;
/// Commands that may wait for their answers before no more are sent: a load that the engine does not follow.
const OUTSTANDING_MAX: usize = 20_000;
/// How long anything may take that ends by itself.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often the finish time is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// `bench rebuild`.
pub(super) fn rebuild(options: &Options, place: &Place) -> Result<Vec<Row>, BenchError> {
    let log: Arc<dyn Log> = Arc::new(fill::filled(&place.fresh("log")?, &options.history, options.notes)?);
    let engine = Engine::open(domain::context(), log, Environment::system("bench"), Settings::default())?;
    let directory = place.fresh("views")?;
    std::fs::create_dir(&directory).map_err(BenchError::io(&directory))?;
    let store: Arc<dyn ViewStore> = Arc::new(SqliteStore::open(directory.join("views.sqlite"))?);
    let (context, log) = (Arc::clone(engine.context()), Arc::clone(engine.log()));
    let views = Views::open(context, log, store, annals_views::Settings::default())?;
    options.notes.say("rebuild: the view follows the log");
    views.catch_up(Turnover::NAME, PATIENCE)?;
    let mut client = Client::all(&options.history.versions(), 1)?.remove(0);
    options.notes.say("rebuild: what the engine takes");
    let time = options.rounds.time;
    // The first commands take new memory and a new segment: they do not count.
    flood(&engine, &mut client, time / 5)?;
    let rate = flood(&engine, &mut client, time)? / 2.0;
    let mut load = Load { engine: &engine, client, rate };
    let before = load.until(|began| began.elapsed() >= time)?;
    options.notes.say("rebuild: beside the load");
    let beside = beside(&views, options.history.parties, options.notes, &mut load)?;
    options.notes.say("rebuild: the load alone once more");
    let after = load.until(|began| began.elapsed() >= time)?;
    check(&engine, std::slice::from_ref(&load.client))?;
    Ok(rows(options, rate, Figure::of(&mut [before, after]), beside))
}

/// What was seen of a rebuild.
struct Seen {
    commands: Sample,
    reads: Sample,
    status: Status,
    /// By how much the finish times shown after half way were off at most, as a part of the whole time.
    off: f64,
}

fn rows(options: &Options, rate: f64, alone: Figure, seen: Seen) -> Vec<Row> {
    let mut commands = [seen.commands];
    let ours = Figure::of(&mut commands);
    let p99 = |figure: &Figure| figure.p99_us.unwrap_or_default();
    let compared = Compared { ratio: p99(&ours) / p99(&alone).max(1e-9), limit: alone.clone(), ours };
    let clients = CLIENTS as u32;
    let status = seen.status;
    let events = options.history.events;
    let seconds = status.seconds.max(1e-9);
    let of = format!("of {events} events");
    let swap = Row {
        bench: "rebuild",
        case: "the swap, and how long the live view was held".to_owned(),
        p50_us: status.swap_ms.map(|ms| ms * 1e3),
        p99_us: status.held_ms.map(|ms| ms * 1e3),
        ..Row::default()
    };
    let folded = Row {
        bench: "rebuild",
        case: format!("{of}; ratio: finish times after half way off by at most"),
        rate_per_s: Some(status.records as f64 / seconds),
        ratio: Some(seen.off),
        ..Row::default()
    };
    vec![
        Row::alone("rebuild", format!("{rate:.0} commands/s without one"), clients, &alone),
        Row::compared("rebuild", format!("the same beside one {of}; ratio: of p99"), clients, &compared),
        Row::alone("rebuild", "reads meanwhile, none empty", 1, &Figure::of(&mut [seen.reads])),
        folded,
        swap,
    ]
}

/// Commands a second with so many outstanding.
fn flood(engine: &Engine, client: &mut Client, time: Duration) -> Result<f64, BenchError> {
    let sample = Sample::taken(|sample| {
        sample.add(super::commands::told(engine, CLIENTS, client, time)?);
        Ok(())
    })?;
    Ok(Figure::of(&mut [sample]).rate_per_s)
}

/// Commands that come at a rate.
struct Load<'a> {
    engine: &'a Engine,
    client: Client,
    rate: f64,
}

/// When a command was due, its stream, and its answer.
type Answer = (Instant, usize, Result<Receipt, ExecuteError>);

impl Load<'_> {
    /// Sends until told to stop, and waits for all answers.
    fn until(&mut self, stop: impl Fn(Instant) -> bool) -> Result<Sample, BenchError> {
        let (sender, answers) = channel();
        Sample::taken(|sample| {
            let (began, mut sent, mut answered) = (Instant::now(), 0_u64, 0);
            while !stop(began) {
                let due = (began.elapsed().as_secs_f64() * self.rate) as u64;
                while sent < due && sent - answered < OUTSTANDING_MAX as u64 {
                    let at = began + Duration::from_secs_f64(sent as f64 / self.rate);
                    self.send(at, &sender)?;
                    sent += 1;
                }
                answered += self.take(&answers, sample)?;
                std::thread::sleep(Duration::from_micros(100));
            }
            while answered < sent {
                std::thread::sleep(Duration::from_micros(100));
                answered += self.take(&answers, sample)?;
            }
            Ok(())
        })
    }

    fn send(&mut self, due: Instant, sender: &Sender<Answer>) -> Result<(), BenchError> {
        let Some((stream, request)) = self.client.next()? else { return Ok(()) };
        let sender = sender.clone();
        self.engine.execute_then(request, move |answer| drop(sender.send((due, stream, answer))));
        self.client.submitted(stream);
        Ok(())
    }

    /// Takes the answers there are; how many.
    fn take(&mut self, answers: &Receiver<Answer>, sample: &mut Sample) -> Result<u64, BenchError> {
        let mut latencies = Vec::new();
        for (due, stream, answer) in answers.try_iter() {
            self.client.answered(stream, answer?.version);
            latencies.push(nanoseconds(due.elapsed()));
        }
        let taken = latencies.len() as u64;
        sample.add(latencies);
        Ok(taken)
    }
}

fn beside(views: &Views, parties: u64, notes: Notes, load: &mut Load<'_>) -> Result<Seen, BenchError> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| read(views, parties, &over));
        let options = Rebuild { compare: Compare::Counts, swap: Swap::Always, keep: false };
        views.rebuild(Turnover::NAME, options)?;
        let watching = scope.spawn(|| {
            let seen = watch(views, notes);
            over.store(true, Ordering::Relaxed);
            seen
        });
        let commands = load.until(|_| over.load(Ordering::Relaxed));
        over.store(true, Ordering::Relaxed);
        let (status, off) = watching.join().map_err(|_| BenchError::Panicked)??;
        let reads = reading.join().map_err(|_| BenchError::Panicked)??;
        Ok(Seen { commands: commands?, reads, status, off })
    })
}

/// Watches a rebuild to its end: how it ended, and by how much finish times shown after half way were off at most.
fn watch(views: &Views, notes: Notes) -> Result<(Status, f64), BenchError> {
    let (began, mut shown) = (Instant::now(), Vec::new());
    loop {
        std::thread::sleep(LOOK);
        let Some(status) = views.rebuilding(Turnover::NAME)? else { return Err(BenchError::Panicked) };
        let (elapsed, left) = (began.elapsed().as_secs_f64(), status.seconds_left.unwrap_or(f64::INFINITY));
        notes.say(&format!(
            "{elapsed:.1} s: {} of {}, {left:.1} s left",
            status.records, status.records_total
        ));
        match status.phase {
            Phase::Done => {
                let off = shown.iter().map(|end: &f64| (end - elapsed).abs() / elapsed);
                return Ok((status, off.fold(0.0, f64::max)));
            }
            Phase::Failed | Phase::Cancelled => {
                return Err(BenchError::NotRebuilt { reason: status.reason.unwrap_or_default() });
            }
            _ if 2 * status.records > status.records_total => {
                // None shown is as wrong as can be.
                shown.push(elapsed + left);
            }
            _ => {}
        }
    }
}

/// Reads one document after the other until it is over.
fn read(views: &Views, parties: u64, over: &AtomicBool) -> Result<Sample, BenchError> {
    let key = domain::first_party(parties);
    Sample::taken(|sample| {
        while !over.load(Ordering::Relaxed) {
            let at = Instant::now();
            if views.get(Turnover::NAME, None, &key)?.is_none() {
                return Err(BenchError::Wrong { what: "documents read", expected: 1, found: 0 });
            }
            sample.add(vec![nanoseconds(at.elapsed())]);
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    })
}
