//! The background thread of a log open for writing, and of a replica: it prepares the next segments and writes
//! the index files of full ones, so that no caller waits for either.
//!
//! Invariant: it never touches a byte that counts. A log works, more slowly at times, when its work fails.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;

use annals_core::ShardId;

use crate::error::SegmentError;
use crate::segment::Segment;

/// What the thread works for.
pub(crate) trait Kept: Debug + Send + Sync {
    /// Prepares a segment of so many bytes.
    fn prepare(&self, bytes: u64, stop: &AtomicBool);

    /// Writes the index file of a full segment.
    fn index(&self, segment: &Segment) -> Result<(), SegmentError>;
}

/// Work for the thread.
#[derive(Debug)]
pub(crate) enum Job {
    /// Prepare a segment of so many bytes for a shard.
    Prepare { shard: ShardId, bytes: u64 },
    /// Write the index file of a full segment of a shard.
    Index { shard: ShardId, segment: Arc<Segment> },
    /// End after the work before this.
    Stop,
}

/// The running thread; stops it when dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    jobs: Sender<Job>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread for these shards.
    pub(crate) fn start(
        shards: Vec<Arc<dyn Kept>>,
        jobs: Sender<Job>,
        received: Receiver<Job>,
    ) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let thread = std::thread::Builder::new()
            .name("annals-file".to_owned())
            .spawn(move || work(&shards, &received, &stop))?;
        Ok(Self { jobs, stopping, thread: Some(thread) })
    }

    /// Ends the thread: index files that were asked for are written, segments are not prepared any more.
    pub(crate) fn stop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread ends on `Stop` or was gone before; a panic in it was reported by the panic hook.
            let _ = self.jobs.send(Job::Stop);
            let _ = thread.join();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

fn work(shards: &[Arc<dyn Kept>], received: &Receiver<Job>, stop: &AtomicBool) {
    while let Ok(job) = received.recv() {
        match job {
            Job::Prepare { shard, bytes } => {
                if let Some(shard) = shards.get(shard.0 as usize) {
                    shard.prepare(bytes, stop);
                }
            }
            Job::Index { shard, segment } => {
                let Some(shard) = shards.get(shard.0 as usize) else { continue };
                if let Err(error) = shard.index(&segment) {
                    let segment = segment.path.display();
                    tracing::warn!(%segment, ?error, "the index file was not written; memory holds the index");
                }
            }
            Job::Stop => return,
        }
    }
}
