//! Opening a shard: find its segments, find its end, and tell a torn tail from damage.
//!
//! Invariant: only bytes behind the last valid group of the last segment are ever cut, only when no later group
//! proves that they were durable, and only after they were kept aside. Everything else that is not as it was
//! written is an error that names its place.
//!
//! A replica syncs late, so what a power loss takes from it may begin before the last segment: the segments behind
//! that place go too, on the same condition. Nothing of a replica is kept aside: its log has it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::{LogId, Offset, ShardId};

use crate::directory::{index_path, list_shard, segment_path, shard_path, torn_path};
use crate::disk::Disk;
use crate::error::{Damage, OpenError, SegmentError};
use crate::index_file::Mark;
use crate::scan::{self, Beyond, Stop};
use crate::segment::{Expect, Segment};

/// How to open a shard.
#[derive(Clone, Debug)]
pub(crate) struct How {
    pub(crate) log: PathBuf,
    /// `None` while the log's id is not known.
    pub(crate) log_id: Option<LogId>,
    /// `None` where both a log and a replica will do.
    pub(crate) replica: Option<bool>,
    pub(crate) writable: bool,
    pub(crate) disk: Disk,
}

/// A shard that was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) directory: PathBuf,
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) last: Arc<Segment>,
    /// The tail that was cut now.
    pub(crate) torn: Option<TornTail>,
}

/// The end of a shard that a crash left half written: it was never acknowledged and was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The shard.
    pub shard: ShardId,
    /// The offset that the first record in it would have had.
    pub offset: Offset,
    /// The segment it was cut from.
    pub segment: PathBuf,
    /// Where in that file it began.
    pub byte: u64,
    /// How many bytes it had.
    pub bytes: u64,
    /// The file that keeps them.
    pub kept: PathBuf,
    /// What was wrong with them.
    pub reason: String,
}

/// Opens a shard.
pub(crate) fn open(how: &How, shard: ShardId) -> Result<Opened, OpenError> {
    let directory = shard_path(&how.log, shard);
    let files = list_shard(&directory).map_err(|error| OpenError::io(&directory, error))?;
    if how.writable {
        for path in &files.temporary {
            std::fs::remove_file(path).map_err(|error| OpenError::io(path, error))?;
        }
        // A segment may have been renamed right before a crash.
        how.disk.sync_directory(&directory).map_err(|error| OpenError::io(&directory, error))?;
    }
    let mut expect = Expect { log_id: how.log_id, replica: how.replica, shard, base: Offset(0) };
    let mut segments = Vec::with_capacity(files.bases.len());
    for base in &files.bases {
        expect.base = *base;
        let segment = Segment::open(&segment_path(&directory, *base), &expect, how.writable)?;
        expect.log_id = Some(segment.header.log_id);
        expect.replica = Some(segment.header.replica);
        segments.push(Arc::new(segment));
    }
    check_first(&directory, shard, &segments)?;
    complete_all(how, &directory, &mut segments)?;
    let Some(last) = segments.last().cloned() else { return Err(no_segments(&directory)) };
    let torn = find_end(how, &directory, &last)?;
    Ok(Opened { directory, segments, last, torn })
}

fn check_first(directory: &Path, shard: ShardId, segments: &[Arc<Segment>]) -> Result<(), OpenError> {
    let first = segments.first().ok_or_else(|| no_segments(directory))?;
    if first.header.base == Offset(0) {
        return Ok(());
    }
    let reason = format!("the segments before {} are missing", first.path.display());
    let segment = segment_path(directory, Offset(0));
    Err(Damage { shard, segment, offset: Offset(0), byte: 0, reason }.into())
}

fn no_segments(directory: &Path) -> OpenError {
    OpenError::NotALog { directory: directory.to_owned(), reason: "it holds no segments".to_owned() }
}

/// Makes sure that the segments which are not the last are complete. In a replica, those behind one that is not go
/// where none of what is missing was known to be durable.
fn complete_all(how: &How, directory: &Path, segments: &mut Vec<Arc<Segment>>) -> Result<(), OpenError> {
    let promised = segments.iter().map(|segment| segment.promised()).max().unwrap_or_default();
    for at in 1..segments.len() {
        let (Some(segment), Some(next)) = (segments.get(at - 1), segments.get(at)) else { break };
        match complete(how, segment, next.header.base)? {
            Completeness::Whole => {}
            Completeness::Short(damage) if !how.writable || !segment.header.replica => {
                return Err(damage.into());
            }
            Completeness::Short(damage) => {
                let behind = segments.get(at..).unwrap_or_default();
                check_not_durable(segment, behind, promised, damage)?;
                remove(how, directory, behind)?;
                segments.truncate(at);
                break;
            }
        }
    }
    Ok(())
}

/// Whether a segment holds the records up to the next one's first.
enum Completeness {
    Whole,
    Short(Damage),
}

/// Reads a segment which is not the last where its index file does not say that it is complete, and makes that file.
fn complete(how: &How, segment: &Segment, next_base: Offset) -> Result<Completeness, OpenError> {
    if segment.mark().next != next_base {
        tracing::info!(segment = %segment.path.display(), "making the index of a segment again");
        segment.drop_index();
        // An index file says that what it covers is durable; a replica's writer may have ended before its sync.
        let lazy = how.writable && segment.header.replica;
        let stop = segment.catch_up(&mut |_| if lazy { how.disk.sync(&segment.file) } else { Ok(()) })?;
        let mark = segment.mark();
        if mark.next < next_base {
            return Ok(Completeness::Short(segment.stopped(&stop, &mark)));
        }
        if mark.next > next_base {
            let reason = format!("the segment reaches beyond {next_base}, where the next one begins");
            return Err(segment.damage(next_base, mark.position, reason).into());
        }
    }
    if how.writable && !segment.is_indexed() {
        // A log without this file works, and takes more memory.
        if let Err(error) = segment.write_index(&how.disk) {
            tracing::warn!(segment = %segment.path.display(), ?error, "the index file was not written");
        }
    }
    Ok(Completeness::Whole)
}

/// Damage, where an index file or a later group proves that records behind the end of `segment` were durable.
fn check_not_durable(
    segment: &Segment,
    behind: &[Arc<Segment>],
    promised: Offset,
    mut damage: Damage,
) -> Result<(), OpenError> {
    let end = segment.mark();
    let mut durable_upto = promised;
    durable_upto =
        durable_upto.max(scan::beyond(segment.source(), &end).map_err(|e| segment.io(e))?.durable_upto);
    for later in behind {
        let start = scan::start(&later.header, later.seed);
        let found = scan::beyond(later.source(), &start).map_err(|error| later.io(error))?;
        durable_upto = durable_upto.max(found.durable_upto);
    }
    if durable_upto <= end.next {
        return Ok(());
    }
    damage.reason = format!("{}; records up to {durable_upto} were durable", damage.reason);
    Err(damage.into())
}

/// Removes the newest segments of a replica, the last one first, so that there is never a gap.
fn remove(how: &How, directory: &Path, segments: &[Arc<Segment>]) -> Result<(), OpenError> {
    for segment in segments.iter().rev() {
        tracing::warn!(segment = %segment.path.display(), "removed from a replica: it was not durable, nor what is before it");
        let index = index_path(&segment.path);
        match std::fs::remove_file(&index) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(OpenError::io(&index, error));
            }
            _ => {}
        }
        std::fs::remove_file(&segment.path).map_err(|error| OpenError::io(&segment.path, error))?;
    }
    how.disk.sync_directory(directory).map_err(|error| OpenError::io(directory, error))
}

/// Scans the last segment from where its index file ends, and cuts what a crash left behind the last group.
fn find_end(how: &How, directory: &Path, last: &Segment) -> Result<Option<TornTail>, OpenError> {
    let promised = last.mark();
    if !end_is_there(last, &promised) {
        last.drop_index();
    }
    // Groups whose writer ended before its sync did count, so they must become durable before they are shown. What a
    // reader sees in a replica is durable elsewhere.
    let lazy = last.header.replica && !how.writable;
    let stop = last.catch_up(&mut |_| if lazy { Ok(()) } else { how.disk.sync(&last.file) })?;
    let mark = last.mark();
    if mark.next < promised.next {
        return Err(last.stopped(&stop, &mark).into());
    }
    let beyond = look_beyond(last, &stop, &mark)?;
    if beyond.used_to == mark.position || !how.writable {
        return Ok(None);
    }
    if last.header.replica {
        clear(how, last, &mark)?;
        return Ok(None);
    }
    cut(how, directory, last, &mark, &beyond, &stop).map(Some)
}

/// Drops the torn tail of a replica.
fn clear(how: &How, last: &Segment, mark: &Mark) -> Result<(), OpenError> {
    let cleared = how.disk.clear(&last.file, mark.position, last.header.bytes);
    cleared.map_err(|error| OpenError::io(&last.path, error))?;
    tracing::info!(offset = mark.next.0, segment = %last.path.display(), "the torn end of a replica was dropped");
    Ok(())
}

/// Looks behind the end; damage when that proves that the end should be later.
///
/// Beside a live writer a group may have been written while the scan passed its place: then it is complete by the
/// time that a later group is seen, so a second look tells.
fn look_beyond(last: &Segment, stop: &Stop, mark: &Mark) -> Result<Beyond, SegmentError> {
    let beyond = scan::beyond(last.source(), mark).map_err(|error| last.io(error))?;
    if beyond.durable_upto <= mark.next {
        return Ok(beyond);
    }
    let again = scan::scan(last.source(), mark.clone(), &mut |_| ()).map_err(|error| last.io(error))?;
    if again.mark.next >= beyond.durable_upto {
        return Ok(Beyond { used_to: mark.position, ..beyond });
    }
    let (stop, mark) = if again.mark == *mark { (stop, mark) } else { (&again.stop, &again.mark) };
    let mut damage = last.stopped(stop, mark);
    damage.reason = format!("{}; records up to {} were durable", damage.reason, beyond.durable_upto);
    Err(SegmentError::Damaged(damage))
}

/// Whether the last record that the index file covers is where it says.
fn end_is_there(segment: &Segment, mark: &Mark) -> bool {
    let Some(last) = mark.next.0.checked_sub(1).filter(|last| *last >= segment.header.base.0) else {
        return true;
    };
    let (mut bytes, mut records) = (0, Vec::new());
    let read = segment.read(Offset(last), 0, &mut bytes, &mut records);
    read.is_ok() && (records.len() == 1 || segment.is_ignored(Offset(last)).unwrap_or(false))
}

/// Keeps the torn tail aside, then zeros it: no byte of it can be taken for a record later.
fn cut(
    how: &How,
    directory: &Path,
    last: &Segment,
    mark: &Mark,
    beyond: &Beyond,
    stop: &Stop,
) -> Result<TornTail, OpenError> {
    let kept = torn_path(directory, mark.next);
    let bytes = beyond.used_to - mark.position;
    let tail =
        read_tail(&last.file, mark.position, bytes).map_err(|error| OpenError::io(&last.path, error))?;
    how.disk.write_file(&kept, &[&tail]).map_err(|error| OpenError::io(&kept, error))?;
    let zeroed = how.disk.zero(&last.file, mark.position, beyond.used_to);
    zeroed.map_err(|error| OpenError::io(&last.path, error))?;
    let torn = TornTail {
        shard: last.header.shard,
        offset: mark.next,
        segment: last.path.clone(),
        byte: mark.position,
        bytes,
        kept,
        reason: last.stopped(stop, mark).reason,
    };
    let (kept, segment) = (torn.kept.display(), torn.segment.display());
    tracing::warn!(offset = mark.next.0, byte = mark.position, bytes, %segment, %kept, reason = torn.reason,
        "the end of the log was half written when its writer ended; it was never acknowledged and was cut");
    Ok(torn)
}

fn read_tail(file: &File, at: u64, bytes: u64) -> std::io::Result<Vec<u8>> {
    let mut tail = vec![0; bytes as usize];
    file.read_exact_at(&mut tail, at)?;
    Ok(tail)
}
