//! What changed between a lock file and the code, and whether old data can still be read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::text::Shown;
use super::{Entry, Lock, Shape};
use crate::schema::Line;

/// One difference between a lock file and the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What changed; its shape is the newer one of the two.
    pub entry: Entry,
    /// How.
    pub kind: ChangeKind,
    /// The places that differ, by path; none where the whole is new or gone.
    pub lines: Vec<LineChange>,
}

/// How something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It is new. Write the file again.
    Added,
    /// It gained what old data need not have: an optional field, a case of an enum. Write the file again.
    Extended,
    /// Its shape was raised and every older one has an upcast. Write the file again.
    Raised {
        /// The shape in the file.
        from: u32,
    },
    /// Breaking: it is gone, and what is stored under its name can no longer be read. Keep a variant with that name.
    Removed,
    /// Breaking: it changed under the same shape version. Raise the shape and write an upcast, or restore it.
    Changed,
    /// Breaking: the file has a newer shape than the code. Use the newer code.
    Lowered {
        /// The shape in the file.
        from: u32,
    },
    /// Breaking: these older shapes have no upcast. Write one for each.
    NoUpcast {
        /// The older shapes.
        missing: Vec<u32>,
    },
}

impl ChangeKind {
    /// Whether data stored before the change may no longer be read, or be read as something else.
    #[must_use]
    pub fn is_breaking(&self) -> bool {
        !matches!(self, Self::Added | Self::Extended | Self::Raised { .. })
    }
}

/// A place in the data that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineChange {
    /// The line in the file, `path: type`.
    pub old: Option<String>,
    /// The line of the code.
    pub new: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.entry)?;
        match &self.kind {
            ChangeKind::Added => f.write_str("new")?,
            ChangeKind::Extended => f.write_str("gained what old data need not have")?,
            ChangeKind::Raised { from } => write!(f, "raised from shape {from}, with upcasts")?,
            ChangeKind::Removed => f.write_str("gone, so what is stored under its name cannot be read")?,
            ChangeKind::Changed => f.write_str("changed without a new shape")?,
            ChangeKind::Lowered { from } => write!(f, "the file has shape {from} already")?,
            ChangeKind::NoUpcast { missing } => {
                let missing: Vec<String> = missing.iter().map(u32::to_string).collect();
                write!(f, "no upcast from shape {}", missing.join(", "))?;
            }
        }
        for line in &self.lines {
            for (sign, text) in [('-', &line.old), ('+', &line.new)] {
                if let Some(text) = text {
                    write!(f, "\n  {sign} {text}")?;
                }
            }
        }
        self.advise(f)
    }
}

impl Change {
    fn advise(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { part, name, shape } = &self.entry;
        let stored = name.split_once('/').map_or(name.as_str(), |(_, name)| name);
        match &self.kind {
            ChangeKind::Added | ChangeKind::Extended | ChangeKind::Raised { .. } => Ok(()),
            ChangeKind::Removed if part.is_of_saga() => {
                f.write_str("\n  keep the saga until none of it is under way")
            }
            ChangeKind::Removed => write!(f, "\n  keep a variant with name = {stored:?}, or restore it"),
            ChangeKind::Changed if part.is_of_saga() => f.write_str(
                "\n  a saga's parts have no shapes: restore it, and give new fields #[serde(default)]",
            ),
            ChangeKind::Changed => {
                let was: Vec<String> = (1..=*shape).map(|older| format!("{older} = ..")).collect();
                let raised = format!("shape = {}, was({})", shape.saturating_add(1), was.join(", "));
                write!(f, "\n  raise its shape and write an upcast: {raised}; or restore it")
            }
            ChangeKind::Lowered { .. } => f.write_str("\n  use the code that wrote the file"),
            ChangeKind::NoUpcast { .. } => f.write_str("\n  list a type for each of them in was(..)"),
        }
    }
}

pub(super) fn compare(old: &Lock, new: &Lock) -> Vec<Change> {
    let mut changes: BTreeMap<&Entry, Change> = BTreeMap::new();
    for (entry, shape) in &new.entries {
        if let Some(change) = of_entry(old, entry, shape) {
            changes.insert(entry, change);
        }
    }
    for entry in old.entries.keys() {
        let newest = old.newest(entry) == Some(entry);
        if newest && new.newest(entry).is_none() {
            let change = Change { entry: entry.clone(), kind: ChangeKind::Removed, lines: Vec::new() };
            changes.insert(entry, change);
        }
    }
    changes.into_values().collect()
}

fn of_entry(old: &Lock, entry: &Entry, shape: &Shape) -> Option<Change> {
    let change = |kind, lines| Some(Change { entry: entry.clone(), kind, lines });
    let missing: Vec<u32> = (1..entry.shape).filter(|older| !shape.reads.contains(older)).collect();
    if !missing.is_empty() {
        return change(ChangeKind::NoUpcast { missing }, Vec::new());
    }
    let Some(newest) = old.newest(entry) else {
        return change(ChangeKind::Added, Vec::new());
    };
    let pinned = &old.entries.get(newest)?.lines;
    let lines = differing(pinned, &shape.lines);
    let from = newest.shape;
    match from.cmp(&entry.shape) {
        std::cmp::Ordering::Less => change(ChangeKind::Raised { from }, lines),
        std::cmp::Ordering::Greater => change(ChangeKind::Lowered { from }, lines),
        std::cmp::Ordering::Equal if lines.is_empty() => None,
        std::cmp::Ordering::Equal if extends(pinned, &shape.lines) => change(ChangeKind::Extended, lines),
        std::cmp::Ordering::Equal => change(ChangeKind::Changed, lines),
    }
}

fn differing(old: &BTreeMap<String, Line>, new: &BTreeMap<String, Line>) -> Vec<LineChange> {
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let shown = |path: &String, lines: &BTreeMap<String, Line>| {
        lines.get(path).map(|line| Shown(path, line).to_string())
    };
    paths
        .into_iter()
        .map(|path| LineChange { old: shown(path, old), new: shown(path, new) })
        .filter(|line| line.old != line.new)
        .collect()
}

/// Whether everything that fits `old` fits `new` and reads as the same.
fn extends(old: &BTreeMap<String, Line>, new: &BTreeMap<String, Line>) -> bool {
    let kept = old.iter().all(|(path, old)| {
        new.get(path).is_some_and(|new| {
            let same = new.text == old.text || new.text.strip_suffix(" | null") == Some(old.text.as_str());
            same && (new.optional || !old.optional)
        })
    });
    let added = |path: &str| !old.contains_key(path) && new.contains_key(path);
    let need_not_be = new.iter().all(|(path, line)| {
        let is_case = owner(path).is_some_and(|(_, separator)| separator == '|');
        !added(path) || line.optional || is_case || owner(path).is_some_and(|(owner, _)| added(owner))
    });
    kept && need_not_be
}

/// The place that `path` is in, and what separates the two.
fn owner(path: &str) -> Option<(&str, char)> {
    let (mut quoted, mut escaped, mut found) = (false, false, None);
    for (index, c) in path.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '.' | '[' | '{' | '|' | '&' if !quoted => found = Some((index, c)),
            _ => {}
        }
    }
    let (index, separator) = found?;
    Some((path.get(..index)?, separator))
}
