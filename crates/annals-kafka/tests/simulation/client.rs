//! An idempotent producer as the client library runs it: numbered batches, five of them in flight, sent again until they are
//! answered, and a report on every record.
//!
//! What it does that a log must live with: a record that took too long is reported as failed, while it may be on
//! its way still, and later ones are sent all the same under a new epoch of the producer; after an answer
//! "duplicate" the offsets in the reports are made up.

use std::collections::{BTreeSet, VecDeque};

use annals_core::envelope::Header;
use annals_kafka::tenure::Report;
use bytes::Bytes;

use crate::broker::{Answer, Batch, ProducerId, Request};
use crate::dice::{Dice, Odds};

const FLIGHTS_MAX: usize = 5;

/// Which record a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub generation: u16,
    /// `None`: the claim.
    pub number: Option<u64>,
}

#[derive(Clone, Debug)]
struct Entry {
    token: Token,
    header: Header,
    envelope: Bytes,
}

#[derive(Clone, Debug)]
struct Flight {
    request: Request,
    tokens: Vec<Token>,
}

/// A producer.
#[derive(Debug)]
pub struct Producer {
    pub id: ProducerId,
    epoch: u64,
    next: u64,
    queue: VecDeque<Entry>,
    flights: Vec<Flight>,
    /// A record was given up: what is in flight is waited for, then a new epoch begins.
    bumps: bool,
    reports: VecDeque<(Token, Report)>,
    usable: bool,
}

impl Producer {
    pub fn new(id: ProducerId) -> Self {
        Self {
            id,
            epoch: 0,
            next: 0,
            queue: VecDeque::new(),
            flights: Vec::new(),
            bumps: false,
            reports: VecDeque::new(),
            usable: true,
        }
    }

    pub fn is_usable(&self) -> bool {
        self.usable
    }

    pub fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    pub fn has_flights(&self) -> bool {
        !self.flights.is_empty()
    }

    pub fn has_reports(&self) -> bool {
        !self.reports.is_empty()
    }

    /// Whether nothing will come from it any more.
    pub fn is_spent(&self) -> bool {
        !self.usable && self.reports.is_empty()
    }

    pub fn send(&mut self, token: Token, header: Header, envelope: Bytes) -> Result<(), ()> {
        if !self.usable {
            return Err(());
        }
        self.queue.push_back(Entry { token, header, envelope });
        Ok(())
    }

    /// Puts the next batch on its way.
    pub fn transmit(&mut self, dice: &mut Dice) -> Option<Request> {
        if self.bumps && self.flights.is_empty() {
            (self.bumps, self.epoch, self.next) = (false, self.epoch + 1, 0);
        }
        if self.bumps || self.queue.is_empty() || self.flights.len() == FLIGHTS_MAX {
            return None;
        }
        let count = (1 + dice.below(4) as usize).min(self.queue.len());
        let entries: Vec<Entry> = self.queue.drain(..count).collect();
        let request = Request {
            id: dice.unique(),
            producer: self.id,
            producer_epoch: self.epoch,
            first: self.next,
            messages: entries.iter().map(|entry| (entry.header, entry.envelope.clone())).collect(),
        };
        self.next += count as u64;
        let tokens = entries.iter().map(|entry| entry.token).collect();
        self.flights.push(Flight { request: request.clone(), tokens });
        Some(request)
    }

    /// Sends one that was not answered again.
    pub fn retry(&self, dice: &mut Dice) -> Option<Request> {
        let which = dice.below(self.flights.len() as u64) as usize;
        self.flights.get(which).map(|flight| flight.request.clone())
    }

    /// The oldest record that was sent took too long, or (`unsent`) that was not.
    pub fn time_out(&mut self, unsent: bool) {
        if self.flights.is_empty() || unsent {
            if let Some(entry) = self.queue.pop_front() {
                self.reports.push_back((entry.token, Report::Failed("timed out".into())));
            }
            return;
        }
        let flight = self.flights.remove(0);
        self.fail(&flight.tokens, "timed out");
        self.bumps = true;
    }

    /// These take too long.
    pub fn lose(&mut self, lost: &BTreeSet<Batch>) {
        let gone: Vec<Flight> =
            self.flights.extract_if(.., |flight| lost.contains(&flight.request.batch())).collect();
        self.bumps |= !gone.is_empty();
        gone.iter().for_each(|flight| self.fail(&flight.tokens, "timed out"));
    }

    /// A request was answered.
    pub fn answered(&mut self, id: u64, answer: Answer, odds: &Odds, dice: &mut Dice) {
        let Some(at) = self.flights.iter().position(|flight| flight.request.id == id) else { return };
        let base = match answer {
            Answer::Written(base) => base as i64,
            // What the library makes of the answer that there is no offset.
            Answer::Duplicate => -1,
            Answer::OutOfOrder if at > 0 => return, // sent again when those before it are there
            Answer::OutOfOrder | Answer::StaleProducer => return self.give_up(),
        };
        let flight = self.flights.remove(at);
        for (index, token) in flight.tokens.into_iter().enumerate() {
            let offset = base + index as i64;
            let told = match dice.below(4) {
                _ if !dice.one_in(odds.odd_report) => offset,
                0 => -1,
                1 => index as i64 - 1,
                2 => offset + 1 + dice.below(3) as i64,
                _ => 0,
            };
            self.reports.push_back((token, Report::Written(told)));
        }
    }

    /// Nothing more is sent; what is not reported on yet is reported as failed.
    pub fn give_up(&mut self) {
        self.usable = false;
        let flights = std::mem::take(&mut self.flights);
        flights.iter().for_each(|flight| self.fail(&flight.tokens, "given up"));
        let queue: Vec<Token> = self.queue.drain(..).map(|entry| entry.token).collect();
        self.fail(&queue, "given up");
    }

    /// Some reports, in the order in which they are heard.
    pub fn take_reports(&mut self, odds: &Odds, dice: &mut Dice) -> Vec<(Token, Report)> {
        let count = (1 + dice.below(5) as usize).min(self.reports.len());
        if dice.one_in(odds.shuffled_reports) {
            dice.shuffle(self.reports.make_contiguous());
        }
        let mut taken: Vec<_> = self.reports.drain(..count).collect();
        if dice.one_in(odds.lost_report) {
            taken.pop();
        }
        taken
    }

    fn fail(&mut self, tokens: &[Token], reason: &str) {
        self.reports.extend(tokens.iter().map(|token| (*token, Report::Failed(reason.into()))));
    }
}
