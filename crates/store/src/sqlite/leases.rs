//! Leases, intents, verdicts and commits in SQLite. All of these run on the writing thread, one
//! transaction at a time over all processes, so reading a row and then changing it is atomic.
//!
//! What would surprise: a claim looks at another process's lock file inside the transaction; it
//! costs microseconds, and only when somebody holds the lease.

use std::collections::BTreeMap;
use std::time::Duration;

use indicia_broker::model::{Event, GrantId, Intent};
use indicia_broker::ports::{CommitOutcome, NewTokens, Settlement};
use indicia_oauth::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::events::append;
use super::failure::Failure;
use super::flows;
use super::grants::{self, EndLease, grant, life_text, set_intent, set_state};
use super::holder::Holder;
use indicia_broker::model::Life;

/// The narrow half of a grant.
struct Hot {
    no: i64,
    version: u64,
    revoked: bool,
    consent_no: u64,
    lease_no: u64,
    lease: Option<(String, u64)>,
}

impl Hot {
    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        let holder: Option<String> = row.get(4)?;
        let until: Option<u64> = row.get(5)?;
        Ok(Self {
            no: row.get(0)?,
            consent_no: row.get(6)?,
            version: row.get(1)?,
            revoked: row.get_ref(2)?.as_str()? == life_text(Life::Revoked),
            lease_no: row.get(3)?,
            lease: holder.zip(until),
        })
    }

    /// Whether the lease is this claim's, ended or not.
    fn is_of(&self, lease_no: u64) -> bool {
        self.lease.is_some() && self.lease_no == lease_no
    }
}

fn hot(conn: &Connection, id: &GrantId) -> Result<Option<Hot>, Failure> {
    let mut query = conn.prepare_cached(
        "SELECT no, version, life, lease_no, lease_holder, lease_until, consent_no FROM grants
         WHERE id = ?",
    )?;
    Ok(query.query_row([id.as_str()], Hot::read).optional()?)
}

fn in_force(holder: &str, until_boot_ms: u64, us: &Holder, now_ms: u64) -> bool {
    until_boot_ms > now_ms && !us.is_dead(holder)
}

pub(super) fn claim(
    conn: &Connection,
    id: &GrantId,
    lease: Duration,
    us: &Holder,
    now_ms: u64,
) -> Result<Claimed, Failure> {
    // Before anybody sees the lease: whose lock nobody holds is dead.
    us.hold()?;
    let Some(hot) = hot(conn, id)? else {
        return Ok(Claimed::Missing);
    };
    if let Some((holder, until_boot_ms)) = &hot.lease
        && in_force(holder, *until_boot_ms, us, now_ms)
    {
        return Ok(Claimed::Busy { until_boot_ms: *until_boot_ms });
    }
    let lease_no = hot.lease_no + 1;
    let until_boot_ms = end_of(lease, now_ms);
    let mut update = conn.prepare_cached(
        "UPDATE grants SET lease_no = ?, lease_holder = ?, lease_until = ? WHERE no = ?",
    )?;
    update.execute(params![lease_no, us.id().as_str(), until_boot_ms, hot.no])?;
    Ok(Claimed::Ours { lease_no, until_boot_ms })
}

/// What a claim did; its row is read by who claimed, not by the one thread that writes.
pub(super) enum Claimed {
    Ours { lease_no: u64, until_boot_ms: u64 },
    Busy { until_boot_ms: u64 },
    Missing,
}

pub(super) fn renew(
    conn: &Connection,
    id: &GrantId,
    lease_no: u64,
    lease: Duration,
    us: &Holder,
    now_ms: u64,
) -> Result<Option<u64>, Failure> {
    let Some(hot) = hot(conn, id)?.filter(|hot| is_ours(hot, lease_no, us, now_ms)) else {
        return Ok(None);
    };
    let until_boot_ms = end_of(lease, now_ms);
    conn.prepare_cached("UPDATE grants SET lease_until = ? WHERE no = ?")?
        .execute(params![until_boot_ms, hot.no])?;
    Ok(Some(until_boot_ms))
}

pub(super) fn begin(
    conn: &Connection,
    id: &GrantId,
    intent: &Intent,
    us: &Holder,
    now_ms: u64,
) -> Result<bool, Failure> {
    let found = hot(conn, id)?
        .filter(|hot| is_ours(hot, intent.lease_no, us, now_ms))
        .filter(|hot| hot.version == intent.version && !hot.revoked);
    match found {
        None => Ok(false),
        Some(hot) => set_intent(conn, hot.no, intent).map(|()| true),
    }
}

fn is_ours(hot: &Hot, lease_no: u64, us: &Holder, now_ms: u64) -> bool {
    hot.lease_no == lease_no
        && hot.lease.as_ref().is_some_and(|(holder, until)| in_force(holder, *until, us, now_ms))
}

pub(super) fn commit(
    conn: &Connection,
    id: &GrantId,
    from_version: u64,
    lease_no: Option<u64>,
    new: &NewTokens,
    events: &[Event],
) -> Result<CommitOutcome, Failure> {
    if flows::is_revoked(conn, new.flow.as_deref())? {
        return Ok(CommitOutcome::FlowRevoked);
    }
    let Some(hot) = hot(conn, id)? else {
        return Ok(CommitOutcome::Missing);
    };
    if hot.revoked {
        return Ok(CommitOutcome::Revoked);
    }
    if hot.version != from_version {
        let row = grant(conn, id)?.map(|held| Box::new(held.row));
        return Ok(row.map_or(CommitOutcome::Missing, CommitOutcome::Superseded));
    }
    let flow = new.flow.as_deref();
    let Some(consent_no) = flows::consent_no(conn, flow, hot.consent_no)? else {
        return Ok(CommitOutcome::FlowEnded);
    };
    flows::end_flow(conn, new.flow.as_deref())?;
    let ours = lease_no.is_some_and(|no| hot.is_of(no));
    let end_lease = if ours { EndLease::Yes } else { EndLease::No };
    grants::take_tokens(conn, hot.no, new, consent_no, end_lease)?;
    append(conn, events)?;
    Ok(CommitOutcome::Done)
}

pub(super) fn settle(
    conn: &Connection,
    id: &GrantId,
    lease_no: u64,
    version: u64,
    change: &Settlement,
    events: &[Event],
) -> Result<bool, Failure> {
    let ours = |hot: &Hot| hot.is_of(lease_no) && hot.version == version;
    let Some(hot) = hot(conn, id)?.filter(ours) else {
        return Ok(false);
    };
    end_lease(conn, hot.no)?;
    if change.clear_intent {
        clear_intent(conn, hot.no)?;
    }
    if hot.revoked {
        // The verdict was found before the revocation: it must not bring the grant back.
        return Ok(false);
    }
    let next_at = change.next_at.map(Timestamp::as_millis);
    conn.prepare_cached("UPDATE grants SET next_at = ? WHERE no = ?")?
        .execute(params![next_at, hot.no])?;
    set_state(conn, hot.no, &change.state)?;
    if change.clear_rejected {
        set_rejected(conn, hot.no, false)?;
    }
    append(conn, events)?;
    Ok(true)
}

pub(super) fn reject(
    conn: &Connection,
    id: &GrantId,
    version: u64,
    now: Timestamp,
    events: &[Event],
) -> Result<bool, Failure> {
    let Some(held) = grant(conn, id)?.filter(|held| held.row.version == version) else {
        return Ok(false);
    };
    set_rejected(conn, held.no, true)?;
    if held.row.state.ambiguity.is_some() {
        let mut state = held.row.state;
        state.retry_at = None;
        set_state(conn, held.no, &state)?;
        conn.prepare_cached("UPDATE grants SET next_at = ? WHERE no = ?")?
            .execute(params![now.as_millis(), held.no])?;
    }
    append(conn, events)?;
    Ok(true)
}

/// Marks the access token as refused by the API, or as taken again.
fn set_rejected(conn: &Connection, no: i64, rejected: bool) -> Result<(), Failure> {
    conn.prepare_cached("UPDATE token_sets SET rejected = ? WHERE no = ?")?
        .execute(params![rejected, no])?;
    Ok(())
}

pub(super) fn release(conn: &Connection, id: &GrantId, lease_no: u64) -> Result<(), Failure> {
    match hot(conn, id)?.filter(|hot| hot.is_of(lease_no)) {
        None => Ok(()),
        Some(hot) => end_lease(conn, hot.no),
    }
}

fn end_lease(conn: &Connection, no: i64) -> Result<(), Failure> {
    let sql = "UPDATE grants SET lease_holder = NULL, lease_until = NULL WHERE no = ?";
    conn.prepare_cached(sql)?.execute([no])?;
    Ok(())
}

fn clear_intent(conn: &Connection, no: i64) -> Result<(), Failure> {
    let mut update = conn.prepare_cached(
        "UPDATE grants SET intent_at = NULL, intent_version = NULL, intent_fingerprint = NULL,
           intent_journal = NULL, intent_lease_no = NULL, intent_sends = NULL,
           intent_boot_ms = NULL
         WHERE no = ? AND intent_at IS NOT NULL",
    )?;
    update.execute([no])?;
    Ok(())
}

/// What is free comes from one index in order; what is leased, which is what is in work, is looked
/// at one by one for leases that have ended.
pub(super) fn due(
    conn: &Connection,
    now: Timestamp,
    limit: usize,
    us: &Holder,
    now_ms: u64,
) -> Result<Vec<GrantId>, Failure> {
    let mut found: Vec<(i64, String)> = vec![];
    let mut query = conn.prepare_cached(DUE_FREE)?;
    let free =
        query.query_map(params![now.as_millis(), limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for row in free {
        found.push(row?);
    }
    let mut alive: BTreeMap<String, bool> = BTreeMap::new();
    let mut query = conn.prepare_cached(DUE_LEASED)?;
    let mut leased = query.query([now.as_millis()])?;
    while let Some(row) = leased.next()? {
        let (holder, until): (String, u64) = (row.get(2)?, row.get(3)?);
        let alive = *alive.entry(holder).or_insert_with_key(|holder| !us.is_dead(holder));
        if until <= now_ms || !alive {
            found.push((row.get(0)?, row.get(1)?));
        }
    }
    found.sort();
    found.truncate(limit);
    found.iter().map(|(_, text)| grants::id(text, GrantId::new)).collect()
}

pub(super) fn open_intents(conn: &Connection, limit: usize) -> Result<Vec<GrantId>, Failure> {
    let mut query = conn.prepare_cached(OPEN_INTENTS)?;
    let ids = query.query_map([limit], |row| row.get::<_, String>(0))?;
    ids.map(|text| grants::id(&text?, GrantId::new)).collect()
}

fn end_of(lease: Duration, now_ms: u64) -> u64 {
    let millis = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    // SQLite's integers are signed.
    now_ms.saturating_add(millis).min(i64::MAX.unsigned_abs())
}

pub(super) const DUE_FREE: &str = "SELECT next_at, id FROM grants \
    WHERE lease_holder IS NULL AND next_at <= ? ORDER BY next_at, id LIMIT ?";
pub(super) const DUE_LEASED: &str = "SELECT next_at, id, lease_holder, lease_until FROM grants \
    WHERE lease_holder IS NOT NULL AND next_at <= ?";
pub(super) const OPEN_INTENTS: &str =
    "SELECT id FROM grants WHERE intent_at IS NOT NULL AND life <> 'revoked' ORDER BY id LIMIT ?";
