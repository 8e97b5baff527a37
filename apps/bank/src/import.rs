//! The importer of AMLSim data sets: `annals import bank NODES.csv.gz TRANSACTIONS.csv.gz`.
//!
//! Every row of the accounts file opens an account and fills it, every row of the transfers file begins one
//! transfer, under a key that derives from the file and the row. The sagas do the rest; the importer follows the
//! log to see each transfer end. All it knows of earlier starts it reads from the log, so that it can be killed
//! and started again at any moment.
//!
//! Invariant: a row is sent only after all of the log was read that was there at the beginning, and everything
//! the report says is counted from the log.
//!
//! It keeps both files in memory (about 200 bytes a row), and does not wait for views.

mod books;
mod files;
mod pipe;
mod run;
mod schedule;

use std::path::PathBuf;

use annals::import::{Import, ImportError, Importer, Report};
use clap::{Arg, ArgAction};

use crate::import::files::Files;
use crate::import::run::Run;
use crate::money::AMOUNT_MAX;

/// How the name of each of the files ends.
const ENDING: &str = ".csv.gz";

/// Imports AMLSim data sets into the bank.
#[derive(Clone, Copy, Debug, Default)]
pub struct AmlSim;

/// What the flags ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    /// How far the accounts may fall below zero.
    overdraft: u64,
    /// Whether a transfer waits for all earlier ones of its two accounts.
    ordered: bool,
}

impl Importer for AmlSim {
    fn about(&self) -> &'static str {
        "an AMLSim data set: the accounts (nodeid,isFraud,init_balance,fraudStep) and the transfers \
         (sourceNodeId,targetNodeId,value,time), two files named *.csv.gz, in this order"
    }

    fn accepts(&self, files: &[PathBuf]) -> bool {
        files.iter().all(|file| file.to_string_lossy().ends_with(ENDING))
    }

    fn arguments(&self) -> Vec<Arg> {
        let flag = |name: &'static str, help: &'static str| {
            Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
        };
        vec![
            flag(
                "overdraft",
                "AMLSim: let balances fall below zero, so that no transfer is refused for want of money",
            ),
            flag("ordered", "AMLSim: begin a transfer when all earlier ones of both its accounts have ended"),
        ]
    }

    fn run(&self, import: &Import<'_>) -> Result<Report, ImportError> {
        let [accounts, transfers] = import.files else {
            let reason =
                format!("an AMLSim data set is two files, the accounts and the transfers; there are {}", {
                    import.files.len()
                });
            return Err(ImportError::Arguments { reason });
        };
        let overdraft = if import.arguments.get_flag("overdraft") { AMOUNT_MAX } else { 0 };
        let wanted = Wanted { overdraft, ordered: import.arguments.get_flag("ordered") };
        let files = Files::read(accounts, transfers)?;
        Run::new(import.app.engine(), &files, wanted, import.progress).run()
    }
}
