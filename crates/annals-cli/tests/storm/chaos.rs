//! What befalls nodes and brokers: kills, stops, lost replicas, one at a time, as dice say.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::bank::server::Home;
use crate::board::Board;
use crate::brokers::Brokers;
use crate::node::{MESSAGE_TIMEOUT, Node};

/// Between two looks at what is due.
const TICK: Duration = Duration::from_millis(5);
/// How many strikes come at least between two at brokers.
const BROKERS_REST: u64 = 4;
/// One of how many nodes that do not answer yet, or not now, is struck all the same.
const DISTURBED_ONE_IN: u64 = 6;
/// One of how many killed nodes loses its replica.
const REPLICA_ONE_IN: u64 = 5;
/// How many commands are acknowledged between two strikes, unless that takes longer than it is waited for.
const WORK_MIN: u64 = 30;
const WORK_WAIT: Duration = Duration::from_secs(5);
/// How many shards of the node that clients ask have work in flight when a strike comes, unless that takes too long too.
const BUSY_MIN: u64 = 4;
/// How long the clients may go without an answer while a node is up and the brokers are there.
const SILENCE_MAX: Duration = Duration::from_secs(60);

pub struct Chaos {
    dice: ChaCha8Rng,
    pub nodes: Vec<Node>,
    pub brokers: Brokers,
    pub figures: Figures,
    planned: Strikes,
    next: Instant,
    since_brokers: u64,
    /// How many commands were acknowledged when the last strike came.
    struck_at: u64,
    began: Instant,
    log: File,
    /// How many answers there were, and when that last changed.
    heard: (u64, Instant),
}

/// How many strikes there are to be at least.
#[derive(Clone, Copy, Debug)]
pub struct Strikes {
    pub kills: u64,
    pub stops: u64,
    pub broker_kills: u64,
}

/// What it did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub kills: u64,
    pub stops: u64,
    /// Stops that lasted longer than a record may be on its way.
    pub long_stops: u64,
    pub replicas_lost: u64,
    /// Shards with work in flight whose owner was killed or stopped.
    pub busy_shards: u64,
}

impl Chaos {
    /// Writes down what it does in a file in `home`.
    pub fn new(seed: u64, planned: Strikes, nodes: Vec<Node>, brokers: Brokers, home: &Home) -> Self {
        let log = File::create(home.path("strikes.txt")).unwrap();
        Self {
            dice: ChaCha8Rng::seed_from_u64(seed),
            nodes,
            brokers,
            figures: Figures::default(),
            planned,
            next: Instant::now(),
            since_brokers: 0,
            struck_at: 0,
            began: Instant::now(),
            log,
            heard: (0, Instant::now()),
        }
    }

    /// Waits until every node is up and the brokers are there.
    pub fn calm(&mut self, home: &Home, board: &Board) -> Result<(), String> {
        self.nodes.iter_mut().for_each(Node::hurry);
        while !(self.brokers.are_ready() && self.nodes.iter().all(Node::is_up)) {
            self.tick(home, board)?;
        }
        Ok(())
    }

    /// Whether there is more to do.
    pub fn strikes_on(&self) -> bool {
        let Strikes { kills, stops, broker_kills } = self.planned;
        self.figures.kills < kills || self.figures.stops < stops || self.brokers.kills < broker_kills
    }

    /// Does what is due, and strikes when it is time.
    pub fn step(&mut self, home: &Home, board: &Board) -> Result<(), String> {
        self.tick(home, board)?;
        self.listen(board)?;
        let busy = board.count() >= self.struck_at + WORK_MIN && board.busy(board.favourite()) >= BUSY_MIN;
        let works = busy || self.next.elapsed() > WORK_WAIT;
        if self.next <= Instant::now() && works {
            self.pause();
            self.struck_at = board.count();
            self.strike(board)?;
        }
        Ok(())
    }

    fn tick(&mut self, home: &Home, board: &Board) -> Result<(), String> {
        self.brokers.tick()?;
        for node in &mut self.nodes {
            node.tick(home, board, |within| self.brokers.were_away(within))?;
        }
        std::thread::sleep(TICK);
        Ok(())
    }

    /// An error where nothing is acknowledged for long although it could be.
    fn listen(&mut self, board: &Board) -> Result<(), String> {
        let heard = board.count();
        if heard != self.heard.0 || !self.brokers.are_ready() || !self.nodes.iter().any(Node::is_up) {
            self.heard = (heard, Instant::now());
        }
        match self.heard.1.elapsed() > SILENCE_MAX {
            true => Err(format!("nothing was acknowledged for {SILENCE_MAX:?} after {heard} commands")),
            false => Ok(()),
        }
    }

    fn strike(&mut self, board: &Board) -> Result<(), String> {
        let victim = self.victim(board);
        if !self.nodes[victim].is_up() && !self.one_in(DISTURBED_ONE_IN) {
            self.move_clients(board);
            return Ok(());
        }
        self.since_brokers += 1;
        let rested = self.since_brokers > BROKERS_REST && self.brokers.are_ready();
        if rested && self.one_in(2) {
            self.since_brokers = 0;
            let (number, down) = (self.dice.next_u64(), self.between(1_000, 5_000));
            self.note(board, &format!("kill a broker for {down:?}"));
            return self.brokers.kill(number, down);
        }
        let killed = self.figures.kills * self.planned.stops > self.figures.stops * self.planned.kills;
        match self.below(8) {
            0 => self.move_clients(board),
            // Both come in the proportion that was asked for.
            _ if killed => self.stop(board, victim),
            _ => self.kill(board, victim),
        }
        Ok(())
    }

    /// Mostly the node that clients ask.
    fn victim(&mut self, board: &Board) -> usize {
        if self.one_in(6) { self.below(self.nodes.len() as u64) as usize } else { board.favourite() }
    }

    fn kill(&mut self, board: &Board, victim: usize) {
        if self.nodes[victim].is_down() {
            return self.move_clients(board);
        }
        let replica = !self.one_in(REPLICA_ONE_IN);
        let down = self.between(0, 1_500);
        let busy = if self.nodes[victim].is_up() { board.busy(victim) } else { 0 };
        self.note(
            board,
            &format!("kill node {victim} for {down:?}, {busy} shards busy, replica kept: {replica}"),
        );
        self.figures.busy_shards += busy;
        self.nodes[victim].kill(board, down, replica);
        self.figures.kills += 1;
        self.figures.replicas_lost += u64::from(!replica);
        self.move_some_clients(board);
    }

    fn stop(&mut self, board: &Board, victim: usize) {
        let pause = match self.below(10) {
            0..6 => self.between(200, 1_500),
            6..9 => self.between(1_500, 5_000),
            _ => self.between(5_000, 12_000),
        };
        let busy = board.busy(victim);
        if !self.nodes[victim].stop(pause) {
            return self.move_clients(board);
        }
        self.note(board, &format!("stop node {victim} for {pause:?}, {busy} shards busy"));
        self.figures.busy_shards += busy;
        self.figures.stops += 1;
        self.figures.long_stops += u64::from(pause > MESSAGE_TIMEOUT);
        self.move_some_clients(board);
    }

    /// Mostly, clients turn to another node soon.
    fn move_some_clients(&mut self, board: &Board) {
        if !self.one_in(5) {
            self.move_clients(board);
        }
    }

    fn move_clients(&mut self, board: &Board) {
        let up: Vec<usize> = self.nodes.iter().filter(|node| node.is_up()).map(|node| node.number).collect();
        if !up.is_empty() {
            let index = self.below(up.len() as u64) as usize;
            board.prefer(up[index]);
            self.note(board, &format!("clients turn to node {}", up[index]));
        }
    }

    /// What happened so far, with how much was acknowledged by then.
    pub fn note(&mut self, board: &Board, what: &str) {
        let (at_ms, count) = (self.began.elapsed().as_millis(), board.count());
        writeln!(self.log, "{at_ms} ms, {count} acknowledged: {what}").unwrap();
    }

    fn pause(&mut self) {
        self.next = Instant::now() + self.between(300, 2_000);
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.dice.next_u64() % bound
    }

    fn between(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        Duration::from_millis(least_ms + self.below(most_ms - least_ms))
    }
}
