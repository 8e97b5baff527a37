//! Threads that claim a shard and append to it, again and again, whatever happens; and what must be true then.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use annals_core::envelope::Header;
use annals_core::{Offset, Seq, ShardId};
use annals_kafka::KafkaLog;
use annals_log::{AppendError, ClaimError, Log, RecordKind, Writer};
use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::support::{PROMPT, append, claim, claimant, read_all};

/// What a writer was told of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Written(Offset),
    Fenced,
    Unknown,
}

/// Of each record, by its text, what its writer was told.
pub type Outcomes = BTreeMap<String, Told>;

/// How a thread writes.
#[derive(Clone)]
pub struct Load {
    pub name: String,
    pub seed: u64,
    pub in_flight: usize,
    /// The most bytes of a record.
    pub bytes: usize,
    /// After how many records it claims anew at the latest.
    pub reign_max: u64,
    /// How long calls may take: appending and committing, and claiming.
    pub patience: [Duration; 2],
    /// Ends with the first claim that is over.
    pub once: bool,
}

impl Load {
    pub fn new(name: impl Into<String>, seed: u64) -> Self {
        let patience = [Duration::from_secs(9), Duration::from_secs(14)];
        let name = name.into();
        Self { name, seed, in_flight: 64, bytes: 300, reign_max: 400, patience, once: false }
    }

    /// Claims and appends until told to stop; `tell` hears of each outcome when it is known.
    pub fn run(&self, log: &dyn Log, shard: ShardId, stop: &AtomicBool, tell: &mut dyn FnMut(String, Told)) {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            let claimed = within(self.patience[1], "a claim", || log.claim(shard, &claimant(&self.name)));
            match claimed {
                Ok(writer) => {
                    self.reign(&*writer, stop, &mut random, &mut number, tell);
                    if self.once {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(random.next_u64() % 100));
                }
                Err(ClaimError::Unavailable { .. }) => {
                    std::thread::sleep(Duration::from_millis(random.next_u64() % 40));
                }
                Err(error) => panic!("{}: {error}", self.name),
            }
        }
    }

    fn reign(
        &self,
        writer: &dyn Writer,
        stop: &AtomicBool,
        random: &mut ChaCha8Rng,
        number: &mut u64,
        tell: &mut dyn FnMut(String, Told),
    ) {
        let mut pending: VecDeque<(Seq, String)> = VecDeque::new();
        let mut left = 1 + random.next_u64() % self.reign_max;
        let mut over = false;
        while !over && left > 0 && !stop.load(Ordering::Relaxed) {
            left -= 1;
            let name = format!("{}-{}-{number}-", self.name, writer.epoch());
            *number += 1;
            let text = format!("{name}{}", "x".repeat(random.next_u64() as usize % self.bytes));
            let appended = within(self.patience[0], "an append", || {
                writer.append(RecordKind::Record, Bytes::from(text.clone()), Vec::new())
            });
            match appended {
                Ok(seq) => pending.push_back((seq, text)),
                Err(error) => {
                    tell(text, told(Err(error)));
                    over = true;
                }
            }
            if pending.len() >= self.in_flight {
                over |= self.settle(writer, pending.pop_front(), tell);
            }
        }
        while let Some(next) = pending.pop_front() {
            self.settle(writer, Some(next), tell);
        }
    }

    /// Whether the claim is over.
    fn settle(
        &self,
        writer: &dyn Writer,
        record: Option<(Seq, String)>,
        tell: &mut dyn FnMut(String, Told),
    ) -> bool {
        let Some((seq, text)) = record else { return false };
        let committed = within(self.patience[0], "a commit", || writer.commit(seq));
        let over = committed.is_err();
        tell(text, told(committed));
        over
    }
}

fn told(outcome: Result<Offset, AppendError>) -> Told {
    match outcome {
        Ok(offset) => Told::Written(offset),
        // Certainly not applied.
        Err(AppendError::Fenced | AppendError::Full { .. }) => Told::Fenced,
        Err(AppendError::OutcomeUnknown { .. }) => Told::Unknown,
        Err(error) => panic!("{error}"),
    }
}

/// Nobody may wait for ever.
pub fn within<T>(limit: Duration, what: &str, run: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = run();
    assert!(began.elapsed() < limit, "{what} took {:?}", began.elapsed());
    done
}

/// Runs these loads on their logs while `meanwhile` does, and returns what all were told.
pub fn run_all(loads: &[(Load, &KafkaLog, ShardId)], meanwhile: impl FnOnce(&Progress)) -> Outcomes {
    let (stop, progress) = (AtomicBool::new(false), Progress::default());
    std::thread::scope(|scope| {
        let threads: Vec<_> = loads
            .iter()
            .map(|(load, log, shard)| {
                let (stop, progress) = (&stop, &progress);
                scope.spawn(move || {
                    let mut outcomes = Outcomes::new();
                    load.run(*log, *shard, stop, &mut |text, told| {
                        progress.count(&told);
                        outcomes.insert(text, told);
                    });
                    outcomes
                })
            })
            .collect();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| meanwhile(&progress)));
        stop.store(true, Ordering::Relaxed);
        let outcomes = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        outcomes
    })
}

/// How many records were told what, so far.
#[derive(Debug, Default)]
pub struct Progress {
    pub written: AtomicU64,
    pub fenced: AtomicU64,
    pub unknown: AtomicU64,
}

impl Progress {
    fn count(&self, told: &Told) {
        let counter = match told {
            Told::Written(_) => &self.written,
            Told::Fenced => &self.fenced,
            Told::Unknown => &self.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

/// Every record that was told written is in the history once, at its offset; none is that was told fenced; and all
/// logs hold the same history.
pub fn check(outcomes: &Outcomes, logs: &[&KafkaLog], shard: ShardId) {
    let writable = logs.first().expect("a log to write a last record with");
    let writer = claim(*writable, shard);
    let seq = append(&*writer, "the end");
    let last = writer.commit(seq).unwrap();
    let histories: Vec<_> = logs
        .iter()
        .map(|log| {
            assert!(log.wait(shard, last, PROMPT) > last, "the end did not come");
            read_all(*log, shard)
        })
        .collect();
    for other in &histories[1..] {
        assert!(*other == histories[0], "two nodes have different histories");
    }
    let mut places: HashMap<String, Offset> = HashMap::new();
    for record in &histories[0] {
        if matches!(record.header, Header::Record { .. }) {
            let text = String::from_utf8(record.envelope.to_vec()).unwrap();
            let before = places.insert(text.clone(), record.offset);
            assert_eq!(before, None, "{text} is in the history twice");
        }
    }
    for (text, told) in outcomes {
        match (told, places.remove(text)) {
            (Told::Written(offset), found) => assert_eq!(found, Some(*offset), "{text}"),
            (Told::Fenced, found) => assert_eq!(found, None, "{text} was told to be fenced"),
            (Told::Unknown, _) => {}
        }
    }
    assert_eq!(places.remove("the end"), Some(last));
    assert!(places.is_empty(), "records nobody was told of: {places:?}");
}

pub fn counts(outcomes: &Outcomes) -> (usize, usize, usize) {
    let count = |wanted: fn(&Told) -> bool| outcomes.values().filter(|told| wanted(told)).count();
    let written = count(|told| matches!(told, Told::Written(_)));
    (written, count(|told| *told == Told::Fenced), count(|told| *told == Told::Unknown))
}

/// The seed of a test: `ANNALS_SEED`, or the one given; printed for the case that it fails.
pub fn seed(usual: u64) -> u64 {
    let seed = std::env::var("ANNALS_SEED").map_or(usual, |seed| seed.parse().unwrap());
    eprintln!("seed {seed} (set ANNALS_SEED for another)");
    seed
}
