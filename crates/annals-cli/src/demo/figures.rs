//! Live figures: commands and events, transfers, whether the books balance, how far views are behind.
//!
//! On a terminal one line is rewritten every second; otherwise a line is written every five. Events and transfers are
//! counted from the log itself, from its beginning, so they are right also after a restart.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use annals::cli::Failure;
use annals::parts::core::envelope::{Header, Record};
use annals::parts::log::{Log, RawRecord};
use annals::{App, Offset, ShardId};
use annals_bank::views::{BANK, TrialBalance};
use tokio::task::JoinHandle;

use super::load::Load;

/// How much of the log is read at a time, in bytes of envelopes.
const CHUNK_BYTES: usize = 1 << 20;
/// How often figures are shown on a terminal.
const TERMINAL_INTERVAL: Duration = Duration::from_secs(1);
/// How often they are shown elsewhere.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// How soon it notices that the end was asked for.
const LOOK: Duration = Duration::from_millis(50);

/// What is counted from the log.
#[derive(Default)]
struct Counts {
    events: AtomicU64,
    transfers: AtomicU64,
}

/// Shows figures until it is stopped.
pub struct Figures {
    counting: JoinHandle<()>,
    showing: JoinHandle<()>,
}

impl Figures {
    /// Begins to count and to show.
    pub fn start(app: App, load: Arc<Load>) -> Result<Self, Failure> {
        let counts = Arc::new(Counts::default());
        let counting = {
            let (log, counts, load) =
                (Arc::clone(app.engine().log()), Arc::clone(&counts), Arc::clone(&load));
            tokio::task::spawn_blocking(move || count(log.as_ref(), &counts, &load))
        };
        let showing = tokio::task::spawn_blocking(move || show(&app, &counts, &load));
        Ok(Self { counting, showing })
    }

    /// Waits until nothing is counted or shown any more; the load must have been stopped.
    pub async fn stop(self) {
        for task in [self.counting, self.showing] {
            if let Err(error) = task.await {
                eprintln!("note: the figures ended: {error}");
            }
        }
    }
}

/// Counts the events of the log from its beginning, then those that come.
fn count(log: &dyn Log, counts: &Counts, load: &Load) {
    let mut next: Vec<(ShardId, Offset)> =
        (0..log.identity().shards).map(|shard| (ShardId(shard), Offset(0))).collect();
    while !load.is_stopping() {
        let mut idle = true;
        for (shard, from) in &mut next {
            match log.read(*shard, *from, CHUNK_BYTES) {
                Ok(chunk) => {
                    chunk.records.iter().for_each(|raw| count_record(raw, counts));
                    idle &= chunk.next == *from;
                    *from = chunk.next;
                }
                Err(error) => return eprintln!("note: events are not counted any more: {error}"),
            }
        }
        if idle {
            std::thread::sleep(LOOK);
        }
    }
}

fn count_record(raw: &RawRecord, counts: &Counts) {
    if !matches!(raw.header, Header::Record { .. }) {
        return;
    }
    let Ok(record) = Record::from_bytes(raw.envelope.clone()) else { return };
    for event in record.slices.iter().flat_map(|slice| &slice.events) {
        counts.events.fetch_add(1, Ordering::Relaxed);
        if event.name == "account.posted" {
            counts.transfers.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn show(app: &App, counts: &Counts, load: &Load) {
    let terminal = std::io::stderr().is_terminal();
    let interval = if terminal { TERMINAL_INTERVAL } else { LINE_INTERVAL };
    let (mut last, mut answered) = (Instant::now(), load.answered());
    while !load.is_stopping() {
        std::thread::sleep(LOOK);
        let took = last.elapsed();
        if took < interval {
            continue;
        }
        let now = load.answered();
        let rate = (now - answered) as f64 / took.as_secs_f64();
        (last, answered) = (Instant::now(), now);
        let line = line(app, counts, load, rate);
        if terminal {
            eprint!("\r\x1b[2K{line}");
            // A terminal that cannot be written to any more shows nothing: nothing to do about it.
            drop(std::io::stderr().flush());
        } else {
            eprintln!("{line}");
        }
    }
    if terminal {
        eprintln!();
    }
}

fn line(app: &App, counts: &Counts, load: &Load, rate: f64) -> String {
    let (events, transfers) =
        (counts.events.load(Ordering::Relaxed), counts.transfers.load(Ordering::Relaxed));
    let (answered, refused) = (load.answered(), load.refused());
    let (books, views) = (books(app), views(app));
    format!(
        "{rate:.0} commands/s | {answered} commands, {refused} refused since the start | {events} events, \
         {transfers} transfers | {books} | {views}"
    )
}

/// Whether the books balance, as far as the view has come.
fn books(app: &App) -> String {
    match app.view::<TrialBalance>(BANK).within(Duration::ZERO).wait() {
        Ok(Some(TrialBalance { total: 0, .. })) => "the books balance".to_owned(),
        Ok(Some(TrialBalance { total, .. })) => format!("THE BOOKS ARE OFF BY {total}"),
        Ok(None) | Err(_) => "books: not added up yet".to_owned(),
    }
}

/// How far the view that is furthest behind is.
fn views(app: &App) -> String {
    let views = app.views();
    let lags = views.names().into_iter().filter_map(|view| views.lag(view).ok());
    let furthest = lags.max_by_key(|lag| lag.events);
    furthest.map_or_else(|| "no views".to_owned(), |lag| format!("views {} records behind", lag.events))
}
