//! The lock file against contexts that change.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::codec::{self, Variants};
use crate::decider::Stored;
use crate::{Decider, Meta, Outbox, Recorded, Saga, Signal};

fn lock_of<E: Variants + Stored>() -> Lock {
    let schema = schemars::schema_for!(E).to_value();
    let mut lock = Lock::default();
    lock.add(Part::Event, E::VARIANTS, &schema, &codec::upcasts::<E>(), str::to_owned).unwrap();
    lock
}

/// The lock of the type `Event` that `$items` define, with the usual derives.
macro_rules! lock {
    ($($(#[$attribute:meta])* $kind:ident $name:ident { $($body:tt)* })*) => {{
        $(lock!(@ $(#[$attribute])* $kind $name { $($body)* });)*
        lock_of::<Event>()
    }};
    (@ $(#[$attribute:meta])* enum Event { $($body:tt)* }) => {
        #[derive(annals_macros::Event, Serialize, Deserialize, JsonSchema, Clone)]
        #[event(prefix = "account", crate = "crate")]
        $(#[$attribute])*
        enum Event { $($body)* }
    };
    (@ $(#[$attribute:meta])* $kind:ident $name:ident { $($body:tt)* }) => {
        #[derive(Serialize, Deserialize, JsonSchema, Clone)]
        $(#[$attribute])*
        $kind $name { $($body)* }
    };
}

fn shown(changes: &[Change]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn kinds(old: &Lock, new: &Lock) -> Vec<ChangeKind> {
    Lock::compare(old, new).into_iter().map(|change| change.kind).collect()
}

/// Checks that the text is the lock's own, and that both sides survive it.
fn check_text(lock: &Lock, expected: &str) {
    let text = lock.to_string();
    let body = text.split_once("\n\n").unwrap().1;
    assert_eq!(body, expected, "{body}");
    assert_eq!(Lock::parse(&text).as_ref(), Ok(lock));
}

#[test]
fn a_shape_is_written_as_one_line_for_each_place() {
    let lock = lock! {
        struct Address { city: String, zip: Option<String> }
        enum Channel { Branch, Online { device: String }, Phone(u32) }
        struct Tree { value: u8, children: Vec<Tree> }
        enum Event {
            Opened,
            Moved(Address),
            Counted(u64),
            Paired(u8, bool),
            Changed {
                id: uuid::Uuid,
                amount: i64,
                address: Option<Address>,
                channel: Channel,
                labels: Vec<String>,
                prices: std::collections::BTreeMap<String, u32>,
                tree: Tree,
                #[serde(default)]
                limit: u16,
                #[serde(rename = "odd: name")]
                odd: String,
                anything: Value,
            },
        }
    };
    check_text(
        &lock,
        "\
[event account.changed 1]
\"odd: name\": string
address?: object | null
address.city: string
address.zip?: string | null
amount: integer int64
anything: any
channel: one of
channel|Branch: unit
channel|Online: object
channel|Online.device: string
channel|Phone: integer uint32 >= 0
id: string uuid
labels: array
labels[]: string
limit?: integer uint16 >= 0 <= 65535 default 0
prices: object
prices{}: integer uint32 >= 0
tree: object
tree.children: array
tree.children[]: recursive ^0
tree.value: integer uint8 >= 0 <= 255

[event account.counted 1]
$: integer uint64 >= 0

[event account.moved 1]
city: string
zip?: string | null

[event account.opened 1]

[event account.paired 1]
$: array maxItems=2 minItems=2
$[0]: integer uint8 >= 0 <= 255
$[1]: boolean
",
    );
}

#[test]
fn a_change_in_a_nested_type_is_found_and_shown() {
    let old = lock! {
        struct Money { amount: u64, currency: String }
        struct Line { money: Money }
        enum Event { Deposited { lines: Vec<Line> } }
    };
    let new = lock! {
        struct Money { amount: i64, unit: String }
        struct Line { money: Money }
        enum Event { Deposited { lines: Vec<Line> } }
    };
    assert_eq!(
        shown(&Lock::compare(&old, &new)),
        "\
event account.deposited 1: changed without a new shape
  - lines[].money.amount: integer uint64 >= 0
  + lines[].money.amount: integer int64
  - lines[].money.currency: string
  + lines[].money.unit: string
  raise its shape and write an upcast: shape = 2, was(1 = ..); or restore it"
    );
}

#[test]
fn what_is_not_stored_does_not_count() {
    let old = lock! {
        enum Currency { Euro, Dollar }
        struct Money { amount: u64, currency: Currency }
        enum Event { Deposited { money: Money, note: String }, Closed }
    };
    let new = lock! {
        /// Which money.
        enum Unit {
            /// In Europe.
            Euro,
            Dollar,
        }
        /// An amount of money.
        struct Amount {
            /// Which.
            currency: Unit,
            /// How much.
            amount: u64,
        }
        /// What can happen.
        enum Event {
            /// No more.
            Closed,
            /// Money came in.
            Deposited {
                /// For people.
                note: String,
                money: Amount,
            },
        }
    };
    assert_eq!(old, new);
    assert_eq!(kinds(&old, &new), []);
}

/// Each way in which a shape may change, from `{ amount: u64, kind: Kind, note: Option<String> }` on.
#[test]
fn only_what_old_data_need_not_have_may_be_added() {
    let old = lock! {
        enum Kind { Cash, Card }
        enum Event { Deposited { amount: u64, kind: Kind, note: Option<String>, #[serde(default)] fee: u8 } }
    };
    let extended = [
        lock! {
            struct Place { city: String }
            enum Kind { Cash, Card }
            enum Event {
                Deposited {
                    amount: u64, kind: Kind, note: Option<String>, #[serde(default)] fee: u8, place: Option<Place>
                }
            }
        },
        lock! {
            enum Kind { Cheque { number: u64 }, Cash, Card }
            enum Event { Deposited { amount: u64, kind: Kind, note: Option<String>, #[serde(default)] fee: u8 } }
        },
        lock! {
            enum Kind { Cash, Card }
            enum Event {
                Deposited { amount: Option<u64>, kind: Kind, note: Option<String>, #[serde(default)] fee: u8 }
            }
        },
    ];
    for new in extended {
        assert_eq!(kinds(&old, &new), [ChangeKind::Extended], "{}", shown(&Lock::compare(&old, &new)));
        assert_eq!(
            kinds(&new, &old),
            [ChangeKind::Changed],
            "back again: {}",
            shown(&Lock::compare(&new, &old))
        );
    }
    let changed = [
        lock! {
            enum Kind { Cash, Card }
            enum Event {
                Deposited { amount: u64, kind: Kind, note: Option<String>, #[serde(default)] fee: u8, new: u8 }
            }
        },
        lock! {
            enum Kind { Cash, Card }
            enum Event { Deposited { amount: u64, kind: Kind, note: String, #[serde(default)] fee: u8 } }
        },
        lock! {
            enum Kind { Cash, Card }
            enum Event { Deposited { amount: u64, kind: Kind, note: Option<String> } }
        },
        lock! {
            enum Kind { Cash, Card { number: u64 } }
            enum Event { Deposited { amount: u64, kind: Kind, note: Option<String>, #[serde(default)] fee: u8 } }
        },
        lock! {
            enum Kind { Cash, Card }
            enum Event {
                Deposited {
                    amount: u64, kind: Kind, note: Option<String>, #[serde(default = "default_fee")] fee: u8
                }
            }
        },
    ];
    for new in changed {
        assert_eq!(kinds(&old, &new), [ChangeKind::Changed], "{}", shown(&Lock::compare(&old, &new)));
    }
}

#[test]
fn a_field_that_was_optional_stays_so() {
    let old = lock! {
        enum Event { Opened { #[serde(default, skip_serializing_if = "String::is_empty")] branch: String } }
    };
    let new = lock! { enum Event { Opened { branch: String } } };
    assert_eq!(
        shown(&Lock::compare(&old, &new)),
        "\
event account.opened 1: changed without a new shape
  - branch?: string
  + branch: string
  raise its shape and write an upcast: shape = 2, was(1 = ..); or restore it"
    );
    assert_eq!(kinds(&new, &old), [ChangeKind::Extended]);
}

fn default_fee() -> u8 {
    3
}

#[derive(Deserialize)]
struct Old {
    amount: u64,
}

#[derive(annals_macros::Event, Serialize, Deserialize, JsonSchema, Clone)]
#[event(prefix = "account", crate = "crate")]
enum Raised {
    #[event(shape = 2, was(1 = Old))]
    Deposited { cents: u64 },
}

impl From<Old> for Raised {
    fn from(Old { amount }: Old) -> Self {
        Self::Deposited { cents: amount * 100 }
    }
}

#[test]
fn a_raised_shape_needs_an_upcast_and_keeps_its_history() {
    let old = lock! { enum Event { Deposited { amount: u64 } } };
    let new = lock_of::<Raised>();
    let changes = Lock::compare(&old, &new);
    assert_eq!(
        shown(&changes),
        "\
event account.deposited 2: raised from shape 1, with upcasts
  - amount: integer uint64 >= 0
  + cents: integer uint64 >= 0"
    );
    assert!(!changes[0].kind.is_breaking());
    assert_eq!(kinds(&new, &old), [ChangeKind::Lowered { from: 2 }]);

    let file = new.clone().with_history_of(&old);
    assert_eq!(kinds(&file, &new), []);
    check_text(
        &file,
        "\
[event account.deposited 1]
amount: integer uint64 >= 0

[event account.deposited 2, reads 1]
cents: integer uint64 >= 0
",
    );

    let mut forgotten = new;
    forgotten.entries.values_mut().for_each(|shape| shape.reads.clear());
    assert_eq!(kinds(&old, &forgotten), [ChangeKind::NoUpcast { missing: vec![1] }]);
    assert_eq!(kinds(&file, &forgotten), [ChangeKind::NoUpcast { missing: vec![1] }]);
}

#[test]
fn names_come_but_do_not_go() {
    let old = lock! { enum Event { Opened } };
    let new = lock! { enum Event { Opened, Closed } };
    assert_eq!(kinds(&old, &new), [ChangeKind::Added]);
    assert_eq!(
        shown(&Lock::compare(&new, &old)),
        "\
event account.closed 1: gone, so what is stored under its name cannot be read
  keep a variant with name = \"account.closed\", or restore it"
    );
    assert!(Lock::compare(&new, &old)[0].kind.is_breaking());
}

#[test]
fn a_bad_line_is_named() {
    for (text, line, expected) in [
        ("[event a.b 1]\nx integer", 2, "a place is written"),
        ("[event a.b 1]\n: integer", 2, "a place is written"),
        ("[event a.b 1]\nx: ", 2, "a place is written"),
        ("x: integer", 1, "a section must start"),
        ("# head\n\n[event a.b]", 3, "a section starts as"),
        ("[event a.b 0]", 1, "a section starts as"),
        ("[event a.b 4294967296]", 1, "a section starts as"),
        ("[happening a.b 1]", 1, "a section starts as"),
        ("[event a.b 2, reads x]", 1, "a section starts as"),
        ("[event a.b 1]\n[event a.b 1]", 2, "the section is there already"),
        ("[event a.b 1]\nx: integer\nx?: string", 3, "the place is there already"),
        ("<<<<<<< ours", 1, "a place is written"),
    ] {
        let error = Lock::parse(text).unwrap_err();
        assert_eq!(error.line, line, "{text}");
        assert!(error.expected.starts_with(expected), "{text}: {error}");
    }
}

#[derive(annals_macros::Command, Serialize, Deserialize, JsonSchema, Clone)]
#[command(crate = "crate")]
enum Command {
    HoldFunds { amount: u64 },
}

#[derive(annals_macros::Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug)]
#[refusal(crate = "crate")]
enum Refusal {
    #[error("only {0} left")]
    Overdrawn(u64),
}

#[derive(Default, Serialize, Deserialize, JsonSchema, Clone)]
struct Account;

impl Decider for Account {
    const NAME: &'static str = "account";
    type Id = String;
    type Command = Command;
    type Event = Raised;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, _: &Meta) -> Result<Vec<Raised>, Refusal> {
        let Command::HoldFunds { amount } = command;
        Err(Refusal::Overdrawn(*amount))
    }

    fn evolve(&mut self, _: &Raised) {}
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Transfer {
    amount: u64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
enum Step {
    Credit,
    Refund { amount: u64 },
}

impl Saga for Transfer {
    const NAME: &'static str = "transfer";
    type Key = String;
    type Input = Raised;
    type Step = Step;
    type Timer = ();

    fn key(_: &Recorded<Raised>) -> Option<String> {
        None
    }

    fn react(&mut self, _: Signal<'_, Self>, _: &mut Outbox<Self>) {}
}

#[test]
fn a_context_pins_its_deciders_and_sagas() {
    let lock = Lock::of(&crate::context("bank").decider::<Account>().saga::<Transfer>()).unwrap();
    check_text(
        &lock,
        "\
[event account.deposited 2, reads 1]
cents: integer uint64 >= 0

[command account/hold-funds 1]
amount: integer uint64 >= 0

[refusal account/overdrawn 1]
$: integer uint64 >= 0

[state transfer 1]
amount: integer uint64 >= 0

[step transfer 1]
$: one of
$|Credit: unit
$|Refund: object
$|Refund.amount: integer uint64 >= 0

[timer transfer 1]
$: null
",
    );
    let without = Lock::of(&crate::context("bank").decider::<Account>()).unwrap();
    let gone = Lock::compare(&lock, &without);
    assert!(gone.len() == 3 && gone.iter().all(|change| change.kind == ChangeKind::Removed));
    assert!(shown(&gone).contains("keep the saga until none of it is under way"));
}

#[test]
fn a_variant_hidden_from_the_schema_is_an_error() {
    #[derive(annals_macros::Event, Serialize, Deserialize, JsonSchema, Clone)]
    #[event(prefix = "account", crate = "crate")]
    enum Hidden {
        #[schemars(rename = "Other")]
        Opened,
    }
    let schema = schemars::schema_for!(Hidden).to_value();
    let added = Lock::default().add(Part::Event, Hidden::VARIANTS, &schema, &[vec![]], str::to_owned);
    let entry = Entry { part: Part::Event, name: "account.opened".into(), shape: 1 };
    assert_eq!(added, Err(ShapeError::NotInSchema { entry }));
}
