//! A node: one process that serves the bank from the shared journal, through its lives.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::bank::server::{Home, Server, ask, verify};
use crate::board::Board;

/// How many shards the journal has.
pub const SHARDS: u32 = 8;
/// How long a record may be on its way: short, so that stops last longer.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long opening may take while the brokers answer, on a machine that has other things to do.
const OPENING_MAX: Duration = Duration::from_secs(120);
/// The pause before one is started again that ended while it opened, as it may while the brokers are away.
const PAUSE: Duration = Duration::from_millis(300);

pub struct Node {
    pub number: usize,
    name: String,
    data: PathBuf,
    log: String,
    life: Life,
    /// Openings that came to nothing while the brokers were away.
    pub not_opened: u64,
    pub openings: Vec<Duration>,
}

enum Life {
    Down {
        until: Instant,
    },
    Opening(Server),
    Up(Server),
    /// Stopped by a signal.
    Stopped {
        server: Server,
        until: Instant,
    },
}

impl Node {
    pub fn new(number: usize, home: &Home, brokers: &str) -> Self {
        let name = format!("node-{number}");
        let data = home.path(&name);
        let log = address(brokers, &data);
        let life = Life::Down { until: Instant::now() };
        Self { number, name, data, log, life, not_opened: 0, openings: Vec::new() }
    }

    /// Whether it answers.
    pub fn is_up(&self) -> bool {
        matches!(self.life, Life::Up(_))
    }

    pub fn is_down(&self) -> bool {
        matches!(self.life, Life::Down { .. })
    }

    /// What it wrote to stderr, in all its lives.
    pub fn errors(&self, home: &Home) -> String {
        home.errors(&self.name)
    }

    /// Kills it in whatever it does; without `replica` its copy of the journal is gone when it comes back.
    pub fn kill(&mut self, board: &Board, down: Duration, replica: bool) {
        board.listens(self.number, None);
        match &mut self.life {
            Life::Down { .. } => {}
            Life::Opening(server) | Life::Up(server) | Life::Stopped { server, .. } => server.kill(),
        }
        if !replica {
            drop(std::fs::remove_dir_all(self.data.join("replica")));
        }
        self.life = Life::Down { until: Instant::now() + down };
    }

    /// Stops it for a while; clients go on asking it. `false` where it does not run.
    pub fn stop(&mut self, pause: Duration) -> bool {
        let down = Life::Down { until: Instant::now() };
        match std::mem::replace(&mut self.life, down) {
            Life::Up(server) => {
                server.signal(Signal::STOP);
                self.life = Life::Stopped { server, until: Instant::now() + pause };
                true
            }
            other => {
                self.life = other;
                false
            }
        }
    }

    /// Does what is due. `excused` says whether the brokers were away within so long.
    pub fn tick(
        &mut self,
        home: &Home,
        board: &Board,
        excused: impl Fn(Duration) -> bool,
    ) -> Result<(), String> {
        let now = Instant::now();
        let life = std::mem::replace(&mut self.life, Life::Down { until: now + PAUSE });
        self.life = match life {
            Life::Down { until } if until <= now => Life::Opening(Server::start(home, &self.name, &self.log)),
            Life::Down { until } => Life::Down { until },
            Life::Opening(server) => match self.opening(server, board, excused)? {
                Some(life) => life,
                None => return Ok(()),
            },
            Life::Stopped { server, until } if until <= now => {
                server.signal(Signal::CONT);
                Life::Up(server)
            }
            Life::Stopped { server, until } => Life::Stopped { server, until },
            Life::Up(mut server) => {
                server.must_run()?;
                Life::Up(server)
            }
        };
        Ok(())
    }

    /// Looks whether it listens; `None` where it gave up for a reason that is none of its own.
    fn opening(
        &mut self,
        mut server: Server,
        board: &Board,
        excused: impl Fn(Duration) -> bool,
    ) -> Result<Option<Life>, String> {
        if let Some(address) = server.listens() {
            self.openings.push(server.age());
            board.listens(self.number, Some(address));
            return Ok(Some(Life::Up(server)));
        }
        match server.must_run() {
            Ok(()) if server.age() > OPENING_MAX => {
                Err(format!("{} does not open within {OPENING_MAX:?}; {}", self.name, server.last_errors()))
            }
            Ok(()) => Ok(Some(Life::Opening(server))),
            Err(_) if excused(server.age()) => {
                self.not_opened += 1;
                Ok(None)
            }
            Err(wrong) => Err(format!("{}: {wrong}", self.name)),
        }
    }

    /// Lets it go on, or starts it, at once.
    pub fn hurry(&mut self) {
        if let Life::Down { until } | Life::Stopped { until, .. } = &mut self.life {
            *until = Instant::now();
        }
    }

    /// Ends it in an orderly way; its replica is sound then.
    pub fn end(&mut self) -> Result<Replica, String> {
        let life = std::mem::replace(&mut self.life, Life::Down { until: Instant::now() });
        let Life::Up(server) = life else { return Err(format!("{} is not up", self.name)) };
        server.stop().map_err(|wrong| format!("{}: {wrong}", self.name))?;
        let replica = Replica { log: self.log.clone(), directory: self.data.join("replica") };
        replica.verify().map_err(|wrong| format!("{}: {wrong}", self.name))?;
        Ok(replica)
    }
}

/// A copy of the journal on this machine.
pub struct Replica {
    log: String,
    pub directory: PathBuf,
}

impl Replica {
    /// One that is made anew from the journal.
    pub fn fresh(home: &Home, brokers: &str) -> Self {
        let data = home.path("fresh");
        Self { log: address(brokers, &data), directory: data.join("replica") }
    }

    /// Whether all of it is sound.
    pub fn verify(&self) -> Result<(), String> {
        verify(&self.log)
    }

    /// All events, one a line, shard by shard, when it was filled up to the end of the journal.
    pub fn events(&self) -> Result<String, String> {
        ask(&["events", "bank", "--json", "--log", &self.log])
    }
}

fn address(brokers: &str, data: &std::path::Path) -> String {
    let timeout = MESSAGE_TIMEOUT.as_secs();
    format!("{brokers}?shards={SHARDS}&data={}&message-timeout={timeout}s", data.display())
}
