//! Data keys and clients in SQLite. Sealed bytes stand in columns of their own; the rest of a
//! client is JSON in which they are empty.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicia_broker::model::{ClientId, ClientRow, Event};
use indicia_broker::vault::{DataKeyRow, KeyId, Sealed};
use indicia_oauth::Timestamp;
use rusqlite::{Connection, Row, params};

use super::events::append;
use super::failure::Failure;

pub(super) fn data_keys(conn: &Connection) -> Result<Vec<DataKeyRow>, Failure> {
    let mut query =
        conn.prepare_cached("SELECT id, wrapped, created_at FROM data_keys ORDER BY id")?;
    let rows = query.query_map([], |row| {
        Ok(DataKeyRow {
            id: KeyId(row.get(0)?),
            wrapped: row.get(1)?,
            created_at: Timestamp::from_millis(row.get(2)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn add_data_key(conn: &Connection, row: &DataKeyRow) -> Result<bool, Failure> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO data_keys (id, wrapped, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
    )?;
    Ok(insert.execute(params![row.id.0, row.wrapped, row.created_at.as_millis()])? == 1)
}

pub(super) fn rewrap_data_keys(
    conn: &Connection,
    rows: &[DataKeyRow],
    events: &[Event],
) -> Result<bool, Failure> {
    let there: Vec<KeyId> = data_keys(conn)?.into_iter().map(|row| row.id).collect();
    if there != rows.iter().map(|row| row.id).collect::<Vec<_>>() {
        return Ok(false);
    }
    let mut update = conn.prepare_cached("UPDATE data_keys SET wrapped = ? WHERE id = ?")?;
    for row in rows {
        update.execute(params![row.wrapped, row.id.0])?;
    }
    append(conn, events)?;
    Ok(true)
}

pub(super) fn remove_data_key(
    conn: &Connection,
    id: KeyId,
    events: &[Event],
) -> Result<bool, Failure> {
    let mut query = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM token_sets WHERE data_key = ?1)
             OR EXISTS (SELECT 1 FROM client_secrets WHERE data_key = ?1)
             OR EXISTS (SELECT 1 FROM flows WHERE data_key = ?1)
             OR EXISTS (SELECT 1 FROM revocation_items
                        WHERE data_key = ?1 OR probe_data_key = ?1)",
    )?;
    if query.query_row([id.0], |row| row.get(0))? {
        return Ok(false);
    }
    let removed = conn.prepare_cached("DELETE FROM data_keys WHERE id = ?")?.execute([id.0])? == 1;
    if removed {
        append(conn, events)?;
    }
    Ok(removed)
}

/// Clients as they were read last, each with the text that it was read from: every token that isn't
/// cached needs its client, and reading one whole costs as much as the grant.
#[derive(Default)]
pub(super) struct Parsed(Mutex<BTreeMap<ClientId, (String, ClientRow)>>);

impl Parsed {
    /// One client, as it is now. The text has times and revision in it, so an equal text means
    /// equal secrets too.
    pub(super) fn client(
        &self,
        conn: &Connection,
        id: &ClientId,
    ) -> Result<Option<ClientRow>, Failure> {
        let mut query = conn.prepare_cached("SELECT body FROM clients WHERE id = ?")?;
        let mut rows = query.query([id.as_str()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let body = row.get_ref(0)?.as_str()?;
        if let Some((_, client)) = self.lock().get(id).filter(|(text, _)| text == body) {
            return Ok(Some(client.clone()));
        }
        let client = opened(conn, body)?;
        let mut parsed = self.lock();
        if parsed.len() >= PARSED_MAX {
            parsed.clear();
        }
        parsed.insert(id.clone(), (body.to_owned(), client.clone()));
        Ok(Some(client))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClientId, (String, ClientRow)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn clients(conn: &Connection) -> Result<Vec<ClientRow>, Failure> {
    let mut query = conn.prepare_cached("SELECT body FROM clients ORDER BY id")?;
    let bodies = query.query_map([], |row| row.get::<_, String>(0))?;
    bodies.map(|body| opened(conn, &body?)).collect()
}

pub(super) fn is_there(conn: &Connection, id: &ClientId) -> Result<bool, Failure> {
    let mut query = conn.prepare_cached("SELECT 1 FROM clients WHERE id = ?")?;
    Ok(query.exists([id.as_str()])?)
}

pub(super) fn add_client(
    conn: &Connection,
    row: &ClientRow,
    events: &[Event],
) -> Result<bool, Failure> {
    if is_there(conn, &row.id)? {
        return Ok(false);
    }
    put(conn, row)?;
    append(conn, events)?;
    Ok(true)
}

pub(super) fn update_client(
    conn: &Connection,
    row: &ClientRow,
    events: &[Event],
) -> Result<bool, Failure> {
    let mut query =
        conn.prepare_cached("SELECT 1 FROM clients WHERE id = ? AND revision + 1 = ?")?;
    if !query.exists(params![row.id.as_str(), row.revision])? {
        return Ok(false);
    }
    put(conn, row)?;
    append(conn, events)?;
    Ok(true)
}

pub(super) fn remove_client(
    conn: &Connection,
    id: &ClientId,
    events: &[Event],
) -> Result<Option<u64>, Failure> {
    let id = id.as_str();
    let mut count = conn.prepare_cached("SELECT count(*) FROM connections WHERE client = ?")?;
    let users: u64 = count.query_row([id], |row| row.get(0))?;
    if users > 0 {
        return Ok(Some(users));
    }
    if conn.prepare_cached("DELETE FROM clients WHERE id = ?")?.execute([id])? == 1 {
        conn.prepare_cached("DELETE FROM client_secrets WHERE client = ?")?.execute([id])?;
        conn.prepare_cached("DELETE FROM flows WHERE client = ?")?.execute([id])?;
        append(conn, events)?;
    }
    Ok(None)
}

fn put(conn: &Connection, row: &ClientRow) -> Result<(), Failure> {
    let id = row.id.as_str();
    let mut body = row.clone();
    conn.prepare_cached("DELETE FROM client_secrets WHERE client = ?")?.execute([id])?;
    let mut insert = conn.prepare_cached(
        "INSERT INTO client_secrets (client, n, data_key, sealed) VALUES (?, ?, ?, ?)",
    )?;
    for secret in &mut body.secrets {
        if let Some(sealed) = &mut secret.sealed {
            insert.execute(params![id, secret.n, sealed.key.0, sealed.bytes])?;
            sealed.bytes.clear();
        }
    }
    let mut put = conn
        .prepare_cached("INSERT OR REPLACE INTO clients (id, revision, body) VALUES (?, ?, ?)")?;
    put.execute(params![id, row.revision, serde_json::to_string(&body)?])?;
    Ok(())
}

fn opened(conn: &Connection, body: &str) -> Result<ClientRow, Failure> {
    let mut row: ClientRow = serde_json::from_str(body)?;
    let mut query = conn
        .prepare_cached("SELECT data_key, sealed FROM client_secrets WHERE client = ? AND n = ?")?;
    for secret in row.secrets.iter_mut().filter(|secret| secret.sealed.is_some()) {
        let kept = query.query_row(params![row.id.as_str(), secret.n], |row| sealed(row, 0));
        secret.sealed = Some(kept?);
    }
    Ok(row)
}

/// Sealed bytes from the columns `data_key`, `sealed` at `first`.
pub(super) fn sealed(row: &Row<'_>, first: usize) -> Result<Sealed, rusqlite::Error> {
    Ok(Sealed { key: KeyId(row.get(first)?), bytes: row.get(first + 1)? })
}

/// Clients kept in memory at most; beyond it they are read anew.
const PARSED_MAX: usize = 1_000;
