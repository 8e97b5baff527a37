//! PostgreSQL on this machine: its programs, and a data directory that new servers get a copy of.
//!
//! Both are fetched and made once. They are kept in the cache, or, where the user that PostgreSQL runs as can't come
//! there (root's home is closed to others), in a folder of the system's temporary directory. The folder gets its name
//! when all is in it, and is not changed later.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use parking_lot::Mutex;

use crate::account::Account;
use crate::cache::{self, Lock};
use crate::error::ServiceError;
use crate::install::{digest, run_tool};
use crate::java::Java;
use crate::maven;

/// The version of PostgreSQL that is run.
pub const POSTGRES_VERSION: &str = "18.1.0";

const POM: &str = include_str!("../../../../tools/postgres/pom.xml");
const PROGRAMS: &str = "programs";
const TEMPLATE: &str = "template";

/// The user that every server has, who may do everything.
pub(crate) const USER: &str = "postgres";

/// A PostgreSQL that can be run.
#[derive(Debug, Clone)]
pub(crate) struct Install {
    pub(crate) account: Account,
    directory: PathBuf,
}

impl Install {
    /// Fetches and prepares what is not there yet, which is said on stderr.
    pub(crate) fn get() -> Result<Self, ServiceError> {
        static FOUND: Mutex<Option<Install>> = Mutex::new(None);
        // Held while it is searched: threads that come meanwhile would only do the same again.
        let mut found = FOUND.lock();
        if let Some(install) = &*found {
            return Ok(install.clone());
        }
        let account = Account::other_than_root()?;
        let place = within_reach(account, &cache::directory()?)?;
        let install = Self { account, directory: place.join(folder_name()) };
        if !install.directory.exists() {
            let _lock = Lock::wait(&place.join("postgres.lock"))?;
            install.fetch()?;
        }
        Ok(found.insert(install).clone())
    }

    /// The server itself.
    pub(crate) fn server(&self) -> PathBuf {
        self.program("postgres")
    }

    /// Makes a data directory at `path`, which does not exist and whose folder is the account's.
    pub(crate) fn make_data(&self, path: &Path) -> Result<(), ServiceError> {
        let template = self.directory.join(TEMPLATE);
        run_tool("cp", self.account.command(Path::new("cp")).arg("-R").args([&template, path])).map(drop)
    }

    fn program(&self, name: &str) -> PathBuf {
        self.directory.join(PROGRAMS).join("bin").join(name)
    }

    fn fetch(&self) -> Result<(), ServiceError> {
        if self.directory.exists() {
            return Ok(());
        }
        let platform = platform()?;
        // Maven needs one, and says less clearly that it is missing.
        Java::find()?;
        let partial = self.directory.with_file_name(format!("{}.partial", folder_name()));
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(ServiceError::io(&partial))?;
        }
        fs::create_dir_all(&partial).map_err(ServiceError::io(&partial))?;
        eprintln!(
            "annals-services: fetching PostgreSQL {POSTGRES_VERSION}, once, into {}",
            partial.display()
        );
        let jar = partial.join("jar");
        let output = format!("-DoutputDirectory={}", jar.display());
        let build = format!("-Dpostgres.platform={platform}");
        let unpack = ["dependency:unpack-dependencies", &output, &build];
        maven::run("PostgreSQL", POM, &partial, &unpack)?;
        unpack_archive(&jar, &partial.join(PROGRAMS))?;
        fs::remove_dir_all(&jar).map_err(ServiceError::io(&jar))?;
        let made = Self { directory: partial.clone(), ..self.clone() };
        made.make_template()?;
        fs::rename(&partial, &self.directory).map_err(ServiceError::io(&self.directory))
    }

    /// Every data directory begins as a copy of this one: copying takes a tenth of the time of making one.
    fn make_template(&self) -> Result<(), ServiceError> {
        let template = self.directory.join(TEMPLATE);
        fs::create_dir(&template).map_err(ServiceError::io(&template))?;
        self.account.give(&template)?;
        let mut command = self.account.command(&self.program("initdb"));
        command.arg("-D").arg(&template).args(["-U", USER, "-A", "trust", "-E", "UTF8"]);
        command.args(["--locale=C.UTF-8", "--locale-provider=builtin", "--no-sync", "--no-instructions"]);
        run_tool("initdb", &mut command).map(drop)
    }
}

/// `wanted`, or a folder of the temporary directory where the account can't come there.
pub(crate) fn within_reach(account: Account, wanted: &Path) -> Result<PathBuf, ServiceError> {
    if account.reaches(wanted) {
        return Ok(wanted.to_owned());
    }
    let user = rustix::process::geteuid().as_raw();
    let place = std::env::temp_dir().join(format!("annals-postgres-{user}"));
    fs::create_dir_all(&place).map_err(ServiceError::io(&place))?;
    // In a directory that all may write to, another user may have been first, and would say what is run.
    let owner = fs::metadata(&place).map_err(ServiceError::io(&place))?.uid();
    if owner != user {
        let source = io::Error::new(io::ErrorKind::PermissionDenied, format!("it belongs to user {owner}"));
        return Err(ServiceError::Io { path: place, source });
    }
    Ok(place)
}

fn unpack_archive(jar: &Path, programs: &Path) -> Result<(), ServiceError> {
    fs::create_dir(programs).map_err(ServiceError::io(programs))?;
    let entries = fs::read_dir(jar).map_err(ServiceError::io(jar))?;
    let is_archive = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "txz");
    let archive = entries.flatten().map(|entry| entry.path()).find(is_archive);
    let missing = || ServiceError::io(jar)(io::Error::new(io::ErrorKind::NotFound, "no .txz is in the jar"));
    let archive = archive.ok_or_else(missing)?;
    let mut command = Command::new("tar");
    command.arg("-xJf").arg(archive).arg("-C").arg(programs).arg("--no-same-owner").stdin(Stdio::null());
    run_tool("tar", &mut command).map(drop).map_err(|error| match error {
        ServiceError::Io { source, .. } => ServiceError::NoTar { source },
        error => error,
    })
}

/// The name of the build for this machine.
fn platform() -> Result<&'static str, ServiceError> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok("linux-amd64"),
        ("linux", "aarch64") => Ok("linux-arm64v8"),
        (os, arch) => Err(ServiceError::NoBuild { arch, os }),
    }
}

fn folder_name() -> String {
    format!("postgres-{POSTGRES_VERSION}-{}", digest(POM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_is_fetched() {
        assert!(POM.contains(&format!("<version>{POSTGRES_VERSION}</version>")));
    }
}
