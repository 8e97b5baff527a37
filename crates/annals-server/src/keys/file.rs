//! The file of keys: read whole, read again when it changes, written by replacing it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::{Key, Keys, hash};

/// How often the file is looked at, at most.
const LOOK: Duration = Duration::from_millis(500);
/// The most bytes of a key file: some ten thousand keys.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A file of keys that is read again when it changes.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    keys: Arc<Keys>,
    seen: Seen,
    looked: Instant,
    trouble: Option<String>,
}

/// What tells that a file has changed.
type Seen = Option<(SystemTime, u64)>;

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Look at what the operating system says.
    #[error("{}: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Let its owner alone read and write it: `chmod 600`.
    #[error("{} may be read or written by others than its owner; chmod 600 it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// Correct the line; `annals keys` writes such files.
    #[error("{}, line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Remove keys, or use several servers.
    #[error("{} has {bytes} bytes, the most is {FILE_BYTES_MAX}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
}

impl KeyFile {
    /// Reads a file of keys.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, KeyFileError> {
        let path = path.into();
        let (keys, seen) = load(&path)?;
        let (keys, looked) = (Arc::new(keys), Instant::now());
        Ok(Self { path, state: Mutex::new(State { keys, seen, looked, trouble: None }) })
    }

    /// The keys in a file, in their order; none where there is no file.
    pub fn list(path: &Path) -> Result<Vec<Key>, KeyFileError> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            _ => read(path).map(|(keys, _)| keys),
        }
    }

    /// Writes a file of these keys in the place of what was there, whole or not at all; its owner alone may read it.
    pub fn write(path: &Path, keys: &[Key]) -> Result<(), KeyFileError> {
        let failed = |source| KeyFileError::System { path: path.to_owned(), source };
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let write = || -> io::Result<()> {
            let mut options = File::options();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&new)?;
            for key in keys {
                let line = serde_json::to_string(key).map_err(io::Error::other)?;
                writeln!(file, "{line}")?;
            }
            file.sync_all()?;
            fs::rename(&new, path)
        };
        write().map_err(failed)
    }

    /// The key of a secret, as the file is now.
    #[must_use]
    pub fn find(&self, secret: &str) -> Option<Key> {
        self.fresh().get(&hash(secret)).cloned()
    }

    /// Why the file could not be read when it last changed; the keys before that change are in use.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        drop(self.fresh());
        self.state.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone()
    }

    fn fresh(&self) -> Arc<Keys> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK {
            state.looked = Instant::now();
            if state.trouble.is_some() || seen(&self.path) != state.seen {
                match load(&self.path) {
                    Ok((keys, seen)) => {
                        tracing::info!(keys = keys.len(), "the file of keys was read again");
                        (state.keys, state.seen, state.trouble) = (Arc::new(keys), seen, None);
                    }
                    Err(error) => {
                        let trouble = error.to_string();
                        if state.trouble.as_ref() != Some(&trouble) {
                            tracing::error!(%error, "the file of keys cannot be read; the keys before stay");
                        }
                        state.trouble = Some(trouble);
                    }
                }
            }
        }
        Arc::clone(&state.keys)
    }
}

fn seen(path: &Path) -> Seen {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn load(path: &Path) -> Result<(Keys, Seen), KeyFileError> {
    let (keys, seen) = read(path)?;
    Ok((keys.into_iter().map(|key| (key.sha256.clone(), key)).collect(), seen))
}

fn read(path: &Path) -> Result<(Vec<Key>, Seen), KeyFileError> {
    let failed = |source| KeyFileError::System { path: path.to_owned(), source };
    let seen = seen(path);
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(KeyFileError::TooLarge { path: path.to_owned(), bytes: metadata.len() });
    }
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0 {
        return Err(KeyFileError::Open { path: path.to_owned() });
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let keys: Result<Vec<Key>, KeyFileError> =
        lines.map(|(index, line)| parse(path, index + 1, line)).collect();
    Ok((keys?, seen))
}

fn parse(path: &Path, line: usize, text: &str) -> Result<Key, KeyFileError> {
    let wrong = |reason: String| KeyFileError::Line { path: path.to_owned(), line, reason };
    let key: Key = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if key.sha256.len() != 64 || !key.sha256.bytes().all(is_digit) {
        return Err(wrong("sha256 must be 64 hexadecimal digits in lower case".to_owned()));
    }
    if key.actor.is_empty() || key.actor.chars().any(char::is_control) {
        return Err(wrong("actor must not be empty and have no control characters".to_owned()));
    }
    Ok(key)
}
