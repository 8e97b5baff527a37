//! The journal as a replica holds it: what is in it, and whether every stream is whole.

use std::collections::BTreeMap;
use std::path::Path;

use annals_core::envelope::Header;
use annals_core::{Offset, ShardId};
use annals_file::FileLog;
use annals_log::Log as _;
use serde_json::Value;

/// What a journal holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Contents {
    pub claims: u64,
    /// Records of commands and sagas.
    pub records: u64,
    /// Records that no reader accepts: former owners wrote them.
    pub ignored: u64,
}

impl Contents {
    /// Counts what is in a replica.
    pub fn of(replica: &Path) -> Result<Self, String> {
        let log = FileLog::open_read_only(replica).map_err(|error| error.to_string())?;
        let mut contents = Self::default();
        for shard in (0..log.identity().shards).map(ShardId) {
            let (mut next, mut accepted) = (Offset(0), 0);
            while next < log.end(shard) {
                let chunk = log.read(shard, next, 1 << 20).map_err(|error| error.to_string())?;
                let count = |wanted: fn(&Header) -> bool| {
                    chunk.records.iter().filter(|raw| wanted(&raw.header)).count() as u64
                };
                contents.claims += count(|header| matches!(header, Header::Claim));
                contents.records += count(|header| matches!(header, Header::Record { .. }));
                accepted += count(|_| true);
                next = chunk.next;
            }
            contents.ignored += next.0 - accepted;
        }
        Ok(contents)
    }
}

/// Every stream, those of sagas too, has its versions 1 to n in order; `events` is what `annals events` prints.
pub fn check_versions(events: &str) -> Result<(), String> {
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
        let stream = event["stream"].as_str().ok_or_else(|| format!("an event without a stream: {line}"))?;
        let last = versions.entry(stream.to_owned()).or_default();
        *last += 1;
        if event["version"] != *last {
            return Err(format!("{stream} must have version {last} next: {line}"));
        }
    }
    Ok(())
}
