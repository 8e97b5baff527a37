//! The memory log passes the suite that every log must pass.

use annals_core::{LogId, Timestamp};
use annals_log::contract::{TestLog, check};
use annals_log::{Identity, Log, MemoryLog};

struct Memory(MemoryLog);

impl TestLog for Memory {
    fn log(&self) -> &dyn Log {
        &self.0
    }

    fn reopen(&mut self) {
        self.0.crash();
    }

    fn crash(&mut self) {
        self.0.crash();
    }
}

fn make(shards: u32) -> Box<dyn TestLog> {
    let created_at = Timestamp::from_microsecond(1_600_000_000_000_003).unwrap_or_default();
    let log_id = LogId(uuid::Uuid::from_u128(0xa11a15));
    Box::new(Memory(MemoryLog::new(Identity { log_id, context: "bank".to_owned(), shards, created_at })))
}

#[test]
fn one_shard() {
    check(1, &make);
}

#[test]
fn eight_shards() {
    check(8, &make);
}
