//! Promises on commits: the version is the fence.

use std::sync::Arc;

use indicia_broker::model::{Ambiguity, EventKind, GrantRow, Life};
use indicia_broker::ports::{CommitOutcome, Settlement, Store};

use super::Subject;
use super::leases::claimed;
use super::rows::{at, connect, event, grant, grant_id, intent, settlement, tokens};

async fn committed(store: &dyn Store, from: u64, lease_no: Option<u64>) -> GrantRow {
    let new = tokens("x", from + 1);
    match store.commit(&grant_id("x"), from, lease_no, new, vec![]).await.unwrap() {
        CommitOutcome::Done => store.grant(&grant_id("x")).await.unwrap().unwrap(),
        other => panic!("not committed: {other:?}"),
    }
}

pub(super) async fn a_commit_moves_the_version_and_clears_the_intent(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    let no = claimed(&*store, "x").await.lease_no;
    assert!(store.begin(&grant_id("x"), intent("x", 1, no)).await.unwrap());
    let row = committed(&*store, 1, Some(no)).await;
    let new = tokens("x", 2);
    let expected = GrantRow {
        version: 2,
        tokens: new.tokens,
        facts: new.facts,
        state: new.state,
        next_at: new.next_at,
        inputs: new.inputs,
        account: new.account,
        ..grant("x", "c")
    };
    assert_eq!(row, expected);
    assert_eq!(subject.handle().grant(&grant_id("x")).await.unwrap(), Some(expected));
    assert!(!store.begin(&grant_id("x"), intent("x", 2, no)).await.unwrap(), "the lease ended");
}

pub(super) async fn two_commits_from_one_version_give_one_winner(subject: Arc<dyn Subject>) {
    let handles: Vec<_> = (0..4).map(|_| subject.handle()).collect();
    connect(&*handles[0], &["x"]).await;
    for from in 1..=5 {
        let tasks = (0..16).map(|i| {
            let store = Arc::clone(&handles[i % 4]);
            tokio::spawn(async move {
                let mut new = tokens("x", from + 1);
                new.tokens.bytes.push(u8::try_from(i).unwrap());
                let told = vec![event(EventKind::Refreshed, "x")];
                let sent = new.tokens.clone();
                (sent, store.commit(&grant_id("x"), from, None, new, told).await.unwrap())
            })
        });
        let mut winners = vec![];
        let mut losers = vec![];
        for task in tasks.collect::<Vec<_>>() {
            match task.await.unwrap() {
                (sent, CommitOutcome::Done) => winners.push(sent),
                (_, CommitOutcome::Superseded(row)) => losers.push(row.tokens),
                (_, other) => panic!("it is there: {other:?}"),
            }
        }
        assert_eq!((winners.len(), losers.len()), (1, 15));
        let row = handles[0].grant(&grant_id("x")).await.unwrap().unwrap();
        assert_eq!((row.version, &row.tokens), (from + 1, &winners[0]));
        assert!(losers.iter().all(|seen| *seen == winners[0]), "losers are shown the winner's");
    }
    let events = handles[0].events(0, 99).await.unwrap();
    assert_eq!(events.len(), 5, "only winners tell");
}

pub(super) async fn a_commit_from_an_old_version_is_superseded(subject: Arc<dyn Subject>) {
    let (stale, store) = (subject.handle(), subject.handle());
    connect(&*store, &["x"]).await;
    let old = claimed(&*stale, "x").await.lease_no;
    let row = committed(&*store, 1, None).await;
    assert_eq!(row.lease.as_ref().map(|lease| lease.no), Some(old), "not its own: stays");
    for from in [0, 1, 3] {
        let late = stale.commit(&grant_id("x"), from, Some(old), tokens("x", 9), vec![]).await;
        match late.unwrap() {
            CommitOutcome::Superseded(now) => assert_eq!(*now, row),
            other => panic!("from {from}: {other:?}"),
        }
    }
    assert_eq!(store.grant(&grant_id("x")).await.unwrap(), Some(row), "nothing was written");
    let lost = store.commit(&grant_id("nobody"), 1, None, tokens("x", 2), vec![]).await.unwrap();
    assert!(matches!(lost, CommitOutcome::Missing));
}

pub(super) async fn a_commit_needs_no_lease(subject: Arc<dyn Subject>) {
    let (store, other) = (subject.handle(), subject.handle());
    connect(&*store, &["x"]).await;
    assert_eq!(committed(&*store, 1, None).await.lease, None);
    let no = claimed(&*other, "x").await.lease_no;
    assert!(other.begin(&grant_id("x"), intent("x", 2, no)).await.unwrap());
    let row = committed(&*store, 2, Some(no + 7)).await;
    assert_eq!(row.lease.map(|lease| lease.no), Some(no), "somebody else's lease stays");
    assert_eq!(row.intent, None, "an intent from the version before says nothing any more");
}

pub(super) async fn a_commit_keeps_what_it_does_not_name(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    assert_eq!(committed(&*store, 1, None).await.asked, grant("x", "c").asked);
    let mut new = tokens("x", 3);
    new.asked = Some(vec!["all".to_owned()]);
    new.account = None;
    new.next_at = None;
    new.state.life = Life::Dead;
    let done = store.commit(&grant_id("x"), 2, None, new, vec![]).await.unwrap();
    assert!(matches!(done, CommitOutcome::Done), "{done:?}");
    let row = store.grant(&grant_id("x")).await.unwrap().unwrap();
    assert_eq!(row.asked, ["all"]);
    assert_eq!((row.account, row.next_at, row.state.life), (None, None, Life::Dead));
    // A dead grant is renewed in place: its owner came back.
    assert_eq!(committed(&*store, 3, None).await.state.life, Life::Alive);
}

pub(super) async fn a_rejected_token_is_marked_at_its_version_only(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    let id = grant_id("x");
    for (name, version) in [("x", 0), ("x", 2), ("nobody", 1)] {
        assert!(!store.reject(&grant_id(name), version, at(70), vec![]).await.unwrap());
    }
    assert_eq!(store.grant(&id).await.unwrap(), Some(grant("x", "c")));
    assert!(store.reject(&id, 1, at(70), vec![]).await.unwrap());
    let mut expected = grant("x", "c");
    expected.facts.rejected = true;
    assert_eq!(store.grant(&id).await.unwrap(), Some(expected));
    let no = claimed(&*store, "x").await.lease_no;
    assert!(store.settle(&id, no, 1, settlement(true), vec![]).await.unwrap());
    assert!(store.grant(&id).await.unwrap().unwrap().facts.rejected, "a verdict leaves the mark");
    let no = claimed(&*store, "x").await.lease_no;
    let taken = Settlement { clear_rejected: true, ..settlement(true) };
    assert!(store.settle(&id, no, 1, taken, vec![]).await.unwrap());
    assert!(!store.grant(&id).await.unwrap().unwrap().facts.rejected, "the API takes it after all");
    assert!(store.reject(&id, 1, at(70), vec![]).await.unwrap());
    assert!(!committed(&*store, 1, None).await.facts.rejected);
}

pub(super) async fn a_rejected_token_makes_an_open_ambiguity_due(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    let id = grant_id("x");
    let no = claimed(&*store, "x").await.lease_no;
    let mut lost = settlement(false);
    lost.state.ambiguity = Some(Ambiguity { since: at(20), sends: 1, noted_boot_ms: 1 });
    lost.state.retry_at = Some(at(9000));
    lost.next_at = Some(at(9000));
    assert!(store.settle(&id, no, 1, lost, vec![]).await.unwrap());
    let told = vec![event(EventKind::Attention, "x")];
    assert!(store.reject(&id, 1, at(70), told).await.unwrap());
    let row = store.grant(&id).await.unwrap().unwrap();
    assert_eq!((row.state.retry_at, row.next_at), (None, Some(at(70))));
    assert_eq!(store.events(0, 99).await.unwrap().len(), 1);
}

pub(super) async fn a_commit_may_leave_versions_out(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    let done = store.commit(&grant_id("x"), 1, None, tokens("x", 7), vec![]).await.unwrap();
    assert!(matches!(done, CommitOutcome::Done), "{done:?}");
    assert_eq!(committed(&*store, 7, None).await.version, 8);
}
