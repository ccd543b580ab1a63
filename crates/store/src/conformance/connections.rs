//! Promises on connections, and on how grants are found.

use std::collections::BTreeMap;
use std::sync::Arc;

use indicia_broker::model::{ConnectionRow, EventKind, GrantRow, GrantState, Intent, Lease, Life};
use indicia_broker::ports::{ConnectOutcome, ConnectionFilter, ForgetOutcome, Store, TakenFlows};

use super::Subject;
use super::rows::{
    at, client, client_id, connect, connection, connection_id, event, fingerprint, forget, grant,
    grant_id, intent, one, revocation, state, tokens,
};

pub(super) async fn a_connection_comes_back_with_its_grant(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    let other = subject.handle();
    let found = other.connection(&connection_id("x")).await.unwrap();
    assert_eq!(found, Some((connection("x", "c", "x"), grant("x", "c"))));
    assert_eq!(other.grant(&grant_id("x")).await.unwrap(), Some(grant("x", "c")));
    assert_eq!(other.connection(&connection_id("nobody")).await.unwrap(), None);
    assert_eq!(other.grant(&grant_id("nobody")).await.unwrap(), None);

    let mut full = grant("full", "c");
    full.state = state(Life::Dead);
    full.intent = Some(Intent { version: 7, ..intent("full", 7, 3) });
    full.lease = Some(Lease { holder: store.holder(), no: 3, until_boot_ms: 1 });
    full.version = 7;
    store.connect(connection("full", "c", "full"), full.clone(), None, vec![]).await.unwrap();
    assert_eq!(other.grant(&full.id).await.unwrap(), Some(full));

    let mut bare = grant("bare", "c");
    bare.account = None;
    bare.inputs = BTreeMap::new();
    bare.asked = vec![];
    bare.next_at = None;
    bare.facts.granted = None;
    bare.facts.refresh = None;
    bare.facts.refresh_since = None;
    bare.rotation_owner = indicia_broker::model::RotationOwner::Other;
    store.connect(connection("bare", "c", "bare"), bare.clone(), None, vec![]).await.unwrap();
    assert_eq!(other.grant(&bare.id).await.unwrap(), Some(bare));
}

pub(super) async fn a_connection_id_is_taken_once(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x", "y"]).await;
    let taken = store.connect(connection("x", "c", "new"), grant("new", "c"), None, vec![]).await;
    assert_eq!(taken.unwrap(), ConnectOutcome::IdTaken);
    let taken = store.join(connection("x", "c", "y"), None, vec![]).await;
    assert_eq!(taken.unwrap(), ConnectOutcome::IdTaken);
    assert_eq!(store.grant(&grant_id("new")).await.unwrap(), None, "nothing was written");
    let (kept, _) = store.connection(&connection_id("x")).await.unwrap().unwrap();
    assert_eq!(kept, connection("x", "c", "x"));
}

pub(super) async fn a_connection_joins_a_grant_that_is_there(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    let done = store.join(connection("y", "c", "x"), None, vec![]).await.unwrap();
    assert_eq!(done, ConnectOutcome::Done);
    let (row, shared) = store.connection(&connection_id("y")).await.unwrap().unwrap();
    assert_eq!((row, shared), (connection("y", "c", "x"), grant("x", "c")));
    assert!(store.join(connection("z", "c", "nobody"), None, vec![]).await.is_err());
    assert_eq!(store.connection(&connection_id("z")).await.unwrap(), None);
}

pub(super) async fn a_connection_is_relabelled(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x", "y"]).await;
    let change = ConnectionRow {
        labels: one("team", "red"),
        updated_at: at(99),
        created_at: at(98),
        ..connection("x", "other", "y")
    };
    assert!(store.label(change.clone()).await.unwrap());
    let before = connection("x", "c", "x");
    let expected = ConnectionRow { labels: change.labels, updated_at: at(99), ..before };
    let (found, _) = store.connection(&connection_id("x")).await.unwrap().unwrap();
    assert_eq!(found, expected, "client, birth and grant stay");
    assert_eq!(labelled(&*store, "team", "x").await, Vec::<String>::new());
    assert_eq!(labelled(&*store, "team", "red").await, ["x"]);
    assert!(!store.label(connection("z", "c", "y")).await.unwrap());
}

pub(super) async fn a_connection_is_reconnected_to_a_new_grant(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x", "y"]).await;
    store.join(connection("also", "c", "y"), None, vec![]).await.unwrap();
    let told = || vec![event(EventKind::Reconnected, "x")];
    let nobody = connection("nobody", "c", "new");
    let done = store.reconnect(nobody, grant("new", "c"), None, told()).await.unwrap();
    assert_eq!(done, ConnectOutcome::Missing);
    assert_eq!(store.grant(&grant_id("new")).await.unwrap(), None);
    store.reconnect(connection("x", "c", "y"), grant("y", "c"), None, told()).await.unwrap_err();
    assert!(store.events(0, 9).await.unwrap().is_empty());

    let new = GrantRow { version: 8, ..grant("new", "c") };
    let row = ConnectionRow { labels: one("team", "red"), ..connection("x", "c", "new") };
    let done = store.reconnect(row.clone(), new.clone(), None, told()).await.unwrap();
    assert_eq!(done, ConnectOutcome::Done);
    let found = store.connection(&connection_id("x")).await.unwrap();
    assert_eq!(found, Some((row, new)));
    assert_eq!(labelled(&*store, "team", "red").await, ["x"]);
    assert_eq!(store.grant(&grant_id("x")).await.unwrap(), None, "nobody points to it any more");
    assert_eq!(store.events(0, 9).await.unwrap().len(), 1);

    let moved = connection("y", "c", "other");
    store.reconnect(moved, grant("other", "c"), None, vec![]).await.unwrap();
    assert!(store.grant(&grant_id("y")).await.unwrap().is_some(), "another points to it");
}

pub(super) async fn a_replaced_grant_stays_while_its_revocation_waits(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    let id = grant_id("x");
    let mut queued = revocation("r", "x", Some(at(1)));
    let ids = std::slice::from_ref(&id);
    store.revoke(ids, state(Life::Revoked), queued.clone(), vec![]).await.unwrap();
    let row = connection("x", "c", "new");
    store.reconnect(row, grant("new", "c"), None, vec![]).await.unwrap();
    assert!(store.grant(&id).await.unwrap().is_some());
    queued.revision = 2;
    assert!(store.update_revocation(queued.clone(), vec![]).await.unwrap());
    assert!(store.grant(&id).await.unwrap().is_some(), "not yet");
    queued.revision = 3;
    queued.next_at = None;
    assert!(store.update_revocation(queued, vec![]).await.unwrap());
    assert_eq!(store.grant(&id).await.unwrap(), None);
    assert!(store.grant(&grant_id("new")).await.unwrap().is_some());
}

async fn labelled(store: &dyn Store, key: &str, value: &str) -> Vec<String> {
    let label = Some((key.to_owned(), value.to_owned()));
    ids(store, &ConnectionFilter { label, ..ConnectionFilter::default() }).await
}

async fn ids(store: &dyn Store, filter: &ConnectionFilter) -> Vec<String> {
    let rows = store.connections(filter, None, 100).await.unwrap();
    rows.into_iter().map(|(row, _)| row.id.as_str().to_owned()).collect()
}

pub(super) async fn connections_are_filtered(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x", "y"]).await;
    store.add_client(client("d"), vec![]).await.unwrap();
    store.connect(connection("z", "d", "z"), grant("z", "d"), None, vec![]).await.unwrap();
    store.join(connection("w", "c", "x"), None, vec![]).await.unwrap();
    let clients = |ids: &[&str]| Some(ids.iter().map(|id| client_id(id)).collect());
    let label = || Some(("team".to_owned(), "y".to_owned()));
    let check = async |expected: &[&str], change: &(dyn Fn(&mut ConnectionFilter) + Sync)| {
        let mut filter = ConnectionFilter::default();
        change(&mut filter);
        assert_eq!(ids(&*store, &filter).await, expected, "{filter:?}");
    };
    check(&["w", "x", "y", "z"], &|_| ()).await;
    check(&["w", "x", "y"], &|f| f.client = Some(client_id("c"))).await;
    check(&[], &|f| f.client = Some(client_id("nobody"))).await;
    check(&["z"], &|f| f.clients = clients(&["d", "nobody"])).await;
    check(&["w", "x", "y", "z"], &|f| f.clients = clients(&["c", "d"])).await;
    check(&[], &|f| f.clients = clients(&[])).await;
    check(&["y"], &|f| f.label = label()).await;
    check(&["w", "x"], &|f| f.grant = Some(grant_id("x"))).await;
    check(&[], &|f| f.grant = Some(grant_id("nobody"))).await;
    check(&[], &|f| (f.label, f.client) = (label(), Some(client_id("d")))).await;
    check(&["y"], &|f| {
        *f = ConnectionFilter {
            client: Some(client_id("c")),
            clients: clients(&["c"]),
            label: label(),
            grant: Some(grant_id("y")),
        };
    })
    .await;
}

pub(super) async fn connections_are_paged(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    // Byte order, as ids sort in Rust: upper case first.
    let names = ["B", "a", "a-2", "a.b", "b"];
    connect(&*store, &names).await;
    let filter = ConnectionFilter::default();
    let mut seen = vec![];
    let mut after = None;
    loop {
        let page = store.connections(&filter, after.as_ref(), 2).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        assert!(page.len() <= 2);
        after = Some(last.id.clone());
        seen.extend(page.into_iter().map(|(row, _)| row.id.as_str().to_owned()));
    }
    assert_eq!(seen, names);
}

pub(super) async fn forget_takes_the_grant_with_the_last_connection(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    let (x, other) = (connection_id("x"), grant_id("other"));
    let moved = store.forget(&x, &other, TakenFlows::End, vec![]).await.unwrap();
    assert_eq!(moved, ForgetOutcome::Moved);
    assert!(store.connection(&x).await.unwrap().is_some(), "it was connected again meanwhile");
    store.join(connection("y", "c", "x"), None, vec![]).await.unwrap();
    assert!(forget(&*store, "x", "x").await);
    assert_eq!(store.connection(&connection_id("x")).await.unwrap(), None);
    assert!(store.connection(&connection_id("y")).await.unwrap().is_some());
    assert!(forget(&*store, "y", "x").await);
    assert_eq!(store.grant(&grant_id("x")).await.unwrap(), None);
    assert!(!forget(&*store, "y", "x").await);
    let found = store.grants_by_fingerprint(&grant("x", "c").facts.access).await.unwrap();
    assert_eq!(found, vec![], "its tokens are forgotten too");
    assert_eq!(labelled(&*store, "team", "x").await, Vec::<String>::new());
    assert_eq!(store.due(at(99), 9).await.unwrap(), vec![]);
}

pub(super) async fn the_living_grant_of_an_account_is_found(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x", "y"]).await;
    store.add_client(client("d"), vec![]).await.unwrap();
    let found = store.grant_of_account(&client_id("c"), "account of x").await.unwrap();
    assert_eq!(found, Some(grant("x", "c")));
    for (client, account) in [("d", "account of x"), ("c", "account of nobody")] {
        assert_eq!(store.grant_of_account(&client_id(client), account).await.unwrap(), None);
    }
    let revoked = GrantState { life: Life::Revoked, ..GrantState::alive() };
    let row = revocation("r", "x", None);
    store.revoke(&[grant_id("x")], revoked, row, vec![]).await.unwrap();
    let found = store.grant_of_account(&client_id("c"), "account of x").await.unwrap();
    assert_eq!(found, None, "only living grants are joined");

    let mut new = tokens("y", 2);
    new.account.as_mut().unwrap().id = "account of x".to_owned();
    store.commit(&grant_id("y"), 1, None, new, vec![]).await.unwrap();
    let found = store.grant_of_account(&client_id("c"), "account of x").await.unwrap();
    assert_eq!(found.map(|row| row.id), Some(grant_id("y")), "a commit may learn the account");
}

pub(super) async fn earlier_tokens_are_found_by_fingerprint(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x", "y"]).await;
    for version in 1..=9 {
        let new = tokens("x", version + 1);
        store.commit(&grant_id("x"), version, None, new, vec![]).await.unwrap();
    }
    for version in 1..=10 {
        for what in ["access", "refresh"] {
            let sought = fingerprint(&format!("x {what} {version}"));
            let found = store.grants_by_fingerprint(&sought).await.unwrap();
            let ids: Vec<_> = found.into_iter().map(|row| row.id).collect();
            assert_eq!(ids, [grant_id("x")], "{what} of version {version}");
            assert!(store.has_had(&grant_id("x"), &sought).await.unwrap());
            assert!(!store.has_had(&grant_id("y"), &sought).await.unwrap());
            let replaced = store.replaced_tokens().await.unwrap();
            let first = sought.as_bytes().first_chunk().unwrap();
            assert_eq!(replaced.contains(first), version < 10, "{what} of version {version}");
        }
    }
    // The same token may be in two grants, an import beside a connect; and may stay for ever.
    let mut shared = tokens("y", 2);
    shared.facts.refresh = Some(fingerprint("x refresh 1"));
    store.commit(&grant_id("y"), 1, None, shared.clone(), vec![]).await.unwrap();
    let found = store.grants_by_fingerprint(&fingerprint("x refresh 1")).await.unwrap();
    let ids: Vec<_> = found.into_iter().map(|row| row.id).collect();
    assert_eq!(ids, [grant_id("x"), grant_id("y")]);
    for version in 2..=100 {
        store.commit(&grant_id("y"), version, None, shared.clone(), vec![]).await.unwrap();
    }
    let found = store.grants_by_fingerprint(&fingerprint("x refresh 1")).await.unwrap();
    assert!(found.iter().any(|row| row.id == grant_id("y")), "a token in use is never forgotten");
    assert_eq!(store.grants_by_fingerprint(&fingerprint("nobody")).await.unwrap(), vec![]);
}

pub(super) async fn a_refresh_token_that_stays_finds_its_grant(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x", "y"]).await;
    let found = async |client: &str, what: &str| {
        let found = store.grant_of_refresh_token(&client_id(client), &fingerprint(what)).await;
        found.unwrap().map(|row| row.id)
    };
    let mut new = tokens("x", 2);
    new.facts.rotated = false;
    store.commit(&grant_id("x"), 1, None, new.clone(), vec![]).await.unwrap();
    assert_eq!(found("c", "x refresh 2").await, Some(grant_id("x")));
    assert_eq!(found("d", "x refresh 2").await, None, "of another client");
    assert_eq!(found("c", "x refresh 1").await, None, "no longer");
    assert_eq!(found("c", "x access 2").await, None, "no refresh token");
    new.facts.rotated = true;
    new.version = 3;
    store.commit(&grant_id("x"), 2, None, new.clone(), vec![]).await.unwrap();
    assert_eq!(found("c", "x refresh 2").await, None, "it doesn't stay");
    new.facts.rotated = false;
    new.version = 4;
    store.commit(&grant_id("x"), 3, None, new, vec![]).await.unwrap();
    let off = GrantState { life: Life::Revoked, ..state(Life::Alive) };
    store.revoke(&[grant_id("x")], off, revocation("r", "x", None), vec![]).await.unwrap();
    assert_eq!(found("c", "x refresh 2").await, None, "it was taken back");
}
