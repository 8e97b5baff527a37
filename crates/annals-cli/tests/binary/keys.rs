//! Keys: made, used, revoked, while the server runs; and where a server with keys may listen.

use crate::support::Home;

#[test]
fn a_key_is_made_used_and_revoked() {
    let home = Home::new();
    let make = |arguments: &[&str]| {
        let made = home.ok(&[&["keys", "new", "--json", "--actor"], arguments].concat()).json();
        ["id", "key"].map(|name| made[0][name].as_str().unwrap().to_owned())
    };
    let [reader, read] = make(&["ann", "--role", "bank:read"]);
    let [_, acme] = make(&["zoe", "--role", "*:operate", "--tenant", "acme"]);
    let file = std::fs::read_to_string(home.path("keys.ndjson")).unwrap();
    assert!(file.contains(&reader) && !file.contains(&read) && !file.contains(&acme), "{file}");
    let listed = home.ok(&["keys", "list"]).out;
    assert!(listed.contains(&format!("{reader}  ann, no tenant: bank:read")), "{listed}");
    assert_eq!(home.ok(&["keys", "list", "--json"]).json()[1]["tenant"], "acme");

    let server = home.start(&["serve", "--keys", "keys.ndjson"]);
    // Who owns the directory needs no key.
    home.ok(&["send", "bank", "account", "ann", "open"]);
    assert_eq!(server.get("/api/bank/account/ann").0, 401);
    assert_eq!(server.get_as("/api/bank/account/ann", &read).1["version"], 1);
    assert_eq!(server.get_as("/api/bank/account/ann", &acme).0, 404);
    assert_eq!(server.get_as("/metrics", &read).0, 403);
    assert_eq!(server.get_as("/metrics", &acme).0, 403, "it concerns all tenants");
    let [_, all] = make(&["root", "--role", "*:operate"]);
    wait_for(|| server.get_as("/metrics", &all).0 == 200);
    assert_eq!(server.get("/healthz").0, 200);
    home.ok(&["keys", "revoke", &reader]);
    wait_for(|| server.get_as("/api/bank/account/ann", &read).0 == 401);
    home.run(&["keys", "revoke", &reader]).refused(1, &["has no key"]);
    server.stop();
}

/// Asks until the server has read the file again.
fn wait_for(done: impl Fn() -> bool) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !done() {
        assert!(std::time::Instant::now() < until, "waited for a minute");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn wrong_use_of_keys_is_told() {
    let home = Home::new();
    let new = ["keys", "new", "--actor", "ann"];
    home.run(&[&new[..], &["--role", "bank"]].concat()).refused(2, &["CONTEXT:read"]);
    home.run(&new).refused(2, &["--role"]);
    home.run(&[&new[..], &["--role", "bank:read", "--tenant", "a", "--any-tenant"]].concat())
        .refused(2, &["--any-tenant"]);
    home.run(&["keys", "new", "--actor", "", "--role", "bank:read"]).refused(2, &["--actor"]);
    home.run(&["serve", "--keys", "nowhere"]).refused(2, &["nowhere", "annals keys new"]);
    home.run(&["serve", "--listen", "0.0.0.0:0"]).refused(2, &["--keys", "--insecure-plaintext", "TLS"]);
    home.run(&["serve", "--listen", "0.0.0.0:0", "--insecure-plaintext"]).refused(2, &["--keys"]);
    home.ok(&[&new[..], &["--role", "bank:read"]].concat());
    home.run(&["serve", "--listen", "0.0.0.0:0", "--keys", "keys.ndjson"])
        .refused(2, &["--insecure-plaintext"]);
    let server = home.start(&["serve", "--keys", "keys.ndjson", "--insecure-plaintext"]);
    assert_eq!(server.get("/api/bank").0, 401);
    server.stop();
    home.write("keys.ndjson", "nonsense");
    home.run(&["serve", "--keys", "keys.ndjson"]).refused(2, &["line 1"]);
}
