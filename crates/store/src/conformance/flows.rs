//! Promises on pending flows.

use std::sync::Arc;
use std::time::Duration;

use indicia_broker::model::TakenFlow;

use super::Subject;
use super::rows::{NOW, at, client, flow, journal_id};

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
