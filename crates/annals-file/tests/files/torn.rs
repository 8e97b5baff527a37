//! The end of a log that a crash left half written.

use std::path::Path;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::support::{Feed, ZERO, claim, create, files, find_all, open, read_all, restore, snapshot, used};

/// A log that ended without closing; its last group has three records.
struct Crashed {
    directory: tempfile::TempDir,
    files: Vec<(std::path::PathBuf, Vec<u8>)>,
    /// Where the last group begins and ends.
    last: std::ops::Range<usize>,
    acknowledged_before: usize,
}

fn crashed() -> Crashed {
    let directory = tempfile::tempdir().unwrap();
    let log = create(directory.path(), 1);
    let writer = claim(&log, ZERO);
    let mut feed = Feed::default();
    for _ in 0..5 {
        feed.put(&*writer, "thing/1", 40);
    }
    let start = used(&log);
    for n in 0..3 {
        feed.append(&*writer, "thing/2", n * 10);
    }
    writer.commit(annals_core::Seq(7)).unwrap();
    let last = start..used(&log);
    drop(writer);
    log.abandon();
    let files = snapshot(directory.path());
    Crashed { directory, files, last, acknowledged_before: 7 }
}

impl Crashed {
    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts everything back and changes the segment.
    fn with(&self, change: impl FnOnce(&mut Vec<u8>)) -> &Path {
        restore(self.path(), &self.files);
        let segment = super::support::segments(self.path(), 0).remove(0);
        let mut bytes = std::fs::read(&segment).unwrap();
        change(&mut bytes);
        std::fs::write(segment, bytes).unwrap();
        self.path()
    }

    /// The last group is gone, was kept, and nothing of it comes back.
    fn expect_cut(&self, case: &str) {
        let log = open(self.path());
        let [torn] = log.torn_tails() else { panic!("{case}: one torn tail, not {:?}", log.torn_tails()) };
        assert_eq!(
            (torn.offset.0 as usize, torn.byte as usize),
            (self.acknowledged_before, self.last.start),
            "{case}"
        );
        assert_eq!(std::fs::metadata(&torn.kept).unwrap().len(), torn.bytes, "{case}: the tail was kept");
        assert_eq!(read_all(&log, ZERO).len(), self.acknowledged_before, "{case}");
        let writer = claim(&log, ZERO);
        let mut feed = Feed::resume(&log, ZERO);
        feed.put(&*writer, "thing/2", 0);
        drop(writer);
        log.abandon();
        let log = open(self.path());
        assert_eq!(log.torn_tails(), [], "{case}: nothing to cut the second time");
        assert_eq!(read_all(&log, ZERO).len(), self.acknowledged_before + 2, "{case}");
        assert!(log.verify().unwrap().is_sound(), "{case}");
    }
}

#[test]
fn an_intact_last_group_is_kept() {
    let crashed = crashed();
    let log = open(crashed.with(|_| ()));
    assert_eq!(log.torn_tails(), []);
    assert_eq!(read_all(&log, ZERO).len(), crashed.acknowledged_before + 3);
    assert_eq!(find_all(&log, ZERO).len(), 8 * 3 + 1);
}

#[test]
fn a_group_cut_at_any_byte_is_gone() {
    let crashed = crashed();
    // The last byte of a frame is a quotation mark's protobuf neighbour, never zero; a cut there changes a byte.
    for at in crashed.last.start + 1..crashed.last.end {
        crashed.with(|bytes| bytes[at..].fill(0));
        crashed.expect_cut(&format!("zeros from byte {at}"));
    }
    crashed.with(|bytes| bytes[crashed.last.start..].fill(0));
    let log = open(crashed.path());
    assert_eq!((log.torn_tails(), read_all(&log, ZERO).len()), (&[][..], crashed.acknowledged_before));
}

#[test]
fn a_group_with_garbage_at_any_byte_is_gone() {
    let crashed = crashed();
    let mut random = ChaCha8Rng::seed_from_u64(11);
    for at in crashed.last.clone() {
        crashed.with(|bytes| {
            let end = crashed.last.end + random.random_range(0..600);
            bytes[at] ^= random.random_range(1..=255);
            random.fill(&mut bytes[at + 1..end]);
        });
        crashed.expect_cut(&format!("garbage from byte {at}"));
    }
}

/// Sectors reach the disk in any order: the first may be the one that is missing.
#[test]
fn a_group_without_its_beginning_is_gone() {
    let crashed = crashed();
    for bytes_lost in [32, 33, crashed.last.len() - 1] {
        crashed.with(|bytes| bytes[crashed.last.start..][..bytes_lost].fill(0));
        crashed.expect_cut(&format!("{bytes_lost} bytes lost"));
    }
}

#[test]
fn tails_cut_at_one_offset_twice_are_both_kept() {
    let crashed = crashed();
    for n in 1..=2 {
        let segment = super::support::segments(crashed.path(), 0).remove(0);
        let mut bytes = std::fs::read(&segment).unwrap();
        bytes[crashed.last.start..].fill(0);
        bytes[crashed.last.start + 5] = n;
        std::fs::write(segment, bytes).unwrap();
        open(crashed.path()).abandon();
    }
    let folder = crashed.path().join("shard-000");
    let torn = files(&folder, "").into_iter().filter(|path| path.to_string_lossy().contains("torn-"));
    let kept: Vec<_> = torn.map(|path| std::fs::read(path).unwrap()).collect();
    assert_eq!(kept, [vec![0, 0, 0, 0, 0, 1], vec![0, 0, 0, 0, 0, 2]]);
    assert_eq!(open(crashed.path()).info().unwrap()[0].torn_files.len(), 2);
}
