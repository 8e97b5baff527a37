//! One import: read the log, open accounts, fill them, begin transfers, see each of them end.
//!
//! One thread follows the log and sends, so that what it knows needs no lock.

use std::time::{Duration, Instant};

use annals::import::{ImportError, Progress, Report};
use annals::parts::core::envelope::{Header, Record};
use annals::parts::engine::{Engine, ExecuteError};
use annals::parts::log::Chunk;
use annals::{Offset, Position, ShardId};

use crate::import::Wanted;
use crate::import::books::{Books, Ended, Stage};
use crate::import::files::{Asked, Files, row};
use crate::import::pipe::{self, Halt, Patience, Pipe};
use crate::import::schedule::Schedule;

/// Transfers that may be under way. More make no sync larger, but what is in flight no longer fits the processor's
/// caches, and sagas are loaded from the log again.
const UNDER_WAY_MAX: usize = 2_048;
/// Transfers that begin between two looks at the log.
const BATCH: usize = 512;
/// How many bytes of the log are read at a time.
const READ_BYTES: usize = 1024 * 1024;
/// The longest wait for the log to grow.
const LOOK: Duration = Duration::from_millis(5);
/// How long nothing may happen before the import asks why.
const STILL_ASK: Duration = Duration::from_secs(1);
/// How long nothing may happen before the import stops.
const STILL_MAX: Duration = Duration::from_secs(120);
/// How many refused rows are shown; the others are counted.
const SHOWN_MAX: u64 = 10;

/// An import under way.
pub(super) struct Run<'a> {
    engine: &'a Engine,
    files: &'a Files,
    wanted: Wanted,
    progress: &'a dyn Progress,
    books: Books,
    /// For each shard, the record to read next.
    next: Vec<Offset>,
    /// Records read.
    records: u64,
    /// When the first transfer of this run began.
    began: Option<Instant>,
    /// When the last one ended.
    ended: Option<Instant>,
    /// Transfers that have ended in this run.
    ended_here: u64,
    refused_here: u64,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        files: &'a Files,
        wanted: Wanted,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            engine,
            files,
            wanted,
            progress,
            books: Books::new(files),
            next: vec![Offset(0); engine.log().identity().shards as usize],
            records: 0,
            began: None,
            ended: None,
            ended_here: 0,
            refused_here: 0,
        }
    }

    pub(super) fn run(mut self) -> Result<Report, ImportError> {
        self.progress.total(self.files.transfers.len() as u64);
        while self.follow()? {}
        self.check_overdraft()?;
        self.accounts()?;
        let mut schedule = self.schedule();
        let (engine, files, overdraft) = (self.engine, self.files, self.wanted.overdraft);
        pipe::open(engine, files, overdraft, |pipe| self.transfers(pipe, &mut schedule))?;
        self.settle()?;
        if self.refused_here > SHOWN_MAX {
            self.progress.note(&format!("refused: {} rows more", self.refused_here - SHOWN_MAX));
        }
        Ok(self.report())
    }

    /// Reads on in the log; `false` where there was nothing more.
    fn follow(&mut self) -> Result<bool, ImportError> {
        let mut moved = false;
        for (shard, next) in (0..).map(ShardId).zip(&mut self.next) {
            if *next >= self.engine.log().end(shard) {
                continue;
            }
            let chunk = read(self.engine, shard, *next)?;
            for raw in chunk.records {
                self.records += 1;
                if !matches!(raw.header, Header::Record { .. }) {
                    continue;
                }
                let unreadable = |reason| {
                    let position = Position { shard, offset: raw.offset, index: 0 };
                    ImportError::Engine(ExecuteError::Unreadable { position, reason })
                };
                let record = Record::from_bytes(raw.envelope).map_err(|e| unreadable(e.to_string()))?;
                self.books.enter(self.files, &record).map_err(unreadable)?;
            }
            moved |= chunk.next > *next;
            *next = chunk.next;
        }
        Ok(moved)
    }

    /// The accounts of an import that goes on keep the overdraft they were opened with.
    fn check_overdraft(&self) -> Result<(), ImportError> {
        let other = |opened: &Option<u64>| opened.is_some_and(|overdraft| overdraft != self.wanted.overdraft);
        if !self.books.opened.iter().any(other) {
            return Ok(());
        }
        let (had, do_this) = match self.wanted.overdraft {
            0 => ("with", "give"),
            _ => ("without", "leave out"),
        };
        let reason = format!(
            "the import of these files into this log was begun {had} --overdraft; {do_this} it to go on, or name \
             another log"
        );
        Err(ImportError::Arguments { reason })
    }

    /// Opens what is not open, then fills what is not filled. All are open before the first is filled, and filled
    /// before the first transfer: a command that the log loses is decided again later than those sent after it.
    fn accounts(&mut self) -> Result<(), ImportError> {
        let books = &self.books;
        let rows = 0..self.files.accounts.len();
        let open: Vec<_> = rows.clone().filter(|index| books.opened.get(*index) == Some(&None)).collect();
        let fill: Vec<_> = rows.filter(|index| books.deposited.get(*index) == Some(&false)).collect();
        if !open.is_empty() {
            self.progress.note(&format!("{} accounts are opened", open.len()));
        }
        self.send_all(open.into_iter().map(Asked::Open))?;
        self.send_all(fill.into_iter().map(Asked::Deposit))
    }

    fn send_all(&self, mut all: impl Iterator<Item = Asked>) -> Result<(), ImportError> {
        let work = |pipe: &Pipe<'_>| all.try_for_each(|asked| pipe.send(asked));
        pipe::open(self.engine, self.files, self.wanted.overdraft, work)
    }

    /// The order of the transfers, with those that have ended in earlier runs taken out.
    fn schedule(&mut self) -> Schedule {
        let rows = &self.files.transfers;
        let mut schedule = if self.wanted.ordered { Schedule::ordered(rows) } else { Schedule::free(rows) };
        for Ended { index, .. } in self.books.take_ended() {
            schedule.ended(index);
        }
        schedule
    }

    /// Begins transfers as they become ready, until all have ended.
    fn transfers(&mut self, pipe: &Pipe<'_>, schedule: &mut Schedule) -> Result<(), Halt> {
        let rows = self.files.transfers.len();
        let mut begun = (0..rows).filter(|index| self.books.stage(*index) != Stage::Unknown).count();
        let mut still = Instant::now();
        loop {
            pipe.check()?;
            let mut moved = self.follow()?;
            self.take_ended(schedule);
            if self.books.ended_count() == rows {
                return Ok(());
            }
            let most =
                UNDER_WAY_MAX.saturating_sub(begun.saturating_sub(self.books.ended_count())).min(BATCH);
            let sent = self.begin(pipe, schedule, most)?;
            begun += sent;
            moved |= sent > 0;
            if moved {
                still = Instant::now();
                continue;
            }
            self.wait();
            if still.elapsed() >= STILL_ASK {
                self.ask(still.elapsed())?;
            }
        }
    }

    /// Begins up to `most` transfers and returns how many.
    fn begin(&mut self, pipe: &Pipe<'_>, schedule: &mut Schedule, most: usize) -> Result<usize, Halt> {
        let mut sent = 0;
        while sent < most
            && let Some(index) = schedule.pop()
        {
            if self.books.stage(index) == Stage::Unknown {
                self.began.get_or_insert_with(Instant::now);
                pipe.send(Asked::Transfer(index))?;
                sent += 1;
            }
        }
        Ok(sent)
    }

    fn take_ended(&mut self, schedule: &mut Schedule) {
        let all = self.books.take_ended();
        if all.is_empty() {
            return;
        }
        self.ended = Some(Instant::now());
        self.ended_here += all.len() as u64;
        for Ended { index, refusal } in all {
            schedule.ended(index);
            let Some(refusal) = refusal else { continue };
            self.refused_here += 1;
            if self.refused_here <= SHOWN_MAX {
                let (file, row) = (self.files.transfers_name(), row(index));
                self.progress.note(&format!("refused: {file}, row {row}: {refusal}"));
            }
        }
        self.progress.done(self.books.ended_count() as u64);
    }

    /// Waits until the log has grown, or for a moment.
    fn wait(&self) {
        // Several shards: their relays feed each other, so that one that grows is as good as any.
        if let Some(next) = self.next.first() {
            self.engine.log().wait(ShardId(0), *next, LOOK);
        }
    }

    /// Nothing has happened for a while: an error if nothing will.
    fn ask(&self, still: Duration) -> Result<(), ImportError> {
        let status = self.engine.status();
        let busy = status.waiting_commands > 0 || status.relay_lag > 0 || status.relay_pending > 0;
        // What was done a moment ago is not followed yet, and nobody is busy any more.
        let unread =
            || (0..).zip(&self.next).any(|(shard, next)| self.engine.log().end(ShardId(shard)) > *next);
        if busy && still < STILL_MAX || !busy && unread() {
            return Ok(());
        }
        if let Some((index, transfer, reason)) = self.books.parked() {
            let reason = format!("transfer {transfer} cannot go on, a person must look: {reason}");
            return Err(self.files.row_error(Asked::Transfer(index), reason));
        }
        let unended = (0..self.files.transfers.len()).find(|index| self.books.stage(*index) != Stage::Ended);
        let reason = status.stuck.unwrap_or_else(|| "nothing happens any more".to_owned());
        let reason = format!("its transfer does not end: {reason}; start the import again to go on");
        Err(self.files.row_error(Asked::Transfer(unended.unwrap_or_default()), reason))
    }

    /// Lets the sagas take note that their transfers have ended, and counts what they write.
    fn settle(&mut self) -> Result<(), ImportError> {
        let began = Instant::now();
        while !self.engine.settle(STILL_ASK)? && began.elapsed() < STILL_MAX {}
        while self.follow()? {}
        Ok(())
    }

    fn report(&self) -> Report {
        let took = match (self.began, self.ended) {
            (Some(began), Some(ended)) => ended.duration_since(began).as_secs_f64(),
            _ => 0.0,
        };
        let rate = if took > 0.0 { (self.ended_here as f64 / took).round() } else { 0.0 };
        Report::default()
            .with("transfers", self.files.transfers.len())
            .with("completed", self.books.completed)
            .with("refused", self.books.refused)
            .with("open_holds", self.books.open_holds())
            .with("trial_balance_minor", self.books.trial_balance_minor())
            .with("records", self.records)
            .with("rate_per_s", rate)
    }
}

/// Reads on in a shard; what cannot be read for a while is read again.
fn read(engine: &Engine, shard: ShardId, from: Offset) -> Result<Chunk, ExecuteError> {
    let mut patience = Patience::new();
    loop {
        match engine.log().read(shard, from, READ_BYTES).map_err(ExecuteError::from) {
            Err(error) if error.is_temporary() && patience.wait(&error) => {}
            read => return read,
        }
    }
}
