//! The wide half of a grant: sealed tokens, and what is known of them without opening them.
//!
//! What would surprise: plain facts are columns and not JSON, since this row is read for every
//! token that isn't at hand, and text is slow to read. A state with nothing in it is NULL.

use std::collections::{BTreeMap, BTreeSet};

use indicia_broker::model::{Account, GrantRow, GrantState, TokenFacts};
use indicia_broker::ports::{NewTokens, REPLACED_BYTES};
use indicia_broker::vault::{Fingerprint, Sealed};
use indicia_catalog::Flow;
use indicia_oauth::{Expiry, Timestamp};
use rusqlite::{Connection, Row, ToSql, params, params_from_iter};

use super::clients::sealed;
use super::failure::Failure;
use crate::FINGERPRINT_VERSIONS_MAX;

pub(super) struct TokenSet {
    pub(super) tokens: Sealed,
    pub(super) flow: Flow,
    pub(super) created_at: Timestamp,
    pub(super) inputs: BTreeMap<String, String>,
    pub(super) account: Option<Account>,
    pub(super) asked: Vec<String>,
    pub(super) facts: TokenFacts,
    pub(super) state: GrantState,
}

/// What [`read`] reads, of `token_sets` as `t`.
macro_rules! token_set_columns {
    () => {
        "t.data_key, t.sealed, t.flow, t.created_at, t.inputs, t.account_name, t.asked, t.expiry, \
         t.expires_at, t.obtained_at, t.granted, t.access, t.refresh, t.refresh_since, \
         t.refresh_expires_at, t.rotated, t.rejected, t.secret_n, t.state"
    };
}
pub(super) use token_set_columns;

/// Reads the columns of a token set from the `first` on; the account's id stands in the narrow row.
pub(super) fn read(
    row: &Row<'_>,
    first: usize,
    account_id: Option<String>,
) -> Result<TokenSet, Failure> {
    let n = |column: usize| first + column;
    let name: Option<String> = row.get(n(5))?;
    let facts = TokenFacts {
        expiry: match row.get_ref(n(7))?.as_str()? {
            "at" => Expiry::At(Timestamp::from_millis(row.get(n(8))?)),
            "never" => Expiry::Never,
            _ => Expiry::Unknown,
        },
        obtained_at: Timestamp::from_millis(row.get(n(9))?),
        granted: match row.get_ref(n(10))?.as_str_or_null()? {
            None => None,
            Some(text) => Some(serde_json::from_str(text)?),
        },
        access: Fingerprint::from_bytes(row.get(n(11))?),
        refresh: row.get::<_, Option<[u8; 32]>>(n(12))?.map(Fingerprint::from_bytes),
        refresh_since: row.get::<_, Option<i64>>(n(13))?.map(Timestamp::from_millis),
        refresh_expires_at: row.get::<_, Option<i64>>(n(14))?.map(Timestamp::from_millis),
        rotated: row.get(n(15))?,
        rejected: row.get(n(16))?,
    };
    Ok(TokenSet {
        tokens: sealed(row, n(0))?,
        flow: flow_of(row.get_ref(n(2))?.as_str()?)?,
        created_at: Timestamp::from_millis(row.get(n(3))?),
        inputs: serde_json::from_str(row.get_ref(n(4))?.as_str()?)?,
        account: account_id.map(|id| Account { id, name }),
        asked: serde_json::from_str(row.get_ref(n(6))?.as_str()?)?,
        facts,
        state: match row.get_ref(n(18))?.as_str_or_null()? {
            None => GrantState { secret_n: row.get(n(17))?, ..GrantState::alive() },
            Some(text) => serde_json::from_str(text)?,
        },
    })
}

/// Writes the wide half of a new grant.
pub(super) fn put(conn: &Connection, no: i64, row: &GrantRow) -> Result<(), Failure> {
    let changing = Changing {
        tokens: &row.tokens,
        inputs: &row.inputs,
        account: row.account.as_ref(),
        facts: &row.facts,
        state: &row.state,
    };
    let sql = "INSERT INTO token_sets
           (data_key, sealed, inputs, account_name, expiry, expires_at, obtained_at, granted, access,
            refresh, refresh_since, refresh_expires_at, rotated, rejected, secret_n, state,
            flow, created_at, asked, no, history)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, x'')";
    let asked = serde_json::to_string(&row.asked)?;
    let created_at = row.created_at.as_millis();
    changing.write(conn, sql, &[&flow_text(row.flow), &created_at, &asked, &no])
}

/// Writes a token set in place of what is there, whose fingerprints are remembered.
pub(super) fn replace(conn: &Connection, no: i64, new: &NewTokens) -> Result<(), Failure> {
    let mut before =
        conn.prepare_cached("SELECT access, refresh, history FROM token_sets WHERE no = ?")?;
    let history = before.query_row([no], |row| {
        let access = Fingerprint::from_bytes(row.get(0)?);
        let refresh = row.get::<_, Option<[u8; 32]>>(1)?.map(Fingerprint::from_bytes);
        let replaced = refresh.filter(|_| refresh != new.facts.refresh);
        let mut history: Vec<u8> = short(&access).to_vec();
        history.extend(replaced.iter().flat_map(short));
        history.extend(row.get_ref(2)?.as_blob()?);
        history.truncate(HISTORY_BYTES_MAX);
        Ok(history)
    })?;
    let changing = Changing {
        tokens: &new.tokens,
        inputs: &new.inputs,
        account: new.account.as_ref(),
        facts: &new.facts,
        state: &new.state,
    };
    let sql = "UPDATE token_sets SET data_key = ?, sealed = ?, inputs = ?, account_name = ?,
           expiry = ?, expires_at = ?, obtained_at = ?, granted = ?, access = ?, refresh = ?,
           refresh_since = ?, refresh_expires_at = ?, rotated = ?, rejected = ?, secret_n = ?,
           state = ?, asked = coalesce(?, asked), history = ?
         WHERE no = ?";
    let asked = new.asked.as_ref().map(serde_json::to_string).transpose()?;
    changing.write(conn, sql, &[&asked, &history, &no])
}

pub(super) fn replaced_tokens(
    conn: &Connection,
) -> Result<BTreeSet<[u8; REPLACED_BYTES]>, Failure> {
    let mut query = conn.prepare("SELECT history FROM token_sets WHERE length(history) > 0")?;
    let mut rows = query.query([])?;
    let mut found = BTreeSet::new();
    while let Some(row) = rows.next()? {
        found.extend(row.get_ref(0)?.as_blob()?.as_chunks().0);
    }
    Ok(found)
}

/// What is kept of a fingerprint that was replaced: enough to tell any two apart.
pub(super) fn short(fingerprint: &Fingerprint) -> [u8; REPLACED_BYTES] {
    let mut short = [0; REPLACED_BYTES];
    short.copy_from_slice(&fingerprint.as_bytes()[..REPLACED_BYTES]);
    short
}

/// Two tokens of each version before the one that is there.
const HISTORY_BYTES_MAX: usize = 2 * REPLACED_BYTES * (FINGERPRINT_VERSIONS_MAX - 1);

/// What each token set brings anew.
struct Changing<'a> {
    tokens: &'a Sealed,
    inputs: &'a BTreeMap<String, String>,
    account: Option<&'a Account>,
    facts: &'a TokenFacts,
    state: &'a GrantState,
}

impl Changing<'_> {
    /// Runs `sql` with these sixteen columns first, then `rest`.
    fn write(&self, conn: &Connection, sql: &str, rest: &[&dyn ToSql]) -> Result<(), Failure> {
        let facts = self.facts;
        let (expiry, expires_at) = match facts.expiry {
            Expiry::At(at) => ("at", Some(at.as_millis())),
            Expiry::Never => ("never", None),
            Expiry::Unknown => ("unknown", None),
        };
        let mut statement = conn.prepare_cached(sql)?;
        let first: &[&dyn ToSql] = params![
            self.tokens.key.0,
            self.tokens.bytes,
            serde_json::to_string(self.inputs)?,
            self.account.and_then(|account| account.name.as_deref()),
            expiry,
            expires_at,
            facts.obtained_at.as_millis(),
            facts.granted.as_ref().map(serde_json::to_string).transpose()?,
            facts.access.as_bytes(),
            facts.refresh.as_ref().map(Fingerprint::as_bytes),
            facts.refresh_since.map(Timestamp::as_millis),
            facts.refresh_expires_at.map(Timestamp::as_millis),
            facts.rotated,
            facts.rejected,
            self.state.secret_n,
            state_text(self.state)?,
        ];
        statement.execute(params_from_iter(first.iter().chain(rest)))?;
        Ok(())
    }
}

pub(super) fn set_state(conn: &Connection, no: i64, state: &GrantState) -> Result<(), Failure> {
    conn.prepare_cached("UPDATE token_sets SET secret_n = ?, state = ? WHERE no = ?")?
        .execute(params![state.secret_n, state_text(state)?, no])?;
    Ok(())
}

fn state_text(state: &GrantState) -> Result<Option<String>, Failure> {
    let quiet = GrantState { secret_n: state.secret_n, ..GrantState::alive() };
    match *state == quiet {
        true => Ok(None),
        false => Ok(Some(serde_json::to_string(state)?)),
    }
}

fn flow_text(flow: Flow) -> &'static str {
    match flow {
        Flow::AuthorizationCode => "authorization-code",
        Flow::ClientCredentials => "client-credentials",
        Flow::Implicit => "implicit",
        Flow::Device => "device",
        Flow::Import => "import",
        Flow::ApiKey => "api-key",
    }
}

fn flow_of(text: &str) -> Result<Flow, Failure> {
    match text {
        "authorization-code" => Ok(Flow::AuthorizationCode),
        "client-credentials" => Ok(Flow::ClientCredentials),
        "implicit" => Ok(Flow::Implicit),
        "device" => Ok(Flow::Device),
        "import" => Ok(Flow::Import),
        "api-key" => Ok(Flow::ApiKey),
        other => Err(Failure::Damaged(format!("no flow is named {other}"))),
    }
}
