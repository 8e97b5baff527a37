//! Tidy: the rules of the house that no compiler checks.
//!
//! Looks at every text file of the workspace and reports each place that breaks a rule as `path:line: what`.
//! Reads only; what rustfmt and clippy check is theirs. The rules are crude on purpose (they see characters, not
//! syntax): where one is wrong about good code, the rule is changed, there are no exceptions to switch it off.

mod modules;
mod rules;
mod source;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::step::TaskError;
use modules::Modules;

/// What is not written by people; `.git` is a directory or, in a linked work tree, a file.
const SKIPPED: &[&str] = &["target", ".git", "node_modules"];
/// Files that people write, by the end of their names.
const WRITTEN: &[&str] =
    &["rs", "toml", "md", "sh", "yml", "yaml", "json", "html", "css", "js", "sql", "proto"];

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// The file, from the workspace's directory.
    path: String,
    /// The line, from 1.
    line: usize,
    /// What to put right.
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Checks the tree below `root` and prints what it finds.
pub fn run(root: &Path) -> Result<(), TaskError> {
    eprintln!("$ tidy");
    let findings = check(root)?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() { Ok(()) } else { Err(TaskError::Untidy { count: findings.len() }) }
}

/// All findings below `root`, in the order of paths.
fn check(root: &Path) -> Result<Vec<Finding>, TaskError> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let mut findings = Vec::new();
    let mut modules = Modules::default();
    for file in files {
        let bytes = fs::read(&file).map_err(|source| unreadable(&file, source))?;
        let path = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        let text = String::from_utf8_lossy(&bytes);
        let found = rules::check(&path, &text);
        findings.extend(found.into_iter().map(|(line, what)| Finding { path: path.clone(), line, what }));
        modules.note(&path, &text);
    }
    findings.extend(modules.orphans());
    Ok(findings)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), TaskError> {
    let entries = fs::read_dir(directory).map_err(|source| unreadable(directory, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| unreadable(directory, source))?;
        let kind = entry.file_type().map_err(|source| unreadable(directory, source))?;
        let path = entry.path();
        if SKIPPED.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if kind.is_dir() {
            collect(&path, files)?;
        } else if kind.is_file() && is_written(&path) {
            files.push(path);
        }
    }
    Ok(())
}

/// Files without an extension (licences, scripts, dot files) are written by people too.
fn is_written(path: &Path) -> bool {
    path.extension().is_none_or(|extension| WRITTEN.iter().any(|written| extension == *written))
}

fn unreadable(path: &Path, source: io::Error) -> TaskError {
    TaskError::Read { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn this_workspace_is_tidy() {
        let findings = check(crate::root()).unwrap();
        let all: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert!(all.is_empty(), "{}", all.join("\n"));
    }

    #[test]
    fn a_bad_file_is_found_wherever_people_write() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "crates/one/src/lib.rs", "//! Fine.\nmod bad;\n");
        write(root.path(), "crates/one/src/bad.rs", "fn main() {}\n");
        write(root.path(), ".ci/run", concat!("cd /ho", "me/me\n"));
        write(root.path(), "target/debug/build/out.rs", "fn main() {}\n");
        write(root.path(), ".git", concat!("gitdir: /ho", "me/me\n"));
        write(root.path(), "data.bin", concat!("cd /ho", "me/me\n"));

        let found: Vec<_> = check(root.path()).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                concat!(".ci/run:1: a path of one machine: /ho", "me/"),
                "crates/one/src/bad.rs:1: the module does not open with `//!`",
            ]
        );
        assert!(matches!(run(root.path()), Err(TaskError::Untidy { count: 2 })));
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let e = check(&root.path().join("absent")).unwrap_err();
        assert!(matches!(e, TaskError::Read { .. }), "{e}");
    }
}
