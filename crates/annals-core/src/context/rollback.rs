//! A rollback as a command: what it asks of a decider, with types erased.

use serde_json::json;

use super::decider::AnyCommand;
use crate::Decider;
use crate::codec::{EncodeError, Encoded, Variant};

/// The name under which a rollback stands in the log. No command of a decider can have it: their names have no dot.
pub const ROLLBACK: &str = "annals.rollback";

static VARIANT: Variant = Variant { name: ROLLBACK, serde_name: "Rollback", shape: 1 };

/// Asks an entity to go back to an earlier state.
pub(super) struct Rollback<D> {
    /// The state to go back to.
    pub(super) earlier: D,
    /// The version it was at.
    version: u64,
    /// Why.
    reason: String,
}

impl<D: Decider> Rollback<D> {
    pub(super) fn command(earlier: D, version: u64, reason: &str) -> AnyCommand {
        AnyCommand::built_in(ROLLBACK, Self { earlier, version, reason: reason.to_owned() }, |value| {
            let Some(rollback) = value.downcast_ref::<Self>() else {
                return Err(EncodeError::NotAnEnum { type_name: std::any::type_name::<Self>() });
            };
            let fields = json!({ "to": rollback.version, "reason": rollback.reason });
            Ok(Encoded { variant: &VARIANT, payload: fields.to_string().into() })
        })
    }
}
