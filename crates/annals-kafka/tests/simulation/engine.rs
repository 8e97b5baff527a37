//! The engine above the log, small and honest: it decides on what is accepted and in flight, one answer for a key.
//!
//! A command writes to one stream, and may say which version it expects; with another one it is refused, and the
//! refusal is recorded under its key. Nothing is answered before its record is acknowledged.

use std::collections::{BTreeMap, VecDeque};

use annals_core::Offset;
use bytes::Bytes;

/// What a client asks for; the same each time it asks under this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    pub key: u32,
    pub stream: u8,
    pub expected: Option<u32>,
}

/// What one attempt at a command wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: u32,
    pub stream: u8,
    pub accepted: bool,
    /// The stream's version afterwards.
    pub version: u32,
    /// No two attempts have the same.
    pub attempt: u64,
}

impl Entry {
    pub fn to_bytes(self) -> Bytes {
        let mut bytes = Vec::with_capacity(18);
        bytes.extend(self.key.to_le_bytes());
        bytes.extend([self.stream, u8::from(self.accepted)]);
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.attempt.to_le_bytes());
        bytes.into()
    }

    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self {
            key: u32::from_le_bytes(bytes[..4].try_into().unwrap()),
            stream: bytes[4],
            accepted: bytes[5] == 1,
            version: u32::from_le_bytes(bytes[6..10].try_into().unwrap()),
            attempt: u64::from_le_bytes(bytes[10..18].try_into().unwrap()),
        }
    }
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is in the log, there, and this is its outcome.
    Recorded {
        offset: Offset,
        accepted: bool,
        version: u32,
    },
    /// This attempt is certainly not applied.
    Fenced,
    Unknown,
}

/// An answer to the client.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    pub key: u32,
    /// The attempt that it rests on; none when the answer was in the log already.
    pub attempt: Option<u64>,
    pub told: Told,
}

/// The engine of one shard.
#[derive(Debug, Default)]
pub struct Engine {
    /// Versions with what is in flight.
    versions: BTreeMap<u8, u32>,
    recorded: BTreeMap<u32, (Offset, Entry)>,
    /// In order; a release is none.
    flying: VecDeque<Option<Entry>>,
}

impl Engine {
    /// The engine on these accepted records.
    pub fn on<'a>(accepted: impl Iterator<Item = (Offset, &'a Bytes)>) -> Self {
        let mut engine = Self::default();
        for (offset, bytes) in accepted {
            let entry = Entry::from_bytes(bytes);
            engine.versions.insert(entry.stream, entry.version);
            engine.recorded.entry(entry.key).or_insert((offset, entry));
        }
        engine
    }

    /// What was recorded for a key.
    pub fn recorded(&self, key: u32) -> Option<Answered> {
        let (offset, entry) = *self.recorded.get(&key)?;
        let told = Told::Recorded { offset, accepted: entry.accepted, version: entry.version };
        Some(Answered { key, attempt: None, told })
    }

    /// Whether the first attempt is on its way: who asks again waits for it.
    pub fn is_flying(&self, key: u32) -> bool {
        self.flying.iter().flatten().any(|entry| entry.key == key)
    }

    pub fn decide(&self, command: Command, attempt: u64) -> Entry {
        let version = self.versions.get(&command.stream).copied().unwrap_or(0);
        let accepted = command.expected.is_none_or(|expected| expected == version);
        let version = version + u32::from(accepted);
        Entry { key: command.key, stream: command.stream, accepted, version, attempt }
    }

    /// It was handed to the log; what is decided next is decided on it.
    pub fn sent(&mut self, entry: Option<Entry>) {
        if let Some(entry) = entry {
            self.versions.insert(entry.stream, entry.version);
        }
        self.flying.push_back(entry);
    }

    /// The first record that flies is committed.
    pub fn committed(&mut self, offset: Offset) -> Option<Answered> {
        let entry = self.flying.pop_front().flatten()?;
        self.recorded.insert(entry.key, (offset, entry));
        let told = Told::Recorded { offset, accepted: entry.accepted, version: entry.version };
        Some(Answered { key: entry.key, attempt: Some(entry.attempt), told })
    }

    /// The tenure is over; what flies is not acknowledged.
    pub fn over(&mut self, told: Told) -> Vec<Answered> {
        let flying = std::mem::take(&mut self.flying).into_iter().flatten();
        flying.map(|entry| Answered { key: entry.key, attempt: Some(entry.attempt), told }).collect()
    }
}
