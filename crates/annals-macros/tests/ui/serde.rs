use annals::{Command, Event};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone)]
#[event(prefix = "account")]
#[serde(tag = "type")]
enum Tagged {
    Opened { limit: u64 },
}

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone)]
#[event(prefix = "account")]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Opened { limit: u64 },
}

#[derive(Command, Serialize, Deserialize, JsonSchema, Clone)]
#[serde(untagged)]
enum Untagged {
    Open { limit: u64 },
}

#[derive(Command, Serialize, Deserialize, JsonSchema, Clone)]
enum Skipped {
    Open,
    #[serde(skip)]
    Close,
}

#[derive(Command, Serialize, Deserialize, JsonSchema, Clone)]
enum TwoNames {
    #[serde(rename(serialize = "open", deserialize = "opened"))]
    Open,
}

fn main() {}
