//! Looking at a log: what it holds at a glance ([`FileLog::info`]), and reading and checking all of it
//! ([`verify`]).
//!
//! Invariant: nothing is changed. Damage ends neither the check of its segment nor that of the log: every place
//! is listed. It works on logs that are too damaged to open, and beside a live writer.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use annals_core::envelope::{Header, Record};
use annals_core::reader::{Ignored, Verdict};
use annals_core::{Epoch, Offset, ShardId};
use annals_log::ReadError;

use crate::collector::Collector;
use crate::directory::{index_path, list_log, list_shard, segment_path, shard_path};
use crate::error::{Damage, OpenError};
use crate::index_file::{IndexFile, Mark, Unusable};
use crate::log::FileLog;
use crate::scan::{self, Ended, Scanned, Stop};
use crate::segment::{Expect, Segment};

/// A shard at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardInfo {
    /// The shard.
    pub shard: ShardId,
    /// How many segments it has.
    pub segments: usize,
    /// The bytes of its segment files, the zeros to come included.
    pub segment_bytes: u64,
    /// The bytes of its segments that hold something.
    pub used_bytes: u64,
    /// The bytes of its index files.
    pub index_bytes: u64,
    /// The offset after its last record.
    pub end: Offset,
    /// The offset of its last claim.
    pub epoch: Option<Epoch>,
    /// Whether it was closed cleanly and not written to since.
    pub sealed: bool,
    /// What was cut from its end after crashes and kept.
    pub torn_files: Vec<PathBuf>,
}

/// What a check of a whole log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// One for each shard.
    pub shards: Vec<ShardVerification>,
}

/// What a check of a shard found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardVerification {
    /// The shard.
    pub shard: ShardId,
    /// How many segments were read.
    pub segments: usize,
    /// How many bytes of groups were read.
    pub bytes: u64,
    /// How many records are accepted.
    pub accepted: u64,
    /// How many records are ignored, by reason.
    pub ignored: BTreeMap<Ignored, u64>,
    /// How many streams have events.
    pub streams: u64,
    /// How many events they have.
    pub events: u64,
    /// The offset after the last record.
    pub end: Offset,
    /// The offset of the last claim.
    pub epoch: Option<Epoch>,
    /// Whether the shard was closed cleanly.
    pub sealed: bool,
    /// Bytes behind the end that a crash left, or that a live writer is writing; opening for writing cuts them.
    pub unfinished_bytes: u64,
    /// Every place that is not as it was written.
    pub damage: Vec<Damage>,
    /// Accepted records that do not continue their stream, or that are no envelope: the writer was wrong.
    pub broken: Vec<Damage>,
    /// Index files that are missing, or do not agree with their segment. They can be deleted and made again.
    pub index_problems: Vec<(PathBuf, String)>,
}

impl Verification {
    /// Whether all records are there and right. Problems of index files do not count.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.shards.iter().all(|shard| shard.damage.is_empty() && shard.broken.is_empty())
    }
}

/// Reads and checks the whole log in `directory`, which need not be in a state to be opened.
pub fn verify(directory: &Path) -> Result<Verification, OpenError> {
    let shards = list_log(directory).map_err(|error| OpenError::io(directory, error))?;
    if shards.is_empty() {
        let reason = "it has no folder shard-000".to_owned();
        return Err(OpenError::NotALog { directory: directory.to_owned(), reason });
    }
    let shards = shards.into_iter().map(|shard| verify_shard(directory, shard)).collect::<Result<_, _>>()?;
    Ok(Verification { shards })
}

impl FileLog {
    /// Reads and checks everything; see [`verify`].
    pub fn verify(&self) -> Result<Verification, OpenError> {
        verify(self.directory())
    }

    /// Each shard at a glance.
    pub fn info(&self) -> Result<Vec<ShardInfo>, OpenError> {
        self.views().into_iter().map(|view| self.shard_info(view.shard, &view.segments())).collect()
    }

    /// Makes all index files again from the segments.
    pub fn rebuild_index(&self) -> Result<(), ReadError> {
        if !self.is_writing() {
            let place = self.directory().display().to_string();
            return Err(ReadError::Unavailable {
                place,
                reason: "the log is open for reading only".to_owned(),
            });
        }
        for segment in self.views().into_iter().flat_map(|view| view.segments()) {
            segment.rebuild_index(self.disk())?;
        }
        Ok(())
    }

    fn shard_info(
        &self,
        shard: ShardId,
        segments: &[std::sync::Arc<Segment>],
    ) -> Result<ShardInfo, OpenError> {
        let path = shard_path(self.directory(), shard);
        let files = list_shard(&path).map_err(|error| OpenError::io(&path, error))?;
        let end = segments.last().map(|segment| segment.mark());
        Ok(ShardInfo {
            shard,
            segments: segments.len(),
            segment_bytes: segments.iter().map(|segment| segment.header.bytes).sum(),
            used_bytes: segments.iter().map(|segment| segment.mark().position).sum(),
            index_bytes: segments.iter().map(|segment| segment.index_bytes()).sum(),
            end: end.as_ref().map(|mark| mark.next).unwrap_or_default(),
            epoch: end.as_ref().and_then(|mark| mark.rule.epoch()),
            sealed: end.is_some_and(|mark| mark.sealed),
            torn_files: files.torn,
        })
    }
}

fn verify_shard(directory: &Path, shard: ShardId) -> Result<ShardVerification, OpenError> {
    let path = shard_path(directory, shard);
    let bases = list_shard(&path).map_err(|error| OpenError::io(&path, error))?.bases;
    let mut check = Check {
        found: ShardVerification { shard, ..Default::default() },
        versions: HashMap::new(),
        gap: false,
    };
    let (mut log_id, mut replica) = (None, None);
    let mut expected = Offset(0);
    for (number, base) in bases.iter().enumerate() {
        let file = segment_path(&path, *base);
        if *base != expected {
            check.damaged(missing(shard, &file, expected, *base));
        }
        let next_base = bases.get(number + 1).copied();
        expected = next_base.unwrap_or_default();
        match Segment::open(&file, &Expect { log_id, replica, shard, base: *base }, false) {
            Ok(segment) => {
                log_id = log_id.or(Some(segment.header.log_id));
                replica = replica.or(Some(segment.header.replica));
                expected = check.segment(&segment, next_base)?;
            }
            Err(OpenError::Damaged(damage)) => check.damaged(damage),
            Err(error) => return Err(error),
        }
    }
    if bases.is_empty() {
        check.damaged(missing(shard, &segment_path(&path, Offset(0)), Offset(0), Offset(0)));
    }
    check.found.streams = check.versions.values().filter(|version| **version > 0).count() as u64;
    Ok(check.found)
}

fn missing(shard: ShardId, segment: &Path, from: Offset, to: Offset) -> Damage {
    let reason = format!("the segments with the records from {from} on, before {to}, are missing");
    Damage { shard, segment: segment.to_owned(), offset: from, byte: 0, reason }
}

/// A check under way.
struct Check {
    found: ShardVerification,
    /// The number of events of each stream.
    versions: HashMap<String, u64>,
    /// Records are missing before this place, so a stream may go on at any version.
    gap: bool,
}

impl Check {
    fn damaged(&mut self, damage: Damage) {
        self.found.damage.push(damage);
        self.gap = true;
        self.versions.clear();
    }

    /// Checks a segment and returns the offset after its last record.
    fn segment(&mut self, segment: &Segment, next_base: Option<Offset>) -> Result<Offset, OpenError> {
        let mut collector = Collector::new(segment);
        let damage_before = self.found.damage.len();
        let mut ended =
            scan::scan(segment.source(), scan::start(&segment.header, segment.seed), &mut |scanned| {
                collector.take(scanned);
                self.record(segment, scanned);
            });
        loop {
            let Ended { mark, stop } = ended.map_err(|error| segment.io(error))?;
            let Some(group) = self.judge(segment, next_base, &stop, &mark)? else {
                self.finish(segment, &mark);
                if self.found.damage.len() == damage_before {
                    self.index(segment, collector, &mark);
                }
                return Ok(mark.next);
            };
            ended = scan::scan_behind_damage(segment.source(), group, &mut |scanned| {
                self.record(segment, scanned)
            });
        }
    }

    /// Whether a segment rightly ends here; else notes the damage and says where to go on.
    fn judge(
        &mut self,
        segment: &Segment,
        next_base: Option<Offset>,
        stop: &Stop,
        mark: &Mark,
    ) -> Result<Option<(u64, crate::format::GroupHeader)>, OpenError> {
        let beyond = scan::beyond(segment.source(), mark).map_err(|error| segment.io(error))?;
        let promised = next_base.unwrap_or(beyond.durable_upto).max(beyond.durable_upto);
        let indexed = IndexFile::open(&index_path(&segment.path), &segment.header, segment.seed);
        let promised = promised.max(indexed.map_or(Offset(0), |index| index.mark().next));
        if promised > mark.next {
            let again =
                scan::scan(segment.source(), mark.clone(), &mut |_| ()).map_err(|error| segment.io(error))?;
            if again.mark.next >= promised && next_base.is_none() {
                // A live writer went on meanwhile.
                return Ok(None);
            }
            self.damaged(segment.stopped(stop, mark));
            return Ok(beyond.group);
        }
        if next_base.is_some_and(|base| mark.next > base) {
            self.damaged(segment.damage(
                mark.next,
                mark.position,
                "the segment reaches beyond the next one's first offset",
            ));
        } else if next_base.is_none() {
            self.found.unfinished_bytes = beyond.used_to - mark.position;
        } else if beyond.used_to > mark.position {
            self.damaged(segment.damage(mark.next, mark.position, "there are bytes behind the last group"));
        }
        Ok(None)
    }

    fn finish(&mut self, segment: &Segment, mark: &Mark) {
        self.found.segments += 1;
        self.found.bytes += mark.position;
        self.found.end = mark.next;
        self.found.epoch = mark.rule.epoch().or(self.found.epoch);
        self.found.sealed = mark.sealed;
        tracing::debug!(segment = %segment.path.display(), "checked");
    }

    fn record(&mut self, segment: &Segment, scanned: &Scanned<'_>) {
        match scanned.verdict {
            Verdict::Ignored(reason) => *self.found.ignored.entry(reason).or_default() += 1,
            Verdict::Accepted => {
                self.found.accepted += 1;
                if matches!(scanned.header, Header::Record { .. }) {
                    self.envelope(segment, scanned);
                }
            }
        }
    }

    fn envelope(&mut self, segment: &Segment, scanned: &Scanned<'_>) {
        let broken = |reason: String| segment.damage(scanned.offset, scanned.position, reason);
        let record = match Record::from_bytes(scanned.envelope()) {
            Ok(record) => record,
            Err(error) => return self.found.broken.push(broken(error.to_string())),
        };
        for slice in record.slices.iter().filter(|slice| !slice.events.is_empty()) {
            self.found.events += slice.events.len() as u64;
            let known = self.versions.get(&slice.stream).copied();
            let version = known.unwrap_or(if self.gap { slice.expected_version } else { 0 });
            if version != slice.expected_version {
                let (stream, expected) = (&slice.stream, slice.expected_version);
                self.found.broken.push(broken(format!(
                    "the record expects version {expected} of stream {stream}, which has {version}"
                )));
            }
            self.versions.insert(slice.stream.clone(), slice.next_version());
        }
    }

    /// Compares the index file with what the segment says.
    fn index(&mut self, segment: &Segment, collector: Collector<'_>, mark: &Mark) {
        let path = index_path(&segment.path);
        if collector.newer.is_some() {
            // Its records are among the broken ones already, and its terms are not known.
            return;
        }
        let mut problem = |reason: &str| self.found.index_problems.push((path.clone(), reason.to_owned()));
        let index = match IndexFile::open(&path, &segment.header, segment.seed) {
            Ok(index) => index,
            Err(Unusable::Missing) => return problem("there is none"),
            Err(Unusable::Stale) => return problem("it belongs to another segment or format version"),
            Err(Unusable::Damaged) => return problem("it is damaged"),
        };
        let Ok(contents) = index.contents() else { return problem("it is damaged") };
        let covered = index.records();
        let additions = collector.additions;
        let mut entries: Vec<_> =
            additions.entries.into_iter().map(|(term, record)| (term.0, record)).collect();
        entries.retain(|(_, record)| *record < covered);
        entries.sort_unstable();
        let same = additions.positions.starts_with(&contents.positions) && entries == contents.entries;
        if !same || contents.mark.position > mark.position {
            problem("it does not agree with its segment");
        }
    }
}
