//! What the disk and SQLite do when nothing stands between: the baselines.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rusqlite::{Connection, OpenFlags, params};

use crate::machine::thread_cpu;

/// Rows in one transaction of the commit loop.
pub const ROWS_PER_COMMIT: usize = 64;

/// A database with one table of rows as large as ours, and nothing else.
pub struct Raw {
    conn: Connection,
    reading: Connection,
    ids: Vec<String>,
    bytes: usize,
    key: LessSafeKey,
    round: u64,
}

impl Raw {
    /// Makes it in `folder`: its rows under these ids.
    pub fn new(folder: &Path, ids: &[String], bytes: usize) -> Result<Self> {
        let path = folder.join("raw.db");
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        let conn = new_table(&path)?;
        conn.execute_batch("BEGIN")?;
        let key = UnboundKey::new(&AES_256_GCM_SIV, &[7; 32]).ok().context("a key is 32 bytes")?;
        let key = LessSafeKey::new(key);
        for id in ids {
            let row = sealed(&key, bytes)?;
            let sql = "INSERT INTO rows (id, next_at, sealed) VALUES (?, 0, ?)";
            conn.prepare_cached(sql)?.execute(params![id, row])?;
        }
        conn.execute_batch("COMMIT; PRAGMA wal_checkpoint(PASSIVE)")?;
        let only_reading = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reading = Connection::open_with_flags(&path, only_reading)?;
        Ok(Self { conn, reading, ids: ids.to_vec(), bytes, key, round: 0 })
    }

    /// Point reads by text id a second of CPU, each row copied and opened.
    pub fn reads(&self, first: usize, count: usize) -> Result<f64> {
        let reading = &self.reading;
        let started = thread_cpu();
        for id in scattered(&self.ids, first).take(count) {
            let mut query = reading.prepare_cached("SELECT sealed FROM rows WHERE id = ?")?;
            let mut row: Vec<u8> = query.query_row([id], |row| row.get(0))?;
            let opened = self.key.open_in_place(nonce(), Aad::empty(), &mut row);
            std::hint::black_box(opened.ok().context("it was sealed with this key")?);
        }
        Ok(count as f64 / (thread_cpu() - started).as_secs_f64())
    }

    /// Rows a second: 64 rows, from all over the table, in each durable transaction.
    pub fn commits(&mut self, least: Duration) -> Result<f64> {
        let started = Instant::now();
        let mut rows = 0;
        while started.elapsed() < least {
            self.commit_one()?;
            rows += ROWS_PER_COMMIT;
        }
        Ok(rows as f64 / started.elapsed().as_secs_f64())
    }

    fn commit_one(&mut self) -> Result<()> {
        let change = self.conn.transaction()?;
        for _ in 0..ROWS_PER_COMMIT {
            self.round += 1;
            let at = usize::try_from(self.round)?.wrapping_mul(STEP) % self.ids.len();
            let filler = vec![u8::try_from(self.round % 251)?; self.bytes];
            let sql = "UPDATE rows SET next_at = ?, sealed = ? WHERE id = ?";
            let next_at = i64::try_from(self.round)?;
            change.prepare_cached(sql)?.execute(params![next_at, filler, self.ids[at]])?;
        }
        Ok(change.commit()?)
    }
}

/// How long it takes to insert a row of `bytes` for each id into an empty table, 64 in each durable
/// transaction; due at times that are no more in order than ours.
pub fn inserts(folder: &Path, ids: &[String], bytes: usize) -> Result<Duration> {
    let path = folder.join("inserts.db");
    for name in ["inserts.db", "inserts.db-wal", "inserts.db-shm"] {
        if folder.join(name).exists() {
            std::fs::remove_file(folder.join(name))?;
        }
    }
    let mut conn = new_table(&path)?;
    let filler = vec![42_u8; bytes];
    let started = Instant::now();
    for (group, ids) in ids.chunks(ROWS_PER_COMMIT).enumerate() {
        let change = conn.transaction()?;
        for (n, id) in ids.iter().enumerate() {
            let next_at = (group * ROWS_PER_COMMIT + n) * 7919 % 82_800;
            let sql = "INSERT INTO rows (id, next_at, sealed) VALUES (?, ?, ?)";
            change.prepare_cached(sql)?.execute(params![id, next_at, filler])?;
        }
        change.commit()?;
    }
    Ok(started.elapsed())
}

fn new_table(path: &Path) -> Result<Connection> {
    let conn = Connection::open(path)?;
    conn.pragma_update(None, "page_size", 8192)?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.execute_batch(
        "CREATE TABLE rows (no INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, next_at INTEGER,
           sealed BLOB NOT NULL) STRICT;
         CREATE INDEX rows_due ON rows (next_at);",
    )?;
    Ok(conn)
}

/// The ids from `first` on, each step far from the one before, without end.
pub fn scattered(ids: &[String], first: usize) -> impl Iterator<Item = &String> {
    (first..).filter_map(|n| ids.get(n.wrapping_mul(STEP) % ids.len()))
}

/// Bytes of a grant's row, as it lies in the store of a home.
pub fn row_bytes(home: &Path) -> Result<usize> {
    let db = Connection::open(home.join("indicia.db"))?;
    let sql = "SELECT CAST(avg(length(sealed) + length(inputs) + length(asked) + length(access) +
                 coalesce(length(granted), 0) + coalesce(length(refresh), 0)) AS INTEGER)
               FROM token_sets";
    let bytes: i64 = db.query_row(sql, [], |row| row.get(0))?;
    Ok(usize::try_from(bytes)? + NUMBERS_BYTES)
}

/// A row of `bytes`, most of which is sealed text.
fn sealed(key: &LessSafeKey, bytes: usize) -> Result<Vec<u8>> {
    let mut row = vec![42; bytes.saturating_sub(AES_256_GCM_SIV.tag_len())];
    let tag = key.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut row);
    row.extend(tag.ok().context("sealing a short text")?.as_ref());
    Ok(row)
}

/// Always the same: these texts keep no secret.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([3; NONCE_LEN])
}

/// A large prime: its multiples visit all places, none near the one before.
const STEP: usize = 2_654_435_761;

/// What the numbers in such a row take, about.
const NUMBERS_BYTES: usize = 50;
