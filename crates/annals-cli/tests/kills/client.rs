//! A client: sends commands with keys of its own, one at a time, and remembers every answer.
//!
//! Invariant: a command without an answer is sent again, with its key, before anything else; a command with an
//! answer is sent again after the next kill, and must get that answer, as one that was given before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::bank::http::{Connection, Cut};
use crate::bank::orders::{Asked, Chooser, OpenAccounts, Order, Reply};

/// How often a command may be put off in a row.
const PUT_OFF_MAX: u32 = 500;

/// Why a client stopped.
#[derive(Debug)]
pub enum Halt {
    /// The connection ended.
    Cut(String),
    /// A promise was broken.
    Wrong(String),
}

impl From<Cut> for Halt {
    fn from(Cut(why): Cut) -> Self {
        Self::Cut(why)
    }
}

/// What a client counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Sent again after an answer, and answered the same.
    pub confirmed: u64,
    /// Commands whose connection was cut.
    pub cut: u64,
    /// Of these, those that turned out to have had their effect.
    pub had_effect: u64,
    /// Answers that said "later" or "unknown".
    pub put_off: u64,
}

pub struct Client {
    number: u64,
    chooser: Chooser,
    pub asked: Vec<Asked>,
    unanswered: Option<usize>,
    /// Up to where answers have been confirmed, and up to where they were given before the last kill.
    confirmed: usize,
    confirm_until: usize,
    pub tally: Tally,
}

impl Client {
    pub fn new(number: u64, open: OpenAccounts) -> Self {
        Self {
            number,
            chooser: Chooser::new(number, open),
            asked: Vec::new(),
            unanswered: None,
            confirmed: 0,
            confirm_until: 0,
            tally: Tally::default(),
        }
    }

    /// Plans to open a new account, one of the `generation`.
    pub fn open_account(&mut self, generation: u64) {
        self.chooser.open_account(generation);
    }

    /// Sends commands until the server is killed; `struck` says that a cut connection is no surprise.
    pub fn work(&mut self, address: &str, seed: u64, struck: &AtomicBool) -> Result<(), String> {
        self.chooser.reseed(seed);
        self.confirm_until = self.asked.len() - usize::from(self.unanswered.is_some());
        match self.work_until_halted(address) {
            Halt::Cut(_) if struck.load(Ordering::SeqCst) => Ok(()),
            Halt::Cut(why) => Err(format!("a connection was cut, and it was no kill: {why}")),
            Halt::Wrong(wrong) => Err(wrong),
        }
    }

    fn work_until_halted(&mut self, address: &str) -> Halt {
        let mut connection = match Connection::open(address) {
            Ok(connection) => connection,
            Err(cut) => return cut.into(),
        };
        loop {
            if let Err(halt) = self.step(&mut connection) {
                return halt;
            }
        }
    }

    /// Settles what is open, gets every answer again, and leaves no command without one.
    pub fn confirm_all(&mut self, address: &str) -> Result<(), Halt> {
        let mut connection = Connection::open(address)?;
        self.settle(&mut connection)?;
        (0..self.asked.len()).try_for_each(|index| self.confirm(&mut connection, index))
    }

    fn step(&mut self, connection: &mut Connection) -> Result<(), Halt> {
        self.settle(connection)?;
        if self.confirmed < self.confirm_until && self.chooser.below(2) == 0 {
            self.confirm(connection, self.confirmed)?;
            self.confirmed += 1;
            return Ok(());
        }
        if self.confirmed > 0 && self.chooser.below(10) == 0 {
            let index = self.chooser.below(self.confirmed as u64) as usize;
            return self.confirm(connection, index);
        }
        let (account, order) = self.chooser.next();
        let key = format!("k{}-{}", self.number, self.asked.len());
        self.unanswered = Some(self.asked.len());
        self.asked.push(Asked::new(key, account, order));
        self.settle(connection)
    }

    /// Sends the command that has no answer, if there is one, until it has.
    fn settle(&mut self, connection: &mut Connection) -> Result<(), Halt> {
        let Some(index) = self.unanswered else { return Ok(()) };
        let (reply, repeated) = self.send(connection, index)?;
        let asked = &mut self.asked[index];
        if repeated && asked.attempts == 1 {
            return Err(Halt::Wrong(format!("{asked} is new, and was answered as one sent before")));
        }
        self.tally.had_effect += u64::from(repeated && asked.cut);
        asked.reply = Some(reply);
        if asked.has_opened() {
            self.chooser.opened(&asked.account);
        }
        self.unanswered = None;
        Ok(())
    }

    /// Sends a command again that has its answer.
    fn confirm(&mut self, connection: &mut Connection, index: usize) -> Result<(), Halt> {
        let (reply, repeated) = self.send(connection, index)?;
        let asked = &self.asked[index];
        if asked.reply.as_ref() != Some(&reply) {
            return Err(Halt::Wrong(match (&reply, repeated) {
                (Reply::Accepted(_), false) => lost(asked, &reply),
                _ => format!("{asked} was answered {:?} and got another answer: {reply:?}", asked.reply),
            }));
        }
        if matches!(reply, Reply::Accepted(_)) && !repeated {
            return Err(Halt::Wrong(lost(asked, &reply)));
        }
        self.tally.confirmed += 1;
        Ok(())
    }

    /// Sends a command until it is answered with yes or no; the flag says whether the answer was given before.
    fn send(&mut self, connection: &mut Connection, index: usize) -> Result<(Reply, bool), Halt> {
        let asked = &mut self.asked[index];
        let path = asked.path();
        let body = asked.order.fields().to_string();
        for _ in 0..PUT_OFF_MAX {
            asked.attempts += 1;
            let answer = connection.post(&path, &asked.key, &body);
            if answer.is_err() && asked.reply.is_none() && !asked.cut {
                asked.cut = true;
                self.tally.cut += 1;
            }
            let answer = answer?;
            if let Some(told) = Reply::of(&answer) {
                return Ok(told);
            }
            match answer.status {
                409 | 429 | 503 | 504 => self.tally.put_off += 1,
                status => return Err(Halt::Wrong(format!("{asked} was answered {status}: {}", answer.body))),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(Halt::Wrong(format!("{asked} was put off {PUT_OFF_MAX} times")))
    }

    /// Makes it believe that a deposit was acknowledged that it never sent.
    pub fn pretend_an_answer(&mut self) {
        let (account, key) = (self.chooser.an_account(), "pretended".to_owned());
        let stream = format!("account/{account}");
        let receipt = json!({ "events": 1, "key": key, "position": "0-999999-0", "stream": stream, "version": 999_999 });
        let (order, reply) = (Order::Deposit { amount: 5 }, Some(Reply::Accepted(receipt)));
        self.asked.push(Asked { key, account, order, reply, attempts: 1, cut: false });
    }
}

fn lost(asked: &Asked, reply: &Reply) -> String {
    let known = &asked.reply;
    format!("{asked} was answered before, but the answer was lost: it was {known:?}, now it is {reply:?}")
}
