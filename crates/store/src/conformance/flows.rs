//! Promises on pending flows.

use std::sync::Arc;
use std::time::Duration;

use indicia_broker::model::{FlowRow, GrantState, Life, RevocationItemState, TakenFlow};
use indicia_broker::ports::{
    CommitOutcome, ConnectOutcome, ForgetOutcome, NewTokens, Store, TakenFlows,
};
use indicia_oauth::Timestamp;

use super::Subject;
use super::rows::{
    NOW, at, client, connect, connection, connection_id, flow, forget, grant, grant_id, journal_id,
    revocation, state, tokens,
};

pub(super) async fn a_flow_comes_back_as_it_was_added(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    store.add_client(client("c"), vec![]).await.unwrap();
    assert_eq!(store.flow("f").await.unwrap(), None);
    store.add_flow(flow("f", "c")).await.unwrap();
    assert_eq!(subject.handle().flow("f").await.unwrap(), Some(flow("f", "c")));
}

pub(super) async fn a_flow_is_taken_by_exactly_one(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    store.add_client(client("c"), vec![]).await.unwrap();
    store.add_flow(flow("f", "c")).await.unwrap();
    let handles = [subject.handle(), subject.handle()];
    let tasks = (0..64).map(|i| {
        let store = Arc::clone(&handles[i % 2]);
        tokio::spawn(async move {
            store.take_flow("f", &journal_id(&format!("journal-{i}")), at(5)).await.unwrap()
        })
    });
    let mut taken = vec![];
    for task in tasks.collect::<Vec<_>>() {
        match task.await.unwrap() {
            TakenFlow::Taken(row) => taken.push(*row),
            other => assert_eq!(other, TakenFlow::Used(at(5))),
        }
    }
    assert_eq!(taken.len(), 1, "exactly one of 64 takes the flow");
    assert_eq!(taken[0].used_at, Some(at(5)));
    assert_eq!(store.flow("f").await.unwrap(), Some(taken.remove(0)), "and whose it is, is kept");
    assert!(store.add_flow(flow("f", "c")).await.is_err(), "a used flow can't be made anew");
    let again = store.take_flow("f", &journal_id("j"), at(700)).await.unwrap();
    assert_eq!(again, TakenFlow::Used(at(5)), "used comes before expired");
}

pub(super) async fn a_flow_cannot_be_taken_after_its_end(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    store.add_client(client("c"), vec![]).await.unwrap();
    for name in ["f", "g"] {
        store.add_flow(flow(name, "c")).await.unwrap();
    }
    let last = at(600).minus(Duration::from_millis(1));
    for late in [at(600), at(601)] {
        let taken = store.take_flow("f", &journal_id("j"), late).await.unwrap();
        assert_eq!(taken, TakenFlow::Expired(at(600)));
    }
    assert_eq!(store.flow("f").await.unwrap(), Some(flow("f", "c")), "it isn't marked");
    let taken = store.take_flow("g", &journal_id("j"), last).await.unwrap();
    assert!(matches!(taken, TakenFlow::Taken(_)));
}

pub(super) async fn a_removed_flow_is_unknown(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    store.add_client(client("c"), vec![]).await.unwrap();
    store.add_flow(flow("f", "c")).await.unwrap();
    store.remove_flow("f").await.unwrap();
    store.remove_flow("f").await.unwrap();
    assert_eq!(store.flow("f").await.unwrap(), None);
    let taken = store.take_flow("f", &journal_id("j"), NOW).await.unwrap();
    assert_eq!(taken, TakenFlow::Unknown);
}

async fn taken(store: &dyn Store, name: &str, now: Timestamp) -> FlowRow {
    match store.take_flow(name, &journal_id("j"), now).await.unwrap() {
        TakenFlow::Taken(row) => *row,
        other => panic!("{name}: {other:?}"),
    }
}

/// Flows of this name, of connection x.
async fn flows(store: &dyn Store, names: &[&str]) {
    for name in names {
        store.add_flow(flow(name, "c")).await.unwrap();
    }
}

pub(super) async fn a_consent_is_stored_once_and_never_over_a_newer_one(subject: Arc<dyn Subject>) {
    use ConnectOutcome::{Done, FlowEnded};
    let store = subject.handle();
    store.add_client(client("c"), vec![]).await.unwrap();
    flows(&*store, &["1", "2", "3", "4", "open"]).await;
    let of_another = FlowRow { connection: connection_id("y"), ..flow("y", "c") };
    store.add_flow(of_another).await.unwrap();
    for name in ["y", "1", "2", "3", "4"] {
        taken(&*store, name, at(5)).await;
    }
    let there = async |name: &str| store.flow(name).await.unwrap().is_some();

    let made = store.connect(connection("x", "c", "a"), grant("a", "c"), Some("2"), vec![]).await;
    assert_eq!(made.unwrap(), Done);
    assert!(!there("2").await && !there("1").await, "it ends, and what was taken before it");
    for name in ["3", "4", "open", "y"] {
        assert!(there(name).await, "{name} goes on");
    }
    let old = NewTokens { flow: Some("1".into()), ..tokens("a", 2) };
    let done = store.commit(&grant_id("a"), 1, None, old, vec![]).await.unwrap();
    assert!(matches!(done, CommitOutcome::FlowEnded), "{done:?}");
    assert_eq!(store.grant(&grant_id("a")).await.unwrap().unwrap().version, 1);

    let new = NewTokens { flow: Some("3".into()), ..tokens("a", 2) };
    let done = store.commit(&grant_id("a"), 1, None, new.clone(), vec![]).await.unwrap();
    assert!(matches!(done, CommitOutcome::Done), "{done:?}");
    let again = NewTokens { version: 3, ..new };
    let done = store.commit(&grant_id("a"), 2, None, again, vec![]).await.unwrap();
    assert!(matches!(done, CommitOutcome::FlowEnded), "{done:?}");

    let row = || connection("x", "c", "b");
    for ended in ["1", "2", "3", "nobody"] {
        let done = store.reconnect(row(), grant("b", "c"), Some(ended), vec![]).await.unwrap();
        assert_eq!(done, FlowEnded, "{ended}");
    }
    assert_eq!(store.grant(&grant_id("b")).await.unwrap(), None, "nothing was written");
    let done = store.reconnect(row(), grant("b", "c"), Some("4"), vec![]).await.unwrap();
    assert_eq!(done, Done);

    let join = || connection("y", "c", "b");
    assert_eq!(store.join(join(), Some("4"), vec![]).await.unwrap(), FlowEnded);
    assert_eq!(store.join(join(), Some("y"), vec![]).await.unwrap(), Done);
    assert!(there("open").await && there("y").await, "its token set is still to come");
    // It was taken before the flow whose consent the shared grant has now.
    let older = NewTokens { flow: Some("y".into()), ..tokens("b", 2) };
    let done = store.commit(&grant_id("b"), 1, None, older, vec![]).await.unwrap();
    assert!(matches!(done, CommitOutcome::FlowEnded), "{done:?}");
    let row = connection("y", "c", "d");
    let done = store.reconnect(row, grant("d", "c"), Some("y"), vec![]).await.unwrap();
    assert_eq!(done, Done, "a grant of its own has no newer one");
    assert_eq!(store.grant(&grant_id("b")).await.unwrap().unwrap().version, 1);
    // A refresh comes from no consent, and leaves the number as it is.
    let refreshed = store.commit(&grant_id("b"), 1, None, tokens("b", 2), vec![]).await.unwrap();
    assert!(matches!(refreshed, CommitOutcome::Done), "{refreshed:?}");
    let older = NewTokens { flow: Some("y".into()), ..tokens("b", 3) };
    let done = store.commit(&grant_id("b"), 2, None, older, vec![]).await.unwrap();
    assert!(matches!(done, CommitOutcome::FlowEnded), "{done:?}");
}

pub(super) async fn the_order_of_consents_is_not_the_clocks(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    store.add_client(client("c"), vec![]).await.unwrap();
    flows(&*store, &["early", "late"]).await;
    let early = taken(&*store, "early", at(300)).await;
    let late = taken(&*subject.handle(), "late", at(5)).await;
    assert!(late.used_at < early.used_at, "the clock was put back in between");
    assert!(late.taken_no > early.taken_no);
    store.connect(connection("x", "c", "a"), grant("a", "c"), Some("late"), vec![]).await.unwrap();
    assert_eq!(store.flow("early").await.unwrap(), None);
}

pub(super) async fn what_was_taken_before_a_revocation_is_taken_back(subject: Arc<dyn Subject>) {
    use ConnectOutcome::{Done, FlowRevoked};
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    flows(&*store, &["before", "after", "open"]).await;
    assert!(!taken(&*store, "before", at(5)).await.revoked);
    let off = GrantState { life: Life::Revoked, ..state(Life::Alive) };
    store.revoke(&[grant_id("x")], off.clone(), revocation("r", "x", None), vec![]).await.unwrap();
    assert!(store.flow("before").await.unwrap().unwrap().revoked);
    assert!(!taken(&*store, "after", at(5)).await.revoked, "it is the newer decision");
    let row = || connection("x", "c", "new");
    for (flow, outcome) in [("before", FlowRevoked), ("after", Done)] {
        let done = store.reconnect(row(), grant("new", "c"), Some(flow), vec![]).await.unwrap();
        assert_eq!(done, outcome, "{flow}");
    }
    assert!(store.flow("before").await.unwrap().is_some(), "until its token set is taken back");
    let late = NewTokens { flow: Some("before".into()), ..tokens("new", 2) };
    let done = store.commit(&grant_id("new"), 1, None, late, vec![]).await.unwrap();
    assert!(matches!(done, CommitOutcome::FlowRevoked), "{done:?}");
    let open = store.flow("open").await.unwrap().unwrap();
    assert!(!open.revoked, "nobody took it by then");
}

pub(super) async fn a_forgotten_connection_takes_its_taken_flows_along(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    flows(&*store, &["taken", "open"]).await;
    taken(&*store, "taken", at(5)).await;
    assert!(forget(&*store, "x", "x").await);
    assert_eq!(store.flow("taken").await.unwrap(), None);
    assert!(store.flow("open").await.unwrap().is_some(), "who clicks after that wants it again");
}

pub(super) async fn what_was_forgotten_with_a_revocation_is_known(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    flows(&*store, &["taken", "open"]).await;
    taken(&*store, "taken", at(5)).await;
    assert_eq!(store.revoked_item(&grant_id("x")).await.unwrap(), None);
    let off = GrantState { life: Life::Revoked, ..state(Life::Alive) };
    let row = revocation("r", "x", None);
    store.revoke(&[grant_id("x")], off, row.clone(), vec![]).await.unwrap();
    flows(&*store, &["again"]).await;
    taken(&*store, "again", at(6)).await;
    assert!(
        store
            .forget(&connection_id("x"), &grant_id("x"), TakenFlows::Revoke, vec![])
            .await
            .unwrap()
            == ForgetOutcome::Done
    );
    assert_eq!(store.grant(&grant_id("x")).await.unwrap(), None);
    // Of several items, what is pending is what has to be known.
    let pending = row.items.iter().find(|item| item.state == RevocationItemState::Pending);
    assert!(pending.is_some() && pending != row.items.last());
    assert_eq!(store.revoked_item(&grant_id("x")).await.unwrap().as_ref(), pending);
    for flow in ["taken", "again"] {
        let made = (connection("x", "c", "new"), grant("new", "c"));
        let done = store.connect(made.0.clone(), made.1, Some(flow), vec![]).await.unwrap();
        assert_eq!(done, ConnectOutcome::FlowRevoked, "{flow}");
        connect(&*store, &["z"]).await;
        let joins = connection("x", "c", "z");
        let done = store.join(joins, Some(flow), vec![]).await.unwrap();
        assert_eq!(done, ConnectOutcome::FlowRevoked, "{flow}");
        forget(&*store, "z", "z").await;
    }
    assert!(!store.flow("open").await.unwrap().unwrap().revoked);
}

pub(super) async fn taken_flows_stay_for_their_journal_to_end_them(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    store.add_client(client("c"), vec![]).await.unwrap();
    flows(&*store, &["taken", "open", "another"]).await;
    taken(&*store, "taken", at(5)).await;
    store.take_flow("another", &journal_id("k"), at(5)).await.unwrap();
    let stale =
        async |name: &str, expired| store.stale_flows(&journal_id(name), expired, 9).await.unwrap();
    let of = |name: &str| vec![(at(600), name.to_owned())];
    assert_eq!(stale("j", (at(0), at(600))).await, vec![]);
    assert_eq!(stale("j", (at(600), at(601))).await, vec![], "it was looked at before");
    assert_eq!(stale("j", (at(0), at(601))).await, of("taken"));
    assert_eq!(stale("k", (at(0), at(601))).await, of("another"));
    let none = store.stale_flows(&journal_id("j"), (at(0), at(601)), 0).await.unwrap();
    assert_eq!(none, vec![]);
    assert_eq!(store.purge_flows(at(601), at(600)).await.unwrap(), 1);
    assert_eq!(store.flow("open").await.unwrap(), None);
    assert!(store.flow("taken").await.unwrap().is_some(), "its answer may be kept");
    assert_eq!(store.purge_flows(at(601), at(601)).await.unwrap(), 2, "but not for ever");
}
