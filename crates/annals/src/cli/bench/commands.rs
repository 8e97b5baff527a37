//! `commands`: the whole path of a command in one process, in a closed loop.
//!
//! A lone command is executed by the thread that waits for it. Of several, one thread keeps so many outstanding and is
//! told of each answer; or, with `--tasks`, each is awaited by a task of a runtime with a thread for each processor, as in
//! a server. Each thread or task has streams of its own, so that the versions it expects are right and nothing is decided
//! twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use annals_core::StreamName;
use annals_engine::{At, Engine, Environment, Request, Settings, Ticket};
use annals_log::Log;
use tokio::runtime::Runtime;

use super::append;
use super::domain::{self, Account, Posting};
use super::error::BenchError;
use super::fill;
use super::limits::{GroupLog, ZeroedFile};
use super::options::Options;
use super::place::Place;
use super::report::Row;
use super::stats::{Compared, Sample, nanoseconds};
use crate::app;

/// Different commands that a client sends in turn; made before anything is measured.
const POOL: u64 = 1_024;

/// `bench commands`.
pub(super) fn commands(options: &Options, place: &Place) -> Result<Vec<Row>, BenchError> {
    let mut file = ZeroedFile::create(&place.fresh("zeros")?, options.zeroed_bytes)?;
    let mut rows = Vec::new();
    for &clients in &options.clients {
        let compared = case(options, place, &mut file, clients)?;
        let case = match options.history.events {
            0 => "empty log".to_owned(),
            events => format!("{events} events before"),
        };
        rows.push(Row::compared("commands", case, clients, &compared));
    }
    Ok(rows)
}

fn case(
    options: &Options,
    place: &Place,
    file: &mut ZeroedFile,
    clients: u32,
) -> Result<Compared, BenchError> {
    let log = fill::filled(&place.fresh("log")?, &options.history, options.notes)?;
    options.notes.say(&format!("commands: {clients} clients"));
    let log: Arc<dyn Log> = Arc::new(log);
    let environment = Environment::system("bench");
    let engine = Engine::open(domain::context(), log, environment, Settings::default())?;
    let record = domain::record(0, 0, 0, 1)?.envelope;
    let (own, many) = match options.tasks {
        false => (Own::Thread { engine: &engine, outstanding: clients as usize }, 1),
        true => {
            let runtime = tokio::runtime::Builder::new_multi_thread().build().map_err(BenchError::Runtime)?;
            (Own::Tasks { engine: &engine, runtime }, clients)
        }
    };
    let mut all = Client::all(&options.history.versions(), many)?;
    if options.history.events > 0 {
        warm(&engine, &all, options)?;
    }
    // The first commands take new memory and a new segment: they do not count.
    own.run(&mut all, options.rounds.time / 5)?;
    let compared = options.rounds.compare(
        |time| match clients {
            1 => append::sync(file, &append::group_bytes(1, record.len()), 1, time),
            _ => bare(file, &record, clients, time),
        },
        |time| own.run(&mut all, time),
    )?;
    check(&engine, &all)?;
    Ok(compared)
}

/// A client and the streams that only it writes to.
pub(super) struct Client {
    /// Streams and their versions.
    streams: Vec<(StreamName, u64)>,
    postings: Arc<[Posting]>,
    sent: u64,
    number: u64,
}

impl Client {
    /// Deals the streams out to so many clients.
    pub(super) fn all(versions: &[u64], clients: u32) -> Result<Vec<Self>, BenchError> {
        let postings: Arc<[Posting]> = (0..POOL).map(|n| Posting::new(n, 1)).collect();
        let client = |number: u64| {
            let own = (0..).zip(versions.iter().copied()).skip(number as usize).step_by(clients as usize);
            let streams = own.map(|(stream, version)| Ok((domain::stream(stream)?, version)));
            let (streams, postings) = (streams.collect::<Result<_, BenchError>>()?, Arc::clone(&postings));
            Ok(Self { streams, postings, sent: 0, number })
        };
        (0..u64::from(clients)).map(client).collect()
    }

    /// The number of one of its streams and the next command for it, with the version it will have then.
    pub(super) fn next(&mut self) -> Result<Option<(usize, Request)>, BenchError> {
        let spread = domain::spread((self.number << 40) | self.sent) as usize;
        self.sent += 1;
        let stream = spread % self.streams.len().max(1);
        let posting = self.postings.get(spread % self.postings.len().max(1));
        let (Some((name, version)), Some(posting)) = (self.streams.get(stream), posting) else {
            return Ok(None);
        };
        let request = domain::request(posting.clone(), name.clone(), *version)?;
        Ok(Some((stream, request)))
    }

    /// A command was handed over for one of its streams, which will be one version further.
    pub(super) fn submitted(&mut self, stream: usize) {
        if let Some((_, known)) = self.streams.get_mut(stream) {
            *known += 1;
        }
    }

    /// One of its streams is at `version` at least.
    pub(super) fn answered(&mut self, stream: usize, version: u64) {
        if let Some((_, known)) = self.streams.get_mut(stream) {
            *known = version.max(*known);
        }
    }
}

/// Who sends to the engine, and how.
enum Own<'a> {
    /// One thread that keeps so many commands outstanding.
    Thread { engine: &'a Engine, outstanding: usize },
    /// A task for each client.
    Tasks { engine: &'a Engine, runtime: Runtime },
}

impl Own<'_> {
    /// All clients send for so long.
    fn run(&self, clients: &mut Vec<Client>, time: Duration) -> Result<Sample, BenchError> {
        Sample::taken(|sample| match self {
            Self::Thread { engine, outstanding } => clients.iter_mut().try_for_each(|client| {
                sample.add(match outstanding {
                    1 => Window::new(engine, 1).run(client, time)?,
                    most => told(engine, *most, client, time)?,
                });
                Ok(())
            }),
            Self::Tasks { engine, runtime } => {
                let start = |client| runtime.spawn(sending(Engine::clone(engine), client, time));
                let tasks: Vec<_> = clients.drain(..).map(start).collect();
                tasks.into_iter().try_for_each(|task| {
                    let (client, latencies) = runtime.block_on(task).map_err(|_| BenchError::Panicked)??;
                    clients.push(client);
                    sample.add(latencies);
                    Ok(())
                })
            }
        })
    }
}

/// Keeps `most` commands outstanding for so long, and is told of their answers; how long each took, in nanoseconds.
pub(super) fn told(
    engine: &Engine,
    most: usize,
    client: &mut Client,
    time: Duration,
) -> Result<Vec<u64>, BenchError> {
    let (sender, answers) = channel();
    let (began, mut outstanding, mut latencies_ns) = (Instant::now(), 0, Vec::new());
    loop {
        while outstanding < most && began.elapsed() < time {
            let Some((stream, request)) = client.next()? else { return Ok(latencies_ns) };
            let (at, sender) = (Instant::now(), sender.clone());
            engine.execute_then(request, move |answer| drop(sender.send((at, stream, answer))));
            client.submitted(stream);
            outstanding += 1;
        }
        if outstanding == 0 {
            return Ok(latencies_ns);
        }
        let first = answers.recv().map_err(|_| BenchError::Panicked)?;
        for (at, stream, answer) in std::iter::once(first).chain(answers.try_iter()) {
            client.answered(stream, answer?.version);
            latencies_ns.push(nanoseconds(at.elapsed()));
            outstanding -= 1;
        }
    }
}

/// Outstanding commands whose answers one thread waits for in turn, the oldest first.
pub(super) struct Window<'a> {
    engine: &'a Engine,
    most: usize,
    outstanding: VecDeque<(Instant, usize, Request, Ticket)>,
    latencies_ns: Vec<u64>,
}

impl<'a> Window<'a> {
    pub(super) fn new(engine: &'a Engine, most: usize) -> Self {
        Self { engine, most, outstanding: VecDeque::with_capacity(most), latencies_ns: Vec::new() }
    }

    pub(super) fn run(mut self, client: &mut Client, time: Duration) -> Result<Vec<u64>, BenchError> {
        let began = Instant::now();
        while began.elapsed() < time {
            while self.outstanding.len() < self.most {
                let Some((stream, request)) = client.next()? else { return Ok(self.latencies_ns) };
                let at = Instant::now();
                let ticket = self.engine.submit(&request)?;
                client.submitted(stream);
                self.outstanding.push_back((at, stream, request, ticket));
            }
            self.finish(client)?;
        }
        while !self.outstanding.is_empty() {
            self.finish(client)?;
        }
        Ok(self.latencies_ns)
    }

    /// Waits for the oldest.
    fn finish(&mut self, client: &mut Client) -> Result<(), BenchError> {
        let Some((at, stream, request, ticket)) = self.outstanding.pop_front() else { return Ok(()) };
        let receipt = self.engine.finish(request, ticket)?;
        self.latencies_ns.push(nanoseconds(at.elapsed()));
        client.answered(stream, receipt.version);
        Ok(())
    }
}

/// The life of a client that is a task.
async fn sending(
    engine: Engine,
    mut client: Client,
    time: Duration,
) -> Result<(Client, Vec<u64>), BenchError> {
    let mut latencies = Latencies::new(time);
    while latencies.go_on() {
        let Some((stream, request)) = client.next()? else { break };
        let version = app::execute(&engine, request).await?.version;
        client.answered(stream, version);
        latencies.note();
    }
    Ok((client, latencies.ns))
}

/// The same number of clients on the bare log, with the same bytes.
fn bare(file: &mut ZeroedFile, record: &[u8], clients: u32, time: Duration) -> Result<Sample, BenchError> {
    let log = GroupLog::new();
    Sample::taken(|sample| {
        std::thread::scope(|scope| {
            let syncing = scope.spawn(|| log.sync(file));
            let append = || until(time, || log.append(record));
            let threads: Vec<_> = (0..clients).map(|_| scope.spawn(append)).collect();
            let gathered = gather(sample, threads);
            log.stop();
            // What the disk said tells more than that the clients were left alone.
            syncing.join().map_err(|_| BenchError::Panicked)??;
            gathered
        })
    })
}

/// Repeats `run` for so long; how long each took, in nanoseconds.
fn until(time: Duration, mut run: impl FnMut() -> Result<(), BenchError>) -> Result<Vec<u64>, BenchError> {
    let mut latencies = Latencies::new(time);
    while latencies.go_on() {
        run()?;
        latencies.note();
    }
    Ok(latencies.ns)
}

/// How long each took of what is done one after the other.
struct Latencies {
    ns: Vec<u64>,
    began: Instant,
    last: Instant,
    time: Duration,
}

impl Latencies {
    fn new(time: Duration) -> Self {
        let began = Instant::now();
        Self { ns: Vec::new(), began, last: began, time }
    }

    fn go_on(&self) -> bool {
        self.last - self.began < self.time || self.ns.is_empty()
    }

    /// Something more was done.
    fn note(&mut self) {
        let now = Instant::now();
        self.ns.push(nanoseconds(now - self.last));
        self.last = now;
    }
}

fn gather(
    sample: &mut Sample,
    threads: Vec<ScopedJoinHandle<'_, Result<Vec<u64>, BenchError>>>,
) -> Result<(), BenchError> {
    for thread in threads {
        let latencies = thread.join().map_err(|_| BenchError::Panicked)??;
        sample.add(latencies);
    }
    Ok(())
}

/// Has the engine load every stream, which an empty log has no need of: what is compared is a log's size, not
/// whether the states are in memory; `load` tells what one costs that is not.
fn warm(engine: &Engine, clients: &[Client], options: &Options) -> Result<(), BenchError> {
    options.notes.say("commands: loading all states");
    for (stream, _) in clients.iter().flat_map(|client| &client.streams) {
        engine.state_of::<Account>(stream, At::Now)?;
    }
    Ok(())
}

/// Every command that was answered is in its stream.
pub(super) fn check(engine: &Engine, clients: &[Client]) -> Result<(), BenchError> {
    for (stream, expected) in clients.iter().filter_map(|client| client.streams.first()) {
        let (found, _) = engine.state_of::<Account>(stream, At::Now)?;
        if found != *expected {
            return Err(BenchError::Wrong { what: "a stream's version", expected: *expected, found });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_has_one_client() {
        let all = Client::all(&[5, 6, 7, 8, 9], 2).unwrap();
        let streams = |client: &Client| -> Vec<_> {
            client.streams.iter().map(|(stream, version)| (stream.id().to_owned(), *version)).collect()
        };
        let named = |streams: &[(u64, u64)]| -> Vec<_> {
            streams.iter().map(|(stream, version)| (format!("{stream:08}"), *version)).collect()
        };
        assert_eq!(streams(&all[0]), named(&[(0, 5), (2, 7), (4, 9)]));
        assert_eq!(streams(&all[1]), named(&[(1, 6), (3, 8)]));
    }
}
