//! What a power loss or a bad disk does to a replica: cut where nothing was promised, named where it was.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use annals_core::Offset;
use annals_file::{Arrival, OpenError, Replica, verify};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::kill::{DIRECTORY, kill_after, start};
use super::replica::{History, create_replica, genesis, open_replica};
use super::support::{ZERO, files, identity, indexes, restore, segments, small, snapshot};

fn history() -> History {
    History::new(17, &genesis(&identity(1))[0])
}

fn used(segment: &Path) -> usize {
    std::fs::read(segment).unwrap().iter().rposition(|byte| *byte != 0).unwrap() + 1
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// The end of a replica whose process ended without a sync: cut anywhere, it comes back shorter and goes on.
#[test]
fn a_torn_tail_is_cut_and_fed_again() {
    let directory = tempfile::tempdir().unwrap();
    let replica = create_replica(directory.path(), 1);
    let mut history = history();
    history.run(replica.shard(ZERO).unwrap(), 10);
    assert_eq!(replica.shard(ZERO).unwrap().sync().unwrap(), history.next());
    let synced = history.next().0 as usize;
    let segment = segments(directory.path(), 0).pop().unwrap();
    let from = used(&segment);
    let mut arrivals = Vec::new();
    for _ in 0..8 {
        arrivals.push(history.arrival());
        replica.shard(ZERO).unwrap().append(&arrivals[arrivals.len() - 1..]).unwrap();
    }
    replica.abandon();
    let whole = snapshot(directory.path());
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let end = used(&segment);
    for at in (from..end).step_by(7) {
        restore(directory.path(), &whole);
        let garbage: bool = random.random();
        change(&segment, |bytes| {
            if garbage {
                bytes[at] ^= random.random_range(1..=255);
                random.fill(&mut bytes[at + 1..end + 40]);
            } else {
                bytes[at..].fill(0);
            }
        });
        let case = format!("byte {at}, garbage {garbage}");
        let replica = Replica::open(directory.path(), small()).unwrap_or_else(|e| panic!("{case}: {e}"));
        let shard = replica.shard(ZERO).unwrap();
        let next = shard.next().0 as usize;
        assert!((synced..=history.arrived.len()).contains(&next), "{case}: {next} are left");
        shard.append(&arrivals[next - synced..]).unwrap();
        if at % 5 == 0 {
            history.check(shard, &case);
        }
        replica.abandon();
        assert_eq!(files(&directory.path().join("shard-000"), "").len(), 1, "{case}: nothing is kept aside");
        if at % 11 == 0 {
            let found = verify(directory.path()).unwrap();
            assert_eq!(
                (&found.shards[0].damage[..], found.shards[0].unfinished_bytes),
                (&[][..], 0),
                "{case}"
            );
        }
    }
}

#[test]
#[ignore = "the process that another test starts and kills"]
fn child() {
    let directory = std::env::var(DIRECTORY).expect("started by another test");
    let replica = open_replica(Path::new(&directory));
    let shard = replica.shard(ZERO).unwrap();
    let mut history = history();
    while history.next() < shard.next() {
        history.arrival();
    }
    loop {
        let batch: Vec<Arrival> = (0..3).map(|_| history.arrival()).collect();
        shard.append(&batch).unwrap();
        std::io::stdout().lock().write_all(format!("ack {}\n", shard.next()).as_bytes()).unwrap();
    }
}

/// What an append returned for is there after kill -9, although nobody synced it.
#[test]
fn a_killed_process_loses_nothing_it_appended() {
    let directory = tempfile::tempdir().unwrap();
    create_replica(directory.path(), 1).close().unwrap();
    let mut history = history();
    for life in 0..6 {
        let mut child = start(directory.path(), "replica_damage::child");
        let acknowledged = kill_after(&mut child, Duration::from_millis(150));
        let replica = open_replica(directory.path());
        let shard = replica.shard(ZERO).unwrap();
        // The last line may be cut short by the kill.
        let complete = acknowledged.iter().rev().nth(1).map_or(1, |line| line.parse::<u64>().unwrap());
        assert!(shard.next().0 >= complete, "life {life}: {} of {complete} are there", shard.next());
        while history.next() < shard.next() {
            history.arrival();
        }
        history.check(shard, &format!("life {life}"));
        replica.abandon();
    }
    assert!(history.next() > Offset(100), "the children hardly wrote");
}

/// A closed replica says that all of it was durable: whatever is changed is named, and nothing is repaired.
#[test]
fn a_flipped_bit_below_what_was_durable_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let replica = create_replica(directory.path(), 1);
    let mut history = history();
    history.run(replica.shard(ZERO).unwrap(), 12);
    replica.close().unwrap();
    let segment = segments(directory.path(), 0).pop().unwrap();
    let end = used(&segment) - SEAL_BYTES;
    for indexed in [true, false] {
        if !indexed {
            indexes(directory.path(), 0).into_iter().for_each(|path| std::fs::remove_file(path).unwrap());
        }
        let whole = snapshot(directory.path());
        for at in (0..end).step_by(29) {
            restore_all(directory.path(), &whole);
            change(&segment, |bytes| bytes[at] ^= 4);
            let before = std::fs::read(&segment).unwrap();
            let case = format!("byte {at}, indexed {indexed}");
            match Replica::open(directory.path(), small()) {
                Err(OpenError::Damaged(damage)) => assert_eq!(damage.segment, segment, "{case}"),
                Err(OpenError::UnknownVersion { .. }) => continue,
                Err(error) => panic!("{case}: {error}"),
                // The index file covers it: it is found where it is read, or was no part of a record.
                Ok(replica) => {
                    assert!(indexed, "{case}: opening reads everything");
                    replica.abandon();
                }
            }
            assert!(!verify(directory.path()).unwrap().is_sound(), "{case}");
            assert_eq!(std::fs::read(&segment).unwrap(), before, "{case}: nothing was repaired");
            Replica::discard(directory.path()).unwrap();
            assert_eq!(segments_left(directory.path()), 0, "{case}");
        }
        restore_all(directory.path(), &whole);
    }
}

/// Where `sync` was called, the groups behind it say so.
#[test]
fn damage_below_a_sync_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let replica = create_replica(directory.path(), 1);
    let mut history = history();
    let shard = replica.shard(ZERO).unwrap();
    history.run(shard, 10);
    let segment = segments(directory.path(), 0).pop().unwrap();
    let synced = used(&segment);
    shard.sync().unwrap();
    history.run(shard, 1);
    replica.abandon();
    change(&segment, |bytes| bytes[synced - 1] ^= 1);
    let error = Replica::open(directory.path(), small()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
    assert!(error.to_string().contains("were durable"), "{error}");
    Replica::discard(directory.path()).unwrap();
    let replica = create_replica(directory.path(), 1);
    assert_eq!(replica.shard(ZERO).unwrap().next(), Offset(1));
}

/// Damaged in any way, a replica is made again: open says so, discard takes what is there.
#[test]
fn a_mutilated_replica_can_be_discarded() {
    let directory = tempfile::tempdir().unwrap();
    let replica = create_replica(directory.path(), 2);
    for shard in replica.shards() {
        History::new(9, &genesis(&identity(2))[shard.id().0 as usize]).run(shard, 200);
    }
    replica.close().unwrap();
    let all = segments(directory.path(), 1);
    assert!(all.len() > 3);
    std::fs::remove_file(&all[1]).unwrap();
    change(&all[0], |bytes| bytes[20] ^= 1);
    std::fs::write(&all[2], b"").unwrap();
    let error = Replica::open(directory.path(), small()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
    Replica::discard(directory.path()).unwrap();
    assert_eq!(segments_left(directory.path()), 0);
    create_replica(directory.path(), 2);
}

const SEAL_BYTES: usize = 32;

fn segments_left(directory: &Path) -> usize {
    snapshot(directory).iter().filter(|(path, _)| path.extension().is_some()).count()
}

/// As [`restore`], where folders are missing too.
fn restore_all(directory: &Path, files: &[(PathBuf, Vec<u8>)]) {
    std::fs::create_dir_all(directory.join("shard-000")).unwrap();
    restore(directory, files);
}
