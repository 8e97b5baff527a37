//! The limit programs: what the disk and a bare log reach with the same bytes, and nothing around them.
//!
//! They write into a file whose blocks were written and synced before, since a file that grows, or that was only
//! allocated, commits the file system's journal with every sync.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use parking_lot::{Condvar, Mutex};

use super::error::BenchError;

/// A file of real zeros, written over and over from its beginning.
#[derive(Debug)]
pub(super) struct ZeroedFile {
    file: File,
    path: std::path::PathBuf,
    bytes: u64,
    position: u64,
}

impl ZeroedFile {
    /// Makes a file of `bytes` zeros, durable when it returns.
    pub(super) fn create(path: &Path, bytes: u64) -> Result<Self, BenchError> {
        let io = || BenchError::io(path);
        let zeros = vec![0_u8; 1 << 20];
        let file = File::create_new(path).map_err(io())?;
        let mut written = 0;
        while written < bytes {
            file.write_all_at(&zeros, written).map_err(io())?;
            written += zeros.len() as u64;
        }
        file.sync_all().map_err(io())?;
        Ok(Self { file, path: path.to_owned(), bytes: written, position: 0 })
    }

    /// One group: `pwrite` and `fdatasync`.
    pub(super) fn commit(&mut self, group: &[u8]) -> Result<(), BenchError> {
        if self.position + group.len() as u64 > self.bytes {
            self.position = 0;
        }
        let written = self.file.write_all_at(group, self.position).and_then(|()| self.file.sync_data());
        written.map_err(BenchError::io(&self.path))?;
        self.position += group.len() as u64;
        Ok(())
    }
}

/// A bare group-commit log: clients put framed records into one queue, one thread writes and syncs what has
/// gathered. It has no index, decides nothing and cannot be read.
#[derive(Debug)]
pub(super) struct GroupLog {
    queue: Mutex<Queue>,
    work: Condvar,
    /// Clients of groups with even and with odd numbers.
    done: [Condvar; 2],
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    /// The number of the group being gathered, from 1.
    gathering: u64,
    synced: u64,
    stopping: bool,
    failed: bool,
}

impl GroupLog {
    pub(super) fn new() -> Self {
        let queue = Queue { gathering: 1, ..Queue::default() };
        Self { queue: Mutex::new(queue), work: Condvar::new(), done: [Condvar::new(), Condvar::new()] }
    }

    /// A client: puts a record into the queue and waits until it is durable.
    pub(super) fn append(&self, record: &[u8]) -> Result<(), BenchError> {
        let crc = crc32c::crc32c(record);
        let mut queue = self.queue.lock();
        let was_empty = queue.bytes.is_empty();
        queue.bytes.extend_from_slice(&crc.to_le_bytes());
        queue.bytes.extend_from_slice(&(record.len() as u32).to_le_bytes());
        queue.bytes.extend_from_slice(record);
        if was_empty {
            self.work.notify_one();
        }
        let group = queue.gathering;
        self.turn(group).wait_while(&mut queue, |queue| queue.synced < group && !queue.failed);
        if queue.failed { Err(BenchError::BareLogFailed) } else { Ok(()) }
    }

    /// The syncing thread: runs until [`GroupLog::stop`] and writes everything before it ends.
    pub(super) fn sync(&self, file: &mut ZeroedFile) -> Result<(), BenchError> {
        let mut group = Vec::new();
        loop {
            let mut queue = self.queue.lock();
            self.work.wait_while(&mut queue, |queue| queue.bytes.is_empty() && !queue.stopping);
            if queue.bytes.is_empty() {
                return Ok(());
            }
            group.clear();
            std::mem::swap(&mut group, &mut queue.bytes);
            let number = queue.gathering;
            queue.gathering += 1;
            drop(queue);
            let written = file.commit(&group);
            let mut queue = self.queue.lock();
            queue.synced = number;
            queue.failed = written.is_err();
            let waiting = if written.is_err() { vec![0, 1] } else { vec![number] };
            waiting.into_iter().for_each(|turn| {
                self.turn(turn).notify_all();
            });
            drop(queue);
            written?;
        }
    }

    pub(super) fn stop(&self) {
        self.queue.lock().stopping = true;
        self.work.notify_one();
    }

    fn turn(&self, group: u64) -> &Condvar {
        let [even, odd] = &self.done;
        if group.is_multiple_of(2) { even } else { odd }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zeroed_file_is_written_over_and_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("zeros");
        let mut file = ZeroedFile::create(&path, 1).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        assert_eq!(length, 1 << 20);
        for byte in [1, 2, 3] {
            file.commit(&vec![byte; 400 << 10]).unwrap();
        }
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!((bytes.len() as u64, bytes[0], bytes[400 << 10], bytes[800 << 10]), (length, 3, 2, 0));
    }

    #[test]
    fn the_bare_log_writes_every_record_before_it_answers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("zeros");
        let mut file = ZeroedFile::create(&path, 1).unwrap();
        let log = GroupLog::new();
        std::thread::scope(|scope| {
            let syncing = scope.spawn(|| log.sync(&mut file));
            let clients: Vec<_> = (0..8_u8)
                .map(|client| {
                    let (log, path) = (&log, &path);
                    scope.spawn(move || {
                        for n in 0..20 {
                            let record = [0xf0 | client, n, 0xff, 0xee];
                            log.append(&record).unwrap();
                            let written = std::fs::read(path).unwrap();
                            assert!(written.windows(4).any(|bytes| bytes == record));
                        }
                    })
                })
                .collect();
            let clients: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
            log.stop();
            syncing.join().unwrap().unwrap();
            clients.into_iter().for_each(|client| client.unwrap());
        });
    }
}
