//! An import killed with SIGKILL at random moments and started again ends as if nothing had happened.
//!
//! The test starts its own executable as the importing process, on a log in a directory or on a Kafka broker, which
//! is killed too now and then. `ANNALS_SEEDS` sets the number of kills of the long forms, `ANNALS_FIRST_SEED` the
//! seed of the moments; a failure prints both.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use annals::parts::core::envelope::{Header, Record};
use annals::{Offset, ShardId};
use annals_services::{Kafka, Nodes, kafka_for};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use tempfile::TempDir;

use crate::data::{Data, Expected};
use crate::{check, import, open, url};

/// The address of the log: set in the importing process, and in it alone.
const LOG: &str = "ANNALS_TEST_IMPORT_LOG";
/// The two files and the flags of the importing process.
const NODES: &str = "ANNALS_TEST_IMPORT_NODES";
const TRANSFERS: &str = "ANNALS_TEST_IMPORT_TRANSFERS";
const FLAGS: &str = "ANNALS_TEST_IMPORT_FLAGS";

/// How long an import that is left alone may take.
const STILL_MAX: Duration = Duration::from_secs(600);

#[test]
fn a_killed_import_goes_on() {
    if import_as_told() {
        return;
    }
    let data = Data::made(21, 100, 3_000);
    for (seed, flags) in [(1, "--overdraft"), (2, "--ordered")] {
        let test = "kills::a_killed_import_goes_on";
        Trial { test, seed, kills: 3, flags, broker: None }.run(&data);
    }
}

#[test]
fn a_killed_import_goes_on_with_kafka() {
    if import_as_told() {
        return;
    }
    let test = "kills::a_killed_import_goes_on_with_kafka";
    let Some(kafka) = kafka_for(test, Nodes::One) else { return };
    let broker = Some(Broker { kafka: &kafka, every: 2 });
    Trial { test, seed: 3, kills: 3, flags: "--overdraft", broker }.run(&Data::made(22, 100, 2_000));
}

#[test]
#[ignore = "long, and for release"]
fn the_whole_sample_on_kafka_killed_again_and_again() {
    if import_as_told() {
        return;
    }
    let Some(data) = Data::sample() else { return };
    let test = "kills::the_whole_sample_on_kafka_killed_again_and_again";
    let Some(kafka) = kafka_for(test, Nodes::One) else { return };
    let (kills, seed) = (number("ANNALS_SEEDS", 10), number("ANNALS_FIRST_SEED", 1));
    let broker = Some(Broker { kafka: &kafka, every: 5 });
    Trial { test, seed, kills, flags: "--overdraft", broker }.run(&data);
}

#[test]
#[ignore = "long, and for release"]
fn the_whole_sample_killed_again_and_again() {
    if import_as_told() {
        return;
    }
    let Some(data) = Data::sample() else { return };
    let (kills, seed) = (number("ANNALS_SEEDS", 20), number("ANNALS_FIRST_SEED", 1));
    for flags in ["--overdraft", "--ordered"] {
        let test = "kills::the_whole_sample_killed_again_and_again";
        Trial { test, seed, kills, flags, broker: None }.run(&data);
    }
}

/// In the importing process: imports what the environment says. `false` in the test itself.
fn import_as_told() -> bool {
    let Some(log) = std::env::var_os(LOG) else { return false };
    let path = |name: &str| std::env::var_os(name).unwrap().into();
    let data = Data::at(path(NODES), path(TRANSFERS));
    let app = open(log.to_str().unwrap());
    import(&app, &data, &[std::env::var(FLAGS).unwrap().as_str()]).unwrap();
    true
}

/// Imports, kills, and a last start that is left alone.
struct Trial<'a> {
    /// The test that the importing process runs.
    test: &'static str,
    seed: u64,
    kills: u64,
    flags: &'static str,
    /// The broker, where the log is on Kafka.
    broker: Option<Broker<'a>>,
}

/// A broker that is killed, too.
#[derive(Clone, Copy)]
struct Broker<'a> {
    kafka: &'a Kafka,
    /// It is killed, and started again, a moment before every so many kills of the import.
    every: u64,
}

/// How long a killed broker stays away.
const BROKER_AWAY: Duration = Duration::from_secs(1);

impl Trial<'_> {
    fn run(&self, data: &Data) {
        let expected = if self.flags == "--ordered" { data.one_by_one() } else { data.all_through() };
        // One run to its end says how long there is to kill it.
        let whole = self.left_alone(data, &expected, &TempDir::new().unwrap());
        println!("{} kills of an import with {}, which takes {whole:.1?}", self.kills, self.flags);
        let mut moments = Moments { whole, dice: ChaCha8Rng::seed_from_u64(self.seed) };
        let mut directory = TempDir::new().unwrap();
        let (mut in_the_middle, mut too_late, mut since_fresh) = (0, 0, 0);
        while in_the_middle < self.kills {
            let killed = self.kill_at(moments.next(), data, &directory, in_the_middle + 1);
            in_the_middle += u64::from(killed.is_ok());
            since_fresh += 1;
            if let Err(took) = killed {
                too_late += 1;
                assert!(too_late < 10 * self.kills, "seed {}: {too_late} kills came too late", self.seed);
                if since_fresh == 1 {
                    moments.whole = moments.whole.min(took);
                }
            }
            // An import that came to its end is looked at, and the next kill is of another.
            if killed.is_err() || in_the_middle == self.kills {
                self.left_alone(data, &expected, &directory);
                directory = TempDir::new().unwrap();
                since_fresh = 0;
            }
        }
        println!("{in_the_middle} kills came before the end, {too_late} after it");
    }

    /// Starts the import and kills it at this moment; `Err` is how long it took where it ended before.
    fn kill_at(&self, moment: Duration, data: &Data, directory: &TempDir, kill: u64) -> Result<(), Duration> {
        let began = Instant::now();
        let mut child = self.start(data, directory.path());
        while began.elapsed() < moment {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "{}", self.said(directory.path(), kill));
                return Err(began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(1).min(moment.saturating_sub(began.elapsed())));
        }
        if let Some(Broker { kafka, every }) = self.broker
            && kill.is_multiple_of(every)
        {
            kafka.kill(1).unwrap();
            std::thread::sleep(BROKER_AWAY);
            kafka.start_node(1).unwrap();
            kafka.wait_ready(Duration::from_secs(60)).unwrap();
            println!("the broker was killed before kill {kill}");
        }
        child.kill().unwrap();
        // SIGKILL reaches a process that has just ended without a trace: its status says which came first.
        match child.wait().unwrap().success() {
            true => Err(began.elapsed()),
            false => Ok(()),
        }
    }

    /// Lets the import come to its end, checks what it left, and says how long it took.
    fn left_alone(&self, data: &Data, expected: &Expected, directory: &TempDir) -> Duration {
        let began = Instant::now();
        let mut child = self.start(data, directory.path());
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if began.elapsed() < STILL_MAX => std::thread::sleep(Duration::from_millis(10)),
                None => {
                    child.kill().unwrap();
                    break child.wait().unwrap();
                }
            }
        };
        assert!(status.success(), "{}", self.said(directory.path(), 0));
        let took = began.elapsed();
        let app = open(&self.url(directory.path()));
        assert!(
            app.engine().settle(Duration::from_secs(60)).unwrap(),
            "seed {}: sagas do not end",
            self.seed
        );
        let end = ends(&app);
        let report = import(&app, data, &[self.flags]).unwrap();
        assert_eq!(ends(&app), end, "seed {}: something was still to be sent", self.seed);
        check(&app, &report, expected);
        assert_eq!(held_twice(&app), 0, "seed {}: rows that began twice", self.seed);
        took
    }

    fn start(&self, data: &Data, directory: &Path) -> Child {
        let output = |name: &str| {
            let path = directory.join(name);
            Stdio::from(File::options().create(true).append(true).open(path).unwrap())
        };
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", self.test, "--nocapture", "--include-ignored"])
            .env(LOG, self.url(directory))
            .env(NODES, &data.nodes)
            .env(TRANSFERS, &data.transfers)
            .env(FLAGS, self.flags)
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The log of this directory: in it, or a topic named after it with its replica in it.
    fn url(&self, directory: &Path) -> String {
        let log = directory.join("log");
        let Some(Broker { kafka, .. }) = self.broker else { return url(&log) };
        let name = directory.file_name().unwrap().to_str().unwrap().replace('.', "");
        format!("{}/{name}?shards=4&data={}", kafka.url(), log.display())
    }

    fn said(&self, directory: &Path, kill: u64) -> String {
        let text = std::fs::read_to_string(directory.join("stderr")).unwrap_or_default();
        format!("seed {}, kill {kill}, {}: the import failed or did not end: {text}", self.seed, self.flags)
    }
}

/// Random moments of an import that takes so long; the time is corrected where an import from the start was faster.
struct Moments {
    whole: Duration,
    dice: ChaCha8Rng,
}

impl Moments {
    fn next(&mut self) -> Duration {
        self.whole.mul_f64(self.dice.next_u64() as f64 / u64::MAX as f64)
    }
}

/// The ends of all shards.
fn ends(app: &annals::App) -> Vec<Offset> {
    let log = app.engine().log();
    (0..log.identity().shards).map(|shard| log.end(ShardId(shard))).collect()
}

/// How many rows hold money in two records, and how many transfers were credited or posted in two.
fn held_twice(app: &annals::App) -> usize {
    let log = app.engine().log();
    let mut seen = std::collections::HashSet::new();
    let mut twice = 0;
    let chunks = (0..log.identity().shards).map(ShardId).flat_map(|shard| {
        let mut next = Offset(0);
        std::iter::from_fn(move || {
            let chunk = (next < log.end(shard)).then(|| log.read(shard, next, 1 << 20).unwrap())?;
            next = chunk.next;
            Some(chunk)
        })
    });
    for chunk in chunks {
        for raw in chunk.records.into_iter().filter(|raw| matches!(raw.header, Header::Record { .. })) {
            let record = Record::from_bytes(raw.envelope).unwrap();
            for event in record.slices.iter().flat_map(|slice| &slice.events) {
                let fields: serde_json::Value = serde_json::from_slice(&event.payload).unwrap_or_default();
                if let (Some(reference), true) =
                    (fields["reference"].as_str(), fields["transfer"].is_string())
                {
                    twice += usize::from(!seen.insert((event.name.clone(), reference.to_owned())));
                }
            }
        }
    }
    assert!(!seen.is_empty());
    twice
}

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}
