//! Names and numbers: newtypes for everything that identifies something.
//!
//! Invariant: a value of one of these types is valid; checks happen where it is made.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest id of an entity, in bytes of UTF-8.
pub const ID_BYTES_MAX: usize = 256;
/// The longest name of a context, decider, projection, saga or tenant, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// One incarnation of a log. Restoring or re-creating a log gives it a new one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogId(pub uuid::Uuid);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// The number of a shard, counted from 0.
    ShardId, u32);
number!(
    /// A logical record number in one shard, counted from 0 (the genesis); never a byte position.
    Offset, u64);
number!(
    /// The offset of the claim that made a writer the owner of a shard.
    Epoch, u64);
number!(
    /// The number of a record since its claim, counted from 0.
    Seq, u64);

impl ShardId {
    /// The shard of `key` among `shards`: `(murmur2(key) & 0x7fffffff) % shards`, Kafka's own default
    /// partitioner, so that a plain Java producer finds the same partition.
    #[must_use]
    pub fn of(key: &str, shards: u32) -> Self {
        /// The seed of `org.apache.kafka.common.utils.Utils.murmur2`.
        const KAFKA_SEED: u32 = 0x9747_b28c;
        if shards <= 1 {
            return Self(0);
        }
        Self((murmur2::murmur2(key.as_bytes(), KAFKA_SEED) & 0x7fff_ffff) % shards)
    }
}

/// Where an event is: shard, offset of its record, index in the record. Shown as `shard-offset-index`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The shard.
    pub shard: ShardId,
    /// The record in the shard.
    pub offset: Offset,
    /// The event in the record, counted from 0 over all its streams.
    pub index: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.shard, self.offset, self.index)
    }
}

impl FromStr for Position {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName::Position(text.to_owned());
        let mut parts = text.split('-');
        let (Some(shard), Some(offset), Some(index), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        Ok(Self {
            shard: ShardId(number(shard).ok_or_else(invalid)?),
            offset: Offset(number(offset).ok_or_else(invalid)?),
            index: number(index).ok_or_else(invalid)?,
        })
    }
}

/// A decimal number without sign or leading zeros, so that each value has one text.
fn number<N: FromStr>(text: &str) -> Option<N> {
    let canonical = text == "0" || text.starts_with(|c: char| ('1'..='9').contains(&c));
    (canonical && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

impl Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One offset per shard: everything below it has been seen. Shown as offsets joined by `.`, shard 0 first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor(pub Vec<Offset>);

impl Cursor {
    /// The beginning of a log with `shards` shards.
    #[must_use]
    pub fn start(shards: u32) -> Self {
        Self(vec![Offset(0); shards as usize])
    }

    /// The next offset to read in `shard`.
    #[must_use]
    pub fn of(&self, shard: ShardId) -> Offset {
        self.0.get(shard.0 as usize).copied().unwrap_or_default()
    }

    /// Whether the record at `offset` of `shard` lies below this cursor.
    #[must_use]
    pub fn includes(&self, shard: ShardId, offset: Offset) -> bool {
        self.of(shard) > offset
    }

    /// Moves one shard's offset; a shard the cursor does not have is ignored.
    pub fn set(&mut self, shard: ShardId, next: Offset) {
        if let Some(slot) = self.0.get_mut(shard.0 as usize) {
            *slot = next;
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, offset) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            offset.fmt(f)?;
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let offsets: Option<Vec<Offset>> = text.split('.').map(|part| number(part).map(Offset)).collect();
        offsets.map(Self).ok_or_else(|| InvalidName::Cursor(text.to_owned()))
    }
}

/// The name of a tenant: lower-case letters, digits, `-` and `_`, starting with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// Checks and takes a tenant's name.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        check_name(name).map_err(|()| InvalidName::Tenant(name.to_owned()))?;
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of one entity's history: `account/ann`, with a tenant `acme:account/ann`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// Builds the name from its parts; the id is checked.
    pub fn new(tenant: Option<&Tenant>, kind: &str, id: &str) -> Result<Self, InvalidName> {
        check_id(id)?;
        Ok(match tenant {
            None => Self(format!("{kind}/{id}").into()),
            Some(tenant) => Self(format!("{tenant}:{kind}/{id}").into()),
        })
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tenant's name, where there is one.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.head().split_once(':').map(|(tenant, _)| tenant)
    }

    /// The decider's or saga's name.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.head().split_once(':').map_or(self.head(), |(_, kind)| kind)
    }

    /// The entity's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, id)| id)
    }

    fn head(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(head, _)| head)
    }
}

impl FromStr for StreamName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName::Stream(text.to_owned());
        let (head, id) = text.split_once('/').ok_or_else(invalid)?;
        let (tenant, kind) = match head.split_once(':') {
            Some((tenant, kind)) => (Some(tenant), kind),
            None => (None, head),
        };
        check_id(id)?;
        check_name(kind).map_err(|()| invalid())?;
        if let Some(tenant) = tenant {
            check_name(tenant).map_err(|()| InvalidName::Tenant(tenant.to_owned()))?;
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for StreamName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A name, id, position or cursor that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// Give an id of 1 to 256 bytes without control characters.
    #[error("{0:?} is not an id: an id has 1 to {ID_BYTES_MAX} bytes and no control characters")]
    Id(String),
    /// Give a tenant of lower-case letters, digits, `-` and `_`.
    #[error(
        "{0:?} is not a tenant: a tenant is 1 to {NAME_BYTES_MAX} lower-case letters, digits, '-' or '_'"
    )]
    Tenant(String),
    /// Give a stream as `decider/id` or `tenant:decider/id`.
    #[error("{0:?} is not a stream: write decider/id, or tenant:decider/id")]
    Stream(String),
    /// Give a position as a receipt or an event showed it.
    #[error("{0:?} is not a position: write it as a receipt or an event shows it, shard-offset-index")]
    Position(String),
    /// Give a cursor as the last answer showed it.
    #[error(
        "{0:?} is not a cursor: write it as the last answer showed it, one offset per shard joined by '.'"
    )]
    Cursor(String),
}

/// Whether `name` can name a context, decider, projection, saga or tenant.
pub(crate) fn check_name(name: &str) -> Result<(), ()> {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    if first && rest && name.len() <= NAME_BYTES_MAX { Ok(()) } else { Err(()) }
}

fn check_id(id: &str) -> Result<(), InvalidName> {
    if id.is_empty() || id.len() > ID_BYTES_MAX || id.chars().any(char::is_control) {
        return Err(InvalidName::Id(id.chars().take(ID_BYTES_MAX).collect()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_matches_kafka() {
        // From apache/kafka, UtilsTest.testMurmur2 (values there are signed).
        for (key, hash) in [
            ("21", -973932308_i32),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            ("abc", 479470107),
        ] {
            let shard = ShardId::of(key, 1 << 30);
            assert_eq!(shard.0, (hash as u32 & 0x7fff_ffff) % (1 << 30), "{key}");
        }
    }

    #[test]
    fn stream_names_take_apart_and_back() {
        let acme = Tenant::new("acme").unwrap();
        for (name, tenant, kind, id) in [
            (StreamName::new(None, "account", "ann").unwrap(), None, "account", "ann"),
            (StreamName::new(Some(&acme), "account", "a:b/c").unwrap(), Some("acme"), "account", "a:b/c"),
        ] {
            assert_eq!((name.tenant(), name.kind(), name.id()), (tenant, kind, id));
            assert_eq!(name.as_str().parse::<StreamName>().unwrap(), name);
        }
    }

    #[test]
    fn limits_are_exact() {
        let id = |n| StreamName::new(None, "a", &"x".repeat(n)).is_ok();
        assert_eq!((id(0), id(1), id(ID_BYTES_MAX), id(ID_BYTES_MAX + 1)), (false, true, true, false));
        let tenant = |n| Tenant::new(&"x".repeat(n)).is_ok();
        assert_eq!(
            (tenant(0), tenant(1), tenant(NAME_BYTES_MAX), tenant(NAME_BYTES_MAX + 1)),
            (false, true, true, false)
        );
    }

    #[test]
    fn bad_names_are_refused() {
        for text in ["", "account", "account/", "/x", "Account/x", "a:b:c/x", ":a/x", "account/\n"] {
            assert!(text.parse::<StreamName>().is_err(), "{text:?}");
        }
        for text in ["", "1", "1-2", "1-2-3-4", "-1-2-3", "01-2-3", "a-b-c", "1-2-99999999999"] {
            assert!(text.parse::<Position>().is_err(), "{text:?}");
        }
        for text in ["", ".", "1.", "x", "1.-2", "1.+2", "18446744073709551616"] {
            assert!(text.parse::<Cursor>().is_err(), "{text:?}");
        }
    }
}
