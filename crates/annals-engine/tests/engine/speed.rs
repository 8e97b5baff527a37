//! Figures, not checks: `cargo test -p annals-engine --release -- --ignored --nocapture speed`.

use std::time::Instant;

use super::model::{Do, Plan};
use super::*;

/// Time this thread has had on a processor: on a busy machine a fairer measure than time that passed.
fn on_processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default())
}

struct Stopwatch(Instant, Duration);

impl Stopwatch {
    fn start() -> Self {
        Self(Instant::now(), on_processor())
    }

    fn report(&self, what: &str, count: usize) {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
        let (passed, used) = (each(self.0.elapsed()), each(on_processor() - self.1));
        println!("{what}: {passed:.2} us each ({used:.2} us on a processor), {:.0} per second", 1e6 / passed);
    }
}

#[test]
#[ignore = "prints figures"]
fn commands() {
    let world = World::new();
    let engine = world.open();
    for (what, keyed_ones) in [("commands with made keys", false), ("commands with keys", true)] {
        let requests: Vec<_> = (0..200_000)
            .map(|n| {
                let key = keyed_ones.then(|| format!("key-{n}"));
                annals_engine::Request { key, ..request(&format!("a{}", n % 10_000), add(1)) }
            })
            .collect();
        let watch = Stopwatch::start();
        for group in requests.chunks(64) {
            let tickets: Vec<_> = group.iter().map(|request| engine.submit(request).unwrap()).collect();
            for (ticket, request) in tickets.into_iter().zip(group) {
                let request = annals_engine::Request::new(
                    request.stream.clone(),
                    AnyCommand::new::<Account>(add(1)).unwrap(),
                );
                engine.finish(request, ticket).unwrap();
            }
        }
        watch.report(what, requests.len());
    }
}

#[test]
#[ignore = "prints figures"]
fn transfers() {
    const TRANSFERS: usize = 20_000;
    let world = World::new();
    let engine = world.open();
    for n in 0..TRANSFERS {
        let (from, to) = (format!("a{}", n % 5000), format!("a{}", (n + 77) % 5000));
        let plan = Plan::new(&format!("r{n}"))
            .on("begin", [Do::Add(to.clone(), 1)])
            .on(&format!("accepted:add {to}"), [Do::Add(from.clone(), 1)])
            .on(&format!("accepted:add {from}"), [Do::Finish]);
        drop(engine.submit(&request(&from, Command::Begin { plan })).unwrap());
    }
    engine.execute(&request("a0", add(0))).unwrap();
    let before = world.records().len();
    let watch = Stopwatch::start();
    settle(&engine);
    let written = world.records().len() - before;
    watch.report("transfers (3 saga records and 2 commands each)", TRANSFERS);
    watch.report("records the relay wrote", written);
    world.check();
}
