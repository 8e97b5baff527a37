//! The Java runtime: found, asked for its version, called.
//!
//! Owns which `java` it is. What is run with it, and with which settings, is the caller's.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::error::ServiceError;

/// Kafka's brokers and tools need this version or a later one.
const OLDEST: u32 = 17;

/// A Java runtime that is new enough.
#[derive(Debug, Clone)]
pub(crate) struct Java {
    program: PathBuf,
    /// Everything it says about its version and build: what was made for one runtime fits no other.
    pub(crate) version: String,
}

impl Java {
    /// The runtime of `JAVA_HOME` where that is set, else the one on the `PATH`.
    pub(crate) fn find() -> Result<Self, ServiceError> {
        Self::of_home(std::env::var_os("JAVA_HOME"))
    }

    /// The runtime below `home`, else the one on the `PATH`.
    pub(crate) fn of_home(home: Option<OsString>) -> Result<Self, ServiceError> {
        let home = home.filter(|home| !home.is_empty()).map(PathBuf::from);
        let program = home.map_or_else(|| PathBuf::from("java"), |home| home.join("bin/java"));
        let mut command = Command::new(&program);
        let output = command.arg("-version").stdin(Stdio::null()).output();
        let output = output.map_err(|source| ServiceError::NoJava { program: program.clone(), source })?;
        // The version goes to stderr, which a runtime may also use for remarks about its settings.
        let version = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if major(&version).is_none_or(|major| major < OLDEST) {
            let found = version.lines().next().unwrap_or("of no version").to_owned();
            return Err(ServiceError::OldJava { program, found });
        }
        Ok(Self { program, version })
    }

    /// A call of it, with nothing on its standard input.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.stdin(Stdio::null());
        command
    }
}

/// The feature release in `openjdk version "17.0.15" 2025-04-15`; before 9 it was the second number.
fn major(version: &str) -> Option<u32> {
    let number = version.split(" version \"").nth(1)?;
    let mut parts = number.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match parts.next()?.ok()? {
        1 => parts.next()?.ok(),
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_printed() {
        assert_eq!(major("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment"), Some(17));
        assert_eq!(major("Picked up JAVA_TOOL_OPTIONS: -Dx=1\njava version \"1.8.0_402\""), Some(8));
        assert_eq!(major("openjdk version \"25\" 2025-09-16"), Some(25));
        assert_eq!(major("openjdk version \"26-ea\" 2026-03-17"), Some(26));
        assert_eq!(major("command not found"), None);
    }

    #[test]
    fn a_missing_java_says_what_to_install() {
        let empty = tempfile::tempdir().unwrap();
        let e = Java::of_home(Some(empty.path().into())).unwrap_err();
        assert!(matches!(e, ServiceError::NoJava { .. }) && e.is_not_installed(), "{e}");
        let expected = format!("could not start {}/bin/java: ", empty.path().display());
        assert!(e.to_string().starts_with(&expected), "{e}");
        assert!(
            e.to_string().ends_with("install a Java runtime, version 17 or later, or set JAVA_HOME"),
            "{e}"
        );
    }
}
