//! What the log says about the files' rows and about the bank as a whole, counted record by record.
//!
//! It is independent of the views: two ways of counting that agree are worth more than one.

use std::collections::{BTreeMap, HashMap};

use annals::parts::core::envelope::{EventPart, Record, Slice};
use annals::{Decider as _, Events as _, Saga as _};

use crate::account::{Account, Event};
use crate::import::files::{Asked, Files};
use crate::transfer::Transfer;

/// How a transfer's row stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// The log knows nothing of it.
    #[default]
    Unknown,
    /// Money is held for it.
    Begun,
    /// It has arrived, or was refused.
    Ended,
}

/// A transfer's row that has ended.
pub(super) struct Ended {
    pub(super) index: usize,
    /// Why it was refused, if it was.
    pub(super) refusal: Option<String>,
}

/// The bank's books as the log tells them.
#[derive(Default)]
pub(super) struct Books {
    /// For each row of the accounts, the overdraft it was opened with.
    pub(super) opened: Vec<Option<u64>>,
    /// For each row of the accounts, whether its deposit was made.
    pub(super) deposited: Vec<bool>,
    stages: Vec<Stage>,
    pub(super) completed: u64,
    pub(super) refused: u64,
    /// All open holds of the bank, with the row of the transfer where it is one of the files'.
    holds: HashMap<String, Option<usize>>,
    /// Transfers that a person must look at, and why.
    parked: BTreeMap<String, String>,
    accounts_minor: i128,
    paid_in_minor: i128,
    ended: Vec<Ended>,
}

impl Books {
    pub(super) fn new(files: &Files) -> Self {
        Self {
            opened: vec![None; files.accounts.len()],
            deposited: vec![false; files.accounts.len()],
            stages: vec![Stage::default(); files.transfers.len()],
            ..Self::default()
        }
    }

    /// How a transfer's row stands.
    pub(super) fn stage(&self, index: usize) -> Stage {
        self.stages.get(index).copied().unwrap_or_default()
    }

    /// How many rows of transfers have ended.
    pub(super) fn ended_count(&self) -> usize {
        usize::try_from(self.completed + self.refused).unwrap_or(usize::MAX)
    }

    /// The rows that have ended since this was asked last.
    pub(super) fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Transfers of the whole bank that are under way.
    pub(super) fn open_holds(&self) -> usize {
        self.holds.len()
    }

    /// The sum of all balances less what was paid in from outside: 0 when no transfer is under way, or money was
    /// made or lost.
    pub(super) fn trial_balance_minor(&self) -> i64 {
        let difference = self.accounts_minor - self.paid_in_minor;
        i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
    }

    /// A row that began and that a person must look at: its transfer, and why.
    pub(super) fn parked(&self) -> Option<(usize, &str, &str)> {
        self.parked.iter().find_map(|(transfer, reason)| {
            let row = self.holds.get(transfer).copied().flatten()?;
            Some((row, transfer.as_str(), reason.as_str()))
        })
    }

    /// Enters a record.
    pub(super) fn enter(&mut self, files: &Files, record: &Record) -> Result<(), String> {
        for slice in &record.slices {
            match slice.stream.split_once('/') {
                Some((Account::NAME, account)) => self.account(files, record, slice, account)?,
                Some((Transfer::NAME, transfer)) => self.transfer(record, transfer),
                _ => {}
            }
        }
        Ok(())
    }

    fn account(
        &mut self,
        files: &Files,
        record: &Record,
        slice: &Slice,
        account: &str,
    ) -> Result<(), String> {
        let asked = record.command.as_ref().and_then(|command| files.asked(account, &command.key));
        if let (Some(refusal), Some(Asked::Transfer(index))) = (&record.refusal, asked) {
            self.end(index, Some(refusal.text.clone()));
        }
        for EventPart { name, shape, payload, .. } in &slice.events {
            match Event::read(name, *shape, payload) {
                Some(event) => self.event(&event.map_err(|error| error.to_string())?, asked),
                None => return Err(format!("{name} is no event of an account")),
            }
        }
        Ok(())
    }

    fn event(&mut self, event: &Event, asked: Option<Asked>) {
        match event {
            Event::Opened { overdraft } => {
                if let Some(Asked::Open(index)) = asked
                    && let Some(opened) = self.opened.get_mut(index)
                {
                    *opened = Some(*overdraft);
                }
            }
            Event::Deposited { amount } => {
                self.accounts_minor += i128::from(*amount);
                self.paid_in_minor += i128::from(*amount);
                if let Some(Asked::Deposit(index)) = asked
                    && let Some(deposited) = self.deposited.get_mut(index)
                {
                    *deposited = true;
                }
            }
            Event::Withdrawn { amount } => {
                self.accounts_minor -= i128::from(*amount);
                self.paid_in_minor -= i128::from(*amount);
            }
            Event::Corrected { by } => {
                self.accounts_minor += i128::from(*by);
                self.paid_in_minor += i128::from(*by);
            }
            Event::Held { transfer, .. } => self.begin(transfer, asked),
            Event::Posted { transfer, amount, .. } => {
                self.accounts_minor -= i128::from(*amount);
                self.release(transfer, None);
            }
            Event::Voided { transfer, reason, .. } => self.release(transfer, Some(reason)),
            Event::Credited { amount, .. } => self.accounts_minor += i128::from(*amount),
            Event::Frozen { .. } | Event::Unfrozen | Event::Closed => {}
        }
    }

    fn transfer(&mut self, record: &Record, transfer: &str) {
        if let Some(reason) = record.saga.as_ref().and_then(|part| part.parked.as_ref()) {
            self.parked.insert(transfer.to_owned(), reason.clone());
        }
    }

    fn begin(&mut self, transfer: &str, asked: Option<Asked>) {
        let row = match asked {
            Some(Asked::Transfer(index)) => Some(index),
            _ => None,
        };
        if let Some(stage) = row.and_then(|index| self.stages.get_mut(index)) {
            *stage = Stage::Begun;
        }
        self.holds.insert(transfer.to_owned(), row);
    }

    fn release(&mut self, transfer: &str, refusal: Option<&String>) {
        self.parked.remove(transfer);
        if let Some(Some(index)) = self.holds.remove(transfer) {
            self.end(index, refusal.cloned());
        }
    }

    fn end(&mut self, index: usize, refusal: Option<String>) {
        let Some(stage) = self.stages.get_mut(index).filter(|stage| **stage != Stage::Ended) else { return };
        *stage = Stage::Ended;
        match refusal {
            Some(_) => self.refused += 1,
            None => self.completed += 1,
        }
        self.ended.push(Ended { index, refusal });
    }
}
