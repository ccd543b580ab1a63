//! Revocations in SQLite: the receipt as JSON, the sealed tokens of its calls beside it.

use indicia_broker::model::{Event, GrantId, GrantState, RevocationItem, RevocationRow};
use indicia_broker::vault::Sealed;
use indicia_oauth::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::clients::sealed;
use super::connections::drop_replaced;
use super::events::append;
use super::failure::Failure;
use super::flows;
use super::grants::{mark_revoked, number_of};

pub(super) fn revoke(
    conn: &Connection,
    grants: &[GrantId],
    state: &GrantState,
    revocation: &RevocationRow,
    events: &[Event],
) -> Result<(), Failure> {
    let mut query = conn.prepare_cached("SELECT 1 FROM revocations WHERE id = ?")?;
    if query.exists([&revocation.id])? {
        return Err(Failure::Conflict("a revocation of this id is there already"));
    }
    for grant in grants {
        mark_revoked(conn, grant, state)?;
        flows::revoke_taken(conn, grant)?;
    }
    put(conn, revocation)?;
    append(conn, events)
}

pub(super) fn revocation(conn: &Connection, id: &str) -> Result<Option<RevocationRow>, Failure> {
    let mut query = conn.prepare_cached("SELECT body FROM revocations WHERE id = ?")?;
    let body: Option<String> = query.query_row([id], |row| row.get(0)).optional()?;
    body.map(|body| opened(conn, &body)).transpose()
}

pub(super) fn revoked_item(
    conn: &Connection,
    grant: &GrantId,
) -> Result<Option<RevocationItem>, Failure> {
    let mut query = conn.prepare_cached(REVOKED_ITEM)?;
    let found = query.query_map([grant.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut newest: Option<RevocationItem> = None;
    for each in found {
        let (body, n): (String, usize) = each?;
        let item = opened(conn, &body)?.items.into_iter().nth(n);
        newest = newest.into_iter().chain(item).max_by_key(RevocationItem::newest);
    }
    Ok(newest)
}

pub(super) const REVOKED_ITEM: &str = "SELECT r.body, i.n \
    FROM revocation_items i JOIN revocations r ON r.id = i.revocation \
    WHERE i.grant_id = ? ORDER BY r.id, i.n";

pub(super) fn revocations_due(
    conn: &Connection,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<RevocationRow>, Failure> {
    let mut query = conn.prepare_cached(
        "SELECT body FROM revocations WHERE next_at <= ? ORDER BY next_at, id LIMIT ?",
    )?;
    let bodies = query.query_map(params![now.as_millis(), limit], |row| row.get::<_, String>(0))?;
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
    for item in &row.items {
        if let Some(grant_no) = number_of(conn, &item.grant)? {
            drop_replaced(conn, grant_no)?;
        }
    }
    append(conn, events)?;
    Ok(true)
}

fn put(conn: &Connection, row: &RevocationRow) -> Result<(), Failure> {
    let mut body = row.clone();
    conn.prepare_cached("DELETE FROM revocation_items WHERE revocation = ?")?.execute([&row.id])?;
    let mut insert = conn.prepare_cached(
        "INSERT INTO revocation_items
           (revocation, n, grant_id, data_key, sealed, probe_data_key, probe_sealed)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?;
    for (n, item) in body.items.iter_mut().enumerate() {
        let (sealed, probe) = (item.sealed.as_ref(), item.probe.as_ref());
        insert.execute(params![
            row.id,
            n,
            item.grant.as_str(),
            sealed.map(|sealed| sealed.key.0),
            sealed.map(|sealed| &sealed.bytes),
            probe.map(|sealed| sealed.key.0),
            probe.map(|sealed| &sealed.bytes),
        ])?;
        // They are put back from their columns.
        (item.sealed, item.probe) = (None, None);
    }
    let mut put = conn.prepare_cached(
        "INSERT INTO revocations (id, revision, next_at, body) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET
           revision = excluded.revision, next_at = excluded.next_at, body = excluded.body",
    )?;
    let next_at = row.next_at.map(Timestamp::as_millis);
    put.execute(params![row.id, row.revision, next_at, serde_json::to_string(&body)?])?;
    Ok(())
}

fn opened(conn: &Connection, body: &str) -> Result<RevocationRow, Failure> {
    let mut row: RevocationRow = serde_json::from_str(body)?;
    let mut query = conn.prepare_cached(
        "SELECT data_key, sealed, probe_data_key, probe_sealed FROM revocation_items
         WHERE revocation = ? AND n = ?",
    )?;
    for (n, item) in row.items.iter_mut().enumerate() {
        (item.sealed, item.probe) = query.query_row(params![row.id, n], |row| {
            Ok((sealed_or_none(row, 0)?, sealed_or_none(row, 2)?))
        })?;
    }
    Ok(row)
}

fn sealed_or_none(row: &Row<'_>, first: usize) -> Result<Option<Sealed>, rusqlite::Error> {
    match row.get::<_, Option<u32>>(first)? {
        None => Ok(None),
        Some(_) => sealed(row, first).map(Some),
    }
}
