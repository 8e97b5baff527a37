//! A real process that is killed (SIGKILL) while it writes: what it said was committed is there.
//!
//! The page cache outlives a killed process, so this proves that nothing is acknowledged before it is written;
//! that it is synced by then is for other tests.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annals_core::ShardId;
use annals_core::envelope::Record;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::support::{Feed, claim, create, open, read_all};

pub const DIRECTORY: &str = "ANNALS_FILE_TEST_DIRECTORY";

/// Starts this test executable again to run only [`child`] on `directory`.
pub fn start_child(directory: &Path) -> Child {
    start(directory, "kill::child")
}

/// Starts this test executable again to run only `test` on `directory`.
pub fn start(directory: &Path, test: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "the process that other tests start and kill"]
fn child() {
    let directory = std::env::var(DIRECTORY).expect("started by another test");
    let log = open(Path::new(&directory));
    std::thread::scope(|scope| {
        for shard in [ShardId(0), ShardId(1)] {
            let writer = claim(&log, shard);
            let feed = Arc::new(Mutex::new(Feed::resume(&log, shard)));
            for thread in 0..3 {
                let (writer, feed) = (Arc::clone(&writer), Arc::clone(&feed));
                scope.spawn(move || {
                    let stream = format!("thing/{thread}");
                    for n in 0.. {
                        let seq = feed.lock().unwrap().append(&*writer, &stream, n * 37 % 700);
                        let offset = writer.commit(seq).unwrap();
                        let line = format!("ack {shard} {offset} {stream}\n");
                        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                    }
                });
            }
        }
    });
}

#[test]
fn nothing_acknowledged_is_lost() {
    let seed = std::env::var("ANNALS_SEED").map_or(20_261_121, |seed| seed.parse().unwrap());
    eprintln!("seed {seed} (set ANNALS_SEED for another)");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    create(directory.path(), 2).close().unwrap();
    let mut acknowledged_in_all = 0;
    for life in 0..12 {
        let mut child = start_child(directory.path());
        let acknowledged = kill_after(&mut child, Duration::from_millis(random.random_range(60..260)));
        acknowledged_in_all += acknowledged.len();
        check(directory.path(), &acknowledged, life);
    }
    assert!(acknowledged_in_all > 500, "the children hardly wrote: {acknowledged_in_all}");
}

/// Kills a child after a while; what it acknowledged until then.
pub fn kill_after(child: &mut Child, after: Duration) -> Vec<String> {
    let reader = BufReader::new(child.stdout.take().unwrap());
    let acknowledged = std::thread::spawn(move || {
        let lines = reader.lines().map_while(Result::ok);
        // The test runner writes lines of its own, also in front of the first one.
        lines.filter_map(|line| line.split_once("ack ").map(|(_, ack)| ack.to_owned())).collect()
    });
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    acknowledged.join().unwrap()
}

fn check(directory: &Path, acknowledged: &[String], life: usize) {
    let log = open(directory);
    let shards = [ShardId(0), ShardId(1)].map(|shard| read_all(&log, shard));
    for line in acknowledged {
        // The last line may be cut short by the kill.
        let [shard, offset, stream] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        let (Ok(shard), Ok(offset)) = (shard.parse::<usize>(), offset.parse::<usize>()) else { continue };
        let Some(record) = shards[shard].get(offset) else {
            panic!("life {life}: record {offset} of shard {shard} was acknowledged and is lost")
        };
        let record = Record::from_bytes(record.envelope.clone()).unwrap();
        assert!(record.slices[0].stream.starts_with(stream), "life {life}: {line} is another record");
    }
    let found = log.verify().unwrap();
    assert!(found.is_sound(), "life {life}: {found:?}");
}
