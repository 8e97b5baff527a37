//! Rolling from segment to segment, alone and from many threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use annals_core::envelope::ENVELOPE_BYTES_MAX;
use annals_core::index::Term;
use annals_core::{Offset, ShardId};
use annals_file::{FileLog, Settings};
use annals_log::{Log as _, RecordKind};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::support::{Feed, ZERO, claim, create, find_all, identity, open, read_all, segments};

#[test]
fn records_of_many_sizes_cross_many_segments() {
    let directory = tempfile::tempdir().unwrap();
    let log = create(directory.path(), 1);
    let writer = claim(&log, ZERO);
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut feed = Feed::default();
    for n in 0..400 {
        // Some are larger than a segment, some fill one to the last bytes.
        let bytes = match n % 40 {
            0 => 40_000,
            1 => 16_000 + n,
            _ => random.random_range(0..900),
        };
        feed.append(&*writer, &format!("thing/{}", n % 13), bytes);
        if random.random_bool(0.3) {
            writer.commit(annals_core::Seq(n as u64)).unwrap();
        }
    }
    writer.commit(annals_core::Seq(399)).unwrap();
    let (before, found) = (read_all(&log, ZERO), find_all(&log, ZERO));
    assert_eq!(before.len(), 402);
    assert!(segments(directory.path(), 0).len() > 15);
    drop(writer);
    log.abandon();
    let log = open(directory.path());
    assert_eq!((read_all(&log, ZERO), find_all(&log, ZERO)), (before, found));
    assert!(log.verify().unwrap().is_sound());
}

/// Every fill of a segment's last bytes: the frame that just fits, and those that miss by a few bytes.
#[test]
fn a_segment_is_filled_to_the_last_byte_and_no_further() {
    let settings = Settings { segment_bytes_min: 4096, segment_bytes_max: 4096 };
    for last in 3_300..3_700 {
        let directory = tempfile::tempdir().unwrap();
        let log = FileLog::create(directory.path(), identity(1), settings.clone()).unwrap();
        let writer = claim(&log, ZERO);
        for bytes in [200, last, 10] {
            let seq = writer.append(RecordKind::Record, vec![7; bytes].into(), Vec::new()).unwrap();
            writer.commit(seq).unwrap();
        }
        drop(writer);
        log.close().unwrap();
        let log = FileLog::open(directory.path(), settings.clone()).unwrap();
        let sizes: Vec<_> = read_all(&log, ZERO).iter().skip(2).map(|record| record.envelope.len()).collect();
        assert_eq!(sizes, [200, last, 10]);
        assert!(log.info().unwrap()[0].sealed, "{last}: the seal found room");
    }
}

#[test]
fn the_largest_record_fits_into_any_segment() {
    let directory = tempfile::tempdir().unwrap();
    let log = create(directory.path(), 1);
    let writer = claim(&log, ZERO);
    for bytes in [ENVELOPE_BYTES_MAX, ENVELOPE_BYTES_MAX - 1] {
        let seq = writer.append(RecordKind::Record, vec![1; bytes].into(), Vec::new()).unwrap();
        let offset = writer.commit(seq).unwrap();
        assert_eq!(log.get(ZERO, offset).unwrap().unwrap().envelope.len(), bytes);
    }
    drop(writer);
    log.abandon();
    assert_eq!(open(directory.path()).end(ZERO), Offset(4));
}

#[test]
fn shards_are_written_in_parallel() {
    const SHARDS: u32 = 8;
    let directory = tempfile::tempdir().unwrap();
    let log = create(directory.path(), SHARDS);
    std::thread::scope(|scope| {
        for shard in (0..SHARDS).map(ShardId) {
            let log = &log;
            scope.spawn(move || {
                let writer = claim(log, shard);
                let mut feed = Feed::default();
                for n in 0..60 + u64::from(shard.0) {
                    assert_eq!(feed.put(&*writer, "thing/1", 400), Offset(2 + n));
                }
            });
        }
    });
    log.close().unwrap();
    let log = open(directory.path());
    for shard in (0..SHARDS).map(ShardId) {
        assert_eq!(read_all(&log, shard).len(), 62 + shard.0 as usize);
    }
    assert!(log.verify().unwrap().is_sound());
}

/// Threads append and commit while segments roll and readers read.
#[test]
fn readers_and_writers_do_not_disturb_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let log = create(directory.path(), 1);
    let writer = claim(&log, ZERO);
    let feed = Mutex::new(Feed::default());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..6)
            .map(|thread| {
                let (feed, writer) = (&feed, &writer);
                scope.spawn(move || {
                    for n in 0..150 {
                        let seq = {
                            let mut feed = feed.lock().unwrap();
                            feed.append(&**writer, &format!("thing/{thread}"), n % 500)
                        };
                        writer.commit(seq).unwrap();
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            let (log, done) = (&log, &done);
            scope.spawn(move || {
                let mut next = Offset(0);
                while !done.load(std::sync::atomic::Ordering::Relaxed) || next < log.end(ZERO) {
                    let chunk = log.read(ZERO, next, 3000).unwrap();
                    for (n, record) in chunk.records.iter().enumerate() {
                        assert_eq!(record.offset.0, next.0 + n as u64, "no reader skips a record");
                    }
                    next = chunk.next;
                    log.find_last(ZERO, annals_core::index::Term::stream("thing/3")).unwrap();
                }
            });
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(log.end(ZERO), Offset(902));
    drop(writer);
    log.close().unwrap();
    assert!(open(directory.path()).verify().unwrap().is_sound());
}

/// A look-up held the lock on the list of segments for its whole length and took it again inside; a commit that
/// waited in between to add a segment stopped both for good. It hung one import of 120,558 transfers in five.
#[test]
fn looking_up_while_segments_are_added_never_stops() {
    let directory = tempfile::tempdir().unwrap();
    let log = Arc::new(create(directory.path(), 1));
    let (done, finished) = std::sync::mpsc::channel();
    let running = Arc::new(AtomicBool::new(true));
    let looks: Vec<_> = (0..3)
        .map(|_| {
            let (log, running) = (Arc::clone(&log), Arc::clone(&running));
            std::thread::spawn(move || {
                while running.load(Ordering::Relaxed) {
                    // A miss goes through every segment.
                    assert_eq!(log.find(ZERO, Term(1), Offset(0), 10).unwrap(), []);
                }
            })
        })
        .collect();
    let writing = Arc::clone(&log);
    std::thread::spawn(move || {
        let writer = claim(&writing, ZERO);
        for _ in 0..600 {
            let seq = writer.append(RecordKind::Record, vec![7; 8_000].into(), Vec::new()).unwrap();
            writer.commit(seq).unwrap();
        }
        done.send(()).unwrap();
    });
    let in_time = finished.recv_timeout(std::time::Duration::from_secs(60));
    running.store(false, Ordering::Relaxed);
    in_time.expect("the writer stands still behind look-ups");
    looks.into_iter().for_each(|look| look.join().unwrap());
    assert!(segments(directory.path(), 0).len() > 250);
}
