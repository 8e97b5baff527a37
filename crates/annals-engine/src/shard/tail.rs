//! The end of a shard as its owner sees it: the writer, and which commands are in flight.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use annals_core::envelope::{CommandPart, Progress, Record};
use annals_core::index::{Term, terms};
use annals_core::{Seq, StreamName};
use annals_log::{AppendError, RecordKind, Writer};
use bytes::Bytes;

use crate::request::Answer;

/// The writer and what it has in flight.
#[derive(Default)]
pub(super) struct Tail {
    pub(super) writer: Option<Arc<dyn Writer>>,
    /// Counts the writers: tells a ticket of an earlier one apart.
    pub(super) generation: u64,
    recorded_at_us: i64,
    last: Option<Seq>,
    commands: HashMap<Term, Vec<InFlight>>,
    order: VecDeque<(Seq, Term)>,
}

/// A command whose record is not durable yet.
pub(super) struct InFlight {
    pub(super) stream: StreamName,
    pub(super) key: String,
    pub(super) digest: Bytes,
    pub(super) seq: Seq,
    pub(super) answer: Answer,
}

impl Tail {
    /// Starts with a fresh writer.
    pub(super) fn begin(&mut self, writer: Arc<dyn Writer>, recorded_at_us: i64) {
        self.lose();
        self.writer = Some(writer);
        self.generation += 1;
        self.recorded_at_us = recorded_at_us;
    }

    /// Forgets the writer and all that was in flight.
    pub(super) fn lose(&mut self) {
        self.writer = None;
        self.last = None;
        self.commands.clear();
        self.order.clear();
    }

    /// The time for the next record: `now`, or the last record's where the clock went back.
    pub(super) fn next_recorded_at_us(&self, now_us: i64) -> i64 {
        now_us.max(self.recorded_at_us)
    }

    /// Hands a record to the log. It counts as in flight from here on.
    pub(super) fn append(&mut self, record: &Record) -> Result<Seq, AppendError> {
        let seq = self.hand_over(RecordKind::Record, record.to_bytes(), terms(record))?;
        self.recorded_at_us = record.recorded_at_us;
        Ok(seq)
    }

    /// Hands the relay's progress to the log; it becomes durable with the next group.
    pub(super) fn append_progress(&mut self, progress: &Progress) -> Result<Seq, AppendError> {
        self.hand_over(RecordKind::Progress, progress.to_bytes(), vec![Term::progress()])
    }

    fn hand_over(&mut self, kind: RecordKind, envelope: Bytes, terms: Vec<Term>) -> Result<Seq, AppendError> {
        let Some(writer) = &self.writer else { return Err(AppendError::Fenced) };
        match writer.append(kind, envelope, terms) {
            Ok(seq) => {
                self.last = Some(seq);
                Ok(seq)
            }
            // Says nothing about the log.
            Err(error @ AppendError::TooLarge { .. }) => Err(error),
            Err(error) => {
                self.lose();
                Err(error)
            }
        }
    }

    /// Remembers a command until it is durable and the index knows it.
    pub(super) fn remember(&mut self, stream: StreamName, command: CommandPart, seq: Seq, answer: Answer) {
        let CommandPart { key, digest, .. } = command;
        let term = Term::command(stream.as_str(), &key);
        self.order.push_back((seq, term));
        let command = InFlight { stream, key, digest, seq, answer };
        // Nearly always the only one: more only where hashes collide.
        self.commands.entry(term).or_insert_with(|| Vec::with_capacity(1)).push(command);
    }

    /// The command in flight with this key, if there is one.
    pub(super) fn command(&self, stream: &StreamName, key: &str) -> Option<&InFlight> {
        let found = self.commands.get(&Term::command(stream.as_str(), key))?;
        found.iter().find(|command| command.stream == *stream && command.key == key)
    }

    /// Drops what is durable by now.
    pub(super) fn forget_durable(&mut self) {
        let Some(writer) = &self.writer else { return };
        let committed = writer.committed();
        while let Some(&(seq, term)) = self.order.front() {
            if seq >= committed {
                return;
            }
            self.order.pop_front();
            if let Some(commands) = self.commands.get_mut(&term) {
                commands.retain(|command| command.seq != seq);
                if commands.is_empty() {
                    self.commands.remove(&term);
                }
            }
        }
    }

    /// The last record handed to the log.
    pub(super) fn last(&self) -> Option<Seq> {
        self.last
    }

    /// Whether the record `last` is not durable yet.
    pub(super) fn in_flight(&self, last: Option<Seq>) -> bool {
        self.rest(last).is_some()
    }

    /// What an answer waits for that includes records up to `last`; `None` where they are durable.
    pub(super) fn rest(&self, last: Option<Seq>) -> Option<(Arc<dyn Writer>, u64, Seq)> {
        let (seq, writer) = (last?, self.writer.as_ref()?);
        (seq >= writer.committed()).then(|| (Arc::clone(writer), self.generation, seq))
    }
}
