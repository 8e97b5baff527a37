use annals::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Old;

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone)]
#[event(prefix = "account")]
enum NoFrom {
    #[event(shape = 2, was(1 = Old))]
    Opened,
}

fn main() {}
