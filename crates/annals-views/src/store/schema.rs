//! The file behind [`super::SqliteStore`]: its lock, its schema and its version.
//!
//! ```text
//! views.sqlite   application_id "anvw", user_version 2
//!   views      (name, revision, build, stage, indexes)       every build there is; indexes: a JSON list of paths
//!   positions  (name, revision, build, shard, log_id, offset, crc)      one bookmark per build and shard
//!   set_aside  (name, revision, build, shard, offset, position, stream, why, reason)    events not taken in;
//!                                                            position: the index in the record
//!   "name@revision" (tenant, key, json, i0, i1 ..)           the documents; tenant '' for none; i0: the bytes of
//!                                                            the first index's value. "name@revision.2": build 2
//! views.sqlite.lock                                          held by the one process that writes
//! ```
//!
//! The lock is a file of its own, because closing any handle of a database file in a process drops SQLite's
//! own locks on it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{Layout, StoreError, ViewId};

/// "anvw" in ASCII: marks the file as views of Annals.
const APPLICATION_ID: i64 = 0x616e_7677;
/// The schema this code writes and the only one it reads.
pub(super) const VERSION: i64 = 2;
/// How long a statement waits for SQLite's own locks: they are held for moments only.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Prepared statements kept per connection: a few per view.
const STATEMENTS_MAX: usize = 256;

const SCHEMA: &str = "
    CREATE TABLE views (
        name TEXT NOT NULL, revision INTEGER NOT NULL, build INTEGER NOT NULL,
        stage TEXT NOT NULL, indexes TEXT NOT NULL,
        PRIMARY KEY (name, revision, build)
    ) WITHOUT ROWID, STRICT;
    CREATE TABLE positions (
        name TEXT NOT NULL, revision INTEGER NOT NULL, build INTEGER NOT NULL, shard INTEGER NOT NULL,
        log_id TEXT NOT NULL, offset INTEGER NOT NULL, crc INTEGER NOT NULL,
        PRIMARY KEY (name, revision, build, shard)
    ) WITHOUT ROWID, STRICT;
    CREATE TABLE set_aside (
        name TEXT NOT NULL, revision INTEGER NOT NULL, build INTEGER NOT NULL,
        shard INTEGER NOT NULL, offset INTEGER NOT NULL, position INTEGER NOT NULL,
        stream TEXT NOT NULL, why TEXT NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (name, revision, build, shard, offset, position)
    ) WITHOUT ROWID, STRICT;";

/// The quoted name of a view's table. `@` cannot be in a projection's name: it clashes with no other table.
pub(super) fn table(view: &ViewId) -> String {
    quoted(&view.to_string())
}

/// What creates a view's table and its indexes. Text compares by its bytes in SQLite, which is the order of a list.
pub(super) fn create_table(view: &ViewId, layout: &Layout) -> String {
    let indexes = 0..layout.indexes.len();
    let columns: String = indexes.clone().map(|index| format!("i{index} BLOB NOT NULL, ")).collect();
    let table = table(view);
    let create = format!(
        "CREATE TABLE {table} (tenant TEXT NOT NULL, key TEXT NOT NULL, json TEXT NOT NULL, {columns}\
         PRIMARY KEY (tenant, key)) WITHOUT ROWID, STRICT;"
    );
    let index = |index| {
        let name = quoted(&format!("{view}#{index}"));
        format!("CREATE INDEX {name} ON {table} (tenant, i{index}, key);")
    };
    create + &indexes.map(index).collect::<String>()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// An error of SQLite or of the operating system at `path`.
pub(super) fn failed(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Failed { path: path.display().to_string(), reason: error.to_string() }
}

/// The right to write a file of views; given back when dropped, also by a crash.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = PathBuf::from(name);
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&lock);
        let mut file = options.map_err(|error| failed(&lock, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // What the file says is for people only; the lock itself is the operating system's.
                let _unreadable = file.read_to_string(&mut holder);
                let holder = if holder.is_empty() { "another process".to_owned() } else { holder };
                return Err(StoreError::Locked { path: path.display().to_string(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(failed(&lock, &error)),
        }
        let said = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "process {}", std::process::id()));
        said.map_err(|error| failed(&lock, &error))?;
        Ok(Self { _file: file })
    }
}

/// The connection that writes; makes the file where there is none.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(|error| failed(path, &error))?;
    if tune(&connection).and_then(|()| is_empty(&connection)).map_err(|error| foreign(path, &error))? {
        create(&mut connection).map_err(|error| failed(path, &error))?;
    }
    check(&connection, path)?;
    write_ahead(&connection).map_err(|error| failed(path, &error))?;
    Ok(connection)
}

/// A connection that reads a file that is there.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| failed(path, &error))?;
    tune(&connection).map_err(|error| foreign(path, &error))?;
    check(&connection, path)?;
    Ok(connection)
}

fn tune(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // In KiB, per connection. No mapped reads: a file that is cut or cannot be read would then kill the process.
    connection.pragma_update(None, "cache_size", -16_384)
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let pragma = |name| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .map_err(|error| foreign(path, &error))
    };
    if pragma("application_id")? != APPLICATION_ID {
        let reason = "it is a database of another program".to_owned();
        return Err(StoreError::Foreign { path: path.display().to_string(), reason });
    }
    match pragma("user_version")? {
        VERSION => Ok(()),
        found => Err(StoreError::Version { path: path.display().to_string(), found, known: VERSION }),
    }
}

/// Write-ahead log: readers and the writer do not block each other. `synchronous = NORMAL` syncs at
/// checkpoints only: a power cut may take the last transactions away, whole ones and the last first. Since
/// positions are in the same transactions, the view then simply follows the log again from where it is.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // A checkpoint per 16 MiB instead of 4: a batch of 20,000 documents writes about as much.
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)
}

fn foreign(path: &Path, error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => StoreError::Foreign {
            path: path.display().to_string(),
            reason: "it is not an SQLite database".to_owned(),
        },
        _ => failed(path, error),
    }
}
