//! The contract suite of the log port, on the file log.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where something is wrong"
)]

use annals_core::{LogId, Timestamp};
use annals_file::{FileLog, Settings};
use annals_log::contract::{TestLog, check};
use annals_log::{Identity, Log};
use tempfile::TempDir;

struct OnFiles {
    directory: TempDir,
    settings: Settings,
    log: Option<FileLog>,
}

impl OnFiles {
    fn new(shards: u32, settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity {
            log_id: LogId(uuid::Uuid::from_u128(u128::from(shards) + 7)),
            context: "contract".to_owned(),
            shards,
            created_at: Timestamp::from_microsecond(1_700_000_000_000_000).unwrap(),
        };
        let log = FileLog::create(directory.path(), identity, settings.clone()).unwrap();
        Self { directory, settings, log: Some(log) }
    }

    fn open(&mut self) {
        self.log = Some(FileLog::open(self.directory.path(), self.settings.clone()).unwrap());
    }
}

impl TestLog for OnFiles {
    fn log(&self) -> &dyn Log {
        self.log.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.log.take().unwrap().close().unwrap();
        self.open();
    }

    fn crash(&mut self) {
        self.log.take().unwrap().abandon();
        self.open();
    }
}

#[test]
fn one_shard() {
    check(1, &|shards| Box::new(OnFiles::new(shards, Settings::default())));
}

#[test]
fn tiny_segments() {
    let settings = Settings { segment_bytes_min: 4096, segment_bytes_max: 8192 };
    check(1, &|shards| Box::new(OnFiles::new(shards, settings.clone())));
}

#[test]
fn eight_shards() {
    let settings = Settings { segment_bytes_min: 64 << 10, segment_bytes_max: 1 << 20 };
    check(8, &|shards| Box::new(OnFiles::new(shards, settings.clone())));
}
