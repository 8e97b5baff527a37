//! Real servers for tests and tasks: Kafka brokers and PostgreSQL.
//!
//! A test gets a cluster of its own, on free ports of 127.0.0.1, with its data in a temporary folder, and may kill,
//! stop, freeze and restart each node. The cluster ends with the value, and with the test process even when that is
//! killed:
//!
//! ```no_run
//! use std::time::Duration;
//! use annals_services::{Kafka, Nodes};
//!
//! # fn run() -> Result<(), annals_services::ServiceError> {
//! let kafka = Kafka::start(Nodes::Three)?;
//! println!("{}", kafka.url()); // kafka://127.0.0.1:20000,127.0.0.1:20002,127.0.0.1:20004
//! kafka.kill(2)?;
//! kafka.start_node(2)?;
//! kafka.wait_ready(Duration::from_secs(30))?;
//! # Ok(()) }
//! ```
//!
//! [`Postgres`] is the same for one PostgreSQL server, with a database for each test.
//!
//! In tests, [`kafka_for`], [`shared_kafka`], [`postgres_for`] and [`shared_postgres`] skip aloud where Java or Maven is
//! missing. For people and benchmarks, [`Services`] starts servers that outlive the process: it is what
//! `cargo xtask services up` calls.
//!
//! What is run is Kafka and PostgreSQL themselves, from published jars, fetched once by Maven into a cache:
//! `$ANNALS_CACHE`, else `$XDG_CACHE_HOME/annals`, else `~/.cache/annals`. `ANNALS_KEEP=1` keeps the folder of a server
//! for a look at its logs.
//!
//! It is no client of either, and nothing for production: one machine, little memory, no security, data that is
//! removed.

mod account;
mod archive;
mod cache;
mod detached;
mod error;
mod install;
mod java;
mod kafka;
mod maven;
mod ports;
mod postgres;
mod process;
mod scratch;
mod testing;

pub use detached::{Services, UpKafka, UpPostgres};
pub use error::ServiceError;
pub use install::KAFKA_VERSION;
pub use kafka::{Kafka, Nodes};
pub use postgres::{POSTGRES_VERSION, Postgres};
pub use testing::{kafka_for, or_skip, postgres_for, shared_kafka, shared_postgres};
