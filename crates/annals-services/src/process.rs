//! Processes: servers that end with this process, servers that outlive it, and signals to both.
//!
//! Owns how a server is bound to the process that started it. Invariant: no server has a standard stream of its
//! parent; its output goes to the end of a file and it reads nothing. What the servers are is not known here.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, test_kill_process, waitid};

use crate::account::Account;

/// A server to start.
pub(crate) struct Server {
    /// What is run: program and arguments.
    pub(crate) command: Command,
    /// Where all it prints goes.
    pub(crate) log: PathBuf,
    /// Who it runs as.
    pub(crate) account: Account,
}

/// A server to start, and where to say what became of it.
type Order = (Server, Sender<io::Result<Child>>);

impl Server {
    /// Starts it so that it ends with this process, however that ends, where the system can see to it.
    ///
    /// The kernel sends its signal when the *thread* that started the child ends, and a test's thread ends with the
    /// test. So all children are started by one thread, which never ends.
    pub(crate) fn spawn_bound(self) -> io::Result<Child> {
        static NURSERY: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
        let gone = || io::Error::other("the thread that starts servers has ended");
        let (answer, answered) = channel();
        NURSERY.get_or_init(nursery).lock().send((self, answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }

    /// Starts it so that it outlives this process and the terminal that this process was started from.
    pub(crate) fn spawn_detached(self) -> io::Result<Child> {
        if works(&["setsid"]) {
            // Not also in a group of its own: `setsid` would fork then, and the server have another id than the child.
            return self.command(&["setsid"])?.spawn();
        }
        self.command(&[])?.process_group(0).spawn()
    }

    /// The command behind a wrapper that becomes it: the process keeps its id.
    fn command(&self, wrapper: &[&str]) -> io::Result<Command> {
        // The account comes first: changing it takes back what the other wrapper has set.
        let account = self.account.wrapper();
        let words = account.iter().map(String::as_str).chain(wrapper.iter().copied()).map(str::as_ref);
        let mut words = words.chain([self.command.get_program()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).args(self.command.get_args());
        let log = fs::OpenOptions::new().append(true).create(true).open(&self.log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }
}

/// The thread that starts servers. Where it can't be had, the channel is closed, which its users notice.
fn nursery() -> Mutex<Sender<Order>> {
    let (orders, ordered) = channel();
    let _ = thread::Builder::new().name("services".to_owned()).spawn(move || nurse(ordered));
    Mutex::new(orders)
}

fn nurse(ordered: Receiver<Order>) {
    const BOUND: &[&str] = &["setpriv", "--pdeathsig", "KILL"];
    let wrapper = if works(BOUND) { BOUND } else { &[] };
    for (server, answer) in ordered {
        let started = server.command(wrapper).and_then(|mut command| command.spawn());
        // Nobody listens when the one who asked is gone, and then nobody wants the server.
        if let Err(unheard) = answer.send(started)
            && let Ok(mut child) = unheard.0
        {
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}

/// Whether the wrapper exists and knows its options: small systems have a `setpriv` that knows fewer.
pub(crate) fn works(wrapper: &[&str]) -> bool {
    let Some((program, options)) = wrapper.split_first() else { return true };
    let mut command = Command::new(program);
    command.args(options).arg("true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Sends a signal to a child that was not waited for yet, so that the id is still its own.
pub(crate) fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    match pid(child.id()) {
        Some(pid) => Ok(kill_process(pid, signal)?),
        None => Ok(()),
    }
}

/// Stops a child as a debugger does, and returns once none of its threads runs any more.
///
/// The signal alone says nothing of that: on a busy machine threads of the child go on for a while. The kernel tells
/// of the stop when the last one has stopped.
pub(crate) fn pause(child: &Child) -> io::Result<()> {
    signal(child, Signal::STOP)?;
    let Some(pid) = pid(child.id()) else { return Ok(()) };
    // What is seen is left to be seen again: by a second pause, and by whoever waits for the child's end.
    let seen = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(error) = waitid(WaitId::Pid(pid), seen) {
        if error != rustix::io::Errno::INTR {
            return Err(error.into());
        }
    }
    Ok(())
}

/// A process that is known by its id and, because ids are used again, by a word of its command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) id: u32,
    pub(crate) mark: &'a Path,
}

impl Known<'_> {
    /// Whether it runs.
    pub(crate) fn is_alive(self) -> bool {
        pid(self.id).is_some_and(|pid| test_kill_process(pid).is_ok())
            && command_line(self.id).contains(&*self.mark.to_string_lossy())
    }

    /// Kills it and its children if it runs, and waits a moment for their end.
    pub(crate) fn kill(self) {
        if !self.is_alive() {
            return;
        }
        let children = kill_children(self.id);
        if let Some(pid) = pid(self.id) {
            // It may have ended since, which is what is wanted.
            let _ = kill_process(pid, Signal::KILL);
        }
        let until = Instant::now() + Duration::from_secs(5);
        while self.is_alive() && Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
        }
        wait_gone(&children);
    }
}

/// Kills a child of this process and its own children, and waits for the end of all of them.
pub(crate) fn kill_family(child: &mut Child) {
    let children = kill_children(child.id());
    // Fails only for a child that was waited for, which has ended.
    let _ = child.kill().and_then(|()| child.wait());
    wait_gone(&children);
}

/// Stops a process, so that it starts no more children and keeps the ids of those that end, and kills these.
fn kill_children(id: u32) -> Vec<u32> {
    let Some(parent) = pid(id) else { return Vec::new() };
    // Each may have ended since, which is what is wanted.
    let _ = kill_process(parent, Signal::STOP);
    let children = children(id);
    for child in children.iter().filter_map(|child| pid(*child)) {
        let _ = kill_process(child, Signal::KILL);
    }
    children
}

/// The children of a process, where the system tells.
fn children(parent: u32) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // The name, in parentheses, may hold anything; after it come the state and the parent's id.
        let after = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        after.and_then(|found| found.parse().ok()) == Some(parent)
    };
    ids.filter(is_child).collect()
}

/// Waits a moment for the end of processes that were killed.
fn wait_gone(ids: &[u32]) {
    let until = Instant::now() + Duration::from_secs(5);
    let runs = |id: u32| Path::new(&format!("/proc/{id}")).exists() && !command_line(id).is_empty();
    for id in ids {
        while runs(*id) && Instant::now() < until {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// Program and arguments of a process; empty where there is none, or only its remains.
fn command_line(id: u32) -> String {
    if let Ok(line) = fs::read(format!("/proc/{id}/cmdline")) {
        return String::from_utf8_lossy(&line).into_owned();
    }
    let mut command = Command::new("ps");
    command.args(["-ww", "-o", "args=", "-p", &id.to_string()]).stdin(Stdio::null());
    command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(directory: &Path) -> Server {
        let mut command = Command::new("sh");
        command.args(["-c", "echo here; sleep 60; :"]).arg(directory);
        server(command, directory)
    }

    fn server(command: Command, directory: &Path) -> Server {
        Server { command, log: directory.join("log"), account: Account::Own }
    }

    #[test]
    fn a_server_is_known_by_its_command_line_and_killed() {
        let directory = tempfile::tempdir().unwrap();
        let mut child = sleeper(directory.path()).spawn_bound().unwrap();
        let known = Known { id: child.id(), mark: directory.path() };
        let stranger = Known { id: child.id(), mark: Path::new("/somewhere/else") };
        // Between fork and exec the child has its parent's command line.
        let until = Instant::now() + Duration::from_secs(10);
        while !known.is_alive() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(known.is_alive() && !stranger.is_alive());
        stranger.kill();
        assert!(child.try_wait().unwrap().is_none(), "only what is known is killed");
        known.kill();
        child.wait().unwrap();
        assert!(!known.is_alive());
    }

    #[test]
    fn a_server_outlives_the_thread_that_asked_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let server = sleeper(directory.path());
        let mut child = thread::spawn(move || server.spawn_bound().unwrap()).join().unwrap();
        thread::sleep(Duration::from_millis(50));
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Of each thread of a process, the letter of its state.
    #[cfg(target_os = "linux")]
    fn states(id: u32) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{id}/task")).unwrap();
        let state = |task: io::Result<fs::DirEntry>| {
            let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
            stat.rsplit(") ").next().unwrap()[..1].to_owned()
        };
        tasks.map(state).collect()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_paused_has_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        let mut child = server(command, directory.path()).spawn_bound().unwrap();
        for _ in 0..100 {
            pause(&child).unwrap();
            assert_eq!(states(child.id()), ["T"]);
            pause(&child).unwrap();
            signal(&child, Signal::CONT).unwrap();
        }
        pause(&child).unwrap();
        child.kill().unwrap();
        // A child that has ended is not waited for.
        pause(&child).unwrap();
        child.wait().unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn children_are_killed_with_their_parent() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 61 & sleep 62 & wait"]);
        let mut child = server(command, directory.path()).spawn_bound().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        let two = loop {
            let found = children(child.id());
            if found.iter().filter(|id| command_line(**id).starts_with("sleep")).count() == 2 {
                break found;
            }
            assert!(Instant::now() < until, "{found:?}");
            thread::sleep(Duration::from_millis(5));
        };
        kill_family(&mut child);
        assert!(two.iter().all(|id| command_line(*id).is_empty()), "{two:?}");
    }

    #[test]
    fn output_goes_to_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2"]);
        let server = server(command, directory.path());
        assert!(server.spawn_detached().unwrap().wait().unwrap().success());
        assert_eq!(fs::read_to_string(directory.path().join("log")).unwrap(), "out\nerr\n");
    }
}
