//! Who may open what.

use annals_core::{LogId, ShardId, Timestamp};
use annals_file::{FileLog, OpenError};
use annals_log::{Log as _, RecordKind};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::support::{Feed, ZERO, claim, create, identity, open, read_all, segments, small, snapshot};

fn never() -> (LogId, Timestamp) {
    panic!("an existing log must not be made again")
}

#[test]
fn a_second_writer_is_told_who_holds_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let log = create(directory.path(), 1);
    let error = FileLog::open(directory.path(), small()).unwrap_err();
    let OpenError::InUse { holder, .. } = &error else { panic!("{error}") };
    assert!(holder.starts_with(&format!("process {} on ", std::process::id())), "{holder}");
    log.close().unwrap();
    open(directory.path());
}

#[test]
fn foreign_directories_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("letters.txt"), "dear").unwrap();
    let before = snapshot(directory.path());
    let error = FileLog::create(directory.path(), identity(1), small()).unwrap_err();
    assert!(matches!(&error, OpenError::NotEmpty { found, .. } if found == "letters.txt"), "{error}");
    let error = FileLog::open(directory.path(), small()).unwrap_err();
    assert!(matches!(error, OpenError::NotALog { .. }), "{error}");
    let error = FileLog::open_read_only(directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::NotALog { .. }), "{error}");
    assert_eq!(snapshot(directory.path()), before);
}

#[test]
fn a_directory_that_is_not_there_is_not_made_by_opening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gone");
    let error = FileLog::open(&path, small()).unwrap_err();
    assert!(matches!(error, OpenError::NotALog { .. }), "{error}");
    assert!(!path.exists());
}

#[test]
fn creating_over_a_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let log = create(directory.path(), 2);
    Feed::default().put(&*claim(&log, ShardId(1)), "thing/1", 1);
    log.close().unwrap();
    let before = snapshot(directory.path());
    let error = FileLog::create(directory.path(), identity(2), small()).unwrap_err();
    assert!(matches!(error, OpenError::NotEmpty { .. }), "{error}");
    assert_eq!(snapshot(directory.path()), before);
    // Also where shard 0 was lost: what the others hold is not the rest of an unfinished creation.
    std::fs::remove_dir_all(directory.path().join("shard-000")).unwrap();
    let before = snapshot(directory.path());
    let error = FileLog::create(directory.path(), identity(2), small()).unwrap_err();
    assert!(matches!(error, OpenError::NotEmpty { .. }), "{error}");
    assert_eq!(snapshot(directory.path()).len(), before.len());
}

/// Shard 0 is made last, so a log without it was never used.
#[test]
fn an_unfinished_creation_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    create(directory.path(), 3).abandon();
    std::fs::remove_file(&segments(directory.path(), 0)[0]).unwrap();
    let error = FileLog::open(directory.path(), small()).unwrap_err();
    assert!(matches!(error, OpenError::NotALog { .. }), "{error}");
    let made = (LogId(uuid::Uuid::from_u128(99)), Timestamp::UNIX_EPOCH);
    let log = FileLog::open_or_create(directory.path(), "bank", Some(3), small(), || made).unwrap();
    assert_eq!((log.identity().log_id, log.end(ShardId(2)).0), (made.0, 1));
}

#[test]
fn open_or_create_makes_once_and_checks_later() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep").join("bank");
    let made = (LogId(uuid::Uuid::from_u128(5)), Timestamp::from_microsecond(1_234_567).unwrap());
    let log = FileLog::open_or_create(&path, "bank", Some(4), small(), || made).unwrap();
    let first = log.identity().clone();
    assert_eq!((first.log_id, first.shards, first.created_at, &*first.context), (made.0, 4, made.1, "bank"));
    log.close().unwrap();
    for shards in [None, Some(4)] {
        let log = FileLog::open_or_create(&path, "bank", shards, small(), never).unwrap();
        assert_eq!(*log.identity(), first);
    }
    let error = FileLog::open_or_create(&path, "shop", None, small(), never).unwrap_err();
    assert!(matches!(&error, OpenError::OtherContext { found, .. } if found == "bank"), "{error}");
    let error = FileLog::open_or_create(&path, "bank", Some(5), small(), never).unwrap_err();
    assert!(matches!(error, OpenError::OtherShards { found: 4, wanted: 5, .. }), "{error}");
    let error = FileLog::open_read_only(&path).unwrap().expect_identity("shop", None).unwrap_err();
    assert!(matches!(error, OpenError::OtherContext { .. }), "{error}");
}

/// Each shard holds a file open, and the usual soft limit is 1,024 of them.
fn allow_as_many_files_as_the_system_lets() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

#[test]
fn the_number_of_shards_has_limits() {
    allow_as_many_files_as_the_system_lets();
    for (shards, fits) in [(0, false), (1, true), (1024, true), (1025, false)] {
        let directory = tempfile::tempdir().unwrap();
        let settings = annals_file::Settings { segment_bytes_min: 4096, segment_bytes_max: 4096 };
        let log = FileLog::create(directory.path(), identity(shards), settings);
        // A system that lets a process open 1,024 files at most stops the 1,024 shards, not the log's own limit.
        let out_of_files = matches!(&log, Err(OpenError::Io { source, .. })
            if source.raw_os_error() == Some(Errno::MFILE.raw_os_error()));
        assert_eq!(log.is_ok() || out_of_files, fits, "{shards} shards: {log:?}");
    }
}

#[test]
fn an_unknown_format_version_is_named() {
    let directory = tempfile::tempdir().unwrap();
    create(directory.path(), 1).close().unwrap();
    let segment = segments(directory.path(), 0).remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[8] = 9;
    std::fs::write(&segment, bytes).unwrap();
    let error = FileLog::open(directory.path(), small()).unwrap_err();
    assert!(matches!(error, OpenError::UnknownVersion { found: 9, .. }), "{error}");
    assert!(error.to_string().contains("format version 9"), "{error}");
}

#[test]
fn a_lost_shard_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    create(directory.path(), 3).close().unwrap();
    std::fs::remove_dir_all(directory.path().join("shard-001")).unwrap();
    let error = FileLog::open(directory.path(), small()).unwrap_err();
    assert!(matches!(error, OpenError::NotALog { .. }), "{error}");
}

#[test]
fn shards_of_two_logs_do_not_mix() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    create(one.path(), 2).close().unwrap();
    let other = annals_log::Identity { log_id: LogId(uuid::Uuid::from_u128(78)), ..identity(2) };
    FileLog::create(two.path(), other, small()).unwrap().close().unwrap();
    std::fs::copy(&segments(two.path(), 1)[0], &segments(one.path(), 1)[0]).unwrap();
    let error = FileLog::open(one.path(), small()).unwrap_err();
    assert!(matches!(&error, OpenError::Damaged(damage) if damage.reason.contains("another log")), "{error}");
}

#[test]
fn writers_of_a_closed_log_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let log = create(directory.path(), 1);
    let writer = claim(&log, ZERO);
    let mut feed = Feed::default();
    feed.append(&*writer, "thing/1", 1);
    log.close().unwrap();
    let refused = writer.append(RecordKind::Record, feed.envelope("thing/1", 1), Vec::new());
    assert!(matches!(refused, Err(annals_log::AppendError::Broken { .. })), "{refused:?}");
    assert_eq!(read_all(&open(directory.path()), ZERO).len(), 3, "closing writes what was appended");
}

/// Opening and closing writes one seal, not one each time.
#[test]
fn a_sealed_log_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let log = create(directory.path(), 1);
    Feed::default().put(&*claim(&log, ZERO), "thing/1", 1);
    log.close().unwrap();
    let before = snapshot(directory.path());
    let log = open(directory.path());
    assert!(log.info().unwrap()[0].sealed);
    log.close().unwrap();
    assert_eq!(snapshot(directory.path()), before);
}
