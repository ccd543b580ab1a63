//! Grants in SQLite: one narrow row with all that changes at a claim, one wide row with the sealed
//! tokens and what is known of them.
//!
//! What would surprise: of replaced tokens only a piece of each fingerprint is kept, in the wide
//! row; to find whose a leaked one was, all rows are walked.

use indicia_broker::model::{
    ClientId, GrantId, GrantRow, GrantState, HolderId, IdError, Intent, JournalId, Lease, Life,
    RotationOwner,
};
use indicia_broker::ports::NewTokens;
use indicia_broker::vault::{Fingerprint, KeyId, Sealed};
use indicia_oauth::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::failure::Failure;
use super::token_sets::{self, short};

/// A grant with what its row doesn't show.
pub(super) struct Held {
    pub(super) no: i64,
    pub(super) row: GrantRow,
}

/// A query for what [`read`] reads, with grants as `g`; more columns and tables may follow.
macro_rules! select_grants {
    ($columns:literal, $rest:literal) => {
        concat!(
            "SELECT g.no, g.id, g.client, g.account_id, g.rotation_owner, g.version, g.next_at, \
             g.lease_no, g.lease_holder, g.lease_until, g.intent_at, g.intent_version, \
             g.intent_fingerprint, g.intent_journal, g.intent_lease_no, g.intent_sends, \
             g.intent_boot_ms, ",
            $crate::sqlite::token_sets::token_set_columns!(),
            $columns,
            " FROM grants g JOIN token_sets t ON t.no = g.no ",
            $rest
        )
    };
}
pub(super) use select_grants;

/// Where more columns begin.
pub(super) const GRANT_COLUMNS_COUNT: usize = TOKEN_SET_FIRST + 19;
const TOKEN_SET_FIRST: usize = 17;

pub(super) fn grant(conn: &Connection, id: &GrantId) -> Result<Option<Held>, Failure> {
    let mut query = conn.prepare_cached(select_grants!("", "WHERE g.id = ?"))?;
    let mut rows = query.query([id.as_str()])?;
    rows.next()?.map(read).transpose()
}

pub(super) fn grant_of_account(
    conn: &Connection,
    client: &ClientId,
    account_id: &str,
) -> Result<Option<GrantRow>, Failure> {
    let mut query = conn.prepare_cached(select_grants!(
        "",
        "WHERE g.client = ? AND g.account_id = ? AND g.life = 'alive' ORDER BY g.id LIMIT 1"
    ))?;
    let mut rows = query.query([client.as_str(), account_id])?;
    rows.next()?.map(|row| Ok(read(row)?.row)).transpose()
}

pub(super) fn grants_by_fingerprint(
    conn: &Connection,
    fingerprint: &Fingerprint,
) -> Result<Vec<GrantRow>, Failure> {
    let mut query = conn.prepare_cached(select_grants!(
        "",
        "WHERE t.access = ?1 OR t.refresh = ?1 OR instr(t.history, ?2) % 8 = 1 ORDER BY g.id"
    ))?;
    let mut rows = query.query(params![fingerprint.as_bytes(), short(fingerprint)])?;
    let mut found = vec![];
    while let Some(row) = rows.next()? {
        found.push(read(row)?.row);
    }
    Ok(found)
}

pub(super) fn grant_of_refresh_token(
    conn: &Connection,
    client: &ClientId,
    refresh: &Fingerprint,
) -> Result<Option<GrantRow>, Failure> {
    let mut query = conn.prepare_cached(OF_REFRESH_TOKEN)?;
    let mut rows = query.query(params![refresh.as_bytes(), client.as_str()])?;
    rows.next()?.map(|row| Ok(read(row)?.row)).transpose()
}

pub(super) const OF_REFRESH_TOKEN: &str = select_grants!(
    "",
    "WHERE substr(t.refresh, 1, 8) = substr(?1, 1, 8) AND t.refresh = ?1 AND NOT t.rotated
       AND g.client = ?2 AND g.life <> 'revoked'
     ORDER BY g.id LIMIT 1"
);

pub(super) fn sealed_before(
    conn: &Connection,
    key: KeyId,
    after: Option<&GrantId>,
    limit: usize,
) -> Result<Vec<GrantRow>, Failure> {
    let mut query = conn.prepare_cached(select_grants!(
        "",
        "WHERE g.id > ? AND t.data_key < ? ORDER BY g.id LIMIT ?"
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = query.query(params![after.map_or("", GrantId::as_str), key.0, limit])?;
    let mut found = vec![];
    while let Some(row) = rows.next()? {
        found.push(read(row)?.row);
    }
    Ok(found)
}

pub(super) fn reseal(conn: &Connection, sealed: &[(GrantId, u64, Sealed)]) -> Result<u64, Failure> {
    let mut update = conn.prepare_cached(
        "UPDATE token_sets SET data_key = ?1, sealed = ?2
         WHERE no = (SELECT no FROM grants WHERE id = ?3 AND version = ?4) AND data_key < ?1",
    )?;
    let mut done = 0;
    for (id, version, sealed) in sealed {
        done += update.execute(params![sealed.key.0, sealed.bytes, id.as_str(), version])?;
    }
    Ok(done as u64)
}

pub(super) fn has_had(
    conn: &Connection,
    id: &GrantId,
    fingerprint: &Fingerprint,
) -> Result<bool, Failure> {
    let mut query = conn.prepare_cached(
        "SELECT 1 FROM grants g JOIN token_sets t ON t.no = g.no
         WHERE g.id = ?3 AND (t.access = ?1 OR t.refresh = ?1 OR instr(t.history, ?2) % 8 = 1)",
    )?;
    Ok(query.exists(params![fingerprint.as_bytes(), short(fingerprint), id.as_str()])?)
}

pub(super) fn number_of(conn: &Connection, id: &GrantId) -> Result<Option<i64>, Failure> {
    let mut query = conn.prepare_cached("SELECT no FROM grants WHERE id = ?")?;
    Ok(query.query_row([id.as_str()], |row| row.get(0)).optional()?)
}

pub(super) fn read(row: &Row<'_>) -> Result<Held, Failure> {
    let set = token_sets::read(row, TOKEN_SET_FIRST, row.get(3)?)?;
    let next_at: Option<i64> = row.get(6)?;
    let grant = GrantRow {
        id: id(row.get_ref(1)?.as_str()?, GrantId::new)?,
        client: id(row.get_ref(2)?.as_str()?, ClientId::new)?,
        flow: set.flow,
        inputs: set.inputs,
        account: set.account,
        asked: set.asked,
        rotation_owner: match row.get_ref(4)?.as_str()? {
            "other" => RotationOwner::Other,
            _ => RotationOwner::Indicia,
        },
        created_at: set.created_at,
        version: row.get(5)?,
        tokens: set.tokens,
        facts: set.facts,
        state: set.state,
        next_at: next_at.map(Timestamp::from_millis),
        lease: lease(row, row.get(7)?)?,
        intent: intent(row)?,
    };
    Ok(Held { no: row.get(0)?, row: grant })
}

fn lease(row: &Row<'_>, no: u64) -> Result<Option<Lease>, Failure> {
    match row.get_ref(8)?.as_str_or_null()? {
        None => Ok(None),
        Some(holder) => {
            Ok(Some(Lease { holder: id(holder, HolderId::new)?, no, until_boot_ms: row.get(9)? }))
        }
    }
}

fn intent(row: &Row<'_>) -> Result<Option<Intent>, Failure> {
    let Some(at) = row.get::<_, Option<i64>>(10)? else {
        return Ok(None);
    };
    Ok(Some(Intent {
        version: row.get(11)?,
        fingerprint: Fingerprint::from_bytes(row.get(12)?),
        journal: id(row.get_ref(13)?.as_str()?, JournalId::new)?,
        lease_no: row.get(14)?,
        at: Timestamp::from_millis(at),
        sends: row.get(15)?,
        begun_boot_ms: row.get::<_, Option<u64>>(16)?.unwrap_or(0),
    }))
}

/// Adds a grant; its number.
pub(super) fn add(conn: &Connection, row: &GrantRow, consent_no: u64) -> Result<i64, Failure> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO grants (id, client, account_id, life, rotation_owner, version, consent_no,
           next_at, lease_no, lease_holder, lease_until)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
        consent_no,
        row.next_at.map(Timestamp::as_millis),
        lease.map_or(0, |lease| lease.no),
        lease.map(|lease| lease.holder.as_str()),
        lease.map(|lease| lease.until_boot_ms),
    ])?;
    if let Some(intent) = &row.intent {
        set_intent(conn, no, intent)?;
    }
    token_sets::put(conn, no, row)?;
    Ok(no)
}

/// Replaces the token set of a grant in place; the intent ends, the lease if told so.
pub(super) fn take_tokens(
    conn: &Connection,
    no: i64,
    new: &NewTokens,
    consent_no: u64,
    end_lease: EndLease,
) -> Result<(), Failure> {
    let mut update = conn.prepare_cached(
        "UPDATE grants SET version = ?, consent_no = ?, account_id = ?, life = ?, next_at = ?,
           lease_holder = iif(?, NULL, lease_holder), lease_until = iif(?, NULL, lease_until),
           intent_at = NULL, intent_version = NULL, intent_fingerprint = NULL,
           intent_journal = NULL, intent_lease_no = NULL, intent_sends = NULL,
           intent_boot_ms = NULL
         WHERE no = ?",
    )?;
    let ends = end_lease == EndLease::Yes;
    update.execute(params![
        new.version,
        consent_no,
        new.account.as_ref().map(|account| account.id.as_str()),
        life_text(new.state.life),
        new.next_at.map(Timestamp::as_millis),
        ends,
        ends,
        no,
    ])?;
    token_sets::replace(conn, no, new)
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
           intent_journal = ?, intent_lease_no = ?, intent_sends = ?, intent_boot_ms = ?
         WHERE no = ?",
    )?;
    update.execute(params![
        intent.at.as_millis(),
        intent.version,
        intent.fingerprint.as_bytes(),
        intent.journal.as_str(),
        intent.lease_no,
        intent.sends,
        intent.begun_boot_ms,
        no,
    ])?;
    Ok(())
}

pub(super) fn set_state(conn: &Connection, no: i64, state: &GrantState) -> Result<(), Failure> {
    conn.prepare_cached("UPDATE grants SET life = ? WHERE no = ?")?
        .execute(params![life_text(state.life), no])?;
    token_sets::set_state(conn, no, state)
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
    Ok(())
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
