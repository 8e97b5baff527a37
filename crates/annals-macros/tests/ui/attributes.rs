use annals::{Command, Event};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone)]
#[event(prefx = "account")]
enum UnknownOnEnum {
    Opened,
}

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone)]
#[event(prefix = "account", prefix = "konto")]
enum GivenTwice {
    Opened,
}

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone)]
#[event]
enum Bare {
    Opened,
}

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone)]
#[event(prefix = "account")]
enum Variants {
    #[event(nam = "account.opened")]
    UnknownKey,
    #[event(shape = 0)]
    ShapeNought,
    #[event(shape = 4294967296)]
    ShapeTooLarge,
    #[event(shape = 2, was)]
    BareWas,
    Field {
        #[event(tagged)]
        transfer: u64,
    },
    Unnamed(#[event(tag)] u64),
}

#[derive(Command, Serialize, Deserialize, JsonSchema, Clone)]
#[command(prefix = "account")]
enum PrefixedCommand {
    Open,
}

#[derive(Command, Serialize, Deserialize, JsonSchema, Clone)]
enum TaggedCommand {
    Open {
        #[command(tag)]
        name: String,
    },
}

fn main() {}
