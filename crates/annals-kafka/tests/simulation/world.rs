//! Nodes, brokers and clients in one world that moves step by step, as the dice say.
//!
//! There is no clock: anything that is on its way arrives when it is picked, before or after everything else. A node that
//! is stopped does nothing until it is continued, however much happened meanwhile; so "longer than any timeout" needs no
//! number. A timeout is a step like any other, at any time.

use std::collections::BTreeSet;

use annals_core::Offset;
use annals_core::envelope::Header;
use annals_core::reader::{ReaderRule, Verdict};
use annals_kafka::PlantedBug;
use bytes::Bytes;

use crate::broker::{Answer, Batch, Broker, Request};
use crate::dice::{Dice, Odds};
use crate::engine::{Command, Told};
use crate::figures::Figures;
use crate::replica::Replica;
use crate::shard::Shard;

pub const NODES: usize = 3;
const STREAMS: u64 = 5;
/// More are not asked for in one run.
const COMMANDS_MAX: usize = 60;

/// What is planted into a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bugs {
    pub kafka: Option<PlantedBug>,
    /// Readers believe a stale epoch.
    pub stale_epoch: bool,
}

/// One partition, and what is on its way to and from it.
pub struct Partition {
    pub broker: Broker,
    pub requests: Vec<Request>,
    pub answers: Vec<(u64, Answer)>,
    /// Requests that arrive when all is over.
    pub late: Vec<Request>,
    pub cut: bool,
}

/// A process.
pub struct Node {
    pub stopped: bool,
    pub dead: bool,
    pub shards: Vec<Shard>,
}

/// A command and what is known of it.
pub struct Asked {
    pub command: Command,
    pub recorded: Option<(Offset, bool, u32)>,
}

/// Everything.
pub struct World {
    pub dice: Dice,
    pub odds: Odds,
    weights: Vec<(Action, u64)>,
    bugs: Bugs,
    /// Whether this run loses what was acknowledged.
    loses: bool,
    /// Nobody claims when all is over: what is to be noticed must be noticed without.
    pub quiet: bool,
    pub partitions: Vec<Partition>,
    pub nodes: Vec<Node>,
    pub asked: Vec<Asked>,
    /// Attempts that are certainly not applied.
    pub fenced: BTreeSet<u64>,
    pub figures: Figures,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Ask,
    AskAgain,
    Claim,
    ClaimOverdue,
    Release,
    Transmit,
    Arrive,
    LoseRequest,
    DelayRequest,
    Replicate,
    Answer,
    LoseAnswer,
    Retry,
    TimeOut,
    Report,
    Fetch,
    Feed,
    AskEnds,
    HearEnds,
    Stop,
    Continue,
    Kill,
    Restart,
    ChangeLeader,
    Intrude,
    Cut,
}

/// How often each is done where nothing else is said.
const WEIGHTS: [(Action, u64); 26] = [
    (Action::Ask, 90),
    (Action::AskAgain, 25),
    (Action::Claim, 5),
    (Action::ClaimOverdue, 3),
    (Action::Release, 2),
    (Action::Transmit, 130),
    (Action::Arrive, 130),
    (Action::LoseRequest, 3),
    (Action::DelayRequest, 3),
    (Action::Replicate, 110),
    (Action::Answer, 120),
    (Action::LoseAnswer, 3),
    (Action::Retry, 12),
    (Action::TimeOut, 4),
    (Action::Report, 60),
    (Action::Fetch, 90),
    (Action::Feed, 90),
    (Action::AskEnds, 15),
    (Action::HearEnds, 15),
    (Action::Stop, 4),
    (Action::Continue, 8),
    (Action::Kill, 1),
    (Action::Restart, 8),
    (Action::ChangeLeader, 2),
    (Action::Intrude, 3),
    (Action::Cut, 8),
];

impl World {
    pub fn new(seed: u64, bugs: Bugs) -> Self {
        let mut dice = Dice::new(seed);
        let odds = Odds::draw(&mut dice);
        let weights =
            WEIGHTS.map(|(action, usual)| (action, usual * [1, 4, 4, 4, 16][dice.below(5) as usize]));
        let partitions = 1 + dice.below(2) as usize;
        let loses = dice.one_in(4);
        let mut world = Self {
            loses,
            quiet: loses && dice.one_in(2),
            dice,
            odds,
            weights: weights.to_vec(),
            bugs,
            partitions: Vec::new(),
            nodes: Vec::new(),
            asked: Vec::new(),
            fenced: BTreeSet::new(),
            figures: Figures::default(),
        };
        for _ in 0..partitions {
            let broker = Broker::new(world.genesis());
            let (requests, answers, late) = (Vec::new(), Vec::new(), Vec::new());
            world.partitions.push(Partition { broker, requests, answers, late, cut: false });
        }
        for _ in 0..NODES {
            let shards = (0..partitions).map(|at| world.empty_shard(at)).collect();
            world.nodes.push(Node { stopped: false, dead: false, shards });
        }
        world
    }

    /// So many steps, everything possible.
    pub fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            let mut action = self.draw();
            // What is on its way moves on, in most steps: there is so much that could go wrong.
            for _ in 0..6 {
                if self.can(action) {
                    break;
                }
                action = self.draw();
            }
            self.act(action);
        }
    }

    /// Whether the action has an object anywhere; for what goes wrong, that is left to chance.
    fn can(&self, action: Action) -> bool {
        match action {
            Action::Transmit | Action::Report | Action::Fetch | Action::Feed => {
                let brokers = || self.partitions.iter().map(|partition| &partition.broker);
                let nodes =
                    (0..NODES).filter(|node| self.running(*node)).map(|node| &self.nodes[node].shards);
                nodes
                    .flat_map(|shards| shards.iter().zip(brokers()))
                    .any(|(shard, broker)| shard.can(action, broker))
            }
            Action::Arrive => self.partitions.iter().any(|partition| !partition.requests.is_empty()),
            Action::Answer => self.partitions.iter().any(|partition| !partition.answers.is_empty()),
            Action::Replicate => {
                self.partitions.iter().any(|partition| partition.broker.high().0 < partition.broker.len())
            }
            Action::Ask => self.asked.len() < COMMANDS_MAX,
            _ => true,
        }
    }

    fn draw(&mut self) -> Action {
        let all = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut at = self.dice.below(all);
        for (action, weight) in &self.weights {
            match at.checked_sub(*weight) {
                None => return *action,
                Some(rest) => at = rest,
            }
        }
        Action::Ask
    }

    fn act(&mut self, action: Action) {
        let node = self.dice.below(NODES as u64) as usize;
        let at = self.dice.below(self.partitions.len() as u64) as usize;
        match action {
            Action::Ask => self.ask(node),
            Action::AskAgain => self.ask_again(),
            Action::Arrive | Action::LoseRequest | Action::DelayRequest => self.request(at, action),
            Action::Replicate => self.replicate(at),
            Action::Answer | Action::LoseAnswer => self.answer(at, action == Action::LoseAnswer),
            Action::Stop if self.running(node) => {
                self.nodes[node].stopped = true;
                self.figures.stops += 1;
            }
            Action::Continue => self.nodes[node].stopped = false,
            Action::Kill if !self.nodes[node].dead => {
                self.nodes[node].dead = true;
                self.figures.kills += 1;
            }
            Action::Restart if self.nodes[node].dead => self.restart(node),
            Action::ChangeLeader => {
                let kept = self.dice.below(4);
                self.partitions[at].broker.change_leader(kept);
                self.figures.leaders += 1;
            }
            Action::Intrude => {
                let record = self.dice.one_in(2).then(|| Bytes::from_static(b"not ours"));
                self.partitions[at].broker.intrude(record);
            }
            Action::Cut if self.loses => self.cut(at),
            _ => {
                // The next node that has something to do.
                let mut nodes = (0..NODES).map(|ahead| (node + ahead) % NODES);
                let busy = |node: &usize| {
                    let shard = &self.nodes[*node].shards[at];
                    self.running(*node) && shard.can(action, &self.partitions[at].broker)
                };
                if let Some(node) = nodes.find(busy) {
                    self.shard(node, at, action);
                }
            }
        }
    }

    fn shard(&mut self, node: usize, at: usize, action: Action) {
        let Self { dice, odds, partitions, nodes, .. } = self;
        let (shard, partition) = (&mut nodes[node].shards[at], &mut partitions[at]);
        let which = dice.below(shard.producers.len() as u64) as usize;
        match action {
            Action::Claim => shard.claim(dice),
            Action::ClaimOverdue => shard.advance_claim(true),
            Action::Release => shard.release(),
            Action::Transmit => {
                let producer = shard.producers.get_mut(which);
                partition.requests.extend(producer.and_then(|producer| producer.transmit(dice)));
            }
            Action::Retry => {
                let producer = shard.producers.get(which);
                partition.requests.extend(producer.and_then(|producer| producer.retry(dice)));
            }
            Action::TimeOut => {
                let unsent = dice.one_in(2);
                shard.producers.get_mut(which).into_iter().for_each(|one| one.time_out(unsent));
            }
            Action::Report => {
                let Some(producer) = shard.producers.get_mut(which) else { return };
                let reports = producer.take_reports(odds, dice);
                shard.producers.retain(|producer| !producer.is_spent());
                shard.delivered(reports);
            }
            Action::Fetch => shard.fetch(&partition.broker, 1 + dice.below(8) as usize),
            Action::Feed => shard.fed(),
            Action::AskEnds => shard.ask(&partition.broker),
            Action::HearEnds => shard.watched(dice.one_in(4)),
            _ => {}
        }
        self.hear(node, at);
    }

    fn running(&self, node: usize) -> bool {
        !self.nodes[node].stopped && !self.nodes[node].dead
    }

    fn ask(&mut self, node: usize) {
        if self.asked.len() == COMMANDS_MAX {
            return;
        }
        let expected = self.dice.one_in(3).then(|| self.dice.below(6) as u32);
        let stream = self.dice.below(STREAMS) as u8;
        let command = Command { key: self.asked.len() as u32, stream, expected };
        match self.owner(node, command) {
            Some(node) => {
                self.asked.push(Asked { command, recorded: None });
                self.submit(node, command);
            }
            // A client that finds no owner asks later; meanwhile a node is assigned.
            None => self.assign(node, usize::from(command.stream) % self.partitions.len()),
        }
    }

    fn assign(&mut self, node: usize, at: usize) {
        let claims = |node: &Node| !node.dead && !node.stopped && node.shards[at].is_claiming();
        if self.running(node) && !self.nodes.iter().any(claims) {
            self.nodes[node].shards[at].claim(&mut self.dice);
            self.hear(node, at);
        }
    }

    fn ask_again(&mut self) {
        let node = self.dice.below(NODES as u64) as usize;
        let which = self.dice.below(self.asked.len() as u64) as usize;
        let Some(command) = self.asked.get(which).map(|asked| asked.command) else { return };
        if let Some(node) = self.owner(node, command) {
            self.submit(node, command);
        }
    }

    /// A node that believes to own the command's shard, looked for from `node` on.
    fn owner(&self, node: usize, command: Command) -> Option<usize> {
        let at = usize::from(command.stream) % self.partitions.len();
        let mut nodes = (0..NODES).map(|ahead| (node + ahead) % NODES);
        nodes.find(|node| self.running(*node) && self.nodes[*node].shards[at].serves())
    }

    pub fn submit(&mut self, node: usize, command: Command) {
        let at = usize::from(command.stream) % self.partitions.len();
        if self.running(node) {
            let attempt = self.dice.unique();
            self.nodes[node].shards[at].submit(command, attempt);
            self.hear(node, at);
        }
    }

    /// What a shard answered reaches the clients. One answer for a key, for ever.
    pub fn hear(&mut self, node: usize, at: usize) {
        let answers = std::mem::take(&mut self.nodes[node].shards[at].answers);
        let (shard, partition) = (&self.nodes[node].shards[at], &self.partitions[at]);
        // Until it is noticed that a journal was cut, answers may rest on what was lost.
        let misled = !answers.is_empty() && partition.cut && !agrees(&shard.replica, partition);
        for answer in answers {
            match answer.told {
                Told::Recorded { .. } | Told::Fenced if misled => self.figures.before_noticed += 1,
                Told::Recorded { offset, accepted, version } => {
                    self.figures.acknowledged += u64::from(answer.attempt.is_some());
                    let recorded = &mut self.asked[answer.key as usize].recorded;
                    let told = Some((offset, accepted, version));
                    assert!(
                        recorded.is_none() || *recorded == told,
                        "key {} got two answers: {recorded:?} and {told:?}",
                        answer.key
                    );
                    *recorded = told;
                }
                Told::Fenced => {
                    self.figures.fenced += 1;
                    self.fenced.extend(answer.attempt);
                }
                Told::Unknown => self.figures.unknown += 1,
            }
        }
    }

    /// A request arrives, is lost, or stays on its way until all is over. It may overtake others.
    pub fn request(&mut self, at: usize, action: Action) {
        let Self { dice, odds, partitions, .. } = self;
        let partition = &mut partitions[at];
        if partition.requests.is_empty() {
            return;
        }
        let which = if dice.one_in(3) { dice.below(partition.requests.len() as u64) as usize } else { 0 };
        let request = partition.requests.remove(which);
        match action {
            Action::Arrive => {
                let forgets = dice.one_in(odds.forgetful_broker);
                let answer = partition.broker.handle(&request, forgets);
                partition.answers.extend(answer.map(|answer| (request.id, answer)));
            }
            Action::DelayRequest => partition.late.push(request),
            _ => {}
        }
    }

    fn replicate(&mut self, at: usize) {
        let partition = &mut self.partitions[at];
        let behind = partition.broker.len() - partition.broker.high().0;
        let high = partition.broker.high().0 + behind - self.dice.below(behind.min(2));
        partition.answers.extend(partition.broker.advance(high));
    }

    pub fn answer(&mut self, at: usize, lost: bool) {
        let Self { dice, odds, partitions, nodes, .. } = self;
        let partition = &mut partitions[at];
        if partition.answers.is_empty() {
            return;
        }
        let (id, answer) = partition.answers.remove(dice.below(partition.answers.len() as u64) as usize);
        if lost {
            return;
        }
        for node in nodes {
            node.shards[at].producers.iter_mut().for_each(|one| one.answered(id, answer, odds, dice));
        }
    }

    /// A process begins again: with its replica, with the beginning of it, or without.
    pub fn restart(&mut self, node: usize) {
        for at in 0..self.partitions.len() {
            let replica = &self.nodes[node].shards[at].replica;
            let kept = match self.dice.below(3) {
                0 => replica.next().0,
                1 => self.dice.below(replica.next().0 + 1),
                _ => 0,
            };
            let bug = self.bugs.kafka;
            let shard = match kept {
                0 => self.empty_shard(at),
                kept => Shard::new(replica.reopened(kept as usize), bug),
            };
            self.nodes[node].shards[at] = shard;
            self.check_identity(node, at);
        }
        self.nodes[node].dead = false;
        self.nodes[node].stopped = false;
    }

    /// A replica is opened only for the journal that it is of.
    fn check_identity(&mut self, node: usize, at: usize) {
        let shard = &mut self.nodes[node].shards[at];
        let same = shard.replica.raw(Offset(0)).as_ref() == self.partitions[at].broker.at(0);
        if !same {
            shard.halted = Some("the replica is of another log".into());
        }
    }

    fn empty_shard(&self, at: usize) -> Shard {
        let genesis = self.partitions[at].broker.at(0).map(|(_, bytes)| bytes.clone()).unwrap_or_default();
        Shard::new(Replica::new(genesis, self.bugs.stale_epoch), self.bugs.kafka)
    }

    fn genesis(&mut self) -> Bytes {
        Bytes::copy_from_slice(&self.dice.unique().to_le_bytes())
    }

    /// What was acknowledged is lost, once for a partition.
    fn cut(&mut self, at: usize) {
        let high = self.partitions[at].broker.high().0;
        if self.partitions[at].cut || high < 6 {
            return;
        }
        let anew = self.dice.one_in(5);
        let end = if anew { 0 } else { 1 + self.dice.below(high - 1) };
        let lost = self.partitions[at].broker.cut(end);
        self.never_again(at, &lost);
        if anew {
            let genesis = self.genesis();
            self.partitions[at].broker.make_anew(genesis);
        }
        self.forget(at, end);
        for node in &mut self.nodes {
            node.shards[at].consumer_truncated(Offset(end));
        }
        self.partitions[at].cut = true;
        self.figures.cuts += 1;
    }

    /// What was cut away and not answered yet is not written again. If it were, at the very offset that it had, it
    /// would hide from those who verify what they know that other records before it are gone.
    fn never_again(&mut self, at: usize, lost: &BTreeSet<Batch>) {
        let partition = &mut self.partitions[at];
        partition.requests.retain(|request| !lost.contains(&request.batch()));
        partition.late.retain(|request| !lost.contains(&request.batch()));
        for node in &mut self.nodes {
            node.shards[at].producers.iter_mut().for_each(|producer| producer.lose(lost));
        }
    }

    /// What was said of offsets from `end` on is not true any more; nor that a claim which was there fenced others.
    fn forget(&mut self, at: usize, end: u64) {
        let partitions = self.partitions.len();
        for asked in &mut self.asked {
            if usize::from(asked.command.stream) % partitions == at {
                asked.recorded = asked.recorded.filter(|(offset, ..)| offset.0 < end);
            }
        }
        self.fenced.clear();
    }
}

/// Whether a replica holds nothing but what the journal holds. What is foreign counts for nothing, whatever it is; after
/// a cut neither does what readers ignore: it may be lost without a loss.
pub fn agrees(replica: &Replica, partition: &Partition) -> bool {
    let broker = &partition.broker;
    if replica.next() > broker.high() {
        return false;
    }
    let own = |record: Option<(Header, Bytes)>| record.filter(|(header, _)| *header != Header::Foreign);
    let mut rule = ReaderRule::default();
    (0..replica.next().0).map(Offset).all(|offset| {
        let there = broker.at(offset.0).cloned().unwrap_or((Header::Foreign, Bytes::new()));
        let believed = rule.admit(offset, there.0) == Verdict::Accepted;
        let same = own(replica.raw(offset)) == own(Some(there));
        same && believed == replica.believes(offset)
            || partition.cut && !believed && !replica.believes(offset)
    })
}
