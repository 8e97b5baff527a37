use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Default)]
struct Account;

#[derive(Serialize, Deserialize, JsonSchema, Clone)]
enum Bare {
    Opened,
}

fn wants_decider<D: annals::Decider>() {}
fn wants_projection<P: annals::Projection>() {}
fn wants_saga<S: annals::Saga>() {}
fn wants_event<E: annals::Event>() {}
fn wants_events<E: annals::Events>() {}
fn wants_command<C: annals::Command>() {}
fn wants_refusal<R: annals::Refusal>() {}

fn main() {
    wants_decider::<Account>();
    wants_projection::<Account>();
    wants_saga::<Account>();
    wants_event::<Bare>();
    wants_events::<Bare>();
    wants_command::<Bare>();
    wants_refusal::<Bare>();
}
