//! The real binary: started in the campaign's directory, killed, stopped and continued, asked to verify a log.
//!
//! It writes to files, never to pipes: a pipe that nobody reads would stop it.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const ANNALS: &str = env!("CARGO_BIN_EXE_annals");
/// How long opening may take after a kill, on a machine that has other things to do.
const OPENING_MAX: Duration = Duration::from_secs(20);
/// How long a clean end may take.
const STOPPING_MAX: Duration = Duration::from_secs(30);
/// How much of the server's errors a failure shows.
const SHOWN_BYTES: usize = 4096;

/// The folder of a campaign. A failing test leaves it and says where it is; `ANNALS_KEEP=1` keeps it in any case.
pub struct Home(Option<tempfile::TempDir>);

impl Home {
    pub fn new() -> Self {
        Self(Some(tempfile::tempdir().unwrap()))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.as_ref().unwrap().path().join(name)
    }

    /// What the server called `name` wrote to stderr, in all its lives.
    pub fn errors(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.err"))).unwrap_or_default()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let keep =
            std::thread::panicking() || std::env::var_os("ANNALS_KEEP").is_some_and(|keep| keep == "1");
        if let Some(directory) = self.0.take().filter(|_| keep) {
            eprintln!("the directory is kept: {}", directory.keep().display());
        }
    }
}

/// Whether the whole log at this address is sound, as `annals log verify` tells.
pub fn verify(log: &str) -> Result<(), String> {
    ask(&["log", "verify", "bank", "--log", log]).map(drop)
}

/// What the binary prints, called with these arguments; an error when it does not succeed.
pub fn ask(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(ANNALS).args(arguments).stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match output.status.code() {
        Some(0) => Ok(out.into_owned()),
        code => Err(format!("annals {} ended with {code:?}: {out}{err}", arguments.join(" "))),
    }
}

pub struct Server {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    began: Instant,
}

impl Server {
    /// Starts one called `name` on the log at this address; it may not be listening yet.
    pub fn start(home: &Home, name: &str, log: &str) -> Self {
        let (out, err) = (home.path(&format!("{name}.out")), home.path(&format!("{name}.err")));
        let mut command = Command::new(ANNALS);
        command.args(["serve", "bank", "--log", log, "--listen", "127.0.0.1:0"]);
        command.stdin(Stdio::null()).stdout(File::create(&out).unwrap());
        command.stderr(OpenOptions::new().create(true).append(true).open(&err).unwrap());
        Self { child: command.spawn().unwrap(), out, err, began: Instant::now() }
    }

    /// Waits until it listens; returns where, and how long it took since it was started.
    pub fn address(&mut self) -> Result<(String, Duration), String> {
        loop {
            if let Some(address) = self.listens() {
                return Ok((address, self.began.elapsed()));
            }
            self.must_run()?;
            if self.began.elapsed() > OPENING_MAX {
                return Err(format!("it does not open within {OPENING_MAX:?}; {}", self.last_errors()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Where it listens, if it does.
    pub fn listens(&self) -> Option<String> {
        let out = std::fs::read_to_string(&self.out).unwrap();
        let (_, rest) = out.split_once("listening on http://")?;
        rest.split_once('\n').map(|(address, _)| address.to_owned())
    }

    /// How long ago it was started.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// An error where it has ended by itself.
    pub fn must_run(&mut self) -> Result<(), String> {
        match self.child.try_wait().unwrap() {
            None => Ok(()),
            Some(status) => Err(format!("the server ended by itself: {status}; {}", self.last_errors())),
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGSTOP or SIGCONT.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to end, and waits until it has, cleanly.
    pub fn stop(mut self) -> Result<(), String> {
        self.signal(Signal::TERM);
        let began = Instant::now();
        while began.elapsed() < STOPPING_MAX {
            match self.child.try_wait().unwrap() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("it stopped with {status}; {}", self.last_errors())),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        Err(format!("it does not stop within {STOPPING_MAX:?}; {}", self.last_errors()))
    }

    /// The end of what it wrote to stderr.
    pub fn last_errors(&self) -> String {
        let errors = std::fs::read(&self.err).unwrap_or_default();
        let shown = &errors[errors.len().saturating_sub(SHOWN_BYTES)..];
        format!("its last errors: {}", String::from_utf8_lossy(shown))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Copies the files of a directory; sockets and the like stay behind.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}
