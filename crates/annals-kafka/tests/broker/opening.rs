//! Opening a log on a topic that is not as it should be: a clear error at start, and nothing else.

use annals_core::Offset;
use annals_kafka::{KafkaLog, OpenError, Settings};
use annals_log::{ClaimError, Log as _, ReadError};
use annals_services::{Kafka, shared_kafka};

use crate::hand::Hand;
use crate::support::{PROMPT, ZERO, claim, claimant, open, prefix, put, settings, texts, wait_for};

/// The settings of a log that is not there yet, its topic, and a directory for replicas.
fn fresh(kafka: &Kafka) -> (Settings, String, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(kafka, &prefix(), &directory.path().join("replica"));
    let topic = settings.journal("contract");
    (settings, topic, directory)
}

fn refused(settings: &Settings, shards: Option<u32>) -> OpenError {
    let error = open(settings.clone(), shards).map(|_| ()).expect_err("the log was opened");
    eprintln!("{error}");
    error
}

#[test]
fn settings_that_lose_data_are_refused() {
    let Some(kafka) = shared_kafka("opening::settings_that_lose_data_are_refused") else { return };
    let cases = [
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
        ("retention.ms", "604800000"),
        ("retention.bytes", "1000000000"),
        ("unclean.leader.election.enable", "true"),
        ("max.message.bytes", "1048588"),
    ];
    for (name, value) in cases {
        let (settings, topic, _directory) = fresh(kafka);
        Hand::at(kafka).make(&topic, 1, &[(name, value)]);
        let error = refused(&settings, None);
        let OpenError::Unsafe { setting, found, .. } = &error else { panic!("{name}={value}: {error}") };
        assert_eq!((*setting, found.contains(value)), (name, true), "{error}");
        assert!(error.to_string().contains(&format!("{topic} has {name}={found}")), "{error}");
    }
}

#[test]
fn a_topic_that_is_not_there_is_named() {
    let Some(kafka) = shared_kafka("opening::a_topic_that_is_not_there_is_named") else { return };
    let (settings, topic, _directory) = fresh(kafka);
    let error = KafkaLog::follow(settings, "contract", None).map(|_| ()).unwrap_err();
    assert!(matches!(&error, OpenError::NoJournal { topic: named, .. } if *named == topic), "{error}");
}

#[test]
fn no_broker_is_named() {
    let directory = tempfile::tempdir().unwrap();
    // A port that is taken by nobody who speaks Kafka.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let settings = Settings {
        open_timeout: std::time::Duration::from_secs(2),
        ..Settings::new(&address, directory.path().join("replica"))
    };
    for listens in [true, false] {
        let error = refused(&settings, None);
        assert!(matches!(error, OpenError::Unreachable { .. }), "listens {listens}: {error}");
        assert!(error.to_string().contains(&address), "{error}");
        if listens {
            let _ = silent.set_nonblocking(true);
        }
    }
    assert!(!directory.path().join("replica").exists(), "nothing was made here");
}

#[test]
fn an_empty_topic_made_by_hand_becomes_a_log() {
    let Some(kafka) = shared_kafka("opening::an_empty_topic_made_by_hand_becomes_a_log") else { return };
    let (settings, topic, _directory) = fresh(kafka);
    Hand::at(kafka).make(&topic, 3, &[]);
    let error = KafkaLog::follow(settings.clone(), "contract", None).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("open the log for writing once"), "{error}");
    assert!(matches!(refused(&settings, Some(2)), OpenError::OtherShards { found: 3, wanted: 2, .. }));
    let log = open(settings, None).unwrap();
    assert_eq!(log.identity().shards, 3);
    assert_eq!(put(&*claim(&log, ZERO), "x"), Offset(2));
}

#[test]
fn partitions_added_behind_our_back_are_noticed() {
    let Some(kafka) = shared_kafka("opening::partitions_added_behind_our_back_are_noticed") else { return };
    let (settings, topic, _directory) = fresh(kafka);
    let log = open(settings.clone(), Some(2)).unwrap();
    let writer = claim(&log, ZERO);
    Hand::at(kafka).add_partitions(&topic, 3);
    put(&*writer, "a running node is not hurt");
    drop((writer, log));
    let error = refused(&settings, None);
    assert!(matches!(error, OpenError::NotAJournal { shard: ZERO, .. }), "{error}");
    assert!(error.to_string().contains("of 2 by murmur2, the topic has 3 partitions"), "{error}");
}

#[test]
fn a_journal_without_its_beginning_is_refused() {
    let Some(kafka) = shared_kafka("opening::a_journal_without_its_beginning_is_refused") else { return };
    let (settings, topic, _directory) = fresh(kafka);
    let log = open(settings.clone(), None).unwrap();
    put(&*claim(&log, ZERO), "kept");
    Hand::at(kafka).delete_before(&topic, 2);
    assert_eq!(texts(&log, ZERO), ["kept"], "the replica has it");
    drop(log);
    let error = refused(&settings, None);
    assert!(error.to_string().contains("it begins at offset 2: what was before was deleted"), "{error}");
}

#[test]
fn what_is_no_journal_is_refused() {
    let Some(kafka) = shared_kafka("opening::what_is_no_journal_is_refused") else { return };
    let hand = Hand::at(kafka);
    for (header, value, said) in [
        (None, &b"something"[..], "record 0 is not a genesis"),
        (Some(("annals", &[2][..])), b"a claim", "record 0 is not a genesis"),
        (Some(("annals", &[1])), b"\xff\xff\xff", "its genesis cannot be read"),
    ] {
        let (settings, topic, _directory) = fresh(kafka);
        hand.make(&topic, 1, &[]);
        hand.write(&topic, header, value);
        let error = refused(&settings, None);
        assert!(matches!(error, OpenError::NotAJournal { shard: ZERO, .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn another_context_or_log_is_told_apart() {
    let Some(kafka) = shared_kafka("opening::another_context_or_log_is_told_apart") else { return };
    let hand = Hand::at(kafka);
    let (settings, topic, directory) = fresh(kafka);
    let log = open(settings.clone(), Some(2)).unwrap();
    let genesis =
        |shard| log.read(annals_core::ShardId(shard), Offset(0), 0).unwrap().records.remove(0).envelope;
    let other = Settings { replica: directory.path().join("other"), ..settings.clone() };
    let name = other.journal("other");
    let header = Some(("annals", &[1_u8][..]));
    hand.make(&name, 2, &[]);
    hand.write(&name, header, &genesis(0));
    let made = || (log.identity().log_id, log.identity().created_at);
    let error = KafkaLog::open_or_create(other, "other", None, made).map(|_| ()).unwrap_err();
    assert!(matches!(&error, OpenError::OtherContext { found, .. } if found == "contract"), "{error}");

    // The second partition of another log behind the first one of this.
    let (mixed, topic_mixed, _directory) = fresh(kafka);
    hand.make(&topic_mixed, 2, &[]);
    hand.write(&topic_mixed, header, &genesis(0));
    let (another, _, _other_directory) = fresh(kafka);
    let another = open(another, Some(2)).unwrap();
    let foreign = another.read(annals_core::ShardId(1), Offset(0), 0).unwrap().records.remove(0).envelope;
    hand.write_all(&hand.producer(&[]), &topic_mixed, 1, &[(header, &foreign)]);
    let error = refused(&mixed, None);
    assert!(matches!(error, OpenError::NotAJournal { shard: annals_core::ShardId(1), .. }), "{error}");
    assert!(
        error.to_string().contains(&format!("it belongs to log {}", another.identity().log_id)),
        "{error}"
    );
    assert_ne!(topic, topic_mixed);
}

#[test]
fn nodes_that_make_a_log_at_the_same_time_make_one() {
    let Some(kafka) = shared_kafka("opening::nodes_that_make_a_log_at_the_same_time_make_one") else {
        return;
    };
    for _ in 0..3 {
        let (settings, _, directory) = fresh(kafka);
        let logs: Vec<_> = std::thread::scope(|scope| {
            let open_one = |n: i32| {
                let settings = Settings { replica: directory.path().join(n.to_string()), ..settings.clone() };
                scope.spawn(move || open(settings, Some(3)).unwrap())
            };
            let threads: Vec<_> = (0..3).map(open_one).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(logs.iter().all(|log| log.identity() == logs[0].identity()), "they agree on the log");
        let writer = claim(&logs[1], ZERO);
        let offset = put(&*writer, "x");
        for log in &logs {
            assert!(log.wait(ZERO, offset, PROMPT) > offset);
            assert_eq!(texts(log, ZERO), ["x"]);
        }
    }
}

#[test]
fn a_half_made_log_is_completed() {
    let Some(kafka) = shared_kafka("opening::a_half_made_log_is_completed") else { return };
    let (settings, topic, directory) = fresh(kafka);
    let log = open(settings.clone(), Some(3)).unwrap();
    let genesis = log.read(ZERO, Offset(0), 0).unwrap().records.remove(0).envelope;
    let identity = log.identity().clone();
    drop(log);
    let hand = Hand::at(kafka);
    hand.delete(&topic);
    std::thread::sleep(std::time::Duration::from_millis(500));
    hand.make(&topic, 3, &[]);
    hand.write(&topic, Some(("annals", &[1])), &genesis);
    let other = Settings { replica: directory.path().join("other"), ..settings };
    let error = KafkaLog::follow(other.clone(), "contract", None).map(|_| ()).unwrap_err();
    let unfinished = OpenError::Unfinished { topic, shard: annals_core::ShardId(1) };
    assert_eq!(error.to_string(), unfinished.to_string());
    let log = open(other, None).unwrap();
    assert_eq!(*log.identity(), identity, "the log that was begun");
    put(&*claim(&log, annals_core::ShardId(2)), "x");
}

#[test]
fn a_topic_made_anew_under_a_running_node_stops_it() {
    let Some(kafka) = shared_kafka("opening::a_topic_made_anew_under_a_running_node_stops_it") else {
        return;
    };
    let hand = Hand::at(kafka);
    // Shorter and longer than what the nodes know, with and without a genesis.
    for records in [0, 1, 50] {
        let (settings, topic, directory) = fresh(kafka);
        let owner = open(settings.clone(), None).unwrap();
        let other = Settings { replica: directory.path().join("follower"), ..settings.clone() };
        let follower = KafkaLog::follow(other, "contract", None).unwrap();
        let offset = put(&*claim(&owner, ZERO), "old");
        follower.wait(ZERO, offset, PROMPT);
        hand.delete(&topic);
        std::thread::sleep(std::time::Duration::from_millis(300));
        hand.make(&topic, 1, &[]);
        let producer = hand.producer(&[]);
        let header = Some(("annals", &[2_u8][..]));
        hand.write_all(&producer, &topic, 0, &vec![(header, &b"new"[..]); records]);
        for log in [&owner, &follower] {
            wait_for("the node notices", PROMPT, || {
                matches!(log.read(ZERO, Offset(0), 0), Err(ReadError::Damaged { .. }))
            });
        }
        assert!(matches!(owner.claim(ZERO, &claimant("x")), Err(ClaimError::Broken(_))));
    }
}
