//! Who takes the reports: those who wait for a record, or nobody but the producer's own thread.

use std::time::Instant;

use annals_log::Log as _;
use annals_services::shared_kafka;

use crate::support::{PROMPT, ZERO, append, claim, open, prefix, put, settings, texts, wait_for};

#[test]
fn what_nobody_waits_for_is_committed() {
    let Some(kafka) = shared_kafka("waiting::what_nobody_waits_for_is_committed") else { return };
    let directory = tempfile::tempdir().unwrap();
    let log = open(settings(kafka, &prefix(), &directory.path().join("a")), None).unwrap();
    let writer = claim(&log, ZERO);
    let mut all = Vec::new();
    // One, those that go at once, and those that wait for these; after a rest, and right after one that was waited for.
    for count in [1, 5, 6, 300] {
        for waited_for in [false, true] {
            match waited_for {
                true => {
                    all.push(format!("{count} waited for"));
                    put(&*writer, &format!("{count} waited for"));
                }
                false => std::thread::sleep(std::time::Duration::from_millis(300)),
            }
            let end = log.end(ZERO);
            for n in 0..count {
                let text = format!("{count}-{waited_for}-{n}");
                append(&*writer, &text);
                all.push(text);
            }
            let began = Instant::now();
            wait_for("the records that nobody waits for", PROMPT, || log.end(ZERO).0 >= end.0 + count);
            eprintln!("{count} records: {:?}", began.elapsed());
        }
    }
    assert_eq!(texts(&log, ZERO), all);
}

#[test]
fn all_who_wait_are_woken() {
    const THREADS: u64 = 24;
    const EACH: u64 = 100;
    let Some(kafka) = shared_kafka("waiting::all_who_wait_are_woken") else { return };
    let directory = tempfile::tempdir().unwrap();
    let log = open(settings(kafka, &prefix(), &directory.path().join("a")), None).unwrap();
    let writer = claim(&log, ZERO);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let writer = &writer;
            scope.spawn(move || {
                for n in 0..EACH {
                    put(&**writer, &format!("{thread}-{n}"));
                }
            });
        }
    });
    eprintln!("{} records: {:?}", THREADS * EACH, began.elapsed());
    assert_eq!(texts(&log, ZERO).len() as u64, THREADS * EACH);
}
