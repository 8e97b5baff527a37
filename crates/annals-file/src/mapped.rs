//! Files mapped into memory: index files, checked page by page on first touch, and the durable part of segments.
//!
//! Invariant: no byte of an index file is handed out before the checksum of its page was right once, and no byte
//! of a segment that is not below the end of its durable records. Opening costs the same however large the file
//! is.
//!
//! This is the one module of the crate with unsafe code: reading a mapped file is unsafe because somebody could
//! change or cut it underneath. Index files are written once under another name, renamed into place and never
//! changed; a deleted one stays readable while it is mapped. Of a segment, nobody writes below the durable end
//! while it lives: groups go behind it, and a torn tail is zeroed behind it too. In a replica the end is that of what
//! was written, which nobody changes either.
//!
//! A page that the disk does not give is a signal under a mapping, not an error. Of segments, a chunk is therefore
//! asked for by a call that can fail before it is touched the first time, and a caller that gets nothing reads the
//! file, which names what is wrong. Not covered: a page that was there, was evicted, and is unreadable when it is
//! wanted again; and a file that somebody cuts shorter while the log has it open. Both end the process.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use memmap2::{Advice, Mmap, MmapOptions, MmapRaw};

use crate::format::u32_at;

/// The unit of checking; elements in it are aligned to their size, so none straddles two pages.
pub(crate) const PAGE_BYTES: usize = 4096;

/// A page whose bytes do not match their checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageDamaged;

/// The mapped file: a header, the body in pages (the last may be shorter), a table with a checksum per page.
#[derive(Debug)]
pub(crate) struct CheckedMap {
    map: Mmap,
    body_at: usize,
    body_bytes: usize,
    checked: Vec<AtomicU64>,
}

impl CheckedMap {
    /// Maps a file; its body is not known yet.
    pub(crate) fn open(file: &File) -> io::Result<Self> {
        // SAFETY: the file is never changed in place by Annals (see above), and bytes are only read as bytes.
        let map = unsafe { Mmap::map(file)? };
        // Only a hint; where it is refused, reading works all the same.
        let _ = map.advise(Advice::Random);
        Ok(Self { map, body_at: 0, body_bytes: 0, checked: Vec::new() })
    }

    /// The first bytes of the file, unchecked.
    pub(crate) fn head(&self, bytes: usize) -> Option<&[u8]> {
        self.map.get(..bytes)
    }

    /// Says where the body is; `false` when the file has another length, or the table another checksum.
    pub(crate) fn set_body(&mut self, at: usize, bytes: usize, table_crc: u32) -> bool {
        let pages = bytes.div_ceil(PAGE_BYTES);
        let Some(table_at) = at.checked_add(bytes) else { return false };
        if table_at.checked_add(pages * 4) != Some(self.map.len()) {
            return false;
        }
        let table = self.map.get(table_at..).unwrap_or_default();
        if crc32c::crc32c(table) != table_crc {
            return false;
        }
        self.body_at = at;
        self.body_bytes = bytes;
        self.checked = (0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        true
    }

    /// `N` bytes at `at` of the body, which lie in one page.
    pub(crate) fn bytes<const N: usize>(&self, at: usize) -> Result<&[u8; N], PageDamaged> {
        self.check_page(at / PAGE_BYTES)?;
        let body = self.map.get(self.body_at..self.body_at + self.body_bytes).ok_or(PageDamaged)?;
        body.get(at..).and_then(<[u8]>::first_chunk).ok_or(PageDamaged)
    }

    /// Checks all pages, also those that were right before.
    pub(crate) fn check_all(&self) -> Result<(), PageDamaged> {
        (0..self.body_bytes.div_ceil(PAGE_BYTES)).try_for_each(|page| self.compare(page))
    }

    fn check_page(&self, page: usize) -> Result<(), PageDamaged> {
        let word = self.checked.get(page / 64).ok_or(PageDamaged)?;
        let bit = 1 << (page % 64);
        if word.load(Ordering::Relaxed) & bit == 0 {
            self.compare(page)?;
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(())
    }

    fn compare(&self, page: usize) -> Result<(), PageDamaged> {
        let start = self.body_at + page * PAGE_BYTES;
        let body_end = self.body_at + self.body_bytes;
        let bytes = self.map.get(start..body_end.min(start + PAGE_BYTES)).ok_or(PageDamaged)?;
        let stored = u32_at(&self.map, body_end + page * 4).ok_or(PageDamaged)?;
        if crc32c::crc32c(bytes) == stored { Ok(()) } else { Err(PageDamaged) }
    }
}

/// What is asked for at once before it is touched: as much as the kernel maps around a fault of its own.
const CHUNK_BYTES: usize = 64 << 10;

/// The bytes of a segment below the end of its durable records, mapped when they are first wanted.
#[derive(Debug)]
pub(crate) struct DurableBytes {
    end: AtomicU64,
    map: OnceLock<Option<ChunkedMap>>,
}

impl DurableBytes {
    /// Nothing is mapped yet.
    pub(crate) fn new(end: u64) -> Self {
        Self { end: AtomicU64::new(end), map: OnceLock::new() }
    }

    /// Everything below `end` is durable, and nobody writes there any more.
    pub(crate) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// A copy of the bytes in `range` of `file`, which was made with `file_bytes`; `None` where they are not below
    /// the end, or where the mapping cannot give them: reading the file tells why.
    pub(crate) fn copy(&self, file: &File, file_bytes: u64, range: Range<u64>) -> Option<Vec<u8>> {
        if range.end > self.end.load(Ordering::Acquire) {
            return None;
        }
        let map = self.map.get_or_init(|| ChunkedMap::open(file, file_bytes)).as_ref()?;
        let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
        map.copy(start, end.checked_sub(start)?)
    }
}

/// A mapped segment, and which of its chunks were there when they were asked for.
#[derive(Debug)]
struct ChunkedMap {
    map: MmapRaw,
    asked: Vec<AtomicU64>,
    /// The kernel does not know the call.
    refused: AtomicBool,
}

impl ChunkedMap {
    fn open(file: &File, bytes: u64) -> Option<Self> {
        // A file that was cut since it was opened is not mapped: reading it gives an error, not a signal.
        if file.metadata().ok()?.len() < bytes {
            return None;
        }
        let map = MmapOptions::new().len(usize::try_from(bytes).ok()?).map_raw_read_only(file).ok()?;
        let asked = (0..map.len().div_ceil(CHUNK_BYTES).div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Some(Self { map, asked, refused: AtomicBool::new(false) })
    }

    fn copy(&self, at: usize, bytes: usize) -> Option<Vec<u8>> {
        let end = at.checked_add(bytes).filter(|end| *end <= self.map.len())?;
        for chunk in at / CHUNK_BYTES..end.div_ceil(CHUNK_BYTES) {
            self.ask(chunk)?;
        }
        let mut copy = Vec::with_capacity(bytes);
        // SAFETY: `at..end` lies within the mapping, and nobody writes there: it is below the durable end. The new
        // vector has room for `bytes` and is elsewhere, and all of `bytes` are set when its length is.
        unsafe {
            std::ptr::copy_nonoverlapping(self.map.as_ptr().add(at), copy.as_mut_ptr(), bytes);
            copy.set_len(bytes);
        }
        Some(copy)
    }

    /// Makes sure that a chunk was there once.
    fn ask(&self, chunk: usize) -> Option<()> {
        let (word, bit) = (self.asked.get(chunk / 64)?, 1 << (chunk % 64));
        if word.load(Ordering::Relaxed) & bit != 0 {
            return Some(());
        }
        if self.refused.load(Ordering::Relaxed) {
            return None;
        }
        let start = chunk * CHUNK_BYTES;
        match populate(&self.map, start, CHUNK_BYTES.min(self.map.len() - start)) {
            Ok(()) => {
                word.fetch_or(bit, Ordering::Relaxed);
                Some(())
            }
            Err(error) => {
                let unknown =
                    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported);
                self.refused.fetch_or(unknown, Ordering::Relaxed);
                None
            }
        }
    }
}

/// Brings a part of a file into memory, with an error where the disk does not give it.
#[cfg(target_os = "linux")]
fn populate(map: &MmapRaw, at: usize, bytes: usize) -> io::Result<()> {
    map.advise_range(Advice::PopulateRead, at, bytes)
}

/// Elsewhere no call is known that does this without a signal.
#[cfg(not(target_os = "linux"))]
fn populate(_map: &MmapRaw, _at: usize, _bytes: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    const BYTES: u64 = 4 * CHUNK_BYTES as u64;

    /// A file whose bytes tell their place.
    fn file() -> File {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..BYTES).map(told).collect();
        file.write_all_at(&bytes, 0).unwrap();
        file
    }

    fn told(at: u64) -> u8 {
        (at % 251) as u8
    }

    #[test]
    fn copies_what_is_below_the_end_and_nothing_else() {
        let file = file();
        let chunk = CHUNK_BYTES as u64;
        for end in [chunk - 1, chunk, chunk + 1, BYTES] {
            let durable = DurableBytes::new(0);
            let copy = |range| durable.copy(&file, BYTES, range);
            assert_eq!(copy(0..1), None);
            durable.set_end(end);
            assert_eq!(copy(0..end), Some((0..end).map(told).collect()));
            assert_eq!(copy(end - 1..end), Some(vec![told(end - 1)]));
            assert_eq!(copy(end - 1..end + 1), None);
            assert_eq!(copy(end..end + 1), None);
            assert_eq!(copy(end..end), Some(Vec::new()));
        }
        let durable = DurableBytes::new(u64::MAX);
        assert_eq!(durable.copy(&file, BYTES, BYTES - 1..BYTES + 1), None);
        assert_eq!(durable.copy(&file, BYTES, u64::MAX - 1..u64::MAX), None);
    }

    #[test]
    fn what_is_written_behind_the_end_is_seen_when_the_end_moves() {
        let file = file();
        let durable = DurableBytes::new(10);
        assert!(durable.copy(&file, BYTES, 0..10).is_some());
        file.write_all_at(b"later", 10).unwrap();
        durable.set_end(15);
        assert_eq!(durable.copy(&file, BYTES, 10..15), Some(b"later".to_vec()));
    }

    /// Touching a mapped page that the file does not reach would end the process.
    #[test]
    fn a_page_that_the_disk_does_not_give_is_no_signal() {
        let cut = file();
        let durable = DurableBytes::new(BYTES);
        let chunk = CHUNK_BYTES as u64;
        assert!(durable.copy(&cut, BYTES, 0..chunk).is_some());
        cut.set_len(chunk).unwrap();
        assert_eq!(durable.copy(&cut, BYTES, chunk - 1..chunk), Some(vec![told(chunk - 1)]));
        assert_eq!(durable.copy(&cut, BYTES, chunk - 1..chunk + 1), None);
        assert_eq!(durable.copy(&cut, BYTES, BYTES - 1..BYTES), None);
        let cut_before = DurableBytes::new(BYTES);
        assert_eq!(cut_before.copy(&cut, BYTES, 0..1), None);
    }

    #[test]
    fn where_the_kernel_does_not_know_the_call_nothing_new_is_touched() {
        let file = file();
        let map = ChunkedMap::open(&file, BYTES).unwrap();
        assert!(map.copy(0, 1).is_some());
        map.refused.store(true, Ordering::Relaxed);
        assert_eq!(map.copy(1, 1), Some(vec![told(1)]));
        assert_eq!(map.copy(CHUNK_BYTES, 1), None);
    }
}
