//! What is benchmarked: accounts in 10,000 streams whose one event has 256 bytes of JSON.
//!
//! Invariant: everything follows from a number, so that two runs write the same bytes but for times and keys;
//! records made here are those the engine would write.

use annals_core::context::AnyCommand;
use annals_core::envelope::{CommandPart, FORMAT, Record, Slice};
use annals_core::index::{Term, terms};
use annals_core::{Context, Decider, Fate, Meta, Projection, Recorded, StreamName, event};
use annals_engine::Request;
use annals_macros::{Command, Event, Refusal};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::BenchError;

/// The bytes of an event's JSON.
pub(super) const PAYLOAD_BYTES: usize = 256;
/// The context's name.
pub(super) const CONTEXT: &str = "bench";
/// What texts are cut from.
const TEXT: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
                    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
                    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// What is left of a payload for `text`: the other fields have the same length in every event.
const TEXT_BYTES: usize = 156;

/// What an event and its command say.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub(super) struct Posting {
    amount: u64,
    party: String,
    reference: String,
    text: String,
}

impl Posting {
    /// The posting numbered `n`, with one of `parties` others.
    pub(super) fn new(n: u64, parties: u64) -> Self {
        let spread = spread(n);
        let cut = (n % 16) as usize;
        Self {
            amount: 1_000_000 + spread % 9_000_000,
            party: format!("party-{:08}", spread % parties.max(1)),
            reference: format!("{spread:016x}{n:016x}"),
            text: TEXT.get(cut..cut + TEXT_BYTES).unwrap_or_default().to_owned(),
        }
    }
}

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[event(prefix = "account", crate = "annals_core")]
pub(super) enum AccountEvent {
    /// Money came in.
    Posted(Posting),
}

#[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug)]
#[command(crate = "annals_core")]
pub(super) enum AccountCommand {
    /// Take money in.
    Post(Posting),
}

#[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[refusal(crate = "annals_core")]
pub(super) enum AccountRefusal {
    /// Nothing would change.
    #[error("an amount of 0 changes nothing")]
    Nothing,
}

/// The entity that commands are decided on.
#[derive(Default, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Account {
    balance: u64,
    postings: u64,
    last: String,
}

impl Decider for Account {
    const NAME: &'static str = "account";
    type Id = String;
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Refusal = AccountRefusal;

    fn decide(&self, command: &AccountCommand, _cx: &Meta) -> Result<Vec<AccountEvent>, AccountRefusal> {
        match command {
            AccountCommand::Post(Posting { amount: 0, .. }) => Err(AccountRefusal::Nothing),
            AccountCommand::Post(posting) => Ok(vec![AccountEvent::Posted(posting.clone())]),
        }
    }

    fn evolve(&mut self, AccountEvent::Posted(posting): &AccountEvent) {
        self.balance += posting.amount;
        self.postings += 1;
        self.last.clone_from(&posting.reference);
    }
}

/// The party of the first event that a log holds.
pub(super) fn first_party(parties: u64) -> String {
    Posting::new(0, parties).party
}

/// A view with one document for each party.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
pub(super) struct Turnover {
    postings: u64,
    amount: u64,
    last: String,
}

impl Projection for Turnover {
    const NAME: &'static str = "turnover";
    type Input = AccountEvent;
    type Key = String;

    fn keys(e: &Recorded<AccountEvent>) -> impl IntoIterator<Item = String> {
        let AccountEvent::Posted(posting) = &e.event;
        [posting.party.clone()]
    }

    fn project(&mut self, _party: &String, e: &Recorded<AccountEvent>) -> Fate {
        let AccountEvent::Posted(posting) = &e.event;
        self.postings += 1;
        self.amount += posting.amount;
        self.last.clone_from(&posting.reference);
        Fate::Keep
    }
}

/// The benchmark's context.
pub(super) fn context() -> Context {
    annals_core::context(CONTEXT).decider::<Account>().projection::<Turnover>()
}

/// The name of stream `number`, 16 bytes.
pub(super) fn stream(number: u64) -> Result<StreamName, BenchError> {
    Ok(StreamName::new(None, Account::NAME, &format!("{number:08}"))?)
}

/// A command for `stream`, which must be at `version`.
pub(super) fn request(posting: Posting, stream: StreamName, version: u64) -> Result<Request, BenchError> {
    let command = AnyCommand::new::<Account>(AccountCommand::Post(posting))?;
    Ok(Request { expected_version: Some(version), ..Request::new(stream, command) })
}

/// An encoded record of one event, with what it is found by.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    pub(super) envelope: Bytes,
    pub(super) terms: Vec<Term>,
}

/// The record numbered `n`, which brings stream `number` from `version` to the next.
pub(super) fn record(n: u64, number: u64, version: u64, parties: u64) -> Result<Encoded, BenchError> {
    let posted = event::encode(&AccountEvent::Posted(Posting::new(n, parties)))?;
    let slice =
        Slice { stream: stream(number)?.to_string(), expected_version: version, events: vec![posted] };
    let key = format!("{:016x}{n:016x}", spread(!n));
    let record = Record {
        format: FORMAT,
        slices: vec![slice],
        command: Some(CommandPart { key, name: "post".to_owned(), ..CommandPart::default() }),
        recorded_at_us: 1_700_000_000_000_000 + i64::try_from(n).unwrap_or_default(),
        ..Record::default()
    };
    Ok(Encoded { envelope: record.to_bytes(), terms: terms(&record) })
}

/// Spreads numbers over all of 64 bits: the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
pub(super) fn spread(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_size_that_figures_are_given_for() {
        context().checked().unwrap();
        for n in [0, 1, 17, 1 << 40, u64::MAX] {
            let encoded = event::encode(&AccountEvent::Posted(Posting::new(n, 20_000))).unwrap();
            assert_eq!(encoded.payload.len(), PAYLOAD_BYTES, "{n}");
            assert_eq!(stream(n % 10_000).unwrap().as_str().len(), 16);
            // 344 bytes of data with stream and version, and the envelope's own marks.
            let envelope = record(n, n % 10_000, 99, 20_000).unwrap().envelope.len();
            assert!((344..=372).contains(&envelope), "{envelope}");
        }
    }

    #[test]
    fn the_engine_writes_records_of_the_same_size() {
        use annals_core::{LogId, ShardId, Timestamp};
        use annals_log::{Identity, Log, MemoryLog};
        let identity = Identity {
            log_id: LogId(uuid::Uuid::from_u128(1)),
            context: CONTEXT.to_owned(),
            shards: 1,
            created_at: Timestamp::UNIX_EPOCH,
        };
        let log = MemoryLog::new(identity);
        let environment = annals_engine::Environment::system("test");
        let log: std::sync::Arc<dyn Log> = std::sync::Arc::new(log);
        let engine = annals_engine::Engine::open(context(), log, environment, Default::default()).unwrap();
        let request = || request(Posting::new(5, 1), stream(7).unwrap(), 0).unwrap();
        let receipt = engine.execute(&request()).unwrap();
        let written = engine.log().get(ShardId(0), receipt.position.offset).unwrap().unwrap();
        assert_eq!(written.envelope.len(), record(5, 7, 0, 1).unwrap().envelope.len());
        assert!(engine.execute(&request()).is_err(), "the version is checked");
    }
}
