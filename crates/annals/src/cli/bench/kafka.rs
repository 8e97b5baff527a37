//! `commands` on Kafka: the whole path of a command, against bare idempotent produce of the same bytes.
//!
//! One thread, like that of the bare loop, hands over commands until so many are outstanding, then waits for the oldest.
//! Topics of its own are made for it and deleted at the end.
#![cfg_attr(
    not(feature = "kafka"),
    allow(unused_imports, dead_code, reason = "there is nothing to measure then")
)]

use std::sync::Arc;
use std::time::Duration;

use annals_core::{LogId, Timestamp};
use annals_engine::{Engine, Environment, Settings};
use annals_log::Log;

use super::commands::{Client, Window, check};
use super::domain;
use super::error::BenchError;
use super::options::{Brokers, Options};
use super::place::Place;
use super::report::Row;
use super::stats::{Compared, Sample};

#[cfg(not(feature = "kafka"))]
pub(super) fn commands(_: &Options, _: &Place) -> Result<Vec<Row>, BenchError> {
    Err(BenchError::NoKafka(crate::UrlError::NoKafka))
}

/// `bench commands --log kafka://..`.
#[cfg(feature = "kafka")]
pub(super) fn commands(options: &Options, place: &Place) -> Result<Vec<Row>, BenchError> {
    let Some(brokers) = &options.kafka else { return Ok(Vec::new()) };
    let mut rows = Vec::new();
    for &outstanding in &options.clients {
        options.notes.say(&format!("commands: {outstanding} outstanding"));
        let topics = Topics::new(brokers, place)?;
        let compared = case(options, &topics, outstanding);
        topics.remove();
        rows.push(Row::compared("commands", "Kafka, empty log".to_owned(), outstanding, &compared?));
    }
    Ok(rows)
}

/// The two topics of a case.
#[cfg(feature = "kafka")]
struct Topics(annals_kafka::Settings);

#[cfg(feature = "kafka")]
impl Topics {
    fn new(brokers: &Brokers, place: &Place) -> Result<Self, BenchError> {
        let mut settings = annals_kafka::Settings::new(brokers.addresses.as_str(), place.fresh("replica")?);
        settings.prefix = format!("{}bench-{}.", brokers.prefix, uuid::Uuid::new_v4().simple());
        Ok(Self(settings))
    }

    fn remove(&self) {
        for context in [domain::context().name(), BARE] {
            if let Err(error) = annals_kafka::limit::remove(&self.0, context) {
                eprintln!("warning: the topic {} is still there: {error}", self.0.journal(context));
            }
        }
    }
}

#[cfg(feature = "kafka")]
const BARE: &str = "bare";

#[cfg(feature = "kafka")]
fn case(options: &Options, topics: &Topics, outstanding: u32) -> Result<Compared, BenchError> {
    let made = || (LogId(uuid::Uuid::new_v4()), Timestamp::now());
    let name = domain::context().name().to_owned();
    let log = annals_kafka::KafkaLog::open_or_create(topics.0.clone(), &name, Some(1), made)?;
    let log: Arc<dyn Log> = Arc::new(log);
    let engine = Engine::open(domain::context(), log, Environment::system("bench"), Settings::default())?;
    let record = domain::record(0, 0, 0, 1)?.envelope;
    let mut client = Client::all(&options.history.versions(), 1)?;
    let mut bare = annals_kafka::limit::BareProduce::new(&topics.0, BARE)?;
    // Connections, caches and the first segment are made: they do not count.
    run(&engine, &mut client, outstanding, options.rounds.time / 2)?;
    bare.run(outstanding as usize, &record, options.rounds.time / 2)?;
    let compared = options.rounds.compare(
        |time| {
            Sample::taken(|sample| {
                sample.add(bare.run(outstanding as usize, &record, time)?);
                Ok(())
            })
        },
        |time| run(&engine, &mut client, outstanding, time),
    )?;
    check(&engine, &client)?;
    Ok(compared)
}

/// The client keeps so many commands outstanding for so long.
fn run(
    engine: &Engine,
    client: &mut [Client],
    outstanding: u32,
    time: Duration,
) -> Result<Sample, BenchError> {
    Sample::taken(|sample| {
        for client in client {
            sample.add(Window::new(engine, outstanding as usize).run(client, time)?);
        }
        Ok(())
    })
}
