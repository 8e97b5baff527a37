//! `size`: what a record of one event takes on the disk, beyond its payload.
//!
//! Only full segments are counted: the newest one and the next are mostly zeros that later records overwrite,
//! and their share depends on when one looks.

use std::path::{Path, PathBuf};

use super::domain::PAYLOAD_BYTES;
use super::error::BenchError;
use super::fill;
use super::load::files_below;
use super::options::Options;
use super::place::Place;
use super::report::Row;

/// `bench size`.
pub(super) fn size(options: &Options, place: &Place) -> Result<Vec<Row>, BenchError> {
    let directory = place.fresh("log")?;
    let log = fill::filled(&directory, &options.history, options.notes)?;
    // Closing writes the index files that are still to be written.
    log.close()?;
    let files = files_below(&directory)?;
    let segments = of_kind(&files, "segment");
    let full = segments.len().saturating_sub(1);
    let (counted, case) = match full {
        0 => (segments.as_slice(), "the only segment, zeros included".to_owned()),
        _ => (segments.get(..full).unwrap_or_default(), format!("{full} full segments")),
    };
    let records = match (full, segments.get(full)) {
        (0, _) | (_, None) => options.history.events,
        (_, Some((base, _))) => *base,
    };
    let log_bytes = sum(counted.iter().map(|(_, path)| path.as_path()))?;
    let bases: Vec<u64> = counted.iter().map(|(base, _)| *base).collect();
    let indexes = of_kind(&files, "index");
    let counted_indexes = indexes.iter().filter(|(base, _)| bases.contains(base));
    let index_bytes = sum(counted_indexes.map(|(_, path)| path.as_path()))?;
    let row = |what: &str, bytes: u64, less: usize| Row {
        bench: "size",
        case: format!("{what}, {case}"),
        clients: 1,
        bytes: Some(bytes as f64 / records.max(1) as f64 - less as f64),
        ..Row::default()
    };
    Ok(vec![
        row("log less payload", log_bytes, PAYLOAD_BYTES),
        row("index", index_bytes, 0),
        row("log and index less payload", log_bytes + index_bytes, PAYLOAD_BYTES),
    ])
}

/// The files whose names are an offset and this ending, with that offset, ascending.
fn of_kind(files: &[PathBuf], ending: &str) -> Vec<(u64, PathBuf)> {
    let named = |path: &PathBuf| {
        let base = path.file_name()?.to_str()?.strip_suffix(ending)?.strip_suffix('.')?.parse().ok()?;
        Some((base, path.clone()))
    };
    let mut found: Vec<_> = files.iter().filter_map(named).collect();
    found.sort();
    found
}

fn sum<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<u64, BenchError> {
    paths.map(|path| Ok(path.metadata().map_err(BenchError::io(path))?.len())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_their_names() {
        let files =
            ["s/0007.segment", "s/0003.segment", "s/3.index", "s/lock", "s/next-1.tmp", "s/x.segment"];
        let files = files.map(PathBuf::from);
        assert_eq!(of_kind(&files, "segment"), [(3, files[1].clone()), (7, files[0].clone())]);
        assert_eq!(of_kind(&files, "index"), [(3, files[2].clone())]);
    }
}
