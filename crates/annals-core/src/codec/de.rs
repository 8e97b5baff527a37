//! The way in: a deserializer that presents (variant name, JSON of its fields) as an enum.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, VariantAccess,
    Visitor,
};
use serde_json::Error;

/// Reads the variant `name` of `T` from the JSON of its fields; the whole payload must be used.
pub(super) fn decode_variant<T: DeserializeOwned>(name: &'static str, payload: &[u8]) -> Result<T, Error> {
    T::deserialize(VariantDeserializer { name, payload })
}

struct VariantDeserializer<'a> {
    name: &'static str,
    payload: &'a [u8],
}

impl<'de> VariantDeserializer<'de> {
    /// The payload, an object where there is none: a variant whose fields all have defaults may come empty.
    fn object(&self) -> &'de [u8] {
        if self.payload.is_empty() { b"{}" } else { self.payload }
    }
}

impl<'de> Deserializer<'de> for VariantDeserializer<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("not a plain enum; remove serde's tag or untagged attribute"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for VariantDeserializer<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for VariantDeserializer<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.payload {
            b"" | b"{}" | b"null" => Ok(()),
            _ => Err(Error::custom("it has no fields")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        let mut json = serde_json::Deserializer::from_slice(self.payload);
        let value = seed.deserialize(&mut json)?;
        json.end()?;
        Ok(value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        let mut json = serde_json::Deserializer::from_slice(self.payload);
        let value = json.deserialize_tuple(len, visitor)?;
        json.end()?;
        Ok(value)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut json = serde_json::Deserializer::from_slice(self.object());
        if !self.object().trim_ascii_start().starts_with(b"{") {
            return Err(Error::custom("its fields must be a JSON object"));
        }
        let value = json.deserialize_struct("", fields, visitor)?;
        json.end()?;
        Ok(value)
    }
}
