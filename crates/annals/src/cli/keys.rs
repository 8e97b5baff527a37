//! `keys`: who may do what on a server; the file that `serve --keys` reads.

use std::path::PathBuf;

use annals_server::KeyFile;
use annals_server::keys::{Grant, Key, Reach};
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::json;

use super::arguments::{self, given, required};
use super::failure::Failure;
use super::output::{Output, plain};
use crate::{Tenant, Timestamp};

/// Where keys are kept where nothing is said.
const FILE: &str = "keys.ndjson";

pub(crate) fn command() -> Command {
    let file = || {
        Arg::new("file")
            .long("file")
            .value_name("FILE")
            .default_value(FILE)
            .value_parser(clap::value_parser!(PathBuf))
            .help("The file of keys, which serve --keys takes")
    };
    let new = Command::new("new")
        .about("Make a key, show it this once, and add its hash to the file")
        .arg(Arg::new("actor").long("actor").value_name("NAME").required(true).help("Who acts with it"))
        .arg(
            Arg::new("role")
                .long("role")
                .value_name("CONTEXT:ROLE")
                .required(true)
                .action(ArgAction::Append)
                .value_parser(clap::value_parser!(Grant))
                .help(
                    "What it is good for: read, write or operate, each with those before; * for all contexts",
                ),
        )
        .arg(arguments::tenant().help("The tenant whose data it reaches [default: data of no tenant]"))
        .arg(
            Arg::new("any-tenant")
                .long("any-tenant")
                .action(ArgAction::SetTrue)
                .conflicts_with(arguments::TENANT)
                .help("It reaches every tenant's data, as each request says"),
        );
    Command::new("keys")
        .about("API keys: make, list, revoke")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(new.arg(file()).arg(arguments::json()))
        .subcommand(Command::new("list").about("Show what keys there are").arg(file()).arg(arguments::json()))
        .subcommand(
            Command::new("revoke")
                .about("Take a key out of the file; a running server notices within a second")
                .arg(required("id", "ID", "The key's id, as keys list shows it"))
                .arg(file()),
        )
}

pub(crate) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let Some((name, matches)) = matches.subcommand() else {
        return Err(Failure::Use("say new, list or revoke".to_owned()));
    };
    let path = matches.get_one::<PathBuf>("file").cloned().unwrap_or_else(|| PathBuf::from(FILE));
    let mut keys = KeyFile::list(&path).map_err(|error| Failure::Use(error.to_string()))?;
    let write = |keys: &[Key]| KeyFile::write(&path, keys).map_err(|error| Failure::Use(error.to_string()));
    let mut output = Output::new();
    match name {
        "new" => {
            let (key, secret) = new(matches)?;
            keys.push(key.clone());
            write(&keys)?;
            if arguments::wants_json(matches) {
                output.line(json!({ "id": key.id, "key": secret }))?;
            } else {
                output.line(&secret)?;
                eprintln!("key {} is in {}; it is not shown again", key.id, path.display());
            }
        }
        "list" => keys.iter().try_for_each(|key| print(&mut output, key, arguments::wants_json(matches)))?,
        _ => {
            let id = given(matches, "id")?;
            let before = keys.len();
            keys.retain(|key| key.id != id);
            if keys.len() == before {
                return Err(Failure::No(format!("{} has no key {id:?}", path.display())));
            }
            write(&keys)?;
        }
    }
    output.flush()
}

fn new(matches: &ArgMatches) -> Result<(Key, String), Failure> {
    let actor = given(matches, "actor")?;
    if actor.is_empty() || actor.chars().any(char::is_control) {
        return Err(Failure::Use("--actor must not be empty and have no control characters".to_owned()));
    }
    let roles = matches.get_many::<Grant>("role").into_iter().flatten().cloned().collect();
    let tenant = match matches.get_one::<Tenant>(arguments::TENANT) {
        Some(tenant) => Reach::One(tenant.clone()),
        None if matches.get_flag("any-tenant") => Reach::Any,
        None => Reach::NoTenant,
    };
    let key = Key::generate(actor.to_owned(), tenant, roles, Timestamp::now());
    key.ok_or_else(|| Failure::No("the system gives no random bytes".to_owned()))
}

fn print(output: &mut Output, key: &Key, as_json: bool) -> Result<(), Failure> {
    let roles: Vec<String> = key.roles.iter().map(ToString::to_string).collect();
    if as_json {
        let tenant = Option::<String>::from(key.tenant.clone());
        let created_at = key.created_at.to_string();
        return output.line(json!({
            "id": key.id, "actor": key.actor, "tenant": tenant, "roles": roles, "created_at": created_at,
        }));
    }
    let (actor, roles) = (plain(&key.actor), roles.join(" "));
    output.line(format_args!("{}  {actor}, {}: {roles} ({:.0})", key.id, key.tenant, key.created_at))
}
