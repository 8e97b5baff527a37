//! One partition as its brokers keep it: the records, the high watermark, and what is known of idempotent producers.
//!
//! A record is appended at the leader first and counts when the high watermark has passed it; only then is the
//! producer answered and the record seen by readers. A change of leaders loses what lies above the watermark.
//! Only a cut ([`Broker::cut`]) loses what lies below.

use std::collections::{BTreeMap, BTreeSet};

use annals_core::Offset;
use annals_core::envelope::Header;
use annals_kafka::following::Fetched;
use bytes::Bytes;

/// How many batches of a producer the broker remembers the offsets of.
const BATCHES_KEPT: usize = 5;

pub type ProducerId = u64;

/// A batch on its way.
#[derive(Clone, Debug)]
pub struct Request {
    pub id: u64,
    pub producer: ProducerId,
    pub producer_epoch: u64,
    /// The producer's number of the first message.
    pub first: u64,
    pub messages: Vec<(Header, Bytes)>,
}

/// A batch of a producer: its id, its epoch, the number of the first message.
pub type Batch = (ProducerId, u64, u64);

impl Request {
    pub fn batch(&self) -> Batch {
        (self.producer, self.producer_epoch, self.first)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The first message is at this offset.
    Written(u64),
    /// It was written before, the broker does not remember where.
    Duplicate,
    OutOfOrder,
    StaleProducer,
}

#[derive(Clone, Debug)]
struct Slot {
    /// Nothing is at the offset of a control record.
    record: Option<(Header, Bytes)>,
    origin: Option<Origin>,
}

#[derive(Clone, Copy, Debug)]
struct Origin {
    producer: ProducerId,
    producer_epoch: u64,
    number: u64,
    /// The number of the first message of its batch.
    batch: u64,
}

#[derive(Clone, Debug, Default)]
struct Known {
    producer_epoch: u64,
    last: u64,
    /// (first number, count, offset)
    batches: Vec<(u64, u64, u64)>,
}

/// A partition.
#[derive(Debug)]
pub struct Broker {
    log: Vec<Slot>,
    high: usize,
    producers: BTreeMap<ProducerId, Known>,
    /// Answers that wait for the high watermark: (request, answer, watermark).
    waiting: Vec<(u64, Answer, usize)>,
    /// The watermark has to pass what the leader had appended when it was elected before its end is told.
    told_from: usize,
}

impl Broker {
    pub fn new(genesis: Bytes) -> Self {
        let slot = Slot { record: Some((Header::Genesis, genesis)), origin: None };
        Self { log: vec![slot], high: 1, producers: BTreeMap::new(), waiting: Vec::new(), told_from: 1 }
    }

    pub fn len(&self) -> u64 {
        self.log.len() as u64
    }

    pub fn high(&self) -> Offset {
        Offset(self.high as u64)
    }

    /// What a reader sees at an offset below the high watermark.
    pub fn at(&self, offset: u64) -> Option<&(Header, Bytes)> {
        self.log[..self.high].get(offset as usize)?.record.as_ref()
    }

    /// Up to `max` records from `from` on, as a consumer gets them.
    pub fn read(&self, from: Offset, max: usize) -> Vec<Fetched> {
        let slots = self.log[..self.high].iter().enumerate().skip(from.0 as usize);
        let records = slots.filter_map(|(offset, slot)| {
            let (header, envelope) = slot.record.clone()?;
            Some(Fetched { offset: Offset(offset as u64), header, envelope })
        });
        records.take(max).collect()
    }

    /// Begin and end, as the leader tells them.
    pub fn ends(&self) -> Option<(Offset, Offset)> {
        (self.high >= self.told_from).then(|| (Offset(0), self.high()))
    }

    /// A request reached the leader. Errors are answered at once, the rest by [`Broker::advance`]. `forgets`: the broker
    /// appends what it should know to be a duplicate.
    pub fn handle(&mut self, request: &Request, forgets: bool) -> Option<Answer> {
        let count = request.messages.len() as u64;
        let known = self.producers.get(&request.producer);
        if let Some(known) = known {
            if request.producer_epoch < known.producer_epoch {
                return Some(Answer::StaleProducer);
            }
            if request.producer_epoch > known.producer_epoch {
                if request.first != 0 {
                    return Some(Answer::OutOfOrder);
                }
            } else if let Some(batch) =
                known.batches.iter().find(|batch| !forgets && (batch.0, batch.1) == (request.first, count))
            {
                let wait = (batch.2 + count) as usize;
                self.waiting.push((request.id, Answer::Written(batch.2), wait));
                return None;
            } else if request.first <= known.last {
                if !forgets {
                    return Some(Answer::Duplicate);
                }
            } else if request.first != known.last + 1 {
                return Some(Answer::OutOfOrder);
            }
        }
        let base = self.log.len() as u64;
        for (index, message) in request.messages.iter().enumerate() {
            let origin = Origin {
                producer: request.producer,
                producer_epoch: request.producer_epoch,
                number: request.first + index as u64,
                batch: request.first,
            };
            self.push(Slot { record: Some(message.clone()), origin: Some(origin) });
        }
        self.waiting.push((request.id, Answer::Written(base), self.log.len()));
        None
    }

    /// Something that is no record of Annals; `None` for a control record.
    pub fn intrude(&mut self, record: Option<Bytes>) {
        self.push(Slot { record: record.map(|bytes| (Header::Foreign, bytes)), origin: None });
    }

    /// The replicas follow up to `high`; who can be answered now is.
    pub fn advance(&mut self, high: u64) -> Vec<(u64, Answer)> {
        self.high = self.high.max(high as usize).min(self.log.len());
        let passed = self.high;
        self.waiting
            .extract_if(.., |(.., wait)| *wait <= passed)
            .map(|(id, answer, _)| (id, answer))
            .collect()
    }

    /// Another leader, which has what counts and `kept` of the records above it. Nobody is answered.
    pub fn change_leader(&mut self, kept: u64) {
        let end = (self.high + kept as usize).min(self.log.len());
        self.truncate(end);
    }

    /// An unclean election: the new leader has the records below `end` only, and those count. Returns what is lost.
    pub fn cut(&mut self, end: u64) -> BTreeSet<Batch> {
        let origins = self.log.iter().skip(end as usize).filter_map(|slot| slot.origin);
        let lost = origins.map(|origin| (origin.producer, origin.producer_epoch, origin.batch)).collect();
        self.high = self.high.min(end as usize);
        self.truncate(end as usize);
        self.high = self.log.len();
        self.told_from = 0;
        lost
    }

    /// The topic was deleted and made again.
    pub fn make_anew(&mut self, genesis: Bytes) {
        *self = Self::new(genesis);
    }

    fn truncate(&mut self, end: usize) {
        self.log.truncate(end);
        self.waiting.clear();
        self.producers.clear();
        self.told_from = self.log.len();
        for (offset, slot) in self.log.clone().into_iter().enumerate() {
            self.learn(offset as u64, slot.origin);
        }
    }

    fn push(&mut self, slot: Slot) {
        let (offset, origin) = (self.log.len() as u64, slot.origin);
        self.log.push(slot);
        self.learn(offset, origin);
    }

    fn learn(&mut self, offset: u64, origin: Option<Origin>) {
        let Some(origin) = origin else { return };
        let known = self.producers.entry(origin.producer).or_default();
        if origin.producer_epoch != known.producer_epoch {
            *known = Known { producer_epoch: origin.producer_epoch, ..Known::default() };
        }
        if known.last >= origin.number && !known.batches.is_empty() {
            return; // a duplicate that the broker did not know
        }
        known.last = origin.number;
        match known.batches.last_mut() {
            Some((first, count, base))
                if *first == origin.batch && *base + *count == offset && *first + *count == origin.number =>
            {
                *count += 1;
            }
            _ => known.batches.push((origin.batch, 1, offset)),
        }
        if known.batches.len() > BATCHES_KEPT {
            known.batches.remove(0);
        }
    }
}
