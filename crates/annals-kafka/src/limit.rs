//! What client and brokers reach with the same bytes and nothing around them: the limit that benchmarks compare with.
//!
//! One thread sends records to one partition by an idempotent producer and keeps so many of them outstanding. It decides
//! nothing, keeps no replica and cannot be read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::envelope::Header;
use annals_core::{Epoch, LogId, Seq, Timestamp};
use futures_executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::config::{FromClientConfig as _, FromClientConfigAndContext as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::error::OpenError;
use crate::journal::{self, Make};
use crate::native::Reports;
use crate::producer::Context;
use crate::settings::Settings;
use crate::wire;

/// A topic like a journal, and a producer that is ready.
pub struct BareProduce {
    client: BaseProducer<Context>,
    topic: Arc<str>,
}

impl BareProduce {
    /// Makes the topic of `context`, with the settings of a journal and one partition.
    pub fn new(settings: &Settings, context: &str) -> Result<Self, OpenError> {
        let make = Make { log_id: LogId(uuid::Uuid::nil()), created_at: Timestamp::UNIX_EPOCH };
        let topic = journal::open(settings, context, Some(1), Some(make))?.topic;
        let made = BaseProducer::from_config_and_context(&settings.producer(), Context::default());
        let client = made.map_err(|error| OpenError::Client(error.to_string()))?;
        let mut bare = Self { client, topic };
        bare.run(1, b"ready", Duration::ZERO)?;
        Ok(bare)
    }

    /// Sends `record` over and over for so long, `outstanding` at a time; how long each took, in nanoseconds.
    pub fn run(&mut self, outstanding: usize, record: &[u8], time: Duration) -> Result<Vec<u64>, OpenError> {
        let reports = Reports::of(self.client.client()).ok_or_else(|| failed("no queue for reports"))?;
        let began = Instant::now();
        let mut sent = Vec::new();
        let (mut latencies, mut batch) = (Vec::new(), Vec::new());
        loop {
            let sending = latencies.is_empty() || began.elapsed() < time;
            while sending && sent.len() - latencies.len() < outstanding {
                sent.push(Instant::now());
                self.send(record, sent.len() - 1)?;
            }
            if sent.len() == latencies.len() {
                return Ok(latencies);
            }
            reports.take(Duration::from_secs(1), self.client.context().as_ref(), &mut batch);
            let now = Instant::now();
            for delivered in batch.drain(..) {
                delivered.written.map_err(|code| failed(&code.to_string()))?;
                let since = sent.get(delivered.token).map_or(Duration::ZERO, |sent| now - *sent);
                latencies.push(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
            }
        }
    }

    fn send(&self, record: &[u8], token: usize) -> Result<(), OpenError> {
        let header = Header::Record { epoch: Epoch(1), seq: Seq(token as u64) };
        let record = BaseRecord::<'_, [u8], [u8], usize>::with_opaque_to(&self.topic, token)
            .partition(0)
            .payload(record)
            .headers(wire::headers(header));
        self.client.send(record).map_err(|(error, _)| failed(&error.to_string()))
    }
}

/// Deletes the journal of `context`, for good.
pub fn remove(settings: &Settings, context: &str) -> Result<(), OpenError> {
    let admin = AdminClient::from_config(&settings.client()).map_err(|error| failed(&error.to_string()))?;
    let options = AdminOptions::new().operation_timeout(Some(settings.open_timeout));
    let topic = settings.journal(context);
    let removed = block_on(admin.delete_topics(&[topic.as_str()], &options));
    removed.map(drop).map_err(|error| failed(&error.to_string()))
}

fn failed(reason: &str) -> OpenError {
    OpenError::Client(reason.to_owned())
}
