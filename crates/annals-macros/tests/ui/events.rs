use annals::{Event, Events};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone)]
#[event(prefix = "account")]
enum Account {
    Opened,
}

#[derive(Events, Clone)]
enum Shapes {
    Two(Account, Account),
    Named { account: Account },
    Nothing,
}

#[derive(Events, Clone)]
enum Twice {
    One(Account),
    Other(Account),
}

#[derive(Events, Clone)]
enum Empty {}

#[derive(Events, Clone)]
#[events(prefix = "bank")]
enum Prefixed {
    Account(Account),
}

#[derive(Events, Clone)]
enum NotEvents {
    Number(u64),
}

fn main() {}
