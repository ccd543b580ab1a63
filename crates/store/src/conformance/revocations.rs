//! Promises on revocations.

use std::sync::Arc;

use indicia_broker::model::{EventKind, GrantRow, GrantState, Life};
use indicia_broker::ports::CommitOutcome;

use super::Subject;
use super::leases::claimed;
use super::rows::{
    at, connect, event, grant, grant_id, intent, revocation, settlement, state, tokens,
};

pub(super) async fn revoke_marks_and_queues_and_keeps_the_version(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x", "y", "z"]).await;
    let claim = claimed(&*store, "x").await;
    let id = grant_id("x");
    assert!(store.begin(&id, intent("x", 1, claim.lease_no)).await.unwrap());
    let before = store.grant(&id).await.unwrap().unwrap();
    let off = GrantState { failures: 77, ..state(Life::Revoked) };
    let queued = revocation("r", "x", Some(at(1)));
    let ids = [id.clone(), grant_id("y"), grant_id("nobody")];
    let told = vec![event(EventKind::Revoked, "x")];
    store.revoke(&ids, off.clone(), queued.clone(), told).await.unwrap();

    let mut expected = before;
    expected.state.life = Life::Revoked;
    expected.state.reason = off.reason;
    expected.next_at = None;
    assert_eq!(store.grant(&id).await.unwrap(), Some(expected), "lease, intent, version stay");
    let life = async |name| store.grant(&grant_id(name)).await.unwrap().unwrap().state.life;
    assert_eq!((life("y").await, life("z").await), (Life::Revoked, Life::Alive));
    assert_eq!(subject.handle().revocation("r").await.unwrap(), Some(queued.clone()));
    assert_eq!(store.revocation("nobody").await.unwrap(), None);
    assert_eq!(store.events(0, 9).await.unwrap().len(), 1);

    let again = store.revoke(&[grant_id("z")], state(Life::Revoked), queued, vec![]).await;
    assert!(again.is_err(), "a receipt isn't overwritten");
    assert_eq!(life("z").await, Life::Alive, "and then nothing is done");
}

pub(super) async fn nothing_brings_a_revoked_grant_back(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    let id = grant_id("x");
    let no = claimed(&*store, "x").await.lease_no;
    assert!(store.begin(&id, intent("x", 1, no)).await.unwrap());
    let queued = revocation("r", "x", None);
    let ids = std::slice::from_ref(&id);
    store.revoke(ids, state(Life::Revoked), queued, vec![]).await.unwrap();
    let told = || vec![event(EventKind::Refreshed, "x")];
    let late = store.commit(&id, 1, Some(no), tokens("x", 2), told()).await.unwrap();
    assert!(matches!(late, CommitOutcome::Revoked));
    assert!(!store.settle(&id, no, 1, settlement(true), told()).await.unwrap());
    let row: GrantRow = store.grant(&id).await.unwrap().unwrap();
    assert_eq!((row.state.life, row.version, row.next_at), (Life::Revoked, 1, None));
    assert_eq!(row.tokens, grant("x", "c").tokens);
    assert_eq!((row.lease, row.intent), (None, None), "the holder is done with it all the same");
    assert!(store.events(0, 9).await.unwrap().is_empty());
    assert!(store.due(at(1_000_000), 9).await.unwrap().is_empty());
}

pub(super) async fn revocations_fall_due_in_order(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    for (id, next_at) in [
        ("b", Some(at(1))),
        ("a", Some(at(1))),
        ("c", Some(at(0))),
        ("d", Some(at(9))),
        ("e", None),
    ] {
        let row = revocation(id, "x", next_at);
        store.revoke(&[], state(Life::Revoked), row, vec![]).await.unwrap();
    }
    let due = store.revocations_due(at(1), 9).await.unwrap();
    let ids: Vec<_> = due.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["c", "a", "b"]);
    assert_eq!(due[0], revocation("c", "x", Some(at(0))));
    assert_eq!(store.revocations_due(at(1), 1).await.unwrap().len(), 1);
}

pub(super) async fn a_revocation_changes_only_from_its_last_revision(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    let mut row = revocation("r", "x", Some(at(1)));
    row.revision = 2;
    assert!(!store.update_revocation(row.clone(), vec![]).await.unwrap(), "it isn't there");
    let first = revocation("r", "x", Some(at(1)));
    store.revoke(&[], state(Life::Revoked), first, vec![]).await.unwrap();
    row.items[0].sealed = None;
    row.items.remove(1);
    row.proof = None;
    row.next_at = None;
    assert!(store.update_revocation(row.clone(), vec![]).await.unwrap());
    assert_eq!(store.revocation("r").await.unwrap(), Some(row.clone()));
    assert!(store.revocations_due(at(99), 9).await.unwrap().is_empty());
    for revision in [1, 2, 4] {
        let stale = indicia_broker::model::RevocationRow { revision, ..row.clone() };
        assert!(!store.update_revocation(stale, vec![]).await.unwrap(), "from {revision}");
    }
}
