//! A client of several nodes: sends commands with keys of its own, one at a time, and writes down every request and
//! answer.
//!
//! Invariant: a command is sent again, with its key, to whichever node, until it is answered with yes or no; only then
//! does the next one follow. Now and then one that has its answer is sent again and must get the same.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bank::http::{Answer, Connection, Cut};
use crate::bank::orders::{Asked, Chooser, OpenAccounts, Reply};
use crate::board::Board;

/// How long a command may take until it has its answer, whatever happens meanwhile.
const SETTLED_MAX: Duration = Duration::from_secs(180);
/// How long an answer is waited for before the command is sent again elsewhere: from this, to twice that.
const PATIENCE_MS: u64 = 2_000;
/// The pause after an answer that says "later", or none.
const PAUSE: Duration = Duration::from_millis(20);
/// One of how many requests repeats one that has its answer.
const REPEAT_ONE_IN: u64 = 12;

/// What a client counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Sent again after an answer, and answered the same.
    pub confirmed: u64,
    /// Commands of which it was not known, at some time, whether they had their effect.
    pub unknown: u64,
    /// Of these, those that have been answered: all of them, at the end.
    pub settled: u64,
    /// Of these, those that turned out to have had their effect before they were sent again.
    pub had_effect: u64,
    /// Answers that said "later": the command was not done.
    pub unavailable: u64,
}

impl Tally {
    /// Both together.
    pub fn add(&mut self, other: &Self) {
        self.confirmed += other.confirmed;
        self.unknown += other.unknown;
        self.settled += other.settled;
        self.had_effect += other.had_effect;
        self.unavailable += other.unavailable;
    }
}

pub struct Client {
    number: u64,
    chooser: Chooser,
    connections: BTreeMap<usize, Link>,
    log: BufWriter<File>,
    began: Instant,
    pub asked: Vec<Asked>,
    pub tally: Tally,
}

/// A connection to a node in one of its lives.
struct Link {
    address: String,
    connection: Connection,
}

/// What one request came to.
enum Told {
    Reply(Reply, bool),
    /// It was not sent, or certainly not done.
    Later,
    Unknown,
}

impl Client {
    /// Writes down what it does in a file in `directory`.
    pub fn new(number: u64, seed: u64, open: OpenAccounts, directory: &Path) -> Self {
        let mut chooser = Chooser::new(number, open);
        chooser.reseed(seed);
        let file = File::create(directory.join(format!("client-{number}.jsonl"))).unwrap();
        Self {
            number,
            chooser,
            connections: BTreeMap::new(),
            log: BufWriter::new(file),
            began: Instant::now(),
            asked: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Sends commands until the board is closed; `generation` tells when to open a new account.
    pub fn work(&mut self, board: &Board, generation: impl Fn() -> u64) -> Result<(), String> {
        let mut opened = 0;
        while board.is_open() {
            if generation() >= opened {
                self.chooser.open_account(opened);
                opened += 1;
            }
            if !self.asked.is_empty() && self.chooser.below(REPEAT_ONE_IN) == 0 {
                let index = self.chooser.below(self.asked.len() as u64) as usize;
                self.confirm(board, index)?;
                continue;
            }
            let (account, order) = self.chooser.next();
            let key = format!("k{}-{}", self.number, self.asked.len());
            self.asked.push(Asked::new(key, account, order));
            self.settle(board, self.asked.len() - 1)?;
        }
        Ok(())
    }

    /// Gets every answer again.
    pub fn confirm_all(&mut self, board: &Board) -> Result<(), String> {
        (0..self.asked.len()).try_for_each(|index| self.confirm(board, index))?;
        self.connections.clear();
        self.log.flush().map_err(|error| error.to_string())
    }

    /// Sends a new command until it has its answer.
    fn settle(&mut self, board: &Board, index: usize) -> Result<(), String> {
        let (reply, repeated) = self.send(board, index)?;
        let asked = &mut self.asked[index];
        if repeated && asked.attempts == 1 {
            return Err(format!("{asked} is new, and was answered as one sent before"));
        }
        self.tally.settled += u64::from(asked.cut);
        self.tally.had_effect += u64::from(asked.cut && repeated);
        asked.reply = Some(reply);
        if asked.has_opened() {
            self.chooser.opened(&asked.account);
        }
        Ok(())
    }

    /// Sends a command again that has its answer.
    fn confirm(&mut self, board: &Board, index: usize) -> Result<(), String> {
        let (reply, repeated) = self.send(board, index)?;
        let asked = &self.asked[index];
        let known = asked.reply.as_ref();
        if known != Some(&reply) || (matches!(reply, Reply::Accepted(_)) && !repeated) {
            return Err(format!(
                "{asked} was answered before, but the answer was lost: it was {known:?}, now it is {reply:?} (repeated: {repeated})"
            ));
        }
        self.tally.confirmed += 1;
        Ok(())
    }

    /// Sends a command, to one node or another, until it is answered with yes or no.
    fn send(&mut self, board: &Board, index: usize) -> Result<(Reply, bool), String> {
        let began = Instant::now();
        let mut failed = 0;
        while began.elapsed() < SETTLED_MAX && !board.is_given_up() {
            // Twice in a row at the node that all ask; then at any, every other time.
            let elsewhere = failed >= 2 && self.chooser.below(2) == 0;
            let other = elsewhere.then(|| self.chooser.below(u64::MAX));
            let Some((node, address)) = board.choose(other) else {
                failed += 1;
                std::thread::sleep(PAUSE);
                continue;
            };
            match self.ask(board, index, node, &address)? {
                Told::Reply(reply, repeated) => return Ok((reply, repeated)),
                Told::Later => self.tally.unavailable += 1,
                Told::Unknown => {
                    let asked = &mut self.asked[index];
                    self.tally.unknown += u64::from(asked.reply.is_none() && !asked.cut);
                    asked.cut |= asked.reply.is_none();
                }
            }
            failed += 1;
            std::thread::sleep(PAUSE);
        }
        Err(format!("{} was not answered with yes or no within {SETTLED_MAX:?}", self.asked[index]))
    }

    /// One request, and what it came to.
    fn ask(&mut self, board: &Board, index: usize, node: usize, address: &str) -> Result<Told, String> {
        let Some(mut link) = self.link(node, address) else { return Ok(Told::Later) };
        let asked = &mut self.asked[index];
        asked.attempts += 1;
        let (path, body) = (asked.path(), asked.order.fields().to_string());
        let request = json!({ "to": node, "key": asked.key, "path": path, "fields": asked.order.fields() });
        let account = asked.account.clone();
        let key = asked.key.clone();
        self.note(&request);
        let shard = board.sent(node, &account);
        let answer = link.connection.post(&path, &key, &body);
        board.ended(node, shard);
        let told = match &answer {
            Err(Cut(why)) => json!({ "from": node, "key": key, "cut": why }),
            Ok(Answer { status, body }) => {
                json!({ "from": node, "key": key, "status": status, "body": body })
            }
        };
        self.note(&told);
        let Ok(answer) = answer else { return Ok(Told::Unknown) };
        self.connections.insert(node, link);
        if let Some((reply, repeated)) = Reply::of(&answer) {
            if let (Reply::Accepted(receipt), false) = (&reply, repeated) {
                board.acknowledged(node, &account, receipt);
            }
            return Ok(Told::Reply(reply, repeated));
        }
        match answer.status {
            409 | 429 | 503 => Ok(Told::Later),
            504 => Ok(Told::Unknown),
            status => Err(format!("{} was answered {status}: {}", self.asked[index], answer.body)),
        }
    }

    /// The connection to a node; `None` where it takes none.
    fn link(&mut self, node: usize, address: &str) -> Option<Link> {
        let known = self.connections.remove(&node).filter(|link| link.address == address);
        known.or_else(|| {
            let patience = Duration::from_millis(PATIENCE_MS + self.chooser.below(PATIENCE_MS));
            let connection = Connection::with_patience(address, patience).ok()?;
            Some(Link { address: address.to_owned(), connection })
        })
    }

    fn note(&mut self, what: &Value) {
        let at_ms = self.began.elapsed().as_millis();
        writeln!(self.log, "{at_ms} {what}").unwrap();
    }
}
