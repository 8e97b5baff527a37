//! Refusals: a decision's typed "no", stored when the command carried a key.

use std::fmt::Display;

use crate::codec::{self, DecodeError, EncodeError, Variants};
use crate::decider::Stored;
use crate::envelope::RefusalPart;

/// Why a command was refused: an enum, derived with `#[derive(Refusal)]`; its `Display` is told to people.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a refusal",
    note = "derive it: #[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]"
)]
pub trait Refusal: Variants + Stored + Clone + Display {}

/// A refusal as it is stored and as a saga sees it, whatever decider it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The refusal's stored name: `overdrawn`.
    pub name: String,
    /// What it said to a person.
    pub text: String,
    part: RefusalPart,
}

impl Refused {
    /// The refusal as its type; an error where it belongs to another type.
    pub fn decode<R: Refusal>(&self) -> Result<R, DecodeError> {
        decode(&self.part)
    }

    /// The refusal as it is stored.
    #[must_use]
    pub fn part(&self) -> &RefusalPart {
        &self.part
    }

    /// The refusal's fields as JSON; empty where it has none.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.part.payload
    }
}

impl Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<RefusalPart> for Refused {
    fn from(part: RefusalPart) -> Self {
        Self { name: part.name.clone(), text: part.text.clone(), part }
    }
}

/// Takes a refusal apart for storage.
pub fn encode<R: Refusal>(refusal: &R) -> Result<RefusalPart, EncodeError> {
    let codec::Encoded { variant, payload } = codec::encode(refusal)?;
    Ok(RefusalPart {
        name: variant.name.to_owned(),
        shape: variant.shape,
        payload,
        text: refusal.to_string(),
    })
}

/// Puts a stored refusal together again.
pub fn decode<R: Refusal>(part: &RefusalPart) -> Result<R, DecodeError> {
    codec::decode(&part.name, part.shape, &part.payload)
}
