//! Nothing is left over: a process that is killed takes its servers along, and the next one removes their data.
//!
//! The process to kill is this test binary itself, told to run the ignored test below. It is a binary of its own, so
//! that no other test sweeps the folder that is looked at.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use annals_services::{Nodes, kafka_for, postgres_for};

/// Where the process to kill says what it started, and what that is to be.
const REPORT: &str = "ANNALS_LEFT_OVER_REPORT";
const SERVICE: &str = "ANNALS_LEFT_OVER_SERVICE";

/// A server that runs: where it listens, its folder, and what keeps it.
type Started = (String, PathBuf, Box<dyn std::any::Any + Send>);

fn start(service: &str, test: &str) -> Option<Started> {
    if service == "kafka" {
        let kafka = kafka_for(test, Nodes::One)?;
        return Some((kafka.bootstrap().to_owned(), kafka.directory().to_owned(), Box::new(kafka)));
    }
    let postgres = postgres_for(test)?;
    let address = postgres.url().trim_start_matches("postgres://postgres@").trim_end_matches("/postgres");
    Some((address.to_owned(), postgres.directory().to_owned(), Box::new(postgres)))
}

#[test]
fn a_killed_process_leaves_no_server() {
    // One after the other: each looks at the folder that the other's sweeps too.
    for service in ["kafka", "postgres"] {
        leaves_nothing(service);
    }
}

fn leaves_nothing(service: &str) {
    // Also says whether the test can run here at all; and a first fetch is not the child's to do.
    let Some(started) = start(service, "a_killed_process_leaves_no_server") else { return };
    drop(started);

    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "the_process_to_kill", "--ignored"])
        .env(REPORT, &report)
        .env(SERVICE, service)
        .env_remove("ANNALS_KEEP");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait("the process to kill says nothing", || report.exists());
    child.kill().unwrap();
    child.wait().unwrap();

    let text = fs::read_to_string(&report).unwrap();
    let (address, left) = text.split_once(' ').unwrap();
    let is_gone = || TcpStream::connect(address).is_err();
    if has_setpriv() {
        wait("the server outlived its process", is_gone);
    }
    drop(start(service, "a_killed_process_leaves_no_server"));
    assert!(is_gone() && !Path::new(left).exists());
}

#[test]
#[ignore = "run by the test above"]
fn the_process_to_kill() {
    let (Some(report), Ok(service)) = (std::env::var_os(REPORT), std::env::var(SERVICE)) else { return };
    // In a thread that ends: a server must not be bound to that alone.
    let started = thread::spawn(move || start(&service, "the_process_to_kill")).join().unwrap();
    let (address, directory, _server) = started.unwrap();
    let partial = Path::new(&report).with_extension("partial");
    fs::write(&partial, format!("{address} {}", directory.display())).unwrap();
    TcpStream::connect(address).unwrap();
    fs::rename(partial, report).unwrap();
    thread::sleep(Duration::from_secs(600));
}

/// Without it the server stays until the next one is started.
fn has_setpriv() -> bool {
    let status = Command::new("setpriv").args(["--pdeathsig", "KILL", "true"]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn wait(otherwise: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < until, "{otherwise}");
        thread::sleep(Duration::from_millis(20));
    }
}
