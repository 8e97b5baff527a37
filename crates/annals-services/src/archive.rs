//! The class archive: what a broker's start loads and checks, done once and mapped into memory afterwards.
//!
//! It is Java's own "dynamic archive" and only saves time: half of a start, and most of what a broker burns in it. It
//! fits one build of Java and one class path; with another, Java leaves it aside with a warning in the broker's log.
//! An empty file stands for a Java that can't make one, so that each start does not try again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cache;
use crate::error::ServiceError;
use crate::install::{Install, digest};
use crate::java::Java;
use crate::kafka::{Compiler, Expected, Layout, Nodes, wait_ready};
use crate::process::signal;
use crate::scratch::{Scratch, note_process};

/// How long a broker may take to start or to write its archive, on a machine that has other work.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the archive for this Java is to be.
pub(crate) fn path(install: &Path, java: &Java) -> PathBuf {
    install.join(format!("classes-{}.jsa", digest(&java.version)))
}

/// The archive, unless it could not be made.
pub(crate) fn usable(archive: PathBuf) -> Option<PathBuf> {
    fs::metadata(&archive).is_ok_and(|metadata| metadata.len() > 0).then_some(archive)
}

/// Runs a broker once, so that Java writes the archive when it ends.
pub(crate) fn make(install: &Install, archive: &Path) -> Result<(), ServiceError> {
    if archive.exists() {
        return Ok(());
    }
    eprintln!("annals-services: preparing quick starts, once for this Java");
    let partial = archive.with_extension("partial");
    if let Err(e) = run_broker(install, &partial) {
        eprintln!("annals-services: starts stay slow with this Java: {e}");
    }
    if !partial.exists() {
        fs::write(&partial, "").map_err(ServiceError::io(&partial))?;
    }
    fs::rename(&partial, archive).map_err(ServiceError::io(archive))
}

fn run_broker(install: &Install, archive: &Path) -> Result<(), ServiceError> {
    let scratch = Scratch::new()?;
    let layout = Layout::new(Nodes::One, &[], scratch.path(), &cache::directory()?, install)?;
    for node in &layout.nodes {
        let option = format!("-XX:ArchiveClassesAtExit={}", archive.display());
        let server = node.server(install, Compiler::Full, &[&option]);
        let mut child = server.spawn_bound().map_err(ServiceError::io(&node.log()))?;
        note_process(&node.directory, child.id())?;
        let ready = wait_ready(&[Expected::of(node)], PATIENCE, |_| child.try_wait().ok().flatten());
        let asked = ready.and_then(|()| signal(&child, Signal::TERM).map_err(ServiceError::io(&node.log())));
        end(&mut child, asked.is_ok());
        asked?;
    }
    Ok(())
}

/// Waits for an end that was asked for; any other way it is killed.
fn end(child: &mut Child, is_asked: bool) {
    let until = Instant::now() + if is_asked { PATIENCE } else { Duration::ZERO };
    while child.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill().and_then(|()| child.wait());
}
