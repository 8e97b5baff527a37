//! Faults that unit tests plan: which write, sync or preparation of a segment fails, and how.

use std::io;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

/// Counts down calls; the call that finds 1 fails.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    write: Countdown,
    sync: Countdown,
    /// The error of every preparation of a segment; 0 for none.
    prepare: AtomicI32,
}

#[derive(Debug, Default)]
struct Countdown {
    left: AtomicI64,
    errno: AtomicI32,
}

impl Countdown {
    fn arm(&self, calls: i64, errno: i32) {
        self.errno.store(errno, Ordering::SeqCst);
        self.left.store(calls, Ordering::SeqCst);
    }

    fn hit(&self) -> io::Result<()> {
        if self.left.load(Ordering::SeqCst) > 0 && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            return Err(io::Error::from_raw_os_error(self.errno.load(Ordering::SeqCst)));
        }
        Ok(())
    }
}

pub(crate) const EIO: i32 = 5;
pub(crate) const ENOSPC: i32 = 28;

impl Faults {
    pub(crate) fn fail_write(&self, call: i64, errno: i32) {
        self.write.arm(call, errno);
    }

    pub(crate) fn fail_sync(&self, call: i64, errno: i32) {
        self.sync.arm(call, errno);
    }

    pub(crate) fn fail_prepare_until_told(&self, errno: i32) {
        self.prepare.store(errno, Ordering::SeqCst);
    }

    pub(crate) fn heal(&self) {
        self.prepare.store(0, Ordering::SeqCst);
    }

    pub(crate) fn write(&self) -> io::Result<()> {
        self.write.hit()
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.sync.hit()
    }

    pub(crate) fn prepare(&self) -> io::Result<()> {
        match self.prepare.load(Ordering::SeqCst) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}
