//! Who may do what, behind a file of keys: every operation of the OpenAPI document with no key, a wrong one, one
//! without the role, one for another tenant, and the right one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::Timestamp;
use annals_server::keys::{Grant, Key, Reach};
use annals_server::{KeyFile, KeyFileError, Limits, SetupError, router};
use axum::Router;
use serde_json::Value;

use crate::bank::{Bank, served};
use crate::client::{Answer, ask, call, request};
use crate::documented::document;

/// A file of keys, and the secrets in it.
struct Ring {
    _directory: tempfile::TempDir,
    path: PathBuf,
    keys: Vec<Key>,
}

impl Ring {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.ndjson");
        KeyFile::write(&path, &[]).unwrap();
        Self { _directory: directory, path, keys: Vec::new() }
    }

    fn add(&mut self, actor: &str, tenant: Option<&str>, roles: &[&str]) -> String {
        let roles: Vec<Grant> = roles.iter().map(|role| role.parse().unwrap()).collect();
        let tenant = Reach::try_from(tenant.map(str::to_owned)).unwrap();
        let (key, secret) = Key::generate(actor.to_owned(), tenant, roles, Timestamp::UNIX_EPOCH).unwrap();
        self.keys.push(key);
        KeyFile::write(&self.path, &self.keys).unwrap();
        secret
    }

    fn router(&self, bank: &Bank) -> Router {
        let keys = Arc::new(KeyFile::open(&self.path).unwrap());
        router(vec![served(&bank.engine)], Some(keys), Limits::default()).unwrap()
    }
}

/// The status of an answer and, where it is a problem, its name; the body of a stream of events is not read.
async fn told(
    router: &Router,
    method: &str,
    uri: &str,
    key: Option<&str>,
    more: &[(&str, &str)],
) -> (u16, String) {
    let bearer = key.map(|key| format!("Bearer {key}"));
    let mut headers = more.to_vec();
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    if uri == "/api/bank/events" {
        let response = call(router, request(method, uri, &headers, "")).await;
        if response.status() == 200 {
            return (200, String::new());
        }
    }
    let answer = ask(router, request(method, uri, &headers, "")).await;
    (answer.status, problem(&answer))
}

fn problem(answer: &Answer) -> String {
    let document = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    document["type"].as_str().and_then(|name| name.strip_prefix("/problems/")).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_operation_asks_for_its_role() {
    let (bank, document) = document().await;
    let mut ring = Ring::new();
    let none = ring.add("none", None, &[]);
    let reader = ring.add("reader", None, &["bank:read"]);
    let writer = ring.add("writer", None, &["bank:write"]);
    let operator = ring.add("operator", None, &["bank:operate"]);
    let stranger = ring.add("stranger", None, &["shop:operate"]);
    let acme = ring.add("acme", Some("acme"), &["*:operate"]);
    let router = ring.router(&bank);
    let unknown = format!("annals_{}", "0".repeat(64));
    let mut counts = [0; 4];
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let (method, uri) = (method.to_uppercase(), path.replace(['{', '}'], ""));
            let role = operation["x-annals-role"].as_str();
            let role = role.unwrap_or_else(|| panic!("{method} {path} says nothing of who may ask"));
            let told = async |key: Option<&str>, more: &[(&str, &str)]| {
                told(&router, &method, &uri, key, more).await
            };
            let is_refused = |(status, name): &(u16, String)| {
                matches!((*status, name.as_str()), (401, "unauthenticated") | (403, "forbidden"))
            };
            let place = format!("{method} {path} ({role})");
            if role == "open" {
                counts[0] += 1;
                assert!(!is_refused(&told(None, &[]).await), "{place}");
                continue;
            }
            for key in [None, Some(unknown.as_str()), Some("annals_"), Some(&reader[..20])] {
                assert_eq!(told(key, &[]).await, (401, "unauthenticated".to_owned()), "{place}: {key:?}");
            }
            // Weakest first: those before the first that may are refused.
            let (keys, first) = (
                [&none, &reader, &writer, &operator],
                match role {
                    "any key" => 0,
                    "read" => 1,
                    "write" => 2,
                    "operate" => 3,
                    role => panic!("{place}: there is no role {role}"),
                },
            );
            counts[first.min(3)] += usize::from(first > 0);
            for (index, key) in keys.into_iter().enumerate() {
                let told = told(Some(key), &[]).await;
                let expected = index < first;
                assert_eq!(told == (403, "forbidden".to_owned()), expected, "{place}: {index} {told:?}");
                assert!(told.0 != 401, "{place}: {told:?}");
            }
            if uri.starts_with("/api/") || uri.starts_with("/admin/") {
                assert_eq!(told(Some(&stranger), &[]).await, (403, "forbidden".to_owned()), "{place}");
            }
            for (key, tenant) in [(&operator, "acme"), (&acme, "zeta")] {
                let told = told(Some(key), &[("x-annals-tenant", tenant)]).await;
                assert_eq!(told, (403, "forbidden".to_owned()), "{place}: tenant {tenant}");
            }
            if role == "operate" {
                // It concerns all tenants.
                assert_eq!(told(Some(&acme), &[]).await, (403, "forbidden".to_owned()), "{place}");
            }
            let told = told(Some(&operator), &[("x-annals-actor", "somebody")]).await;
            assert_eq!(told, (403, "forbidden".to_owned()), "{place}: another actor");
        }
    }
    assert!(
        counts.into_iter().zip([3, 8, 7, 11]).all(|(met, least)| met >= least),
        "each role was met: {counts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_have_the_actor_and_the_tenant_of_the_key() {
    let bank = Bank::open();
    let mut ring = Ring::new();
    let acme = ring.add("Jürgen", Some("acme"), &["bank:write"]);
    let any = ring.add("auditor", Some("*"), &["bank:read"]);
    let plain = ring.add("plain", None, &["bank:write"]);
    let router = ring.router(&bank);
    let ask = async |method: &str, uri: &str, key: &str, more: &[(&str, &str)]| {
        let bearer = format!("bearer {key}");
        let headers = [more, &[("authorization", bearer.as_str())]].concat();
        ask(&router, request(method, uri, &headers, "")).await
    };
    ask("POST", "/api/bank/account/ann/open", &acme, &[]).await.ok();
    let tenant = [("x-annals-tenant", "acme")];
    let history = ask("GET", "/api/bank/account/ann/events", &any, &tenant).await.ok();
    assert_eq!(history["events"][0]["actor"], "Jürgen", "{history}");
    assert_eq!(history["events"][0]["stream"], "acme:account/ann");
    // Others do not see it, whatever they ask for.
    ask("GET", "/api/bank/account/ann", &plain, &[]).await.problem(404, "no-entity");
    ask("GET", "/api/bank/account/ann", &plain, &tenant).await.problem(403, "forbidden");
    ask("GET", "/api/bank/account/acme:ann", &plain, &[]).await.problem(404, "no-entity");
    ask("GET", "/api/bank/account/ann", &any, &[]).await.problem(404, "no-entity");
    let answer = ask("GET", "/api/bank/account/ann", "annals_guessed", &[]).await;
    answer.problem(401, "unauthenticated");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"annals\""));
    assert!(!answer.text().contains("guessed"), "no key is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_tells_reasons_to_those_who_have_a_key() {
    let bank = Bank::open();
    let mut ring = Ring::new();
    let key = ring.add("ann", None, &[]);
    let router = ring.router(&bank);
    let get =
        async |headers: &[(&str, &str)]| ask(&router, request("GET", "/readyz", headers, "")).await.ok();
    assert_eq!(get(&[]).await, serde_json::json!({ "ready": true }));
    let bearer = format!("Bearer {key}");
    let told = get(&[("authorization", bearer.as_str())]).await;
    assert_eq!(
        (&told["degraded"], &told["contexts"]["bank"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );
}

/// Asks until the file was looked at again.
fn wait_for(done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < until, "waited for a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_file_that_changes_is_read_again_and_a_broken_one_is_told() {
    let mut ring = Ring::new();
    let first = ring.add("first", None, &["bank:read"]);
    let keys = KeyFile::open(&ring.path).unwrap();
    assert_eq!(keys.find(&first).unwrap().actor, "first");
    assert_eq!((keys.find("annals_").is_none(), keys.trouble()), (true, None));
    let second = ring.add("second", None, &["bank:read"]);
    wait_for(|| keys.find(&second).is_some());
    // A broken file changes nothing but is told.
    let whole = fs::read(&ring.path).unwrap();
    fs::write(&ring.path, "{\"id\":\"x\"}\n").unwrap();
    wait_for(|| keys.trouble().is_some_and(|trouble| trouble.contains("line 1: missing field")));
    assert!(keys.find(&first).is_some());
    fs::remove_file(&ring.path).unwrap();
    wait_for(|| keys.trouble().is_some_and(|trouble| trouble.contains("No such file")));
    fs::write(&ring.path, whole).unwrap();
    fs::set_permissions(&ring.path, fs::Permissions::from_mode(0o600)).unwrap();
    wait_for(|| keys.trouble().is_none());
    // A key that is taken away is good for nothing any more.
    ring.keys.remove(0);
    KeyFile::write(&ring.path, &ring.keys).unwrap();
    wait_for(|| keys.find(&first).is_none());
    assert!(keys.find(&second).is_some());
}

#[test]
fn files_that_are_no_key_files_are_told_with_the_line() {
    let mut ring = Ring::new();
    ring.add("ann", None, &["bank:read"]);
    let line = fs::read_to_string(&ring.path).unwrap();
    let write = |text: &str| {
        fs::write(&ring.path, text).unwrap();
        fs::set_permissions(&ring.path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let error = |text: &str| {
        write(text);
        KeyFile::open(&ring.path).unwrap_err().to_string()
    };
    let digest = &ring.keys[0].sha256;
    for (text, expected) in [
        (format!("{line}\n\nnonsense\n"), "line 4: expected"),
        (line.replace("bank:read", "bank:all"), "line 1: \"bank:all\" is no role"),
        (line.replace(digest, &digest[1..]), "sha256 must be 64"),
        (line.replace(digest, &digest.to_uppercase().replace("0", "A")), "sha256 must be 64"),
        (line.replace("\"ann\"", "\"\""), "actor must not be empty"),
        (line.replace("\"actor\"", "\"aktor\""), "unknown field"),
    ] {
        let found = error(&text);
        assert!(found.contains(expected), "{found}");
    }
    let too_large = " ".repeat(4 * 1024 * 1024 + 1);
    assert!(error(&too_large).contains("the most is 4194304"));
    write(&too_large[1..]);
    assert_eq!(KeyFile::list(&ring.path).unwrap(), []);
    write(&line);
    for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false)] {
        fs::set_permissions(&ring.path, fs::Permissions::from_mode(mode)).unwrap();
        match KeyFile::open(&ring.path) {
            Ok(_) => assert!(good, "{mode:o}"),
            Err(error) => assert!(!good && matches!(error, KeyFileError::Open { .. }), "{mode:o}: {error}"),
        }
    }
    assert_eq!(KeyFile::list(Path::new("/nowhere/keys")).unwrap(), []);
    assert!(matches!(KeyFile::open("/nowhere/keys"), Err(KeyFileError::System { .. })));
}

#[test]
fn a_server_that_others_reach_needs_keys() {
    let bank = Bank::open();
    let everywhere = Limits { reach: annals_server::Reach::Everywhere, ..Limits::default() };
    let error = router(vec![served(&bank.engine)], None, everywhere.clone()).unwrap_err();
    assert_eq!(error, SetupError::NoKeys);
    let ring = Ring::new();
    let keys = Arc::new(KeyFile::open(&ring.path).unwrap());
    assert!(router(vec![served(&bank.engine)], Some(keys), everywhere).is_ok());
}
