//! Pending flows in SQLite. What changes (used, by which journal) stands in columns; the rest is
//! frozen when a flow starts, and is JSON.

use indicia_broker::model::{ConnectionId, FlowRow, GrantId, JournalId, TakenFlow};
use indicia_broker::ports::TakenFlows;
use indicia_oauth::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::clients::{is_there, sealed};
use super::failure::Failure;
use super::grants::id;

pub(super) fn add_flow(conn: &Connection, row: &FlowRow) -> Result<(), Failure> {
    if !is_there(conn, &row.client)? {
        return Err(Failure::Conflict("the client is gone"));
    }
    let mut body = row.clone();
    body.sealed.bytes.clear();
    let mut insert = conn.prepare_cached(
        "INSERT INTO flows
           (state_hash, client, connection, expires_at, taken_no, used_at, journal, revoked,
            data_key, sealed, body)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )?;
    let added = insert.execute(params![
        row.state_hash,
        row.client.as_str(),
        row.connection.as_str(),
        row.expires_at.as_millis(),
        row.taken_no,
        row.used_at.map(Timestamp::as_millis),
        row.journal.as_ref().map(JournalId::as_str),
        row.revoked,
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
        "SELECT used_at, journal, data_key, sealed, body, taken_no, revoked FROM flows
         WHERE state_hash = ?",
    )?;
    let found = query.query_row([state_hash], |row| {
        let used_at: Option<i64> = row.get(0)?;
        let journal: Option<String> = row.get(1)?;
        Ok((
            used_at,
            journal,
            sealed(row, 2)?,
            row.get::<_, String>(4)?,
            (row.get(5)?, row.get(6)?),
        ))
    });
    let Some((used_at, journal, sealed, body, taken)) = found.optional()? else {
        return Ok(None);
    };
    let mut row: FlowRow = serde_json::from_str(&body)?;
    row.used_at = used_at.map(Timestamp::from_millis);
    row.journal = journal.map(|text| id(&text, JournalId::new)).transpose()?;
    row.sealed = sealed;
    (row.taken_no, row.revoked) = taken;
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
    let mut count = conn
        .prepare_cached("UPDATE store SET flows_taken = flows_taken + 1 RETURNING flows_taken")?;
    row.taken_no = count.query_row([], |row| row.get(0))?;
    row.used_at = Some(now);
    row.journal = Some(journal.clone());
    let mut mark = conn.prepare_cached(
        "UPDATE flows SET taken_no = ?, used_at = ?, journal = ? WHERE state_hash = ?",
    )?;
    mark.execute(params![row.taken_no, now.as_millis(), journal.as_str(), state_hash])?;
    Ok(TakenFlow::Taken(Box::new(row)))
}

/// Whether what comes of this flow is taken back.
pub(super) fn is_revoked(conn: &Connection, flow: Option<&str>) -> Result<bool, Failure> {
    let Some(flow) = flow else { return Ok(false) };
    let mut query = conn.prepare_cached("SELECT 1 FROM flows WHERE state_hash = ? AND revoked")?;
    Ok(query.exists([flow])?)
}

/// The number of a consent from this flow, where it may be stored over that of number `before`.
/// What comes from no flow changes nothing about that.
pub(super) fn consent_no(
    conn: &Connection,
    flow: Option<&str>,
    before: u64,
) -> Result<Option<u64>, Failure> {
    let Some(flow) = flow else { return Ok(Some(before)) };
    let mut query = conn.prepare_cached("SELECT taken_no FROM flows WHERE state_hash = ?")?;
    let no: Option<u64> = query.query_row([flow], |row| row.get(0)).optional()?;
    Ok(no.filter(|no| *no >= before))
}

/// Ends a taken flow, and those of its connection that were taken before.
pub(super) fn end_flow(conn: &Connection, flow: Option<&str>) -> Result<(), Failure> {
    let Some(flow) = flow else { return Ok(()) };
    let mut end = conn.prepare_cached(
        "DELETE FROM flows WHERE state_hash = ?1 OR (connection, taken_no) IN (
           SELECT other.connection, other.taken_no
           FROM flows ended JOIN flows other ON other.connection = ended.connection
           WHERE ended.state_hash = ?1 AND NOT other.revoked
             AND other.taken_no BETWEEN 1 AND ended.taken_no)",
    )?;
    end.execute([flow])?;
    Ok(())
}

/// What was taken for a grant's connections until now is taken back with it.
pub(super) fn revoke_taken(conn: &Connection, grant: &GrantId) -> Result<(), Failure> {
    let mut revoke = conn.prepare_cached(
        "UPDATE flows SET revoked = 1
         WHERE taken_no > 0 AND connection IN (
           SELECT c.id FROM connections c JOIN grants g ON g.no = c.grant_no WHERE g.id = ?)",
    )?;
    revoke.execute([grant.as_str()])?;
    Ok(())
}

/// What becomes of the taken flows of a connection that is forgotten.
pub(super) fn leave(
    conn: &Connection,
    connection: &ConnectionId,
    taken: TakenFlows,
) -> Result<(), Failure> {
    let mut leave = conn.prepare_cached(match taken {
        TakenFlows::End => {
            "DELETE FROM flows WHERE connection = ? AND taken_no > 0 AND NOT revoked"
        }
        TakenFlows::Revoke => "UPDATE flows SET revoked = 1 WHERE connection = ? AND taken_no > 0",
    })?;
    leave.execute([connection.as_str()])?;
    Ok(())
}

pub(super) fn remove_flow(conn: &Connection, state_hash: &str) -> Result<(), Failure> {
    conn.prepare_cached("DELETE FROM flows WHERE state_hash = ?")?.execute([state_hash])?;
    Ok(())
}

pub(super) fn purge_flows(
    conn: &Connection,
    expired_before: Timestamp,
    taken_before: Timestamp,
) -> Result<u64, Failure> {
    let mut delete = conn.prepare_cached(PURGE)?;
    let values = params![expired_before.as_millis(), taken_before.as_millis()];
    Ok(delete.execute(values)? as u64)
}

pub(super) fn stale_flows(
    conn: &Connection,
    journal: &JournalId,
    (after, expired_before): (Timestamp, Timestamp),
    limit: usize,
) -> Result<Vec<(Timestamp, String)>, Failure> {
    let mut query = conn.prepare_cached(STALE)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (after, before) = (after.as_millis(), expired_before.as_millis());
    let values = params![after, before, journal.as_str(), limit];
    let row = |row: &Row<'_>| Ok((Timestamp::from_millis(row.get(0)?), row.get(1)?));
    let rows = query.query_map(values, row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) const PURGE: &str = "DELETE FROM flows \
    WHERE expires_at < ?1 AND (taken_no = 0 OR expires_at < ?2)";
pub(super) const STALE: &str = "SELECT expires_at, state_hash FROM flows \
    WHERE expires_at > ? AND expires_at < ? AND journal = ? \
    ORDER BY expires_at, state_hash LIMIT ?";
