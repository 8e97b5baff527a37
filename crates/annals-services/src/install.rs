//! Kafka on this machine: its jars, what formats a new broker's storage, and the Java that runs both.
//!
//! The jars are fetched once, by Maven, into the cache: which ones is said in `tools/kafka/pom.xml`, and the folder
//! is named by a digest of that file, so that another list is another folder. The folder gets its name when all is
//! in it. Nothing in it is changed later but that a class archive is added for each Java that comes along.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::archive;
use crate::cache::{self, Lock};
use crate::error::{ServiceError, tail};
use crate::java::Java;
use crate::maven;

/// The version of Kafka that is run.
pub const KAFKA_VERSION: &str = "4.3.1";

const POM: &str = include_str!("../../../tools/kafka/pom.xml");
const JARS: &str = "jars";
const CHECKPOINT: &str = "bootstrap.checkpoint";

/// Enough of a configuration for the format tool: it looks at the folder, the roles and the kind of quorum.
const FORMATTED: &str = "process.roles=broker,controller\n\
    node.id=1\n\
    listeners=PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093\n\
    controller.listener.names=CONTROLLER\n\
    controller.quorum.voters=1@127.0.0.1:19093\n";

/// A Kafka that can be run.
#[derive(Debug, Clone)]
pub(crate) struct Install {
    /// The Java that runs it.
    java: Java,
    /// The folder in the cache.
    directory: PathBuf,
    /// The archive of loaded classes, where there is one.
    archive: Option<PathBuf>,
}

impl Install {
    /// Finds Java, and fetches and prepares what is not in the cache yet, which is said on stderr.
    ///
    /// What was found is remembered for the life of the process.
    pub(crate) fn get() -> Result<Self, ServiceError> {
        static FOUND: Mutex<Option<Install>> = Mutex::new(None);
        // Held while it is searched: threads that come meanwhile would only do the same again.
        let mut found = FOUND.lock();
        if let Some(install) = &*found {
            return Ok(install.clone());
        }
        let install = Self::get_in(&cache::directory()?)?;
        Ok(found.insert(install).clone())
    }

    fn get_in(cache: &Path) -> Result<Self, ServiceError> {
        let java = Java::find()?;
        let directory = cache.join(folder_name());
        let mut install = Self { java, directory, archive: None };
        let archive = archive::path(&install.directory, &install.java);
        if !archive.exists() {
            let _lock = Lock::wait(&cache.join("kafka.lock"))?;
            install.fetch()?;
            archive::make(&install, &archive)?;
        }
        install.archive = archive::usable(archive);
        Ok(install)
    }

    /// A call of a main class, with what the Java virtual machine is to be told before.
    pub(crate) fn main_class(&self, class: &str, virtual_machine: &[&str]) -> Command {
        let mut command = self.java.command();
        if let Some(archive) = &self.archive {
            command.arg(format!("-XX:SharedArchiveFile={}", archive.display()));
        }
        command.args(virtual_machine).arg("-cp").arg(self.directory.join(JARS).join("*")).arg(class);
        command
    }

    /// The records that a new broker's metadata begins with, as the format tool wrote them once.
    pub(crate) fn bootstrap_checkpoint(&self) -> PathBuf {
        self.directory.join(CHECKPOINT)
    }

    fn fetch(&self) -> Result<(), ServiceError> {
        if self.directory.exists() {
            return Ok(());
        }
        let partial = self.directory.with_file_name(format!("{}.partial", folder_name()));
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(ServiceError::io(&partial))?;
        }
        fs::create_dir_all(&partial).map_err(ServiceError::io(&partial))?;
        fetch_jars(&partial)?;
        Self { directory: partial.clone(), ..self.clone() }.format()?;
        fs::rename(&partial, &self.directory).map_err(ServiceError::io(&self.directory))
    }

    /// Formats storage once, for what it writes besides names: the start of the metadata.
    ///
    /// Every broker gets a copy of that, so that no start of one has to wait for the tool.
    fn format(&self) -> Result<(), ServiceError> {
        let storage = self.directory.join("storage");
        let properties = self.directory.join("format.properties");
        let text = format!("{FORMATTED}log.dirs={}\n", storage.display());
        fs::write(&properties, text).map_err(ServiceError::io(&properties))?;
        let class = "kafka.tools.StorageTool";
        let mut command = self.main_class(class, &[]);
        command.args(["format", "-t", &crate::kafka::random_id(), "-c"]).arg(&properties);
        run_tool(class, &mut command)?;
        let written = storage.join(CHECKPOINT);
        fs::rename(&written, self.bootstrap_checkpoint()).map_err(ServiceError::io(&written))?;
        fs::remove_dir_all(&storage).map_err(ServiceError::io(&storage))?;
        fs::remove_file(&properties).map_err(ServiceError::io(&properties))
    }
}

/// Runs a tool to its end and returns what it printed on stdout.
pub(crate) fn run_tool(class: &str, command: &mut Command) -> Result<String, ServiceError> {
    let output = command.output().map_err(ServiceError::io(Path::new(command.get_program())))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(printed.into_owned());
    }
    let all = format!("{printed}{}", String::from_utf8_lossy(&output.stderr));
    Err(ServiceError::Tool { class: class.to_owned(), status: output.status, output: tail(&all) })
}

fn fetch_jars(directory: &Path) -> Result<(), ServiceError> {
    eprintln!("annals-services: fetching Kafka {KAFKA_VERSION}, once, into {}", directory.display());
    let jars = format!("-DoutputDirectory={}", directory.join(JARS).display());
    let arguments = ["dependency:copy-dependencies", "-DincludeScope=runtime", &jars];
    maven::run("the jars of Kafka", POM, directory, &arguments)
}

fn folder_name() -> String {
    format!("kafka-{KAFKA_VERSION}-{}", digest(POM))
}

/// Twelve hexadecimal digits that stand for `text`.
pub(crate) fn digest(text: &str) -> String {
    Sha256::digest(text).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_is_fetched() {
        assert!(POM.contains(&format!("<version>{KAFKA_VERSION}</version>")));
    }

    #[test]
    fn the_folder_is_named_by_version_and_digest() {
        let name = folder_name();
        assert!(name.starts_with("kafka-4.3.1-") && name.len() == "kafka-4.3.1-".len() + 12, "{name}");
        assert_eq!(digest("abc"), "ba7816bf8f01");
    }
}
