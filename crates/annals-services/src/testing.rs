//! Servers for tests: skipped aloud where they can't be had, one of a kind for all tests that need no more.
//!
//! Only what is not installed lets a test be skipped, and never where the environment variable `CI` is set: there a
//! skip would pass for a proof. Everything else that goes wrong fails the test.

#![allow(clippy::panic, reason = "a test that can't have its server has failed")]

use std::io::Write as _;
use std::sync::OnceLock;

use crate::error::ServiceError;
use crate::kafka::{Kafka, Nodes};
use crate::postgres::Postgres;

/// A cluster for one test, to be ill-treated; `None` where Java or Maven is missing, which is said aloud.
///
/// ```no_run
/// # use annals_services::{Nodes, kafka_for};
/// let Some(kafka) = kafka_for("survives_the_leader", Nodes::Three) else { return };
/// kafka.kill(2).unwrap();
/// ```
///
/// # Panics
///
/// When it does not start, and when `CI` is set and Java or Maven is missing.
pub fn kafka_for(test: &str, nodes: Nodes) -> Option<Kafka> {
    or_skip(test, Kafka::start(nodes))
}

/// The service, or `None` where something is not installed, which is said aloud.
///
/// For a service that is started in another way than [`kafka_for`] does, such as with [`Kafka::start_with`].
///
/// # Panics
///
/// When it did not start, and when `CI` is set and something is not installed.
pub fn or_skip<S>(test: &str, started: Result<S, ServiceError>) -> Option<S> {
    started.map_err(|e| refuse(test, &e)).ok()
}

/// The broker that all tests of this process share, started by the first; `None` as for [`kafka_for`].
///
/// Tests on it keep apart by topics of their own, and neither kill nor pause it. It ends with the process, and the next
/// cluster that is started anywhere removes its data.
///
/// # Panics
///
/// As [`kafka_for`].
pub fn shared_kafka(test: &str) -> Option<&'static Kafka> {
    static SHARED: OnceLock<Result<Kafka, ServiceError>> = OnceLock::new();
    SHARED.get_or_init(|| Kafka::start(Nodes::One)).as_ref().map_err(|e| refuse(test, e)).ok()
}

/// A PostgreSQL server for one test, to be ill-treated; `None` as for [`kafka_for`].
///
/// # Panics
///
/// As [`kafka_for`].
pub fn postgres_for(test: &str) -> Option<Postgres> {
    or_skip(test, Postgres::start())
}

/// The address of a new database on the server that all tests of this process share, started by the first; `None` as
/// for [`kafka_for`].
///
/// Nothing on that server is synced, so that databases are made quickly. Tests neither kill nor stop it; it ends with
/// the process.
///
/// # Panics
///
/// As [`kafka_for`], and when the database can't be made.
pub fn shared_postgres(test: &str) -> Option<String> {
    static SHARED: OnceLock<Result<Postgres, ServiceError>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| Postgres::start_with(&[("fsync", "off")]));
    let made = shared.as_ref().map(|postgres| postgres.database(test));
    match made {
        Ok(Ok(url)) => Some(url),
        Ok(Err(e)) => panic!("{test}: {e}"),
        Err(e) => {
            refuse(test, e);
            None
        }
    }
}

fn refuse(test: &str, e: &ServiceError) {
    if !e.is_not_installed() {
        panic!("{test}: {e}");
    }
    if std::env::var_os("CI").is_some() {
        panic!("{test} may not be skipped where CI is set: {e}");
    }
    // Not `eprintln!`: the test harness would keep that to itself, as the test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {e}");
}
