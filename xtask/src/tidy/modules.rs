//! Source files that no module declares: the compiler never sees them, and nobody notices.

use std::collections::BTreeSet;

use super::Finding;

/// The files and the `mod` declarations below the `src` directories seen.
#[derive(Debug, Default)]
pub(super) struct Modules {
    /// A source directory, the name of a module's file in it, and its path.
    files: Vec<(String, String, String)>,
    /// A source directory and the name of a module declared in it.
    declared: BTreeSet<(String, String)>,
}

impl Modules {
    /// Notes a file and what it declares, where it is below a `src`.
    pub(super) fn note(&mut self, path: &str, text: &str) {
        let Some((directory, file)) = path.rsplit_once("src/") else { return };
        let Some(stem) = file.strip_suffix(".rs") else { return };
        for line in text.lines() {
            let item = line.trim_start().strip_suffix(';').and_then(|item| item.rsplit_once("mod "));
            if let Some((_, name)) = item {
                self.declared.insert((directory.to_owned(), name.to_owned()));
            }
        }
        let stem = stem.strip_suffix("/mod").unwrap_or(stem);
        let name = stem.rsplit('/').next().unwrap_or(stem);
        if !matches!(stem, "lib" | "main") && !stem.starts_with("bin/") {
            self.files.push((directory.to_owned(), name.to_owned(), path.to_owned()));
        }
    }

    /// The files whose name no module of the same source directory declares.
    pub(super) fn orphans(self) -> Vec<Finding> {
        let Self { files, declared } = self;
        let orphans = files
            .into_iter()
            .filter(|(directory, name, _)| !declared.contains(&(directory.clone(), name.clone())));
        let what = "no module declares this file, it is never compiled";
        orphans.map(|(.., path)| Finding { path, line: 1, what: what.to_owned() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_nobody_declares_is_found() {
        let mut modules = Modules::default();
        for (path, text) in [
            (
                "crates/one/src/lib.rs",
                "pub mod a;\npub(crate) mod deep;\n#[cfg(test)]\nmod c;\n// mod left;\n",
            ),
            ("crates/one/src/a.rs", ""),
            ("crates/one/src/deep.rs", "    mod inner;\nmod inline {}\n"),
            ("crates/one/src/deep/inner.rs", ""),
            ("crates/one/src/c/mod.rs", ""),
            ("crates/one/src/inline.rs", ""),
            ("crates/two/src/a.rs", ""),
            ("crates/two/src/main.rs", ""),
            ("crates/two/src/bin/tool.rs", ""),
            ("crates/two/tests/ui/wrong.rs", ""),
        ] {
            modules.note(path, text);
        }
        let found: Vec<_> = modules.orphans().into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["crates/one/src/inline.rs", "crates/two/src/a.rs"]);
    }
}
