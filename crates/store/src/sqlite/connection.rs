//! Opening SQLite's connections, each kind with its settings, and the few that read.
//!
//! What would surprise: closing one never checkpoints and never removes the write-ahead log. A
//! command that only read then leaves the disk as it was, and a read-only copy of the folder can
//! still be read.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::checkpoint::WAL_BYTES_MAX;
use super::failure::Failure;
use super::file::File;
use super::home::is_read_only;

/// Marks the file as ours (`INDI`), also for `file(1)`.
pub(super) const APPLICATION_ID: i32 = 0x494e_4449;

/// For making a store.
pub(super) fn to_create(db: &Path) -> Result<Connection, Failure> {
    let conn = Connection::open(db)?;
    // The page size must come before anything is written. Larger pages hold more rows of sealed
    // tokens: a fifth less space than 4 KiB.
    conn.pragma_update(None, "page_size", 8192)?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    Ok(conn)
}

/// For writing.
pub(super) fn to_write(db: &Path, busy_wait: Duration) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(db, flags)?;
    set_up(&conn, busy_wait)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "cache_size", -WRITE_CACHE_KIB)?;
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
    Ok(conn)
}

fn to_read(db: &Path, busy_wait: Duration) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(db, flags)?;
    set_up(&conn, busy_wait)?;
    match conn.query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(())) {
        Err(error) if must_be_immutable(&error, db) => {
            let conn =
                Connection::open_with_flags(as_immutable(db), flags | OpenFlags::SQLITE_OPEN_URI)?;
            set_up(&conn, busy_wait)?;
            Ok(conn)
        }
        Ok(()) | Err(rusqlite::Error::QueryReturnedNoRows) => {
            conn.pragma_update_and_check(None, "mmap_size", MAPPED_BYTES_MAX, |_| Ok(()))?;
            Ok(conn)
        }
        Err(error) => Err(error.into()),
    }
}

fn set_up(conn: &Connection, busy_wait: Duration) -> Result<(), Failure> {
    conn.busy_timeout(busy_wait)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Without this, SQLite prepares a kept statement again each time a parameter that it looked at
    // while it weighed a partial index is bound: ten times the cost of a point read.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT_MAX);
    conn.pragma_update(None, "trusted_schema", false)?;
    Ok(())
}

/// A folder that can't be written, without the companions of the database, which SQLite therefore
/// can't make. When there is no log with anything in it, the file alone is the whole truth.
fn must_be_immutable(error: &rusqlite::Error, db: &Path) -> bool {
    let log = db.with_extension("db-wal");
    error.sqlite_error_code() == Some(ErrorCode::CannotOpen)
        && db.parent().is_some_and(is_read_only)
        && std::fs::metadata(log).map_or(true, |log| log.len() == 0)
}

/// The file's name as a URI, percent-encoded as SQLite reads it.
fn as_immutable(db: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut uri = "file:".to_owned();
    for byte in db.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri + "?immutable=1"
}

/// Connections for reading, used one at a time each.
pub(super) struct Readers {
    file: Arc<File>,
    busy_wait: Duration,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(file: Arc<File>, busy_wait: Duration) -> Self {
        Self { file, busy_wait, idle: Mutex::default() }
    }

    /// Reads on the calling thread: a point read takes microseconds, which no hand-over to another
    /// thread would. `None`: there is no store.
    pub(super) fn read<T>(
        &self,
        act: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        self.file.check()?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None if !self.file.is_there()? => return Ok(None),
            None => to_read(self.file.path(), self.busy_wait)?,
        };
        let found = act(&conn)?;
        // One that failed is closed instead: it may be stuck in what made it fail.
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < READERS_KEPT_MAX {
            idle.push(conn);
        }
        Ok(Some(found))
    }
}

const READERS_KEPT_MAX: usize = 8;
const STATEMENTS_KEPT_MAX: usize = 64;
/// Of the file, so much is read where it lies in the kernel's memory, without a copy or a call for
/// each page. Address space, not memory.
const MAPPED_BYTES_MAX: i64 = 4 * 1024 * 1024 * 1024;
const WRITE_CACHE_KIB: i64 = 64 * 1024;
