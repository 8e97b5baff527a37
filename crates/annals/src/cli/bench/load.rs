//! `load`: one stream out of many, its events scattered over the whole log, warm.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use annals_core::Offset;
use annals_core::index::Term;
use annals_engine::{At, Engine};
use annals_file::FileLog;
use annals_log::Log;

use super::domain::{self, Account};
use super::error::BenchError;
use super::fill::{self, SHARD};
use super::options::Options;
use super::place::Place;
use super::report::Row;
use super::stats::Sample;

/// The most offsets asked of the index at once; more than a stream has here.
const FIND_MAX: usize = 100_000_000;

/// `bench load`.
pub(super) fn load(options: &Options, place: &Place) -> Result<Vec<Row>, BenchError> {
    let history = options.history;
    let directory = place.fresh("log")?;
    let log = Arc::new(fill::filled(&directory, &history, options.notes)?);
    let events = history.events / history.streams;
    let record_bytes = domain::record(0, 0, 0, 1)?.envelope.len();
    let mut scattered = Scattered::open(&directory, record_bytes)?;
    // Its cache is for entities it writes to: one that only reads folds from the log every time.
    let engine = Engine::open_read_only(domain::context(), Arc::clone(&log) as Arc<dyn Log>)?;
    let mut streams = (0..).map(|n| domain::spread(n) % history.streams);
    let mut next = || streams.next().unwrap_or_default();

    options.notes.say("load: raw");
    let raw = options.rounds.compare(
        |time| scattered.sample(events, time),
        |time| Sample::repeat(time, 1, || read_stream(&log, next(), events)),
    )?;
    options.notes.say("load: folded");
    let folded = options.rounds.compare(
        |time| scattered.sample(events, time),
        |time| Sample::repeat(time, 1, || fold_stream(&engine, next(), events)),
    )?;
    let of = format!("{events} of {} events", history.events);
    Ok(vec![
        Row::compared("load", format!("raw, {of}"), 1, &raw),
        Row::compared("load", format!("folded, {of}"), 1, &folded),
    ])
}

/// Looks the stream up and reads its records.
fn read_stream(log: &FileLog, number: u64, events: u64) -> Result<(), BenchError> {
    let term = Term::stream(domain::stream(number)?.as_str());
    let mut found = 0;
    for offset in log.find(SHARD, term, Offset(0), FIND_MAX)? {
        found += u64::from(log.get(SHARD, offset)?.is_some());
    }
    expect("the number of a stream's records", events, found)
}

/// Folds the stream into its state.
fn fold_stream(engine: &Engine, number: u64, events: u64) -> Result<(), BenchError> {
    let (found, state) = engine.state_of::<Account>(&domain::stream(number)?, At::Now)?;
    std::hint::black_box(state);
    expect("a stream's version", events, found)
}

/// More than asked is right as well: the last turn of the history may not reach every stream.
fn expect(what: &'static str, expected: u64, found: u64) -> Result<(), BenchError> {
    if found >= expected { Ok(()) } else { Err(BenchError::Wrong { what, expected, found }) }
}

/// The limit: as many reads of as many bytes at scattered places of the same files, and their checksums.
struct Scattered {
    files: Vec<(PathBuf, File, u64)>,
    buffer: Vec<u8>,
    n: u64,
}

impl Scattered {
    fn open(log: &Path, record_bytes: usize) -> Result<Self, BenchError> {
        let mut files = Vec::new();
        for path in files_below(log)? {
            let bytes = path.metadata().map_err(BenchError::io(&path))?.len();
            if bytes > record_bytes as u64 {
                let file = File::open(&path).map_err(BenchError::io(&path))?;
                files.push((path, file, bytes - record_bytes as u64));
            }
        }
        let mut scattered = Self { files, buffer: vec![0; record_bytes], n: 0 };
        // The first reads of places that nobody has read yet are not warm.
        scattered.sample(1, Duration::from_millis(50))?;
        Ok(scattered)
    }

    fn sample(&mut self, reads: u64, time: Duration) -> Result<Sample, BenchError> {
        Sample::repeat(time, 1, || (0..reads).try_for_each(|_| self.read()))
    }

    fn read(&mut self) -> Result<(), BenchError> {
        self.n += 1;
        let place = domain::spread(self.n);
        let count = self.files.len().max(1);
        let Some((path, file, last)) = self.files.get((place >> 40) as usize % count) else { return Ok(()) };
        file.read_exact_at(&mut self.buffer, place % last).map_err(BenchError::io(path))?;
        std::hint::black_box(crc32c::crc32c(&self.buffer));
        Ok(())
    }
}

/// All files in a directory and those below it, by their paths.
pub(super) fn files_below(directory: &Path) -> Result<Vec<PathBuf>, BenchError> {
    let mut files = Vec::new();
    let entries = std::fs::read_dir(directory).map_err(BenchError::io(directory))?;
    for entry in entries {
        let path = entry.map_err(BenchError::io(directory))?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
