//! The brokers, killed one at a time.

use std::time::{Duration, Instant};

use annals_services::Kafka;

/// How long a broker may take to come back on a machine that has other work.
const READY_MAX: Duration = Duration::from_secs(120);

pub struct Brokers {
    pub kafka: Kafka,
    trouble: Trouble,
    /// When all of them were ready again after the last kill.
    ready: Option<Instant>,
    pub kills: u64,
}

enum Trouble {
    None,
    Down { node: u32, until: Instant },
    Starting { since: Instant },
}

impl Brokers {
    pub fn new(kafka: Kafka) -> Self {
        Self { kafka, trouble: Trouble::None, ready: None, kills: 0 }
    }

    /// Whether all of them are there.
    pub fn are_ready(&self) -> bool {
        matches!(self.trouble, Trouble::None)
    }

    /// Whether one of them was away within so long.
    pub fn were_away(&self, within: Duration) -> bool {
        !self.are_ready() || self.ready.is_some_and(|ready| ready.elapsed() < within)
    }

    /// Kills one for so long.
    pub fn kill(&mut self, number: u64, down: Duration) -> Result<(), String> {
        let nodes: Vec<u32> = self.kafka.nodes().collect();
        let node = nodes[number as usize % nodes.len()];
        self.kafka.kill(node).map_err(|error| error.to_string())?;
        self.kills += 1;
        self.trouble = Trouble::Down { node, until: Instant::now() + down };
        Ok(())
    }

    /// Does what is due.
    pub fn tick(&mut self) -> Result<(), String> {
        match self.trouble {
            Trouble::Down { node, until } if until <= Instant::now() => {
                self.kafka.start_node(node).map_err(|error| error.to_string())?;
                self.trouble = Trouble::Starting { since: Instant::now() };
            }
            Trouble::Starting { since } => match self.kafka.wait_ready(Duration::ZERO) {
                Ok(()) => {
                    self.trouble = Trouble::None;
                    self.ready = Some(Instant::now());
                }
                Err(error) if since.elapsed() > READY_MAX => return Err(error.to_string()),
                Err(_) => {}
            },
            _ => {}
        }
        Ok(())
    }
}
