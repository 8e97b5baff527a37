//! Records that are not ours in the journal: kept with their offset, ignored, and never in the way.

use annals_core::Offset;
use annals_core::envelope::Header;
use annals_kafka::KafkaLog;
use annals_log::Log as _;
use annals_services::shared_kafka;

use crate::hand::{Hand, Written};
use crate::support::{PROMPT, ZERO, claim, open, prefix, put, read_all, settings, texts, wait_for};

#[test]
fn foreign_records_are_kept_and_ignored() {
    let Some(kafka) = shared_kafka("foreign::foreign_records_are_kept_and_ignored") else { return };
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(kafka, &prefix(), &directory.path().join("a"));
    let log = open(settings.clone(), Some(1)).unwrap();
    let writer = claim(&log, ZERO);
    assert_eq!(put(&*writer, "first"), Offset(2));
    let hand = Hand::at(kafka);
    let huge = vec![7; 9_000_000];
    let strange: [Written<'_>; 7] = [
        (None, b"no header"),
        (Some(("annals", b"")), b"an empty header"),
        (Some(("annals", &[9, 9])), b"a header of no kind"),
        (Some(("annals", &[3, 1, 0, 0])), b"a header with a byte too many"),
        (Some(("other", &[3, 1, 0])), b"another header"),
        (None, b""),
        (None, &huge),
    ];
    hand.write_all(&hand.producer(&[]), log.topic(), 0, &strange);
    assert_eq!(put(&*writer, "second"), Offset(10), "the owner sees them as a gap and goes on");
    assert_eq!(texts(&log, ZERO), ["first", "second"]);
    assert_eq!(read_all(&log, ZERO).len(), 4, "none of them is read");

    let other = annals_kafka::Settings { replica: directory.path().join("b"), ..settings };
    let follower = KafkaLog::follow(other, "contract", None).unwrap();
    assert_eq!(read_all(&follower, ZERO), read_all(&log, ZERO));
    assert_eq!(follower.end(ZERO), Offset(11));
}

#[test]
fn codecs_that_are_not_known_here_are_undone_by_the_broker() {
    let Some(kafka) = shared_kafka("foreign::codecs") else { return };
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(kafka, &prefix(), &directory.path().join("a"));
    let log = open(settings, Some(1)).unwrap();
    for codec in ["gzip", "zstd", "lz4", "snappy"] {
        let (bootstrap, codec) =
            (format!("bootstrap.servers={}", kafka.bootstrap()), format!("compression.type={codec}"));
        let arguments =
            ["--topic", log.topic(), "--num-records", "5", "--record-size", "100", "--throughput", "-1"];
        let properties = ["--producer-props", &bootstrap, &codec];
        kafka
            .tool("org.apache.kafka.tools.ProducerPerformance", &[&arguments[..], &properties].concat())
            .unwrap();
    }
    let writer = claim(&log, ZERO);
    assert_eq!(put(&*writer, "own"), Offset(22));
    assert_eq!(texts(&log, ZERO), ["own"]);
}

/// The mark at the end of a transaction takes an offset and is given to no reader. It stood at the end of a journal,
/// which could not be opened then until somebody wrote another record.
#[test]
fn transactions_leave_gaps() {
    let Some(kafka) = shared_kafka("foreign::transactions_leave_gaps") else { return };
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(kafka, &prefix(), &directory.path().join("a"));
    let log = open(settings.clone(), Some(1)).unwrap();
    let hand = Hand::at(kafka);
    let writer = claim(&log, ZERO);
    put(&*writer, "first");
    hand.transaction(log.topic(), 0, &[b"x", b"y"], true);
    hand.transaction(log.topic(), 0, &[b"z"], false);
    // The broker writes it a moment later.
    wait_for("the owner sees the mark at the end", PROMPT, || log.end(ZERO) == Offset(8));
    assert_eq!(put(&*writer, "second"), Offset(8), "x, y, mark, z, mark");
    hand.transaction(log.topic(), 0, &[b"x"], true);
    wait_for("the owner sees the mark at the end", PROMPT, || log.end(ZERO) == Offset(11));
    assert_eq!(put(&*writer, "third"), Offset(11));
    hand.transaction(log.topic(), 0, &[b"x"], false);
    wait_for("the last mark", PROMPT, || log.end(ZERO) == Offset(14));
    drop(log);

    for replica in ["a", "b"] {
        let settings = annals_kafka::Settings { replica: directory.path().join(replica), ..settings.clone() };
        let log = open(settings.clone(), None).unwrap();
        assert_eq!(log.end(ZERO), Offset(14), "up to and including the last mark");
        drop(log);
        let log = open(settings, None).unwrap();
        assert_eq!(texts(&log, ZERO), ["first", "second", "third"]);
        let records = read_all(&log, ZERO).into_iter().map(|record| record.header);
        assert_eq!(records.filter(|header| *header == Header::Foreign).count(), 0);
        if replica == "b" {
            let writer = claim(&log, ZERO);
            assert_eq!(put(&*writer, "fourth"), Offset(15));
        }
    }
}
