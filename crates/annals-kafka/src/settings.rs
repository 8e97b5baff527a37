//! Where the brokers are, and how long to wait for them.

use std::path::PathBuf;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

/// The most bytes of a Kafka record: an envelope, its header, and what Kafka adds.
pub(crate) const MESSAGE_BYTES_MAX: usize = 9 << 20;

/// How a Kafka log is reached. The defaults suit every use but tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Addresses to begin with: `host:port`, with commas between.
    pub brokers: String,
    /// What the names of topics begin with; may be empty.
    pub prefix: String,
    /// The directory of the local replica.
    pub replica: PathBuf,
    /// How long a record may be on its way before its outcome is unknown.
    pub message_timeout: Duration,
    /// How long a claim may take, reading up to it included.
    pub claim_timeout: Duration,
    /// How long the brokers may take to answer while the log is opened.
    pub open_timeout: Duration,
    /// Further settings of the client (librdkafka), such as those for TLS.
    pub client: Vec<(String, String)>,
}

impl Settings {
    /// The log at `brokers` with its replica in `replica`.
    #[must_use]
    pub fn new(brokers: impl Into<String>, replica: impl Into<PathBuf>) -> Self {
        Self {
            brokers: brokers.into(),
            prefix: String::new(),
            replica: replica.into(),
            message_timeout: Duration::from_secs(20),
            claim_timeout: Duration::from_secs(10),
            open_timeout: Duration::from_secs(15),
            client: Vec::new(),
        }
    }

    /// The journal of `context`: the prefix, a dot where it does not end with a sign, the context.
    #[must_use]
    pub fn journal(&self, context: &str) -> String {
        let joined = self.prefix.is_empty() || self.prefix.ends_with(['.', '-', '_']);
        format!("{}{}{context}.journal", self.prefix, if joined { "" } else { "." })
    }

    /// What all clients have in common.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in [
            ("bootstrap.servers", self.brokers.as_str()),
            ("client.id", "annals"),
            ("socket.nagle.disable", "true"),
            ("reconnect.backoff.ms", "50"),
            ("reconnect.backoff.max.ms", "1000"),
            ("allow.auto.create.topics", "false"),
            ("log.connection.close", "false"),
        ] {
            config.set(name, value);
        }
        for (name, value) in &self.client {
            config.set(name, value);
        }
        config
    }

    /// An idempotent producer that sends at once.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        let timeout_ms = self.message_timeout.as_millis().to_string();
        for (name, value) in [
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("linger.ms", "0"),
            ("message.timeout.ms", timeout_ms.as_str()),
            ("message.max.bytes", &MESSAGE_BYTES_MAX.to_string()),
            ("queue.buffering.max.kbytes", "65536"),
            ("retry.backoff.ms", "50"),
            // Kafka's own, for tools that look; the partition is always given.
            ("partitioner", "murmur2_random"),
        ] {
            config.set(name, value);
        }
        config
    }

    /// A consumer without a group that skips nothing.
    pub(crate) fn consumer(&self) -> ClientConfig {
        let mut config = self.client();
        for (name, value) in [
            ("group.id", "annals-unused"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_uncommitted"),
            ("enable.partition.eof", "true"),
            ("check.crcs", "true"),
            ("fetch.wait.max.ms", "20"),
            ("fetch.error.backoff.ms", "50"),
            // Fetching pauses when the queue is full; by default for a second, in which a refill empties it and waits.
            ("queued.max.messages.kbytes", "32768"),
            ("fetch.queue.backoff.ms", "10"),
        ] {
            config.set(name, value);
        }
        // It would print to stderr what also comes as an error.
        config.set_log_level(RDKafkaLogLevel::Emerg);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_stands_before_the_context() {
        for (prefix, topic) in [
            ("", "bank.journal"),
            ("dev", "dev.bank.journal"),
            ("dev.", "dev.bank.journal"),
            ("dev-", "dev-bank.journal"),
            ("dev_", "dev_bank.journal"),
        ] {
            let settings = Settings { prefix: prefix.into(), ..Settings::new("b:9092", "r") };
            assert_eq!(settings.journal("bank"), topic);
        }
    }
}
