//! The socket in a log's directory.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::listen::ListenError;

/// The most bytes of a socket's path: the system's field, less the zero byte at its end.
#[cfg(target_os = "linux")]
pub(super) const PATH_BYTES_MAX: usize = 107;
/// The most bytes of a socket's path: the system's field, less the zero byte at its end.
#[cfg(not(target_os = "linux"))]
pub(super) const PATH_BYTES_MAX: usize = 103;

/// Removes the socket when it is dropped.
pub(super) struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "the socket stays; the next start replaces it");
        }
    }
}

/// Listens at `path`.
pub(super) fn bind(path: &Path) -> Result<(UnixListener, Removed), ListenError> {
    let bytes = path.as_os_str().len();
    if bytes > PATH_BYTES_MAX || SocketAddr::from_pathname(path).is_err() {
        return Err(ListenError::PathTooLong { path: path.to_owned(), bytes, bytes_max: PATH_BYTES_MAX });
    }
    let failed = |source: io::Error| ListenError::System { at: path.display().to_string(), source };
    make_way(path)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    let removed = Removed(path.to_owned());
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok((listener, removed))
}

/// Removes a socket at which nobody answers.
fn make_way(path: &Path) -> Result<(), ListenError> {
    let failed = |source: io::Error| ListenError::System { at: path.display().to_string(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
        Ok(_) => Err(ListenError::InUse { path: path.to_owned() }),
    }
}
