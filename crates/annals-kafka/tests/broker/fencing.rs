//! Nodes that contend for a shard, in one process, while nothing else goes wrong.

use std::sync::atomic::Ordering;
use std::time::Duration;

use annals_core::ShardId;
use annals_kafka::{KafkaLog, Settings};
use annals_services::shared_kafka;

use crate::load::{Load, check, counts, run_all, seed};
use crate::support::{open, prefix, settings, wait_for};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn contending_threads_agree_on_one_history() {
    let Some(kafka) = shared_kafka("fencing::contending_threads_agree_on_one_history") else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = |prefix: &str, name: &str| Settings {
        replica: directory.path().join(name),
        ..settings(kafka, prefix, directory.path())
    };
    let prefix = prefix();
    let logs = ["a", "b"].map(|name| open(at(&prefix, name), Some(2)).unwrap());
    let seed = seed(20_261_125);
    let mut loads = Vec::new();
    for (n, log) in (0..).zip(&logs) {
        for thread in 0..3 {
            // Two threads contend in shard 0, one writes to shard 1.
            let shard = ShardId(u32::from(thread == 2));
            loads.push((Load::new(format!("{n}.{thread}"), seed + n * 10 + thread), log, shard));
        }
    }
    let outcomes = run_all(&loads, |progress| {
        std::thread::sleep(Duration::from_secs(12));
        wait_for("a writer is fenced", PATIENCE, || progress.fenced.load(Ordering::Relaxed) > 0);
    });
    eprintln!("(written, fenced, unknown): {:?}", counts(&outcomes));
    let fresh = KafkaLog::follow(at(&prefix, "fresh"), "contract", None).unwrap();
    for shard in [ShardId(0), ShardId(1)] {
        let threads =
            loads.iter().filter(|(_, _, wanted)| *wanted == shard).map(|(load, _, _)| load.name.clone());
        let threads: Vec<_> = threads.map(|name| format!("{name}-")).collect();
        let own = outcomes.iter().filter(|(text, _)| threads.iter().any(|name| text.starts_with(name)));
        let own = own.map(|(text, told)| (text.clone(), told.clone())).collect();
        check(&own, &[&logs[0], &logs[1], &fresh], shard);
        assert!(counts(&own).0 > 500, "hardly anything was written to shard {shard}");
    }
}
