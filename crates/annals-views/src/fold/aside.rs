//! Events that a view sets aside, as its projection says: found in the fold, kept with the save, taken in later.
//!
//! Invariant: an event of a stream that is parked is set aside behind the one that parked it, and taken in only after
//! all before it were taken in or dropped: a stream's events reach the projection in order.

use std::collections::{BTreeMap, BTreeSet};

use annals_core::envelope::Record;
use annals_core::event::{self, StoredEvent};
use annals_core::{OnBadEvent, Position};

use super::{FoldError, Folder, Work, documents_of, tenant_of};
use crate::store::{SetAside, StoreError, Why};

/// Events read at a time when a stream is taken in.
const CHUNK: usize = 256;

/// What is set aside between two saves.
#[derive(Default)]
pub(super) struct Aside {
    /// Streams of which nothing is taken in.
    streams: BTreeSet<String>,
    /// Events to be set aside with the next save.
    pending: Vec<SetAside>,
    /// Events at which the projection panicked. They are known before the batch is folded again.
    verdicts: BTreeMap<Position, String>,
}

/// What came of taking in events that were set aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Retried {
    /// Events taken in.
    pub taken_in: u64,
    /// Streams that are parked still.
    pub parked: u64,
}

impl Aside {
    /// Begins anew from what the store has; what is known of bad events stays.
    pub(super) fn resume(&mut self, streams: Vec<String>) {
        self.streams = streams.into_iter().collect();
        self.pending.clear();
    }

    /// Whether the event waits behind another of its stream; then it is set aside.
    pub(super) fn waits(&mut self, stored: &StoredEvent<'_>) -> bool {
        if !self.streams.contains(&stored.slice.stream) {
            return false;
        }
        let (stream, why, reason) = (stored.slice.stream.clone(), Why::Waiting, String::new());
        self.pending.push(SetAside { position: stored.position, stream, why, reason });
        true
    }

    /// Sets a bad event aside as the projection says; `Err` with the reason where it says to stop.
    pub(super) fn put(
        &mut self,
        stored: &StoredEvent<'_>,
        reason: String,
        policy: OnBadEvent,
    ) -> Result<(), String> {
        let why = match policy {
            OnBadEvent::Stop => return Err(reason),
            OnBadEvent::Park => Why::Parked,
            OnBadEvent::Skip => Why::Skipped,
        };
        let (position, stream) = (stored.position, stored.slice.stream.clone());
        tracing::warn!(%position, stream, reason, why = why.name(), "an event was set aside");
        if why == Why::Parked {
            self.streams.insert(stream.clone());
        }
        self.pending.push(SetAside { position, stream, why, reason });
        Ok(())
    }

    /// What is known to be wrong with an event from a fold before.
    pub(super) fn verdict(&self, position: Position) -> Option<&String> {
        self.verdicts.get(&position)
    }

    /// Remembers an event at which the projection panicked; whether that is news.
    pub(super) fn condemn(&mut self, position: Position, reason: String) -> bool {
        self.verdicts.insert(position, reason).is_none()
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// What the next save sets aside.
    pub(super) fn pending(&self) -> Vec<SetAside> {
        self.pending.clone()
    }

    pub(super) fn saved(&mut self) {
        self.pending.clear();
        self.verdicts.clear();
    }
}

impl Folder {
    /// Takes in what waits of a parked stream, or of all, as far as it can be read now.
    pub fn retry(&mut self, stream: Option<&str>) -> Result<Retried, FoldError> {
        self.settle()?;
        let streams = match stream {
            Some(stream) => vec![stream.to_owned()],
            None => self.store.parked_streams(&self.view)?,
        };
        let mut retried = Retried::default();
        for stream in streams {
            let outcome = self.retry_stream(&stream, &mut retried.taken_in);
            if outcome.is_err() {
                self.saved = None;
            }
            retried.parked += u64::from(!outcome?);
        }
        Ok(retried)
    }

    /// Drops the event at which a stream is parked, for good and on record, and takes in what waits behind it.
    ///
    /// `None` where no such stream is parked.
    pub fn drop_parked(&mut self, stream: &str) -> Result<Option<Retried>, FoldError> {
        self.settle()?;
        let first = self.waiting(stream, 1)?.into_iter().next();
        let Some(first) = first else { return Ok(None) };
        tracing::warn!(position = %first.position, stream, "a bad event was dropped from a view");
        self.save_with(vec![SetAside { why: Why::Skipped, ..first }], Vec::new())?;
        self.retry(Some(stream)).map(Some)
    }

    /// Saves what was folded, so that what is changed now is changed alone.
    fn settle(&mut self) -> Result<(), FoldError> {
        if self.saved.is_none() {
            self.resume()?;
        }
        self.save()
    }

    /// Whether all of the stream was taken in.
    fn retry_stream(&mut self, stream: &str, taken_in: &mut u64) -> Result<bool, FoldError> {
        loop {
            let events = self.waiting(stream, CHUNK)?;
            if events.is_empty() {
                self.aside.streams.remove(stream);
                return Ok(true);
            }
            for event in events {
                if let Err(reason) = self.take_in(&event)? {
                    // What the projection did before it panicked is forgotten with the cache.
                    self.resume()?;
                    self.save_with(vec![SetAside { why: Why::Parked, reason, ..event }], Vec::new())?;
                    return Ok(false);
                }
                self.save_with(Vec::new(), vec![event.position])?;
                *taken_in += 1;
            }
        }
    }

    /// Takes in one event; `Err` with the reason where it is bad still.
    fn take_in(&mut self, event: &SetAside) -> Result<Result<(), String>, FoldError> {
        let Position { shard, offset, .. } = event.position;
        let Some(raw) = self.log.get(shard, offset)? else {
            return Ok(Err("the log has no record at its position any more".to_owned()));
        };
        let record = match Record::from_bytes(raw.envelope) {
            Ok(record) => record,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let found = event::events(shard, offset, &record).find(|stored| stored.position == event.position);
        let Some(stored) = found else { return Ok(Err("the record has no such event".to_owned())) };
        let input = match self.read(&stored) {
            Ok(Some(input)) => input,
            // The projection does not want such events any more.
            Ok(None) => return Ok(Ok(())),
            Err(reason) => return Ok(Err(reason)),
        };
        let tenant = match tenant_of(&record) {
            Ok(tenant) => tenant,
            Err(reason) => return Ok(Err(reason)),
        };
        let (input, keys) = documents_of(input, tenant.as_ref());
        let work = Work { input, keys, position: event.position };
        self.load(std::slice::from_ref(&work))?;
        match self.project(&work) {
            Ok(()) => Ok(Ok(())),
            Err(FoldError::Event { reason, .. }) => Ok(Err(reason)),
            Err(error) => Err(error),
        }
    }

    /// The first events of a stream that are not left out for good.
    fn waiting(&self, stream: &str, limit: usize) -> Result<Vec<SetAside>, StoreError> {
        let (mut found, mut after) = (Vec::new(), None);
        while found.len() < limit {
            let chunk = self.store.set_aside(&self.view, Some(stream), after, CHUNK)?;
            let Some(last) = chunk.last() else { break };
            after = Some(last.position);
            found.extend(chunk.into_iter().filter(|event| event.why != Why::Skipped));
        }
        found.truncate(limit);
        Ok(found)
    }
}
