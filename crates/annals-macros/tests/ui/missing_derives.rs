use annals::{Command, Event};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Deserialize, JsonSchema, Clone)]
#[event(prefix = "account")]
enum NoSerialize {
    Opened,
}

#[derive(Command, Serialize, Deserialize, Clone)]
enum NoSchema {
    Open,
}

fn main() {}
