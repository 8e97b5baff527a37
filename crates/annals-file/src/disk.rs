//! The few calls by which the log touches the disk, so that tests can make each of them fail.
//!
//! Invariant: what `sync` returned `Ok` for is durable; a name is durable once its directory was synced.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

const CHUNK_BYTES: usize = 1 << 20;
const SYNCED_BYTES: usize = 8 << 20;

/// The disk of one log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    pub(crate) faults: std::sync::Arc<crate::faults::Faults>,
}

impl Disk {
    /// Writes `bytes` at `at` of a file that reaches that far.
    pub(crate) fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.write()?;
        file.write_all_at(bytes, at)
    }

    /// Makes all bytes written to `file` durable.
    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        self.faults.sync()?;
        file.sync_data()
    }

    /// Makes the names in a directory durable.
    pub(crate) fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    /// Makes a file of `bytes` zeros, really written and durable, so that writing to it later needs no new
    /// blocks and no journal. Stops with an error when `stop` is set; leaves no file behind on an error.
    pub(crate) fn create_zeroed(&self, path: &Path, bytes: u64, stop: &AtomicBool) -> io::Result<File> {
        let result = self.try_create_zeroed(path, bytes, stop);
        if result.is_err() {
            // The first error is the one to report; a leftover is removed when the log is opened next.
            let _ = std::fs::remove_file(path);
        }
        result
    }

    fn try_create_zeroed(&self, path: &Path, bytes: u64, stop: &AtomicBool) -> io::Result<File> {
        #[cfg(test)]
        self.faults.prepare()?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        let zeros = vec![0_u8; CHUNK_BYTES.min(bytes as usize)];
        let mut left = bytes as usize;
        while left > 0 {
            if stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("the log is being closed"));
            }
            let part = left.min(zeros.len());
            file.write_all(zeros.get(..part).unwrap_or_default())?;
            left -= part;
            // In small portions: a commit that comes meanwhile waits behind no more than one of them.
            if left.is_multiple_of(SYNCED_BYTES) {
                file.sync_data()?;
            }
        }
        file.sync_all()?;
        Ok(file)
    }

    /// Makes a file of `bytes` zeros that take no room yet and are not durable. Leaves no file behind on an error.
    pub(crate) fn create_sparse(&self, path: &Path, bytes: u64) -> io::Result<File> {
        #[cfg(test)]
        self.faults.prepare()?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        if let Err(error) = file.set_len(bytes) {
            // As above.
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        Ok(file)
    }

    /// Makes everything from `from` on zeros that take no room, in a file of `bytes`; needs no room for that.
    pub(crate) fn clear(&self, file: &File, from: u64, bytes: u64) -> io::Result<()> {
        file.set_len(from)?;
        file.set_len(bytes)
    }

    /// Overwrites `from..to` with zeros and makes that durable.
    pub(crate) fn zero(&self, file: &File, from: u64, to: u64) -> io::Result<()> {
        let zeros = vec![0_u8; CHUNK_BYTES];
        let mut at = from;
        while at < to {
            let part = zeros.len().min((to - at) as usize);
            self.write_at(file, zeros.get(..part).unwrap_or_default(), at)?;
            at += part as u64;
        }
        self.sync(file)
    }

    /// Writes a small file under a temporary name and renames it into place; durable when it returns.
    pub(crate) fn write_file(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let temporary = path.with_extension(format!(
            "{}.tmp",
            path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
        ));
        let mut file = File::create(&temporary)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |directory| self.sync_directory(directory))
    }
}
