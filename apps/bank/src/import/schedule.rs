//! In which order transfers begin.
//!
//! Invariant, where order is kept: a row becomes ready when every earlier row of either of its accounts has ended.
//! Rows wait for earlier rows only, so that there is always one that can go on.

use std::collections::{HashMap, VecDeque};

use crate::amlsim::TransferRow;

/// The rows that may begin.
pub(super) struct Schedule {
    ready: VecDeque<usize>,
    /// For each row how many rows it waits for: the one before it on each of its accounts.
    waits: Vec<u8>,
    /// For each row the rows that come next on its accounts.
    next: Vec<[Option<usize>; 2]>,
}

impl Schedule {
    /// Everything at once, in the order of the file.
    pub(super) fn free(rows: &[TransferRow]) -> Self {
        Self { ready: (0..rows.len()).collect(), waits: Vec::new(), next: Vec::new() }
    }

    /// Each row after all earlier ones of its accounts.
    pub(super) fn ordered(rows: &[TransferRow]) -> Self {
        let mut schedule =
            Self { ready: VecDeque::new(), waits: vec![0; rows.len()], next: vec![[None; 2]; rows.len()] };
        let mut last: HashMap<&str, usize> = HashMap::new();
        for (index, row) in rows.iter().enumerate() {
            let accounts = [row.from.as_str(), row.to.as_str()];
            let own = if row.from == row.to { 1 } else { 2 };
            for account in accounts.into_iter().take(own) {
                if let Some(before) = last.insert(account, index) {
                    schedule.wait(index, before);
                }
            }
            if schedule.waits.get(index) == Some(&0) {
                schedule.ready.push_back(index);
            }
        }
        schedule
    }

    /// The next row that may begin.
    pub(super) fn pop(&mut self) -> Option<usize> {
        self.ready.pop_front()
    }

    /// A row has ended: those that waited for it may be ready.
    pub(super) fn ended(&mut self, row: usize) {
        for next in self.next.get(row).copied().unwrap_or_default().into_iter().flatten() {
            let Some(waits) = self.waits.get_mut(next) else { continue };
            *waits -= 1;
            if *waits == 0 {
                self.ready.push_back(next);
            }
        }
    }

    fn wait(&mut self, row: usize, before: usize) {
        if let (Some(waits), Some(next)) = (self.waits.get_mut(row), self.next.get_mut(before)) {
            *waits += 1;
            if let Some(place) = next.iter_mut().find(|place| place.is_none()) {
                *place = Some(row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use annals::Timestamp;

    use super::*;

    fn rows(pairs: &[(&str, &str)]) -> Vec<TransferRow> {
        let row = |(index, (from, to)): (usize, &(&str, &str))| TransferRow {
            row: index as u64 + 1,
            key: String::new(),
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            amount: 1,
            at: Timestamp::default(),
        };
        pairs.iter().enumerate().map(row).collect()
    }

    fn ready(schedule: &mut Schedule) -> Vec<usize> {
        std::iter::from_fn(|| schedule.pop()).collect()
    }

    #[test]
    fn a_row_waits_for_all_earlier_ones_of_both_accounts() {
        let rows =
            rows(&[("a", "b"), ("c", "d"), ("b", "c"), ("a", "e"), ("e", "a"), ("d", "d"), ("d", "b")]);
        let mut schedule = Schedule::ordered(&rows);
        assert_eq!(ready(&mut schedule), [0, 1]);
        schedule.ended(0);
        assert_eq!(ready(&mut schedule), [3], "2 waits for 1 still");
        schedule.ended(1);
        assert_eq!(ready(&mut schedule), [2, 5]);
        schedule.ended(3);
        assert_eq!(ready(&mut schedule), [4], "3 and 4 share both accounts");
        schedule.ended(5);
        assert!(ready(&mut schedule).is_empty(), "6 waits for 2 still");
        schedule.ended(2);
        assert_eq!(ready(&mut schedule), [6]);
        schedule.ended(4);
        schedule.ended(6);
        assert!(ready(&mut schedule).is_empty());
    }

    #[test]
    fn without_order_nothing_waits() {
        let mut schedule = Schedule::free(&rows(&[("a", "b"), ("a", "b"), ("b", "b")]));
        schedule.ended(1);
        assert_eq!(ready(&mut schedule), [0, 1, 2]);
    }
}
