//! `view`: documents, how far views have come, and folding one anew.
//!
//! Where a program has the log open, it is asked on its control socket: its views are live. Otherwise the stored
//! view is brought to the log's end first; where it cannot be written, it is folded in memory for this one answer.

mod conditions;
mod operate;
mod remote;

use std::path::PathBuf;
use std::sync::Arc;

use annals_core::context::AnyProjection;
use annals_core::envelope::{Header, Record};
use annals_core::{Offset, ShardId, Timestamp};
use annals_log::Log;
use annals_views::builds::Builds;
use annals_views::store::{DocumentKey, Layout, PAGE_DOCUMENTS_MAX};
use annals_views::{
    Folder, Limits, Listing, Page, SqliteStore, Step, StoreError, ViewId, ViewStore, Wanted, fold_in_memory,
    past,
};
use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

use super::arguments::{self, given, required, text};
use super::control::{self, Client};
use super::failure::Failure;
use super::output::{Output, plain};
use super::{place, serve};
use crate::Context;
use crate::open::LogUrl;

/// How long a document of the past may take: whoever asks on the command line can wait, and stop waiting.
const PAST: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// The documents that are listed where nothing is said.
const LIST_DOCUMENTS: &str = "100";

pub(crate) fn command(contexts: &[Context]) -> Command {
    let add = |name: &'static str, about: &'static str| {
        Command::new(name).about(about).arg(arguments::context(contexts))
    };
    let view = || required("view", "VIEW", "The view");
    let rest =
        |command: Command| command.arg(arguments::log()).arg(serve::views_argument()).arg(arguments::json());
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let list = add("list", "List documents of a view by key; without VIEW, the views there are")
        .arg(view().required(false))
        .arg(option("prefix", "TEXT", "Only keys that start with this"))
        .arg(
            option(
                "where",
                "CONDITION",
                "Only documents whose indexed field is so: FIELD=VALUE, or with > >= < <=",
            )
            .action(clap::ArgAction::Append)
            .value_parser(conditions::parse),
        )
        .arg(
            option("order", "FIELD", "By an indexed field or by key; -FIELD: the greatest first")
                .allow_hyphen_values(true),
        )
        .arg(option("cursor", "PLACE", "Go on after this place, which the last list showed at its end"))
        .arg(
            option("limit", "N", "The most documents")
                .default_value(LIST_DOCUMENTS)
                .value_parser(clap::value_parser!(u64).range(1..=PAGE_DOCUMENTS_MAX as u64)),
        )
        .arg(arguments::tenant());
    let get = add("get", "Show a document; exit code 1 if there is none")
        .arg(view())
        .arg(required("key", "KEY", "The document's key"))
        .arg(
            option("at", "TIME", "As it was at this time; folded from the log for this answer")
                .value_parser(clap::value_parser!(Timestamp)),
        )
        .arg(arguments::tenant());
    Command::new("view")
        .about("Look at views, build one anew, deal with events that were set aside")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(rest(list))
        .subcommand(rest(get))
        .subcommands(operate::commands(|name, about| rest(add(name, about).arg(view()))))
        .subcommand(rest(
            add("lag", "How far views are behind the log")
                .arg(view().required(false).help("The view [default: all]")),
        ))
}

pub(crate) fn run(contexts: &[Context], matches: &ArgMatches) -> Result<(), Failure> {
    let Some((name, matches)) = matches.subcommand() else {
        return Err(Failure::Use("say what to do with views; see --help".to_owned()));
    };
    let context = arguments::named(contexts, matches)?;
    let place = Place {
        context,
        url: place::of(matches, context),
        views: matches.get_one::<PathBuf>("views").cloned(),
        matches,
        json: arguments::wants_json(matches),
    };
    let projection = text(matches, "view").map(|view| find(context, view)).transpose()?;
    match (name, projection) {
        ("list", None) => list_views(context, place.json),
        ("list", Some(projection)) => place.print_page(&place.page(projection)?),
        ("get", Some(projection)) => place.get(projection),
        ("lag", projection) => place.lag(projection),
        (act, Some(projection)) => place.operate(act, projection),
        (act, None) => Err(Failure::Use(format!("view {act} needs a view"))),
    }
}

fn find<'a>(context: &'a Context, view: &str) -> Result<&'a Arc<dyn AnyProjection>, Failure> {
    let known = || context.projections().keys().copied().collect::<Vec<_>>().join(", ");
    let found = context.projections().get(view);
    found.ok_or_else(|| Failure::Use(format!("there is no view {view:?}; there are {}", known())))
}

fn list_views(context: &Context, as_json: bool) -> Result<(), Failure> {
    let mut output = Output::new();
    for projection in context.projections().values() {
        let (name, revision) = (projection.name(), projection.revision());
        match as_json {
            true => output.line(json!({ "view": name, "revision": revision }))?,
            false => output.line(format_args!("{name} (revision {revision})"))?,
        }
    }
    output.flush()
}

/// The context, its log and its views.
struct Place<'a> {
    context: &'a Context,
    url: LogUrl,
    views: Option<PathBuf>,
    matches: &'a ArgMatches,
    json: bool,
}

/// How far a view is behind.
struct Behind {
    records: u64,
    seconds: f64,
    state: String,
}

impl Place<'_> {
    fn get(&self, projection: &Arc<dyn AnyProjection>) -> Result<(), Failure> {
        let key = given(self.matches, "key")?;
        if !projection.is_key(key) {
            return Err(Failure::Use(format!("{key:?} cannot be a key of view {}", projection.name())));
        }
        let log = place::log(&self.url, self.context)?;
        let runtime = control::runtime()?;
        let at = self.matches.get_one::<Timestamp>("at");
        let document = match (at, runtime.block_on(self.client())) {
            // A long log takes longer to fold than a server gives one request.
            (Some(time), _) => self.document_at(projection, log, key, *time)?,
            (None, Some(client)) => {
                runtime.block_on(remote::document(client, self, &log, projection.name(), key))?
            }
            (None, None) => {
                let (store, view) = self.caught_up(projection, &log)?;
                let json = store.get(&view, arguments::tenant_of(self.matches), key)?;
                json.as_deref().map(parse).transpose()?
            }
        };
        let none = || Failure::No(format!("view {} has no document {key:?}", projection.name()));
        let document = document.ok_or_else(none)?;
        let mut output = Output::new();
        if self.json {
            output.line(&document)?
        } else {
            output.pretty(&document)?
        }
        output.flush()
    }

    /// The document as it was at a time.
    fn document_at(
        &self,
        projection: &Arc<dyn AnyProjection>,
        log: Arc<dyn Log>,
        key: &str,
        time: Timestamp,
    ) -> Result<Option<Value>, Failure> {
        let context = Arc::new(self.context.core().clone());
        let cursor = past::cursor_at(log.as_ref(), time)?;
        let tenant = arguments::tenant_of(self.matches).cloned();
        let key = DocumentKey { tenant, key: key.to_owned() };
        let found = past::document_at(context, Arc::clone(projection), log, &key, &cursor, PAST);
        let json = found.map_err(|error| Failure::No(error.to_string()))?;
        json.as_deref().map(parse).transpose()
    }

    fn page(&self, projection: &Arc<dyn AnyProjection>) -> Result<Page, Failure> {
        let log = place::log(&self.url, self.context)?;
        let runtime = control::runtime()?;
        if let Some(client) = runtime.block_on(self.client()) {
            return runtime.block_on(remote::page(client, self, projection.name()));
        }
        let (store, view) = self.caught_up(projection, &log)?;
        let wanted = self.wanted();
        let listing = Listing {
            tenant: arguments::tenant_of(self.matches),
            prefix: text(self.matches, "prefix").unwrap_or_default(),
            wanted: &wanted,
            order: text(self.matches, "order"),
            cursor: text(self.matches, "cursor"),
            limit: self.limit(),
        };
        let resolved = listing.resolve(projection.as_ref(), &Layout::of(projection.as_ref()))?;
        Ok(store.list(&view, &listing.query(&resolved))?)
    }

    fn print_page(&self, page: &Page) -> Result<(), Failure> {
        let mut output = Output::new();
        for (key, document) in &page.documents {
            let document = parse(document)?;
            match self.json {
                true => output.line(json!({ "key": key, "document": document }))?,
                false => output.line(format_args!("{} {document}", plain(key)))?,
            }
        }
        output.flush()?;
        if let Some(next) = &page.next {
            eprintln!("there are more; go on with --cursor {:?}", next);
        }
        Ok(())
    }

    fn lag(&self, only: Option<&Arc<dyn AnyProjection>>) -> Result<(), Failure> {
        let log = place::log(&self.url, self.context)?;
        let runtime = control::runtime()?;
        let told = match runtime.block_on(self.client()) {
            Some(client) => runtime.block_on(remote::lags(client, self.context.name()))?,
            None => Vec::new(),
        };
        let mut output = Output::new();
        for projection in self.context.projections().values() {
            let name = projection.name();
            if only.is_some_and(|only| only.name() != name) {
                continue;
            }
            let told = told.iter().find(|(view, _)| view == name);
            let behind = match told {
                Some((_, behind)) => behind,
                None => &self.stored_lag(projection, log.as_ref())?,
            };
            let Behind { records, seconds, state } = behind;
            match self.json {
                true => output
                    .line(json!({ "view": name, "records": records, "seconds": seconds, "state": state }))?,
                false => output
                    .line(format_args!("{name}: {records} records and {seconds:.1} s behind, {state}"))?,
            }
        }
        output.flush()
    }

    /// The lag of a view as it is stored, which nobody moves now.
    fn stored_lag(&self, projection: &Arc<dyn AnyProjection>, log: &dyn Log) -> Result<Behind, Failure> {
        let path = self.views_path()?;
        let positions = match path.exists() {
            true => {
                let store = SqliteStore::open_read_only(&path)?;
                let own = Builds::of(&store, projection.name(), projection.revision())?.own;
                store.positions(&own)?
            }
            false => Vec::new(),
        };
        let (mut records, mut oldest) = (0, None::<Timestamp>);
        for shard in (0..log.identity().shards).map(ShardId) {
            let saved = positions.get(shard.0 as usize).copied().flatten();
            let next = saved.map_or(Offset(0), |bookmark| bookmark.offset.next());
            let behind = log.end(shard).0.saturating_sub(next.0);
            records += behind;
            if let Some(at) = recorded_at(log, shard, next)? {
                oldest = Some(oldest.map_or(at, |oldest| oldest.min(at)));
            }
        }
        let seconds =
            oldest.map_or(0.0, |oldest| (Timestamp::now() - oldest).total(jiff::Unit::Second).unwrap_or(0.0));
        let state = if positions.is_empty() { "never folded" } else { "not followed now" };
        Ok(Behind { records, seconds, state: state.to_owned() })
    }

    /// The view, at the log's end: as it is stored if it can be written, in memory otherwise.
    fn caught_up(
        &self,
        projection: &Arc<dyn AnyProjection>,
        log: &Arc<dyn Log>,
    ) -> Result<(Arc<dyn ViewStore>, ViewId), Failure> {
        match SqliteStore::open(self.views_path()?) {
            Ok(store) => {
                let store: Arc<dyn ViewStore> = Arc::new(store);
                let own = Builds::of(store.as_ref(), projection.name(), projection.revision())?.own;
                fold(self.folder(projection, log, &store).into_build(own.clone()), |_| {})?;
                Ok((store, own))
            }
            Err(StoreError::Locked { .. } | StoreError::ReadOnly { .. } | StoreError::Failed { .. }) => {
                let context = Arc::new(self.context.core().clone());
                let store = fold_in_memory(context, Arc::clone(projection), Arc::clone(log))?;
                Ok((Arc::new(store), ViewId::first(projection.name(), projection.revision())))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn folder(
        &self,
        projection: &Arc<dyn AnyProjection>,
        log: &Arc<dyn Log>,
        store: &Arc<dyn ViewStore>,
    ) -> Folder {
        let context = Arc::new(self.context.core().clone());
        Folder::new(context, Arc::clone(projection), Arc::clone(log), Arc::clone(store), Limits::default())
    }

    async fn client(&self) -> Option<Client> {
        Client::connect(&place::socket(&self.url)?).await
    }

    fn views_path(&self) -> Result<PathBuf, Failure> {
        match &self.views {
            Some(path) => Ok(path.clone()),
            None => Ok(place::directory(&self.url)?.join("views.sqlite")),
        }
    }

    fn wanted(&self) -> Vec<Wanted> {
        self.matches.get_many("where").into_iter().flatten().cloned().collect()
    }

    fn limit(&self) -> usize {
        self.matches.get_one::<u64>("limit").map_or(PAGE_DOCUMENTS_MAX, |limit| *limit as usize)
    }
}

/// Folds to the log's end; tells `done` how many records were taken in.
fn fold(mut folder: Folder, done: impl Fn(u64)) -> Result<u64, Failure> {
    let mut taken = 0;
    while let Step::Moved { records } = folder.step()? {
        taken += records;
        done(taken);
    }
    folder.save()?;
    Ok(taken)
}

/// When the first command's record from `from` on was recorded; claims and the like age no view.
fn recorded_at(log: &dyn Log, shard: ShardId, from: Offset) -> Result<Option<Timestamp>, Failure> {
    /// How far it looks, in bytes of envelopes.
    const LOOK_BYTES: usize = 64 * 1024;
    let records = log.read(shard, from, LOOK_BYTES)?.records;
    let record = records.iter().find(|raw| matches!(raw.header, Header::Record { .. }));
    Ok(record.and_then(|raw| Some(Record::from_bytes(raw.envelope.clone()).ok()?.recorded_at())))
}

fn broken(error: control::Broken) -> Failure {
    Failure::No(error.to_string())
}

fn parse(json: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(json).map_err(|error| Failure::No(format!("a document is not JSON: {error}")))
}
