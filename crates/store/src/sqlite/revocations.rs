//! Revocations in SQLite: the receipt as JSON, the sealed tokens of its calls beside it.

use indicia_broker::model::{Event, GrantId, GrantState, RevocationRow};
use indicia_oauth::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::clients::sealed;
use super::events::append;
use super::failure::Failure;
use super::grants::mark_revoked;

pub(super) fn revoke(
    conn: &Connection,
    grants: &[GrantId],
    state: &GrantState,
    revocation: &RevocationRow,
    events: &[Event],
) -> Result<(), Failure> {
    let mut query = conn.prepare_cached("SELECT 1 FROM revocations WHERE id = ?")?;
    if query.exists([&revocation.id])? {
        return Err(Failure::Conflict(
            "a revocation of this id is there already",
        ));
    }
    for grant in grants {
        mark_revoked(conn, grant, state)?;
    }
    put(conn, revocation)?;
    append(conn, events)
}

pub(super) fn revocation(conn: &Connection, id: &str) -> Result<Option<RevocationRow>, Failure> {
    let mut query = conn.prepare_cached("SELECT body FROM revocations WHERE id = ?")?;
    let body: Option<String> = query.query_row([id], |row| row.get(0)).optional()?;
    body.map(|body| opened(conn, &body)).transpose()
}

pub(super) fn revocations_due(
    conn: &Connection,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<RevocationRow>, Failure> {
    let mut query = conn.prepare_cached(
        "SELECT body FROM revocations WHERE next_at <= ? ORDER BY next_at, id LIMIT ?",
    )?;
    let bodies = query.query_map(params![now.as_millis(), limit], |row| {
        row.get::<_, String>(0)
    })?;
    bodies.map(|body| opened(conn, &body?)).collect()
}

pub(super) fn update_revocation(
    conn: &Connection,
    row: &RevocationRow,
    events: &[Event],
) -> Result<bool, Failure> {
    let mut query =
        conn.prepare_cached("SELECT 1 FROM revocations WHERE id = ? AND revision + 1 = ?")?;
    if !query.exists(params![row.id, row.revision])? {
        return Ok(false);
    }
    put(conn, row)?;
    append(conn, events)?;
    Ok(true)
}

fn put(conn: &Connection, row: &RevocationRow) -> Result<(), Failure> {
    let mut body = row.clone();
    conn.prepare_cached("DELETE FROM revocation_items WHERE revocation = ?")?
        .execute([&row.id])?;
    let mut insert = conn.prepare_cached(
        "INSERT INTO revocation_items (revocation, n, data_key, sealed) VALUES (?, ?, ?, ?)",
    )?;
    for (n, item) in body.items.iter_mut().enumerate() {
        if let Some(sealed) = &mut item.sealed {
            insert.execute(params![row.id, n, sealed.key.0, sealed.bytes])?;
            sealed.bytes.clear();
        }
    }
    let mut put = conn.prepare_cached(
        "INSERT INTO revocations (id, revision, next_at, body) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET
           revision = excluded.revision, next_at = excluded.next_at, body = excluded.body",
    )?;
    let next_at = row.next_at.map(Timestamp::as_millis);
    put.execute(params![
        row.id,
        row.revision,
        next_at,
        serde_json::to_string(&body)?
    ])?;
    Ok(())
}

fn opened(conn: &Connection, body: &str) -> Result<RevocationRow, Failure> {
    let mut row: RevocationRow = serde_json::from_str(body)?;
    let mut query = conn.prepare_cached(
        "SELECT data_key, sealed FROM revocation_items WHERE revocation = ? AND n = ?",
    )?;
    for (n, item) in row
        .items
        .iter_mut()
        .enumerate()
        .filter(|(_, item)| item.sealed.is_some())
    {
        item.sealed = Some(query.query_row(params![row.id, n], |row| sealed(row, 0))?);
    }
    Ok(row)
}
