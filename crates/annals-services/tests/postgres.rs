//! A real PostgreSQL server: started, killed, started again; skipped where there is no Java or Maven.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::TcpStream;

use annals_services::{Postgres, ServiceError, Services, or_skip, postgres_for, shared_postgres};

/// What a database's address begins with.
fn address(url: &str) -> &str {
    let (_, rest) = url.split_once('@').unwrap();
    rest.split_once('/').unwrap().0
}

fn is_up(url: &str) -> bool {
    TcpStream::connect(address(url)).is_ok()
}

#[test]
fn a_server_comes_back_with_its_data() {
    let Some(postgres) = postgres_for("a_server_comes_back_with_its_data") else { return };
    let url = postgres.url().to_owned();
    let made = postgres.database("Kept, \"quoted\"").unwrap();
    assert!(made.starts_with(&format!("postgres://postgres@{}/eptquoted_", address(&url))), "{made}");
    let name = made.rsplit_once('/').unwrap().1;
    let is_there = || match postgres.execute(&format!("CREATE DATABASE \"{name}\"")) {
        Err(ServiceError::Refused { reason, .. }) => reason.contains("already exists"),
        other => panic!("{other:?}"),
    };

    postgres.kill();
    assert!(!is_up(&url));
    postgres.kill();
    assert!(matches!(postgres.disconnect(), Err(ServiceError::NotRunning { node: 1 })));
    postgres.start_again().unwrap();
    assert!(is_there());

    postgres.stop().unwrap();
    assert!(!is_up(&url));
    postgres.stop().unwrap();
    postgres.start_again().unwrap();
    postgres.start_again().unwrap();
    assert!(is_there());
    postgres.disconnect().unwrap();

    let directory = postgres.directory().to_owned();
    assert!(postgres.log_file().is_file());
    drop(postgres);
    assert!(!is_up(&url));
    assert_eq!(directory.exists(), std::env::var_os("ANNALS_KEEP").is_some());
}

#[test]
fn a_server_that_ends_by_itself_is_reported_with_its_log() {
    match Postgres::start_with(&[("shared_buffers", "none")]) {
        Err(ServiceError::Exited { tail, .. }) => assert!(tail.contains("shared_buffers"), "{tail}"),
        other => {
            let test = "a_server_that_ends_by_itself_is_reported_with_its_log";
            assert!(or_skip(test, other).is_none(), "it must not start");
        }
    }
}

#[test]
fn tests_share_a_server_and_no_database() {
    let test = "tests_share_a_server_and_no_database";
    let Some(one) = shared_postgres(test) else { return };
    let other = shared_postgres(test).unwrap();
    assert_eq!(address(&one), address(&other));
    assert_ne!(one, other);
}

#[test]
fn a_server_outlives_its_starter_and_goes_down() {
    let directory = tempfile::tempdir().unwrap();
    let services = Services::in_directory(directory.path());
    assert_eq!(services.down().unwrap(), [""; 0]);
    let started = services.up_postgres();
    let Some(up) = or_skip("a_server_outlives_its_starter_and_goes_down", started) else { return };
    assert!(!up.was_up && up.directory.join("postgres.log").is_file() && is_up(&up.url));
    let again = services.up_postgres().unwrap();
    assert!(again.was_up && again.url == up.url);
    assert_eq!(services.down().unwrap(), std::slice::from_ref(&up.url));
    assert!(!up.directory.exists() && !is_up(&up.url));
    assert_eq!(services.down().unwrap(), [""; 0]);
}
