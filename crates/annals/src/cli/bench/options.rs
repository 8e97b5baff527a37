//! What a caller asks for: arguments, and what they mean for each benchmark.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::error::BenchError;
use super::fill::History;
use super::stats::Rounds;
use crate::LogUrl;

const LOG: &str = "file:./annals-bench";
const DIRECTORY: &str = "./annals-bench";
/// The most threads that a benchmark starts.
const CLIENTS_MAX: i64 = 1024;
/// About 45 GB of log.
const EVENTS_MAX: u64 = 100_000_000;
/// Streams of a log, as the published figures have it.
const STREAMS: u64 = 10_000;
/// Keys of the view.
const PARTIES: u64 = 20_000;

/// The benchmarks: name, what it says of itself, and how many events its log holds unless told otherwise.
/// `None` where the log's content is no part of it.
const BENCHES: [(&str, &str, Option<u64>); 10] = [
    ("disk", "what the disk allows: pwrite and fdatasync on a file of zeros", None),
    ("append", "records appended and committed in groups, against the disk", None),
    ("commands", "commands decided and durable, against a bare group-commit log", Some(0)),
    ("load", "one stream of 100 scattered events read, and folded into state", Some(1_000_000)),
    ("scan", "the whole log read and checked", Some(1_000_000)),
    ("replay", "the whole log decoded and folded into states on two threads", Some(1_000_000)),
    ("views", "a document view of 20,000 keys folded, in SQLite and in memory", Some(300_000)),
    ("rebuild", "a view built anew while commands come at half of what is possible", Some(2_000_000)),
    ("open", "time and memory to open a log, closed or killed before", Some(2_000_000)),
    ("size", "bytes of log and index for a record of one event", Some(1_000_000)),
];

/// What a run of a benchmark is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) directory: PathBuf,
    /// The brokers, where the log is to be in Kafka.
    pub(super) kafka: Option<Brokers>,
    pub(super) json: bool,
    pub(super) rounds: Rounds,
    /// How many clients there are, one case each.
    pub(super) clients: Vec<u32>,
    /// Whether clients are async tasks.
    pub(super) tasks: bool,
    /// What the log holds before anything is measured.
    pub(super) history: History,
    /// Bytes of the limit programs' file.
    pub(super) zeroed_bytes: u64,
    pub(super) notes: Notes,
}

/// Where brokers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Brokers {
    pub(super) addresses: String,
    pub(super) prefix: String,
}

/// Tells people on standard error what takes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Notes {
    on: bool,
}

impl Notes {
    /// Says what begins now.
    pub(super) fn say(self, what: &str) {
        if self.on {
            eprintln!("{what}");
        }
    }

    /// Says how far it is, ten times on the way.
    pub(super) fn progress(self, what: &str, done: u64, all: u64) {
        let tenth = |n: u64| n.saturating_mul(10) / all.max(1);
        if self.on && tenth(done) > tenth(done.saturating_sub(4096)) {
            eprintln!("{what}: {done} of {all}");
        }
    }
}

/// The command line of `bench`.
pub(super) fn command() -> Command {
    Command::new("bench")
        .about("Measures this machine's limits and how much of them Annals reaches")
        .long_about(
            "Measures this machine's limits and how much of them Annals reaches.\n\n\
             Every figure is taken beside its limit in the same run, in turn, and is a median over rounds. \
             The log is made for the benchmark in the directory of --log, which must be new or empty, and is \
             removed at the end; a benchmark may need up to 6 GB there.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(BENCHES.map(|(name, about, events)| bench(name, about, events)))
}

fn bench(name: &'static str, about: &'static str, events: Option<u64>) -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let mut command = Command::new(name)
        .about(about)
        .arg(
            Arg::new("log").long("log").value_name("URL").default_value(LOG).help("The directory to work in"),
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .value_name("S")
                .default_value("3")
                .value_parser(value_parser!(u64).range(1..=3600))
                .help("How long each case and its limit are measured"),
        )
        .arg(flag("json", "Prints one JSON object a row"))
        .arg(flag("quick", "A run that only shows that everything works; its figures mean nothing"))
        .arg(flag("progress", "Tells on standard error what is being done, also where that is no terminal"));
    if let Some(events) = events {
        let help = format!("How many events the log holds before [default: {events}]");
        let parser = value_parser!(u64).range(u64::from(events > 0)..=EVENTS_MAX);
        let arg = Arg::new("preload").long("preload").value_name("N").value_parser(parser);
        command = command.arg(arg.help(help));
    }
    match name {
        "commands" => command
            .arg(
                Arg::new("clients")
                    .long("clients")
                    .value_name("N")
                    .value_parser(value_parser!(u32).range(1..=CLIENTS_MAX))
                    .help("How many commands are outstanding [default: 1, 16 and 64 in turn, on Kafka also 512]"),
            )
            .arg(flag("tasks", "Each is awaited by an async task, as in a server; not on Kafka")),
        "open" => command.arg(flag("child", "The part of the benchmark's second process").hide(true)),
        _ => command,
    }
}

impl Options {
    /// Reads what was given to the benchmark `name`.
    pub(super) fn read(name: &str, matches: &ArgMatches, terminal: bool) -> Result<Self, BenchError> {
        let quick = matches.get_flag("quick");
        let clients = matches.try_get_one::<u32>("clients").ok().flatten().copied();
        let (directory, kafka) = place(name, matches.get_one::<String>("log").map_or(LOG, String::as_str))?;
        let tasks = matches!(matches.try_get_one::<bool>("tasks"), Ok(Some(true)));
        if tasks && kafka.is_some() {
            return Err(BenchError::NoTasks);
        }
        let several = match (quick, &kafka) {
            (true, _) => vec![1, 4],
            (false, None) => vec![1, 16, 64],
            (false, Some(_)) => vec![1, 16, 64, 512],
        };
        let seconds = matches.get_one::<u64>("seconds").copied().unwrap_or(3);
        let rounds = if quick {
            Rounds { count: 2, time: Duration::from_millis(10) }
        } else {
            Rounds { count: 5, time: Duration::from_secs(seconds) / 5 }
        };
        Ok(Self {
            directory,
            kafka,
            json: matches.get_flag("json"),
            rounds,
            clients: clients.map_or(several, |clients| vec![clients]),
            tasks,
            history: history(name, matches.try_get_one::<u64>("preload").ok().flatten().copied(), quick),
            zeroed_bytes: if quick { 2 << 20 } else { 64 << 20 },
            notes: Notes { on: terminal || matches.get_flag("progress") },
        })
    }
}

/// What the log of the benchmark `name` holds.
fn history(name: &str, preload: Option<u64>, quick: bool) -> History {
    let usual = BENCHES.iter().find(|bench| bench.0 == name).and_then(|bench| bench.2).unwrap_or_default();
    let events = preload.unwrap_or(if quick { usual.min(2_000) } else { usual });
    let streams = match name {
        // Each stream is to have 100 events, or all there are.
        "load" => (events / 100).max(1),
        _ => STREAMS,
    };
    History { events, streams, parties: if quick { 100 } else { PARTIES } }
}

/// The directory of a log's address, and its brokers where the benchmark `name` knows what to do with them.
fn place(name: &str, url: &str) -> Result<(PathBuf, Option<Brokers>), BenchError> {
    match url.parse()? {
        LogUrl::File { directory, shards: None | Some(1) } => Ok((directory, None)),
        LogUrl::Kafka { brokers, prefix, shards: None | Some(1), data, message_timeout: None }
            if name == "commands" =>
        {
            let directory = data.unwrap_or_else(|| PathBuf::from(DIRECTORY));
            Ok((directory, Some(Brokers { addresses: brokers, prefix })))
        }
        _ => Err(BenchError::NotAFile { url: url.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Options, BenchError> {
        let matches = command().try_get_matches_from([&["bench"], arguments].concat()).unwrap();
        let (name, matches) = matches.subcommand().unwrap();
        Options::read(name, matches, false)
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn what_is_not_given_is_as_published() {
        let options = read(&["commands"]).unwrap();
        assert_eq!(options.directory, PathBuf::from("./annals-bench"));
        assert_eq!((options.clients, options.json), (vec![1, 16, 64], false));
        assert_eq!(options.rounds, Rounds { count: 5, time: Duration::from_millis(600) });
        assert_eq!(options.history, History { events: 0, streams: 10_000, parties: 20_000 });
        assert_eq!(options.notes, Notes { on: false });
        let history = |name| read(&[name]).unwrap().history;
        assert_eq!(history("load"), History { events: 1_000_000, streams: 10_000, parties: 20_000 });
        assert_eq!(history("open").events, 2_000_000);
    }

    #[test]
    fn what_is_given_counts() {
        let arguments = ["commands", "--clients", "7", "--seconds", "10", "--preload", "500", "--json"];
        let options = read(&[&arguments[..], &["--log", "file:/tmp/b", "--progress"]].concat()).unwrap();
        assert_eq!((options.clients, options.history.events, options.json), (vec![7], 500, true));
        assert_eq!((options.rounds.time, options.notes), (Duration::from_secs(2), Notes { on: true }));
        assert_eq!(options.directory, PathBuf::from("/tmp/b"));
        // 100 events in each stream, whatever the log holds.
        assert_eq!(read(&["load", "--preload", "250"]).unwrap().history.streams, 2);
        assert_eq!(read(&["load", "--preload", "99"]).unwrap().history.streams, 1);
        assert_eq!(read(&["scan", "--quick"]).unwrap().history.events, 2_000);
        assert_eq!(read(&["scan", "--quick", "--preload", "9"]).unwrap().history.events, 9);
    }

    #[test]
    fn tasks_are_for_logs_in_a_directory() {
        assert!(read(&["commands", "--tasks"]).unwrap().tasks && !read(&["commands"]).unwrap().tasks);
        let refused = read(&["commands", "--tasks", "--log", "kafka://b:9092"]).unwrap_err();
        assert!(refused.is_wrong_use() && refused.to_string().contains("leave --tasks away"), "{refused}");
    }

    #[test]
    fn limits_are_kept() {
        let taken =
            |arguments: &[&str]| command().try_get_matches_from([&["bench"], arguments].concat()).is_ok();
        for (name, argument, good, bad) in [
            ("commands", "--clients", ["1", "1024"], ["0", "1025"]),
            ("disk", "--seconds", ["1", "3600"], ["0", "3601"]),
            ("commands", "--preload", ["0", "100000000"], ["-1", "100000001"]),
            ("scan", "--preload", ["1", "100000000"], ["0", "100000001"]),
        ] {
            good.iter()
                .for_each(|value| assert!(taken(&[name, argument, value]), "{name} {argument} {value}"));
            bad.iter()
                .for_each(|value| assert!(!taken(&[name, argument, value]), "{name} {argument} {value}"));
        }
        assert!(!taken(&[]) && !taken(&["nonsense"]) && !taken(&["disk", "--preload", "1"]));
    }

    #[test]
    fn logs_that_bench_cannot_make_are_refused() {
        for url in ["memory:", "file:./b?shards=2"] {
            let error = read(&["disk", "--log", url]).unwrap_err();
            assert!(matches!(error, BenchError::NotAFile { .. }) && error.is_wrong_use(), "{url}: {error}");
        }
        assert!(read(&["disk", "--log", "file:./b?shards=1"]).is_ok());
        assert!(matches!(read(&["disk", "--log", "nowhere"]), Err(BenchError::Url(_))));
    }
}
