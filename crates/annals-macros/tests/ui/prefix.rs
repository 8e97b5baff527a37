use annals::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone)]
enum NoPrefix {
    Opened,
}

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone)]
#[event(prefix = "")]
enum EmptyPrefix {
    Opened,
}

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone)]
#[event(prefix = "My Account")]
enum BadPrefix {
    Opened,
}

fn main() {}
