//! The two files, read and checked as a whole before anything is sent.
//!
//! Invariant: row `n` of a file is at index `n - 1`, and every account a transfer names has a row.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use annals::import::ImportError;

use crate::amlsim::{self, AccountRow, AmlSimError, Instruction, TransferRow};

/// What the key of a deposit ends with.
const DEPOSIT: &str = "deposit";

/// An AMLSim data set.
pub(super) struct Files {
    accounts_name: String,
    accounts_digest: String,
    pub(super) accounts: Vec<AccountRow>,
    transfers_name: String,
    transfers_digest: String,
    pub(super) transfers: Vec<TransferRow>,
}

/// One command that the files ask for, by the index of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Open an account.
    Open(usize),
    /// Put in what an account begins with.
    Deposit(usize),
    /// Begin a transfer.
    Transfer(usize),
}

impl Files {
    /// Reads both files. Nothing may be wrong with any row.
    pub(super) fn read(accounts: &Path, transfers: &Path) -> Result<Self, ImportError> {
        let (accounts_name, transfers_name) =
            (accounts.display().to_string(), transfers.display().to_string());
        let rows = amlsim::accounts(&accounts_name, open(accounts)?).map_err(error)?;
        let accounts_digest = rows.digest().to_owned();
        let accounts: Vec<AccountRow> = rows.collect::<Result<_, _>>().map_err(error)?;
        let rows = amlsim::transfers(&transfers_name, open(transfers)?).map_err(error)?;
        let transfers_digest = rows.digest().to_owned();
        let transfers: Vec<TransferRow> = rows.collect::<Result<_, _>>().map_err(error)?;
        let files =
            Self { accounts_name, accounts_digest, accounts, transfers_name, transfers_digest, transfers };
        files.check()?;
        Ok(files)
    }

    /// The command that is sent under `key` to `account`, if that is one of these files'.
    pub(super) fn asked(&self, account: &str, key: &str) -> Option<Asked> {
        let (digest, place) = key.split_once('-')?;
        let index = |row: &str| row.parse::<usize>().ok()?.checked_sub(1);
        if digest == self.transfers_digest {
            let index = index(place)?;
            return (self.transfers.get(index)?.from == account).then_some(Asked::Transfer(index));
        }
        if digest != self.accounts_digest {
            return None;
        }
        let (row, deposit) = match place.split_once('-') {
            Some((row, what)) => (row, what == DEPOSIT),
            None => (place, false),
        };
        let index = index(row)?;
        let asked = if deposit { Asked::Deposit(index) } else { Asked::Open(index) };
        (self.accounts.get(index)?.account == account).then_some(asked)
    }

    /// What to ask the bank for; `None` for the deposit of an account that begins with nothing.
    pub(super) fn instruction(&self, asked: Asked, overdraft: u64) -> Option<Instruction> {
        match asked {
            Asked::Open(index) => self.accounts.get(index)?.instructions(overdraft).into_iter().next(),
            Asked::Deposit(index) => self.accounts.get(index)?.instructions(overdraft).into_iter().nth(1),
            Asked::Transfer(index) => self.transfers.get(index).map(TransferRow::instruction),
        }
    }

    /// An error that names the row.
    pub(super) fn row_error(&self, asked: Asked, reason: impl Into<String>) -> ImportError {
        let (file, index) = match asked {
            Asked::Open(index) | Asked::Deposit(index) => (&self.accounts_name, index),
            Asked::Transfer(index) => (&self.transfers_name, index),
        };
        ImportError::Row { file: file.clone(), row: row(index), reason: reason.into() }
    }

    /// The file of the transfers.
    pub(super) fn transfers_name(&self) -> &str {
        &self.transfers_name
    }

    fn check(&self) -> Result<(), ImportError> {
        let mut rows = HashMap::with_capacity(self.accounts.len());
        for (index, AccountRow { account, .. }) in self.accounts.iter().enumerate() {
            if let Some(first) = rows.insert(account.as_str(), index) {
                let reason = format!("account {account} stands in row {} already", row(first));
                return Err(self.row_error(Asked::Open(index), reason));
            }
        }
        for (index, TransferRow { from, to, .. }) in self.transfers.iter().enumerate() {
            if let Some(account) = [from, to].into_iter().find(|account| !rows.contains_key(account.as_str()))
            {
                let reason = format!("account {account} is not in {}", self.accounts_name);
                return Err(self.row_error(Asked::Transfer(index), reason));
            }
        }
        Ok(())
    }
}

/// The number of the row at `index`, as people count.
pub(super) fn row(index: usize) -> u64 {
    index as u64 + 1
}

fn open(path: &Path) -> Result<File, ImportError> {
    File::open(path).map_err(|error| ImportError::File {
        file: path.display().to_string(),
        reason: format!("it cannot be read: {error}"),
    })
}

fn error(error: AmlSimError) -> ImportError {
    match error {
        AmlSimError::Read { file, source } => {
            ImportError::File { file, reason: format!("it cannot be read: {source}") }
        }
        AmlSimError::Column { file, column, expected } => {
            let reason = format!("it has no column {column:?}; it must have {}", expected.join(", "));
            ImportError::File { file, reason }
        }
        AmlSimError::Damaged { file, row: 0, reason } => {
            ImportError::File { file, reason: format!("it is no gzipped CSV: {reason}") }
        }
        AmlSimError::Damaged { file, row, reason } => {
            ImportError::Row { file, row, reason: format!("{reason}; nothing after it can be read") }
        }
        AmlSimError::Field { file, row, column, value, problem } => {
            let reason = format!("column {column}: {value:?} does not fit: {problem}; nothing was sent");
            ImportError::Row { file, row, reason }
        }
    }
}
