//! Real brokers: started, killed, frozen, started again; skipped where there is no Java or Maven.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::{Duration, Instant};

use annals_services::{Kafka, Nodes, ServiceError, Services, kafka_for, or_skip, shared_kafka};

const LIMIT: Duration = Duration::from_secs(60);
/// An envelope may have as much.
const RECORD_BYTES: u32 = 8 << 20;
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

fn topics(kafka: &Kafka, arguments: &[&str]) -> String {
    let all = [&["--bootstrap-server", kafka.bootstrap()], arguments].concat();
    kafka.tool(TOPICS, &all).unwrap()
}

/// Acknowledged records of the largest size that brokers are to take.
fn produce(kafka: &Kafka, topic: &str, records: u32) {
    let arguments =
        format!("--topic {topic} --num-records {records} --record-size {RECORD_BYTES} --throughput -1");
    let client = format!("bootstrap.servers={}", kafka.bootstrap());
    let client = ["--command-property", &client, "acks=all", "max.request.size=9000000"];
    let all: Vec<_> = arguments.split(' ').chain(client).collect();
    kafka.tool("org.apache.kafka.tools.ProducerPerformance", &all).unwrap();
}

/// Where the partitions of a topic end, as `topic:partition:offset` by line.
fn ends(kafka: &Kafka, topic: &str) -> String {
    let arguments = ["--bootstrap-server", kafka.bootstrap(), "--topic", topic];
    kafka.tool("org.apache.kafka.tools.GetOffsetShell", &arguments).unwrap().trim().to_owned()
}

#[test]
fn a_broker_comes_back_with_its_data() {
    let Some(kafka) = kafka_for("a_broker_comes_back_with_its_data", Nodes::One) else { return };
    assert_eq!(kafka.url(), format!("kafka://{}", kafka.bootstrap()));
    topics(&kafka, &["--create", "--topic", "kept", "--partitions", "1"]);
    produce(&kafka, "kept", 3);

    kafka.kill(1).unwrap();
    kafka.kill(1).unwrap();
    assert!(matches!(kafka.pause(1), Err(ServiceError::NotRunning { node: 1 })));
    kafka.start_node(1).unwrap();
    kafka.wait_ready(LIMIT).unwrap();
    assert_eq!(ends(&kafka, "kept"), "kept:0:3");

    kafka.stop(1).unwrap();
    kafka.start_node(1).unwrap();
    kafka.start_node(1).unwrap();
    kafka.wait_ready(LIMIT).unwrap();

    kafka.pause(1).unwrap();
    kafka.wait_ready(Duration::ZERO).unwrap();
    kafka.resume(1).unwrap();
    kafka.wait_ready(LIMIT).unwrap();

    let directory = kafka.directory().to_owned();
    assert!(directory.join("node-1/broker.log").is_file());
    drop(kafka);
    assert_eq!(directory.exists(), std::env::var_os("ANNALS_KEEP").is_some());
}

#[test]
fn three_nodes_come_up_and_one_may_go() {
    let begun = Instant::now();
    let Some(kafka) = kafka_for("three_nodes_come_up_and_one_may_go", Nodes::Three) else { return };
    println!("three nodes were ready after {:?}", begun.elapsed());
    assert_eq!(kafka.bootstrap().split(',').count(), 3);
    assert!(matches!(kafka.kill(4), Err(ServiceError::NoSuchNode { node: 4, nodes: 3 })));

    kafka.kill(3).unwrap();
    kafka.wait_ready(LIMIT).unwrap();
    kafka.start_node(3).unwrap();
    kafka.wait_ready(LIMIT).unwrap();

    topics(&kafka, &["--create", "--topic", "spread", "--partitions", "1"]);
    let described = topics(&kafka, &["--describe", "--topic", "spread"]);
    assert!(described.contains("ReplicationFactor: 3"), "{described}");
    assert!(described.contains("min.insync.replicas=2"), "{described}");
}

#[test]
fn a_broker_that_ends_by_itself_is_reported_with_its_log() {
    match Kafka::start_with(Nodes::One, &[("num.io.threads", "none")]) {
        Err(ServiceError::Exited { node: 1, tail, .. }) => assert!(tail.contains("num.io.threads"), "{tail}"),
        other => {
            let test = "a_broker_that_ends_by_itself_is_reported_with_its_log";
            assert!(or_skip(test, other).is_none(), "it must not start");
        }
    }
}

#[test]
fn tests_of_one_process_share_a_broker() {
    let Some(kafka) = shared_kafka("tests_of_one_process_share_a_broker") else { return };
    let again = shared_kafka("tests_of_one_process_share_a_broker").unwrap();
    assert!(std::ptr::eq(kafka, again));
    kafka.wait_ready(LIMIT).unwrap();
}

#[test]
fn services_outlive_their_starter_and_go_down() {
    let directory = tempfile::tempdir().unwrap();
    let services = Services::in_directory(directory.path());
    assert_eq!(services.down().unwrap(), [""; 0]);
    let started = services.up_kafka(Nodes::One);
    let Some(up) = or_skip("services_outlive_their_starter_and_go_down", started) else { return };
    assert!(!up.was_up && up.directory.join("node-1/broker.log").is_file());

    let again = services.up_kafka(Nodes::One).unwrap();
    assert!(again.was_up && again.url == up.url);
    let other = services.up_kafka(Nodes::Three);
    assert!(matches!(other, Err(ServiceError::OtherwiseUp { nodes: 1, .. })), "{other:?}");

    assert_eq!(services.down().unwrap(), [up.url]);
    assert!(!up.directory.exists());
    assert_eq!(services.down().unwrap(), [""; 0]);
}
