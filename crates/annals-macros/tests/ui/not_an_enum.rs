use annals::{Command, Event, Events};

#[derive(Event)]
#[event(prefix = "account")]
struct Opened {
    limit: u64,
}

#[derive(Command)]
union Either {
    a: u8,
    b: u8,
}

#[derive(Events)]
struct BankEvent(u8);

fn main() {}
