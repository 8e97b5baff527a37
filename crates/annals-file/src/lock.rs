//! The writer's lock: one process writes a log directory at a time.
//!
//! Invariant: it is the operating system's lock on the open file (`flock`), so it ends with the process however
//! that ends; the text in the file is for people and for the error message only.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::directory::LOCK;
use crate::error::OpenError;

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub(crate) struct WriterLock {
    file: File,
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        // Closing the file would do, were it not for a child process between its fork and its exec: it has the
        // same open file for a moment. An unlock that fails leaves the lock to the closing.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl WriterLock {
    /// Takes the lock of a log directory, or says who has it.
    pub(crate) fn take(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(LOCK);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(|error| OpenError::io(&path, error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(OpenError::InUse { directory: directory.to_owned(), holder: holder(&mut file) });
            }
            Err(error) => return Err(OpenError::io(&path, error.into())),
        }
        write_holder(&mut file).map_err(|error| OpenError::io(&path, error))?;
        Ok(Self { file })
    }
}

fn write_holder(file: &mut File) -> std::io::Result<()> {
    let host = rustix::system::uname();
    let text = format!("process {} on {}\n", std::process::id(), host.nodename().to_string_lossy());
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}
