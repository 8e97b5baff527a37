//! Nodes in processes of their own, which are stopped for longer than every timeout and continued: zombies.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use annals_core::Offset;
use annals_kafka::{KafkaLog, Settings};
use annals_services::{Kafka, shared_kafka};
use rustix::process::{Pid, Signal, kill_process};

use crate::load::{Load, Outcomes, Told, check, counts, seed};
use crate::support::{PROMPT, ZERO, claim, open, prefix, put, read_all};

/// How long a record of a node may be on its way.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(2);

fn hasty(kafka_url: &str, prefix: &str, replica: std::path::PathBuf) -> Settings {
    Settings {
        prefix: prefix.to_owned(),
        message_timeout: MESSAGE_TIMEOUT,
        claim_timeout: Duration::from_secs(3),
        ..Settings::new(kafka_url, replica)
    }
}

/// A node in another process, killed when it is dropped.
struct Node {
    process: Child,
    lines: Receiver<String>,
}

impl Node {
    fn start(kafka: &Kafka, prefix: &str, replica: &std::path::Path, name: &str, once: bool) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::node", "--ignored", "--nocapture"])
            .env("ANNALS_TEST_BROKERS", kafka.bootstrap())
            .env("ANNALS_TEST_PREFIX", prefix)
            .env("ANNALS_TEST_REPLICA", replica)
            .env("ANNALS_TEST_NODE", name)
            .env("ANNALS_TEST_ONCE", if once { "1" } else { "" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (out, lines) = channel();
        let reader = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                // The test runner writes lines of its own, also in front of the first one.
                if let Some((_, line)) = line.split_once("told ") {
                    let _ = out.send(line.to_owned());
                }
            }
        });
        Self { process, lines }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id() as i32).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it was told of so many records.
    fn wait(&self, count: usize, outcomes: &mut Outcomes) {
        for _ in 0..count {
            let line = self.lines.recv_timeout(PROMPT).expect("the node writes");
            outcomes.extend(parse(&line));
        }
    }

    /// Tells it to stop, and waits for its last word.
    fn end(mut self, outcomes: &mut Outcomes) {
        drop(self.process.stdin.take());
        while let Ok(line) = self.lines.recv_timeout(PROMPT) {
            outcomes.extend(parse(&line));
        }
        let status = self.process.wait().unwrap();
        assert!(status.success(), "the node panicked");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

fn parse(line: &str) -> Option<(String, Told)> {
    let (told, text) = line.split_once(' ')?;
    let told = match told {
        "fenced" => Told::Fenced,
        "unknown" => Told::Unknown,
        offset => Told::Written(Offset(offset.parse().ok()?)),
    };
    Some((text.to_owned(), told))
}

#[test]
#[ignore = "the process that other tests start and stop"]
fn node() {
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    let (brokers, name) = (of("ANNALS_TEST_BROKERS"), of("ANNALS_TEST_NODE"));
    if brokers.is_empty() {
        return; // run by itself, with other ignored tests
    }
    let log =
        open(hasty(&brokers, &of("ANNALS_TEST_PREFIX"), of("ANNALS_TEST_REPLICA").into()), None).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let told_to_stop = Arc::clone(&stop);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        told_to_stop.store(true, Ordering::Relaxed);
    });
    let load = Load {
        once: !of("ANNALS_TEST_ONCE").is_empty(),
        reign_max: if of("ANNALS_TEST_ONCE").is_empty() { 400 } else { u64::MAX },
        // It may be stopped in the middle of a call.
        patience: [Duration::from_secs(60); 2],
        ..Load::new(&name, u64::from(std::process::id()))
    };
    load.run(&log, ZERO, &stop, &mut |text, told| {
        let told = match told {
            Told::Written(offset) => offset.to_string(),
            Told::Fenced => "fenced".to_owned(),
            Told::Unknown => "unknown".to_owned(),
        };
        std::io::stdout().lock().write_all(format!("told {told} {text}\n").as_bytes()).unwrap();
    });
}

#[test]
fn a_zombie_gets_nothing_accepted() {
    let Some(kafka) = shared_kafka("processes::a_zombie_gets_nothing_accepted") else { return };
    let directory = tempfile::tempdir().unwrap();
    let prefix = prefix();
    let at = |name: &str| hasty(kafka.bootstrap(), &prefix, directory.path().join(name));
    let log = open(at("own"), None).unwrap();
    let mut outcomes = Outcomes::new();
    // Stopped for longer than the message timeout, and for shorter: then what is in flight is still sent.
    for (round, stopped) in [2_500, 300, 4_000, 1_000].into_iter().enumerate() {
        let name = format!("zombie{round}");
        let zombie = Node::start(kafka, &prefix, &directory.path().join(&name), &name, true);
        zombie.wait(300, &mut outcomes);
        zombie.signal(Signal::STOP);
        let writer = claim(&log, ZERO);
        for n in 0..50 {
            let text = format!("own-{round}-{n}");
            let offset = put(&*writer, &text);
            outcomes.insert(text, Told::Written(offset));
        }
        std::thread::sleep(Duration::from_millis(stopped));
        zombie.signal(Signal::CONT);
        // It goes on until it is told that its claim is over.
        std::thread::sleep(Duration::from_millis(700));
        let mut told = Outcomes::new();
        zombie.end(&mut told);
        let late: Vec<_> =
            told.values().filter(|told| **told == Told::Unknown || **told == Told::Fenced).collect();
        assert!(!late.is_empty(), "nothing was in flight");
        outcomes.extend(told);
        put_own(&mut outcomes, &*writer, format!("own-{round}-after"));
        let accepted_late = read_all(&log, ZERO).into_iter().filter(|record| {
            record.offset.0 > writer.epoch().0 && record.envelope.starts_with(name.as_bytes())
        });
        assert_eq!(accepted_late.count(), 0, "the zombie's records were accepted");
    }
    eprintln!("(written, fenced, unknown): {:?}", counts(&outcomes));
    let fresh = KafkaLog::follow(at("fresh"), "contract", None).unwrap();
    check(&outcomes, &[&log, &fresh], ZERO);
}

fn put_own(outcomes: &mut Outcomes, writer: &dyn annals_log::Writer, text: String) {
    let offset = put(writer, &text);
    outcomes.insert(text, Told::Written(offset));
}

#[test]
fn contending_processes_agree_on_one_history() {
    let Some(kafka) = shared_kafka("processes::contending_processes_agree_on_one_history") else { return };
    let rounds = 3;
    contend(kafka, rounds, seed(17));
}

/// Three nodes contend; in each round one is stopped for a while, and one is killed and comes back.
fn contend(kafka: &Kafka, rounds: u64, seed: u64) {
    let directory = tempfile::tempdir().unwrap();
    let prefix = prefix();
    let log = open(hasty(kafka.bootstrap(), &prefix, directory.path().join("own")), None).unwrap();
    let start = |n: u64, life: u64| {
        let name = format!("n{n}.{life}");
        Node::start(kafka, &prefix, &directory.path().join(format!("n{n}")), &name, false)
    };
    let mut nodes: BTreeMap<u64, Node> = (0..3).map(|n| (n, start(n, 0))).collect();
    let mut outcomes = Outcomes::new();
    for round in 0..rounds {
        for node in nodes.values() {
            node.wait(100, &mut outcomes);
        }
        let (stopped, killed) = ((seed + round) % 3, (seed + round + 1) % 3);
        nodes[&stopped].signal(Signal::STOP);
        let mut dead = nodes.remove(&killed).unwrap();
        dead.process.kill().unwrap();
        dead.process.wait().unwrap();
        while let Ok(line) = dead.lines.recv_timeout(Duration::from_secs(1)) {
            outcomes.extend(parse(&line));
        }
        std::thread::sleep(Duration::from_millis(if round % 2 == 0 { 500 } else { 2_500 }));
        nodes.insert(killed, start(killed, round + 1));
        nodes[&stopped].signal(Signal::CONT);
    }
    for (_, node) in nodes {
        node.end(&mut outcomes);
    }
    eprintln!("(written, fenced, unknown): {:?}", counts(&outcomes));
    let fresh =
        KafkaLog::follow(hasty(kafka.bootstrap(), &prefix, directory.path().join("fresh")), "contract", None);
    let fresh = fresh.unwrap();
    // What a killed node had in flight, nobody was told of.
    for record in read_all(&fresh, ZERO).into_iter().filter(|record| record.envelope.starts_with(b"n")) {
        let text = String::from_utf8_lossy(&record.envelope).into_owned();
        if record.header != annals_core::envelope::Header::Claim {
            outcomes.entry(text).or_insert(Told::Unknown);
        }
    }
    check(&outcomes, &[&log, &fresh], ZERO);
}
