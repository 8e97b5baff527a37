//! The codec between a user's enums and what is stored: a name, a shape version and a JSON payload.
//!
//! Each variant is stored under a name of its own, its payload is the JSON of the variant's fields alone
//! (`{"amount":5}`; nothing for a variant without fields). The enum's own serde implementation does the work:
//! two small adapters catch the variant on its way in and out, so `#[serde(..)]` attributes on fields hold.
//!
//! It does not know JSON Schema; [`crate::schema`] pins shapes.

mod de;
mod ser;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is set aside for the JSON of one value's fields at first.
const PAYLOAD_BYTES_GUESS: usize = 256;

/// One variant of an enum and how it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The stored name: `account.opened` for events, `open` for commands and refusals.
    pub name: &'static str,
    /// The variant's name as serde sees it: `Opened`.
    pub serde_name: &'static str,
    /// The version of its shape, from 1; older ones are upcast.
    pub shape: u32,
}

/// What [`Variants::upcast`] gives: `None` where no upcast is declared for the shape.
pub type Upcast<T> = Option<Result<T, serde_json::Error>>;

/// An enum whose variants are stored one by one. Derived by `Event`, `Command` and `Refusal`.
pub trait Variants: Sized {
    /// All variants, in declaration order.
    const VARIANTS: &'static [Variant];

    /// Decodes a payload of an older shape of `variant` by the upcasts the type declares.
    ///
    /// `None` where it declares none for that shape.
    fn upcast(_variant: &Variant, _shape: u32, _payload: &[u8]) -> Upcast<Self> {
        None
    }
}

/// A value taken apart for storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Which variant it is.
    pub variant: &'static Variant,
    /// The JSON of its fields; empty where it has none.
    pub payload: Bytes,
}

/// A value that cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Make the type serialize without error.
    #[error("{type_name} cannot be written as JSON: {reason}")]
    Serialize {
        /// The Rust type.
        type_name: &'static str,
        /// What serde said.
        reason: String,
    },
    /// Remove `#[serde(tag)]` or `#[serde(untagged)]` from the enum: Annals stores the variant itself.
    #[error("{type_name} does not serialize as a plain enum; remove serde's tag or untagged attribute")]
    NotAnEnum {
        /// The Rust type.
        type_name: &'static str,
    },
}

/// A stored value that cannot be read back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Keep a variant with this stored name, or write an upcast for it.
    #[error("no type is registered under the stored name {name:?}")]
    UnknownName {
        /// The stored name.
        name: String,
    },
    /// Write an upcast for that shape, or use the program that wrote it.
    #[error("{name} is stored with shape {found}, this program knows {known} and no upcast from {found}")]
    UnknownShape {
        /// The stored name.
        name: String,
        /// The stored shape.
        found: u32,
        /// The shape this program writes.
        known: u32,
    },
    /// The stored fields do not fit the type: raise its shape and write an upcast.
    #[error("{name} (shape {shape}) does not fit its type: {reason}")]
    Payload {
        /// The stored name.
        name: String,
        /// The stored shape.
        shape: u32,
        /// What serde said.
        reason: String,
    },
}

/// Takes `value` apart into its variant and the JSON of its fields.
pub fn encode<T: Variants + Serialize>(value: &T) -> Result<Encoded, EncodeError> {
    let mut payload = Vec::with_capacity(PAYLOAD_BYTES_GUESS);
    let variant = take_apart(value, Some(&mut payload))?;
    Ok(Encoded { variant, payload: payload.into() })
}

/// The variant that `value` is. Its fields are not looked at.
pub fn variant_of<T: Variants + Serialize>(value: &T) -> Result<&'static Variant, EncodeError> {
    take_apart(value, None)
}

fn take_apart<T: Variants + Serialize>(
    value: &T,
    payload: Option<&mut Vec<u8>>,
) -> Result<&'static Variant, EncodeError> {
    let type_name = std::any::type_name::<T>;
    let serde_name = value.serialize(ser::VariantSerializer { payload }).map_err(|error| match error {
        ser::Error::NotAnEnum => EncodeError::NotAnEnum { type_name: type_name() },
        ser::Error::Json(reason) => EncodeError::Serialize { type_name: type_name(), reason },
    })?;
    T::VARIANTS.iter().find(|variant| variant.serde_name == serde_name).ok_or_else(|| {
        let reason = format!("the derive does not know variant {serde_name}");
        EncodeError::Serialize { type_name: type_name(), reason }
    })
}

/// The variant stored under `name`.
#[must_use]
pub fn variant<T: Variants>(name: &str) -> Option<&'static Variant> {
    T::VARIANTS.iter().find(|variant| variant.name == name)
}

/// Puts a value together again; an older shape goes through the upcasts the type declares.
///
/// `shape` 0 stands for 1.
pub fn decode<T: Variants + DeserializeOwned>(
    name: &str,
    shape: u32,
    payload: &[u8],
) -> Result<T, DecodeError> {
    let variant = variant::<T>(name).ok_or_else(|| DecodeError::UnknownName { name: name.to_owned() })?;
    let shape = shape.max(1);
    let decoded = if shape == variant.shape {
        de::decode_variant(variant.serde_name, payload)
    } else {
        T::upcast(variant, shape, payload).ok_or_else(|| DecodeError::UnknownShape {
            name: name.to_owned(),
            found: shape,
            known: variant.shape,
        })?
    };
    decoded.map_err(|error| DecodeError::Payload { name: name.to_owned(), shape, reason: error.to_string() })
}

/// The older shapes that `T` declares upcasts for, one list for each of its variants.
#[must_use]
pub fn upcasts<T: Variants>() -> Vec<Vec<u32>> {
    let declared = |variant: &Variant, shape| T::upcast(variant, shape, b"").is_some();
    let older =
        |variant: &Variant| (1..variant.shape).filter(|shape| declared(variant, *shape)).collect::<Vec<_>>();
    T::VARIANTS.iter().map(older).collect()
}

/// Reads the fields of an older shape as the type that described them: what the derives use for
/// [`Variants::upcast`]. No fields are read as a unit struct or as a struct whose fields all have defaults.
pub fn decode_older<T: DeserializeOwned>(payload: &[u8]) -> Result<T, serde_json::Error> {
    match payload {
        b"" => serde_json::from_slice(b"null").or_else(|_| serde_json::from_slice(b"{}")),
        payload => serde_json::from_slice(payload),
    }
}

/// The canonical JSON of a value: keys sorted, no spaces. Two equal values give the same bytes.
pub fn canonical_json<T: Serialize>(value: &T) -> Result<String, EncodeError> {
    let failed = |error: serde_json::Error| EncodeError::Serialize {
        type_name: std::any::type_name::<T>(),
        reason: error.to_string(),
    };
    // `serde_json::Value` keeps object keys sorted.
    let value = serde_json::to_value(value).map_err(failed)?;
    serde_json::to_string(&value).map_err(failed)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
    enum Shape {
        Point,
        Circle(u32),
        Line(u32, u32),
        Box {
            width: u32,
            #[serde(rename = "h", default)]
            height: Option<u32>,
        },
    }

    impl Variants for Shape {
        const VARIANTS: &'static [Variant] = &[
            Variant { name: "shape.point", serde_name: "Point", shape: 1 },
            Variant { name: "shape.circle", serde_name: "Circle", shape: 1 },
            Variant { name: "shape.line", serde_name: "Line", shape: 1 },
            Variant { name: "shape.box", serde_name: "Box", shape: 2 },
        ];
    }

    #[test]
    fn variants_store_their_fields_alone() {
        for (value, name, payload) in [
            (Shape::Point, "shape.point", ""),
            (Shape::Circle(3), "shape.circle", "3"),
            (Shape::Line(1, 2), "shape.line", "[1,2]"),
            (Shape::Box { width: 1, height: Some(2) }, "shape.box", r#"{"width":1,"h":2}"#),
        ] {
            let encoded = encode(&value).unwrap();
            assert_eq!((encoded.variant.name, encoded.payload.as_ref()), (name, payload.as_bytes()));
            assert_eq!(variant_of(&value), Ok(encoded.variant));
            assert_eq!(decode::<Shape>(name, encoded.variant.shape, &encoded.payload), Ok(value));
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error =
            |name, shape, payload: &str| decode::<Shape>(name, shape, payload.as_bytes()).unwrap_err();
        assert_eq!(error("nope", 1, ""), DecodeError::UnknownName { name: "nope".into() });
        assert_eq!(
            error("shape.box", 1, "{}"),
            DecodeError::UnknownShape { name: "shape.box".into(), found: 1, known: 2 }
        );
        for payload in ["", "{}", r#"{"width":-1}"#, r#"{"width":1} x"#, "[]", "\u{1}"] {
            let error = error("shape.box", 2, payload);
            assert!(matches!(error, DecodeError::Payload { .. }), "{payload:?}: {error}");
        }
        assert!(matches!(error("shape.point", 1, r#"{"x":1}"#), DecodeError::Payload { .. }));
        assert_eq!(decode::<Shape>("shape.point", 1, b"{}"), Ok(Shape::Point));
    }

    #[test]
    fn internally_tagged_enums_are_refused() {
        #[derive(Serialize)]
        #[serde(tag = "type")]
        enum Tagged {
            One { x: u32 },
        }
        impl Variants for Tagged {
            const VARIANTS: &'static [Variant] = &[Variant { name: "one", serde_name: "One", shape: 1 }];
        }
        assert!(matches!(encode(&Tagged::One { x: 1 }), Err(EncodeError::NotAnEnum { .. })));
        assert!(matches!(variant_of(&Tagged::One { x: 1 }), Err(EncodeError::NotAnEnum { .. })));
    }
}
