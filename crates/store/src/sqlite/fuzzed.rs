//! A store in memory with a row of each kind, whose columns can be set to anything: for the fuzzer,
//! and for nobody else. It may change at any time.
//!
//! What would surprise: its tables have the shipped columns without the rules of kinds and of NULL,
//! which a damaged file doesn't keep either.
#![expect(clippy::unwrap_used, reason = "rows of ours go into a store of ours")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use indicia_broker::model::{EventKind, GrantRow, HolderId, Lease, Life};
use indicia_broker::ports::{ConnectionFilter, StoreError};
use indicia_broker::vault::KeyId;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::clients::{self, Parsed};
use super::failure::Failure;
use super::schema::MIGRATIONS;
use super::{connections, events, flows, grants, leases, revocations, token_sets};
use crate::conformance::rows;

/// The store.
pub struct Rows {
    conn: Connection,
    /// Of each table the columns.
    columns: BTreeMap<String, BTreeSet<String>>,
}

/// What became of one kind of row.
pub struct Read {
    /// Which kind.
    pub what: &'static str,
    /// Whether a table that it is read from was changed.
    pub touched: bool,
    /// How many rows came, or why none.
    pub came: Result<usize, StoreError>,
}

impl Default for Rows {
    fn default() -> Self {
        let conn = Connection::open_in_memory().unwrap();
        for sql in MIGRATIONS {
            let lax = sql.replace(" IS NOT NULL", " NOTNULL").replace(" NOT NULL", "");
            let lax = lax.replace(") STRICT, WITHOUT", ") WITHOUT");
            conn.execute_batch(&lax.replace(") STRICT", ")")).unwrap();
        }
        fill(&conn).unwrap();
        conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        let mut columns: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let sql = "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c
                   WHERE t.type = 'table'";
        let mut query = conn.prepare(sql).unwrap();
        let found = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        for (table, column) in found.map(Result::unwrap) {
            columns.entry(table).or_default().insert(column);
        }
        drop(query);
        Self { conn, columns }
    }
}

fn fill(conn: &Connection) -> Result<(), Failure> {
    let state = rows::state(Life::Alive);
    let lease = Lease { holder: HolderId::new("holder").unwrap(), no: 1, until_boot_ms: 9 };
    let grant = GrantRow {
        state: state.clone(),
        lease: Some(lease),
        intent: Some(rows::intent("x", 1, 1)),
        ..rows::grant("x", "c")
    };
    let events = [rows::event(EventKind::Refreshed, "x")];
    clients::add_data_key(conn, &rows::data_key(1))?;
    clients::add_client(conn, &rows::client("c"), &events)?;
    flows::add_flow(conn, &rows::flow("state", "c"))?;
    connections::connect(conn, &rows::connection("x", "c", "x"), &grant, None, &events)?;
    let revocation = rows::revocation("r", "x", Some(rows::NOW));
    revocations::revoke(conn, &[], &state, &revocation, &events)
}

impl Rows {
    /// Sets columns and reads everything; then all is as before. A line is `table.column=`, a
    /// letter for the kind of value (`t` text, `i` integer, `r` real, `x` hex of a blob, `n` NULL)
    /// and the value; in it `\n` is a line break. Any other line is passed over.
    pub fn read_with(&self, changes: &str) -> Vec<Read> {
        self.conn.execute_batch("SAVEPOINT fuzzed").unwrap();
        let touched = changes.lines().filter_map(|line| self.change(line)).collect();
        let reads = READS.iter().map(|(what, tables, read)| Read {
            what,
            touched: tables.iter().any(|table| BTreeSet::contains(&touched, *table)),
            came: read(&self.conn).map_err(|failure| failure.told(Path::new("fuzzed.db"))),
        });
        let reads = reads.collect();
        self.conn.execute_batch("ROLLBACK TO fuzzed; RELEASE fuzzed").unwrap();
        reads
    }

    /// The table, where the line changed one.
    fn change<'a>(&self, line: &'a str) -> Option<&'a str> {
        let (place, value) = line.split_once('=')?;
        let (table, column) = place.split_once('.')?;
        self.columns.get(table)?.get(column)?;
        let sql = format!("UPDATE {table} SET {column} = ?");
        // What is unique can't be given twice, and so on: then it stays as it is.
        self.conn.prepare_cached(&sql).ok()?.execute([value_of(value)?]).ok()?;
        Some(table)
    }
}

fn value_of(said: &str) -> Option<Value> {
    let kind = said.chars().next()?;
    let text = &said[kind.len_utf8()..];
    Some(match kind {
        't' => Value::Text(text.replace("\\n", "\n")),
        'i' => Value::Integer(text.parse().ok()?),
        'r' => Value::Real(text.parse().ok()?),
        'x' => {
            let digits = text.as_bytes().chunks_exact(2);
            let byte = |two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok();
            Value::Blob(digits.map(byte).collect::<Option<_>>()?)
        }
        'n' => Value::Null,
        _ => return None,
    })
}

type ReadRows = fn(&Connection) -> Result<usize, Failure>;

/// Every way in which the port reads rows, and the tables that it looks into.
const READS: [(&str, &[&str], ReadRows); 17] = [
    ("data keys", &["data_keys"], |conn| Ok(clients::data_keys(conn)?.len())),
    ("a client", CLIENT, |conn| {
        Ok(Parsed::default().client(conn, &rows::client_id("c"))?.iter().len())
    }),
    ("clients", CLIENT, |conn| Ok(clients::clients(conn)?.len())),
    ("a grant", GRANT, |conn| Ok(grants::grant(conn, &rows::grant_id("x"))?.iter().len())),
    ("a grant by account", GRANT, |conn| {
        let found = grants::grant_of_account(conn, &rows::client_id("c"), "account of x")?;
        Ok(found.iter().len())
    }),
    ("a grant by token", GRANT, |conn| {
        let access = rows::fingerprint("x access 1");
        Ok(grants::grants_by_fingerprint(conn, &access)?.len())
    }),
    ("grants to seal anew", GRANT, |conn| {
        Ok(grants::sealed_before(conn, KeyId(u32::MAX), None, 9)?.len())
    }),
    ("replaced tokens", GRANT, |conn| Ok(token_sets::replaced_tokens(conn)?.len())),
    ("open intents", GRANT, |conn| Ok(leases::open_intents(conn, 9)?.len())),
    ("a connection", CONNECTION, |conn| {
        Ok(connections::connection(conn, &rows::connection_id("x"))?.iter().len())
    }),
    ("connections", CONNECTION, |conn| {
        let all = ConnectionFilter::default();
        Ok(connections::connections(conn, &all, None, 9)?.len())
    }),
    ("a flow", FLOW, |conn| Ok(flows::flow(conn, "state")?.iter().len())),
    ("stale flows", FLOW, |conn| {
        let span = (rows::at(0), rows::at(9_999));
        Ok(flows::stale_flows(conn, &rows::journal_id("journal-1"), span, 9)?.len())
    }),
    ("a revocation", REVOCATION, |conn| Ok(revocations::revocation(conn, "r")?.iter().len())),
    ("a revoked item", REVOCATION, |conn| {
        Ok(revocations::revoked_item(conn, &rows::grant_id("x"))?.iter().len())
    }),
    ("revocations due", REVOCATION, |conn| {
        Ok(revocations::revocations_due(conn, rows::at(9), 9)?.len())
    }),
    ("events", &["events"], |conn| Ok(events::events(conn, 0, 9)?.len())),
];
const CLIENT: &[&str] = &["clients", "client_secrets"];
const GRANT: &[&str] = &["grants", "token_sets"];
const CONNECTION: &[&str] = &["connections", "grants", "token_sets"];
const FLOW: &[&str] = &["flows"];
const REVOCATION: &[&str] = &["revocations", "revocation_items"];

/// One for each column that is set, and for each read.
const STATEMENTS_MAX: usize = 256;
