//! Commands on their way: decided in order by the caller, answered on a thread of their own.
//!
//! Many are in flight, so that one sync of the log makes many durable. What fails for a while is sent again under
//! its key; what fails for good, or for too long, ends the import with the row's number.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use annals::import::ImportError;
use annals::parts::core::context::AnyCommand;
use annals::parts::engine::{Engine, ExecuteError, Receipt, Request, Ticket};
use annals::{Decider as _, StreamName};

use crate::account::Account;
use crate::amlsim::Instruction;
use crate::import::files::{Asked, Files};

/// Commands that are decided and wait for their answer.
const IN_FLIGHT_MAX: usize = 8192;
/// How long one command is tried again and again before the import stops.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first pause before a command is sent again, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// Who acts, in the records of an import.
const ACTOR: &str = "import";

/// Takes commands.
pub(super) struct Pipe<'a> {
    engine: &'a Engine,
    files: &'a Files,
    overdraft: u64,
    sender: SyncSender<(Asked, Request, Ticket)>,
    broken: &'a AtomicBool,
}

/// Why nothing more can be sent.
pub(super) enum Halt {
    /// This.
    Error(ImportError),
    /// A command sent earlier failed; its answer says how.
    Broken,
}

impl From<ImportError> for Halt {
    fn from(error: ImportError) -> Self {
        Self::Error(error)
    }
}

/// Opens a pipe for `work`; returns when everything sent through it has its answer.
pub(super) fn open(
    engine: &Engine,
    files: &Files,
    overdraft: u64,
    work: impl FnOnce(&Pipe<'_>) -> Result<(), Halt>,
) -> Result<(), ImportError> {
    let (sender, receiver) = sync_channel(IN_FLIGHT_MAX);
    let broken = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| {
            let answered = Answers { engine, files, overdraft }.all(receiver);
            broken.store(answered.is_err(), Ordering::Release);
            answered
        });
        let worked = work(&Pipe { engine, files, overdraft, sender, broken: &broken });
        let answered = match answers.join() {
            Ok(answered) => answered,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        match worked {
            Err(Halt::Error(error)) => answered.and(Err(error)),
            Ok(()) | Err(Halt::Broken) => answered,
        }
    })
}

impl Pipe<'_> {
    /// Decides a command and hands it on; waits where too many are in flight.
    pub(super) fn send(&self, asked: Asked) -> Result<(), Halt> {
        let Some(request) = request(self.files, asked, self.overdraft)? else { return Ok(()) };
        let mut patience = Patience::new();
        let ticket = loop {
            self.check()?;
            match self.engine.submit(&request) {
                Ok(ticket) => break ticket,
                Err(error) if error.is_temporary() && patience.wait(&error) => {}
                Err(error) => return Err(self.files.row_error(asked, error.to_string()).into()),
            }
        };
        self.sender.send((asked, request, ticket)).map_err(|_| Halt::Broken)
    }

    /// An error as soon as a command sent earlier has failed.
    pub(super) fn check(&self) -> Result<(), Halt> {
        if self.broken.load(Ordering::Acquire) { Err(Halt::Broken) } else { Ok(()) }
    }
}

/// Takes answers.
struct Answers<'a> {
    engine: &'a Engine,
    files: &'a Files,
    overdraft: u64,
}

impl Answers<'_> {
    /// Takes the answers in the order of the commands, up to the first that is an error.
    fn all(&self, receiver: Receiver<(Asked, Request, Ticket)>) -> Result<(), ImportError> {
        for (asked, request, ticket) in receiver {
            match self.engine.finish(request, ticket) {
                Err(error) if error.is_temporary() => judge(self.files, asked, self.again(asked, error)?)?,
                answer => judge(self.files, asked, answer)?,
            }
        }
        Ok(())
    }

    /// Sends a command again, under its key, until it has its answer.
    fn again(
        &self,
        asked: Asked,
        mut error: ExecuteError,
    ) -> Result<Result<Receipt, ExecuteError>, ImportError> {
        let mut patience = Patience::new();
        while patience.wait(&error) {
            let Some(request) = request(self.files, asked, self.overdraft)? else { break };
            match self.engine.execute(&request) {
                Err(new) if new.is_temporary() => error = new,
                answer => return Ok(answer),
            }
        }
        Ok(Err(error))
    }
}

/// A refused transfer is an answer; anything else that was not accepted ends the import.
fn judge(files: &Files, asked: Asked, answer: Result<Receipt, ExecuteError>) -> Result<(), ImportError> {
    match (asked, answer) {
        (_, Ok(_)) | (Asked::Transfer(_), Err(ExecuteError::Refused { .. })) => Ok(()),
        (_, Err(error)) if error.is_temporary() => {
            Err(files.row_error(asked, format!("{error}; start the import again when that is settled")))
        }
        (_, Err(error)) => Err(files.row_error(asked, error.to_string())),
    }
}

fn request(files: &Files, asked: Asked, overdraft: u64) -> Result<Option<Request>, ImportError> {
    let Some(instruction) = files.instruction(asked, overdraft) else { return Ok(None) };
    let Instruction { key, account, command, at } = instruction;
    let stream = StreamName::new(None, Account::NAME, &account).map_err(ExecuteError::from)?;
    let command = AnyCommand::new::<Account>(command).map_err(ExecuteError::from)?;
    Ok(Some(Request {
        key: Some(key),
        actor: ACTOR.to_owned(),
        occurred_at: Some(at),
        ..Request::new(stream, command)
    }))
}

/// How long something that fails for a while is tried again.
pub(super) struct Patience {
    began: Instant,
    pause: Duration,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), pause: PAUSE.0 }
    }

    /// Waits before the next try; `false` when it has been long enough.
    pub(super) fn wait(&mut self, error: &ExecuteError) -> bool {
        if self.began.elapsed() >= PATIENCE {
            return false;
        }
        let asked = match error {
            ExecuteError::Overloaded { retry_after } => *retry_after,
            _ => Duration::ZERO,
        };
        std::thread::sleep(self.pause.max(asked));
        self.pause = (self.pause * 2).min(PAUSE.1);
        true
    }
}
