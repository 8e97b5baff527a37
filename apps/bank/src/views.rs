//! What the bank can be asked: one document per question and key.

mod balance;
mod statement;
mod trial_balance;

pub use balance::Balance;
pub use statement::{BadPage, Line, Page, Statement};
pub use trial_balance::{BANK, TrialBalance};
