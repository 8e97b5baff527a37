//! Logs to test with.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::envelope::{CommandPart, EventPart, FORMAT, Record, Slice};
use annals_core::index::{Term, terms};
use annals_core::{LogId, Offset, Seq, ShardId, Timestamp};
use annals_file::{FileLog, Settings};
use annals_log::{Claimant, Identity, Log, RawRecord, RecordKind, Writer};
use bytes::Bytes;

pub const ZERO: ShardId = ShardId(0);

pub fn small() -> Settings {
    Settings { segment_bytes_min: 16 << 10, segment_bytes_max: 16 << 10 }
}

pub fn identity(shards: u32) -> Identity {
    Identity {
        log_id: LogId(uuid::Uuid::from_u128(77)),
        context: "bank".to_owned(),
        shards,
        created_at: Timestamp::from_microsecond(1_700_000_000_000_000).unwrap(),
    }
}

pub fn create(directory: &Path, shards: u32) -> FileLog {
    FileLog::create(directory, identity(shards), small()).unwrap()
}

pub fn open(directory: &Path) -> FileLog {
    FileLog::open(directory, small()).unwrap()
}

pub fn claimant() -> Claimant {
    let claimed_at = Timestamp::from_microsecond(1_700_000_000_000_001).unwrap();
    Claimant { node: "node".into(), address: String::new(), nonce: [7; 16], claimed_at }
}

pub fn claim(log: &FileLog, shard: ShardId) -> Arc<dyn Writer> {
    log.claim(shard, &claimant()).unwrap()
}

/// Makes records whose expected versions fit.
#[derive(Default)]
pub struct Feed {
    versions: HashMap<String, u64>,
    count: u64,
}

impl Feed {
    /// Counts the events that a log holds already.
    pub fn resume(log: &FileLog, shard: ShardId) -> Self {
        let mut feed = Self::default();
        for record in read_all(log, shard) {
            let Ok(record) = Record::from_bytes(record.envelope) else { continue };
            for slice in &record.slices {
                feed.versions.insert(slice.stream.clone(), slice.next_version());
            }
        }
        feed
    }

    pub fn envelope(&mut self, stream: &str, payload_bytes: usize) -> Bytes {
        self.count += 1;
        let version = self.versions.entry(stream.to_owned()).or_default();
        let payload = Bytes::from(format!("\"{}\"", "x".repeat(payload_bytes)));
        let event = EventPart { name: "thing.done".into(), shape: 1, payload, tags: vec!["tag".into()] };
        let key = format!("{stream}-{version}");
        let record = Record {
            format: FORMAT,
            slices: vec![Slice { stream: stream.into(), expected_version: *version, events: vec![event] }],
            command: Some(CommandPart { key, digest: Bytes::new(), name: "do".into() }),
            ..Record::default()
        };
        *version += 1;
        record.to_bytes()
    }

    pub fn append(&mut self, writer: &dyn Writer, stream: &str, payload_bytes: usize) -> Seq {
        let envelope = self.envelope(stream, payload_bytes);
        let terms = terms(&Record::from_bytes(envelope.clone()).unwrap());
        writer.append(RecordKind::Record, envelope, terms).unwrap()
    }

    pub fn put(&mut self, writer: &dyn Writer, stream: &str, payload_bytes: usize) -> Offset {
        let seq = self.append(writer, stream, payload_bytes);
        writer.commit(seq).unwrap()
    }
}

pub fn read_all(log: &FileLog, shard: ShardId) -> Vec<RawRecord> {
    log.read(shard, Offset(0), usize::MAX).unwrap().records
}

/// All that can be found by the terms of `count` streams and of their records.
pub fn find_all(log: &FileLog, shard: ShardId) -> Vec<Vec<Offset>> {
    let mut found = Vec::new();
    for record in read_all(log, shard) {
        let Ok(record) = Record::from_bytes(record.envelope) else { continue };
        found.extend(terms(&record).into_iter().map(|t| log.find(shard, t, Offset(0), usize::MAX).unwrap()));
    }
    found.push(log.find(shard, Term::stream("not there"), Offset(0), 9).unwrap());
    found
}

pub fn segments(directory: &Path, shard: u32) -> Vec<PathBuf> {
    files(&directory.join(format!("shard-{shard:03}")), ".segment")
}

pub fn indexes(directory: &Path, shard: u32) -> Vec<PathBuf> {
    files(&directory.join(format!("shard-{shard:03}")), ".index")
}

pub fn files(directory: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.to_string_lossy().ends_with(suffix)).collect();
    paths.sort();
    paths
}

/// Every file below a directory with its bytes.
pub fn snapshot(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                all.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
    }
    all.sort();
    all
}

/// Makes the directory hold exactly these files again.
pub fn restore(directory: &Path, files: &[(PathBuf, Vec<u8>)]) {
    for (path, _) in snapshot(directory) {
        if files.binary_search_by(|file| file.0.cmp(&path)).is_err() {
            std::fs::remove_file(path).unwrap();
        }
    }
    for (path, bytes) in files {
        std::fs::write(path, bytes).unwrap();
    }
}

/// The bytes of groups in the last segment of a one-segment log.
pub fn used(log: &FileLog) -> usize {
    log.info().unwrap()[0].used_bytes as usize
}
