//! The local replica: another's, in use, damaged, deleted, ahead of the journal; and nodes that only follow.

use std::path::Path;

use annals_core::{Offset, ShardId};
use annals_file::FileLog;
use annals_kafka::{KafkaLog, OpenError, Settings};
use annals_log::{ClaimError, Log as _, ReadError};
use annals_services::shared_kafka;

use crate::hand::Hand;
use crate::support::{PROMPT, ZERO, claim, claimant, open, prefix, put, read_all, settings, texts};

#[test]
fn other_directories_are_left_alone() {
    let Some(kafka) = shared_kafka("replicas::other_directories_are_left_alone") else { return };
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("replica");
    let settings = settings(kafka, &prefix(), &place);
    let log = open(settings.clone(), None).unwrap();
    let error = open(settings.clone(), None).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Replica(annals_file::OpenError::InUse { .. })), "{error}");
    drop(log);

    let other = Settings { prefix: prefix(), ..settings.clone() };
    let error = open(other.clone(), None).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::OtherLog { .. }), "{error}");

    let file = directory.path().join("file");
    let made = || (annals_core::LogId(uuid::Uuid::new_v4()), annals_core::Timestamp::UNIX_EPOCH);
    FileLog::open_or_create(&file, "contract", None, annals_file::Settings::default(), made).unwrap();
    let error = open(Settings { replica: file, ..settings.clone() }, None).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Replica(annals_file::OpenError::NotAReplica { .. })), "{error}");

    let full = directory.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("letter"), "dear").unwrap();
    let error = open(Settings { replica: full.clone(), ..settings.clone() }, None).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Replica(annals_file::OpenError::NotEmpty { .. })), "{error}");
    assert_eq!(std::fs::read(full.join("letter")).unwrap(), b"dear");
    open(settings, None).unwrap();
}

#[test]
fn what_is_damaged_or_gone_is_filled_again() {
    let Some(kafka) = shared_kafka("replicas::what_is_damaged_or_gone_is_filled_again") else { return };
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("replica");
    let settings = settings(kafka, &prefix(), &place);
    let log = open(settings.clone(), Some(2)).unwrap();
    for shard in [ShardId(0), ShardId(1)] {
        let writer = claim(&log, shard);
        for n in 0..200 {
            put(&*writer, &format!("record {n}"));
        }
    }
    let before = [ShardId(0), ShardId(1)].map(|shard| read_all(&log, shard));
    drop(log);
    let same_again = |what: &str| {
        let log = open(settings.clone(), None).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!([ShardId(0), ShardId(1)].map(|shard| read_all(&log, shard)), before, "{what}");
    };
    same_again("as it was");
    for byte in [40, 5_000] {
        let segment = segments(&place).remove(0);
        let mut bytes = std::fs::read(&segment).unwrap();
        bytes[byte] ^= 0x55;
        std::fs::write(&segment, bytes).unwrap();
        same_again("damaged");
    }
    std::fs::remove_file(segments(&place).remove(0)).unwrap();
    same_again("without a segment");
    std::fs::remove_dir_all(&place).unwrap();
    same_again("deleted");
}

fn segments(place: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(place).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            let files = std::fs::read_dir(entry.path()).unwrap().map(|file| file.unwrap().path());
            found.extend(files.filter(|file| file.metadata().unwrap().len() > 100_000));
        }
    }
    found.sort();
    found
}

/// The journal lost its last records, as after an unclean election or a restore. It was opened as if nothing had
/// happened, and noticed a second later.
#[test]
fn a_replica_that_knows_more_or_other_records_stops_the_opening() {
    let Some(kafka) = shared_kafka("replicas::a_replica_that_knows_more") else { return };
    let hand = Hand::at(kafka);
    for same_length in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(kafka, &prefix(), &directory.path().join("replica"));
        let log = open(settings.clone(), None).unwrap();
        put(&*claim(&log, ZERO), "acknowledged");
        let genesis = log.read(ZERO, Offset(0), 0).unwrap().records.remove(0).envelope;
        let topic = log.topic().to_owned();
        drop(log);
        hand.delete(&topic);
        std::thread::sleep(std::time::Duration::from_millis(500));
        hand.make(&topic, 1, &[]);
        hand.write(&topic, Some(("annals", &[1])), &genesis);
        if same_length {
            hand.write(&topic, None, b"x");
            hand.write(&topic, None, b"y");
        }
        let error = open(settings.clone(), None).map(|_| ()).expect_err("opened");
        assert!(matches!(error, OpenError::Read(ReadError::Damaged { .. })), "{error}");
        // Who knows what happened can delete the replica.
        std::fs::remove_dir_all(directory.path().join("replica")).unwrap();
        assert_eq!(texts(&open(settings, None).unwrap(), ZERO), [""; 0]);
    }
}

#[test]
fn a_follower_sees_everything_and_claims_nothing() {
    let Some(kafka) = shared_kafka("replicas::a_follower_sees_everything_and_claims_nothing") else { return };
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(kafka, &prefix(), &directory.path().join("owner"));
    let owner = open(settings.clone(), Some(2)).unwrap();
    let other = Settings { replica: directory.path().join("follower"), ..settings };
    let follower = KafkaLog::follow(other, "contract", Some(2)).unwrap();
    let refused = follower.claim(ZERO, &claimant("follower")).map(|_| ()).unwrap_err();
    assert_eq!(refused, ClaimError::ReadOnly);
    let writer = claim(&owner, ShardId(1));
    for n in 0..100 {
        let offset = put(&*writer, &format!("{n}"));
        let began = std::time::Instant::now();
        assert!(follower.wait(ShardId(1), offset, PROMPT) > offset);
        assert!(began.elapsed() < PROMPT, "record {n} did not come");
    }
    assert_eq!(read_all(&follower, ShardId(1)), read_all(&owner, ShardId(1)));
    assert_eq!(follower.end(ZERO), Offset(1));
}
