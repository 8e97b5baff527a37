//! The made-up customers: sends their commands at a steady rate.
//!
//! Invariant: each command is sent under the key the generator gave it, and the history holds every key that was
//! answered. A start looks there for the first command that was not sent, and goes on with it; a command sent twice
//! after a crash counts once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use annals::cli::Failure;
use annals::parts::core::context::AnyCommand;
use annals::parts::core::index::Term;
use annals::parts::engine::{Engine, ExecuteError, Request, Ticket};
use annals::{Decider as _, StreamName};
use annals_bank::account::Account;
use annals_bank::generator::{Generated, Generator};

/// How many customers there are at a time.
pub const CUSTOMERS: u32 = 1_000;
/// How often commands are sent.
const TICK: Duration = Duration::from_millis(20);
/// The most commands of one tick: after a pause it catches up slowly.
const TICK_COMMANDS_MAX: u64 = 2_000;

/// The customers.
pub struct Load {
    engine: Engine,
    generator: Generator,
    seed: u64,
    rate: u64,
    resumed_at: u64,
    answered: AtomicU64,
    refused: AtomicU64,
    stopping: AtomicBool,
}

impl Load {
    /// Goes on after the last command that the history holds.
    pub fn resume(engine: Engine, seed: u64, rate: u64) -> Result<Self, Failure> {
        let (generator, resumed_at) = first_unsent(&engine, Generator::new(seed, CUSTOMERS))?;
        Ok(Self {
            engine,
            generator,
            seed,
            rate,
            resumed_at,
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        })
    }

    /// What the customers are made up from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The account of the first command: something to look at.
    pub fn first_account(&self) -> String {
        Generator::new(self.seed, CUSTOMERS).next().map(|generated| generated.id).unwrap_or_default()
    }

    /// How many commands were sent before this start.
    pub fn resumed_at(&self) -> u64 {
        self.resumed_at
    }

    /// How many commands have their answer, those of earlier starts included.
    pub fn answered(&self) -> u64 {
        self.resumed_at + self.answered.load(Ordering::Relaxed)
    }

    /// How many of this start's were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Asks for the end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Whether the end was asked for.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Sends commands until the end is asked for; what was sent has its answer then.
    pub fn run(&self) -> Result<(), Failure> {
        let mut generator = self.generator.clone();
        let (began, mut sent) = (Instant::now(), 0);
        while !self.is_stopping() {
            let due = (began.elapsed().as_secs_f64() * self.rate as f64) as u64;
            let now = due.saturating_sub(sent).min(TICK_COMMANDS_MAX);
            let mut waiting = Vec::new();
            for generated in generator.by_ref().take(usize::try_from(now).unwrap_or_default()) {
                waiting.push(self.submit(&generated)?);
            }
            sent = if now == TICK_COMMANDS_MAX { due } else { sent + now };
            for (request, ticket) in waiting {
                self.count(self.engine.finish(request, ticket).map(drop))?;
            }
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    fn submit(&self, generated: &Generated) -> Result<(Request, Ticket), Failure> {
        let request = request(generated)?;
        loop {
            match self.engine.submit(&request) {
                Ok(ticket) => return Ok((request, ticket)),
                Err(ExecuteError::Overloaded { retry_after }) => std::thread::sleep(retry_after),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn count(&self, answer: Result<(), ExecuteError>) -> Result<(), Failure> {
        match answer {
            Ok(()) => {}
            Err(ExecuteError::Refused { .. }) => drop(self.refused.fetch_add(1, Ordering::Relaxed)),
            Err(error) => return Err(error.into()),
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn request(generated: &Generated) -> Result<Request, ExecuteError> {
    let Generated { id, command, actor, key } = generated.clone();
    let command = AnyCommand::new::<Account>(command)?;
    Ok(Request { key: Some(key), actor, ..Request::new(stream(&id)?, command) })
}

fn stream(id: &str) -> Result<StreamName, ExecuteError> {
    Ok(StreamName::new(None, Account::NAME, id)?)
}

/// The generator at the first command that the history does not hold, and that command's number.
///
/// Commands are sent in order, so it looks ahead in steps that double until one is missing, then halve.
fn first_unsent(engine: &Engine, start: Generator) -> Result<(Generator, u64), Failure> {
    let (mut at, mut number, mut step, mut growing) = (start, 0, 1_u64, true);
    loop {
        let mut ahead = at.clone();
        let last = ahead.by_ref().nth(usize::try_from(step - 1).unwrap_or(usize::MAX));
        let sent = last.map(|generated| is_sent(engine, &generated)).transpose()?.unwrap_or(false);
        match (sent, step) {
            (true, _) => (at, number) = (ahead, number + step),
            (false, 1) => return Ok((at, number)),
            (false, _) => growing = false,
        }
        step = if growing { step * 2 } else { (step / 2).max(1) };
    }
}

fn is_sent(engine: &Engine, generated: &Generated) -> Result<bool, Failure> {
    let (stream, log) = (stream(&generated.id)?, engine.log());
    let Some(shard) = engine.context().shard_of(&stream, log.identity().shards) else { return Ok(false) };
    Ok(log.find_last(shard, Term::command(stream.as_str(), &generated.key))?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_where_the_history_ends() {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let app = runtime.block_on(annals_bank::bank().open("memory:")).unwrap();
        let engine = app.engine();
        let mut sent = Generator::new(7, CUSTOMERS);
        for number in 0..40 {
            let load = Load::resume(engine.clone(), 7, 1).unwrap();
            assert_eq!(load.resumed_at(), number);
            assert_eq!(load.generator.clone().next(), sent.clone().next());
            let request = request(&sent.next().unwrap()).unwrap();
            let answer = engine.execute(&request);
            assert!(matches!(answer, Ok(_) | Err(ExecuteError::Refused { .. })), "{answer:?}");
        }
        assert_eq!(Load::resume(engine.clone(), 8, 1).unwrap().resumed_at(), 0, "another seed");
    }
}
