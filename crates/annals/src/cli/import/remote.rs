//! Rows into a log that another process owns, by way of its control socket.
//!
//! Several connections, and always the same one for an entity, so that its rows stay in order.

use std::path::PathBuf;
use std::sync::Arc;

use clap::ArgMatches;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::ndjson::{self, Entry, More};
use super::progress::Bar;
use super::tally::{Refused, Tally};
use crate::Context;
use crate::ShardId;
use crate::cli::control::{self, Client};
use crate::cli::failure::Failure;
use crate::cli::{place, send};
use crate::import::Report;
use crate::open::LogUrl;

/// Connections, and so rows in flight.
const CONNECTIONS: u32 = 64;
/// Rows that wait for each connection.
const QUEUE: usize = 64;

/// Sends the rows of `files`; returns when every row has its answer.
pub(super) fn run(
    runtime: &Runtime,
    context: &Context,
    url: &LogUrl,
    files: &[PathBuf],
    matches: &ArgMatches,
    bar: &Arc<Bar>,
) -> Result<Report, Failure> {
    let tally = Tally::new(matches, Arc::clone(bar))?;
    let sources = ndjson::open(files, &tally)?;
    let tally = Arc::new(Mutex::new(tally));
    let socket = place::socket(url).ok_or_else(gone)?;
    let (mut senders, mut tasks) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        let client = runtime.block_on(Client::connect(&socket)).ok_or_else(gone)?;
        let (sender, receiver) = channel(QUEUE);
        senders.push(sender);
        tasks.push(runtime.spawn(work(client, context.name().to_owned(), receiver, Arc::clone(&tally))));
    }
    let read = ndjson::read(context, sources, |entry| Ok(hand_on(&senders, entry)));
    drop(senders);
    for task in tasks {
        runtime.block_on(task).map_err(|error| Failure::No(error.to_string()))??;
    }
    read?;
    match Arc::into_inner(tally) {
        Some(tally) => tally.into_inner().report(),
        None => Err(gone()),
    }
}

fn gone() -> Failure {
    Failure::No("the program that had the log open is gone; start the import again".to_owned())
}

/// Gives a row to the connection of its entity. One that is gone has met an error, which is told instead.
fn hand_on(senders: &[Sender<Entry>], entry: Entry) -> More {
    let connection = ShardId::of(entry.request.stream.as_str(), CONNECTIONS).0 as usize;
    let sent = senders.get(connection).is_some_and(|sender| sender.blocking_send(entry).is_ok());
    if sent { More::Yes } else { More::No }
}

async fn work(
    mut client: Client,
    context: String,
    mut rows: Receiver<Entry>,
    tally: Arc<Mutex<Tally>>,
) -> Result<(), Failure> {
    while let Some(entry) = rows.recv().await {
        let refusal = answer(&mut client, &context, &entry).await?;
        let mut tally = tally.lock();
        match refusal {
            Answered::Accepted { repeated } => tally.accept(repeated),
            Answered::Refused(refusal) => tally.refuse(&Refused {
                place: &entry.place,
                decider: entry.request.stream.kind(),
                id: entry.request.stream.id(),
                command: entry.request.command.name(),
                key: entry.request.key.as_deref().unwrap_or_default(),
                refusal: &refusal,
            })?,
        }
    }
    Ok(())
}

enum Answered {
    Accepted { repeated: bool },
    Refused(Value),
}

/// Sends a row until it has its answer; its key makes sending it again harmless.
async fn answer(client: &mut Client, context: &str, entry: &Entry) -> Result<Answered, Failure> {
    let request = &entry.request;
    let mut headers = send::headers(request);
    headers.push((control::KEY, request.key.clone().unwrap_or_default()));
    let stream = &request.stream;
    let path = control::path(&[context, stream.kind(), stream.id(), request.command.name()]);
    loop {
        let answer = client.post(&path, &headers, entry.fields.clone()).await;
        let answer = answer.map_err(|error| Failure::No(format!("{error}; start the import again")))?;
        match (answer.kind(), answer.body.get("refusal")) {
            ("refused", Some(refusal)) => return Ok(Answered::Refused(refusal.clone())),
            ("overloaded" | "busy", _) => tokio::time::sleep(answer.retry_after).await,
            _ => {
                let told = answer.ok().map_err(|failure| {
                    let text = entry.place.error(&failure).to_string();
                    if matches!(failure, Failure::Use(_)) { Failure::Use(text) } else { Failure::No(text) }
                });
                let repeated = told?.get("repeated") == Some(&Value::Bool(true));
                return Ok(Answered::Accepted { repeated });
            }
        }
    }
}
