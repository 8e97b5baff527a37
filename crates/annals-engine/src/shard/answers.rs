//! Answers for callers that do not wait: one thread of the shard waits for all of them, in the order in which they
//! were decided.
//!
//! Waiting for the first of them syncs the log for all that was decided by then; the others are there already. A
//! caller that blocks needs none of this: it leads the sync itself, without a change of threads.
//!
//! Invariant: what was handed over is answered, whoever still listens; what the log lost is decided again first.

use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::sync::{Arc, OnceLock};

use super::{Key, Shard};
use crate::engine;
use crate::error::ExecuteError;
use crate::request::{Receipt, Request, Ticket};

/// What is done with an answer; runs on the shard's thread, and must be quick.
type Then = Box<dyn FnOnce(Result<Receipt, ExecuteError>) + Send>;

/// A decided command that somebody wants to be told about.
pub(crate) struct Awaited {
    pub(crate) request: Request,
    pub(crate) key: Key,
    pub(crate) ticket: Ticket,
    pub(crate) then: Then,
}

/// The way to the thread, which is there from the first command on that needs it, and ends with the shard.
#[derive(Default)]
pub(super) struct Answers(OnceLock<Sender<Box<Awaited>>>);

impl Awaited {
    fn answer(self: Box<Self>) {
        let Self { request, key, ticket, then } = *self;
        let shard = ticket.shard();
        let answer = engine::settled(&shard, &request, key, ticket);
        // Who hears it may close the log at once and open it again: nothing of it is held here then.
        drop(shard);
        then(answer);
    }
}

impl Shard {
    /// Has the command answered as soon as it is durable, without waiting for that.
    pub(crate) fn answer_later(self: &Arc<Self>, awaited: Box<Awaited>) {
        let sender = self.answers.0.get_or_init(|| {
            let (sender, receiver) = channel();
            let name = format!("answers-{}", self.id);
            if let Err(error) = std::thread::Builder::new().name(name).spawn(move || answer(&receiver)) {
                tracing::warn!(shard = %self.id, %error, "a thread is missing: callers wait themselves");
            }
            sender
        });
        if let Err(SendError(awaited)) = sender.send(awaited) {
            awaited.answer();
        }
    }
}

/// Holds nothing of the shard while nothing waits, so that it can end.
fn answer(receiver: &Receiver<Box<Awaited>>) {
    receiver.iter().for_each(Awaited::answer);
}
