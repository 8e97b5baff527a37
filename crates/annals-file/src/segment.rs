//! One segment file with its index: reading records and finding terms in it.
//!
//! Invariant: what it shows is durable: the writer adds records to the index only after their sync. (In a replica, what
//! was appended is durable elsewhere.) An index file that turns out to be damaged while it is used is replaced by one
//! in memory, made from the segment.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use annals_core::index::Term;
use annals_core::{LogId, Offset, ShardId};
use annals_log::RawRecord;
use bytes::{Buf as _, Bytes};
use parking_lot::RwLock;

use crate::collector::{Additions, Collector};
use crate::directory::index_path;
use crate::disk::Disk;
use crate::error::{Damage, OpenError, SegmentError};
use crate::format::{HeaderProblem, SEGMENT_HEADER_BYTES, SegmentHeader, frame};
use crate::index_file::{self, Contents, IndexFile, Mark, split};
use crate::mapped::{DurableBytes, PageDamaged};
use crate::memory_index::MemoryIndex;
use crate::scan::{self, Scanned, Source, Stop};

/// The most bytes that are read in one go, unless one record is larger.
const READ_BYTES_MAX: u64 = 1 << 20;

/// A segment of a shard.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    pub(crate) seed: u32,
    pub(crate) file: File,
    durable: DurableBytes,
    index: RwLock<Index>,
}

/// The index: a file for the first records, memory for the others.
#[derive(Debug)]
struct Index {
    file: Option<IndexFile>,
    memory: MemoryIndex,
    /// The end of the durable records.
    mark: Mark,
}

impl Segment {
    /// A segment whose file is not in place yet, without records.
    pub(crate) fn new(path: PathBuf, file: File, header: SegmentHeader) -> Self {
        let (_, seed) = header.encode();
        let index = Index { file: None, memory: MemoryIndex::default(), mark: scan::start(&header, seed) };
        let durable = DurableBytes::new(index.mark.position);
        Self { path, header, seed, file, durable, index: RwLock::new(index) }
    }

    /// Opens a segment file and checks its header; takes its index file into use if that is good for something.
    pub(crate) fn open(path: &Path, expect: &Expect, writable: bool) -> Result<Self, OpenError> {
        let io = |error| OpenError::io(path, error);
        let file = OpenOptions::new().read(true).write(writable).open(path).map_err(io)?;
        let damage = |reason: &str| Damage {
            shard: expect.shard,
            segment: path.to_owned(),
            offset: expect.base,
            byte: 0,
            reason: reason.to_owned(),
        };
        let (header, seed) = read_header(&file).map_err(io)?.map_err(|problem| match problem {
            HeaderProblem::Damaged(reason) => damage(reason).into(),
            HeaderProblem::Unknown(found) => OpenError::unknown(path, found),
        })?;
        if let Err(reason) = expect.matches(&header) {
            return Err(damage(reason).into());
        }
        let length = file.metadata().map_err(io)?.len();
        if length != header.bytes {
            let reason = format!("the file has {length} bytes, it was made with {}", header.bytes);
            return Err(Damage { byte: length, ..damage(&reason) }.into());
        }
        let index = Index::load(path, &header, seed);
        let durable = DurableBytes::new(index.mark.position);
        Ok(Self { path: path.to_owned(), header, seed, file, durable, index: RwLock::new(index) })
    }

    /// The end of its durable records.
    pub(crate) fn mark(&self) -> Mark {
        self.index.read().mark.clone()
    }

    /// Whether an index file covers all its records.
    pub(crate) fn is_indexed(&self) -> bool {
        let index = self.index.read();
        index.file.as_ref().is_some_and(|file| file.mark() == &index.mark)
    }

    /// The end of what its index file covers, which was durable when that was written.
    pub(crate) fn promised(&self) -> Offset {
        self.index.read().file.as_ref().map_or(Offset(0), |file| file.mark().next)
    }

    /// The bytes of its index file.
    pub(crate) fn index_bytes(&self) -> u64 {
        self.index.read().file.as_ref().map_or(0, IndexFile::bytes)
    }

    /// Forgets its index file, so that [`Segment::catch_up`] reads everything.
    pub(crate) fn drop_index(&self) {
        let mut index = self.index.write();
        let mark = scan::start(&self.header, self.seed);
        self.durable.set_end(mark.position);
        *index = Index { file: None, memory: MemoryIndex::default(), mark };
    }

    /// Adds records that became durable.
    pub(crate) fn publish(&self, additions: &Additions, mark: Mark) {
        let mut index = self.index.write();
        self.durable.set_end(mark.position);
        index.memory.extend_positions(&additions.positions);
        for (term, record) in &additions.entries {
            index.memory.add(*term, *record);
        }
        index.mark = mark;
    }

    /// Scans from the end of the records known so far and adds what is there; says why it ended.
    ///
    /// `visible` is called with the new end before the records are shown.
    pub(crate) fn catch_up(
        &self,
        visible: &mut dyn FnMut(&Mark) -> io::Result<()>,
    ) -> Result<Stop, SegmentError> {
        let from = self.mark();
        let mut collector = Collector::new(self);
        let ended = scan::scan(self.source(), from.clone(), &mut |scanned| collector.take(scanned));
        let ended = ended.map_err(|error| self.io(error))?;
        if let Some(newer) = collector.newer {
            return Err(SegmentError::Newer(newer));
        }
        if ended.mark != from {
            visible(&ended.mark).map_err(|error| self.io(error))?;
            self.publish(&collector.additions, ended.mark);
        }
        Ok(ended.stop)
    }

    /// Appends to `records` the accepted records from `from` on until `bytes` reaches `bytes_max`, and returns
    /// the offset to go on from.
    pub(crate) fn read(
        &self,
        from: Offset,
        bytes_max: usize,
        bytes: &mut usize,
        records: &mut Vec<RawRecord>,
    ) -> Result<Offset, SegmentError> {
        let mut next = from;
        while records.is_empty() || *bytes < bytes_max {
            let left = bytes_max.saturating_sub(*bytes) as u64;
            let plan = self.with_index(|index| index.plan(self.record(next), left.min(READ_BYTES_MAX)))?;
            next = Offset(self.header.base.0 + u64::from(plan.next));
            if plan.frames.is_empty() {
                break;
            }
            self.read_planned(&plan, bytes_max, bytes, records, &mut next)?;
        }
        Ok(next)
    }

    /// The accepted record at `offset`, if that is here.
    pub(crate) fn get(&self, offset: Offset) -> Result<Option<RawRecord>, SegmentError> {
        let record = self.record(offset);
        match self.with_index(|index| index.extent(record))? {
            Some((false, start, end)) => self.load(offset, start, end).map(Some),
            _ => Ok(None),
        }
    }

    /// The record at `offset`, if that is here, also an ignored one.
    pub(crate) fn get_any(&self, offset: Offset) -> Result<Option<RawRecord>, SegmentError> {
        let record = self.record(offset);
        match self.with_index(|index| index.extent(record))? {
            Some((_, start, end)) => self.load(offset, start, end).map(Some),
            None => Ok(None),
        }
    }

    fn load(&self, offset: Offset, start: u64, end: u64) -> Result<RawRecord, SegmentError> {
        let mut block = self.bytes(start, end)?;
        let frame = frame(&block, self.seed, offset)
            .map_err(|reason| SegmentError::Damaged(self.damage(offset, start, reason)))?;
        // As a boxed slice, the envelope is what remains of the one allocation; cutting `Bytes` would make another.
        block.truncate(frame.bytes);
        let mut envelope = Bytes::from(block.into_boxed_slice());
        envelope.advance(frame.envelope_at);
        Ok(RawRecord { offset, header: frame.header, envelope })
    }

    /// Whether the record at `offset` is here and ignored.
    pub(crate) fn is_ignored(&self, offset: Offset) -> Result<bool, SegmentError> {
        let record = self.record(offset);
        let position = self.with_index(|index| index.position(record))?;
        Ok(position.is_some_and(|position| split(position).0))
    }

    /// Adds ignored offsets from `from` on until there are `limit`.
    pub(crate) fn ignored(
        &self,
        from: Offset,
        limit: usize,
        out: &mut Vec<Offset>,
    ) -> Result<(), SegmentError> {
        let first = self.record(from);
        let records = self.with_index(|index| index.ignored(first, limit.saturating_sub(out.len())))?;
        out.extend(records.into_iter().map(|record| self.offset(record)));
        Ok(())
    }

    /// Adds at most `limit` offsets from `from` on that carry `term`.
    pub(crate) fn find(
        &self,
        term: Term,
        from: Offset,
        limit: usize,
        out: &mut Vec<Offset>,
    ) -> Result<(), SegmentError> {
        let first = self.record(from);
        let records = self.with_index(|index| index.find(term, first, limit))?;
        out.extend(records.into_iter().map(|record| self.offset(record)));
        Ok(())
    }

    /// The last offset that carries `term`.
    pub(crate) fn find_last(&self, term: Term) -> Result<Option<Offset>, SegmentError> {
        let record = self.with_index(|index| index.find_last(term))?;
        Ok(record.map(|record| self.offset(record)))
    }

    /// Writes an index file for all durable records and takes it into use.
    pub(crate) fn write_index(&self, disk: &Disk) -> Result<(), SegmentError> {
        let contents = self.with_index(Index::contents)?;
        let path = index_path(&self.path);
        let written = index_file::write(disk, &path, &self.header, self.seed, contents);
        written.map_err(|error| SegmentError::Io(path, error))?;
        self.take_index_file();
        Ok(())
    }

    /// Takes an index file into use that covers all records known here; `false` when there is none.
    pub(crate) fn take_index_file(&self) -> bool {
        let Ok(file) = IndexFile::open(&index_path(&self.path), &self.header, self.seed) else {
            return false;
        };
        let mut index = self.index.write();
        if file.mark() != &index.mark {
            return false;
        }
        index.memory = MemoryIndex::from_record(file.records());
        index.file = Some(file);
        true
    }

    /// Makes the whole index again from the segment.
    pub(crate) fn rebuild_index(&self, disk: &Disk) -> Result<(), SegmentError> {
        self.rebuild_in_memory()?;
        self.write_index(disk)
    }

    pub(crate) fn source(&self) -> Source<'_> {
        Source { file: &self.file, header: &self.header, seed: self.seed }
    }

    pub(crate) fn damage(&self, offset: Offset, byte: u64, reason: impl Into<String>) -> Damage {
        Damage { shard: self.header.shard, segment: self.path.clone(), offset, byte, reason: reason.into() }
    }

    pub(crate) fn io(&self, error: io::Error) -> SegmentError {
        SegmentError::Io(self.path.clone(), error)
    }

    /// The durable bytes from `start` to `end`: mapped ones, or else those of the file, which names what is wrong.
    fn bytes(&self, start: u64, end: u64) -> Result<Vec<u8>, SegmentError> {
        match self.durable.copy(&self.file, self.header.bytes, start..end) {
            Some(bytes) => Ok(bytes),
            None => self.read_bytes(start, end),
        }
    }

    fn read_bytes(&self, start: u64, end: u64) -> Result<Vec<u8>, SegmentError> {
        let length = end.saturating_sub(start) as usize;
        // Not zeroed first: for a block of this size that costs as much as reading it.
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = start + bytes.len() as u64;
            match rustix::io::pread(&self.file, rustix::buffer::spare_capacity(&mut bytes), at) {
                Ok(0) => return Err(self.io(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(self.io(error.into())),
            }
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    fn read_planned(
        &self,
        plan: &Plan,
        bytes_max: usize,
        bytes: &mut usize,
        records: &mut Vec<RawRecord>,
        next: &mut Offset,
    ) -> Result<(), SegmentError> {
        let start = plan.frames.first().map_or(0, |(_, position)| *position);
        let block = Bytes::from(self.read_bytes(start, plan.end)?);
        for (record, position) in &plan.frames {
            let offset = self.offset(*record);
            if !records.is_empty() && *bytes >= bytes_max {
                *next = offset;
                break;
            }
            let at = (position - start) as usize;
            let frame = frame(block.get(at..).unwrap_or_default(), self.seed, offset)
                .map_err(|reason| SegmentError::Damaged(self.damage(offset, *position, reason)))?;
            let envelope = block.slice(at + frame.envelope_at..at + frame.bytes);
            *bytes += envelope.len();
            records.push(RawRecord { offset, header: frame.header, envelope });
        }
        Ok(())
    }

    /// Uses the index; where its file is damaged, makes it again in memory first.
    fn with_index<T>(&self, get: impl Fn(&Index) -> Result<T, PageDamaged>) -> Result<T, SegmentError> {
        if let Ok(found) = get(&self.index.read()) {
            return Ok(found);
        }
        tracing::warn!(segment = %self.path.display(), "the index file is damaged and made again from the segment");
        self.rebuild_in_memory()?;
        get(&self.index.read()).map_err(|PageDamaged| {
            SegmentError::Damaged(self.damage(self.header.base, 0, "its index cannot be made"))
        })
    }

    /// Scans the records that are known here into a new index in memory.
    fn rebuild_in_memory(&self) -> Result<(), SegmentError> {
        let upto = self.mark();
        let mut collector = Collector::new(self);
        let mut visit = |scanned: &Scanned<'_>| {
            if scanned.offset < upto.next {
                collector.take(scanned);
            }
        };
        let ended = scan::scan(self.source(), scan::start(&self.header, self.seed), &mut visit);
        let ended = ended.map_err(|error| self.io(error))?;
        if let Some(newer) = collector.newer {
            return Err(SegmentError::Newer(newer));
        }
        if ended.mark.next < upto.next {
            return Err(SegmentError::Damaged(self.stopped(&ended.stop, &ended.mark)));
        }
        let mut index = self.index.write();
        // Records may have come in meanwhile; they are in memory already, behind the file.
        let covered = index.file.as_ref().map_or(0, IndexFile::records);
        let later = std::mem::take(&mut index.memory);
        index.memory = merge(collector.additions, &later, covered);
        index.file = None;
        Ok(())
    }

    /// The damage that ended a scan before its time.
    pub(crate) fn stopped(&self, stop: &Stop, mark: &Mark) -> Damage {
        match stop {
            Stop::End => self.damage(mark.next, mark.position, "records are missing here"),
            Stop::Invalid { offset, byte, reason } => self.damage(*offset, *byte, *reason),
        }
    }

    /// The number of the record at `offset`, counted from the segment's first one.
    pub(crate) fn record(&self, offset: Offset) -> u32 {
        u32::try_from(offset.0.saturating_sub(self.header.base.0)).unwrap_or(u32::MAX)
    }

    fn offset(&self, record: u32) -> Offset {
        Offset(self.header.base.0 + u64::from(record))
    }
}

/// The records of `scanned` (all below some end), then those of `later` that are not among them.
fn merge(scanned: Additions, later: &MemoryIndex, covered: u32) -> MemoryIndex {
    let mut memory = MemoryIndex::default();
    memory.extend_positions(&scanned.positions);
    let known = memory.records();
    for (term, record) in scanned.entries {
        memory.add(term, record);
    }
    let rest = later.positions().get(known.saturating_sub(covered) as usize..).unwrap_or_default();
    memory.extend_positions(rest);
    let mut entries: Vec<_> = later.entries().filter(|(_, record)| *record >= known).collect();
    entries.sort_unstable_by_key(|(_, record)| *record);
    for (term, record) in entries {
        memory.add(Term(term), record);
    }
    memory
}

/// What a segment's header must say to belong where it lies.
#[derive(Clone, Debug)]
pub(crate) struct Expect {
    /// `None` while the log's id is not known.
    pub(crate) log_id: Option<LogId>,
    /// `None` where both logs and replicas will do.
    pub(crate) replica: Option<bool>,
    pub(crate) shard: ShardId,
    pub(crate) base: Offset,
}

/// Reads the header of a segment file, with the seed of all checksums in it.
pub(crate) fn read_header(file: &File) -> io::Result<Result<(SegmentHeader, u32), HeaderProblem>> {
    let mut head = [0; SEGMENT_HEADER_BYTES];
    let filled = scan::read_up_to(file, &mut head, 0)?;
    Ok(SegmentHeader::decode(head.get(..filled).unwrap_or_default()))
}

impl Expect {
    fn matches(&self, header: &SegmentHeader) -> Result<(), &'static str> {
        if self.log_id.is_some_and(|log_id| log_id != header.log_id) {
            return Err("the segment belongs to another log");
        }
        match self.replica {
            Some(true) if !header.replica => {
                return Err("the segment is one of a log, among those of a replica");
            }
            Some(false) if header.replica => {
                return Err("the segment is one of a replica, among those of a log");
            }
            _ => {}
        }
        if header.shard != self.shard {
            return Err("the segment belongs to another shard");
        }
        if header.base != self.base {
            return Err("the segment's header does not agree with its file name");
        }
        Ok(())
    }
}

/// Frames to read in one go.
struct Plan {
    /// (record, position), ascending.
    frames: Vec<(u32, u64)>,
    /// The byte after the last of them, or a little more.
    end: u64,
    /// The record after the last one looked at.
    next: u32,
}

impl Index {
    /// The index file's part, if there is a file; the rest comes from a scan.
    fn load(path: &Path, header: &SegmentHeader, seed: u32) -> Self {
        match IndexFile::open(&index_path(path), header, seed) {
            Ok(file) if file.mark().position <= header.bytes => {
                let (memory, mark) = (MemoryIndex::from_record(file.records()), file.mark().clone());
                Self { file: Some(file), memory, mark }
            }
            _ => Self { file: None, memory: MemoryIndex::default(), mark: scan::start(header, seed) },
        }
    }

    fn position(&self, record: u32) -> Result<Option<u32>, PageDamaged> {
        match &self.file {
            Some(file) if record < file.records() => file.position(record),
            _ => Ok(self.memory.position(record)),
        }
    }

    /// Accepted frames from `record` on, contiguous but for ignored ones, that span about `span` bytes.
    fn plan(&self, record: u32, span: u64) -> Result<Plan, PageDamaged> {
        let mut plan = Plan { frames: Vec::new(), end: 0, next: record };
        let mut current = self.position(record)?;
        while let Some(position) = current {
            let (ignored, start) = split(position);
            let following = self.position(plan.next + 1)?;
            let end = following.map_or(self.mark.position, |position| split(position).1);
            if !ignored {
                plan.frames.push((plan.next, start));
                plan.end = end;
            }
            plan.next += 1;
            current = following;
            let began = plan.frames.first().map_or(start, |(_, position)| *position);
            if !plan.frames.is_empty() && end - began >= span {
                break;
            }
        }
        Ok(plan)
    }

    /// Whether a record is ignored, where its frame begins, and where it ends or a little behind.
    fn extent(&self, record: u32) -> Result<Option<(bool, u64, u64)>, PageDamaged> {
        let Some((ignored, start)) = self.position(record)?.map(split) else { return Ok(None) };
        let following = self.position(record + 1)?;
        Ok(Some((ignored, start, following.map_or(self.mark.position, |position| split(position).1))))
    }

    /// At most `limit` ignored records from `from` on.
    fn ignored(&self, from: u32, limit: usize) -> Result<Vec<u32>, PageDamaged> {
        let (mut found, mut record) = (Vec::new(), from);
        while found.len() < limit
            && let Some(position) = self.position(record)?
        {
            if split(position).0 {
                found.push(record);
            }
            record += 1;
        }
        Ok(found)
    }

    fn find(&self, term: Term, from: u32, limit: usize) -> Result<Vec<u32>, PageDamaged> {
        let mut records = match &self.file {
            Some(file) if from < file.records() => file.find(term, from, limit)?,
            _ => Vec::new(),
        };
        let left = limit - records.len();
        records.extend(self.memory.find(term, from).iter().take(left));
        Ok(records)
    }

    fn find_last(&self, term: Term) -> Result<Option<u32>, PageDamaged> {
        if let Some(record) = self.memory.find(term, 0).last() {
            return Ok(Some(*record));
        }
        self.file.as_ref().map_or(Ok(None), |file| file.find_last(term))
    }

    fn contents(&self) -> Result<Contents, PageDamaged> {
        let mut contents = match &self.file {
            Some(file) => file.contents()?,
            None => Contents { positions: Vec::new(), entries: Vec::new(), mark: self.mark.clone() },
        };
        contents.positions.extend_from_slice(self.memory.positions());
        contents.entries.extend(self.memory.entries());
        contents.mark = self.mark.clone();
        Ok(contents)
    }
}
