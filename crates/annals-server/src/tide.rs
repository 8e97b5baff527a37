//! Wakes event streams when the log grows.
//!
//! One thread per shard waits on the log for all streams of a context, from the first stream on. It ends with
//! the router. While nobody listens it only looks now and then whether somebody does.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use annals_core::{Cursor, Offset, ShardId};
use annals_log::Log;
use tokio::sync::watch;

/// How long a thread waits on the log before it looks whether it is still needed.
const TURN: Duration = Duration::from_millis(250);
/// How long a thread sleeps while nobody listens: how late the first news may be for a new listener.
const IDLE: Duration = Duration::from_millis(25);

/// The ends of a log's shards, as they move.
pub(crate) struct Tide {
    log: Arc<dyn Log>,
    ends: Arc<watch::Sender<Cursor>>,
    started: Mutex<bool>,
}

impl Tide {
    pub(crate) fn new(log: Arc<dyn Log>) -> Self {
        let ends = Arc::new(watch::Sender::new(Cursor::start(log.identity().shards)));
        Self { log, ends, started: Mutex::new(false) }
    }

    /// Wakes the receiver whenever a shard's end has moved.
    pub(crate) fn subscribe(&self) -> std::io::Result<watch::Receiver<Cursor>> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if !*started {
            for shard in (0..self.log.identity().shards).map(ShardId) {
                let (log, ends) = (Arc::clone(&self.log), Arc::downgrade(&self.ends));
                std::thread::Builder::new()
                    .name(format!("tide-{shard}"))
                    .spawn(move || follow(&log, &ends, shard))?;
            }
            *started = true;
        }
        Ok(self.ends.subscribe())
    }
}

/// The life of a thread.
fn follow(log: &Arc<dyn Log>, ends: &Weak<watch::Sender<Cursor>>, shard: ShardId) {
    let mut seen = Offset(0);
    while let Some(sender) = ends.upgrade() {
        if sender.receiver_count() == 0 {
            drop(sender);
            std::thread::sleep(IDLE);
            continue;
        }
        let end = log.end(shard);
        if end > seen {
            seen = end;
            sender.send_modify(|cursor| cursor.set(shard, end));
        }
        drop(sender);
        log.wait(shard, seen, TURN);
    }
}
