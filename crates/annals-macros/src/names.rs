//! Names: how a variant's identifier becomes a stored name, and what serde makes of it.

use heck::{ToKebabCase as _, ToSnakeCase as _};
use proc_macro2::Span;
use syn::{Error, Result};

use crate::model::Kind;

/// The stored name of a variant that is given none.
pub(crate) fn stored(kind: Kind, prefix: &str, variant: &str) -> String {
    match kind {
        Kind::Event => format!("{prefix}.{}", variant.to_snake_case()),
        Kind::Command | Kind::Refusal => variant.to_kebab_case(),
    }
}

/// Refuses what cannot be a stored name, or the prefix of one.
///
/// Events may contain dots; commands and refusals are parts of addresses and may not.
pub(crate) fn check(kind: Kind, what: &str, name: &str, span: Span) -> Result<()> {
    if name.is_empty() {
        return Err(Error::new(span, format!("the {what} is empty")));
    }
    let (dot, allowed) = match kind {
        Kind::Event => (true, "'-', '_' and '.'"),
        Kind::Command | Kind::Refusal => (false, "'-' and '_'"),
    };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inside = name.chars().all(|c| plain(c) || matches!(c, '-' | '_') || (dot && c == '.'));
    let ends = name.starts_with(plain) && name.ends_with(plain);
    if inside && ends {
        return Ok(());
    }
    Err(Error::new(
        span,
        format!("{name:?} cannot be a {what}: use lower-case letters and digits, and {allowed} between them"),
    ))
}

/// What serde's `rename_all = rule` makes of a variant's name; `None` for a rule serde does not know either.
///
/// The rules are serde_derive's: they look at upper-case letters alone, so `V2Opened` is `v2_opened` and
/// `HTTPOpened` is `h_t_t_p_opened`.
pub(crate) fn by_serde_rule(rule: &str, variant: &str) -> Option<String> {
    let snake = || {
        let mut snake = String::new();
        for (index, c) in variant.char_indices() {
            if index > 0 && c.is_uppercase() {
                snake.push('_');
            }
            snake.push(c.to_ascii_lowercase());
        }
        snake
    };
    Some(match rule {
        "PascalCase" => variant.to_owned(),
        "lowercase" => variant.to_ascii_lowercase(),
        "UPPERCASE" => variant.to_ascii_uppercase(),
        "camelCase" => {
            let mut letters = variant.chars();
            let first = letters.next().map(|first| first.to_ascii_lowercase());
            first.into_iter().chain(letters).collect()
        }
        "snake_case" => snake(),
        "SCREAMING_SNAKE_CASE" => snake().to_ascii_uppercase(),
        "kebab-case" => snake().replace('_', "-"),
        "SCREAMING-KEBAB-CASE" => snake().to_ascii_uppercase().replace('_', "-"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_stored_in_the_case_of_their_kind() {
        for (variant, event, command) in [
            ("Opened", "account.opened", "opened"),
            ("LimitRaised", "account.limit_raised", "limit-raised"),
            ("HTTPCalled", "account.http_called", "http-called"),
            ("V2Opened", "account.v2_opened", "v2-opened"),
        ] {
            assert_eq!(stored(Kind::Event, "account", variant), event);
            assert_eq!(stored(Kind::Command, "", variant), command);
            assert_eq!(stored(Kind::Refusal, "", variant), command);
        }
    }

    #[test]
    fn names_are_plain() {
        let ok = |kind, name| check(kind, "name", name, Span::call_site()).is_ok();
        for name in ["a", "account.opened", "account.limit_raised", "9-to-5"] {
            assert!(ok(Kind::Event, name), "{name}");
        }
        for name in ["", ".", "a.", ".a", "A", "a b", "a/b", "überwiesen", "a:b", "-a", "a_"] {
            assert!(!ok(Kind::Event, name), "{name}");
        }
        assert!(ok(Kind::Command, "hold-funds") && !ok(Kind::Command, "hold.funds"));
    }
}
