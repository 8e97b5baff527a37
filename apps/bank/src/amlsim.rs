//! Reads the accounts and transfers of an AMLSim data set and says what the bank is to be asked for each row.
//!
//! AMLSim (IBM, Apache-2.0) simulates customers of a bank, some of them laundering money. Two gzipped CSV files:
//! accounts (`nodeid,isFraud,init_balance,fraudStep`) and transfers (`sourceNodeId,targetNodeId,value,time`, the
//! time in days since the simulation began).
//!
//! Invariant: a row gives the same instructions under the same keys whenever the same file is read, so that
//! an import can be repeated. Keys come from the SHA-256 of the compressed file and the row's number; two equal
//! rows are two transfers.
//!
//! It sends nothing and judges nothing: a transfer to the account it comes from is handed on for the account to
//! refuse.

use std::io::{Cursor, Read};
use std::marker::PhantomData;

use annals::Timestamp;
use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use crate::account::Command;
use crate::money::{self, AmountError};

/// The moment at which the simulation begins: 2020-01-01T00:00:00Z, in seconds since 1970.
pub const BEGIN_SECOND: i64 = 1_577_836_800;

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// One thing to ask of the bank.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// The key under which to send it: the same whenever the file is read.
    pub key: String,
    /// The account to ask.
    pub account: String,
    /// What to ask.
    pub command: Command,
    /// When it happened in the simulated world.
    pub at: Timestamp,
}

/// A row of the accounts file.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountRow {
    /// The row's number, from 1; the header is not counted.
    pub row: u64,
    /// The key of the row: the file's digest and the row's number.
    pub key: String,
    /// The account.
    pub account: String,
    /// Whether the simulation marks it as laundering money.
    pub is_fraud: bool,
    /// What it holds at the beginning, in minor units.
    pub balance: u64,
    /// When it is opened.
    pub at: Timestamp,
}

/// A row of the transfers file.
#[derive(Clone, Debug, PartialEq)]
pub struct TransferRow {
    /// The row's number, from 1; the header is not counted.
    pub row: u64,
    /// The key of the row: the file's digest and the row's number. Also the transfer's reference.
    pub key: String,
    /// The sending account.
    pub from: String,
    /// The receiving account.
    pub to: String,
    /// How much, in minor units.
    pub amount: u64,
    /// When.
    pub at: Timestamp,
}

impl AccountRow {
    /// Opens the account with that overdraft and puts in what it holds at the beginning.
    #[must_use]
    pub fn instructions(&self, overdraft: u64) -> Vec<Instruction> {
        let instruction =
            |key: String, command| Instruction { key, account: self.account.clone(), command, at: self.at };
        let mut all = vec![instruction(self.key.clone(), Command::Open { overdraft })];
        if self.balance > 0 {
            let deposit = Command::Deposit { amount: self.balance };
            all.push(instruction(format!("{}-deposit", self.key), deposit));
        }
        all
    }
}

impl TransferRow {
    /// Sends the money.
    #[must_use]
    pub fn instruction(&self) -> Instruction {
        let (to, reference) = (self.to.clone(), Some(self.key.clone()));
        Instruction {
            key: self.key.clone(),
            account: self.from.clone(),
            command: Command::Send { to, amount: self.amount, reference },
            at: self.at,
        }
    }
}

/// A file or row that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AmlSimError {
    /// Make the file readable.
    #[error("{file} cannot be read: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Give the file as published: gzipped, with these columns in any order.
    #[error("{file} has no column {column:?}; it must have {}", expected.join(", "))]
    Column {
        /// The file.
        file: String,
        /// The missing column.
        column: &'static str,
        /// All that must be there.
        expected: &'static [&'static str],
    },
    /// The file is damaged from here on, or is no gzipped CSV; nothing after this row is read.
    #[error("{file}, row {row}: {reason}; nothing after it can be read")]
    Damaged {
        /// The file.
        file: String,
        /// The row, from 1; 0 for the header.
        row: u64,
        /// What is wrong.
        reason: String,
    },
    /// Correct the row, or leave it out: the rows after it are read.
    #[error("{file}, row {row}, column {column}: {value:?} does not fit: {problem}")]
    Field {
        /// The file.
        file: String,
        /// The row, from 1.
        row: u64,
        /// The column.
        column: &'static str,
        /// What stands there.
        value: String,
        /// What is wrong with it.
        problem: FieldProblem,
    },
}

/// What can be wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldProblem {
    /// Give an amount.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// Give a number of an account.
    #[error("an account is named by digits")]
    Account,
    /// Give 0 or 1.
    #[error("it must be 0 or 1")]
    Flag,
    /// Give a number of days since the beginning.
    #[error("it must be a whole number of days since the simulation began")]
    Day,
}

/// The rows of one file, each or the reason why it cannot be read.
pub struct Rows<R> {
    file: String,
    digest: String,
    columns: Vec<usize>,
    records: csv::StringRecordsIntoIter<MultiGzDecoder<Cursor<Vec<u8>>>>,
    row: u64,
    damaged: bool,
    kind: PhantomData<fn() -> R>,
}

/// Reads the accounts; `file` names the source in errors.
pub fn accounts(file: &str, source: impl Read) -> Result<Rows<AccountRow>, AmlSimError> {
    Rows::open(file, source)
}

/// Reads the transfers; `file` names the source in errors.
pub fn transfers(file: &str, source: impl Read) -> Result<Rows<TransferRow>, AmlSimError> {
    Rows::open(file, source)
}

/// A kind of row. Only [`AccountRow`] and [`TransferRow`] are.
pub trait Row: Sized + sealed::Sealed {
    #[doc(hidden)]
    const COLUMNS: &'static [&'static str];
    #[doc(hidden)]
    fn read(fields: &Fields<'_>) -> Result<Self, AmlSimError>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::AccountRow {}
    impl Sealed for super::TransferRow {}
}

impl Row for AccountRow {
    const COLUMNS: &'static [&'static str] = &["nodeid", "isFraud", "init_balance", "fraudStep"];

    fn read(fields: &Fields<'_>) -> Result<Self, AmlSimError> {
        Ok(Self {
            row: fields.row,
            key: fields.key(),
            account: fields.parse(0, account)?,
            is_fraud: fields.parse(1, flag)?,
            balance: fields.parse(2, |text| Ok(money::parse(text)?))?,
            at: moment(0).unwrap_or_default(),
        })
    }
}

impl Row for TransferRow {
    const COLUMNS: &'static [&'static str] = &["sourceNodeId", "targetNodeId", "value", "time"];

    fn read(fields: &Fields<'_>) -> Result<Self, AmlSimError> {
        Ok(Self {
            row: fields.row,
            key: fields.key(),
            from: fields.parse(0, account)?,
            to: fields.parse(1, account)?,
            amount: fields.parse(2, |text| Ok(money::parse(text)?))?,
            at: fields.parse(3, day)?,
        })
    }
}

impl<R: Row> Rows<R> {
    fn open(file: &str, mut source: impl Read) -> Result<Self, AmlSimError> {
        let file = file.to_owned();
        let mut compressed = Vec::new();
        if let Err(source) = source.read_to_end(&mut compressed) {
            return Err(AmlSimError::Read { file, source });
        }
        let digest = Sha256::digest(&compressed);
        let digest = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let mut reader = csv::Reader::from_reader(MultiGzDecoder::new(Cursor::new(compressed)));
        let columns = match reader.headers() {
            Ok(header) => columns(&file, header, R::COLUMNS)?,
            Err(error) => return Err(AmlSimError::Damaged { file, row: 0, reason: error.to_string() }),
        };
        let records = reader.into_records();
        Ok(Self { file, digest, columns, records, row: 0, damaged: false, kind: PhantomData })
    }

    /// The first 16 hexadecimal digits of the SHA-256 of the file as it is stored: what its keys begin with.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl<R: Row> Iterator for Rows<R> {
    type Item = Result<R, AmlSimError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.damaged {
            return None;
        }
        let record = self.records.next()?;
        self.row += 1;
        Some(match record {
            Ok(record) => R::read(&Fields {
                file: &self.file,
                digest: &self.digest,
                row: self.row,
                names: R::COLUMNS,
                columns: &self.columns,
                record: &record,
            }),
            Err(error) => {
                self.damaged = true;
                let (file, row) = (self.file.clone(), self.row);
                Err(AmlSimError::Damaged { file, row, reason: error.to_string() })
            }
        })
    }
}

fn columns(
    file: &str,
    header: &csv::StringRecord,
    expected: &'static [&'static str],
) -> Result<Vec<usize>, AmlSimError> {
    let place = |column: &&'static str| {
        let missing = || AmlSimError::Column { file: file.to_owned(), column, expected };
        header.iter().position(|name| name == *column).ok_or_else(missing)
    };
    expected.iter().map(place).collect()
}

/// The fields of one row.
#[doc(hidden)]
pub struct Fields<'a> {
    file: &'a str,
    digest: &'a str,
    row: u64,
    names: &'static [&'static str],
    columns: &'a [usize],
    record: &'a csv::StringRecord,
}

impl Fields<'_> {
    fn key(&self) -> String {
        format!("{}-{}", self.digest, self.row)
    }

    fn parse<T>(
        &self,
        index: usize,
        parse: impl FnOnce(&str) -> Result<T, FieldProblem>,
    ) -> Result<T, AmlSimError> {
        let value = self.columns.get(index).and_then(|place| self.record.get(*place)).unwrap_or_default();
        parse(value).map_err(|problem| AmlSimError::Field {
            file: self.file.to_owned(),
            row: self.row,
            column: self.names.get(index).copied().unwrap_or_default(),
            value: value.to_owned(),
            problem,
        })
    }
}

fn account(text: &str) -> Result<String, FieldProblem> {
    let digits = (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { Ok(text.to_owned()) } else { Err(FieldProblem::Account) }
}

fn flag(text: &str) -> Result<bool, FieldProblem> {
    match text {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(FieldProblem::Flag),
    }
}

fn day(text: &str) -> Result<Timestamp, FieldProblem> {
    // `parse` would take a leading plus.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let days: Option<i64> = if digits { text.parse().ok() } else { None };
    days.and_then(moment).ok_or(FieldProblem::Day)
}

fn moment(days: i64) -> Option<Timestamp> {
    Timestamp::from_second(days.checked_mul(DAY_SECONDS)?.checked_add(BEGIN_SECOND)?).ok()
}
