//! What the derives make of an enum: names, tags, upcasts, sets of events.

use annals::__private::codec::{self, DecodeError, Variants};
use annals::__private::{event, refusal};
use annals::{Command, Event, Events, Refusal};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

mod account {
    use super::*;

    #[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
    #[event(prefix = "account")]
    pub enum Event {
        Opened,
        LimitRaised {
            limit: u64,
        },
        #[event(shape = 3, was(2 = DepositedV2, 1 = DepositedV1))]
        Deposited {
            amount: u64,
            currency: String,
            note: Option<String>,
        },
        #[event(name = "account.hold")]
        #[serde(rename = "hold")]
        Held {
            #[event(tag)]
            transfer: uuid::Uuid,
            #[event(tag)]
            #[serde(rename = "for")]
            beneficiary: Option<String>,
            #[event(tag = "label")]
            labels: Vec<u8>,
        },
        #[event(shape = 2, was(1 = Unit))]
        Moved(#[event(tag = "to")] String),
    }

    #[derive(Deserialize)]
    pub struct DepositedV1 {
        cents: u64,
    }

    #[derive(Deserialize)]
    pub struct DepositedV2 {
        cents: u64,
        currency: String,
    }

    #[derive(Deserialize)]
    pub struct Unit;

    impl From<DepositedV1> for DepositedV2 {
        fn from(DepositedV1 { cents }: DepositedV1) -> Self {
            Self { cents, currency: "EUR".into() }
        }
    }

    impl From<DepositedV2> for Event {
        fn from(DepositedV2 { cents, currency }: DepositedV2) -> Self {
            Self::Deposited { amount: cents / 100, currency, note: None }
        }
    }

    impl From<Unit> for Event {
        fn from(Unit: Unit) -> Self {
            Self::Moved("nowhere".into())
        }
    }
}

mod market {
    use super::*;

    #[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
    #[event(prefix = "market")]
    #[serde(rename_all = "SCREAMING-KEBAB-CASE")]
    pub enum Event {
        HTTPClosed,
        PriceMoved { price: u64 },
    }
}

#[derive(Command, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
enum Ask {
    Open,
    #[command(shape = 2, was(1 = OldHold))]
    HoldFunds {
        amount: u64,
    },
    #[command(name = "shut")]
    Close,
}

#[derive(Deserialize)]
struct OldHold(u64);

impl From<OldHold> for Ask {
    fn from(OldHold(amount): OldHold) -> Self {
        Self::HoldFunds { amount }
    }
}

#[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
enum No {
    #[error("no such account")]
    NoSuchAccount,
    #[error("only {0} left")]
    #[refusal(shape = 2, was(1 = Nothing))]
    Overdrawn(u64),
}

#[derive(Deserialize)]
struct Nothing {}

impl From<Nothing> for No {
    fn from(Nothing {}: Nothing) -> Self {
        Self::Overdrawn(0)
    }
}

#[derive(Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
enum Never {}

#[derive(Events, Clone, Debug, PartialEq)]
enum BankEvent {
    Account(account::Event),
    Market(market::Event),
}

fn names<T: Variants>() -> Vec<(&'static str, &'static str, u32)> {
    T::VARIANTS.iter().map(|variant| (variant.name, variant.serde_name, variant.shape)).collect()
}

fn held(beneficiary: Option<&str>, labels: &[u8]) -> account::Event {
    account::Event::Held {
        transfer: uuid::Uuid::nil(),
        beneficiary: beneficiary.map(str::to_owned),
        labels: labels.to_vec(),
    }
}

fn deposited(amount: u64, currency: &str) -> account::Event {
    account::Event::Deposited { amount, currency: currency.into(), note: None }
}

#[test]
fn variants_have_stored_names_and_shapes() {
    assert_eq!(
        names::<account::Event>(),
        [
            ("account.opened", "Opened", 1),
            ("account.limit_raised", "LimitRaised", 1),
            ("account.deposited", "Deposited", 3),
            ("account.hold", "hold", 1),
            ("account.moved", "Moved", 2),
        ]
    );
    assert_eq!(
        names::<market::Event>(),
        [("market.http_closed", "H-T-T-P-CLOSED", 1), ("market.price_moved", "PRICE-MOVED", 1)]
    );
    assert_eq!(names::<Ask>(), [("open", "Open", 1), ("hold-funds", "HoldFunds", 2), ("shut", "Close", 1)]);
    assert_eq!(names::<No>(), [("no-such-account", "NoSuchAccount", 1), ("overdrawn", "Overdrawn", 2)]);
    assert_eq!(names::<Never>(), []);
}

/// Stores and reads back, which also proves that the names the derive took from serde's attributes are serde's.
#[test]
fn every_variant_comes_back() {
    for event in [
        account::Event::Opened,
        account::Event::LimitRaised { limit: 5 },
        deposited(5, "USD"),
        held(Some("bob"), &[1]),
        account::Event::Moved("here".into()),
    ] {
        let stored = event.store().unwrap();
        assert_eq!(account::Event::read(&stored.name, stored.shape, &stored.payload), Some(Ok(event)));
    }
    for event in [market::Event::HTTPClosed, market::Event::PriceMoved { price: 3 }] {
        let stored = event::encode(&event).unwrap();
        assert_eq!(market::Event::read(&stored.name, stored.shape, &stored.payload), Some(Ok(event)));
    }
    for command in [Ask::Open, Ask::HoldFunds { amount: 2 }, Ask::Close] {
        let stored = codec::encode(&command.clone()).unwrap();
        assert_eq!(codec::decode(stored.variant.name, stored.variant.shape, &stored.payload), Ok(command));
    }
    for refused in [No::NoSuchAccount, No::Overdrawn(3)] {
        assert_eq!(refusal::decode(&refusal::encode(&refused).unwrap()), Ok(refused));
    }
}

#[test]
fn tags_are_field_and_value() {
    let nil = "transfer:00000000-0000-0000-0000-000000000000";
    assert_eq!(held(Some("bob"), &[7, 8]).tags(), [nil, "for:bob", "label:7", "label:8"]);
    assert_eq!(held(None, &[]).tags(), [nil]);
    assert_eq!(account::Event::Moved("here".into()).tags(), ["to:here"]);
    assert!(account::Event::Opened.tags().is_empty());
    assert_eq!(held(None, &[]).store().unwrap().tags, [nil]);
}

#[test]
fn older_shapes_go_through_every_upcast() {
    let read = |shape, payload: &str| account::Event::read("account.deposited", shape, payload.as_bytes());
    assert_eq!(read(0, r#"{"cents":500}"#), Some(Ok(deposited(5, "EUR"))), "shape 0 stands for 1");
    assert_eq!(read(1, r#"{"cents":500}"#), Some(Ok(deposited(5, "EUR"))));
    assert_eq!(read(2, r#"{"cents":500,"currency":"USD"}"#), Some(Ok(deposited(5, "USD"))));
    assert_eq!(read(3, r#"{"amount":5,"currency":"USD"}"#), Some(Ok(deposited(5, "USD"))));
    assert_eq!(
        account::Event::read("account.moved", 1, b""),
        Some(Ok(account::Event::Moved("nowhere".into()))),
        "a variant that had no fields"
    );
    assert_eq!(codec::decode("hold-funds", 1, b"7"), Ok(Ask::HoldFunds { amount: 7 }));
    assert_eq!(codec::decode("overdrawn", 1, b""), Ok(No::Overdrawn(0)));
}

#[test]
fn what_cannot_be_read_is_named() {
    fn error<T: Variants + DeserializeOwned + std::fmt::Debug>(
        name: &str,
        shape: u32,
        payload: &str,
    ) -> String {
        codec::decode::<T>(name, shape, payload.as_bytes()).unwrap_err().to_string()
    }
    assert_eq!(account::Event::read("account.closed", 1, b""), None);
    assert_eq!(
        error::<account::Event>("account.closed", 1, ""),
        "no type is registered under the stored name \"account.closed\""
    );
    assert_eq!(
        error::<account::Event>("account.deposited", 4, "{}"),
        "account.deposited is stored with shape 4, this program knows 3 and no upcast from 4"
    );
    assert_eq!(
        error::<account::Event>("account.opened", 2, ""),
        "account.opened is stored with shape 2, this program knows 1 and no upcast from 2"
    );
    for (shape, reason) in
        [(1, "missing field `cents`"), (2, "missing field `cents`"), (3, "missing field `amount`")]
    {
        let error = error::<account::Event>("account.deposited", shape, "{}");
        let expected = format!("account.deposited (shape {shape}) does not fit its type: {reason}");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn events_of_several_deciders_are_one_type() {
    assert_eq!(BankEvent::names(), [account::Event::names(), market::Event::names()].concat());
    for event in [BankEvent::from(held(None, &[])), market::Event::PriceMoved { price: 3 }.into()] {
        let stored = event.store().unwrap();
        assert_eq!(BankEvent::read(&stored.name, stored.shape, &stored.payload), Some(Ok(event)));
    }
    assert_eq!(held(None, &[]).store(), BankEvent::Account(held(None, &[])).store(), "tags are kept");
    assert_eq!(BankEvent::read("shop.opened", 1, b""), None);
    let error = BankEvent::read("market.price_moved", 1, b"{}").unwrap().unwrap_err();
    assert!(matches!(error, DecodeError::Payload { name, .. } if name == "market.price_moved"));
}

#[test]
fn a_crate_below_the_facade_says_where_the_traits_are() {
    use annals::__private as elsewhere;

    #[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
    #[event(prefix = "low", crate = "elsewhere")]
    enum Low {
        Happened,
    }
    #[derive(Command, Serialize, Deserialize, JsonSchema, Clone)]
    #[command(crate = "elsewhere")]
    enum AskLow {
        It,
    }
    #[derive(Events, Clone, Debug, PartialEq)]
    #[events(crate = "elsewhere")]
    enum Both {
        Low(Low),
        Market(market::Event),
    }
    assert_eq!(Both::read("low.happened", 1, b""), Some(Ok(Both::Low(Low::Happened))));
    assert_eq!(codec::encode(&AskLow::It.clone()).unwrap().variant.name, "it");
}

/// An attribute that a `macro_rules` macro passes on must not change how the generated code resolves its own names.
#[test]
fn enums_may_come_out_of_macros() {
    macro_rules! event {
        (#[$attribute:meta] $tag:ty) => {
            #[derive(Event, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
            #[event(prefix = "made")]
            enum Made {
                #[$attribute]
                Happened {
                    #[event(tag)]
                    to: $tag,
                },
            }
            #[derive(Events, Clone, Debug, PartialEq)]
            enum Either {
                Made(Made),
            }
            impl From<u32> for Made {
                fn from(to: u32) -> Self {
                    Self::Happened { to: to.into() }
                }
            }
        };
    }
    event!(
        #[event(shape = 2, was(1 = u32))]
        u64
    );
    let read = Either::read("made.happened", 1, b"7").unwrap().unwrap();
    assert_eq!(read, Either::Made(Made::Happened { to: 7 }));
    assert_eq!(read.store().unwrap().tags, ["to:7"]);
}
