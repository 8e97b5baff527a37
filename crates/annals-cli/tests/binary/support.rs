//! Runs the binary in a directory of its own.
//!
//! Servers write to files: a pipe that a server inherits would keep its reader waiting.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const ANNALS: &str = env!("CARGO_BIN_EXE_annals");
/// How long a server may take to start or stop: machines that build are slow.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Home(tempfile::TempDir);

/// What a command came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(ANNALS);
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command that ends by itself.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Self::ran(self.command(arguments).output().unwrap())
    }

    /// Runs a command that reads `input`.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Self::ran(child.wait_with_output().unwrap())
    }

    fn ran(output: std::process::Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs a command that must succeed.
    pub fn ok(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        ran
    }

    /// Starts a command that listens, on any free port, and waits until it does.
    pub fn start(&self, arguments: &[&str]) -> Server {
        let (out, err) = (self.path("server.out"), self.path("server.err"));
        let child = self
            .command(arguments)
            .args(["--listen", "127.0.0.1:0"])
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap();
        let mut server = Server { child, out, err, address: String::new() };
        server.address = server.wait_for("listening on http://").lines().next().unwrap().to_owned();
        server
    }
}

impl Ran {
    /// Stdout's lines as JSON.
    pub fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Checks that it was refused with this code, that the message is for people, and that it says all of `words`.
    pub fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(!self.err.contains("panicked") && self.err.starts_with("error: "), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is missing: {self:?}");
        }
    }
}

pub struct Server {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    address: String,
}

impl Server {
    /// Waits until stdout holds `text`; returns what follows it.
    pub fn wait_for(&mut self, text: &str) -> String {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let out = std::fs::read_to_string(&self.out).unwrap();
            if let Some((_, rest)) = out.split_once(text).filter(|(_, rest)| rest.contains('\n')) {
                return rest.to_owned();
            }
            assert!(self.child.try_wait().unwrap().is_none(), "it ended: {out} {}", self.errors());
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it never said {text:?}: {}", self.errors());
    }

    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until stderr holds `text`.
    pub fn wait_for_error(&self, text: &str) {
        let began = Instant::now();
        while !self.errors().contains(text) {
            assert!(began.elapsed() < PATIENCE, "it never said {text:?}: {}", self.errors());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn errors(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap()
    }

    /// Status and body of a page.
    pub fn get(&self, path: &str) -> (u16, Value) {
        self.get_with(path, "")
    }

    /// Asks with a key.
    pub fn get_as(&self, path: &str, key: &str) -> (u16, Value) {
        self.get_with(path, &format!("Authorization: Bearer {key}\r\n"))
    }

    fn get_with(&self, path: &str, headers: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}Connection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|_| Value::from(body)))
    }

    /// Asks for the page until `wanted` says yes of the answer.
    pub fn get_until(&self, path: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let (status, body) = self.get(path);
            if wanted(status, &body) {
                return body;
            }
            assert!(began.elapsed() < PATIENCE, "{path}: {status} {body}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it has ended and returns its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it did not end: {}", self.errors());
    }

    /// Ctrl-C, and a clean end.
    pub fn stop(mut self) {
        self.signal(Signal::INT);
        assert_eq!(self.ended(), Some(0), "{}", self.errors());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether `directory` holds a log that was closed cleanly, as the binary tells.
pub fn is_sealed(home: &Home, directory: &str) -> bool {
    assert!(Path::new(&home.path(directory)).exists());
    let info = home.ok(&["log", "info", "--json", "--log", &format!("file:{directory}")]).json();
    info[0]["shards"].as_array().unwrap().iter().all(|shard| shard["sealed"] == true)
}
