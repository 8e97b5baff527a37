//! Disks that fail under a replica, and a power loss before the background thread came to sync.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use annals_core::envelope::{FORMAT, Genesis, Header};
use annals_core::reader::Verdict;
use annals_core::{Epoch, LogId, Offset, Seq, ShardId, Timestamp};
use annals_log::Identity;

use super::{Arrival, Replica, ReplicaShard};
use crate::directory::{list_shard, segment_path, shard_path};
use crate::disk::Disk;
use crate::error::{FeedError, OpenError};
use crate::faults::{EIO, ENOSPC};
use crate::opening::open_shards;
use crate::place::Place;
use crate::recover::How;
use crate::settings::Settings;

const ZERO: ShardId = ShardId(0);

fn settings() -> Settings {
    Settings { segment_bytes_min: 8 << 10, segment_bytes_max: 8 << 10 }
}

fn create(directory: &Path, disk: &Disk) -> Replica {
    let log_id = LogId(uuid::Uuid::from_u128(6));
    let created_at = Timestamp::UNIX_EPOCH;
    let identity = Identity { log_id, context: "faulty".into(), shards: 1, created_at };
    let genesis = Genesis {
        format: FORMAT,
        log_id: log_id.0.as_bytes().to_vec().into(),
        context: "faulty".into(),
        shards: 1,
        shard: 0,
        hash: "murmur2".into(),
        created_at_us: 0,
    };
    Replica::create_on(directory, &identity, &[genesis.to_bytes()], settings(), disk.clone()).unwrap()
}

fn open(directory: &Path) -> Result<Replica, OpenError> {
    Replica::open(directory, settings())
}

/// The record at `offset` of a history whose one claim is at offset 1.
fn record(offset: u64) -> Arrival {
    let header = match offset {
        1 => Header::Claim,
        _ => Header::Record { epoch: Epoch(1), seq: Seq(offset - 2) },
    };
    let mut envelope = vec![0xff; 200 + (offset % 90) as usize];
    envelope.extend_from_slice(&offset.to_be_bytes());
    Arrival { header, envelope: envelope.into(), terms: Some(Vec::new()) }
}

fn append(shard: &ReplicaShard, count: u64) -> Result<Vec<Verdict>, FeedError> {
    let first = shard.next().0;
    shard.append(&(first..first + count).map(record).collect::<Vec<_>>())
}

/// All that is there is as it was appended, and accepted.
fn check(shard: &ReplicaShard, case: &str) {
    let records = shard.read(Offset(0), usize::MAX).unwrap().records;
    assert_eq!(records.len() as u64, shard.next().0, "{case}");
    for raw in &records[1..] {
        let record = record(raw.offset.0);
        assert_eq!((raw.header, &raw.envelope), (record.header, &record.envelope), "{case}");
    }
}

/// Appends of several sizes until one fails; the error.
fn append_until_error(shard: &ReplicaShard) -> Option<FeedError> {
    (0..60).find_map(|n| append(shard, 1 + n % 7).err())
}

#[test]
fn what_a_full_disk_refuses_can_be_tried_again() {
    type Plan = fn(&Disk, i64);
    let plans: [(&str, Plan); 2] = [
        ("write", |disk, call| disk.faults.fail_write(call, ENOSPC)),
        ("segment", |disk, _| disk.faults.fail_prepare_until_told(ENOSPC)),
    ];
    for (name, plan) in plans {
        for call in [1, 2, 3, 5, 8, 13, 21, 34] {
            let case = format!("{name} {call}");
            let directory = tempfile::tempdir().unwrap();
            let disk = Disk::default();
            let replica = create(directory.path(), &disk);
            let shard = replica.shard(ZERO).unwrap();
            plan(&disk, call);
            let error = append_until_error(shard).unwrap_or_else(|| panic!("{case}: nothing failed"));
            assert!(matches!(error, FeedError::Unwritten { .. }), "{case}: {error}");
            assert!(error.to_string().contains("os error 28"), "{case}: {error}");
            check(shard, &case);
            disk.faults.heal();
            // Another number of records than those that failed: what these left is not in the way.
            append(shard, 2).unwrap();
            assert!(append_until_error(shard).is_none(), "{case}");
            check(shard, &case);
            let next = shard.next();
            replica.abandon();
            let replica = open(directory.path()).unwrap_or_else(|e| panic!("{case}: {e}"));
            let shard = replica.shard(ZERO).unwrap();
            assert_eq!(shard.next(), next, "{case}");
            check(shard, &case);
            assert!(crate::verify(directory.path()).unwrap().shards[0].damage.is_empty(), "{case}");
        }
    }
}

/// A write that reached the disk in part, and behind it a shorter one: the rest is not taken for anything.
#[test]
fn the_leavings_of_a_failed_write_are_cleared() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let replica = create(directory.path(), &disk);
    let shard = replica.shard(ZERO).unwrap();
    append(shard, 3).unwrap();
    let segment = shard.view.last().unwrap();
    disk.faults.fail_write(1, ENOSPC);
    append(shard, 5).unwrap_err();
    std::os::unix::fs::FileExt::write_all_at(&segment.file, &[0xcd; 1500], segment.mark().position).unwrap();
    append(shard, 1).unwrap();
    let mark = segment.mark();
    let beyond = crate::scan::beyond(segment.source(), &mark).unwrap();
    assert_eq!((beyond.used_to, shard.next()), (mark.position, Offset(5)));
    assert_eq!(segment.file.metadata().unwrap().len(), segment.header.bytes);
}

#[test]
fn a_failed_sync_ends_a_replica() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let replica = create(directory.path(), &disk);
    let shard = replica.shard(ZERO).unwrap();
    append(shard, 3).unwrap();
    assert_eq!(shard.sync().unwrap(), Offset(4));
    append(shard, 3).unwrap();
    disk.faults.fail_sync(1, EIO);
    for _ in 0..2 {
        assert!(matches!(shard.sync(), Err(FeedError::Broken { .. })));
        assert!(matches!(append(shard, 1), Err(FeedError::Broken { .. })));
    }
    check(shard, "what was shown stays readable");
    assert!(matches!(replica.close(), Err(FeedError::Broken { .. })));
    check(open(directory.path()).unwrap().shard(ZERO).unwrap(), "reopened");
}

/// A shard whose full segments nobody syncs.
fn unkept(directory: &Path) -> ReplicaShard {
    let disk = Disk::default();
    create(directory, &disk).close().unwrap();
    let how = How {
        log: directory.to_owned(),
        log_id: None,
        replica: Some(true),
        writable: true,
        disk: disk.clone(),
    };
    let (identity, mut opened) = open_shards(&how).unwrap();
    let opened = opened.remove(0);
    let directory = opened.directory.clone();
    let (log_id, settings) = (identity.log_id, settings());
    let place = Place { log_id, shard: ZERO, directory, replica: true, settings, disk };
    ReplicaShard::resume(place, opened, channel().0)
}

fn bases(directory: &Path) -> Vec<Offset> {
    list_shard(&shard_path(directory, ZERO)).unwrap().bases
}

/// Zeros the last bytes of a segment, as where its pages never reached the disk.
fn tear(directory: &Path, base: Offset, bytes: usize) {
    let path = segment_path(&shard_path(directory, ZERO), base);
    let mut all = std::fs::read(&path).unwrap();
    let end = all.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    all[end - bytes..end].fill(0);
    std::fs::write(path, all).unwrap();
}

#[test]
fn a_power_loss_takes_what_was_not_synced_and_all_behind_it() {
    for torn in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let shard = unkept(directory.path());
        while bases(directory.path()).len() < 6 {
            append(&shard, 3).unwrap();
        }
        let bases = bases(directory.path());
        let unsynced = shard.view.segments();
        drop(shard);
        tear(directory.path(), bases[torn], 100);
        // Of the last segment, whole pages are missing: its header must be there, by its own sync.
        tear(directory.path(), bases[5], 60);
        let replica = open(directory.path()).unwrap_or_else(|e| panic!("segment {torn}: {e}"));
        let shard = replica.shard(ZERO).unwrap();
        assert!((bases[torn].0 + 1..bases[torn + 1].0).contains(&shard.next().0), "segment {torn}");
        assert_eq!(self::bases(directory.path()), bases[..=torn], "what lies behind is gone");
        check(shard, "cut");
        append(shard, 30).unwrap();
        check(shard, "fed again");
        drop(replica);
        assert!(crate::verify(directory.path()).unwrap().shards[0].damage.is_empty(), "segment {torn}");
        assert_eq!(unsynced.len(), 6);
    }
}

/// The same damage, where a sync had promised what is missing.
#[test]
fn what_was_synced_and_is_missing_is_damage() {
    for torn in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let shard = unkept(directory.path());
        while bases(directory.path()).len() < 6 {
            append(&shard, 3).unwrap();
        }
        shard.sync().unwrap();
        append(&shard, 1).unwrap();
        let bases = bases(directory.path());
        drop(shard);
        tear(directory.path(), bases[torn], 100);
        let before = std::fs::read(segment_path(&shard_path(directory.path(), ZERO), bases[torn])).unwrap();
        match open(directory.path()) {
            Err(OpenError::Damaged(damage)) => assert!(damage.reason.contains("were durable"), "{damage}"),
            other => panic!("segment {torn}: {other:?}"),
        }
        let after = std::fs::read(segment_path(&shard_path(directory.path(), ZERO), bases[torn])).unwrap();
        assert_eq!((self::bases(directory.path()), after), (bases, before), "nothing was changed");
    }
}

/// The background thread syncs full segments, so the groups that follow promise them.
#[test]
fn full_segments_become_durable_by_themselves() {
    let directory = tempfile::tempdir().unwrap();
    let replica = create(directory.path(), &Disk::default());
    let shard = Arc::clone(replica.shard(ZERO).unwrap());
    while bases(directory.path()).len() < 3 {
        append(&shard, 3).unwrap();
    }
    let full = shard.view.segments().remove(1);
    while !full.is_indexed() {
        std::thread::yield_now();
    }
    append(&shard, 1).unwrap();
    replica.abandon();
    let bases = bases(directory.path());
    tear(directory.path(), bases[1], 100);
    std::fs::remove_file(crate::directory::index_path(&full.path)).unwrap();
    assert!(matches!(open(directory.path()), Err(OpenError::Damaged(_))));
}
