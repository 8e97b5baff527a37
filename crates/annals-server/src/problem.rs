//! Problem documents (RFC 9457): what every answer that is not a success looks like.
//!
//! Invariant: `type` is stable. A program may rely on it and on `status`; `title` and `detail` are for people.
//! Each is explained at `GET /problems/{name}` and here:
//!
//! | type | status | title |
//! |---|---|---|
//! | `/problems/invalid-json` | 400 | the body is not JSON |
//! | `/problems/too-deep` | 400 | the body nests too deep |
//! | `/problems/invalid-fields` | 400 | the fields do not fit the command |
//! | `/problems/invalid-name` | 400 | an id, key or name cannot be one |
//! | `/problems/invalid-header` | 400 | a header cannot be read |
//! | `/problems/invalid-parameter` | 400 | a query parameter cannot be used |
//! | `/problems/invalid-cursor` | 400 | the cursor does not fit the log |
//! | `/problems/unauthenticated` | 401 | a key is needed |
//! | `/problems/forbidden` | 403 | the key is not good for this |
//! | `/problems/cross-origin` | 403 | a page of another origin may not do this |
//! | `/problems/unknown-route` | 404 | there is nothing at this address |
//! | `/problems/unknown-context` | 404 | there is no such context |
//! | `/problems/unknown-decider` | 404 | there is no such decider |
//! | `/problems/unknown-command` | 404 | there is no such command |
//! | `/problems/unknown-view` | 404 | there is no such view |
//! | `/problems/no-entity` | 404 | nothing has happened to the entity |
//! | `/problems/no-version` | 404 | the stream does not have that version yet |
//! | `/problems/no-document` | 404 | the view has no such document |
//! | `/problems/wrong-method` | 405 | the address does not take this method |
//! | `/problems/slow-request` | 408 | the body did not come in time |
//! | `/problems/not-possible` | 409 | it cannot be done now |
//! | `/problems/conflict` | 409 | the stream moved on |
//! | `/problems/version-mismatch` | 412 | the stream is not at the version expected |
//! | `/problems/too-large` | 413 | the request is too large |
//! | `/problems/unsupported-media-type` | 415 | the body must be JSON |
//! | `/problems/refused` | 422 | the decision said no |
//! | `/problems/key-reused` | 422 | the key belongs to another command |
//! | `/problems/overloaded` | 429 | too many commands are waiting |
//! | `/problems/panicked` | 500 | the program panicked |
//! | `/problems/unreadable` | 500 | an event cannot be read |
//! | `/problems/damaged` | 500 | the log is damaged |
//! | `/problems/internal` | 500 | something could not be written as JSON |
//! | `/problems/unavailable` | 503 | the log does not answer now |
//! | `/problems/busy` | 503 | too many requests at once |
//! | `/problems/view-behind` | 503 | the view has not come so far yet |
//! | `/problems/view-stopped` | 503 | the view stands still |
//! | `/problems/outcome-unknown` | 504 | it is not known whether the command took effect |

mod map;
#[cfg(test)]
mod tests;

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

pub(crate) use map::of_command;

/// The media type of a problem document.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! kinds {
    ($($kind:ident $status:literal $name:literal $title:literal $text:literal;)*) => {
        /// The kinds of problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($kind),*
        }

        impl Kind {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The name in the type's address.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            /// The status it is answered with.
            pub(crate) const fn status(self) -> u16 {
                match self { $(Self::$kind => $status),* }
            }

            /// What it is, in a few words.
            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title),* }
            }

            /// What the caller can do about it.
            pub(crate) const fn text(self) -> &'static str {
                match self { $(Self::$kind => $text),* }
            }
        }
    };
}

kinds! {
    InvalidJson 400 "invalid-json" "the body is not JSON"
        "Send the command's fields as one JSON value in UTF-8. Nothing was done.";
    TooDeep 400 "too-deep" "the body nests too deep"
        "Send JSON with less nesting; the detail names the limit. Nothing was done.";
    InvalidFields 400 "invalid-fields" "the fields do not fit the command"
        "Correct the fields: one is missing, unknown or of another type. /openapi.json has the schema. Nothing was done.";
    InvalidName 400 "invalid-name" "an id, key or name cannot be one"
        "Correct the id, view key, tenant, stream or idempotency key that the detail names. Nothing was done.";
    InvalidHeader 400 "invalid-header" "a header cannot be read"
        "Correct the header that the detail names, and send it once. Nothing was done.";
    InvalidParameter 400 "invalid-parameter" "a query parameter cannot be used"
        "Correct or remove the parameter that the detail names.";
    InvalidCursor 400 "invalid-cursor" "the cursor does not fit the log"
        "Give a cursor as the last answer of this log showed it. If the log was replaced, start over without one.";
    Unauthenticated 401 "unauthenticated" "a key is needed"
        "Give a key that is in the server's file of keys: Authorization: Bearer annals_... Nothing was done.";
    Forbidden 403 "forbidden" "the key is not good for this"
        "Use a key that has the role, the actor or the tenant that the detail names. Nothing was done.";
    CrossOrigin 403 "cross-origin" "a page of another origin may not do this"
        "A web page of another origin asked. Send commands from a program, or from a page of this server. Nothing was done.";
    UnknownRoute 404 "unknown-route" "there is nothing at this address"
        "Look at /openapi.json for the addresses there are.";
    UnknownContext 404 "unknown-context" "there is no such context"
        "Name one of the contexts that the detail lists.";
    UnknownDecider 404 "unknown-decider" "there is no such decider"
        "Name one of the deciders that the detail lists. Nothing was done.";
    UnknownCommand 404 "unknown-command" "there is no such command"
        "Name one of the commands that the detail lists. Nothing was done.";
    UnknownView 404 "unknown-view" "there is no such view"
        "Name one of the views that the detail lists.";
    NoEntity 404 "no-entity" "nothing has happened to the entity"
        "The entity has no event, or had none at the moment asked for.";
    NoVersion 404 "no-version" "the stream does not have that version yet"
        "Ask for a version up to the one that the detail names.";
    NoDocument 404 "no-document" "the view has no such document"
        "No event made a document with this key, or one removed it. A view may lag: ask with after= and within=.";
    WrongMethod 405 "wrong-method" "the address does not take this method"
        "Use a method that the Allow header names.";
    SlowRequest 408 "slow-request" "the body did not come in time"
        "Send the body faster. Nothing was done.";
    NotPossible 409 "not-possible" "it cannot be done now"
        "The detail says why, and what to do first. Nothing was done.";
    Conflict 409 "conflict" "the stream moved on"
        "Others changed the entity while the command was decided. Send it again. Nothing was done.";
    VersionMismatch 412 "version-mismatch" "the stream is not at the version expected"
        "Load the entity, decide anew, and send If-Match with the version it is at. Nothing was done.";
    TooLarge 413 "too-large" "the request is too large"
        "Send less; the detail names the limit. Nothing was done.";
    UnsupportedMediaType 415 "unsupported-media-type" "the body must be JSON"
        "Send the body with Content-Type: application/json. Nothing was done.";
    Refused 422 "refused" "the decision said no"
        "The refusal's name, text and fields say why. With an Idempotency-Key this is the command's answer for ever.";
    KeyReused 422 "key-reused" "the key belongs to another command"
        "Use a new Idempotency-Key: this one was used for a command with another body. Nothing was done.";
    Overloaded 429 "overloaded" "too many commands are waiting"
        "Send it again after the seconds in Retry-After. Nothing was done.";
    Panicked 500 "panicked" "the program panicked"
        "Correct the decider; the detail has the panic's message. Nothing was recorded.";
    Unreadable 500 "unreadable" "an event cannot be read"
        "Keep the event's type or write an upcast: the log holds an event that this program cannot read.";
    Damaged 500 "damaged" "the log is damaged"
        "Look at the log with `annals log verify`; the detail names the place.";
    Internal 500 "internal" "something could not be written as JSON"
        "Make the type that the detail names serialize without error.";
    Unavailable 503 "unavailable" "the log does not answer now"
        "Send it again after the seconds in Retry-After. Nothing was done.";
    Busy 503 "busy" "too many requests at once"
        "Send it again after the seconds in Retry-After. Nothing was done.";
    ViewBehind 503 "view-behind" "the view has not come so far yet"
        "Ask again, with a longer within=, or without after=. The lag is in the answer.";
    ViewStopped 503 "view-stopped" "the view stands still"
        "A person must correct what the detail says; the log and the other views go on.";
    OutcomeUnknown 504 "outcome-unknown" "it is not known whether the command took effect"
        "Send the same command with the key in the answer as Idempotency-Key to learn what became of it.";
}

/// A problem on its way to the caller.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    fields: Map<String, Value>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// A problem of this kind; `detail` says what it is this time.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), fields: Map::new(), retry_after: None }
    }

    /// Adds a field of its own to the document.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Says when it may be worth trying again.
    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Its kind.
    #[cfg(test)]
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// What it is this time.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The document.
    pub(crate) fn document(&self) -> Value {
        let mut fields = self.fields.clone();
        fields.insert("type".to_owned(), format!("/problems/{}", self.kind.name()).into());
        fields.insert("title".to_owned(), self.kind.title().into());
        fields.insert("status".to_owned(), self.kind.status().into());
        fields.insert("detail".to_owned(), self.detail.clone().into());
        Value::Object(fields)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, self.document().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if self.kind == Kind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"annals\""));
        }
        if let Some(after) = self.retry_after {
            // Whole seconds, rounded up: never earlier than asked for.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}
