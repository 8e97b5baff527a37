//! Disks that fail: what is said then, and what is there after reopening.

use std::path::Path;
use std::sync::Arc;

use annals_core::{LogId, Offset, Seq, ShardId, Timestamp};
use annals_log::{AppendError, ClaimError, Claimant, Identity, Log as _, ReadError, RecordKind, Writer};
use bytes::Bytes;

use crate::disk::Disk;
use crate::faults::{EIO, ENOSPC};
use crate::{FileLog, OpenError, Settings};

const ZERO: ShardId = ShardId(0);

fn settings() -> Settings {
    Settings { segment_bytes_min: 8 << 10, segment_bytes_max: 8 << 10 }
}

fn identity() -> Identity {
    let log_id = LogId(uuid::Uuid::from_u128(4));
    Identity { log_id, context: "faulty".into(), shards: 1, created_at: Timestamp::UNIX_EPOCH }
}

fn create(directory: &Path, disk: &Disk) -> FileLog {
    FileLog::create_on(directory, identity(), settings(), disk.clone()).unwrap()
}

fn claim(log: &FileLog) -> Result<Arc<dyn Writer>, ClaimError> {
    let claimed_at = Timestamp::UNIX_EPOCH;
    log.claim(ZERO, &Claimant { node: "n".into(), address: String::new(), nonce: [0; 16], claimed_at })
}

fn append(writer: &dyn Writer, bytes: usize) -> Result<Seq, AppendError> {
    writer.append(RecordKind::Record, Bytes::from(vec![0xff; bytes]), Vec::new())
}

fn put(writer: &dyn Writer, bytes: usize) -> Result<Offset, AppendError> {
    writer.commit(append(writer, bytes)?)
}

fn count(log: &FileLog) -> usize {
    log.read(ZERO, Offset(0), usize::MAX).unwrap().records.len()
}

type Plan = fn(&Disk, i64);

const BREAKING: [(&str, Plan); 3] = [
    ("sync", |disk, call| disk.faults.fail_sync(call, EIO)),
    ("write", |disk, call| disk.faults.fail_write(call, EIO)),
    ("write on a full disk", |disk, call| disk.faults.fail_write(call, ENOSPC)),
];

#[test]
fn a_failed_write_or_sync_breaks_the_log_for_good() {
    for (name, plan) in BREAKING {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let log = create(directory.path(), &disk);
        let writer = claim(&log).unwrap();
        assert_eq!(put(&*writer, 100), Ok(Offset(2)));
        plan(&disk, 1);
        let broken = put(&*writer, 100).unwrap_err();
        assert!(matches!(broken, AppendError::Broken { .. }), "{name}: {broken}");
        // The fault is over; the log must not go on all the same.
        let again = put(&*writer, 100).unwrap_err();
        assert!(matches!(again, AppendError::Broken { .. }), "{name}: {again}");
        assert!(matches!(claim(&log).err(), Some(ClaimError::Broken(_))), "{name}");
        assert_eq!(writer.commit(Seq(0)), Ok(Offset(2)), "{name}: what was answered stays answered");
        assert_eq!((count(&log), log.end(ZERO)), (3, Offset(3)), "{name}: what is not durable is not shown");
        drop(writer);
        assert!(log.close().is_err(), "{name}: closing says that it was not clean");
        let log = FileLog::open(directory.path(), settings()).unwrap();
        assert!((3..=4).contains(&count(&log)), "{name}: the outcome of the failed record is open");
        put(&*claim(&log).unwrap(), 100).unwrap();
        assert!(log.verify().unwrap().shards[0].damage.is_empty(), "{name}");
    }
}

/// Every call of a run fails once; after each, the acknowledged records are there and nothing else is wrong.
#[test]
fn any_write_or_sync_may_fail() {
    for (name, plan) in BREAKING {
        for call in 1.. {
            let directory = tempfile::tempdir().unwrap();
            let disk = Disk::default();
            let log = create(directory.path(), &disk);
            plan(&disk, call);
            let acknowledged = run(&log);
            let finished = acknowledged.len() == 40;
            drop(log);
            let log = FileLog::open(directory.path(), settings()).unwrap();
            for (offset, bytes) in &acknowledged {
                let record = log.get(ZERO, *offset).unwrap();
                let found = record.unwrap_or_else(|| panic!("{name} {call}: record {offset} is lost"));
                assert_eq!(found.envelope.len(), *bytes, "{name} {call}");
            }
            assert!(log.verify().unwrap().shards[0].damage.is_empty(), "{name} {call}");
            if finished {
                assert!(call > 30, "{name}: the run made fewer calls than its groups need");
                break;
            }
        }
    }
}

/// Two claims, groups of one and of three, four segments; ends at the first error.
fn run(log: &FileLog) -> Vec<(Offset, usize)> {
    let mut acknowledged = Vec::new();
    for _ in 0..2 {
        let Ok(writer) = claim(log) else { return acknowledged };
        for n in 0..10 {
            let Ok(offset) = put(&*writer, 300 + n) else { return acknowledged };
            acknowledged.push((offset, 300 + n));
        }
        for _ in 0..5 {
            let Ok(first) = append(&*writer, 900) else { return acknowledged };
            let Ok(last) = append(&*writer, 901) else { return acknowledged };
            let (Ok(two), Ok(one)) = (writer.commit(last), writer.commit(first)) else { return acknowledged };
            acknowledged.extend([(one, 900), (two, 901)]);
        }
    }
    acknowledged
}

#[test]
fn a_full_disk_refuses_appends_and_harms_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let log = create(directory.path(), &disk);
    let writer = claim(&log).unwrap();
    disk.faults.fail_prepare_until_told(ENOSPC);
    let mut taken = Vec::new();
    let refused = loop {
        match append(&*writer, 700) {
            Ok(seq) => taken.push(seq),
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, AppendError::Full { reason } if reason.contains("os error 28")), "{refused}");
    assert!(taken.len() > 5, "the segment is filled first");
    let last = *taken.last().unwrap();
    assert_eq!(writer.commit(last), Ok(Offset(2 + last.0)), "what was taken can be committed");
    assert!(matches!(append(&*writer, 700), Err(AppendError::Full { .. })));
    assert!(matches!(claim(&log).err(), Some(ClaimError::Full { .. }) | None));
    assert_eq!(count(&log) as u64, log.end(ZERO).0);
    disk.faults.heal();
    let writer = claim(&log).unwrap();
    put(&*writer, 5000).unwrap();
    drop(writer);
    log.close().unwrap();
    let log = FileLog::open(directory.path(), settings()).unwrap();
    assert!(log.verify().unwrap().shards[0].damage.is_empty());
}

#[test]
fn a_log_is_not_made_on_a_full_disk_and_can_be_made_later() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    disk.faults.fail_prepare_until_told(ENOSPC);
    let error = FileLog::create_on(directory.path(), identity(), settings(), disk.clone()).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    disk.faults.heal();
    assert_eq!(count(&create(directory.path(), &disk)), 1);
}

/// A dropped writer's records free no number and no room twice: a newer claim takes their place.
#[test]
fn a_claim_takes_the_place_of_what_was_not_committed() {
    let directory = tempfile::tempdir().unwrap();
    let log = create(directory.path(), &Disk::default());
    let first = claim(&log).unwrap();
    // Enough to roll into segments that are then not needed.
    let seqs: Vec<Seq> = (0..40).map(|_| append(&*first, 700).unwrap()).collect();
    let second = claim(&log).unwrap();
    assert_eq!(second.epoch().0, 2);
    for seq in seqs {
        assert_eq!(first.commit(seq), Err(AppendError::Fenced));
    }
    for n in 0..40 {
        assert_eq!(put(&*second, 700), Ok(Offset(3 + n)));
    }
    drop((first, second));
    log.close().unwrap();
    let log = FileLog::open(directory.path(), settings()).unwrap();
    assert_eq!(count(&log), 43);
    assert!(log.verify().unwrap().shards[0].damage.is_empty());
}

#[test]
fn records_of_a_newer_envelope_format_are_not_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let log = create(directory.path(), &Disk::default());
    let writer = claim(&log).unwrap();
    // Field 1 of an envelope, its format, is 2.
    let seq = writer.append(RecordKind::Record, Bytes::from_static(&[8, 2]), Vec::new()).unwrap();
    writer.commit(seq).unwrap();
    drop(writer);
    log.abandon();
    let error = FileLog::open(directory.path(), settings()).unwrap_err();
    assert!(matches!(error, OpenError::UnknownVersion { found: 2, .. }), "{error}");
}

/// Records are read through a mapping; a part of it that the disk does not give must not end the process.
#[test]
fn a_part_of_a_segment_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let large = Settings { segment_bytes_min: 256 << 10, segment_bytes_max: 256 << 10 };
    let log = FileLog::create_on(directory.path(), identity(), large, Disk::default()).unwrap();
    let writer = claim(&log).unwrap();
    let offsets: Vec<Offset> = (0..10).map(|_| put(&*writer, 20_000).unwrap()).collect();
    assert!(log.get(ZERO, offsets[0]).unwrap().is_some());
    let segment = log.views()[0].segments()[0].path.clone();
    std::fs::File::options().write(true).open(&segment).unwrap().set_len(64 << 10).unwrap();
    assert!(log.get(ZERO, offsets[1]).unwrap().is_some());
    for result in [log.get(ZERO, offsets[9]).map(|_| ()), log.read(ZERO, offsets[9], 1).map(|_| ())] {
        let error = result.unwrap_err();
        let ReadError::Unavailable { place, .. } = &error else { panic!("{error}") };
        assert!(place.contains(segment.to_str().unwrap()), "{place}");
    }
    log.abandon();
}

type Ending = fn(FileLog, &Disk) -> Option<FileLog>;

/// Whatever ends a writer, nobody waits for ever; threads that something else wakes do not return too early.
#[test]
fn all_who_wait_are_told_how_it_ended() {
    let endings: [(&str, Ending); 3] = [
        ("a failed sync", |log, disk| {
            disk.faults.fail_sync(3, EIO);
            Some(log)
        }),
        ("another claim", |log, _| {
            claim(&log).unwrap();
            Some(log)
        }),
        ("an abandoned log", |log, _| {
            log.abandon();
            None
        }),
    ];
    for (name, end) in endings {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let log = create(directory.path(), &disk);
        let writer = claim(&log).unwrap();
        let order = std::sync::Mutex::new(());
        let put_until_error = || loop {
            let appended = {
                let _in_order = order.lock().unwrap();
                append(&*writer, 50)
            };
            std::thread::current().unpark();
            match appended.and_then(|seq| writer.commit(seq).map(|_| assert!(writer.committed() > seq))) {
                Ok(()) => {}
                Err(error) => return error,
            }
        };
        let (errors, _log) = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(put_until_error)).collect();
            while writer.committed() < Seq(300) {
                std::thread::yield_now();
            }
            let log = end(log, &disk);
            (threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>(), log)
        });
        for error in errors {
            let fitting = match name {
                "another claim" => error == AppendError::Fenced,
                _ => matches!(error, AppendError::Broken { .. }),
            };
            assert!(fitting, "{name}: {error}");
        }
    }
}

/// What a newer claim's records make durable is not the older writer's.
#[test]
fn a_fenced_writer_counts_its_own_records_only() {
    let directory = tempfile::tempdir().unwrap();
    let log = create(directory.path(), &Disk::default());
    let first = claim(&log).unwrap();
    assert_eq!(first.committed(), Seq(0));
    put(&*first, 50).unwrap();
    append(&*first, 50).unwrap();
    assert_eq!(first.committed(), Seq(1));
    let second = claim(&log).unwrap();
    put(&*second, 50).unwrap();
    let third = claim(&log).unwrap();
    put(&*third, 50).unwrap();
    assert_eq!([first.committed(), second.committed(), third.committed()], [Seq(1), Seq(1), Seq(1)]);
    assert_eq!(first.commit(Seq(0)), Ok(Offset(2)), "what was answered stays answered");
    assert_eq!(first.commit(Seq(1)), Err(AppendError::Fenced));
}
