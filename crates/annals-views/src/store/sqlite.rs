//! Views in one SQLite file: what an embedded application uses.
//!
//! One connection writes, behind a mutex, in transactions that hold a whole batch; readers take connections of
//! their own from a pool and see the last whole transaction. The file and its lock are in `schema.rs`.

use std::path::{Path, PathBuf};

use annals_core::{LogId, Offset, Position, ShardId, Tenant};
use annals_log::Bookmark;
use parking_lot::Mutex;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, ToSql, Transaction, TransactionBehavior, params};

use super::query::{Found, Parameter};
use super::schema::{self, Lock};
use super::{
    Build, Change, DocumentKey, IndexKey, Layout, Page, Positions, Query, SetAside, Stage, StoreError,
    ViewId, ViewStore, Why, check_layout, check_positions,
};

/// Idle reading connections kept.
const READERS_MAX: usize = 8;

/// Keeps views in an SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    writer: Option<Writer>,
    readers: Mutex<Vec<Connection>>,
}

struct Writer {
    connection: Mutex<Connection>,
    _lock: Lock,
}

impl SqliteStore {
    /// Opens `path` for writing, and makes it where there is none. One process at a time can.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let lock = Lock::take(&path)?;
        let connection = Mutex::new(schema::open_writer(&path)?);
        Ok(Self { path, writer: Some(Writer { connection, _lock: lock }), readers: Mutex::default() })
    }

    /// Opens a file that is there for reading, also beside a process that writes it.
    ///
    /// SQLite needs to write beside the file even then. Where the directory forbids that, fold the log with
    /// [`crate::fold_in_memory`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let reader = schema::open_reader(&path)?;
        Ok(Self { path, writer: None, readers: Mutex::new(vec![reader]) })
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let pooled = self.readers.lock().pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => schema::open_reader(&self.path)?,
        };
        let result = read(&connection).map_err(|error| schema::failed(&self.path, &error))?;
        let mut readers = self.readers.lock();
        if readers.len() < READERS_MAX {
            readers.push(connection);
        }
        Ok(result)
    }

    fn write<T>(
        &self,
        write: impl FnOnce(&Transaction<'_>) -> Result<T, SaveError>,
    ) -> Result<T, StoreError> {
        let failed = |error: &rusqlite::Error| schema::failed(&self.path, error);
        let Some(writer) = &self.writer else {
            return Err(StoreError::ReadOnly { path: self.path.display().to_string() });
        };
        let mut connection = writer.connection.lock();
        // Immediate: a deferred transaction that reads first could not be upgraded after another's write.
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| failed(&error))?;
        let result = write(&transaction).map_err(|error| match error {
            SaveError::Store(error) => error,
            SaveError::Sqlite(error) => failed(&error),
        })?;
        transaction.commit().map_err(|error| failed(&error))?;
        Ok(result)
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ViewStore for SqliteStore {
    fn create(&self, view: &ViewId, layout: &Layout) -> Result<(), StoreError> {
        if let Some(found) = self.read(|connection| self::layout(connection, view))? {
            return check_layout(view, &found, layout);
        }
        self.write(|transaction| {
            let indexes = serde_json::Value::from(layout.indexes.clone()).to_string();
            transaction.execute(
                "INSERT INTO views (name, revision, build, stage, indexes) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![view.name, view.revision, view.build, stage_text(Stage::Building), indexes],
            )?;
            transaction.execute_batch(&schema::create_table(view, layout))?;
            Ok(())
        })
    }

    fn positions(&self, view: &ViewId) -> Result<Positions, StoreError> {
        self.read(|connection| positions(connection, view))
    }

    fn load(&self, view: &ViewId, keys: &[DocumentKey]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.read(|connection| {
            if !exists(connection, view)? {
                return Ok(vec![None; keys.len()]);
            }
            // One transaction for all: SQLite takes its read lock once.
            let transaction = connection.unchecked_transaction()?;
            let documents: rusqlite::Result<Vec<Option<Vec<u8>>>> =
                keys.iter().map(|key| get(&transaction, view, key.tenant.as_ref(), &key.key)).collect();
            transaction.commit()?;
            documents
        })
    }

    fn save(&self, view: &ViewId, change: &Change) -> Result<(), StoreError> {
        self.write(|transaction| {
            check_positions(view, change, &positions(transaction, view)?).map_err(SaveError::Store)?;
            if !exists(transaction, view)? {
                return Err(SaveError::Store(StoreError::Missing { view: view.clone() }));
            }
            save_documents(transaction, view, change)?;
            save_set_aside(transaction, view, change)?;
            save_positions(transaction, view, change)?;
            Ok(())
        })
    }

    fn get(&self, view: &ViewId, tenant: Option<&Tenant>, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(
            |connection| {
                if exists(connection, view)? { get(connection, view, tenant, key) } else { Ok(None) }
            },
        )
    }

    fn list(&self, view: &ViewId, query: &Query<'_>) -> Result<Page, StoreError> {
        self.read(
            |connection| {
                if exists(connection, view)? { list(connection, view, query) } else { Ok(Page::default()) }
            },
        )
    }

    fn set_aside(
        &self,
        view: &ViewId,
        stream: Option<&str>,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<SetAside>, StoreError> {
        self.read(|connection| set_aside(connection, view, stream, after, limit))
    }

    fn parked_streams(&self, view: &ViewId) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT DISTINCT stream FROM set_aside \
                 WHERE name = ?1 AND revision = ?2 AND build = ?3 AND why <> ?4 ORDER BY stream",
            )?;
            let key = params![view.name, view.revision, view.build, Why::Skipped.name()];
            let streams = statement.query_map(key, |row| row.get(0))?;
            streams.collect()
        })
    }

    fn scan(
        &self,
        view: &ViewId,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Result<Vec<(DocumentKey, Vec<u8>)>, StoreError> {
        self.read(|connection| {
            if exists(connection, view)? { scan(connection, view, after, limit) } else { Ok(Vec::new()) }
        })
    }

    fn count(&self, view: &ViewId) -> Result<u64, StoreError> {
        let sql = format!("SELECT count(*) FROM {}", schema::table(view));
        let count = |connection: &Connection| connection.query_row(&sql, [], |row| row.get::<_, i64>(0));
        let count =
            self.read(|connection| if exists(connection, view)? { count(connection) } else { Ok(0) })?;
        Ok(count.unsigned_abs())
    }

    fn builds(&self) -> Result<Vec<Build>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT name, revision, build, stage, indexes FROM views ORDER BY name, revision, build",
            )?;
            let builds = statement.query_map([], |row| {
                let view = ViewId { name: row.get(0)?, revision: row.get(1)?, build: row.get(2)? };
                Ok(Build { view, stage: stage(row, 3)?, layout: read_layout(row, 4)? })
            })?;
            builds.collect()
        })
    }

    fn promote(&self, view: &ViewId) -> Result<(), StoreError> {
        self.write(|transaction| {
            let [live, kept] = [Stage::Live, Stage::Kept].map(stage_text);
            transaction.execute(
                "UPDATE views SET stage = ?1 WHERE name = ?2 AND stage = ?3",
                params![kept, view.name, live],
            )?;
            let promoted = transaction.execute(
                "UPDATE views SET stage = ?1 WHERE name = ?2 AND revision = ?3 AND build = ?4",
                params![live, view.name, view.revision, view.build],
            )?;
            if promoted == 0 {
                return Err(SaveError::Store(StoreError::Missing { view: view.clone() }));
            }
            Ok(())
        })
    }

    fn drop_view(&self, view: &ViewId) -> Result<(), StoreError> {
        self.write(|transaction| {
            for table in ["views", "positions", "set_aside"] {
                let sql = format!("DELETE FROM {table} WHERE name = ?1 AND revision = ?2 AND build = ?3");
                transaction.execute(&sql, params![view.name, view.revision, view.build])?;
            }
            transaction.execute(&format!("DROP TABLE IF EXISTS {}", schema::table(view)), [])?;
            Ok(())
        })
    }
}

/// What a write can fail with.
enum SaveError {
    Store(StoreError),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for SaveError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Bytes that are UTF-8, bound as text: stored JSON stays readable, and usable by SQLite's JSON functions.
struct Text<'a>(&'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Whole(number) => ValueRef::Integer(*number),
        }))
    }
}

fn tenant_text(tenant: Option<&Tenant>) -> &str {
    tenant.map_or("", Tenant::as_str)
}

fn stage_text(stage: Stage) -> &'static str {
    match stage {
        Stage::Building => "building",
        Stage::Live => "live",
        Stage::Kept => "kept",
    }
}

fn stage(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Stage> {
    let text: String = row.get(column)?;
    let known =
        [Stage::Building, Stage::Live, Stage::Kept].into_iter().find(|stage| stage_text(*stage) == text);
    known.ok_or_else(|| unreadable(column, format!("{text:?} is not a stage of a view").into()))
}

fn read_layout(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Layout> {
    let indexes: String = row.get(column)?;
    let indexes = serde_json::from_str(&indexes).map_err(|error| unreadable(column, error.into()))?;
    Ok(Layout { indexes })
}

fn unreadable(column: usize, error: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error)
}

fn layout(connection: &Connection, view: &ViewId) -> rusqlite::Result<Option<Layout>> {
    connection
        .prepare_cached("SELECT indexes FROM views WHERE name = ?1 AND revision = ?2 AND build = ?3")?
        .query_row(params![view.name, view.revision, view.build], |row| read_layout(row, 0))
        .optional()
}

fn exists(connection: &Connection, view: &ViewId) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM views WHERE name = ?1 AND revision = ?2 AND build = ?3")?
        .exists(params![view.name, view.revision, view.build])
}

fn get(
    connection: &Connection,
    view: &ViewId,
    tenant: Option<&Tenant>,
    key: &str,
) -> rusqlite::Result<Option<Vec<u8>>> {
    let sql = format!("SELECT json FROM {} WHERE tenant = ?1 AND key = ?2", schema::table(view));
    connection
        .prepare_cached(&sql)?
        .query_row([tenant_text(tenant), key], |row| Ok(row.get_ref(0)?.as_bytes()?.to_vec()))
        .optional()
}

fn list(connection: &Connection, view: &ViewId, query: &Query<'_>) -> rusqlite::Result<Page> {
    let (sql, parameters) = query.sql(&schema::table(view), tenant_text(query.tenant));
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(&parameters))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let value = match query.order.index {
            Some(_) => Some(IndexKey::from_bytes(row.get_ref(2)?.as_blob()?)),
            None => None,
        };
        found.push(Found { key: row.get(0)?, value, json: row.get_ref(1)?.as_bytes()?.to_vec() });
    }
    Ok(query.page(found))
}

fn scan(
    connection: &Connection,
    view: &ViewId,
    after: Option<&DocumentKey>,
    limit: usize,
) -> rusqlite::Result<Vec<(DocumentKey, Vec<u8>)>> {
    // No tenant and no key is less than two empty texts.
    let beyond = if after.is_some() { ">" } else { ">=" };
    let sql = format!(
        "SELECT tenant, key, json FROM {} WHERE (tenant, key) {beyond} (?1, ?2) ORDER BY tenant, key LIMIT ?3",
        schema::table(view)
    );
    let (tenant, key) = after.map_or(("", ""), |after| (tenant_text(after.tenant.as_ref()), &after.key));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![tenant, key, limit])?;
    let mut documents = Vec::new();
    while let Some(row) = rows.next()? {
        let tenant: String = row.get(0)?;
        let tenant = match tenant.as_str() {
            "" => None,
            name => Some(Tenant::new(name).map_err(|error| unreadable(0, error.into()))?),
        };
        documents.push((DocumentKey { tenant, key: row.get(1)? }, row.get_ref(2)?.as_bytes()?.to_vec()));
    }
    Ok(documents)
}

fn positions(connection: &Connection, view: &ViewId) -> rusqlite::Result<Positions> {
    let mut statement = connection.prepare_cached(
        "SELECT shard, log_id, offset, crc FROM positions \
         WHERE name = ?1 AND revision = ?2 AND build = ?3 ORDER BY shard",
    )?;
    let mut rows = statement.query(params![view.name, view.revision, view.build])?;
    let mut positions = Positions::new();
    while let Some(row) = rows.next()? {
        let shard: u32 = row.get(0)?;
        positions.resize(shard as usize, None);
        positions.push(Some(bookmark(row)?));
    }
    Ok(positions)
}

fn bookmark(row: &rusqlite::Row<'_>) -> rusqlite::Result<Bookmark> {
    let log_id: String = row.get(1)?;
    let log_id = log_id.parse().map_err(|error| unreadable(1, Box::new(error)))?;
    let offset: i64 = row.get(2)?;
    Ok(Bookmark { log_id: LogId(log_id), offset: Offset(offset.cast_unsigned()), crc: row.get(3)? })
}

fn save_documents(transaction: &Transaction<'_>, view: &ViewId, change: &Change) -> rusqlite::Result<()> {
    let table = schema::table(view);
    let written = change.documents.iter().find_map(|(_, document)| document.as_ref());
    let indexes = 0..written.map_or(0, |document| document.values.len());
    let columns: String = indexes.clone().map(|index| format!(", i{index}")).collect();
    let values: String = indexes.clone().map(|index| format!(", ?{}", index + 4)).collect();
    let updates: String = indexes.map(|index| format!(", i{index} = excluded.i{index}")).collect();
    let mut put = transaction.prepare_cached(&format!(
        "INSERT INTO {table} (tenant, key, json{columns}) VALUES (?1, ?2, ?3{values}) \
         ON CONFLICT (tenant, key) DO UPDATE SET json = excluded.json{updates}"
    ))?;
    let mut delete =
        transaction.prepare_cached(&format!("DELETE FROM {table} WHERE tenant = ?1 AND key = ?2"))?;
    for (key, document) in &change.documents {
        let tenant = tenant_text(key.tenant.as_ref());
        let Some(document) = document else {
            delete.execute(params![tenant, key.key])?;
            continue;
        };
        put.raw_bind_parameter(1, tenant)?;
        put.raw_bind_parameter(2, &key.key)?;
        put.raw_bind_parameter(3, Text(&document.json))?;
        for (index, value) in document.values.iter().enumerate() {
            put.raw_bind_parameter(index + 4, value.as_bytes())?;
        }
        put.raw_execute()?;
    }
    Ok(())
}

fn set_aside(
    connection: &Connection,
    view: &ViewId,
    stream: Option<&str>,
    after: Option<Position>,
    limit: usize,
) -> rusqlite::Result<Vec<SetAside>> {
    let mut statement = connection.prepare_cached(
        "SELECT shard, offset, position, stream, why, reason FROM set_aside \
         WHERE name = ?1 AND revision = ?2 AND build = ?3 AND (?4 IS NULL OR stream = ?4) \
         AND (shard, offset, position) > (?5, ?6, ?7) ORDER BY shard, offset, position LIMIT ?8",
    )?;
    let after = after.map_or((-1, 0, 0), |after| {
        (i64::from(after.shard.0), after.offset.0.cast_signed(), i64::from(after.index))
    });
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let key = params![view.name, view.revision, view.build, stream, after.0, after.1, after.2, limit];
    let events = statement.query_map(key, |row| {
        let (shard, offset, index) = (ShardId(row.get(0)?), row.get::<_, i64>(1)?, row.get(2)?);
        let position = Position { shard, offset: Offset(offset.cast_unsigned()), index };
        let why: String = row.get(4)?;
        let found = Why::ALL.into_iter().find(|(_, name)| *name == why);
        let (why, _) = found.ok_or_else(|| unreadable(4, format!("{why:?} sets no event aside").into()))?;
        Ok(SetAside { position, stream: row.get(3)?, why, reason: row.get(5)? })
    })?;
    events.collect()
}

fn save_set_aside(transaction: &Transaction<'_>, view: &ViewId, change: &Change) -> rusqlite::Result<()> {
    let numbers = |position: &Position| (position.shard.0, position.offset.0.cast_signed(), position.index);
    for SetAside { position, stream, why, reason } in &change.set_aside {
        let (shard, offset, index) = numbers(position);
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO set_aside \
                 (name, revision, build, shard, offset, position, stream, why, reason) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                view.name,
                view.revision,
                view.build,
                shard,
                offset,
                index,
                stream,
                why.name(),
                reason
            ])?;
    }
    for (shard, offset, index) in change.taken_in.iter().map(numbers) {
        transaction
            .prepare_cached(
                "DELETE FROM set_aside WHERE name = ?1 AND revision = ?2 AND build = ?3 \
                 AND shard = ?4 AND offset = ?5 AND position = ?6",
            )?
            .execute(params![view.name, view.revision, view.build, shard, offset, index])?;
    }
    Ok(())
}

fn save_positions(transaction: &Transaction<'_>, view: &ViewId, change: &Change) -> rusqlite::Result<()> {
    let mut put = transaction.prepare_cached(
        "INSERT OR REPLACE INTO positions (name, revision, build, shard, log_id, offset, crc) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for (shard, to) in (0_u32..).map(ShardId).zip(&change.to) {
        let before = change.from.get(shard.0 as usize).copied().flatten();
        if let Some(to) = to.filter(|to| before != Some(*to)) {
            let offset = to.offset.0.cast_signed();
            let log_id = to.log_id.to_string();
            put.execute(params![view.name, view.revision, view.build, shard.0, log_id, offset, to.crc])?;
        }
    }
    Ok(())
}
