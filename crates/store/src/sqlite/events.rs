//! The chain of events in SQLite, appended in the transaction of what they tell.
//!
//! What would surprise: sequence numbers have no gaps, since there is one writer at a time and a
//! transaction that is rolled back takes its events along.

use indicia_broker::model::{Event, EventRow};
use rusqlite::{Connection, OptionalExtension, params};

use super::failure::Failure;
use crate::chain;

pub(super) fn append(conn: &Connection, events: &[Event]) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    let mut last = conn.prepare_cached("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1")?;
    let last = last.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let (mut seq, mut hash): (u64, [u8; 32]) = last.unwrap_or((0, chain::GENESIS));
    let mut insert =
        conn.prepare_cached("INSERT INTO events (seq, hash, body) VALUES (?, ?, ?)")?;
    for event in events {
        let body = chain::canonical_json(event)?;
        seq += 1;
        hash = chain::link(&hash, body.as_bytes());
        insert.execute(params![seq, hash, body])?;
    }
    Ok(())
}

pub(super) fn events(
    conn: &Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<EventRow>, Failure> {
    let mut query = conn
        .prepare_cached("SELECT seq, hash, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?")?;
    let rows = query.query_map(params![after, limit], |row| {
        Ok((row.get(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, String>(2)?))
    })?;
    rows.map(|row| {
        let (seq, hash, body) = row?;
        Ok(EventRow { seq, hash: chain::to_hex(&hash), event: serde_json::from_str(&body)? })
    })
    .collect()
}

pub(super) fn last_event(conn: &Connection) -> Result<u64, Failure> {
    let mut query = conn.prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?;
    Ok(query.query_row([], |row| row.get(0))?)
}
