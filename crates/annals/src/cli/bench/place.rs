//! The directory a benchmark works in: taken for it alone, and left as it was found.
//!
//! Invariant: nothing is removed but entries called `work-..` in a directory that carries the benchmark's mark,
//! so a directory that somebody else's data lie in is refused untouched.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::error::BenchError;

const MARK: &str = "annals-bench.lock";
const WORK: &str = "work-";

/// A directory that is ours for now. Dropping it removes what the benchmark made.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    /// Whether the directory itself is to go in the end.
    made: bool,
    /// Held so that another benchmark keeps out.
    _lock: File,
}

impl Place {
    /// Takes `directory`, which must be new, empty, or left over from a benchmark that was interrupted.
    pub(super) fn take(directory: &Path) -> Result<Self, BenchError> {
        let is_new = !directory.exists();
        std::fs::create_dir_all(directory).map_err(BenchError::io(directory))?;
        let names = names(directory)?;
        let marked = names.iter().any(|name| name == MARK);
        let foreign = names.into_iter().find(|name| name != MARK && !(marked && name.starts_with(WORK)));
        if let Some(found) = foreign {
            return Err(BenchError::Occupied { directory: directory.to_owned(), found });
        }
        let mark = directory.join(MARK);
        let lock = File::options().create(true).append(true).open(&mark).map_err(BenchError::io(&mark))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(BenchError::Busy { directory: directory.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(BenchError::Io { path: mark, source }),
        }
        let place = Self { directory: directory.to_owned(), made: is_new || marked, _lock: lock };
        place.clear()?;
        Ok(place)
    }

    /// A path in it that nothing lies at, for a file or directory.
    pub(super) fn fresh(&self, name: &str) -> Result<PathBuf, BenchError> {
        let path = self.directory.join(format!("{WORK}{name}"));
        remove(&path)?;
        Ok(path)
    }

    fn clear(&self) -> Result<(), BenchError> {
        let mut ours = names(&self.directory)?.into_iter().filter(|name| name.starts_with(WORK));
        ours.try_for_each(|name| remove(&self.directory.join(name)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut cleared = self.clear();
        if cleared.is_ok() {
            let mark = self.directory.join(MARK);
            cleared = std::fs::remove_file(&mark).map_err(BenchError::io(&mark));
        }
        if let Err(error) = cleared {
            eprintln!("warning: what the benchmark made is not all removed: {error}");
        } else if self.made {
            // Stays where somebody has put something into it meanwhile.
            let _ = std::fs::remove_dir(&self.directory);
        }
    }
}

/// Whether files at `path` live in memory: syncs cost nothing there.
pub(super) fn is_in_memory(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    path.canonicalize().is_ok_and(|path| matches!(file_system(&mounts, &path), Some("tmpfs" | "ramfs")))
}

/// The kind of the file system that `path` is on, by the text of `/proc/self/mounts`.
fn file_system<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mount = |line: &'a str| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?.replace("\\040", " ");
        path.starts_with(&point).then_some((point.len(), fields.next()?))
    };
    // Of two mounts at one point the later one is seen; `max_by_key` gives the last of equals.
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

fn names(directory: &Path) -> Result<Vec<String>, BenchError> {
    let entries = std::fs::read_dir(directory).map_err(BenchError::io(directory))?;
    entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()
        .map_err(BenchError::io(directory))
}

fn remove(path: &Path) -> Result<(), BenchError> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(BenchError::io(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_left_as_it_was_found() {
        let parent = tempfile::tempdir().unwrap();
        let made = parent.path().join("a").join("b");
        let place = Place::take(&made).unwrap();
        std::fs::create_dir(place.fresh("log").unwrap()).unwrap();
        std::fs::write(place.fresh("file").unwrap(), "x").unwrap();
        assert!(matches!(Place::take(&made), Err(BenchError::Busy { .. })));
        drop(place);
        assert!(!made.exists());

        let empty = parent.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        drop(Place::take(&empty).unwrap());
        assert!(names(&empty).unwrap().is_empty());
    }

    #[test]
    fn what_others_made_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        // The name alone does not make it ours: there is no mark.
        for name in ["data", "work-log"] {
            let file = directory.path().join(name);
            std::fs::write(&file, "x").unwrap();
            let error = Place::take(directory.path()).unwrap_err();
            assert!(matches!(&error, BenchError::Occupied { found, .. } if found == name), "{error}");
            assert!(error.is_wrong_use());
            assert_eq!(names(directory.path()).unwrap(), [name]);
            std::fs::remove_file(file).unwrap();
        }
    }

    #[test]
    fn what_an_interrupted_benchmark_left_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("bench");
        std::fs::create_dir_all(directory.join("work-log").join("shard")).unwrap();
        std::fs::write(directory.join(MARK), "").unwrap();
        let place = Place::take(&directory).unwrap();
        assert_eq!(names(&directory).unwrap(), [MARK]);
        drop(place);
        assert!(!directory.exists());
    }

    #[test]
    fn the_innermost_mount_decides() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/a\\040b xfs rw 0 0\n";
        for (path, kind) in [("/x", "ext4"), ("/tmp/x", "tmpfs"), ("/tmp/a b/x", "xfs"), ("/tmpx", "ext4")] {
            assert_eq!(file_system(mounts, Path::new(path)), Some(kind), "{path}");
        }
    }
}
