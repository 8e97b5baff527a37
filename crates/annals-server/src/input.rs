//! What requests bring besides their body: path segments, query parameters, headers.
//!
//! Invariant: what is not understood is refused, never ignored: a parameter misspelt must not change an answer
//! silently. Parameters and headers may come once.

use std::time::Duration;

use annals_core::{Tenant, Timestamp};
use annals_views::Wanted;
use annals_views::store::Comparison;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::problem::{Kind, Problem};

/// The most conditions on the fields of a list.
const CONDITIONS_MAX: usize = 16;

/// Names the tenant.
pub(crate) const TENANT: &str = "x-annals-tenant";
/// Names who acts: behind a file of keys the key's actor, otherwise what the caller says.
pub(crate) const ACTOR: &str = "x-annals-actor";
/// Names what a command belongs to.
pub(crate) const CORRELATION: &str = "x-correlation-id";
/// When a command's cause happened in the world, RFC 3339.
pub(crate) const OCCURRED_AT: &str = "x-occurred-at";
/// The caller's key of a command.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// W3C trace context.
pub(crate) const TRACEPARENT: &str = "traceparent";
/// The version the caller expects.
pub(crate) const IF_MATCH: &str = "if-match";
/// The cursor at which an event stream broke off.
pub(crate) const LAST_EVENT_ID: &str = "last-event-id";

/// The variable parts of the path, decoded.
pub(crate) struct Segments<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(segments)) => Ok(Self(segments)),
            Err(rejection) => Err(Problem::new(Kind::InvalidName, rejection.body_text())),
        }
    }
}

/// The query parameters. Take what is known, then [`Parameters::finish`].
pub(crate) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(rejection) => Err(Problem::new(Kind::InvalidParameter, rejection.body_text())),
        }
    }
}

impl Parameters {
    /// Takes the parameter `name`.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.0.extract_if(.., |(found, _)| found == name).map(|(_, value)| value);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(parameter(name, "is given twice; give it once")),
        }
    }

    /// Takes the parameter `name` as a number from `least` to `most`.
    pub(crate) fn number(&mut self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(parameter(name, &format!("is {text:?}; give a number from {least} to {most}"))),
        }
    }

    /// Takes the parameter `name` as a time.
    pub(crate) fn time(&mut self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let parsed = self.take(name)?.map(|text| {
            let wrong = |_| parameter(name, &format!("is {text:?}; give a time like 2026-01-31T12:00:00Z"));
            text.parse().map_err(wrong)
        });
        parsed.transpose()
    }

    /// Takes the parameter `name` as a span up to `most`: `5s`, `250ms`.
    pub(crate) fn span(&mut self, name: &str, most: Duration) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        let in_unit = |unit: &str, make: fn(u64) -> Duration| {
            text.strip_suffix(unit).and_then(|number| number.parse().ok()).map(make)
        };
        let span = in_unit("ms", Duration::from_millis).or_else(|| in_unit("s", Duration::from_secs));
        match span {
            Some(span) if span <= most => Ok(Some(span)),
            _ => {
                let wish =
                    format!("is {text:?}; give a span like 5s or 250ms, at most {} ms", most.as_millis());
                Err(parameter(name, &wish))
            }
        }
    }

    /// Takes all conditions on indexed fields: `where[balance]=5`, `where[balance][gte]=5`.
    pub(crate) fn conditions(&mut self) -> Result<Vec<Wanted>, Problem> {
        let given: Vec<(String, String)> =
            self.0.extract_if(.., |(name, _)| name.starts_with("where[")).collect();
        if let Some((name, _)) = given.get(CONDITIONS_MAX) {
            return Err(parameter(
                name,
                &format!("is one condition too many; give at most {CONDITIONS_MAX}"),
            ));
        }
        given.into_iter().map(condition).collect()
    }

    /// Refuses what was not taken; `known` is what could have been.
    pub(crate) fn finish(self, known: &[&str]) -> Result<(), Problem> {
        let Some((name, _)) = self.0.first() else { return Ok(()) };
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(parameter(name, &format!("is not known here; there are: {known}")))
    }
}

fn condition((name, value): (String, String)) -> Result<Wanted, Problem> {
    let inner = name.strip_prefix("where[").and_then(|rest| rest.strip_suffix(']')).unwrap_or_default();
    let (path, comparison) = match inner.split_once("][") {
        None => (inner, Some(Comparison::Equal)),
        Some((path, "gt")) => (path, Some(Comparison::Greater)),
        Some((path, "gte")) => (path, Some(Comparison::AtLeast)),
        Some((path, "lt")) => (path, Some(Comparison::Less)),
        Some((path, "lte")) => (path, Some(Comparison::AtMost)),
        Some((path, _)) => (path, None),
    };
    match comparison.filter(|_| !path.is_empty() && !path.contains(['[', ']'])) {
        Some(comparison) => Ok(Wanted { path: path.to_owned(), comparison, value }),
        None => Err(parameter(&name, "is no condition; write where[field] or where[field][gt|gte|lt|lte]")),
    }
}

fn parameter(name: &str, wrong: &str) -> Problem {
    Problem::new(Kind::InvalidParameter, format!("parameter {name} {wrong}")).with("parameter", name)
}

fn header(name: &str, wrong: &str) -> Problem {
    Problem::new(Kind::InvalidHeader, format!("header {name} {wrong}")).with("header", name)
}

/// The value of the header `name`, UTF-8; an empty one is none.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(header(name, "is given twice; give it once"));
    }
    let text = std::str::from_utf8(first.as_bytes()).map_err(|_| header(name, "is not UTF-8"))?.trim();
    Ok((!text.is_empty()).then_some(text))
}

/// The tenant the caller names.
pub(crate) fn tenant(headers: &HeaderMap) -> Result<Option<Tenant>, Problem> {
    Ok(text(headers, TENANT)?.map(Tenant::new).transpose()?)
}

/// The caller's key. The quotes that the header's draft standard asks for may be there or not.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    if !headers.contains_key(IDEMPOTENCY_KEY) {
        return Ok(None);
    }
    let text = text(headers, IDEMPOTENCY_KEY)?.unwrap_or_default();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    Ok(Some(bare.to_owned()))
}

/// The version in an entity tag: `"7"`.
pub(crate) fn version(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(tag) = text(headers, IF_MATCH)? else { return Ok(None) };
    let bare = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    match bare
        .filter(|bare| bare.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|bare| bare.parse().ok())
    {
        Some(version) => Ok(Some(version)),
        None => Err(header(IF_MATCH, &format!("is {tag:?}; give one version in quotes, like \"7\""))),
    }
}

/// When the caller says it happened.
pub(crate) fn occurred_at(headers: &HeaderMap) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text(headers, OCCURRED_AT)? else { return Ok(None) };
    let wrong = |_| header(OCCURRED_AT, &format!("is {text:?}; give a time like 2026-01-31T12:00:00Z"));
    text.parse().map(Some).map_err(wrong)
}

/// The trace context, checked for its shape: it is stored for years.
pub(crate) fn traceparent(headers: &HeaderMap) -> Result<&str, Problem> {
    let Some(text) = text(headers, TRACEPARENT)? else { return Ok("") };
    let hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    if lengths == [2, 32, 16, 2] && text.split('-').all(hex) {
        return Ok(text);
    }
    Err(header(TRACEPARENT, "is not a W3C trace context: version-trace-parent-flags in lower-case hex"))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn versions_are_read_from_entity_tags() {
        let read = |tag: &str| version(&headers(&[(IF_MATCH, tag)])).ok().flatten();
        assert_eq!(
            (read("\"0\""), read("\"7\""), read(" \"18446744073709551615\" ")),
            (Some(0), Some(7), Some(u64::MAX))
        );
        for tag in
            ["7", "*", "W/\"7\"", "\"-1\"", "\"+1\"", "\"\"", "\"1\", \"2\"", "\"18446744073709551616\""]
        {
            assert_eq!(
                version(&headers(&[(IF_MATCH, tag)])).unwrap_err().kind(),
                Kind::InvalidHeader,
                "{tag}"
            );
        }
    }

    #[test]
    fn headers_come_once_and_in_utf8() {
        assert_eq!(text(&headers(&[(ACTOR, "Jürgen")]), ACTOR).unwrap(), Some("Jürgen"));
        assert!(text(&headers(&[(ACTOR, "a"), (ACTOR, "a")]), ACTOR).is_err());
        let mut broken = HeaderMap::new();
        broken.insert(ACTOR, HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(text(&broken, ACTOR).is_err());
    }

    #[test]
    fn keys_may_be_quoted_and_an_empty_one_stays_one() {
        let read = |value: &str| key(&headers(&[(IDEMPOTENCY_KEY, value)])).unwrap();
        assert_eq!(
            (read("a-1"), read("\"a-1\""), read("\"")),
            (Some("a-1".into()), Some("a-1".into()), Some("\"".into()))
        );
        assert_eq!((read(""), key(&HeaderMap::new()).unwrap()), (Some(String::new()), None));
    }

    #[test]
    fn trace_contexts_have_their_shape() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(traceparent(&headers(&[(TRACEPARENT, good)])).unwrap(), good);
        for bad in ["x", &good[1..], &good.to_uppercase(), "00-0af7-b7ad-01", &good.replace('a', "g")] {
            assert!(traceparent(&headers(&[(TRACEPARENT, bad)])).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_have_a_unit_and_a_bound() {
        let most = Duration::from_secs(30);
        let read = |text: &str| parameters(&[("within", text)]).span("within", most).ok().flatten();
        assert_eq!(read("29999ms"), Some(Duration::from_millis(29_999)));
        assert_eq!(
            (read("30s"), read("30000ms"), read("0s")),
            (Some(most), Some(most), Some(Duration::ZERO))
        );
        for text in ["30001ms", "31s", "5", "s", "-1s", "1.5s", "5m", ""] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_taken_is_refused() {
        assert!(parameters(&[]).finish(&[]).is_ok());
        let twice = parameters(&[("limit", "1"), ("limit", "2")]).number("limit", 1, 9);
        assert_eq!(twice.unwrap_err().kind(), Kind::InvalidParameter);
        assert!(parameters(&[("prefx", "x")]).finish(&["prefix"]).is_err());
    }

    #[test]
    fn conditions_name_a_field_and_a_comparison() {
        let read = |name: &str| parameters(&[("limit", "1"), (name, "5")]).conditions();
        for (name, comparison) in [
            ("where[a.b]", Comparison::Equal),
            ("where[a.b][gt]", Comparison::Greater),
            ("where[a.b][gte]", Comparison::AtLeast),
            ("where[a.b][lt]", Comparison::Less),
            ("where[a.b][lte]", Comparison::AtMost),
        ] {
            let wanted = Wanted { path: "a.b".into(), comparison, value: "5".into() };
            assert_eq!(read(name).unwrap(), [wanted], "{name}");
        }
        for name in
            ["where[]", "where[a", "where[a][]", "where[a][ne]", "where[a][gt][lt]", "where[a]x", "where[[a]"]
        {
            assert_eq!(read(name).unwrap_err().kind(), Kind::InvalidParameter, "{name}");
        }
        assert_eq!(read("whereabouts").unwrap(), []);
        let many = |count| parameters(&vec![("where[a]", "1"); count]).conditions().map(|all| all.len()).ok();
        assert_eq!((many(15), many(16), many(17)), (Some(15), Some(16), None));
    }

    #[test]
    fn numbers_keep_their_bounds() {
        let read = |text: &str| parameters(&[("limit", text)]).number("limit", 1, 9).ok().flatten();
        assert_eq!(
            (read("0"), read("1"), read("2"), read("8"), read("9"), read("10")),
            (None, Some(1), Some(2), Some(8), Some(9), None)
        );
        assert_eq!((read("-1"), read("x"), read("")), (None, None, None));
    }
}
