//! Every rule: one below its limit, at it, one above, and where it does not apply.

use super::*;

#[track_caller]
fn expect(path: &str, text: &str, lines: &[usize], part: &str) {
    let found = check(path, text);
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), lines, "{found:?}");
    assert!(found.iter().all(|(_, what)| what.contains(part)), "{found:?}");
}

fn file_of(lines: usize) -> String {
    format!("//! Long.\n{}", "// line\n".repeat(lines - 1))
}

/// A function of `lines` lines that begins in line 3, with braces where they must not count.
fn function_of(lines: usize, before: &str) -> String {
    let body = "    let brace = '{'; // }\n".repeat(lines - 2);
    format!("//! Functions.\n{before}\nfn long(bytes: [u8; 4]) {{\n{body}}}\nfn short() {{}}\n")
}

#[test]
fn files_have_a_length() {
    for lines in [FILE_LINES_MAX - 1, FILE_LINES_MAX] {
        expect("src/a.rs", &file_of(lines), &[], "");
    }
    expect("src/a.rs", &file_of(FILE_LINES_MAX + 1), &[FILE_LINES_MAX + 1], "801 lines");
    expect("docs/a.md", &file_of(FILE_LINES_MAX + 1), &[], "");
}

#[test]
fn functions_have_a_length() {
    for lines in [FUNCTION_LINES_MAX - 1, FUNCTION_LINES_MAX] {
        expect("src/a.rs", &function_of(lines, ""), &[], "");
    }
    let long = function_of(FUNCTION_LINES_MAX + 1, "");
    expect("src/a.rs", &long, &[3], "`long` has 71 lines");
    expect("tests/a.rs", &long, &[], "");
    expect("src/a/tests.rs", &long, &[], "");
    expect("src/contests.rs", &long, &[3], "`long`");
}

#[test]
fn test_code_may_be_long_and_hides_nothing_after_it() {
    let lines = FUNCTION_LINES_MAX + 1;
    expect("src/a.rs", &function_of(lines, "#[test]"), &[], "");
    let module = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{}}}\n", function_of(lines, ""));
    expect("src/a.rs", &module, &[], "");
    let elsewhere = function_of(lines, "#[cfg(test)] mod tests;");
    expect("src/a.rs", &elsewhere, &[3], "`long`");
}

#[test]
fn a_function_without_a_body_or_an_end_is_no_function() {
    expect("src/a.rs", "//! A.\ntrait A { fn a(&self) -> [u8; 4]; }\nfn b(c: fn() -> u8) {\n", &[], "");
}

#[test]
fn modules_open_with_their_docs() {
    expect("src/a.rs", "//! A.\n", &[], "");
    expect("src/a.rs", "#![allow(x)]\n\n//! A.\n", &[], "");
    expect("src/a.rs", "#![doc = include_str!(\"README.md\")]\n", &[], "");
    expect("src/a.rs", "", &[1], "open with `//!`");
    expect("src/a.rs", "#![allow(x)]\nuse a;\n//! A.\n", &[2], "open with `//!`");
    expect("src/a.rs", "// A.\n", &[1], "open with `//!`");
    expect("crates/a/tests/ui/a.rs", "use a;\n", &[], "");
}

#[test]
fn leftovers_are_found_in_comments_and_code() {
    expect("src/a.rs", "//! A.\n// FIXME later\n/* a\nTODO */\n", &[2, 4], "do it");
    expect("src/a.rs", "//! A.\nfn a() { todo!() }\nfn b() { unimplemented!(\"b\") }\n", &[2, 3], "write it");
    expect("src/a.rs", "//! A.\nfn todo() {}\nconst A: &str = \"TODO todo!()\"; // TODOs\n", &[], "");
}

#[test]
fn paths_of_one_machine_are_found_in_any_text() {
    for directory in MACHINE_PATHS {
        let text = format!("fine\nin `{directory}me/x`\nfile://{directory}me\n");
        expect("docs/a.md", &text, &[2, 3], directory);
        let relative = format!("../shared{directory}x https:/{directory}x {{root}}{directory}x\n");
        expect("docs/a.md", &relative, &[], "");
    }
}
