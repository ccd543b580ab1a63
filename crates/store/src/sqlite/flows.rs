//! Pending flows in SQLite. What changes (used, by which journal) stands in columns; the rest is
//! frozen when a flow starts, and is JSON.

use indicia_broker::model::{ConnectionId, FlowRow, GrantId, JournalId, TakenFlow};
use indicia_oauth::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::clients::{is_there, sealed};
use super::failure::Failure;
use super::grants::id;
use crate::just_after;

pub(super) fn add_flow(conn: &Connection, row: &FlowRow) -> Result<(), Failure> {
    if !is_there(conn, &row.client)? {
        return Err(Failure::Conflict("the client is gone"));
    }
    let mut body = row.clone();
    body.sealed.bytes.clear();
    let mut insert = conn.prepare_cached(
        "INSERT INTO flows
           (state_hash, client, connection, expires_at, used_at, journal, after_revocation,
            data_key, sealed, body)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )?;
    let added = insert.execute(params![
        row.state_hash,
        row.client.as_str(),
        row.connection.as_str(),
        row.expires_at.as_millis(),
        row.used_at.map(Timestamp::as_millis),
        row.journal.as_ref().map(JournalId::as_str),
        row.after_revocation,
        row.sealed.key.0,
        row.sealed.bytes,
        serde_json::to_string(&body)?,
    ])?;
    match added {
        1 => Ok(()),
        _ => Err(Failure::Conflict("a flow of this state is there already")),
    }
}

pub(super) fn flow(conn: &Connection, state_hash: &str) -> Result<Option<FlowRow>, Failure> {
    let mut query = conn.prepare_cached(
        "SELECT used_at, journal, data_key, sealed, body, after_revocation FROM flows
         WHERE state_hash = ?",
    )?;
    let found = query.query_row([state_hash], |row| {
        let used_at: Option<i64> = row.get(0)?;
        let journal: Option<String> = row.get(1)?;
        Ok((used_at, journal, sealed(row, 2)?, row.get::<_, String>(4)?, row.get(5)?))
    });
    let Some((used_at, journal, sealed, body, after_revocation)) = found.optional()? else {
        return Ok(None);
    };
    let mut row: FlowRow = serde_json::from_str(&body)?;
    row.used_at = used_at.map(Timestamp::from_millis);
    row.journal = journal.map(|text| id(&text, JournalId::new)).transpose()?;
    row.sealed = sealed;
    row.after_revocation = after_revocation;
    Ok(Some(row))
}

pub(super) fn take_flow(
    conn: &Connection,
    state_hash: &str,
    journal: &JournalId,
    now: Timestamp,
) -> Result<TakenFlow, Failure> {
    let Some(mut row) = flow(conn, state_hash)? else {
        return Ok(TakenFlow::Unknown);
    };
    if let Some(used_at) = row.used_at {
        return Ok(TakenFlow::Used(used_at));
    }
    if row.expires_at <= now {
        return Ok(TakenFlow::Expired(row.expires_at));
    }
    let mut latest = conn.prepare_cached("SELECT max(used_at) FROM flows WHERE connection = ?")?;
    let latest: Option<i64> = latest.query_row([row.connection.as_str()], |row| row.get(0))?;
    let after = latest.map(|at| just_after(Timestamp::from_millis(at)));
    let used_at = after.map_or(now, |after| after.max(now));
    row.after_revocation = is_revoked(conn, &row.connection)?;
    let mut mark = conn.prepare_cached(
        "UPDATE flows SET used_at = ?, journal = ?, after_revocation = ? WHERE state_hash = ?",
    )?;
    let values = params![used_at.as_millis(), journal.as_str(), row.after_revocation, state_hash];
    mark.execute(values)?;
    row.used_at = Some(used_at);
    row.journal = Some(journal.clone());
    Ok(TakenFlow::Taken(Box::new(row)))
}

/// Whether a connection's grant was revoked.
fn is_revoked(conn: &Connection, id: &ConnectionId) -> Result<bool, Failure> {
    let mut query = conn.prepare_cached(
        "SELECT 1 FROM connections c JOIN grants g ON g.no = c.grant_no
         WHERE c.id = ? AND g.life = 'revoked'",
    )?;
    Ok(query.exists([id.as_str()])?)
}

/// Whether a consent may still be stored: it comes from no flow, or from one that goes on.
pub(super) fn goes_on(conn: &Connection, flow: Option<&str>) -> Result<bool, Failure> {
    let Some(flow) = flow else { return Ok(true) };
    Ok(conn.prepare_cached("SELECT 1 FROM flows WHERE state_hash = ?")?.exists([flow])?)
}

/// Ends a taken flow, and those of its connection that were taken before.
pub(super) fn end_flow(conn: &Connection, flow: Option<&str>) -> Result<(), Failure> {
    let Some(flow) = flow else { return Ok(()) };
    let mut end = conn.prepare_cached(
        "DELETE FROM flows WHERE state_hash = ?1 OR (connection, used_at) IN (
           SELECT other.connection, other.used_at
           FROM flows ended JOIN flows other ON other.connection = ended.connection
           WHERE ended.state_hash = ?1 AND other.used_at <= ended.used_at)",
    )?;
    end.execute([flow])?;
    Ok(())
}

/// Whether its connection was taken back after it was taken.
pub(super) fn is_outdated(conn: &Connection, flow: Option<&str>) -> Result<bool, Failure> {
    let Some(flow) = flow else { return Ok(false) };
    let mut query = conn.prepare_cached(
        "SELECT 1 FROM flows f JOIN connections c ON c.id = f.connection
           JOIN grants g ON g.no = c.grant_no
         WHERE f.state_hash = ? AND NOT f.after_revocation AND g.life = 'revoked'",
    )?;
    Ok(query.exists([flow])?)
}

/// A revocation is the newer decision for every flow that was taken before it.
pub(super) fn outdate(conn: &Connection, grant: &GrantId) -> Result<(), Failure> {
    let mut outdate = conn.prepare_cached(
        "UPDATE flows SET after_revocation = 0
         WHERE used_at IS NOT NULL AND after_revocation AND connection IN (
           SELECT c.id FROM connections c JOIN grants g ON g.no = c.grant_no WHERE g.id = ?)",
    )?;
    outdate.execute([grant.as_str()])?;
    Ok(())
}

/// A connection that is forgotten takes its taken flows along.
pub(super) fn end_taken(conn: &Connection, connection: &ConnectionId) -> Result<(), Failure> {
    conn.prepare_cached("DELETE FROM flows WHERE connection = ? AND used_at IS NOT NULL")?
        .execute([connection.as_str()])?;
    Ok(())
}

pub(super) fn remove_flow(conn: &Connection, state_hash: &str) -> Result<(), Failure> {
    conn.prepare_cached("DELETE FROM flows WHERE state_hash = ?")?.execute([state_hash])?;
    Ok(())
}

pub(super) fn purge_flows(conn: &Connection, expired_before: Timestamp) -> Result<u64, Failure> {
    let mut delete = conn.prepare_cached("DELETE FROM flows WHERE expires_at < ?")?;
    Ok(delete.execute([expired_before.as_millis()])? as u64)
}
