//! Which tables there are: made with the store, moved on by later versions, never touched when they
//! are newer than what this version knows.
//!
//! What would surprise: a store is made under another name and appears under its own in one step,
//! whole, so that nobody ever meets half a store and two who make one at once end with one.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use indicia_broker::ports::StoreErrorKind;
use indicia_oauth::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::connection;
use super::failure::Failure;
use super::holder::nonce;
use super::home::{cannot, place};

/// In order; one that was shipped is never changed.
pub(super) const MIGRATIONS: [&str; 3] = [
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_copies.sql"),
    include_str!("migrations/0003_short_fingerprints.sql"),
];

/// Makes the store `db` in `home`, unless somebody was faster.
pub(super) fn create(home: &Path, db: &Path, now: Timestamp) -> Result<(), Failure> {
    let id = nonce()?;
    let new = home.join(format!(".new-{id}.db"));
    let made = fill(&new, &id, now).and_then(|()| match fs::hard_link(&new, db) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(cannot("make", db, &error))
        }
        Ok(()) | Err(_) => sync_folder(home),
    });
    // Also after a failure; what can't be removed is an empty store under a name that nobody reads.
    drop(fs::remove_file(&new));
    made
}

fn fill(new: &Path, id: &str, now: Timestamp) -> Result<(), Failure> {
    // Made beforehand, as SQLite would make it readable by others; its companions inherit the mode.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(new)
        .map_err(|error| cannot("make", new, &error))?;
    let mut conn = connection::to_create(new)?;
    migrate(&mut conn, &MIGRATIONS, now)?;
    conn.execute(
        "INSERT INTO store (one, id, place, created_at, change_number) VALUES (1, ?, ?, ?, 0)",
        params![id, place(new)?, now.as_millis()],
    )?;
    conn.close().map_err(|(_, error)| Failure::from(error))
}

fn sync_folder(home: &Path) -> Result<(), Failure> {
    let synced = fs::File::open(home).and_then(|folder| folder.sync_all());
    synced.map_err(|error| cannot("sync", home, &error))
}

/// Whether the store is of today's version; an older one is to be migrated, a newer one or another
/// program's is refused.
pub(super) fn is_current(conn: &Connection, db: &Path) -> Result<bool, Failure> {
    known(conn, db, &MIGRATIONS)
}

/// Moves an older store on.
pub(super) fn bring_up_to_date(conn: &mut Connection, now: Timestamp) -> Result<(), Failure> {
    migrate(conn, &MIGRATIONS, now)
}

fn known(conn: &Connection, db: &Path, migrations: &[&str]) -> Result<bool, Failure> {
    let app: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: usize = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if app != connection::APPLICATION_ID {
        return Err(Failure::Home(
            StoreErrorKind::Unreadable,
            format!("{} is another program's database, not a store", db.display()),
        ));
    }
    // mark: newer-store-untouched
    if version > migrations.len() {
        return Err(Failure::Home(
            StoreErrorKind::Newer,
            format!(
                "{} was made by a newer Indicia (its schema is {version}, this one knows {}): use \
                 that version, or restore a backup from before the upgrade; nothing was touched",
                db.display(),
                migrations.len()
            ),
        ));
    }
    let mut query = conn.prepare("SELECT n, checksum FROM migrations ORDER BY n")?;
    let applied = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let applied = applied.collect::<Result<Vec<(usize, Vec<u8>)>, _>>()?;
    let expected = (1..).zip(migrations).take(version).map(|(n, sql)| (n, checksum(sql)));
    if !applied.into_iter().eq(expected) {
        return Err(Failure::Damaged("its list of migrations isn't what this version made".into()));
    }
    Ok(version == migrations.len())
}

/// Applies what is missing, in one transaction.
fn migrate(conn: &mut Connection, migrations: &[&str], now: Timestamp) -> Result<(), Failure> {
    let change = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    change.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (
           n INTEGER PRIMARY KEY, checksum BLOB NOT NULL, applied_at INTEGER NOT NULL
         ) STRICT",
    )?;
    // Read again under the lock: somebody may have been faster.
    let done: Option<usize> = change
        .query_row("SELECT max(n) FROM migrations", [], |row| row.get(0))
        .optional()?
        .flatten();
    for (n, sql) in (1..).zip(migrations).skip(done.unwrap_or(0)) {
        change.execute_batch(sql)?;
        change.execute(
            "INSERT INTO migrations (n, checksum, applied_at) VALUES (?, ?, ?)",
            params![n, checksum(sql), now.as_millis()],
        )?;
        change.pragma_update(None, "user_version", n)?;
    }
    Ok(change.commit()?)
}

fn checksum(sql: &str) -> Vec<u8> {
    Sha256::digest(sql.as_bytes()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_store_is_moved_on_and_its_list_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("x.db");
        let mut conn = connection::to_create(&db).unwrap();
        let now = Timestamp::from_millis(5);
        let one = "CREATE TABLE a (x INTEGER)";
        let two = "ALTER TABLE a ADD COLUMN y INTEGER; INSERT INTO a VALUES (1, 2)";
        migrate(&mut conn, &[one], now).unwrap();
        assert!(known(&conn, &db, &[one]).unwrap());
        assert!(!known(&conn, &db, &[one, two]).unwrap());
        for _ in 0..2 {
            migrate(&mut conn, &[one, two], now).unwrap();
            assert!(known(&conn, &db, &[one, two]).unwrap());
        }
        let rows: u32 = conn.query_row("SELECT count(*) FROM a", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1, "each is applied once");
        assert!(matches!(known(&conn, &db, &[two, one]), Err(Failure::Damaged(_))));
        let newer = known(&conn, &db, &[one]).unwrap_err().told(&db);
        assert_eq!(newer.kind, StoreErrorKind::Newer);

        let broken = "CREATE TABLE b (x INTEGER); NONSENSE";
        migrate(&mut conn, &[one, two, broken], now).unwrap_err();
        assert!(known(&conn, &db, &[one, two]).unwrap(), "all of it or nothing");
    }
}
