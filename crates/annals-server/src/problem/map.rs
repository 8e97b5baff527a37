//! Which problem an error of the layers below is.

use std::time::Duration;

use annals_core::context::{AnyDecider, FieldError};
use annals_core::id::InvalidName;
use annals_engine::{ExecuteError, QueryError};
use annals_log::ReadError;
use annals_views::past::PastError;
use annals_views::{StoreError, ViewError};
use serde_json::{Value, json};

use super::{Kind, Problem};

/// When to try again what failed for a reason that may pass.
const SOON: Duration = Duration::from_secs(1);

/// The problem of a command that was not accepted.
///
/// `expected`: whether the caller named a version.
pub(crate) fn of_command(error: ExecuteError, decider: &dyn AnyDecider, expected: bool) -> Problem {
    match error {
        ExecuteError::Refused { refused, key } => {
            let fields = decider.refusal_fields(refused.part());
            let refusal = json!({ "name": refused.name, "text": refused.text, "fields": fields });
            Problem::new(Kind::Refused, refused.text).with("refusal", refusal).with("key", key)
        }
        ExecuteError::Conflict { expected: asked, actual } => {
            let kind = if expected { Kind::VersionMismatch } else { Kind::Conflict };
            let detail = format!("the stream is at version {actual}, not at {asked}");
            Problem::new(kind, detail).with("expected", asked).with("actual", actual)
        }
        error => error.into(),
    }
}

impl From<ExecuteError> for Problem {
    fn from(error: ExecuteError) -> Self {
        let text = error.to_string();
        match error {
            ExecuteError::Refused { key, .. } => Self::new(Kind::Refused, text).with("key", key),
            ExecuteError::Conflict { .. } => Self::new(Kind::Conflict, text),
            ExecuteError::KeyReused { key } => Self::new(Kind::KeyReused, text).with("key", key),
            ExecuteError::TooLarge { .. } => Self::new(Kind::TooLarge, text),
            ExecuteError::Overloaded { retry_after } => {
                Self::new(Kind::Overloaded, text).retry_after(retry_after)
            }
            ExecuteError::Unavailable { .. } => Self::new(Kind::Unavailable, text).retry_after(SOON),
            ExecuteError::OutcomeUnknown { key, .. } => {
                Self::new(Kind::OutcomeUnknown, text).with("key", key).retry_after(SOON)
            }
            ExecuteError::Unreadable { position, .. } => {
                Self::new(Kind::Unreadable, text).with("position", position.to_string())
            }
            ExecuteError::Damaged(error) => error.into(),
            ExecuteError::Panicked { .. } => Self::new(Kind::Panicked, text),
            ExecuteError::UnknownDecider { known, .. } => {
                Self::new(Kind::UnknownDecider, text).with("known", known)
            }
            ExecuteError::InvalidId { .. }
            | ExecuteError::InvalidName(_)
            | ExecuteError::InvalidKey { .. } => Self::new(Kind::InvalidName, text),
            ExecuteError::TextTooLong { .. } => Self::new(Kind::InvalidHeader, text),
            ExecuteError::Fields(error) => error.into(),
            _ => Self::new(Kind::Internal, text),
        }
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        let text = error.to_string();
        match error {
            FieldError::UnknownCommand { known, .. } => {
                Self::new(Kind::UnknownCommand, text).with("known", known)
            }
            FieldError::UnknownField { field, known, .. } => {
                Self::new(Kind::InvalidFields, text).with("field", field).with("known", known)
            }
            _ => Self::new(Kind::InvalidFields, text),
        }
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        let text = error.to_string();
        match error {
            QueryError::UnknownKind { known, .. } => {
                Self::new(Kind::UnknownDecider, text).with("known", known)
            }
            QueryError::InvalidId { .. } => Self::new(Kind::InvalidName, text),
            QueryError::NoVersion { version, .. } => {
                Self::new(Kind::NoVersion, text).with("version", version)
            }
            QueryError::Unreadable { position, .. } => {
                Self::new(Kind::Unreadable, text).with("position", position.to_string())
            }
            QueryError::Broken { .. } => Self::new(Kind::Damaged, text),
            QueryError::Damaged(error) => error.into(),
            QueryError::Unavailable { .. } => Self::new(Kind::Unavailable, text).retry_after(SOON),
            QueryError::Panicked { .. } => Self::new(Kind::Panicked, text),
            _ => Self::new(Kind::Internal, text),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let text = error.to_string();
        match error {
            ReadError::Unavailable { .. } => Self::new(Kind::Unavailable, text).retry_after(SOON),
            _ => Self::new(Kind::Damaged, text),
        }
    }
}

impl From<ViewError> for Problem {
    fn from(error: ViewError) -> Self {
        let text = error.to_string();
        match error {
            ViewError::Unknown { known, .. } => Self::new(Kind::UnknownView, text).with("known", known),
            ViewError::NotAKey { .. } => Self::new(Kind::InvalidName, text),
            ViewError::NoShard { .. } => Self::new(Kind::InvalidParameter, text),
            ViewError::NoIndex { known, .. } => Self::new(Kind::InvalidParameter, text).with("known", known),
            ViewError::Cursor { .. } => Self::new(Kind::InvalidCursor, text),
            ViewError::Behind { lag, .. } => {
                let lag = serde_json::to_value(&lag).unwrap_or(Value::Null);
                Self::new(Kind::ViewBehind, text).with("lag", lag).retry_after(SOON)
            }
            ViewError::Stopped { .. } => Self::new(Kind::ViewStopped, text),
            ViewError::Past(PastError::TooLong { .. }) => Self::new(Kind::ViewBehind, text),
            ViewError::Past(_) => Self::new(Kind::ViewStopped, text),
            ViewError::Store(StoreError::Failed { .. }) => {
                Self::new(Kind::Unavailable, text).retry_after(SOON)
            }
            _ => Self::new(Kind::Internal, text),
        }
    }
}

impl From<InvalidName> for Problem {
    fn from(error: InvalidName) -> Self {
        let kind = match error {
            InvalidName::Cursor(_) => Kind::InvalidCursor,
            InvalidName::Position(_) => Kind::InvalidParameter,
            _ => Kind::InvalidName,
        };
        Self::new(kind, error.to_string())
    }
}
