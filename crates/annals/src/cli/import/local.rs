//! Rows into a log that this process owns: decided in order, many in flight.
//!
//! One thread reads and decides, another waits for the answers in the same order. The decisions about an entity are
//! made in the order of its rows, and a sync covers all that were decided while the last one ran.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use annals_engine::{Engine, ExecuteError, Request, Ticket};
use serde_json::json;

use super::ndjson::{self, Entry, More};
use super::rows::Place;
use super::tally::{Refused, Tally};
use crate::Context;
use crate::cli::failure::Failure;

/// Rows that are decided and wait for their answer.
const WINDOW: usize = 4096;

type InFlight = (Place, Request, Ticket);

/// Sends the rows of `files`; returns when every row has its answer.
pub(super) fn run(
    context: &Context,
    engine: &Engine,
    files: &[PathBuf],
    tally: Tally,
) -> Result<Tally, Failure> {
    let sources = ndjson::open(files, &tally)?;
    let (sender, receiver) = sync_channel(WINDOW);
    std::thread::scope(|scope| {
        let answers = scope.spawn(move || finish(engine, receiver, tally));
        let read = ndjson::read(context, sources, |entry| submit(engine, &sender, entry));
        drop(sender);
        let tally = match answers.join() {
            Ok(tally) => tally?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        read.map(|()| tally)
    })
}

/// Decides a row and hands it on; waits where too much is under way.
fn submit(engine: &Engine, sender: &SyncSender<InFlight>, entry: Entry) -> Result<More, Failure> {
    let Entry { place, request, .. } = entry;
    loop {
        match engine.submit(&request) {
            // A receiver that is gone has met an error of its own, which is told instead.
            Ok(ticket) => return Ok(sender.send((place, request, ticket)).map_or(More::No, |()| More::Yes)),
            Err(ExecuteError::Overloaded { retry_after }) => std::thread::sleep(retry_after),
            Err(error) => return Err(failure(&place, error)),
        }
    }
}

/// Takes the answers in order, up to the first error. What is in flight behind it is made durable when the log is
/// closed; the next start asks for it again and learns what became of it.
fn finish(engine: &Engine, receiver: Receiver<InFlight>, mut tally: Tally) -> Result<Tally, Failure> {
    for (place, request, ticket) in receiver {
        let (stream, key) = (request.stream.clone(), request.key.clone().unwrap_or_default());
        let command = request.command.name();
        match engine.finish(request, ticket) {
            Ok(receipt) => tally.accept(receipt.repeated),
            Err(ExecuteError::Refused { refused, .. }) => {
                let fields = engine.decider(stream.kind())?.refusal_fields(refused.part());
                let refusal = json!({ "name": refused.name, "text": refused.text, "fields": fields });
                tally.refuse(&Refused {
                    place: &place,
                    decider: stream.kind(),
                    id: stream.id(),
                    command,
                    key: &key,
                    refusal: &refusal,
                })?;
            }
            Err(error) => return Err(failure(&place, error)),
        }
    }
    Ok(tally)
}

/// What is wrong with a row, or with the log while it was that row's turn.
fn failure(place: &Place, error: ExecuteError) -> Failure {
    let text = place.error(&error).to_string();
    match Failure::from(error) {
        Failure::No(_) => Failure::No(text),
        _ => Failure::Use(text),
    }
}
