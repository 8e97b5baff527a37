//! Maven: fetches what a `pom.xml` lists into a folder.
//!
//! Owns the call and its errors. What is fetched, and where it is kept, is the caller's.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{ServiceError, tail};

/// Writes `pom` into `directory` and runs the goals that `arguments` name on it.
pub(crate) fn run(
    what: &'static str,
    pom: &str,
    directory: &Path,
    arguments: &[&str],
) -> Result<(), ServiceError> {
    let path = directory.join("pom.xml");
    fs::write(&path, pom).map_err(ServiceError::io(&path))?;
    let mut command = Command::new("mvn");
    command.args(["-q", "-B", "-f"]).arg(&path).args(arguments).stdin(Stdio::null());
    let output = command.output().map_err(|source| ServiceError::NoMaven { source })?;
    if output.status.success() {
        return Ok(());
    }
    let all =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(ServiceError::Fetch { what, status: output.status, output: tail(&all) })
}
