//! Why SQLite didn't do something, and what the caller is told.
//!
//! What would surprise: a failure inside a statement can end the whole transaction behind our back
//! (full disk, I/O error), which the writer finds out by asking the connection, not by the code.

use std::path::Path;

use indicia_broker::ports::{StoreError, StoreErrorKind};
use rusqlite::ErrorCode;
use rusqlite::ffi;

use super::home::is_read_only;

/// Why something wasn't done.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite said no.
    Sqlite(rusqlite::Error),
    /// A stored text isn't what was written.
    Damaged(String),
    /// The row that this needs isn't there, or the one it would make is.
    Conflict(&'static str),
    /// As found by a look at the home, in words for people.
    Home(StoreErrorKind, String),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<rusqlite::types::FromSqlError> for Failure {
    fn from(error: rusqlite::types::FromSqlError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl Failure {
    /// In words, for the store at `db`.
    pub(super) fn told(self, db: &Path) -> StoreError {
        let (kind, detail) = match self {
            Self::Sqlite(error) => sqlite(&error, db),
            Self::Damaged(what) => {
                (StoreErrorKind::Unreadable, format!("{} is damaged: {what}", db.display()))
            }
            Self::Conflict(what) => (StoreErrorKind::Unavailable, what.to_owned()),
            Self::Home(kind, detail) => (kind, detail),
        };
        StoreError { kind, detail, maybe_done: false }
    }

    /// A failure of the commit itself: unless SQLite refused it outright, it may be on the disk.
    pub(super) fn told_of_commit(self, db: &Path) -> StoreError {
        let maybe_done = match &self {
            Self::Sqlite(error) => !matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::DiskFull
                        | ErrorCode::ReadOnly
                )
            ),
            Self::Damaged(_) | Self::Conflict(_) | Self::Home(..) => false,
        };
        StoreError { maybe_done, ..self.told(db) }
    }
}

fn sqlite(error: &rusqlite::Error, db: &Path) -> (StoreErrorKind, String) {
    let at = db.display();
    if let rusqlite::Error::SqliteFailure(found, _) = error
        && found.extended_code == ffi::SQLITE_IOERR_SHMSIZE
    {
        return full(db);
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            StoreErrorKind::Locked,
            format!("another program holds {at}: end it, or try again when it is done"),
        ),
        Some(ErrorCode::DiskFull) => full(db),
        Some(ErrorCode::ReadOnly) => read_only(db),
        // SQLite can't make the log beside it.
        Some(ErrorCode::CannotOpen) if db.parent().is_some_and(is_read_only) => read_only(db),
        Some(ErrorCode::NotADatabase) => (
            StoreErrorKind::Unreadable,
            format!("{at} is not a store, or it is damaged: restore it from a backup"),
        ),
        Some(ErrorCode::DatabaseCorrupt) => (
            StoreErrorKind::Unreadable,
            format!("{at} is damaged ({error}): restore it from a backup"),
        ),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => (
            StoreErrorKind::Unreadable,
            format!("{at} can't be opened ({error}): look at its rights and its folder's"),
        ),
        Some(_) => (StoreErrorKind::Unavailable, format!("{at} failed: {error}")),
        None => (StoreErrorKind::Unreadable, format!("{at} can't be read: {error}")),
    }
}

fn read_only(db: &Path) -> (StoreErrorKind, String) {
    (
        StoreErrorKind::ReadOnly,
        format!("{} can't be written: its file system or its rights are read-only", db.display()),
    )
}

fn full(db: &Path) -> (StoreErrorKind, String) {
    (
        StoreErrorKind::Full,
        format!("no space is left for {}: nothing was written, make room", db.display()),
    )
}
