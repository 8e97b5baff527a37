//! The cache: a directory outside the tree for what is fetched once, and for services that outlive a task.
//!
//! Owns where it is, and locks in it. What is put there in full is put beside and renamed into place, so that what
//! has its name is whole; the locks only keep two processes from doing the same work twice.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use crate::error::ServiceError;

/// `$ANNALS_CACHE`, else `$XDG_CACHE_HOME/annals`, else `~/.cache/annals`; made if it is not there.
pub(crate) fn directory() -> Result<PathBuf, ServiceError> {
    let directory = locate(|name| std::env::var_os(name)).ok_or(ServiceError::NoCache)?;
    fs::create_dir_all(&directory).map_err(ServiceError::io(&directory))?;
    // Java's class archive and the tools run elsewhere: a relative path would mean another place there.
    directory.canonicalize().map_err(ServiceError::io(&directory))
}

fn locate(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("ANNALS_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|caches| caches.join("annals")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/annals")))
}

/// A lock between processes; it ends with the value, or with the process however that ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Waits for the lock on `path`, a file that is made if need be.
    pub(crate) fn wait(path: &Path) -> Result<Self, ServiceError> {
        let file = open(path)?;
        file.lock().map_err(ServiceError::io(path))?;
        Ok(Self { file })
    }

    /// Takes the lock on `path` unless another has it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>, ServiceError> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(source)) => Err(ServiceError::Io { path: path.to_owned(), source }),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would do, but for a child between its fork and its exec, which has the same open file.
        let _ = self.file.unlock();
    }
}

fn open(path: &Path) -> Result<File, ServiceError> {
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    opened.map_err(ServiceError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(variables: &[(&str, &str)]) -> Option<PathBuf> {
        locate(|wanted| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.into()))
    }

    #[test]
    fn the_nearest_variable_decides() {
        let all = [("ANNALS_CACHE", "/a"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(located(&all), Some("/a".into()));
        assert_eq!(located(&all[1..]), Some("/x/annals".into()));
        assert_eq!(located(&all[2..]), Some("/h/.cache/annals".into()));
        assert_eq!(located(&[("ANNALS_CACHE", ""), ("HOME", "/h")]), Some("/h/.cache/annals".into()));
        assert_eq!(located(&[]), None);
    }

    #[test]
    fn a_lock_is_taken_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let lock = Lock::wait(&path).unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(lock);
        assert!(Lock::try_take(&path).unwrap().is_some());
    }
}
