//! Compares what the server tells at the end with the books.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::books::{Account, Books};
use super::http::Connection;

/// How long the sagas and views may take to come to rest.
const REST_MAX: Duration = Duration::from_secs(120);
/// How long a question may be put off: another process may hold the shard.
const LATER_MAX: Duration = Duration::from_secs(10);
/// The bank has this many views.
const VIEWS: usize = 3;

/// Waits until no transfer is under way and every view has read everything.
///
/// It looks twice: the first look may be at sums that do not have the last holds yet, the second is not.
pub fn wait_for_rest(connection: &mut Connection) -> Result<(), String> {
    let (began, mut looks) = (Instant::now(), 0);
    while looks < 2 {
        let trial = get(connection, "/api/bank/views/trial_balance/bank")?;
        let described = get(connection, "/api/bank")?;
        let views = described["views"].as_array().filter(|views| views.len() == VIEWS);
        let views = views.ok_or_else(|| format!("there are not {VIEWS} views: {described}"))?;
        let settled = ["total", "in_transit", "open_holds", "held"].iter().all(|field| trial[field] == 0);
        let caught_up = views.iter().all(|view| view["lag"]["state"] == "live" && view["lag"]["events"] == 0);
        looks = if settled && caught_up { looks + 1 } else { 0 };
        if began.elapsed() > REST_MAX {
            return Err(format!("no rest within {REST_MAX:?}: {trial}, views {}", described["views"]));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Everything: histories, states, views.
pub fn all(connection: &mut Connection, books: &Books) -> Result<(), String> {
    let mut ended = BTreeSet::new();
    for (id, account) in &books.accounts {
        history(connection, books, id, account, &mut ended)?;
        state(connection, id, account)?;
        views(connection, id, account)?;
    }
    for (id, transfer) in &books.transfers {
        let steps: &[&str] =
            if transfer.arrives { &["account.credited", "account.posted"] } else { &["account.voided"] };
        let took: Vec<_> = steps.iter().filter(|step| ended.contains(&(id.clone(), **step))).collect();
        if took.len() != steps.len() {
            return Err(format!("transfer {id} took {took:?}, not {steps:?}: {transfer:?}"));
        }
        if !transfer.arrives {
            nothing_at(connection, &transfer.to)?;
        }
    }
    trial_balance(connection, books)
}

/// What a saga did: the transfer and the event's type.
type Steps = BTreeSet<(String, &'static str)>;

fn history(
    connection: &mut Connection,
    books: &Books,
    id: &str,
    account: &Account,
    ended: &mut Steps,
) -> Result<(), String> {
    let (mut version, mut effects) = (0, 0);
    loop {
        let page = get(connection, &format!("/api/bank/account/{id}/events?after={version}&limit=1000"))?;
        for event in page["events"].as_array().ok_or("a history without events")? {
            version += 1;
            if event["version"] != version {
                return Err(format!("the history of {id} has no version {version}, but {event}"));
            }
            match account.effects.get(&version) {
                Some(effect) => {
                    let told = json!([effect.key, effect.position, effect.name, effect.amount]);
                    let data = &event["data"];
                    let found = json!([event["key"], event["position"], event["type"], data["amount"]]);
                    if told != found {
                        return Err(format!("{id} at version {version}: told {told}, recorded {event}"));
                    }
                    effects += 1;
                }
                None => step(books, id, event, ended)?,
            }
        }
        if page["next"].is_null() {
            break;
        }
    }
    let wanted = account.effects.len() as u64 + account.of_transfers;
    if effects != account.effects.len() || version != wanted {
        return Err(format!("{id} has {version} events, {effects} of them known; it must have {wanted}"));
    }
    Ok(())
}

/// An event that no command of a client made: a saga's, which takes every step of every transfer once.
fn step(books: &Books, id: &str, event: &Value, ended: &mut Steps) -> Result<(), String> {
    let data = &event["data"];
    let transfer_id = data["transfer"].as_str().unwrap_or_default();
    let Some(transfer) = books.transfers.get(transfer_id) else {
        return Err(format!("{id} has an event that nobody was answered: {event}"));
    };
    let (name, place) = match event["type"].as_str() {
        Some("account.credited") => ("account.credited", transfer.arrives && transfer.to == id),
        Some("account.posted") => ("account.posted", transfer.arrives && transfer.from == id),
        Some("account.voided") => ("account.voided", !transfer.arrives && transfer.from == id),
        _ => return Err(format!("{id} has an event that nobody was answered: {event}")),
    };
    if !place || data["amount"] != transfer.amount {
        return Err(format!("{id} has a step that does not fit its transfer: {event}, {transfer:?}"));
    }
    match ended.insert((transfer_id.to_owned(), name)) {
        true => Ok(()),
        false => Err(format!("transfer {transfer_id} took a step twice: {event}")),
    }
}

fn state(connection: &mut Connection, id: &str, account: &Account) -> Result<(), String> {
    let found = get(connection, &format!("/api/bank/account/{id}"))?;
    let version = account.effects.len() as u64 + account.of_transfers;
    let state = json!({ "balance": account.balance, "holds": {}, "overdraft": 0, "status": "open" });
    same(&format!("the state of {id}"), &json!([version, state]), &json!([found["version"], found["state"]]))
}

fn views(connection: &mut Connection, id: &str, account: &Account) -> Result<(), String> {
    let balance = get(connection, &format!("/api/bank/views/balance/{id}"))?;
    let found = json!([balance["balance"], balance["held"], balance["available"]]);
    same(&format!("the balance of {id}"), &json!([account.balance, 0, account.balance]), &found)?;

    let statements = get(connection, &format!("/api/bank/views/statement?prefix={id}:"))?;
    let pages = statements["documents"].as_array().ok_or("a list without documents")?;
    let (mut moved, mut versions) = (0, Vec::new());
    for page in pages.iter().map(|page| &page["document"]) {
        moved += page["paid_in"].as_i64().unwrap_or_default() - page["paid_out"].as_i64().unwrap_or_default();
        let lines = page["lines"].as_array().ok_or("a statement without lines")?;
        versions.extend(lines.iter().map(|line| line["version"].as_u64()));
    }
    same(&format!("what the statements of {id} come to"), &json!(account.balance), &json!(moved))?;
    if versions.is_sorted_by(|one, next| one < next) {
        return Ok(());
    }
    Err(format!("the statements of {id} have a movement twice or out of order: {versions:?}"))
}

fn trial_balance(connection: &mut Connection, books: &Books) -> Result<(), String> {
    let sum: i64 = books.accounts.values().map(|account| account.balance).sum();
    let wanted = json!({
        "outside": books.outside,
        "accounts": sum,
        "in_transit": 0,
        "total": 0,
        "open_accounts": books.accounts.len(),
        "open_holds": 0,
        "held": 0,
    });
    same("the trial balance", &wanted, &get(connection, "/api/bank/views/trial_balance/bank")?)
}

fn nothing_at(connection: &mut Connection, id: &str) -> Result<(), String> {
    let answer = connection.get(&format!("/api/bank/account/{id}")).map_err(|cut| cut.0)?;
    if answer.status == 404 { Ok(()) } else { Err(format!("{id} was never opened: {answer:?}")) }
}

fn same(what: &str, wanted: &Value, found: &Value) -> Result<(), String> {
    if wanted == found { Ok(()) } else { Err(format!("{what} must be {wanted}, but is {found}")) }
}

/// An answer to a question; one that comes later is waited for.
fn get(connection: &mut Connection, path: &str) -> Result<Value, String> {
    let began = Instant::now();
    loop {
        let answer = connection.get(path).map_err(|cut| format!("{path}: {}", cut.0))?;
        match answer.status {
            200 => return Ok(answer.body),
            503 if began.elapsed() < LATER_MAX => std::thread::sleep(Duration::from_millis(20)),
            status => return Err(format!("{path} was answered {status}: {}", answer.body)),
        }
    }
}
