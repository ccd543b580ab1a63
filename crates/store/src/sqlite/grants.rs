//! Grants in SQLite: one narrow row with all that changes at a claim, one wide row with the sealed
//! tokens and what is known of them.
//!
//! What would surprise: a fingerprint is kept in a slot that its version tells (a ring), so that a
//! grant's history stays small without anybody sweeping it. One that didn't change isn't written
//! again, so what is in use is never overwritten.

use std::collections::BTreeMap;

use indicia_broker::model::{
    Account, ClientId, GrantId, GrantRow, GrantState, HolderId, IdError, Intent, JournalId, Lease,
    Life, RotationOwner,
};
use indicia_broker::ports::NewTokens;
use indicia_broker::vault::Fingerprint;
use indicia_catalog::Flow;
use indicia_oauth::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::clients::sealed;
use super::failure::Failure;
use crate::FINGERPRINT_VERSIONS_MAX;

/// A grant with what its row doesn't show.
pub(super) struct Held {
    pub(super) no: i64,
    /// How often it was claimed.
    pub(super) claims: u64,
    pub(super) row: GrantRow,
}

/// What [`read`] reads, of `grants` as `g` and `token_sets` as `t`, from the first column on.
pub(super) const GRANT_COLUMNS: &str = "g.no, g.id, g.client, g.rotation_owner, g.version, \
    g.next_at, g.lease_no, g.lease_holder, g.lease_until, g.intent_at, g.intent_version, \
    g.intent_fingerprint, g.intent_journal, g.intent_lease_no, g.intent_sends, \
    t.data_key, t.sealed, t.facts, t.state, t.rest";
pub(super) const GRANT_COLUMNS_COUNT: usize = 20;

/// What seldom changes.
#[derive(Serialize, Deserialize)]
struct Rest {
    flow: Flow,
    inputs: BTreeMap<String, String>,
    account: Option<Account>,
    asked: Vec<String>,
    created_at: Timestamp,
}

pub(super) fn grant(conn: &Connection, id: &GrantId) -> Result<Option<Held>, Failure> {
    one(conn, "g.id = ?", id.as_str())
}

fn one(conn: &Connection, condition: &str, value: &str) -> Result<Option<Held>, Failure> {
    let mut query = conn.prepare_cached(&select(condition))?;
    let mut rows = query.query([value])?;
    rows.next()?.map(read).transpose()
}

pub(super) fn grant_of_account(
    conn: &Connection,
    client: &ClientId,
    account_id: &str,
) -> Result<Option<GrantRow>, Failure> {
    let mut query = conn.prepare_cached(&select(
        "g.client = ? AND g.account_id = ? AND g.life = 'alive' ORDER BY g.id LIMIT 1",
    ))?;
    let mut rows = query.query([client.as_str(), account_id])?;
    rows.next()?.map(|row| Ok(read(row)?.row)).transpose()
}

pub(super) fn grants_by_fingerprint(
    conn: &Connection,
    fingerprint: &Fingerprint,
) -> Result<Vec<GrantRow>, Failure> {
    let mut query = conn.prepare_cached(&select(
        "g.no IN (SELECT grant_no FROM token_fingerprints WHERE fingerprint = ?) ORDER BY g.id",
    ))?;
    let mut rows = query.query([&short(fingerprint)[..]])?;
    let mut found = vec![];
    while let Some(row) = rows.next()? {
        found.push(read(row)?.row);
    }
    Ok(found)
}

pub(super) fn number_of(conn: &Connection, id: &GrantId) -> Result<Option<i64>, Failure> {
    let mut query = conn.prepare_cached("SELECT no FROM grants WHERE id = ?")?;
    Ok(query.query_row([id.as_str()], |row| row.get(0)).optional()?)
}

fn select(condition: &str) -> String {
    format!(
        "SELECT {GRANT_COLUMNS} FROM grants g JOIN token_sets t ON t.no = g.no WHERE {condition}"
    )
}

pub(super) fn read(row: &Row<'_>) -> Result<Held, Failure> {
    let claims = row.get(6)?;
    let rest: Rest = serde_json::from_str(row.get_ref(19)?.as_str()?)?;
    let next_at: Option<i64> = row.get(5)?;
    let grant = GrantRow {
        id: id(row.get_ref(1)?.as_str()?, GrantId::new)?,
        client: id(row.get_ref(2)?.as_str()?, ClientId::new)?,
        flow: rest.flow,
        inputs: rest.inputs,
        account: rest.account,
        asked: rest.asked,
        rotation_owner: match row.get_ref(3)?.as_str()? {
            "other" => RotationOwner::Other,
            _ => RotationOwner::Indicia,
        },
        created_at: rest.created_at,
        version: row.get(4)?,
        tokens: sealed(row, 15)?,
        facts: serde_json::from_str(row.get_ref(17)?.as_str()?)?,
        state: serde_json::from_str(row.get_ref(18)?.as_str()?)?,
        next_at: next_at.map(Timestamp::from_millis),
        lease: lease(row, claims)?,
        intent: intent(row)?,
    };
    Ok(Held { no: row.get(0)?, claims, row: grant })
}

fn lease(row: &Row<'_>, no: u64) -> Result<Option<Lease>, Failure> {
    match row.get_ref(7)?.as_str_or_null()? {
        None => Ok(None),
        Some(holder) => {
            Ok(Some(Lease { holder: id(holder, HolderId::new)?, no, until_boot_ms: row.get(8)? }))
        }
    }
}

fn intent(row: &Row<'_>) -> Result<Option<Intent>, Failure> {
    let Some(at) = row.get::<_, Option<i64>>(9)? else {
        return Ok(None);
    };
    Ok(Some(Intent {
        version: row.get(10)?,
        fingerprint: Fingerprint::from_bytes(row.get(11)?),
        journal: id(row.get_ref(12)?.as_str()?, JournalId::new)?,
        lease_no: row.get(13)?,
        at: Timestamp::from_millis(at),
        sends: row.get(14)?,
    }))
}

/// Adds a grant; its number.
pub(super) fn add(conn: &Connection, row: &GrantRow) -> Result<i64, Failure> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO grants (id, client, account_id, life, rotation_owner, version, next_at,
           lease_no, lease_holder, lease_until)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let lease = row.lease.as_ref();
    let no = insert.insert(params![
        row.id.as_str(),
        row.client.as_str(),
        account_id(row),
        life_text(row.state.life),
        match row.rotation_owner {
            RotationOwner::Indicia => "indicia",
            RotationOwner::Other => "other",
        },
        row.version,
        row.next_at.map(Timestamp::as_millis),
        lease.map_or(0, |lease| lease.no),
        lease.map(|lease| lease.holder.as_str()),
        lease.map(|lease| lease.until_boot_ms),
    ])?;
    if let Some(intent) = &row.intent {
        set_intent(conn, no, intent)?;
    }
    let mut insert = conn.prepare_cached(
        "INSERT INTO token_sets (no, data_key, sealed, facts, state, rest)
         VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    insert.execute(params![
        no,
        row.tokens.key.0,
        row.tokens.bytes,
        serde_json::to_string(&row.facts)?,
        serde_json::to_string(&row.state)?,
        rest_text(row)?,
    ])?;
    remember_fingerprints(conn, no, row, None)?;
    Ok(no)
}

/// Replaces the token set of a grant in place; the intent ends, the lease if told so.
pub(super) fn take_tokens(
    conn: &Connection,
    held: &mut Held,
    new: NewTokens,
    end_lease: EndLease,
) -> Result<(), Failure> {
    let row = &mut held.row;
    let refresh_before = row.facts.refresh;
    row.version = new.version;
    row.tokens = new.tokens;
    row.facts = new.facts;
    row.state = new.state;
    row.next_at = new.next_at;
    row.inputs = new.inputs;
    row.account = new.account;
    row.asked = new.asked.unwrap_or_else(|| std::mem::take(&mut row.asked));
    row.intent = None;
    if end_lease == EndLease::Yes {
        row.lease = None;
    }
    let mut update = conn.prepare_cached(
        "UPDATE grants SET version = ?, account_id = ?, life = ?, next_at = ?,
           lease_holder = ?, lease_until = ?, intent_at = NULL, intent_version = NULL,
           intent_fingerprint = NULL, intent_journal = NULL, intent_lease_no = NULL,
           intent_sends = NULL
         WHERE no = ?",
    )?;
    update.execute(params![
        row.version,
        account_id(row),
        life_text(row.state.life),
        row.next_at.map(Timestamp::as_millis),
        row.lease.as_ref().map(|lease| lease.holder.as_str()),
        row.lease.as_ref().map(|lease| lease.until_boot_ms),
        held.no,
    ])?;
    let mut update = conn.prepare_cached(
        "UPDATE token_sets SET data_key = ?, sealed = ?, facts = ?, state = ?, rest = ?
         WHERE no = ?",
    )?;
    update.execute(params![
        row.tokens.key.0,
        row.tokens.bytes,
        serde_json::to_string(&row.facts)?,
        serde_json::to_string(&row.state)?,
        rest_text(row)?,
        held.no,
    ])?;
    remember_fingerprints(conn, held.no, row, refresh_before)
}

/// Whether a commit ends the lease.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum EndLease {
    Yes,
    No,
}

pub(super) fn set_intent(conn: &Connection, no: i64, intent: &Intent) -> Result<(), Failure> {
    let mut update = conn.prepare_cached(
        "UPDATE grants SET intent_at = ?, intent_version = ?, intent_fingerprint = ?,
           intent_journal = ?, intent_lease_no = ?, intent_sends = ?
         WHERE no = ?",
    )?;
    update.execute(params![
        intent.at.as_millis(),
        intent.version,
        intent.fingerprint.as_bytes(),
        intent.journal.as_str(),
        intent.lease_no,
        intent.sends,
        no,
    ])?;
    Ok(())
}

pub(super) fn set_state(conn: &Connection, no: i64, state: &GrantState) -> Result<(), Failure> {
    conn.prepare_cached("UPDATE grants SET life = ? WHERE no = ?")?
        .execute(params![life_text(state.life), no])?;
    conn.prepare_cached("UPDATE token_sets SET state = ? WHERE no = ?")?
        .execute(params![serde_json::to_string(state)?, no])?;
    Ok(())
}

pub(super) fn mark_revoked(
    conn: &Connection,
    id: &GrantId,
    off: &GrantState,
) -> Result<(), Failure> {
    let Some(held) = grant(conn, id)? else {
        return Ok(());
    };
    let state = GrantState { life: off.life, reason: off.reason.clone(), ..held.row.state };
    conn.prepare_cached("UPDATE grants SET next_at = NULL WHERE no = ?")?.execute([held.no])?;
    set_state(conn, held.no, &state)
}

pub(super) fn remove(conn: &Connection, no: i64) -> Result<(), Failure> {
    conn.prepare_cached("DELETE FROM grants WHERE no = ?")?.execute([no])?;
    conn.prepare_cached("DELETE FROM token_sets WHERE no = ?")?.execute([no])?;
    conn.prepare_cached("DELETE FROM token_fingerprints WHERE grant_no = ?")?.execute([no])?;
    Ok(())
}

fn remember_fingerprints(
    conn: &Connection,
    no: i64,
    row: &GrantRow,
    refresh_before: Option<Fingerprint>,
) -> Result<(), Failure> {
    let mut put = conn.prepare_cached(
        "INSERT OR REPLACE INTO token_fingerprints (grant_no, slot, fingerprint) VALUES (?, ?, ?)",
    )?;
    let slot = 2 * (row.version % FINGERPRINT_VERSIONS_MAX);
    put.execute(params![no, slot, &short(&row.facts.access)[..]])?;
    match row.facts.refresh {
        Some(refresh) if row.facts.refresh != refresh_before => {
            put.execute(params![no, slot + 1, &short(&refresh)[..]])?;
        }
        Some(_) | None => (),
    }
    Ok(())
}

/// Enough to tell any two apart.
fn short(fingerprint: &Fingerprint) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&fingerprint.as_bytes()[..16]);
    short
}

fn rest_text(row: &GrantRow) -> Result<String, Failure> {
    Ok(serde_json::to_string(&Rest {
        flow: row.flow,
        inputs: row.inputs.clone(),
        account: row.account.clone(),
        asked: row.asked.clone(),
        created_at: row.created_at,
    })?)
}

fn account_id(row: &GrantRow) -> Option<&str> {
    row.account.as_ref().map(|account| account.id.as_str())
}

pub(super) fn life_text(life: Life) -> &'static str {
    match life {
        Life::Alive => "alive",
        Life::Dead => "dead",
        Life::Revoked => "revoked",
    }
}

/// An id that was checked when it was stored.
pub(super) fn id<T>(text: &str, new: fn(&str) -> Result<T, IdError>) -> Result<T, Failure> {
    new(text).map_err(|error| Failure::Damaged(error.to_string()))
}
