//! Connections in SQLite: small rows, found by id, client, grant and label.

use std::collections::BTreeMap;

use indicia_broker::model::{ClientId, ConnectionId, ConnectionRow, Event, GrantId, GrantRow};
use indicia_broker::ports::{ConnectOutcome, ConnectionFilter, ForgetOutcome, TakenFlows};
use indicia_oauth::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::clients;
use super::events::append;
use super::failure::Failure;
use super::flows;
use super::grants::{self, GRANT_COLUMNS_COUNT, id, number_of, select_grants};

macro_rules! select_connections {
    ("") => {
        select_grants!(
            ", c.id, c.client, c.labels, c.created_at, c.updated_at",
            "JOIN connections c ON c.grant_no = g.no"
        )
    };
    ($condition:literal) => {
        concat!(select_connections!(""), " ", $condition)
    };
}

pub(super) fn connect(
    conn: &Connection,
    connection: &ConnectionRow,
    grant: &GrantRow,
    flow: Option<&str>,
    events: &[Event],
) -> Result<ConnectOutcome, Failure> {
    if flows::is_revoked(conn, flow)? {
        return Ok(ConnectOutcome::FlowRevoked);
    }
    if is_there(conn, &connection.id)? {
        return Ok(ConnectOutcome::IdTaken);
    }
    let Some(consent_no) = flows::consent_no(conn, flow, 0)? else {
        return Ok(ConnectOutcome::FlowEnded);
    };
    needs_client(conn, &connection.client)?;
    needs_no_grant(conn, &grant.id)?;
    let grant_no = grants::add(conn, grant, consent_no)?;
    add(conn, connection, grant_no)?;
    flows::end_flow(conn, flow)?;
    append(conn, events)?;
    Ok(ConnectOutcome::Done)
}

pub(super) fn join(
    conn: &Connection,
    connection: &ConnectionRow,
    flow: Option<&str>,
    events: &[Event],
) -> Result<ConnectOutcome, Failure> {
    if flows::is_revoked(conn, flow)? {
        return Ok(ConnectOutcome::FlowRevoked);
    }
    if is_there(conn, &connection.id)? {
        return Ok(ConnectOutcome::IdTaken);
    }
    if flows::consent_no(conn, flow, 0)?.is_none() {
        return Ok(ConnectOutcome::FlowEnded);
    }
    needs_client(conn, &connection.client)?;
    add(conn, connection, needed_grant(conn, &connection.grant)?)?;
    append(conn, events)?;
    Ok(ConnectOutcome::Done)
}

pub(super) fn reconnect(
    conn: &Connection,
    new: &ConnectionRow,
    grant: &GrantRow,
    flow: Option<&str>,
    events: &[Event],
) -> Result<ConnectOutcome, Failure> {
    if flows::is_revoked(conn, flow)? {
        return Ok(ConnectOutcome::FlowRevoked);
    }
    let Some(old_no) = grant_no_of(conn, &new.id)? else {
        return Ok(ConnectOutcome::Missing);
    };
    // A grant of its own: what others gave the one before doesn't matter.
    let Some(consent_no) = flows::consent_no(conn, flow, 0)? else {
        return Ok(ConnectOutcome::FlowEnded);
    };
    needs_no_grant(conn, &grant.id)?;
    let grant_no = grants::add(conn, grant, consent_no)?;
    put(conn, new, grant_no)?;
    drop_replaced(conn, old_no)?;
    flows::end_flow(conn, flow)?;
    append(conn, events)?;
    Ok(ConnectOutcome::Done)
}

pub(super) fn label(conn: &Connection, new: &ConnectionRow) -> Result<bool, Failure> {
    let Some(grant_no) = grant_no_of(conn, &new.id)? else {
        return Ok(false);
    };
    put(conn, new, grant_no)?;
    Ok(true)
}

/// Client and birth of a connection stay.
fn put(conn: &Connection, new: &ConnectionRow, grant_no: i64) -> Result<(), Failure> {
    remove_labels(conn, &new.id)?;
    let mut update = conn.prepare_cached(
        "UPDATE connections SET grant_no = ?, labels = ?, updated_at = ? WHERE id = ?",
    )?;
    let labels = serde_json::to_string(&new.labels)?;
    update.execute(params![grant_no, labels, new.updated_at.as_millis(), new.id.as_str()])?;
    add_labels(conn, new)
}

pub(super) fn forget(
    conn: &Connection,
    id: &ConnectionId,
    grant: &GrantId,
    taken: TakenFlows,
    events: &[Event],
) -> Result<ForgetOutcome, Failure> {
    let Some(grant_no) = grant_no_of(conn, id)? else {
        return Ok(ForgetOutcome::Missing);
    };
    if number_of(conn, grant)? != Some(grant_no) {
        return Ok(ForgetOutcome::Moved);
    }
    remove_labels(conn, id)?;
    conn.prepare_cached("DELETE FROM connections WHERE id = ?")?.execute([id.as_str()])?;
    drop_unused(conn, grant_no)?;
    flows::leave(conn, id, taken)?;
    append(conn, events)?;
    Ok(ForgetOutcome::Done)
}

pub(super) fn connection(
    conn: &Connection,
    id: &ConnectionId,
) -> Result<Option<(ConnectionRow, GrantRow)>, Failure> {
    let mut query = conn.prepare_cached(select_connections!("WHERE c.id = ?"))?;
    let mut rows = query.query([id.as_str()])?;
    rows.next()?.map(read).transpose()
}

pub(super) fn connections(
    conn: &Connection,
    filter: &ConnectionFilter,
    after: Option<&ConnectionId>,
    limit: usize,
) -> Result<Vec<(ConnectionRow, GrantRow)>, Failure> {
    let mut conditions = vec!["c.id > ?"];
    let mut values = vec![text(after.map_or("", ConnectionId::as_str))];
    if let Some(client) = &filter.client {
        conditions.push("c.client = ?");
        values.push(text(client.as_str()));
    }
    if let Some(clients) = &filter.clients {
        conditions.push("c.client IN (SELECT value FROM json_each(?))");
        values.push(Value::Text(serde_json::to_string(clients)?));
    }
    if let Some((key, value)) = &filter.label {
        conditions.push("c.id IN (SELECT connection FROM labels WHERE key = ? AND value = ?)");
        values.extend([text(key), text(value)]);
    }
    if let Some(grant) = &filter.grant {
        conditions.push("c.grant_no = (SELECT no FROM grants WHERE id = ?)");
        values.push(text(grant.as_str()));
    }
    values.push(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
    let sql = format!(
        "{} WHERE {} ORDER BY c.id LIMIT ?",
        select_connections!(""),
        conditions.join(" AND ")
    );
    let mut query = conn.prepare_cached(&sql)?;
    let mut rows = query.query(params_from_iter(values))?;
    let mut found = vec![];
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn read(row: &Row<'_>) -> Result<(ConnectionRow, GrantRow), Failure> {
    let grant = grants::read(row)?.row;
    let column = |n| GRANT_COLUMNS_COUNT + n;
    let labels: BTreeMap<String, String> = serde_json::from_str(row.get_ref(column(2))?.as_str()?)?;
    let connection = ConnectionRow {
        id: id(row.get_ref(column(0))?.as_str()?, ConnectionId::new)?,
        client: id(row.get_ref(column(1))?.as_str()?, ClientId::new)?,
        grant: grant.id.clone(),
        labels,
        created_at: Timestamp::from_millis(row.get(column(3))?),
        updated_at: Timestamp::from_millis(row.get(column(4))?),
    };
    Ok((connection, grant))
}

fn is_there(conn: &Connection, id: &ConnectionId) -> Result<bool, Failure> {
    Ok(grant_no_of(conn, id)?.is_some())
}

fn grant_no_of(conn: &Connection, id: &ConnectionId) -> Result<Option<i64>, Failure> {
    let mut query = conn.prepare_cached("SELECT grant_no FROM connections WHERE id = ?")?;
    Ok(query.query_row([id.as_str()], |row| row.get(0)).optional()?)
}

fn needs_client(conn: &Connection, id: &ClientId) -> Result<(), Failure> {
    match clients::is_there(conn, id)? {
        true => Ok(()),
        false => Err(Failure::Conflict("the client is gone")),
    }
}

fn needs_no_grant(conn: &Connection, id: &GrantId) -> Result<(), Failure> {
    match number_of(conn, id)? {
        None => Ok(()),
        Some(_) => Err(Failure::Conflict("a grant of this id is there already")),
    }
}

fn needed_grant(conn: &Connection, id: &GrantId) -> Result<i64, Failure> {
    number_of(conn, id)?.ok_or(Failure::Conflict("the grant is gone"))
}

fn add(conn: &Connection, row: &ConnectionRow, grant_no: i64) -> Result<(), Failure> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO connections (id, client, grant_no, labels, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    insert.execute(params![
        row.id.as_str(),
        row.client.as_str(),
        grant_no,
        serde_json::to_string(&row.labels)?,
        row.created_at.as_millis(),
        row.updated_at.as_millis(),
    ])?;
    add_labels(conn, row)
}

fn add_labels(conn: &Connection, row: &ConnectionRow) -> Result<(), Failure> {
    let mut insert =
        conn.prepare_cached("INSERT INTO labels (key, value, connection) VALUES (?, ?, ?)")?;
    for (key, value) in &row.labels {
        insert.execute([key, value, row.id.as_str()])?;
    }
    Ok(())
}

/// Which labels it has is read from its row, as the table of labels has no index by connection.
fn remove_labels(conn: &Connection, id: &ConnectionId) -> Result<(), Failure> {
    let mut query = conn.prepare_cached("SELECT labels FROM connections WHERE id = ?")?;
    let text: String = query.query_row([id.as_str()], |row| row.get(0))?;
    let labels: BTreeMap<String, String> = serde_json::from_str(&text)?;
    let mut delete =
        conn.prepare_cached("DELETE FROM labels WHERE key = ? AND value = ? AND connection = ?")?;
    for (key, value) in &labels {
        delete.execute([key, value, id.as_str()])?;
    }
    Ok(())
}

/// A grant that was replaced goes when no revocation waits for it.
pub(super) fn drop_replaced(conn: &Connection, grant_no: i64) -> Result<(), Failure> {
    let mut query = conn.prepare_cached(
        "SELECT 1 FROM revocation_items i JOIN revocations r ON r.id = i.revocation
         WHERE r.next_at IS NOT NULL AND i.grant_id = (SELECT id FROM grants WHERE no = ?)",
    )?;
    match query.exists([grant_no])? {
        true => Ok(()),
        false => drop_unused(conn, grant_no),
    }
}

fn drop_unused(conn: &Connection, grant_no: i64) -> Result<(), Failure> {
    let mut query = conn.prepare_cached("SELECT 1 FROM connections WHERE grant_no = ?")?;
    match query.exists([grant_no])? {
        true => Ok(()),
        false => grants::remove(conn, grant_no),
    }
}
