//! The OpenAPI document against the router.

use serde_json::{Value, json};

use crate::bank::Bank;
use crate::client::{ask, get, request};

fn visit<'a>(value: &'a Value, seen: &mut dyn FnMut(&'a str, &'a Value)) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                seen(key, value);
                visit(value, seen);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| visit(value, seen)),
        _ => {}
    }
}

pub async fn document() -> (Bank, Value) {
    let bank = Bank::open();
    let document = get(&bank.router, "/openapi.json").await.ok();
    (bank, document)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reference_leads_somewhere() {
    let (_, document) = document().await;
    let (mut references, mut definitions) = (0, 0);
    visit(&document, &mut |key, value| {
        definitions += usize::from(key == "$defs" || key == "$schema");
        if let ("$ref", Some(reference)) = (key, value.as_str()) {
            references += 1;
            let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
            assert!(target.is_some_and(Value::is_object), "{reference} leads nowhere");
        }
    });
    assert!(references > 100, "there are references to check: {references}");
    assert_eq!(definitions, 0, "all definitions have moved");
}

/// The metrics page lists every route of the router, so it is what the document is held against.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_documented_and_everything_documented_is_routed() {
    let (bank, document) = document().await;
    let metrics = get(&bank.router, "/metrics").await.text();
    let routes: Vec<(String, String)> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("annals_http_request_seconds_total{method=\""))
        .map(|line| {
            let (method, rest) = line.split_once("\",route=\"").unwrap();
            (method.to_lowercase(), rest.split_once('"').unwrap().0.to_owned())
        })
        .collect();
    assert_eq!(routes.len(), 18);
    let mut covered = vec![false; routes.len()];
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            // The first that fits is the one with the most fixed words: the list has them in that order.
            let fits = |(of, route): &(String, String)| of == method && is_filled(route, path);
            let found: Vec<usize> = (0..routes.len()).filter(|index| fits(&routes[*index])).collect();
            assert!(!found.is_empty(), "{method} {path} is documented and not routed");
            found.into_iter().for_each(|index| covered[index] = true);
            let uri = path.replace(['{', '}'], "");
            let answer = if uri.ends_with("/events") && !uri.contains("/id/") {
                // It would never end.
                continue;
            } else {
                ask(&bank.router, request(&method.to_uppercase(), &uri, &[], "")).await
            };
            let unrouted = [b"unknown-route".as_slice(), b"wrong-method"];
            let problem = path.starts_with("/problems/");
            let told = unrouted.iter().any(|name| answer.body.windows(name.len()).any(|part| part == *name));
            assert!(problem || path == "/openapi.json" || !told, "{method} {path}: {}", answer.text());
        }
    }
    let missing: Vec<_> = routes.iter().zip(covered).filter(|(_, covered)| !covered).collect();
    assert!(missing.is_empty(), "routes without documentation: {missing:?}");
}

/// Whether `path` is `route` with its variables filled in or left as they are.
fn is_filled(route: &str, path: &str) -> bool {
    let (route, path): (Vec<&str>, Vec<&str>) = (route.split('/').collect(), path.split('/').collect());
    route.len() == path.len()
        && route.iter().zip(path).all(|(route, path)| *route == path || route.starts_with('{'))
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_documented_with_fields_and_refusals() {
    let (_, document) = document().await;
    let deposit = &document["paths"]["/api/bank/account/{id}/deposit"]["post"];
    assert_eq!(deposit["requestBody"]["required"], true);
    let fields = &document["components"]["schemas"]["bank.account.command.deposit"];
    assert_eq!(fields["required"], json!(["amount"]));
    assert_eq!(
        fields["properties"]["amount"]["$ref"],
        "#/components/schemas/bank.account.commands.defs.Money"
    );
    assert_eq!(fields["additionalProperties"], false);
    assert_eq!(document["components"]["schemas"]["bank.account.commands.defs.Money"]["type"], "object");
    let open = &document["paths"]["/api/bank/account/{id}/open"]["post"];
    assert_eq!(open["requestBody"]["required"], false);
    let refused =
        &deposit["responses"]["422"]["content"]["application/problem+json"]["schema"]["anyOf"][0]["$ref"];
    assert_eq!(refused, "#/components/schemas/bank.account.refused");
    let refusals =
        &document["components"]["schemas"]["bank.account.refused"]["properties"]["refusal"]["oneOf"];
    let names: Vec<&Value> =
        refusals.as_array().unwrap().iter().map(|refusal| &refusal["properties"]["name"]["const"]).collect();
    assert_eq!(names, ["not-open", "overdrawn"]);
    let mut ids = Vec::new();
    visit(&document["paths"], &mut |key, value| {
        if key == "operationId" {
            ids.push(value.as_str().unwrap());
        }
    });
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "operation ids are unique");
}
