//! Rust text taken apart: what is code, what is comment, what is neither.
//!
//! Both halves keep every line break and every column of the original, with blanks where the other half or a
//! literal stood, so that a rule can look at one and report a line. It is a lexer for these three classes and no
//! more; text that is not Rust gives a useless answer, never a panic.

/// A Rust file by class.
pub struct Source {
    /// The code; comments, strings and characters are blank.
    pub code: String,
    /// The comments, documentation included; all else is blank.
    pub comments: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Code,
    Comment,
    Literal,
}

impl Source {
    /// Takes `text` apart.
    pub fn of(text: &str) -> Self {
        let mut source = Self { code: String::new(), comments: String::new() };
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (class, length) = token(rest, source.code.chars().next_back());
            let (piece, after) = rest.split_at_checked(length).unwrap_or(rest.split_at(first.len_utf8()));
            source.push(class, piece);
            rest = after;
        }
        source
    }

    fn push(&mut self, class: Class, piece: &str) {
        for c in piece.chars() {
            let blank = if c == '\n' { '\n' } else { ' ' };
            self.code.push(if class == Class::Code { c } else { blank });
            self.comments.push(if class == Class::Comment { c } else { blank });
        }
    }
}

/// The class and length in bytes of what `rest` starts with, `before` being the code before it.
fn token(rest: &str, before: Option<char>) -> (Class, usize) {
    if rest.starts_with("//") {
        return (Class::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Class::Comment, block_comment(rest));
    }
    if let Some(length) = raw_string(rest).filter(|_| !before.is_some_and(is_word)) {
        return (Class::Literal, length);
    }
    if rest.starts_with('"') {
        return (Class::Literal, quoted(rest, '"'));
    }
    match character(rest) {
        Some(length) => (Class::Literal, length),
        None => (Class::Code, rest.chars().next().map_or(0, char::len_utf8)),
    }
}

/// Whether `c` can stand in a name.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// `r"..."`, `br#"..."#` and the like; `None` for anything else, raw names such as `r#fn` included.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix(['b', 'c']).unwrap_or(rest).strip_prefix('r')?;
    let body = after.trim_start_matches('#');
    let hashes = after.len() - body.len();
    let body = body.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let opening = rest.len() - body.len();
    Some(body.find(&end).map_or(rest.len(), |at| opening + at + end.len()))
}

/// From an opening `quote` to the closing one, which a backslash does not escape.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// A character, as opposed to a lifetime: `'a'` or `'\n'`, not `'a`.
fn character(rest: &str) -> Option<usize> {
    let mut following = rest.strip_prefix('\'')?.chars();
    let first = following.next()?;
    (first == '\\' || following.next() == Some('\''))
        .then(|| if first == '\\' { quoted(rest, '\'') } else { first.len_utf8() + 2 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, code: &str, comments: &str) {
        let source = Source::of(text);
        assert_eq!((source.code.trim_end(), source.comments.trim()), (code, comments), "{text}");
        assert_eq!(source.code.chars().count(), text.chars().count());
    }

    #[test]
    fn comments_are_not_code() {
        check("a // b\nc", "a     \nc", "// b");
        check("a /* b /* { */ } */ c", "a                   c", "/* b /* { */ } */");
        check("a /* never closed", "a", "/* never closed");
    }

    #[test]
    fn literals_are_neither() {
        check(r#"f("// { \" }") // "x"#, "f(           )", "// \"x");
        check(r##"f(r#"a " { "#, br"\") { }"##, "f(           ,      ) { }", "");
        check(r"f('{', '\'', '\u{7d}', 'é')", "f(   ,     ,         ,    )", "");
        check("never \"closed {", "never", "");
    }

    #[test]
    fn lifetimes_and_raw_names_are_code() {
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}", "");
        check("fn r#fn() {}", "fn r#fn() {}", "");
        check("var\"x\"", "var", "");
    }
}
