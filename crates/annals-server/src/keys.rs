//! Who may do what: a file of API keys, and what each of them is good for.
//!
//! A key is 32 random bytes. The file has its SHA-256 alone, so whoever reads the file can't use it. A slow hash is for
//! passwords, which can be guessed; a key can't be, and a fast hash costs each request a microsecond. Keys are found by
//! their hash: what a comparison's time tells of a hash is no help in finding a key.
//!
//! ```text
//! keys.ndjson    {"id":"3f6c2a91","sha256":"9f86..","actor":"ann","tenant":"acme","roles":["bank:write"],"created_at":".."}
//! ```
//!
//! Invariant: a file that cannot be read takes no right away and gives none: the keys known before stay, and
//! [`KeyFile::trouble`] tells. What is no key line is an error with its line, never skipped.

mod access;
mod file;

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use annals_core::{Tenant, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub(crate) use access::{Access, Caller, admit};
pub use file::{KeyFile, KeyFileError};

/// What every key begins with, so that one that has leaked can be searched for.
pub const PREFIX: &str = "annals_";
/// The random bytes of a key.
const SECRET_BYTES: usize = 32;

/// A key as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What it is called; not secret.
    pub id: String,
    /// The SHA-256 of the key, in hexadecimal digits.
    pub sha256: String,
    /// Who acts with it: stands in every event that comes of it.
    pub actor: String,
    /// Whose data it reaches.
    #[serde(default)]
    pub tenant: Reach,
    /// What it is good for.
    pub roles: Vec<Grant>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Whose data a key reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Option<String>", into = "Option<String>")]
pub enum Reach {
    /// What belongs to no tenant.
    #[default]
    NoTenant,
    /// One tenant's.
    One(Tenant),
    /// Any tenant's, as the request says, and what belongs to none.
    Any,
}

/// A role in a context, or in all: `bank:read`, `*:operate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grant {
    /// The context; `None` for all.
    pub context: Option<String>,
    /// The role.
    pub role: Role,
}

/// What a key may do in a context; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Ask for states, histories, documents and events.
    Read,
    /// Send commands.
    Write,
    /// Do what an administrator does: rebuild views, look at metrics.
    Operate,
}

/// A text that is not what it should be in a key file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misspelt(String);

impl Role {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Read, "read"), (Self::Write, "write"), (Self::Operate, "operate")];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Operate => "operate",
        }
    }
}

impl FromStr for Grant {
    type Err = Misspelt;

    fn from_str(text: &str) -> Result<Self, Misspelt> {
        let wrong = || {
            Misspelt(format!(
                "{text:?} is no role; write CONTEXT:read, CONTEXT:write or CONTEXT:operate, with * for all contexts"
            ))
        };
        let (context, role) =
            text.split_once(':').filter(|(context, _)| !context.is_empty()).ok_or_else(wrong)?;
        let (role, _) = Role::ALL.into_iter().find(|(_, name)| *name == role).ok_or_else(wrong)?;
        Ok(Self { context: Some(context.to_owned()).filter(|context| context != "*"), role })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.context.as_deref().unwrap_or("*"), self.role.name())
    }
}

impl TryFrom<String> for Grant {
    type Error = Misspelt;

    fn try_from(text: String) -> Result<Self, Misspelt> {
        text.parse()
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> Self {
        grant.to_string()
    }
}

impl TryFrom<Option<String>> for Reach {
    type Error = Misspelt;

    fn try_from(text: Option<String>) -> Result<Self, Misspelt> {
        match text.as_deref() {
            None => Ok(Self::NoTenant),
            Some("*") => Ok(Self::Any),
            Some(name) => Tenant::new(name).map(Self::One).map_err(|error| Misspelt(error.to_string())),
        }
    }
}

impl From<Reach> for Option<String> {
    fn from(reach: Reach) -> Self {
        match reach {
            Reach::NoTenant => None,
            Reach::One(tenant) => Some(tenant.to_string()),
            Reach::Any => Some("*".to_owned()),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTenant => f.write_str("no tenant"),
            Self::One(tenant) => write!(f, "tenant {tenant}"),
            Self::Any => f.write_str("any tenant"),
        }
    }
}

impl Key {
    /// A new key of random bytes, and the secret that is shown once.
    ///
    /// `None` where the system gives no random bytes.
    #[must_use]
    pub fn generate(
        actor: String,
        tenant: Reach,
        roles: Vec<Grant>,
        now: Timestamp,
    ) -> Option<(Self, String)> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes).ok()?;
        let secret = format!("{PREFIX}{}", hex(&bytes));
        let sha256 = hash(&secret);
        let id = sha256.get(..8)?.to_owned();
        Some((Self { id, sha256, actor, tenant, roles, created_at: now }, secret))
    }

    /// Whether it is good for this in a context.
    #[must_use]
    pub fn may(&self, role: Role, context: &str) -> bool {
        let fits = |grant: &Grant| grant.context.as_deref().is_none_or(|granted| granted == context);
        self.roles.iter().any(|grant| grant.role >= role && fits(grant))
    }

    /// Whether it is good for this in some context.
    #[must_use]
    pub fn may_somewhere(&self, role: Role) -> bool {
        self.roles.iter().any(|grant| grant.role >= role)
    }
}

/// Keys by the hashes of their secrets.
type Keys = HashMap<String, Key>;

/// The hash that stands for a secret.
fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| DIGITS.get(usize::from(digit)).map(|digit| char::from(*digit))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_sha_256() {
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn keys_are_random_and_tell_what_they_are() {
        let key = || Key::generate("ann".into(), Reach::NoTenant, Vec::new(), Timestamp::UNIX_EPOCH).unwrap();
        let ((one, secret), (other, _)) = (key(), key());
        assert_ne!(one.sha256, other.sha256);
        assert_eq!((secret.len(), secret.starts_with(PREFIX)), (PREFIX.len() + 2 * SECRET_BYTES, true));
        assert_eq!((hash(&secret), one.sha256.starts_with(&one.id)), (one.sha256.clone(), true));
        assert!(!serde_json::to_string(&one).unwrap().contains(&secret));
    }

    #[test]
    fn roles_include_those_before_and_hold_in_their_context() {
        let key = |roles: &[&str]| Key {
            id: String::new(),
            sha256: String::new(),
            actor: String::new(),
            tenant: Reach::NoTenant,
            roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
            created_at: Timestamp::UNIX_EPOCH,
        };
        let rights =
            |key: &Key, context| [Role::Read, Role::Write, Role::Operate].map(|role| key.may(role, context));
        let writer = key(&["bank:write", "shop:read"]);
        assert_eq!(rights(&writer, "bank"), [true, true, false]);
        assert_eq!(rights(&writer, "shop"), [true, false, false]);
        assert_eq!(rights(&writer, "clinic"), [false; 3]);
        assert_eq!(rights(&key(&["*:operate"]), "anything"), [true; 3]);
        assert_eq!((writer.may_somewhere(Role::Write), writer.may_somewhere(Role::Operate)), (true, false));
        assert_eq!(rights(&key(&[]), "bank"), [false; 3]);
    }

    #[test]
    fn roles_and_reaches_are_read_as_they_are_written() {
        for text in ["bank:read", "*:operate", "bank:write"] {
            assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
        }
        for bad in ["", "bank", ":read", "bank:", "bank:admin", "bank:Read", "bank: read"] {
            assert!(bad.parse::<Grant>().unwrap_err().to_string().contains("CONTEXT:read"), "{bad:?}");
        }
        for text in [None, Some("*"), Some("acme")] {
            let text = text.map(str::to_owned);
            assert_eq!(Option::<String>::from(Reach::try_from(text.clone()).unwrap()), text);
        }
        assert!(Reach::try_from(Some("a/b".to_owned())).is_err());
    }
}
