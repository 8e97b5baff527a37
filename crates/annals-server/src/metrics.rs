//! Counters of requests, and the page that tells them together with how engines and views stand.
//!
//! The text format of Prometheus, written by hand: it is a page of lines, and needs no registry.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals_core::ShardId;
use annals_engine::EngineStatus;

use crate::app::{App, Hosted};
use crate::routes::ROUTES;

/// The media type of the page.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The statuses that are counted on their own; all others count together.
const STATUSES: [u16; 17] =
    [200, 304, 400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 422, 429, 500, 503, 504];
const OTHERS: usize = STATUSES.len();

/// Requests by route and status.
pub(crate) struct Requests {
    routes: Vec<PerRoute>,
}

#[derive(Default)]
struct PerRoute {
    by_status: [AtomicU64; OTHERS + 1],
    nanos: AtomicU64,
}

impl Default for Requests {
    fn default() -> Self {
        Self { routes: ROUTES.iter().map(|_| PerRoute::default()).collect() }
    }
}

impl Requests {
    /// Counts an answer of the route at `index` of [`ROUTES`].
    pub(crate) fn count(&self, index: usize, status: u16, took: Duration) {
        let Some(route) = self.routes.get(index) else { return };
        let slot = STATUSES.iter().position(|known| *known == status).unwrap_or(OTHERS);
        if let Some(counter) = route.by_status.get(slot) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        route.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn write(&self, page: &mut Page) {
        page.family("annals_http_requests_total", "counter", "answers by route and status");
        for (route, counted) in ROUTES.iter().zip(&self.routes) {
            let names = STATUSES.iter().map(ToString::to_string).chain(["other".to_owned()]);
            for (status, counter) in names.zip(&counted.by_status) {
                let count = counter.load(Ordering::Relaxed);
                if count > 0 {
                    page.line(
                        &[("method", route.method.name()), ("route", route.path), ("status", &status)],
                        count,
                    );
                }
            }
        }
        page.family("annals_http_request_seconds_total", "counter", "time spent on answers by route");
        for (route, counted) in ROUTES.iter().zip(&self.routes) {
            let seconds = Duration::from_nanos(counted.nanos.load(Ordering::Relaxed)).as_secs_f64();
            page.line(&[("method", route.method.name()), ("route", route.path)], seconds);
        }
    }
}

/// The page.
pub(crate) fn page(app: &App) -> String {
    let mut page = Page::default();
    app.requests.write(&mut page);
    write_engines(&mut page, app);
    write_logs(&mut page, app);
    write_views(&mut page, app);
    page.0
}

fn write_engines(page: &mut Page, app: &App) {
    type Value = fn(&EngineStatus) -> u64;
    let families: [(_, _, _, Value); 6] = [
        ("annals_waiting_commands", "gauge", "commands that wait for their answer", |s| {
            s.waiting_commands as u64
        }),
        ("annals_relay_lag_records", "gauge", "durable records that the relays have not read", |s| {
            s.relay_lag
        }),
        ("annals_relay_pending", "gauge", "saga inputs and commands that are not settled", |s| {
            s.relay_pending as u64
        }),
        ("annals_timers", "gauge", "timers that are set", |s| s.timers as u64),
        ("annals_parked_total", "counter", "inputs parked since the start", |s| s.parked),
        ("annals_relay_stuck", "gauge", "1 where a relay does not go on", |s| u64::from(s.stuck.is_some())),
    ];
    let statuses: Vec<_> = app.contexts.iter().map(|(name, hosted)| (name, hosted.engine.status())).collect();
    for (family, kind, help, value) in families {
        page.family(family, kind, help);
        statuses.iter().for_each(|(name, status)| page.line(&[("context", name)], value(status)));
    }
}

fn write_logs(page: &mut Page, app: &App) {
    page.family("annals_log_end", "gauge", "the offset after the last durable record");
    for (name, Hosted { engine, .. }) in &app.contexts {
        for shard in 0..engine.log().identity().shards {
            let end = engine.log().end(ShardId(shard));
            page.line(&[("context", name), ("shard", &shard.to_string())], end);
        }
    }
}

fn write_views(page: &mut Page, app: &App) {
    let lags: Vec<_> = app
        .contexts
        .iter()
        .flat_map(|(name, hosted)| hosted.views.names().into_iter().map(move |view| (name, hosted, view)))
        .filter_map(|(name, hosted, view)| Some((name, view, hosted.views.lag(view).ok()?)))
        .collect();
    page.family("annals_view_lag_records", "gauge", "records that a view has not taken in");
    lags.iter().for_each(|(name, view, lag)| page.line(&[("context", name), ("view", view)], lag.events));
    page.family("annals_view_lag_seconds", "gauge", "age of the last record that a view has taken in");
    lags.iter().for_each(|(name, view, lag)| page.line(&[("context", name), ("view", view)], lag.seconds));
    page.family("annals_view_parked_streams", "gauge", "streams that are parked in a view");
    for (name, hosted) in &app.contexts {
        for view in hosted.views.names() {
            if let Ok(streams) = hosted.views.parked_streams(view) {
                page.line(&[("context", name), ("view", view)], streams.len());
            }
        }
    }
    page.family("annals_view_live", "gauge", "1 where a view follows the log");
    for (name, view, lag) in &lags {
        let live = u8::from(lag.state == annals_views::ViewState::Live);
        page.line(&[("context", name), ("view", view)], live);
    }
}

/// Lines in the making.
#[derive(Default)]
struct Page(String, &'static str);

impl Page {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.1 = name;
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Labels hold names and route patterns alone: none has a quote, a backslash or a line break.
    fn line(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let _ = writeln!(self.0, "{}{{{}}} {value}", self.1, labels.join(","));
    }
}
