//! The rules of tidy, each a function from a file's text to the lines that break it.
//!
//! A rule reports a line and what to put right. Tests (files below a `tests` directory or so named, blocks under
//! `#[cfg(test)]`, functions under `#[test]`) may be long; nothing else is let off.

use std::ops::Range;
use std::path::Path;

use super::source::{Source, is_word};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

/// Input to compile-fail and format tests: not modules.
const FIXTURES: &[&str] = &["ui", "fixtures", "compile_fail"];
/// Words that promise work instead of doing it.
const LEFTOVERS: &[&str] = &["TODO", "FIXME", "XXX"];
/// Where people keep their checkouts; in two pieces each, so that this file passes its own rule.
const MACHINE_PATHS: &[&str] =
    &[concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")];

type Found = Vec<(usize, String)>;

/// What `text`, the file at `path`, breaks, in the order of lines.
pub fn check(path: &str, text: &str) -> Found {
    let mut found = machine_paths(text);
    if path.ends_with(".rs") {
        let source = Source::of(text);
        found.extend(file_length(text));
        found.extend(leftovers(&source));
        if !lies_in(path, FIXTURES) {
            found.extend(module_docs(text));
        }
        if !is_test(path) {
            found.extend(function_lengths(&without_tests(&source.code)));
        }
    }
    found.sort();
    found
}

fn lies_in(path: &str, directories: &[&str]) -> bool {
    let parents = Path::new(path).parent().into_iter().flat_map(Path::components);
    parents.into_iter().any(|part| directories.iter().any(|name| part.as_os_str() == *name))
}

fn is_test(path: &str) -> bool {
    lies_in(path, &["tests"]) || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

fn file_length(text: &str) -> Option<(usize, String)> {
    let lines = text.lines().count();
    (lines > FILE_LINES_MAX).then(|| {
        (FILE_LINES_MAX + 1, format!("the file has {lines} lines, {FILE_LINES_MAX} are allowed: split it"))
    })
}

/// Inner attributes may come first; `#![doc = include_str!(..)]` is documentation itself.
fn module_docs(text: &str) -> Option<(usize, String)> {
    let is_attribute = |line: &str| line.starts_with("#![") && !line.starts_with("#![doc");
    let lines = text.lines().enumerate();
    let mut lines = lines.filter(|(_, line)| !line.trim().is_empty() && !is_attribute(line));
    let (line, first) = lines.next().unwrap_or((0, ""));
    let opens = first.starts_with("//!") || first.starts_with("#![doc");
    (!opens).then(|| (line + 1, "the module does not open with `//!`".to_owned()))
}

fn leftovers(source: &Source) -> Found {
    let words = LEFTOVERS.iter().flat_map(|word| words(&source.comments, word).map(move |at| (at, *word)));
    let in_comments = words.map(|(at, word)| {
        (line_of(&source.comments, at), format!("`{word}`: do it, or say what is so and why"))
    });
    let macros = ["todo", "unimplemented"].into_iter();
    let calls = macros.flat_map(|name| words_before(&source.code, name, '!').map(move |at| (at, name)));
    let in_code = calls.map(|(at, name)| (line_of(&source.code, at), format!("`{name}!`: write it")));
    in_comments.chain(in_code).collect()
}

/// Only where the path begins: `docs/home/x` and `https://home/x` are no paths of a machine.
fn machine_paths(text: &str) -> Found {
    let begins = |before: &str| {
        let joins = |c: char| is_word(c) || ".~-})]>*".contains(c);
        !before.ends_with(joins) && !before.ends_with(":/")
    };
    let places = MACHINE_PATHS.iter().flat_map(|path| text.match_indices(path));
    let places = places.filter(|(at, _)| begins(text.get(..*at).unwrap_or_default()));
    places.map(|(at, path)| (line_of(text, at), format!("a path of one machine: {path}"))).collect()
}

fn function_lengths(code: &str) -> Found {
    let functions = words_before(code, "fn", ' ').filter_map(|at| {
        let body = block(code, at)?;
        let lines = code.get(at..body.end)?.lines().count();
        let name: String = code.get(at + 3..)?.chars().take_while(|c| is_word(*c) || *c == '$').collect();
        (lines > FUNCTION_LINES_MAX).then(|| {
            let what = format!("`{name}` has {lines} lines, {FUNCTION_LINES_MAX} are allowed: split it");
            (line_of(code, at), what)
        })
    });
    functions.collect()
}

/// The code with everything under `#[cfg(test)]` and `#[test]` blank.
fn without_tests(code: &str) -> String {
    let mut rest = code.to_owned();
    for marker in ["#[cfg(test)]", "#[test]"] {
        let mut from = 0;
        while let Some(at) = rest.get(from..).and_then(|after| after.find(marker)).map(|at| at + from) {
            from = at + marker.len();
            let Some(block) = block(&rest, from) else { continue };
            let item = at..block.end;
            let inside = rest.get(item.clone()).unwrap_or_default();
            let blank: String = inside.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
            from = at + blank.len();
            rest.replace_range(item, &blank);
        }
    }
    rest
}

/// The next block in braces from `from` on, braces included; `None` where a `;` ends the item before.
fn block(code: &str, from: usize) -> Option<Range<usize>> {
    let mut start = None;
    let mut brackets = 0_i32;
    let mut braces = 0_i32;
    for (at, c) in code.get(from..)?.char_indices() {
        match c {
            '(' | '[' if start.is_none() => brackets += 1,
            ')' | ']' if start.is_none() => brackets -= 1,
            ';' if start.is_none() && brackets == 0 => return None,
            '{' if start.is_some() || brackets == 0 => {
                start.get_or_insert(from + at);
                braces += 1;
            }
            '}' if start.is_some() => braces -= 1,
            _ => {}
        }
        if let Some(start) = start.filter(|_| braces == 0) {
            return Some(start..from + at + 1);
        }
    }
    None
}

/// Where `word` stands by itself.
fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = text.get(..*at).unwrap_or_default();
        let after = text.get(at + word.len()..).unwrap_or_default();
        !before.ends_with(is_word) && !after.starts_with(is_word)
    })
}

/// Where `word` stands by itself with `next` right after it.
fn words_before<'a>(text: &'a str, word: &'a str, next: char) -> impl Iterator<Item = usize> + 'a {
    words(text, word).filter(move |at| text.get(at + word.len()..).is_some_and(|rest| rest.starts_with(next)))
}

fn line_of(text: &str, at: usize) -> usize {
    text.get(..at).map_or(0, |before| before.matches('\n').count()) + 1
}

#[cfg(test)]
mod tests;
