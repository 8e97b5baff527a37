//! `scan` and `replay`: the whole log, read and checked; decoded and folded into states.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use annals_core::envelope::{Header, Record};
use annals_core::{Decider as _, Events as _, Offset, event};
use annals_file::FileLog;
use annals_log::Log as _;

use super::domain::{self, Account, AccountEvent, Posting};
use super::error::BenchError;
use super::fill::{self, SHARD};
use super::load::files_below;
use super::options::Options;
use super::place::Place;
use super::report::Row;
use super::stats::Sample;

/// How much of the log is read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Threads of a replay: the published figures are for two processors.
const THREADS: u64 = 2;

/// `bench scan`: against the checksums of as many bytes of the same files.
pub(super) fn scan(options: &Options, place: &Place) -> Result<Vec<Row>, BenchError> {
    let events = options.history.events;
    let directory = place.fresh("log")?;
    let log = fill::filled(&directory, &options.history, options.notes)?;
    let bytes = events * domain::record(0, 0, 0, 1)?.envelope.len() as u64;
    options.notes.say("scan");
    // Not measured: maps and reads everything once.
    read_all(&log, Offset(0), log.end(SHARD), |_| Ok(()))?;
    let compared = options.rounds.compare(
        |_| Sample::pass(|| checksums(&directory, bytes).map(|()| events)),
        |_| {
            Sample::pass(|| {
                let mut found = 0;
                read_all(&log, Offset(0), log.end(SHARD), |raw| {
                    found += u64::from(matches!(raw.header, Header::Record { .. }));
                    Ok(())
                })?;
                expect(events, found)
            })
        },
    )?;
    Ok(vec![Row::compared("scan", format!("{events} events"), 1, &compared)])
}

/// `bench replay`: against the JSON of the same events alone, on as many threads.
pub(super) fn replay(options: &Options, place: &Place) -> Result<Vec<Row>, BenchError> {
    let events = options.history.events;
    let log = fill::filled(&place.fresh("log")?, &options.history, options.notes)?;
    let payloads = (0..16_384).map(|n| serde_json::to_vec(&Posting::new(n, 1)));
    let payloads = payloads.collect::<Result<Vec<_>, _>>()?;
    options.notes.say("replay");
    let compared = options.rounds.compare(
        |_| Sample::pass(|| on_threads(events, |from, upto| parse(&payloads, from, upto))),
        |_| {
            let end = log.end(SHARD).0;
            let found = || on_threads(end, |from, upto| fold(&log, Offset(from), Offset(upto)));
            Sample::pass(|| expect(events, found()?))
        },
    )?;
    Ok(vec![Row::compared(
        "replay",
        format!("{events} events, {THREADS} threads"),
        THREADS as u32,
        &compared,
    )])
}

/// Reads all accepted records from `from` to below `upto`.
fn read_all(
    log: &FileLog,
    from: Offset,
    upto: Offset,
    mut visit: impl FnMut(annals_log::RawRecord) -> Result<(), BenchError>,
) -> Result<(), BenchError> {
    let mut next = from;
    while next < upto {
        let chunk = log.read(SHARD, next, CHUNK_BYTES)?;
        chunk.records.into_iter().filter(|raw| raw.offset < upto).try_for_each(&mut visit)?;
        if chunk.next == next {
            return Err(BenchError::Wrong { what: "the log's end", expected: upto.0, found: next.0 });
        }
        next = chunk.next;
    }
    Ok(())
}

/// Reads so many bytes of the log's files, in order, and computes their checksum.
fn checksums(log: &Path, bytes: u64) -> Result<(), BenchError> {
    let mut left = bytes;
    let mut buffer = vec![0; CHUNK_BYTES];
    for path in files_below(log)? {
        let mut file = File::open(&path).map_err(BenchError::io(&path))?;
        loop {
            let read = file.read(&mut buffer).map_err(BenchError::io(&path))?;
            std::hint::black_box(crc32c::crc32c(buffer.get(..read).unwrap_or_default()));
            left = left.saturating_sub(read as u64);
            if left == 0 {
                return Ok(());
            }
            if read == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// Shares `0..all` out to threads; the sum of what they give.
fn on_threads(all: u64, run: impl Fn(u64, u64) -> Result<u64, BenchError> + Sync) -> Result<u64, BenchError> {
    let run = &run;
    std::thread::scope(|scope| {
        let part =
            |thread: u64| scope.spawn(move || run(all * thread / THREADS, all * (thread + 1) / THREADS));
        let threads: Vec<_> = (0..THREADS).map(part).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| BenchError::Panicked)?).sum()
    })
}

/// Decodes this part of the log and folds it into a state for each stream.
fn fold(log: &FileLog, from: Offset, upto: Offset) -> Result<u64, BenchError> {
    let mut states: HashMap<String, Account> = HashMap::new();
    let mut found = 0;
    read_all(log, from, upto, |raw| {
        let Header::Record { .. } = raw.header else { return Ok(()) };
        let record = Record::from_bytes(raw.envelope)?;
        for stored in event::events(SHARD, raw.offset, &record) {
            let part = stored.event;
            let Some(posted) = AccountEvent::read(&part.name, part.shape, &part.payload) else { continue };
            let stream = stored.slice.stream.as_str();
            match states.get_mut(stream) {
                Some(state) => state.evolve(&posted?),
                None => states.entry(stream.to_owned()).or_default().evolve(&posted?),
            }
            found += 1;
        }
        Ok(())
    })?;
    std::hint::black_box(states);
    Ok(found)
}

/// Parses as many payloads.
fn parse(payloads: &[Vec<u8>], from: u64, upto: u64) -> Result<u64, BenchError> {
    for payload in payloads.iter().cycle().take((upto - from) as usize) {
        std::hint::black_box(serde_json::from_slice::<Posting>(payload)?);
    }
    Ok(upto - from)
}

fn expect(expected: u64, found: u64) -> Result<u64, BenchError> {
    let what = "the number of records in the log";
    if found == expected { Ok(found) } else { Err(BenchError::Wrong { what, expected, found }) }
}
