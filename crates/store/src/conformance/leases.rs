//! Promises on leases, intents and due work.

use std::sync::Arc;
use std::time::Duration;

use indicia_broker::model::{EventKind, GrantId, GrantState, Life};
use indicia_broker::ports::{ClaimOutcome, ClaimedRow, Clock, Store};

use super::Subject;
use super::rows::{
    NOW, at, connect, event, grant, grant_id, intent, revocation, settlement, state, tokens,
};

/// The lease of these tests.
const LEASE: Duration = Duration::from_secs(30);

pub(super) async fn claimed(store: &dyn Store, name: &str) -> ClaimedRow {
    match store.claim(&grant_id(name), LEASE).await.unwrap() {
        ClaimOutcome::Claimed(row) => *row,
        other => panic!("{name} can't be claimed: {other:?}"),
    }
}

async fn assert_busy(store: &dyn Store, name: &str, until: u64) {
    match store.claim(&grant_id(name), LEASE).await.unwrap() {
        ClaimOutcome::Busy { until_boot_ms } => assert_eq!(until_boot_ms, until),
        other => panic!("{name} isn't busy: {other:?}"),
    }
}

pub(super) async fn a_lease_has_one_holder(subject: Arc<dyn Subject>) {
    let (ours, theirs) = (subject.handle(), subject.handle());
    assert_ne!(ours.holder(), theirs.holder());
    connect(&*ours, &["x"]).await;
    let claim = claimed(&*ours, "x").await;
    assert_eq!(claim.until_boot_ms, subject.clock().boot_millis() + 30_000);
    let lease = claim.grant.lease.clone().unwrap();
    assert_eq!(lease.holder, ours.holder());
    assert_eq!((lease.no, lease.until_boot_ms), (claim.lease_no, claim.until_boot_ms));
    assert_eq!(theirs.grant(&grant_id("x")).await.unwrap(), Some(claim.grant), "the row as stored");
    assert_busy(&*theirs, "x", claim.until_boot_ms).await;
    let missing = ours.claim(&grant_id("nobody"), LEASE).await.unwrap();
    assert!(matches!(missing, ClaimOutcome::Missing));
}

pub(super) async fn the_same_holder_cannot_claim_twice(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    let claim = claimed(&*store, "x").await;
    assert_busy(&*store, "x", claim.until_boot_ms).await;
}

pub(super) async fn of_many_claims_one_wins(subject: Arc<dyn Subject>) {
    let handles: Vec<_> = (0..4).map(|_| subject.handle()).collect();
    connect(&*handles[0], &["x"]).await;
    let tasks = (0..32).map(|i| {
        let store = Arc::clone(&handles[i % 4]);
        tokio::spawn(async move { store.claim(&grant_id("x"), LEASE).await.unwrap() })
    });
    let mut won = 0;
    for task in tasks.collect::<Vec<_>>() {
        won += usize::from(matches!(task.await.unwrap(), ClaimOutcome::Claimed(_)));
    }
    assert_eq!(won, 1);
}

pub(super) async fn a_lease_ends_by_time(subject: Arc<dyn Subject>) {
    let (paused, other) = (subject.handle(), subject.handle());
    connect(&*paused, &["x"]).await;
    let claim = claimed(&*paused, "x").await;
    subject.clock().advance(LEASE - Duration::from_millis(1));
    assert_busy(&*other, "x", claim.until_boot_ms).await;
    subject.clock().advance(Duration::from_millis(1));
    let taken = claimed(&*other, "x").await;
    assert!(taken.lease_no > claim.lease_no);
    let late = intent("x", 1, claim.lease_no);
    assert!(!paused.begin(&grant_id("x"), late).await.unwrap());
}

pub(super) async fn a_killed_holders_lease_ends_at_once(subject: Arc<dyn Subject>) {
    let (doomed, other) = (subject.handle(), subject.handle());
    connect(&*doomed, &["x", "y"]).await;
    let claim = claimed(&*doomed, "x").await;
    let spent = intent("x", 1, claim.lease_no);
    assert!(doomed.begin(&grant_id("x"), spent.clone()).await.unwrap());
    assert_busy(&*other, "x", claim.until_boot_ms).await;
    subject.kill(doomed);
    assert_eq!(other.due(NOW, 9).await.unwrap(), [grant_id("x"), grant_id("y")]);
    let taken = claimed(&*other, "x").await;
    assert_eq!(taken.grant.intent, Some(spent), "who takes over finds the open intent");
    assert_eq!(taken.lease_no, claim.lease_no + 1);
}

pub(super) async fn a_lease_is_prolonged_only_while_it_lasts(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    let id = grant_id("x");
    let no = claimed(&*store, "x").await.lease_no;
    subject.clock().advance(Duration::from_secs(20));
    let end = subject.clock().boot_millis() + 30_000;
    assert_eq!(store.renew(&id, no, LEASE).await.unwrap(), Some(end));
    assert_eq!(store.grant(&id).await.unwrap().unwrap().lease.unwrap().until_boot_ms, end);
    for (grant, no) in [("x", no + 1), ("x", no - 1), ("nobody", no)] {
        assert_eq!(store.renew(&grant_id(grant), no, LEASE).await.unwrap(), None);
    }
    subject.clock().advance(LEASE);
    assert_eq!(store.renew(&id, no, LEASE).await.unwrap(), None, "it has ended");
}

pub(super) async fn lease_numbers_never_fall(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    let id = grant_id("x");
    let mut last = 0;
    for round in 0..4 {
        let no = claimed(&*store, "x").await.lease_no;
        assert_eq!(no, last + 1, "round {round}");
        last = no;
        match round {
            0 => store.release(&id, no).await.unwrap(),
            1 => assert!(store.settle(&id, no, 1, settlement(true), vec![]).await.unwrap()),
            2 => drop(store.commit(&id, 1, Some(no), tokens("x", 2), vec![]).await.unwrap()),
            _ => (),
        }
    }
}

pub(super) async fn release_frees_only_its_own_lease(subject: Arc<dyn Subject>) {
    let (store, other) = (subject.handle(), subject.handle());
    connect(&*store, &["x"]).await;
    let id = grant_id("x");
    let claim = claimed(&*store, "x").await;
    store.release(&id, claim.lease_no + 1).await.unwrap();
    store.release(&grant_id("nobody"), 1).await.unwrap();
    assert_busy(&*other, "x", claim.until_boot_ms).await;
    store.release(&id, claim.lease_no).await.unwrap();
    assert_eq!(store.grant(&id).await.unwrap(), Some(grant("x", "c")), "nothing else changed");
    claimed(&*other, "x").await;
}

pub(super) async fn begin_needs_lease_and_version(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x", "revoked"]).await;
    let id = grant_id("x");
    assert!(!store.begin(&id, intent("x", 1, 0)).await.unwrap(), "never claimed");
    let no = claimed(&*store, "x").await.lease_no;
    for (name, version, no) in [("x", 2, no), ("x", 1, no + 1), ("x", 1, 0), ("nobody", 1, no)] {
        let begun = store.begin(&grant_id(name), intent(name, version, no)).await.unwrap();
        assert!(!begun, "{name} {version} {no}");
    }
    assert_eq!(store.grant(&id).await.unwrap().unwrap().intent, None);
    assert!(store.begin(&id, intent("x", 1, no)).await.unwrap());
    assert_eq!(store.grant(&id).await.unwrap().unwrap().intent, Some(intent("x", 1, no)));
    subject.clock().advance(LEASE);
    assert!(!store.begin(&id, intent("x", 1, no)).await.unwrap(), "the lease has ended");

    let no = claimed(&*store, "revoked").await.lease_no;
    let off = state(indicia_broker::model::Life::Revoked);
    let id = grant_id("revoked");
    let queued = revocation("r", "revoked", None);
    store.revoke(std::slice::from_ref(&id), off, queued, vec![]).await.unwrap();
    assert!(!store.begin(&id, intent("revoked", 1, no)).await.unwrap(), "nothing to spend");
}

pub(super) async fn settle_needs_lease_and_version(subject: Arc<dyn Subject>) {
    let (stale, store) = (subject.handle(), subject.handle());
    connect(&*store, &["x"]).await;
    let id = grant_id("x");
    let old = claimed(&*stale, "x").await.lease_no;
    subject.clock().advance(LEASE);
    let no = claimed(&*store, "x").await.lease_no;
    let before = store.grant(&id).await.unwrap();
    let told = || vec![event(EventKind::Attention, "x")];
    for (name, no, version) in [("x", old, 1), ("x", no, 2), ("x", no, 0), ("nobody", no, 1)] {
        let id = grant_id(name);
        let done = stale.settle(&id, no, version, settlement(true), told()).await.unwrap();
        assert!(!done, "{name} {no} {version}");
    }
    assert_eq!(store.grant(&id).await.unwrap(), before);
    assert!(store.events(0, 9).await.unwrap().is_empty());

    // Its time has passed, but nobody took over: the verdict still is the truth.
    subject.clock().advance(LEASE);
    assert!(store.settle(&id, no, 1, settlement(true), told()).await.unwrap());
    let row = store.grant(&id).await.unwrap().unwrap();
    assert_eq!((row.state, row.next_at), (settlement(true).state, settlement(true).next_at));
    assert_eq!((row.version, row.lease), (1, None));
    assert_eq!(store.events(0, 9).await.unwrap().len(), 1);
    let again = store.settle(&id, no, 1, settlement(true), vec![]).await.unwrap();
    assert!(!again, "the lease is gone");
}

pub(super) async fn settle_keeps_or_clears_the_intent(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    let id = grant_id("x");
    for clear in [false, true] {
        let no = claimed(&*store, "x").await.lease_no;
        assert!(store.begin(&id, intent("x", 1, no)).await.unwrap());
        assert!(store.settle(&id, no, 1, settlement(clear), vec![]).await.unwrap());
        let kept = store.grant(&id).await.unwrap().unwrap().intent;
        assert_eq!(kept, (!clear).then(|| intent("x", 1, no)));
    }
}

pub(super) async fn due_is_ordered_and_leaves_out_what_is_leased(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["b", "a", "late", "later", "never"]).await;
    set_due(&*store, "late", Some(at(10))).await;
    set_due(&*store, "later", Some(at(20))).await;
    set_due(&*store, "never", None).await;
    let due = async |seconds, limit| names(store.due(at(seconds), limit).await.unwrap());
    assert_eq!(due(0, 9).await, ["a", "b"], "equals by id");
    assert_eq!(due(10, 9).await, ["a", "b", "late"]);
    assert_eq!(due(1_000_000, 9).await, ["a", "b", "late", "later"]);
    assert_eq!(due(1_000_000, 3).await, ["a", "b", "late"]);
    let no = claimed(&*store, "a").await.lease_no;
    assert_eq!(due(20, 9).await, ["b", "late", "later"]);
    subject.clock().advance(LEASE - Duration::from_millis(1));
    assert_eq!(due(20, 9).await, ["b", "late", "later"]);
    subject.clock().advance(Duration::from_millis(1));
    assert_eq!(due(20, 2).await, ["a", "b"], "its lease has ended");
    store.release(&grant_id("a"), no).await.unwrap();
    assert_eq!(due(20, 9).await, ["a", "b", "late", "later"]);
}

async fn set_due(store: &dyn Store, name: &str, next_at: Option<indicia_oauth::Timestamp>) {
    let no = claimed(store, name).await.lease_no;
    let mut change = settlement(true);
    change.next_at = next_at;
    assert!(store.settle(&grant_id(name), no, 1, change, vec![]).await.unwrap());
}

fn names(ids: Vec<GrantId>) -> Vec<String> {
    ids.into_iter().map(|id| id.as_str().to_owned()).collect()
}

pub(super) async fn open_intents_are_found(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["c", "a", "b"]).await;
    assert_eq!(store.open_intents(9).await.unwrap(), vec![]);
    for name in ["c", "a"] {
        let no = claimed(&*store, name).await.lease_no;
        assert!(store.begin(&grant_id(name), intent(name, 1, no)).await.unwrap());
    }
    assert_eq!(names(store.open_intents(9).await.unwrap()), ["a", "c"]);
    assert_eq!(names(store.open_intents(1).await.unwrap()), ["a"]);
    store.commit(&grant_id("a"), 1, None, tokens("a", 2), vec![]).await.unwrap();
    assert_eq!(names(store.open_intents(9).await.unwrap()), ["c"]);
    let off = GrantState { life: Life::Revoked, ..state(Life::Alive) };
    let queued = revocation("r", "c", None);
    store.revoke(&[grant_id("c")], off, queued, vec![]).await.unwrap();
    assert_eq!(store.open_intents(9).await.unwrap(), vec![], "a revoked grant's spend is over");
}
