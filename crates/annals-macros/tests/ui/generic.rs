use annals::{Event, Refusal};

#[derive(Event)]
#[event(prefix = "account")]
enum Opened<T> {
    With(T),
}

#[derive(Refusal)]
enum No<'a> {
    Because(&'a str),
}

fn main() {}
