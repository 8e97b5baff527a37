//! The progress of an import or rebuild: a bar on a terminal, a line a second with `--progress`, nothing otherwise.
//!
//! All of it goes to stderr.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

use crate::import::Progress;

/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// `--progress`.
pub(crate) fn argument() -> Arg {
    Arg::new("progress")
        .long("progress")
        .action(ArgAction::SetTrue)
        .help("Show progress on stderr also where that is no terminal")
}

/// Shows how far a command has come.
pub(crate) struct Bar {
    bar: ProgressBar,
    /// When the last line was written, where lines are.
    lines: Option<Mutex<Instant>>,
}

impl Bar {
    /// As the command line asks for.
    pub(crate) fn new(matches: &ArgMatches) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} {per_sec} eta {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let lines = (!terminal && matches.get_flag("progress")).then(|| Mutex::new(Instant::now()));
        Self { bar, lines }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Bar {
    fn total(&self, rows: u64) {
        self.bar.set_length(rows);
    }

    fn done(&self, rows: u64) {
        self.bar.set_position(rows);
        let Some(last) = &self.lines else { return };
        let mut last = last.lock();
        if last.elapsed() >= LINE_INTERVAL {
            *last = Instant::now();
            let of = self.bar.length().map(|total| format!(" of {total}")).unwrap_or_default();
            eprintln!("{rows}{of}, {:.0} per second", self.bar.per_sec());
        }
    }

    fn note(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }
}
