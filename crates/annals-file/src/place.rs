//! Where a shard's files are, and how its segments and groups get there.
//!
//! Invariant: a segment has its name only once its header and its first group are durable. In a log, a group is
//! durable when it was written, and so is everything before it; in a replica, only what was synced besides.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use annals_core::envelope::Header;
use annals_core::reader::ReaderRule;
use annals_core::{LogId, Offset, ShardId};

use crate::directory::{next_path, segment_path};
use crate::disk::Disk;
use crate::format::{FRAME_HEADER_BYTES_MAX, GROUP_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::group::{Buffers, Group};
use crate::scan;
use crate::segment::Segment;
use crate::settings::Settings;

/// Seals are written into what is left of a segment.
pub(crate) const RESERVE_BYTES: u64 = GROUP_HEADER_BYTES as u64;

/// Where a shard is and how it writes.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) log_id: LogId,
    pub(crate) shard: ShardId,
    pub(crate) directory: PathBuf,
    pub(crate) replica: bool,
    pub(crate) settings: Settings,
    pub(crate) disk: Disk,
}

impl Place {
    /// Makes the shard's first segment with its genesis, durable when it returns.
    pub(crate) fn create(&self, genesis: &[u8]) -> io::Result<()> {
        let path = next_path(&self.directory, 0);
        let bytes = self.settings.segment_bytes(0, segment_bytes_for(record_bytes(genesis.len())));
        let file = match self.replica {
            true => self.disk.create_sparse(&path, bytes)?,
            false => self.disk.create_zeroed(&path, bytes, &AtomicBool::new(false))?,
        };
        let segment = Arc::new(self.segment(file, Offset(0), bytes, ReaderRule::default()));
        let mark = scan::start(&segment.header, segment.seed);
        let mut group = Group::new(segment, mark, Some(path), Buffers::default());
        group.push(Header::Genesis, genesis);
        self.write(&mut group)
    }

    /// A segment whose file is not in place yet.
    pub(crate) fn segment(&self, file: File, base: Offset, bytes: u64, rule: ReaderRule) -> Segment {
        let (log_id, shard, replica) = (self.log_id, self.shard, self.replica);
        let header = SegmentHeader { log_id, shard, base, bytes, rule, replica };
        Segment::new(segment_path(&self.directory, base), file, header)
    }

    /// Writes a group behind durable records and makes it durable, with its segment where that is new.
    pub(crate) fn write(&self, group: &mut Group) -> io::Result<()> {
        group.finish(group.first);
        self.disk.write_at(&group.segment.file, &group.bytes, group.start)?;
        self.disk.sync(&group.segment.file)?;
        if let Some(prepared) = &group.install {
            std::fs::rename(prepared, &group.segment.path)?;
            self.disk.sync_directory(&self.directory)?;
        }
        Ok(())
    }

    /// Writes a group behind records of which those below `durable_upto` are durable, and leaves it to the
    /// operating system.
    pub(crate) fn write_lazily(&self, group: &mut Group, durable_upto: Offset) -> io::Result<()> {
        group.finish(durable_upto);
        self.disk.write_at(&group.segment.file, &group.bytes, group.start)?;
        if let Some(prepared) = &group.install {
            self.disk.sync(&group.segment.file)?;
            std::fs::rename(prepared, &group.segment.path)?;
        }
        Ok(())
    }
}

/// The most bytes that a record with such an envelope takes in a group.
pub(crate) fn record_bytes(envelope_bytes: usize) -> u64 {
    (FRAME_HEADER_BYTES_MAX + envelope_bytes) as u64
}

/// The size of a segment that can hold a group of records that take so many bytes.
pub(crate) fn segment_bytes_for(records_bytes: u64) -> u64 {
    (SEGMENT_HEADER_BYTES + GROUP_HEADER_BYTES) as u64 + records_bytes + RESERVE_BYTES
}
