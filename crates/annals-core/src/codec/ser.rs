//! The way out: a serializer that takes one enum value, writes its fields as JSON and returns the variant's name;
//! or returns the name alone.

use serde::ser::{Impossible, Serialize, SerializeStruct, SerializeTuple, Serializer};

/// Why a value could not be taken apart.
#[derive(Debug)]
pub(super) enum Error {
    NotAnEnum,
    Json(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAnEnum => f.write_str("not an enum"),
            Self::Json(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {}

impl serde::ser::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Json(message.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.to_string())
    }
}

pub(super) struct VariantSerializer<'a> {
    /// Where the fields are written; `None` where only the name is wanted.
    pub(super) payload: Option<&'a mut Vec<u8>>,
}

/// Writes a variant's fields, then returns the variant's name.
pub(super) struct Fields<C> {
    inner: C,
    name: &'static str,
}

macro_rules! not_an_enum {
    ($($method:ident($($argument:ty),*);)*) => {$(
        fn $method(self, $(_: $argument),*) -> Result<Self::Ok, Error> {
            Err(Error::NotAnEnum)
        }
    )*};
}

/// Writes a JSON object or array, each value through serde_json.
pub(super) struct Collect<'a> {
    payload: Option<&'a mut Vec<u8>>,
    first: bool,
    close: u8,
}

impl<'a> Collect<'a> {
    fn open(mut payload: Option<&'a mut Vec<u8>>, open: u8, close: u8) -> Self {
        if let Some(payload) = &mut payload {
            payload.push(open);
        }
        Self { payload, first: true, close }
    }

    fn element<T: Serialize + ?Sized>(&mut self, key: Option<&str>, value: &T) -> Result<(), Error> {
        let Some(payload) = &mut self.payload else { return Ok(()) };
        if !self.first {
            payload.push(b',');
        }
        self.first = false;
        if let Some(key) = key {
            serde_json::to_writer(&mut **payload, key)?;
            payload.push(b':');
        }
        Ok(serde_json::to_writer(&mut **payload, value)?)
    }

    fn close(self) {
        if let Some(payload) = self.payload {
            payload.push(self.close);
        }
    }
}

impl SerializeStruct for Collect<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        self.element(Some(key), value)
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

impl SerializeTuple for Collect<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(None, value)
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

impl serde::ser::SerializeStructVariant for Fields<Collect<'_>> {
    type Ok = &'static str;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        SerializeStruct::serialize_field(&mut self.inner, key, value)
    }

    fn end(self) -> Result<&'static str, Error> {
        SerializeStruct::end(self.inner)?;
        Ok(self.name)
    }
}

impl serde::ser::SerializeTupleVariant for Fields<Collect<'_>> {
    type Ok = &'static str;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        SerializeTuple::serialize_element(&mut self.inner, value)
    }

    fn end(self) -> Result<&'static str, Error> {
        SerializeTuple::end(self.inner)?;
        Ok(self.name)
    }
}

impl<'a> Serializer for VariantSerializer<'a> {
    type Ok = &'static str;
    type Error = Error;
    type SerializeSeq = Impossible<&'static str, Error>;
    type SerializeTuple = Impossible<&'static str, Error>;
    type SerializeTupleStruct = Impossible<&'static str, Error>;
    type SerializeTupleVariant = Fields<Collect<'a>>;
    type SerializeMap = Impossible<&'static str, Error>;
    type SerializeStruct = Impossible<&'static str, Error>;
    type SerializeStructVariant = Fields<Collect<'a>>;

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<Self::Ok, Error> {
        Ok(name)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<Self::Ok, Error> {
        if let Some(payload) = self.payload {
            serde_json::to_writer(payload, value)?;
        }
        Ok(name)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Ok(Fields { inner: Collect::open(self.payload, b'[', b']'), name })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        Ok(Fields { inner: Collect::open(self.payload, b'{', b'}'), name })
    }

    not_an_enum! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Self::Ok, Error> {
        Err(Error::NotAnEnum)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<Self::Ok, Error> {
        Err(Error::NotAnEnum)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        Err(Error::NotAnEnum)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Error> {
        Err(Error::NotAnEnum)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Error> {
        Err(Error::NotAnEnum)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        Err(Error::NotAnEnum)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Error> {
        Err(Error::NotAnEnum)
    }
}
