//! Random changes to the files of a closed log: each is noticed with its place, or harmless. None panics.

use std::path::PathBuf;

use annals_core::{Offset, ShardId};
use annals_file::{FileLog, OpenError, verify};
use annals_log::Log as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::support::{Feed, claim, create, find_all, read_all, restore, small, snapshot};

const SHARDS: [ShardId; 2] = [ShardId(0), ShardId(1)];

#[test]
fn no_change_goes_unnoticed_or_does_harm() {
    let seed = std::env::var("ANNALS_SEED").map_or(4_711, |seed| seed.parse().unwrap());
    let rounds = std::env::var("ANNALS_ROUNDS").map_or(400, |rounds| rounds.parse().unwrap());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let log = create(directory.path(), 2);
    for shard in SHARDS {
        let writer = claim(&log, shard);
        let mut feed = Feed::default();
        for n in 0..60 {
            feed.put(&*writer, &format!("thing/{}", n % 5), n * 17 % 700);
        }
    }
    let records = SHARDS.map(|shard| read_all(&log, shard));
    let found = SHARDS.map(|shard| find_all(&log, shard));
    log.close().unwrap();
    let good = snapshot(directory.path());
    let mut outcomes = [0; 3];
    for round in 0..rounds {
        restore(directory.path(), &good);
        let (path, what) = mutate(&good, &mut random);
        let case = format!("seed {seed} round {round}: {what} in {}", path.display());
        let sound = verify(directory.path()).map(|found| found.is_sound());
        let log = match FileLog::open(directory.path(), small()) {
            Ok(log) => log,
            Err(OpenError::Damaged(damage)) => {
                assert_eq!(damage.segment, path, "{case}: {damage}");
                assert!(!sound.unwrap(), "{case}: verify finds nothing, opening: {damage}");
                outcomes[0] += 1;
                continue;
            }
            Err(OpenError::UnknownVersion { path: named, .. }) => {
                assert_eq!(named, path, "{case}");
                continue;
            }
            Err(error) => panic!("{case}: {error}"),
        };
        let read: Vec<_> = SHARDS.iter().map(|shard| log.read(*shard, Offset(0), usize::MAX)).collect();
        if read.iter().any(Result::is_err) {
            let named = read
                .into_iter()
                .filter_map(Result::err)
                .all(|error| error.to_string().contains(path.to_str().unwrap()));
            assert!(named, "{case}: the damage is named with its place");
            assert!(!sound.unwrap(), "{case}: verify finds nothing, reading does");
            outcomes[1] += 1;
            continue;
        }
        assert_eq!(SHARDS.map(|shard| read_all(&log, shard)), records, "{case}: other records");
        assert_eq!(SHARDS.map(|shard| find_all(&log, shard)), found, "{case}: other records found");
        outcomes[2] += 1;
    }
    eprintln!("refused to open, refused to read, harmless: {outcomes:?}");
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

/// Changes one file: a bit, a run of bytes, zeros, a swap, or its length.
fn mutate(good: &[(PathBuf, Vec<u8>)], random: &mut ChaCha8Rng) -> (PathBuf, String) {
    let (path, bytes) = loop {
        let (path, bytes) = &good[random.random_range(0..good.len())];
        if !bytes.is_empty() {
            break (path.clone(), bytes);
        }
    };
    let mut bytes = bytes.clone();
    // Most of a segment's end is zeros; look where something is.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    let at = random.random_range(0..used);
    let run = random.random_range(1..200).min(used - at);
    let what = match random.random_range(0..5) {
        0 => {
            bytes[at] ^= 1 << random.random_range(0..8);
            format!("a bit of byte {at}")
        }
        1 => {
            random.fill(&mut bytes[at..at + run]);
            format!("{run} random bytes at {at}")
        }
        2 => {
            bytes[at..at + run].fill(0);
            format!("{run} zeros at {at}")
        }
        3 => {
            let from = random.random_range(0..used - run + 1);
            bytes.copy_within(from..from + run, at);
            format!("{run} bytes of {from} at {at}")
        }
        _ => {
            bytes.truncate(at);
            format!("cut to {at} bytes")
        }
    };
    std::fs::write(&path, bytes).unwrap();
    (path, what)
}
