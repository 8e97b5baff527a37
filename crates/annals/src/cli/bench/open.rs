//! `open`: how long it takes to open a log and have its first answer, and what memory that takes.
//!
//! A second process does the work, so that what this one has in memory counts for nothing, and so that a log
//! that was not closed is one whose writer was killed, without a chance to tidy up.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use annals_core::index::Term;
use annals_file::FileLog;
use annals_log::{Log as _, RecordKind};
use serde::{Deserialize, Serialize};

use super::domain;
use super::error::BenchError;
use super::fill::{self, History, SHARD};
use super::load::files_below;
use super::options::Options;
use super::place::Place;
use super::report::Row;
use super::stats::{Sample, nanoseconds};

/// What answers of the second process begin with, among other things it may print.
const ANSWER: &str = "bench-child ";
/// How many records a writer commits at once before it is killed.
const GROUP: u64 = 64;
/// How long a writer writes before it is killed.
const WRITING: Duration = Duration::from_millis(100);

/// How the second process is started.
#[derive(Clone, Debug)]
pub(super) struct Second {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
}

impl Second {
    /// This program again, with its hidden argument.
    pub(super) fn this_program() -> Result<Self, BenchError> {
        let child = |error: std::io::Error| BenchError::Child { reason: error.to_string() };
        let program = std::env::current_exe().map_err(child)?;
        Ok(Self { program, arguments: ["bench", "open", "--child"].map(str::to_owned).to_vec() })
    }
}

/// What the second process is to do.
#[derive(Debug, Serialize, Deserialize)]
enum Task {
    /// Open the log and tell how long it took.
    Open { log: PathBuf, stream: u64 },
    /// Open the log and write into it until killed.
    Write { log: PathBuf, first: u64 },
}

/// What the second process answers.
#[derive(Debug, Serialize, Deserialize)]
struct Opened {
    seconds: f64,
    /// Anonymous memory after opening, less that before.
    memory_bytes: Option<u64>,
}

/// `bench open`.
pub(super) fn open(options: &Options, place: &Place, second: &Second) -> Result<Vec<Row>, BenchError> {
    let directory = place.fresh("log")?;
    fill::filled(&directory, &options.history, options.notes)?.close()?;
    let bench = OpenBench { directory, history: options.history, second };
    options.notes.say("open: closed before");
    let clean = bench.case(options, |_| Ok(()))?;
    options.notes.say("open: writer killed before");
    let killed = bench.case(options, |round| bench.write_and_kill(round))?;
    let case = |how: &str| format!("{how}, {} events", options.history.events);
    Ok([("closed", clean), ("killed", killed)]
        .into_iter()
        .map(|(how, row)| Row { case: case(how), ..row })
        .collect())
}

struct OpenBench<'a> {
    directory: PathBuf,
    history: History,
    second: &'a Second,
}

impl OpenBench<'_> {
    fn case(
        &self,
        options: &Options,
        before: impl Fn(u64) -> Result<(), BenchError>,
    ) -> Result<Row, BenchError> {
        let (mut memory, mut round) = (Vec::new(), 0);
        let compared = options.rounds.compare(
            |_| {
                round += 1;
                before(round)?;
                self.touch()
            },
            |_| {
                let opened = self.open()?;
                memory.extend(opened.memory_bytes.map(|bytes| bytes as f64));
                Ok(once(opened.seconds))
            },
        )?;
        let bytes = super::stats::median(memory.into_iter());
        // The processor time is the second process's, of which this one knows nothing.
        Ok(Row { bytes, cpu_us: None, ..Row::compared("open", "", 1, &compared) })
    }

    /// The limit: every file opened, and its first block read.
    fn touch(&self) -> Result<Sample, BenchError> {
        let began = Instant::now();
        let mut block = Vec::new();
        for path in files_below(&self.directory)? {
            let file = File::open(&path).map_err(BenchError::io(&path))?;
            block.clear();
            file.take(4096).read_to_end(&mut block).map_err(BenchError::io(&path))?;
        }
        Ok(once(began.elapsed().as_secs_f64()))
    }

    /// Opens the log in a second process.
    fn open(&self) -> Result<Opened, BenchError> {
        let stream = self.history.stream_of(0);
        let mut running = Running::start(self.second, &Task::Open { log: self.directory.clone(), stream })?;
        let answer = running.answer()?;
        running.end()?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// Has a second process write for a moment and kills it.
    fn write_and_kill(&self, round: u64) -> Result<(), BenchError> {
        let first = self.history.events + (round << 32);
        let mut running = Running::start(self.second, &Task::Write { log: self.directory.clone(), first })?;
        running.answer()?;
        std::thread::sleep(WRITING);
        running.kill()
    }
}

fn once(seconds: f64) -> Sample {
    let latency = nanoseconds(Duration::from_secs_f64(seconds));
    Sample { operations: 1, seconds, latencies_ns: vec![latency], cpu_seconds: None }
}

/// A second process at work; killed when it is dropped.
struct Running {
    child: Child,
    _input: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
}

impl Running {
    fn start(second: &Second, task: &Task) -> Result<Self, BenchError> {
        let mut child = Command::new(&second.program)
            .args(&second.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut input = child.stdin.take();
        let output = child.stdout.take().map(BufReader::new);
        let line = format!("{}\n", serde_json::to_string(task)?);
        let told = input.as_mut().map_or(Ok(()), |input| input.write_all(line.as_bytes()));
        let running = Self { child, _input: input, output };
        told.map_err(failed)?;
        Ok(running)
    }

    fn answer(&mut self) -> Result<String, BenchError> {
        let mut lines = self.output.as_mut().into_iter().flat_map(|output| output.lines());
        let answer =
            lines.find_map(|line| line.ok()?.split_once(ANSWER).map(|(_, answer)| answer.to_owned()));
        answer.ok_or_else(|| BenchError::Child {
            reason: "it gave no answer; see its messages above".to_owned(),
        })
    }

    /// Waits for its end; what else it prints does not matter.
    fn end(&mut self) -> Result<(), BenchError> {
        let mut rest = Vec::new();
        if let Some(output) = &mut self.output {
            output.read_to_end(&mut rest).map_err(failed)?;
        }
        let status = self.child.wait().map_err(failed)?;
        if status.success() { Ok(()) } else { Err(BenchError::Child { reason: status.to_string() }) }
    }

    fn kill(&mut self) -> Result<(), BenchError> {
        self.child.kill().and_then(|()| self.child.wait()).map(drop).map_err(failed)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails where it has ended already.
        let _ = self.kill();
    }
}

fn failed(error: std::io::Error) -> BenchError {
    BenchError::Child { reason: error.to_string() }
}

/// The second process: reads its task from standard input.
pub(super) fn child() -> Result<(), BenchError> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(failed)?;
    match serde_json::from_str(&line)? {
        Task::Open { log, stream } => child_open(&log, stream),
        Task::Write { log, first } => child_write(&log, first),
    }
}

fn child_open(directory: &Path, stream: u64) -> Result<(), BenchError> {
    let term = Term::stream(domain::stream(stream)?.as_str());
    let before = anonymous_bytes();
    let began = Instant::now();
    let log = FileLog::open(directory, annals_file::Settings::default())?;
    let found = log.find_last(SHARD, term)?;
    let first = found.map(|offset| log.get(SHARD, offset)).transpose()?.flatten();
    let seconds = began.elapsed().as_secs_f64();
    let memory_bytes = before.zip(anonymous_bytes()).map(|(before, after)| after.saturating_sub(before));
    if first.is_none() {
        return Err(BenchError::Wrong { what: "the number of records found", expected: 1, found: 0 });
    }
    answer(&serde_json::to_string(&Opened { seconds, memory_bytes })?)?;
    log.close()?;
    Ok(())
}

fn child_write(directory: &Path, first: u64) -> Result<(), BenchError> {
    let log = FileLog::open(directory, annals_file::Settings::default())?;
    let writer = fill::claim(&log)?;
    // Streams of its own: nobody reads what it writes.
    for n in first.. {
        let record = domain::record(n, n % 1_000 + 50_000_000, 0, 1)?;
        let seq = writer.append(RecordKind::Record, record.envelope, record.terms)?;
        if n % GROUP == GROUP - 1 {
            writer.commit(seq)?;
        }
        if n == first + GROUP {
            answer("writing")?;
        }
    }
    Ok(())
}

fn answer(text: &str) -> Result<(), BenchError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{ANSWER}{text}").and_then(|()| out.flush()).map_err(failed)
}

/// This process's memory that is not of files.
fn anonymous_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
