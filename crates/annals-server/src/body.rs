//! The body of a request: bounded in size, time and depth before anything decodes it.

use annals_core::context::FieldError;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::limits::Limits;
use crate::problem::{Kind, Problem};

/// Reads a body that is empty or one JSON value in UTF-8.
pub(crate) async fn read(headers: &HeaderMap, body: Body, limits: &Limits) -> Result<Bytes, Problem> {
    let bytes_max = limits.body_bytes_max;
    let too_large = || Problem::new(Kind::TooLarge, format!("the body has more than {bytes_max} bytes"));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > bytes_max as u64) {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(limits.body_timeout, Limited::new(body, bytes_max).collect());
    let bytes = match collected.await {
        Err(_) => {
            let waited = limits.body_timeout.as_millis();
            return Err(Problem::new(Kind::SlowRequest, format!("the body was not there after {waited} ms")));
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(error)) => {
            return Err(Problem::new(Kind::InvalidJson, format!("the body broke off: {error}")));
        }
        Ok(Ok(collected)) => collected.to_bytes(),
    };
    check(headers, &bytes, limits.json_depth_max)?;
    Ok(bytes)
}

/// Checks what can be checked without decoding.
fn check(headers: &HeaderMap, bytes: &[u8], depth_max: usize) -> Result<(), Problem> {
    if bytes.is_empty() {
        return Ok(());
    }
    if !is_json(headers) {
        let detail = "the body is not announced as JSON; send Content-Type: application/json";
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    if let Err(error) = std::str::from_utf8(bytes) {
        let detail = format!("the body is not UTF-8 from byte {} on", error.valid_up_to());
        return Err(Problem::new(Kind::InvalidJson, detail));
    }
    if is_deeper(bytes, depth_max) {
        return Err(Problem::new(Kind::TooDeep, format!("the body nests deeper than {depth_max}")));
    }
    Ok(())
}

/// Tells a body that is no JSON from one whose fields do not fit.
pub(crate) fn unfit(error: FieldError, body: &[u8]) -> Problem {
    match &error {
        FieldError::Fields { .. } if !body.is_empty() => {
            match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
                Ok(_) => error.into(),
                Err(syntax) => Problem::new(Kind::InvalidJson, format!("the body is not JSON: {syntax}")),
            }
        }
        _ => error.into(),
    }
}

/// Whether the content type is `application/json`, in UTF-8.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(text) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let mut parts = text.split(';').map(str::trim);
    let json = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    json && parts.all(|part| match part.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    })
}

/// Whether brackets outside of strings nest deeper than `depth_max`.
fn is_deeper(json: &[u8], depth_max: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > depth_max {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        for (json, depth) in [
            ("1", 0),
            ("[]", 1),
            (r#"{"a":[1,{"b":2}]}"#, 3),
            (r#"["[[[[","]]"]"#, 1),
            (r#"["\"[[[["]"#, 1),
            (r#"["\\",[[1]]]"#, 3),
            ("[[],[],[]]", 2),
        ] {
            assert!(!is_deeper(json.as_bytes(), depth), "{json} is not deeper than {depth}");
            assert!(
                depth == 0 || is_deeper(json.as_bytes(), depth - 1),
                "{json} is deeper than {}",
                depth - 1
            );
        }
    }

    #[test]
    fn only_json_in_utf8_is_json() {
        for (value, json) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json; charset=\"utf-8\"", true),
            ("application/json; charset=latin1", false),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("application/jsonp", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(is_json(&headers), json, "{value:?}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
