//! Lists by declared indexes: every store against a model that sorts and filters values as JSON.

use std::cmp::Ordering;

use annals_core::context::context;
use annals_core::{Fate, Projection, Recorded};
use annals_views::store::{Change, Comparison, Document, DocumentKey, Layout};
use annals_views::{IndexKey, Listing, ViewError, ViewId, ViewStore, Wanted};
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::Event;
use crate::store::every_store;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Sample {
    amount: Option<f64>,
    place: Place,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Place {
    city: Option<String>,
}

impl Projection for Sample {
    const NAME: &'static str = "sample";
    const INDEXES: &'static [&'static str] = &["amount", "place.city"];
    type Input = Event;
    type Key = String;

    fn keys(_: &Recorded<Event>) -> impl IntoIterator<Item = String> {
        []
    }

    fn project(&mut self, _: &String, _: &Recorded<Event>) -> Fate {
        Fate::Keep
    }
}

/// What the model sorts by: nothing first, then numbers, then texts.
fn compare(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) | (Value::Number(_), Value::String(_)) => Ordering::Less,
        (_, Value::Null) | (Value::String(_), Value::Number(_)) => Ordering::Greater,
        (Value::Number(one), Value::Number(other)) => {
            one.as_f64().unwrap().partial_cmp(&other.as_f64().unwrap()).unwrap()
        }
        (one, other) => one.as_str().unwrap().cmp(other.as_str().unwrap()),
    }
}

fn holds(comparison: Comparison, ordering: Ordering) -> bool {
    match comparison {
        Comparison::Equal => ordering.is_eq(),
        Comparison::Greater => ordering.is_gt(),
        Comparison::AtLeast => ordering.is_ge(),
        Comparison::Less => ordering.is_lt(),
        Comparison::AtMost => ordering.is_le(),
    }
}

fn value<'a>(document: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(document, |place, name| &place[name])
}

#[test]
fn lists_are_what_a_model_says() {
    const COMPARISONS: [Comparison; 5] =
        [Comparison::Equal, Comparison::Greater, Comparison::AtLeast, Comparison::Less, Comparison::AtMost];
    let context = context("samples").projection::<Sample>().checked().unwrap();
    let projection = context.projections()["sample"].as_ref();
    let view = ViewId::first("sample", 1);
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let amounts = [None, Some(-2.5), Some(-2.0), Some(0.0), Some(3.0), Some(3.5), Some(1e12)];
    let cities = [None, Some("Aachen"), Some("Bonn"), Some("3"), Some("")];
    let documents: Vec<(String, Value)> = (0..200)
        .map(|n| {
            let document = Sample {
                amount: *amounts.choose(&mut random).unwrap(),
                place: Place { city: cities.choose(&mut random).unwrap().map(str::to_owned) },
            };
            (format!("{}{n:03}", ["a", "b"][n % 2]), serde_json::to_value(document).unwrap())
        })
        .collect();
    every_store(|store| {
        fill(store, &view, &documents);
        for _ in 0..300 {
            let path = *["amount", "place.city"].choose(&mut random).unwrap();
            let order = *["", "key", "-key", "amount", "-amount", "place.city", "-place.city"]
                .choose(&mut random)
                .unwrap();
            let wanted: Vec<(Wanted, Value)> = (0..random.random_range(0..3))
                .map(|_| {
                    let value = value(&documents.choose(&mut random).unwrap().1, path).clone();
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    // In a field of texts `null` is a text, which none here is.
                    let value = if path == "amount" { value } else { json!(text) };
                    let comparison = *COMPARISONS.choose(&mut random).unwrap();
                    (Wanted { path: path.to_owned(), comparison, value: text }, value)
                })
                .collect();
            let prefix = *["", "a", "b1"].choose(&mut random).unwrap();
            let expected = model(&documents, prefix, order, &wanted);
            let wanted: Vec<Wanted> = wanted.into_iter().map(|(wanted, _)| wanted).collect();
            let order = Some(order).filter(|order| !order.is_empty());
            let (limit, mut seen, mut cursor) = (random.random_range(1..60), Vec::new(), None::<String>);
            loop {
                let listing = Listing {
                    tenant: None,
                    prefix,
                    wanted: &wanted,
                    order,
                    cursor: cursor.as_deref(),
                    limit,
                };
                let resolved = listing.resolve(projection, &Layout::of(projection)).unwrap();
                let page = store.list(&view, &listing.query(&resolved)).unwrap();
                assert!(page.documents.len() == limit || page.next.is_none());
                seen.extend(page.documents.into_iter().map(|(key, _)| key));
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen, expected, "{wanted:?} {order:?} {prefix:?} {limit}");
        }
    });
}

fn fill(store: &dyn ViewStore, view: &ViewId, documents: &[(String, Value)]) {
    let layout = Layout { indexes: Sample::INDEXES.iter().map(ToString::to_string).collect() };
    store.create(view, &layout).unwrap();
    let written = |(key, document): &(String, Value)| {
        let values = Sample::INDEXES.iter().map(|path| IndexKey::of(value(document, path))).collect();
        let document = Document { json: document.to_string().into_bytes(), values };
        (DocumentKey { tenant: None, key: key.clone() }, Some(document))
    };
    let mut documents: Vec<_> = documents.iter().map(written).collect();
    documents.sort_by(|(one, _), (other, _)| one.cmp(other));
    store.save(view, &Change { documents, ..Change::default() }).unwrap();
}

fn model(
    documents: &[(String, Value)],
    prefix: &str,
    order: &str,
    wanted: &[(Wanted, Value)],
) -> Vec<String> {
    let fits = |document: &Value| {
        let fits = |(wanted, than): &(Wanted, Value)| {
            holds(wanted.comparison, compare(value(document, &wanted.path), than))
        };
        wanted.iter().all(fits)
    };
    let mut found: Vec<&(String, Value)> = documents.iter().filter(|(_, document)| fits(document)).collect();
    found.retain(|(key, _)| key.starts_with(prefix));
    let (path, descending) = order.strip_prefix('-').map_or((order, false), |path| (path, true));
    found.sort_by(|(one_key, one), (other_key, other)| {
        let by_value = match path {
            "" | "key" => Ordering::Equal,
            path => compare(value(one, path), value(other, path)),
        };
        by_value.then_with(|| one_key.cmp(other_key))
    });
    if descending {
        found.reverse();
    }
    found.into_iter().map(|(key, _)| key.clone()).collect()
}

#[test]
fn what_is_not_declared_is_refused_with_what_is() {
    let context = context("samples").projection::<Sample>().checked().unwrap();
    let projection = context.projections()["sample"].as_ref();
    let told =
        |listing: Listing<'_>| listing.resolve(projection, &Layout::of(projection)).map(|_| ()).unwrap_err();
    let wanted = [Wanted { path: "city".into(), comparison: Comparison::Equal, value: "x".into() }];
    let error = told(Listing { wanted: &wanted, ..Listing::default() });
    assert_eq!(error.to_string(), "view sample has no index on \"city\"; there are amount, place.city");
    let error = told(Listing { order: Some("-size"), ..Listing::default() });
    assert!(matches!(error, ViewError::NoIndex { path, .. } if path == "size"));
    let error = told(Listing { order: Some("amount"), cursor: Some("ann"), ..Listing::default() });
    assert_eq!(error.to_string(), "\"ann\" is not a place in a list of view sample in this order");
}
