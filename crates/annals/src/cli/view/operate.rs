//! What an administrator does to views: builds, rebuilds, events that were set aside.
//!
//! Where a program has the log open, it is told on its control socket and does it beside its work. Otherwise what does
//! not need a running program is done to the store itself.

use std::sync::Arc;
use std::time::Duration;

use annals_core::context::AnyProjection;
use annals_views::builds::Builds;
use annals_views::store::Stage;
use annals_views::{FoldError, Folder, Retried, SetAside, ViewStore};
use bytes::Bytes;
use clap::{Arg, ArgAction, Command};
use serde_json::{Value, json};

use super::{Place, broken, fold};
use crate::cli::arguments::{given, required, text};
use crate::cli::control::{self, Client};
use crate::cli::failure::Failure;
use crate::cli::import::progress::Bar;
use crate::cli::output::{Output, plain};
use crate::cli::place;
use crate::import::Progress as _;

/// How often a rebuild is asked how far it is.
const LOOK: Duration = Duration::from_millis(200);
/// Events asked for at a time.
const PAGE_EVENTS: usize = 500;

/// The commands, without what all commands of `view` take.
pub(super) fn commands(add: impl Fn(&'static str, &'static str) -> Command) -> impl Iterator<Item = Command> {
    let choice = |name: &'static str, values: [&'static str; 2], help: &'static str| {
        Arg::new(name).long(name).value_name("WHAT").value_parser(values).help(help)
    };
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let stream = || required("stream", "STREAM", "The stream, as in account/ann");
    let rebuild = add("rebuild", "Build a view anew beside the one that is read, and let it take over")
        .arg(flag("keep", "Keep the build before; it is dropped otherwise"))
        .arg(flag("compare", "Compare every document before, not only their number"))
        .arg(
            choice(
                "swap",
                ["if-equal", "when-told"],
                "When it takes over: only if it is equal, or when view swap says so [default: when it has caught up]",
            ),
        )
        .arg(flag("detach", "Do not wait for the end"))
        .arg(crate::cli::import::progress::argument());
    let simple = [
        ("pause", "Pause a rebuild"),
        ("resume", "Let a paused rebuild go on"),
        ("cancel", "Give a rebuild up and drop what it built"),
        ("swap", "Let a rebuild take over that was to wait for it"),
    ];
    let simple = simple.map(|(name, about)| add(name, about)).into_iter();
    let others = [
        rebuild,
        add("builds", "Show the builds of a view, and how a rebuild stands"),
        add("drop-build", "Drop a build that is neither read nor folded").arg(required(
            "build",
            "BUILD",
            "The build, as view builds shows it",
        )),
        add("aside", "List events that were set aside because they are bad, or wait behind one that is")
            .arg(stream().required(false).help("The stream [default: all]")),
        add("retry", "Take in events that were set aside, as far as they can be read now")
            .arg(stream().required(false).help("The stream [default: all]")),
        add("drop-event", "Drop the event at which a stream is parked, for good and on record").arg(stream()),
    ];
    simple.chain(others)
}

impl Place<'_> {
    /// Does what `act` says.
    pub(super) fn operate(&self, act: &str, projection: &Arc<dyn AnyProjection>) -> Result<(), Failure> {
        let runtime = control::runtime()?;
        let client = runtime.block_on(self.client());
        match (act, client) {
            ("rebuild", Some(client)) => runtime.block_on(self.rebuild_online(client, projection)),
            ("rebuild", None) => self.rebuild_offline(projection),
            ("builds", Some(client)) => runtime.block_on(self.builds_online(client, projection)),
            ("builds", None) => self.builds_offline(projection),
            ("aside", Some(client)) => runtime.block_on(self.aside_online(client, projection)),
            ("aside", None) => self.aside_offline(projection),
            (act, Some(client)) => {
                let answer = runtime.block_on(self.act(client, projection, act, self.told()));
                self.print_outcome(act, &answer?)
            }
            (act @ ("retry" | "drop-event" | "drop-build"), None) => self.act_offline(act, projection),
            (act, None) => {
                let name = self.context.name();
                let text = format!("view {act} tells a running program, and none has the log of {name} open");
                Err(Failure::No(text))
            }
        }
    }

    /// The fields that the command line gave.
    fn told(&self) -> Value {
        let mut told = serde_json::Map::new();
        for name in ["build", "stream"] {
            if let Ok(Some(value)) = self.matches.try_get_one::<String>(name) {
                told.insert(name.to_owned(), value.as_str().into());
            }
        }
        Value::Object(told)
    }

    async fn act(
        &self,
        mut client: Client,
        projection: &Arc<dyn AnyProjection>,
        act: &str,
        told: Value,
    ) -> Result<Value, Failure> {
        let path = admin(&[self.context.name(), "views", projection.name(), act]);
        let body = Bytes::from(told.to_string());
        client.post(&path, &[], body).await.map_err(broken)?.ok()
    }

    async fn described(&self, client: &mut Client, view: &str) -> Result<Value, Failure> {
        let path = admin(&[self.context.name(), "views"]);
        let answer = client.get(&path, &[]).await.map_err(broken)?.ok()?;
        let views = answer.get("views").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let found = views.iter().find(|described| described.get("name").is_some_and(|name| name == view));
        found.cloned().ok_or_else(|| Failure::No(format!("the program says nothing of view {view}")))
    }

    async fn rebuild_online(
        &self,
        client: Client,
        projection: &Arc<dyn AnyProjection>,
    ) -> Result<(), Failure> {
        let swap = match text(self.matches, "swap") {
            Some("if-equal") => "if_equal",
            Some("when-told") => "when_told",
            _ => "always",
        };
        let compare = if self.matches.get_flag("compare") { "documents" } else { "counts" };
        let told = json!({ "swap": swap, "compare": compare, "keep": self.matches.get_flag("keep") });
        self.act(client, projection, "rebuild", told).await?;
        let bar = Bar::new(self.matches);
        loop {
            let gone = || {
                Failure::No(
                    "the program that rebuilt the view has gone; it goes on when it is back".to_owned(),
                )
            };
            let mut client = self.client().await.ok_or_else(gone)?;
            let rebuild = self.described(&mut client, projection.name()).await?;
            let rebuild = rebuild.get("rebuild").cloned().unwrap_or_default();
            let number = |name: &str| rebuild.get(name).and_then(Value::as_u64).unwrap_or(0);
            bar.total(number("records_total"));
            bar.done(number("records"));
            let phase = rebuild.get("phase").and_then(Value::as_str).unwrap_or_default();
            let waits = matches!(phase, "building" | "comparing" | "paused");
            if !waits || self.matches.get_flag("detach") {
                bar.finish();
                self.print_rebuild(&rebuild)?;
                return match phase {
                    "failed" | "cancelled" => Err(Failure::No(format!("the rebuild was not done: {phase}"))),
                    _ => Ok(()),
                };
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn rebuild_offline(&self, projection: &Arc<dyn AnyProjection>) -> Result<(), Failure> {
        for option in ["swap", "compare", "detach"] {
            if self.matches.value_source(option) == Some(clap::parser::ValueSource::CommandLine) {
                let text =
                    format!("--{option} is for a view that a running program reads, and none does now");
                return Err(Failure::Use(text));
            }
        }
        let log = place::log(&self.url, self.context)?;
        let store = self.writable_store()?;
        let builds = Builds::of(store.as_ref(), projection.name(), projection.revision())?;
        let to = builds.next();
        let bar = Bar::new(self.matches);
        bar.total((0..log.identity().shards).map(|shard| log.end(annals_core::ShardId(shard)).0).sum());
        let began = std::time::Instant::now();
        let folder = self.folder(projection, &log, &store).into_build(to.clone());
        let records = fold(folder, |records| bar.done(records))?;
        bar.finish();
        // The build that is read is dropped last: broken off anywhere before, the view is what it was.
        store.promote(&to)?;
        if !self.matches.get_flag("keep") {
            for build in builds.all.iter().filter(|build| build.stage != Stage::Kept) {
                store.drop_view(&build.view)?;
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        let mut output = Output::new();
        match self.json {
            true => output.line(json!({ "view": to.name, "records": records, "seconds": seconds }))?,
            false => {
                output.line(format_args!("{to} was folded anew from {records} records in {seconds:.1} s"))?;
            }
        }
        output.flush()
    }

    fn print_rebuild(&self, rebuild: &Value) -> Result<(), Failure> {
        let mut output = Output::new();
        if self.json {
            output.line(rebuild)?;
            return output.flush();
        }
        let of = |name: &str| rebuild.get(name).cloned().unwrap_or_default();
        let word = |name: &str| of(name).as_str().unwrap_or_default().to_owned();
        let [from, to, phase, reason] = ["from", "to", "phase", "reason"].map(word);
        let (records, total, seconds) = (of("records"), of("records_total"), of("seconds").as_f64());
        let seconds = seconds.unwrap_or_default();
        output
            .line(format_args!("{from} -> {to}: {phase}, {records} of {total} records in {seconds:.1} s"))?;
        if !reason.is_empty() {
            output.line(format_args!("  {reason}"))?;
        }
        if let Some(left) = of("seconds_left").as_f64() {
            output.line(format_args!("  about {left:.0} s left"))?;
        }
        if let Some(compared) = rebuild.get("compared").filter(|compared| !compared.is_null()) {
            output.line(format_args!("  compared: {compared}"))?;
        }
        output.flush()
    }

    async fn builds_online(
        &self,
        mut client: Client,
        projection: &Arc<dyn AnyProjection>,
    ) -> Result<(), Failure> {
        let described = self.described(&mut client, projection.name()).await?;
        let builds = described.get("builds").and_then(Value::as_array).cloned().unwrap_or_default();
        self.print_builds(builds)?;
        match described.get("rebuild").filter(|rebuild| !rebuild.is_null()) {
            Some(rebuild) => self.print_rebuild(rebuild),
            None => Ok(()),
        }
    }

    fn builds_offline(&self, projection: &Arc<dyn AnyProjection>) -> Result<(), Failure> {
        let store = self.readable_store()?;
        let builds = Builds::of(store.as_ref(), projection.name(), projection.revision())?.all.into_iter();
        let shown = builds.map(|build| json!({ "build": build.view.to_string(), "stage": build.stage }));
        self.print_builds(shown.collect())
    }

    fn print_builds(&self, builds: Vec<Value>) -> Result<(), Failure> {
        let mut output = Output::new();
        for build in builds {
            let word = |name: &str| build.get(name).and_then(Value::as_str).unwrap_or_default();
            match self.json {
                true => output.line(&build)?,
                false => output.line(format_args!("{}: {}", word("build"), word("stage")))?,
            }
        }
        output.flush()
    }

    async fn aside_online(
        &self,
        mut client: Client,
        projection: &Arc<dyn AnyProjection>,
    ) -> Result<(), Failure> {
        let mut output = Output::new();
        let path = admin(&[self.context.name(), "views", projection.name(), "aside"]);
        let stream =
            text(self.matches, "stream").map(|stream| format!("&stream={}", control::encoded(stream)));
        let base = format!("{path}?limit={PAGE_EVENTS}{}", stream.unwrap_or_default());
        let mut next = String::new();
        loop {
            let page = client.get(&format!("{base}{next}"), &[]).await.map_err(broken)?.ok()?;
            let events = page.get("events").and_then(Value::as_array).cloned().unwrap_or_default();
            events.iter().try_for_each(|event| self.print_aside(&mut output, event))?;
            match page.get("next").and_then(Value::as_str) {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => return output.flush(),
            }
        }
    }

    fn aside_offline(&self, projection: &Arc<dyn AnyProjection>) -> Result<(), Failure> {
        let store = self.readable_store()?;
        let own = Builds::of(store.as_ref(), projection.name(), projection.revision())?.own;
        let (mut output, mut after) = (Output::new(), None);
        loop {
            let events: Vec<SetAside> =
                store.set_aside(&own, text(self.matches, "stream"), after, PAGE_EVENTS)?;
            let Some(last) = events.last() else { return output.flush() };
            after = Some(last.position);
            events.iter().try_for_each(|event| self.print_aside(&mut output, &json!(event)))?;
        }
    }

    fn print_aside(&self, output: &mut Output, event: &Value) -> Result<(), Failure> {
        if self.json {
            return output.line(event);
        }
        let word = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        let [position, stream, why, reason] = ["position", "stream", "why", "reason"].map(word);
        output.line(format_args!("{position}  {}  {why}  {}", plain(stream), plain(reason)))
    }

    fn act_offline(&self, act: &str, projection: &Arc<dyn AnyProjection>) -> Result<(), Failure> {
        let store = self.writable_store()?;
        let builds = Builds::of(store.as_ref(), projection.name(), projection.revision())?;
        if act == "drop-build" {
            let wanted = given(self.matches, "build")?;
            let idle = |build: &&annals_views::store::Build| {
                build.stage != Stage::Live && build.view.to_string() == wanted
            };
            let found = builds.all.iter().find(idle);
            let none = || {
                Failure::No(format!("there is no build {wanted:?} that could be dropped; see view builds"))
            };
            store.drop_view(&found.ok_or_else(none)?.view)?;
            return self.print_outcome(act, &json!({}));
        }
        let log = place::log(&self.url, self.context)?;
        let mut folder: Folder = self.folder(projection, &log, &store).into_build(builds.own);
        let retried: Result<Option<Retried>, FoldError> = match act {
            "retry" => folder.retry(text(self.matches, "stream")).map(Some),
            _ => folder.drop_parked(given(self.matches, "stream")?),
        };
        let none = || Failure::No("no such stream is parked; see view aside".to_owned());
        let retried = retried?.ok_or_else(none)?;
        self.print_outcome(act, &json!(retried))
    }

    fn print_outcome(&self, act: &str, outcome: &Value) -> Result<(), Failure> {
        let mut output = Output::new();
        let number = |name: &str| outcome.get(name).and_then(Value::as_u64);
        match (self.json, number("taken_in"), number("parked")) {
            (true, ..) => output.line(outcome)?,
            (false, Some(taken_in), Some(parked)) => {
                output.line(format_args!("{taken_in} events taken in, {parked} streams parked still"))?;
            }
            _ => output.line(format_args!("{act}: done"))?,
        }
        output.flush()
    }

    fn readable_store(&self) -> Result<Arc<dyn ViewStore>, Failure> {
        Ok(Arc::new(annals_views::SqliteStore::open_read_only(self.views_path()?)?))
    }

    fn writable_store(&self) -> Result<Arc<dyn ViewStore>, Failure> {
        Ok(Arc::new(annals_views::SqliteStore::open(self.views_path()?)?))
    }
}

/// An address of the administrators' part.
fn admin(segments: &[&str]) -> String {
    segments.iter().fold("/admin".to_owned(), |path, segment| format!("{path}/{}", control::encoded(segment)))
}
