//! Whether a request may come through to its route, and as whom.
//!
//! Invariant: behind a file of keys, actor and tenant are the key's, whatever the request says: what it says must be
//! the same, or it is refused. Handlers read both from the request's headers, which are made to say so here.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};

use super::{Key, KeyFile, Reach, Role};
use crate::input::{self, ACTOR, TENANT};
use crate::problem::{Kind, Problem};

/// Who may ask for a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody.
    Open,
    /// Whoever has a key.
    Known,
    /// Whoever has this role in some context.
    Somewhere(Role),
    /// Whoever has this role in the context that the second segment of the path names.
    Context(Role),
}

impl Access {
    /// What the OpenAPI document says of it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Known => "any key",
            Self::Somewhere(role) | Self::Context(role) => role.name(),
        }
    }
}

/// In the extensions of a request that came with a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller;

/// Lets the request through, as its key's actor and tenant, or says why not.
pub(crate) fn admit(keys: &KeyFile, access: Access, request: &mut Request) -> Result<(), Problem> {
    let found = bearer(request.headers()).and_then(|secret| keys.find(secret));
    let key = match (found, access) {
        (Some(key), _) => key,
        (None, Access::Open) => return Ok(()),
        (None, _) => {
            let detail =
                "give a key in the header: Authorization: Bearer annals_..; `annals keys new` makes one";
            return Err(Problem::new(Kind::Unauthenticated, detail));
        }
    };
    check_role(&key, access, request.uri().path())?;
    if access != Access::Open {
        take_identity(&key, request.headers_mut())?;
    }
    request.extensions_mut().insert(Caller);
    Ok(())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
}

fn check_role(key: &Key, access: Access, path: &str) -> Result<(), Problem> {
    let (allowed, role, place) = match access {
        Access::Open | Access::Known => return Ok(()),
        Access::Somewhere(role) => (key.may_somewhere(role), role, "some context".to_owned()),
        Access::Context(role) => {
            // As it stands: a context's name needs no escapes, and one that is written with them is not granted.
            let context = path.split('/').nth(2).unwrap_or_default();
            (key.may(role, context), role, format!("context {context}"))
        }
    };
    if allowed && role == Role::Operate && matches!(key.tenant, Reach::One(_)) {
        let detail = format!("key {} is for one tenant, and this concerns all", key.id);
        return Err(Problem::new(Kind::Forbidden, detail).with("role", role.name()));
    }
    if allowed {
        return Ok(());
    }
    let detail = format!("key {} has not the role {} in {place}", key.id, role.name());
    Err(Problem::new(Kind::Forbidden, detail).with("role", role.name()))
}

fn take_identity(key: &Key, headers: &mut HeaderMap) -> Result<(), Problem> {
    let forbidden = |what: &str, said: &str| {
        let detail = format!("key {} acts as {what}, not as {said:?}", key.id);
        Problem::new(Kind::Forbidden, detail)
    };
    let said = input::text(headers, ACTOR)?;
    if let Some(said) = said.filter(|said| *said != key.actor) {
        return Err(forbidden(&key.actor, said));
    }
    let said = input::text(headers, TENANT)?;
    match &key.tenant {
        Reach::Any => {}
        Reach::NoTenant => {
            if let Some(said) = said {
                return Err(forbidden("no tenant", said));
            }
        }
        Reach::One(tenant) => {
            if let Some(said) = said.filter(|said| *said != tenant.as_str()) {
                return Err(forbidden(tenant.as_str(), said));
            }
            headers.insert(TENANT, value(tenant.as_str())?);
        }
    }
    headers.insert(ACTOR, value(&key.actor)?);
    Ok(())
}

fn value(text: &str) -> Result<HeaderValue, Problem> {
    let wrong = |_| Problem::new(Kind::Forbidden, "the key's actor or tenant can be in no header".to_owned());
    HeaderValue::from_bytes(text.as_bytes()).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_as_bearer_tokens() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(text));
            bearer(&headers).map(str::to_owned)
        };
        for text in ["Bearer annals_1", "bearer annals_1", "BEARER  annals_1 "] {
            assert_eq!(read(text).as_deref(), Some("annals_1"), "{text:?}");
        }
        for text in ["annals_1", "Basic annals_1", "Bearer", ""] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
