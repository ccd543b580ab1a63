//! How SQLite means to walk: what is due, open, stale or shared is found by index, however much is
//! stored.

use std::time::Duration;

use indicia_oauth::Timestamp;
use rusqlite::Connection;

use super::flows::{PURGE, STALE};
use super::grants::OF_REFRESH_TOKEN;
use super::leases::{DUE_FREE, DUE_LEASED, OPEN_INTENTS};
use super::revocations::REVOKED_ITEM;
use super::{connection, schema};

fn plan(conn: &Connection, sql: &str) -> Vec<String> {
    let mut query = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let nothing = vec![0; query.parameter_count()];
    let steps = query.query_map(rusqlite::params_from_iter(nothing), |row| row.get(3));
    steps.unwrap().map(Result::unwrap).collect()
}

#[test]
fn nothing_walks_over_all_that_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("x.db");
    schema::create(folder.path(), &db, Timestamp::from_millis(0)).unwrap();
    let conn = connection::to_write(&db, Duration::ZERO).unwrap();
    for (sql, expected) in [
        (DUE_FREE, "SEARCH grants USING COVERING INDEX grants_due (next_at<?)"),
        (DUE_LEASED, "SEARCH grants USING INDEX grants_leased (next_at<?)"),
        (OPEN_INTENTS, "SCAN grants USING INDEX grants_spending"),
        (PURGE, "SEARCH flows USING INDEX flows_by_end (expires_at<?)"),
    ] {
        assert_eq!(plan(&conn, sql), [expected], "{sql}");
    }
    for (sql, first) in [
        (STALE, "SEARCH flows USING INDEX flows_by_end (expires_at>? AND expires_at<?)"),
        (OF_REFRESH_TOKEN, "SEARCH t USING INDEX token_sets_kept (<expr>=?)"),
        (REVOKED_ITEM, "SEARCH i USING COVERING INDEX revocation_items_of_grant (grant_id=?)"),
    ] {
        let steps = plan(&conn, sql);
        assert_eq!(steps[0], first, "{sql}");
        assert!(steps[1..].iter().all(|step| !step.starts_with("SCAN")), "{steps:?}");
    }
}
