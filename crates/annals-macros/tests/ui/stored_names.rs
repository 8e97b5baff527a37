#![allow(non_camel_case_types)]

use annals::{Command, Event, Refusal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone)]
#[event(prefix = "account")]
enum Duplicate {
    Opened,
    #[event(name = "account.opened")]
    Started,
}

#[derive(Command, Serialize, Deserialize, JsonSchema, Clone)]
enum Names {
    #[command(name = "")]
    Empty,
    #[command(name = "open.account")]
    Dotted,
    #[command(name = "-")]
    NoLetter,
    Überweisen,
}

#[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug)]
#[error("no")]
enum DuplicateByCase {
    NoMoney,
    No_Money,
}

fn main() {}
