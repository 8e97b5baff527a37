//! Brokers that are stopped, killed and paused under load: nobody waits for ever, memory is bounded, and everything
//! goes on by itself.

use std::time::{Duration, Instant};

use annals_kafka::{KafkaLog, Settings};
use annals_services::{Kafka, Nodes, kafka_for};

use crate::load::{Load, Progress, check, counts, run_all, seed, within};
use crate::support::{ZERO, append, claimant, open, prefix, put, settings, wait_for};
use annals_core::ShardId;
use annals_log::{AppendError, Log as _};

const START: Duration = Duration::from_secs(120);

fn hasty(kafka: &Kafka, prefix: &str, replica: &std::path::Path) -> Settings {
    Settings {
        message_timeout: Duration::from_secs(2),
        claim_timeout: Duration::from_secs(3),
        ..settings(kafka, prefix, replica)
    }
}

/// Memory of this process, in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn goes_on(progress: &Progress, within: Duration) {
    let before = progress.written();
    let began = Instant::now();
    wait_for("records are written again", within, || progress.written() > before + 100);
    eprintln!("goes on after {:?}", began.elapsed());
}

#[test]
fn a_broker_that_is_down_for_a_while() {
    down_for("outage::a_broker_that_is_down_for_a_while", Duration::from_secs(8));
}

#[test]
#[ignore = "the long form: a minute without a broker"]
fn a_broker_that_is_down_for_a_minute() {
    down_for("outage::a_broker_that_is_down_for_a_minute", Duration::from_secs(60));
}

fn down_for(test: &str, down: Duration) {
    let Some(kafka) = kafka_for(test, Nodes::One) else { return };
    let directory = tempfile::tempdir().unwrap();
    let prefix = prefix();
    let logs =
        ["a", "b"].map(|name| open(hasty(&kafka, &prefix, &directory.path().join(name)), Some(2)).unwrap());
    // A claim of its own on the other shard: whoever is between two claims when the broker goes is told of nothing.
    let bystander = crate::support::claim(&logs[0], ShardId(1));
    put(&*bystander, "before");
    // Far more in flight than an engine lets in.
    let load = |name: &str, n| Load { in_flight: 5_000, reign_max: 100_000, ..Load::new(name, seed(7) + n) };
    let loads = [(load("a", 0), &logs[0], ZERO), (load("b", 1), &logs[1], ZERO)];
    let outcomes = run_all(&loads, |progress| {
        goes_on(progress, Duration::from_secs(20));
        let (memory_before, threads_before) = (memory(), threads());
        kafka.stop(1).unwrap();
        let seq = append(&*bystander, "into nothing");
        let told = within(Duration::from_secs(9), "a commit without a broker", || bystander.commit(seq));
        assert!(matches!(told, Err(AppendError::OutcomeUnknown { .. })), "{told:?}");
        let (until, mut most) = (Instant::now() + down, 0);
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(200));
            most = most.max(memory());
        }
        eprintln!(
            "memory {memory_before} MiB, then at most {most}; threads {threads_before}, then {}",
            threads()
        );
        assert!(most < memory_before + 300, "memory grew from {memory_before} to {most} MiB");
        // Other tests have threads in this process, too.
        assert!(threads() < threads_before + 150, "threads grew from {threads_before} to {}", threads());
        kafka.start_node(1).unwrap();
        kafka.wait_ready(START).unwrap();
        goes_on(progress, Duration::from_secs(10));
    });
    eprintln!("(written, fenced, unknown): {:?}", counts(&outcomes));
    let fresh =
        KafkaLog::follow(hasty(&kafka, &prefix, &directory.path().join("fresh")), "contract", None).unwrap();
    check(&outcomes, &[&logs[0], &logs[1], &fresh], ZERO);
}

#[test]
fn a_broker_that_is_killed_and_paused() {
    ill_treated("outage::a_broker_that_is_killed_and_paused", 3);
}

#[test]
#[ignore = "the long form: many kills and pauses"]
fn a_broker_that_is_killed_and_paused_many_times() {
    let rounds = std::env::var("ANNALS_SEEDS").map_or(10, |rounds| rounds.parse().unwrap());
    ill_treated("outage::a_broker_that_is_killed_and_paused_many_times", rounds);
}

fn ill_treated(test: &str, rounds: u64) {
    let Some(kafka) = kafka_for(test, Nodes::One) else { return };
    let directory = tempfile::tempdir().unwrap();
    let prefix = prefix();
    let logs =
        ["a", "b"].map(|name| open(hasty(&kafka, &prefix, &directory.path().join(name)), None).unwrap());
    let seed = seed(11);
    let load = |n: u64| Load::new(format!("{n}"), seed + n);
    let loads = [(load(0), &logs[0], ZERO), (load(1), &logs[0], ZERO), (load(2), &logs[1], ZERO)];
    let outcomes = run_all(&loads, |progress| {
        for round in 0..rounds {
            goes_on(progress, Duration::from_secs(20));
            if round % 2 == 0 {
                kafka.kill(1).unwrap();
                std::thread::sleep(Duration::from_millis(300 * (1 + round % 4)));
                kafka.start_node(1).unwrap();
                kafka.wait_ready(START).unwrap();
            } else {
                kafka.pause(1).unwrap();
                // Shorter and longer than the message timeout.
                std::thread::sleep(Duration::from_millis(if round % 4 == 1 { 3_000 } else { 1_000 }));
                kafka.resume(1).unwrap();
            }
        }
        goes_on(progress, Duration::from_secs(20));
    });
    eprintln!("(written, fenced, unknown): {:?}", counts(&outcomes));
    let fresh =
        KafkaLog::follow(hasty(&kafka, &prefix, &directory.path().join("fresh")), "contract", None).unwrap();
    check(&outcomes, &[&logs[0], &logs[1], &fresh], ZERO);
}

#[test]
#[ignore = "the long form: three brokers whose leaders are killed and paused"]
fn leaders_that_are_killed_and_paused() {
    let rounds: u64 = std::env::var("ANNALS_SEEDS").map_or(10, |rounds| rounds.parse().unwrap());
    let Some(kafka) = kafka_for("outage::leaders_that_are_killed_and_paused", Nodes::Three) else { return };
    let directory = tempfile::tempdir().unwrap();
    let prefix = prefix();
    let logs =
        ["a", "b"].map(|name| open(hasty(&kafka, &prefix, &directory.path().join(name)), None).unwrap());
    let seed = seed(13);
    let load = |n: u64| Load::new(format!("{n}"), seed + n);
    let loads = [(load(0), &logs[0], ZERO), (load(1), &logs[0], ZERO), (load(2), &logs[1], ZERO)];
    let outcomes = run_all(&loads, |progress| {
        for round in 0..rounds {
            let node = 1 + (seed.wrapping_mul(7) + round) as u32 % 3;
            goes_on(progress, Duration::from_secs(40));
            if round % 2 == 0 {
                kafka.kill(node).unwrap();
                goes_on(progress, Duration::from_secs(40));
                kafka.start_node(node).unwrap();
                kafka.wait_ready(START).unwrap();
            } else {
                kafka.pause(node).unwrap();
                goes_on(progress, Duration::from_secs(60));
                kafka.resume(node).unwrap();
            }
        }
        goes_on(progress, Duration::from_secs(40));
    });
    eprintln!("(written, fenced, unknown): {:?}", counts(&outcomes));
    let fresh =
        KafkaLog::follow(hasty(&kafka, &prefix, &directory.path().join("fresh")), "contract", None).unwrap();
    check(&outcomes, &[&logs[0], &logs[1], &fresh], ZERO);
}

/// A commit that waited when the log was closed waited for ever.
#[test]
fn who_waits_when_the_log_is_closed_or_the_broker_is_paused_is_told() {
    let Some(kafka) = kafka_for("outage::who_waits_is_told", Nodes::One) else { return };
    let directory = tempfile::tempdir().unwrap();
    let log = open(hasty(&kafka, &prefix(), &directory.path().join("a")), Some(2)).unwrap();
    let writer = log.claim(ZERO, &claimant("a")).unwrap();
    put(&*writer, "before");
    kafka.pause(1).unwrap();
    let limit = Duration::from_secs(6);
    // In flight when no answer comes.
    let seqs: Vec<_> = (0..100).map(|n| append(&*writer, &format!("{n}"))).collect();
    within(limit, "a commit while the broker is paused", || {
        seqs.iter().for_each(|seq| assert!(writer.commit(*seq).is_err()));
    });
    within(limit, "a claim while the broker is paused", || assert!(log.claim(ZERO, &claimant("a")).is_err()));
    kafka.resume(1).unwrap();
    let writer = crate::support::claim(&log, ZERO);
    kafka.pause(1).unwrap();
    let seq = append(&*writer, "in flight");
    let waiting = std::thread::spawn({
        let writer = std::sync::Arc::clone(&writer);
        move || writer.commit(seq)
    });
    std::thread::sleep(Duration::from_millis(200));
    within(Duration::from_secs(6), "closing the log while the broker is paused", || drop(log));
    within(Duration::from_secs(1), "a commit of a closed log", || assert!(waiting.join().unwrap().is_err()));
    assert!(writer.append(annals_log::RecordKind::Record, "late".into(), Vec::new()).is_err());
    kafka.resume(1).unwrap();
}
