//! Who a server runs as: PostgreSQL refuses to be root.
//!
//! Owns the change of user, which the program `setpriv` does, and what the other user may reach.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::ServiceError;
use crate::process::works;

/// The user that a server runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// The one that this process runs as.
    Own,
    /// Another one, of whom there is no more than an id, for user and group alike.
    Other {
        /// The id.
        id: u32,
    },
}

impl Account {
    /// The account for a program that refuses to be root: where we are root, `nobody`, as every system calls this id.
    pub(crate) fn other_than_root() -> Result<Self, ServiceError> {
        const NOBODY: u32 = 65_534;
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Own);
        }
        let account = Self::Other { id: NOBODY };
        let wrapper = account.wrapper();
        let words: Vec<_> = wrapper.iter().map(String::as_str).collect();
        if works(&words) { Ok(account) } else { Err(ServiceError::NoSetpriv) }
    }

    /// What a program's command line begins with so that it runs as this user.
    pub(crate) fn wrapper(self) -> Vec<String> {
        let Self::Other { id } = self else { return Vec::new() };
        let [user, group] = ["--reuid", "--regid"].map(|option| format!("{option}={id}"));
        vec!["setpriv".to_owned(), user, group, "--clear-groups".to_owned()]
    }

    /// A call of `program` as this user, with nothing on its standard input.
    pub(crate) fn command(self, program: &Path) -> Command {
        let wrapper = self.wrapper();
        let words = wrapper.iter().map(AsRef::as_ref).chain([program.as_os_str()]);
        let mut words = words.map(std::ffi::OsStr::to_owned);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).stdin(Stdio::null());
        command
    }

    /// Gives the user a file or directory.
    pub(crate) fn give(self, path: &Path) -> Result<(), ServiceError> {
        let Self::Other { id } = self else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(id), Some(id)).map_err(ServiceError::io(path))
    }

    /// Whether the user can come to `directory` at all: all may pass through it and what it is in.
    pub(crate) fn reaches(self, directory: &Path) -> bool {
        let is_open = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o001 != 0);
        self == Self::Own || directory.ancestors().all(is_open)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn who_may_not_pass_a_directory_reaches_nothing_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let set = |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
        set(0o700);
        assert!(Account::Own.reaches(&inner) && !Account::Other { id: 1 }.reaches(&inner));
        assert!(Account::Other { id: 1 }.reaches(Path::new("/usr/bin")));
    }

    #[test]
    fn a_program_is_called_behind_the_change_of_user() {
        let words = |account: Account| {
            let command = account.command(Path::new("initdb"));
            [vec![command.get_program().to_owned()], command.get_args().map(ToOwned::to_owned).collect()]
                .concat()
        };
        assert_eq!(words(Account::Own), ["initdb"]);
        let other = ["setpriv", "--reuid=7", "--regid=7", "--clear-groups", "initdb"];
        assert_eq!(words(Account::Other { id: 7 }), other);
    }
}
