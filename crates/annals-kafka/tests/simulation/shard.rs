//! One shard of a node: what `Shard` and `Reign` do around the decisions, without threads and locks.
//!
//! Every decision is made by the machines that run in production ([`Tenure`], [`Claiming`], [`Following`]); what is
//! here tells them what was heard and does what they say, step by step as the production code does.

use std::collections::VecDeque;

use annals_core::envelope::Header;
use annals_core::reader::Verdict;
use annals_core::{Offset, Seq};
use annals_kafka::PlantedBug;
use annals_kafka::claiming::{Claiming, Step};
use annals_kafka::following::{Fetched, Following, Taken, Trouble};
use annals_kafka::tenure::{Acknowledged, End, Report, Tenure};
use bytes::Bytes;

use crate::broker::{Broker, ProducerId};
use crate::client::{Producer, Token};
use crate::dice::Dice;
use crate::engine::{Answered, Command, Engine, Entry, Told};
use crate::replica::Replica;
use crate::world::Action;

/// A claim in force, or one that was.
struct Reign {
    generation: u16,
    producer: ProducerId,
    tenure: Tenure,
    /// Sent and not acknowledged.
    pending: VecDeque<(Header, Bytes)>,
    /// The first that is not committed.
    committed: Seq,
    engine: Engine,
}

/// A shard.
pub struct Shard {
    pub replica: Replica,
    following: Following,
    /// Where the consumer reads on; `None` when it does not, since what it read before is gone.
    position: Option<Offset>,
    /// Read by the consumer's thread, not given over yet.
    in_hand: Vec<Fetched>,
    /// What was known when the brokers were asked for the journal's ends, and what they said; not heard yet.
    ends: Option<(Offset, Offset, Offset)>,
    pub producers: Vec<Producer>,
    current: Option<u64>,
    generation: u16,
    claiming: Option<Claiming>,
    reign: Option<Reign>,
    /// Why it was stopped.
    pub halted: Option<String>,
    pub claims_won: u64,
    bug: Option<PlantedBug>,
    /// Answers for clients.
    pub answers: Vec<Answered>,
}

impl Shard {
    pub fn new(replica: Replica, bug: Option<PlantedBug>) -> Self {
        let mut shard = Self {
            replica,
            following: Following::default(),
            position: None,
            in_hand: Vec::new(),
            ends: None,
            producers: Vec::new(),
            current: None,
            generation: 0,
            claiming: None,
            reign: None,
            halted: None,
            claims_won: 0,
            bug,
            answers: Vec::new(),
        };
        shard.following.plant(bug);
        shard.start_reading();
        shard
    }

    /// Whether it takes commands.
    pub fn serves(&self) -> bool {
        let reign = self.reign.as_ref().filter(|_| self.halted.is_none());
        reign.is_some_and(|reign| reign.tenure.vacancy().is_ok())
    }

    pub fn is_claiming(&self) -> bool {
        self.claiming.is_some() && self.halted.is_none()
    }

    /// Whether the journal ends where its last record was, with nothing there: neither is it found, nor another one.
    pub fn stands_still(&self) -> bool {
        self.following.is_on() && !self.following.is_verified()
    }

    /// Whether there is something to do.
    pub fn can(&self, action: Action, broker: &Broker) -> bool {
        let some = |can: fn(&Producer) -> bool| self.producers.iter().any(can);
        match action {
            Action::Transmit => some(Producer::has_queued),
            Action::Retry => some(Producer::has_flights),
            Action::TimeOut => some(Producer::has_flights) || some(Producer::has_queued),
            Action::Report => some(Producer::has_reports),
            Action::Fetch => {
                self.following.is_on() && self.position.is_some_and(|position| position < broker.high())
            }
            Action::Feed => !self.in_hand.is_empty(),
            _ => true,
        }
    }

    /// A claim is sent, if none is on its way.
    pub fn claim(&mut self, dice: &mut Dice) {
        if self.halted.is_some() || self.claiming.is_some() {
            return;
        }
        if let Some(reign) = &mut self.reign {
            reign.tenure.hand_to_log();
        }
        self.settle();
        self.start_reading();
        let current = self.current;
        let usable = |producer: &&Producer| Some(producer.id) == current && producer.is_usable();
        if !self.producers.iter().any(|producer| usable(&producer)) {
            let id = dice.unique();
            self.producers.push(Producer::new(id));
            self.current = Some(id);
        }
        self.generation += 1;
        let envelope = Bytes::copy_from_slice(&dice.unique().to_le_bytes());
        let mut claiming = Claiming::new(envelope.clone());
        claiming.plant(self.bug);
        self.claiming = Some(claiming);
        let token = Token { generation: self.generation, number: None };
        let current = self.current;
        if let Some(producer) = self.producers.iter_mut().find(|producer| Some(producer.id) == current) {
            let _ = producer.send(token, Header::Claim, envelope);
        }
        self.advance_claim(false);
    }

    /// The claim goes on as far as it can; `overdue` when its time is over.
    pub fn advance_claim(&mut self, overdue: bool) {
        let Some(claiming) = &self.claiming else { return };
        if self.halted.is_some() {
            self.claiming = None;
            return;
        }
        match claiming.step(self.replica.next()) {
            Step::Begin(offset) => self.begin(offset),
            Step::Failed(_) => self.claim_failed(true),
            Step::Report if overdue => self.claim_failed(true),
            Step::Read(_) if overdue => self.claim_failed(false),
            Step::Report | Step::Read(_) => {}
        }
    }

    fn claim_failed(&mut self, spent: bool) {
        self.claiming = None;
        if spent {
            self.discard();
        }
    }

    fn begin(&mut self, offset: Offset) {
        let (Some(claiming), Some(producer)) = (self.claiming.take(), self.current) else { return };
        let found = self.replica.raw(offset);
        let begun = claiming.begin(offset, found, self.replica.rule(), self.replica.next());
        let Ok(mut tenure) = begun else { return self.discard() };
        tenure.plant(self.bug);
        if tenure.end().is_none() && self.replica.next() > offset {
            self.stop_reading();
        }
        self.claims_won += 1;
        self.end_engine();
        self.reign = Some(Reign {
            generation: self.generation,
            producer,
            tenure,
            pending: VecDeque::new(),
            committed: Seq(0),
            engine: Engine::on(self.replica.accepted()),
        });
        self.settle();
    }

    /// A client's command; whether it was taken.
    pub fn submit(&mut self, command: Command, attempt: u64) -> bool {
        let Some(reign) = self.reign.as_mut().filter(|_| self.halted.is_none()) else { return false };
        if let Some(answer) = reign.engine.recorded(command.key) {
            self.answers.push(answer);
            return true;
        }
        if reign.engine.is_flying(command.key) {
            return true;
        }
        let entry = reign.engine.decide(command, attempt);
        let numbered = |epoch, seq| Header::Record { epoch, seq };
        self.append(Some(entry), entry.to_bytes(), numbered)
    }

    /// Gives the shard up.
    pub fn release(&mut self) {
        let numbered = |epoch, seq| Header::Release { epoch, seq };
        if self.append(None, Bytes::new(), numbered)
            && let Some(reign) = &mut self.reign
        {
            reign.tenure.close();
        }
    }

    fn append(
        &mut self,
        entry: Option<Entry>,
        envelope: Bytes,
        header: impl Fn(annals_core::Epoch, Seq) -> Header,
    ) -> bool {
        if self.halted.is_some() {
            return false;
        }
        let Some(reign) = &mut self.reign else { return false };
        let Ok(seq) = reign.tenure.vacancy() else { return false };
        let header = header(reign.tenure.epoch(), seq);
        let token = Token { generation: reign.generation, number: Some(seq.0) };
        let id = reign.producer;
        let producer = self.producers.iter_mut().find(|producer| producer.id == id);
        let sent = producer.is_some_and(|producer| producer.send(token, header, envelope.clone()).is_ok());
        if !sent {
            reign.tenure.finish(End::Unknown("refused".into()));
            self.settle();
            return false;
        }
        reign.tenure.sent();
        reign.pending.push_back((header, envelope));
        reign.engine.sent(entry);
        true
    }

    /// Reports of the client.
    pub fn delivered(&mut self, reports: Vec<(Token, Report)>) {
        for (token, report) in &reports {
            if token.number.is_none()
                && token.generation == self.generation
                && let Some(claiming) = &mut self.claiming
            {
                claiming.reported(report.clone());
            }
        }
        let mut acknowledged = Vec::new();
        if let Some(reign) = &mut self.reign {
            for (token, report) in reports {
                let Some(number) = token.number.filter(|_| token.generation == reign.generation) else {
                    continue;
                };
                if let Some(told) = reign.tenure.reported(Seq(number), report) {
                    reign.take(told, &mut acknowledged);
                }
            }
        }
        self.publish(acknowledged);
        self.settle();
        self.advance_claim(false);
    }

    /// The consumer's thread reads on.
    pub fn fetch(&mut self, broker: &Broker, max: usize) {
        let Some(position) = self.position.filter(|_| self.following.is_on()) else { return };
        let fetched = broker.read(position, max);
        if let Some(last) = fetched.last() {
            self.position = Some(last.offset.next());
            self.in_hand.extend(fetched);
        }
    }

    /// The journal was cut at `end`. A consumer that has read beyond learns so from the brokers (it knows the leader's
    /// epoch at its position) and reads nothing more until it begins anew.
    pub fn consumer_truncated(&mut self, end: Offset) {
        self.position = self.position.filter(|position| *position <= end);
    }

    /// The consumer's thread gives over what it read.
    pub fn fed(&mut self) {
        let fetched = std::mem::take(&mut self.in_hand);
        let first = self.replica.next();
        let replica = &self.replica;
        let stored = |offset| Ok::<_, ()>(replica.raw(offset));
        match self.following.take(first, fetched, None, stored) {
            Ok(Taken { new, read_from }) => {
                self.position = read_from.or(self.position);
                self.take_in(first, new);
            }
            Err(Trouble::Cut(reason)) => self.halt(reason),
            Err(Trouble::Lookup(())) => {}
        }
        self.advance_claim(false);
    }

    fn take_in(&mut self, first: Offset, new: Vec<Fetched>) {
        if new.is_empty() {
            if self.following.is_verified() && self.trusts() {
                self.stop_reading();
            }
            return;
        }
        let read: Vec<(Header, Bytes, Verdict)> = new
            .into_iter()
            .map(|Fetched { header, envelope, .. }| {
                (header, envelope.clone(), self.replica.append(header, envelope))
            })
            .collect();
        let mut rest = Vec::new();
        if let Some(reign) = &mut self.reign {
            let mut offset = first;
            for (header, envelope, verdict) in read {
                let sent = reign.pending.front() == Some(&(header, envelope));
                if reign.tenure.read(offset, header, verdict, sent).is_some() {
                    reign.pending.pop_front();
                }
                offset = offset.next();
            }
            reign.show(&mut self.answers);
            if let Some(told) = reign.tenure.take_reports() {
                reign.take(told, &mut rest);
            }
        }
        self.publish(rest);
        self.settle();
        if self.trusts() {
            self.stop_reading();
        }
    }

    fn trusts(&self) -> bool {
        let trusts = |reign: &Reign| reign.tenure.end().is_none() && reign.tenure.reading().is_none();
        self.reign.as_ref().is_some_and(trusts)
    }

    /// The brokers are asked for the journal's ends.
    pub fn ask(&mut self, broker: &Broker) {
        let next = self.replica.next();
        self.ends = self.ends.or_else(|| broker.ends().map(|(low, high)| (next, low, high)));
    }

    /// Their answer is heard; `late` when everything that is waited for has taken too long.
    pub fn watched(&mut self, late: bool) {
        let Some((known, low, high)) = self.ends.take() else { return };
        if let Err(reason) = self.following.ends(known, low, high) {
            return self.halt(reason);
        }
        if late && self.halted.is_none() {
            self.restart_reading();
        }
        if let Some(reign) = &mut self.reign {
            reign.tenure.noticed(high);
            if late && reign.tenure.reading().is_some() {
                reign.tenure.finish(End::Unknown("the journal could not be read".into()));
            }
        }
        self.settle();
    }

    fn publish(&mut self, acknowledged: Vec<(Offset, Header, Bytes)>) {
        for (offset, header, envelope) in acknowledged {
            // Only with a bug planted are they not the same.
            if offset == self.replica.next() {
                self.replica.append(header, envelope);
            }
        }
        if let Some(reign) = &mut self.reign {
            reign.show(&mut self.answers);
        }
    }

    fn settle(&mut self) {
        let Some(reign) = &mut self.reign else { return };
        let unknown = match reign.tenure.end() {
            None if reign.tenure.reading().is_none() => return,
            None => return self.start_reading(),
            Some(end) => *end != End::Fenced,
        };
        self.end_engine();
        if unknown && self.bug == Some(PlantedBug::GoOnAfterUnknown) {
            return self.go_on();
        }
        if unknown && let Some(id) = self.reign.as_ref().map(|reign| reign.producer) {
            self.give_up(id);
        }
        self.start_reading();
    }

    /// The bug: what was in flight is forgotten, and the next record is sent under the same claim.
    fn go_on(&mut self) {
        if let Some(reign) = &mut self.reign {
            reign.tenure.go_on();
            reign.committed = reign.tenure.acknowledged();
            reign.pending.clear();
            reign.engine = Engine::on(self.replica.accepted());
        }
    }

    /// Whoever waits for what was in flight is told that it will not be acknowledged.
    fn end_engine(&mut self) {
        let Some(reign) = &mut self.reign else { return };
        let told = match reign.tenure.end() {
            Some(End::Fenced) => Told::Fenced,
            _ => Told::Unknown,
        };
        self.answers.extend(reign.engine.over(told));
        reign.pending.clear();
    }

    fn halt(&mut self, reason: String) {
        self.halted = Some(reason.clone());
        self.stop_reading();
        if let Some(reign) = &mut self.reign {
            reign.tenure.finish(End::Unknown(reason));
        }
        self.settle();
        self.advance_claim(false);
    }

    fn discard(&mut self) {
        if let Some(id) = self.current.take() {
            self.give_up(id);
        }
    }

    fn give_up(&mut self, id: ProducerId) {
        let found = self.producers.iter_mut().find(|producer| producer.id == id && producer.is_usable());
        if let Some(producer) = found {
            producer.give_up();
        }
    }

    fn start_reading(&mut self) {
        if !self.following.is_on() && self.halted.is_none() {
            self.restart_reading();
        }
    }

    fn restart_reading(&mut self) {
        let replica = &self.replica;
        self.position =
            Some(self.following.begin(replica.next(), replica.rule().epoch(), |offset| replica.raw(offset)));
    }

    fn stop_reading(&mut self) {
        self.following.stop();
    }
}

impl Reign {
    /// Moves what became acknowledged from the pending records to `out`.
    fn take(&mut self, told: Acknowledged, out: &mut Vec<(Offset, Header, Bytes)>) {
        for index in 0..told.count {
            let Some((header, envelope)) = self.pending.pop_front() else { break };
            out.push((Offset(told.offset.0 + index), header, envelope));
        }
    }

    fn show(&mut self, answers: &mut Vec<Answered>) {
        while self.committed < self.tenure.acknowledged() {
            let offset = self.tenure.offset_of(self.committed).unwrap();
            answers.extend(self.engine.committed(offset));
            self.committed = self.committed.next();
        }
    }
}
