//! Copies of a store that is in use: made, and put back.
//!
//! What would surprise: a copy is put back into the file that is there, in one transaction of
//! SQLite's own, never by exchanging files. Whoever reads meanwhile sees the store before or the
//! one after, and a cut in between leaves the one before.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicia_broker::model::{Event, EventKind};
use indicia_broker::ports::{Clock, StoreError, StoreErrorKind};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OptionalExtension, params};

use super::failure::Failure;
use super::{FILE, connection, events, home, schema};

/// What was put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutBack {
    /// Connections in it.
    pub connections: u64,
    /// There was another store's data in its place.
    pub replaced: bool,
}

/// Copies the store of a home to `to`, which isn't there yet, as it is at one moment. Others go on
/// reading and writing. The copy holds no root key, and can't be read without it.
///
/// # Errors
/// The store isn't there or can't be read; `to` can't be made, or the disk is full.
pub fn copy(home: &Path, to: &Path, busy_wait: Duration) -> Result<(), StoreError> {
    let db = home.join(FILE);
    try_copy(&db, to, busy_wait).map_err(|failure| failure.told(&db))
}

fn try_copy(db: &Path, to: &Path, busy_wait: Duration) -> Result<(), Failure> {
    if !db.exists() {
        return Err(Failure::Home(
            StoreErrorKind::Unreadable,
            format!("there is no store at {}", db.display()),
        ));
    }
    let conn = connection::to_write(db, busy_wait)?;
    schema::is_current(&conn, db)?;
    conn.execute("VACUUM INTO ?", [utf8(to)?])?;
    let only_ours = fs::Permissions::from_mode(0o600);
    fs::set_permissions(to, only_ours).map_err(|e| home::cannot("set the rights of", to, &e))
}

/// Whether a home has a store with anything in it that a copy would replace.
pub fn is_in_use(home: &Path, busy_wait: Duration) -> Result<bool, StoreError> {
    let db = home.join(FILE);
    let look = || -> Result<bool, Failure> {
        if !db.exists() {
            return Ok(false);
        }
        let conn = connection::to_write(&db, busy_wait)?;
        let query = "SELECT EXISTS (SELECT 1 FROM clients) OR EXISTS (SELECT 1 FROM connections)";
        Ok(conn.query_row(query, [], |row| row.get(0))?)
    };
    look().map_err(|failure| failure.told(&db))
}

/// Puts a copy into a home, in the place of what is there. `from` is changed on the way: an older
/// one is brought up to date. The store is held afterwards, until it is taken over.
///
/// # Errors
/// `from` is no store, is damaged or newer than this version; somebody keeps the store locked for
/// longer than `busy_wait`; the disk is full. The store is then as it was.
pub fn put_back(
    from: &Path,
    home: &Path,
    clock: &dyn Clock,
    busy_wait: Duration,
) -> Result<PutBack, StoreError> {
    try_put_back(from, home, clock, busy_wait).map_err(|failure| failure.told(from))
}

fn try_put_back(
    from: &Path,
    home: &Path,
    clock: &dyn Clock,
    busy_wait: Duration,
) -> Result<PutBack, Failure> {
    let db = home.join(FILE);
    let mut source = connection::to_write(from, busy_wait)?;
    let sound: String = source.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if sound != "ok" {
        return Err(Failure::Damaged(sound));
    }
    if !schema::is_current(&source, from)? {
        schema::bring_up_to_date(&mut source, clock.now())?;
    }
    home::make(home)?;
    if !db.exists() {
        schema::create(home, &db, clock.now())?;
    }
    let mut target = connection::to_write(&db, busy_wait)?;
    schema::is_current(&target, &db)?;
    let replaced = prepare(&source, &target, clock)?;
    let steps = Backup::new(&source, &mut target)?;
    // mark: put-back-in-one-step
    match steps.step(-1)? {
        StepResult::Done => {}
        _ => {
            return Err(Failure::Home(
                StoreErrorKind::Locked,
                "another program keeps the store locked".to_owned(),
            ));
        }
    }
    drop(steps);
    let connections = source.query_row("SELECT count(*) FROM connections", [], |row| row.get(0))?;
    Ok(PutBack { connections, replaced })
}

/// What the copy needs to take the other's place: those who know the one before must notice, and
/// nothing may be sent before somebody says that the original is gone. Whether anything was there.
fn prepare(source: &Connection, target: &Connection, clock: &dyn Clock) -> Result<bool, Failure> {
    let same: bool = {
        let id = |conn: &Connection| {
            conn.query_row("SELECT id FROM store", [], |row| row.get::<_, String>(0)).optional()
        };
        id(source)? == id(target)?
    };
    let changes: u64 = target.query_row("SELECT change_number FROM store", [], |row| row.get(0))?;
    let work = source.unchecked_transaction()?;
    // mark: put-back-is-held
    work.execute("UPDATE store SET place = 'put back from a copy'", [])?;
    work.execute(
        "UPDATE store SET change_number = max(change_number, ?) + 1",
        [i64::try_from(changes).unwrap_or(i64::MAX - 1)],
    )?;
    let mut replaced = false;
    {
        let mut query = target.prepare("SELECT id, wrapped, created_at FROM data_keys")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            replaced = true;
            if same {
                // The journal's answers may be sealed with a key that is younger than the copy.
                let (id, wrapped): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
                let created: i64 = row.get(2)?;
                let add =
                    "INSERT OR IGNORE INTO data_keys (id, wrapped, created_at) VALUES (?, ?, ?)";
                work.execute(add, params![id, wrapped, created])?;
            }
        }
    }
    let event = Event {
        kind: EventKind::Restored,
        at: clock.now(),
        connection: None,
        client: None,
        grant: None,
        facts: std::collections::BTreeMap::new(),
    };
    events::append(&work, &[event])?;
    work.commit()?;
    Ok(replaced)
}

fn utf8(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let odd: PathBuf = path.to_owned();
        Failure::Home(StoreErrorKind::Unreadable, format!("{} is no UTF-8", odd.display()))
    })
}
