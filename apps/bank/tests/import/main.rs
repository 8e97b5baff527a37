//! Importing AMLSim data sets: what comes out is what the files say, whatever happens on the way.
//!
//! The ordinary tests import data made from a seed, with rows of every awkward kind. The ignored ones import the
//! published sample whole; `cargo xtask campaign import-kills` runs them. `ANNALS_DATA` names the folder that holds
//! `bank/nodes.csv.gz` and `bank/transactions.csv.gz`; where they are missing, tests that need them say so and
//! are skipped, or fail on a build server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod balances;
mod data;
mod kills;
mod problems;
mod restart;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use annals::import::{Import, ImportError, Importer as _, Progress, Report};
use annals::parts::engine::At;
use annals::{App, Decider as _, Options, StreamName};
use annals_bank::account::Account;
use annals_bank::import::AmlSim;

use data::{Data, Expected};

/// Keeps what an importer says.
#[derive(Default)]
struct Heard {
    total: Mutex<u64>,
    done: Mutex<u64>,
    notes: Mutex<Vec<String>>,
    /// Panics when that many rows are done.
    panics_at: Option<u64>,
}

impl Progress for Heard {
    fn total(&self, rows: u64) {
        *self.total.lock().unwrap() = rows;
    }

    fn done(&self, rows: u64) {
        *self.done.lock().unwrap() = rows;
        assert!(self.panics_at.is_none_or(|most| rows < most), "interrupted by the test");
    }

    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }
}

fn open(url: &str) -> App {
    open_with(url, Options::default())
}

fn open_with(url: &str, options: Options) -> App {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(annals_bank::bank().open_with(url, options)).unwrap()
}

fn url(directory: &Path) -> String {
    format!("file:{}", directory.display())
}

fn import(app: &App, data: &Data, flags: &[&str]) -> Result<Report, ImportError> {
    import_heard(app, data, flags, &Heard::default())
}

fn import_heard(app: &App, data: &Data, flags: &[&str], heard: &Heard) -> Result<Report, ImportError> {
    let command = clap::Command::new("import").args(AmlSim.arguments());
    let arguments = command.get_matches_from([&["import"], flags].concat());
    let files = [data.nodes.clone(), data.transfers.clone()];
    assert!(AmlSim.accepts(&files));
    AmlSim.run(&Import { app, files: &files, arguments: &arguments, progress: heard })
}

fn balance(app: &App, account: &str) -> i64 {
    let stream = StreamName::new(None, Account::NAME, account).unwrap();
    let (_, state) = app.engine().state_of::<Account>(&stream, At::Now).unwrap();
    assert_eq!(state.holds, BTreeMap::new(), "{account}");
    state.balance
}

/// The bank holds exactly what the files say, and the report says so.
fn check(app: &App, report: &Report, expected: &Expected) {
    let found: BTreeMap<String, i64> =
        expected.balances.keys().map(|account| (account.clone(), balance(app, account))).collect();
    assert!(found == expected.balances, "{}", differences(&found, &expected.balances));
    let number = |field: &str| report.0[field].as_i64().unwrap();
    assert_eq!(number("transfers"), (expected.completed + expected.refused).cast_signed());
    assert_eq!(number("completed"), expected.completed.cast_signed());
    assert_eq!(number("refused"), expected.refused.cast_signed());
    assert_eq!((number("open_holds"), number("trial_balance_minor")), (0, 0));
}

fn differences(found: &BTreeMap<String, i64>, expected: &BTreeMap<String, i64>) -> String {
    let other = expected.iter().filter(|(account, balance)| found.get(*account) != Some(balance));
    let texts: Vec<_> =
        other.map(|(id, balance)| format!("{id}: {:?}, not {balance}", found.get(id))).collect();
    format!("{} accounts differ: {}", texts.len(), texts[..texts.len().min(10)].join("; "))
}
