//! Folders for the data of servers that end with their process, and their removal.
//!
//! A folder is removed when its value is dropped. A process that is killed drops nothing, so each folder has a lock
//! that ends with its process, and whoever makes the next folder removes those without an owner, and the servers
//! that were left in them. `ANNALS_KEEP=1` keeps a folder for a look at logs and data; then nobody removes it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cache::Lock;
use crate::error::ServiceError;
use crate::process::Known;

const OWNER: &str = "owner.lock";
const KEPT: &str = "kept";

/// A folder of one's own.
#[derive(Debug)]
pub(crate) struct Scratch {
    directory: PathBuf,
    is_kept: bool,
    _owner: Lock,
}

impl Scratch {
    /// Makes a folder in the system's temporary directory, and removes what others left there.
    pub(crate) fn new() -> Result<Self, ServiceError> {
        // By user: a directory that one made is not for all to write.
        let user = rustix::process::getuid().as_raw();
        let base = std::env::temp_dir().join(format!("annals-services-{user}"));
        Self::new_in(&base, std::env::var_os("ANNALS_KEEP").is_some_and(|keep| keep == "1"))
    }

    fn new_in(base: &Path, is_kept: bool) -> Result<Self, ServiceError> {
        fs::create_dir_all(base).map_err(ServiceError::io(base))?;
        // Held over both: a folder made and not locked yet looks like one without an owner.
        let _making = Lock::wait(&base.join("making.lock"))?;
        sweep(base)?;
        let directory = make(base)?;
        let owner = Lock::wait(&directory.join(OWNER))?;
        if is_kept {
            let path = directory.join(KEPT);
            fs::write(&path, "").map_err(ServiceError::io(&path))?;
        }
        Ok(Self { directory, is_kept, _owner: owner })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.is_kept {
            eprintln!("annals-services: kept {}", self.directory.display());
        } else {
            // What can't be removed now is removed by the next sweep.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Notes a server's process in its folder, for whoever may have to clean up.
pub(crate) fn note_process(directory: &Path, id: u32) -> Result<(), ServiceError> {
    let path = directory.join("pid");
    fs::write(&path, id.to_string()).map_err(ServiceError::io(&path))
}

/// Kills the servers noted in the folders below `directory`, if they still run.
pub(crate) fn kill_noted(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for folder in entries.flatten().map(|entry| entry.path()) {
        let noted = fs::read_to_string(folder.join("pid")).ok().and_then(|text| text.trim().parse().ok());
        if let Some(id) = noted {
            Known { id, mark: &folder }.kill();
        }
    }
}

fn make(base: &Path) -> Result<PathBuf, ServiceError> {
    let mut number = 0_u32;
    loop {
        let directory = base.join(format!("{}-{number}", std::process::id()));
        match fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(source) => return Err(ServiceError::Io { path: directory, source }),
        }
    }
}

fn sweep(base: &Path) -> Result<(), ServiceError> {
    let entries = fs::read_dir(base).map_err(ServiceError::io(base))?;
    for directory in entries.flatten().map(|entry| entry.path()) {
        if !directory.is_dir() || directory.join(KEPT).exists() {
            continue;
        }
        // An owner that removes its folder at this moment makes these fail, and is not in the way.
        if let Ok(Some(_owner)) = Lock::try_take(&directory.join(OWNER)) {
            kill_noted(&directory);
            let _ = fs::remove_dir_all(&directory);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_value() {
        let base = tempfile::tempdir().unwrap();
        let one = Scratch::new_in(base.path(), false).unwrap();
        let two = Scratch::new_in(base.path(), false).unwrap();
        assert!(one.path().is_dir() && two.path().is_dir() && one.path() != two.path());
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists());
    }

    #[test]
    fn folders_without_an_owner_are_swept_unless_kept() {
        let base = tempfile::tempdir().unwrap();
        let (left, kept) = (base.path().join("1-0"), base.path().join("1-1"));
        fs::create_dir_all(left.join("node-1")).unwrap();
        fs::create_dir_all(&kept).unwrap();
        fs::write(kept.join(KEPT), "").unwrap();
        let _mine = Scratch::new_in(base.path(), false).unwrap();
        assert!(!left.exists());
        assert!(kept.exists());
    }

    #[test]
    fn a_kept_folder_stays() {
        let base = tempfile::tempdir().unwrap();
        let path = Scratch::new_in(base.path(), true).unwrap().path().to_owned();
        assert!(path.exists());
        drop(Scratch::new_in(base.path(), false).unwrap());
        assert!(path.exists());
    }
}
