//! `disk` and `append`: groups of records, written and synced bare, and through the file log.

use std::time::Duration;

use annals_log::{RecordKind, Writer};

use super::domain::{self, Encoded};
use super::error::BenchError;
use super::fill;
use super::limits::ZeroedFile;
use super::options::Options;
use super::place::Place;
use super::report::Row;
use super::stats::{Figure, Sample};

/// How many records are written for each sync.
const GROUPS: [u64; 5] = [1, 8, 64, 512, 4096];
/// The frame that the published figures of the disk are about.
const FRAME_BYTES: usize = 362;
/// Different records that are written in turn.
const POOL: u64 = 16_384;
const STREAMS: u64 = 10_000;

/// `bench disk`: a limit, so nothing stands beside it.
pub(super) fn disk(options: &Options, place: &Place) -> Result<Vec<Row>, BenchError> {
    let mut file = ZeroedFile::create(&place.fresh("zeros")?, options.zeroed_bytes)?;
    let mut rows = Vec::new();
    for group in GROUPS {
        let bytes = group_bytes(group, FRAME_BYTES);
        let rounds = (0..options.rounds.count).map(|_| sync(&mut file, &bytes, group, options.rounds.time));
        let mut rounds = rounds.collect::<Result<Vec<Sample>, _>>()?;
        rows.push(Row::alone("disk", group.to_string(), 1, &Figure::of(&mut rounds)));
    }
    Ok(rows)
}

/// `bench append`: the file log against the disk.
pub(super) fn append(options: &Options, place: &Place) -> Result<Vec<Row>, BenchError> {
    let mut file = ZeroedFile::create(&place.fresh("zeros")?, options.zeroed_bytes)?;
    let pool: Vec<Encoded> = (0..POOL)
        .map(|n| domain::record(n, domain::spread(n) % STREAMS, n / STREAMS, 1))
        .collect::<Result<_, _>>()?;
    let record_bytes = pool.first().map_or(FRAME_BYTES, |record| record.envelope.len());
    let mut rows = Vec::new();
    for group in GROUPS {
        options.notes.say(&format!("append: groups of {group}"));
        let directory = place.fresh("log")?;
        let log = fill::new_log(&directory)?;
        let writer = fill::claim(&log)?;
        let bytes = group_bytes(group, record_bytes);
        let mut records = pool.iter().cycle();
        let compared = options.rounds.compare(
            |time| sync(&mut file, &bytes, group, time),
            |time| Sample::repeat(time, group, || append_group(writer.as_ref(), &mut records, group)),
        )?;
        rows.push(Row::compared("append", group.to_string(), 1, &compared));
        drop(writer);
        log.close()?;
    }
    Ok(rows)
}

/// The disk's part: one group after the other for so long.
pub(super) fn sync(
    file: &mut ZeroedFile,
    bytes: &[u8],
    group: u64,
    time: Duration,
) -> Result<Sample, BenchError> {
    Sample::repeat(time, group, || file.commit(bytes))
}

/// A group of records that are not all alike and not zero.
pub(super) fn group_bytes(group: u64, record_bytes: usize) -> Vec<u8> {
    (0..group as usize * record_bytes).map(|at| (at % 251) as u8 | 1).collect()
}

fn append_group<'a>(
    writer: &dyn Writer,
    records: &mut impl Iterator<Item = &'a Encoded>,
    group: u64,
) -> Result<(), BenchError> {
    let mut last = None;
    for record in records.take(group as usize) {
        last = Some(writer.append(RecordKind::Record, record.envelope.clone(), record.terms.clone())?);
    }
    if let Some(seq) = last {
        writer.commit(seq)?;
    }
    Ok(())
}
