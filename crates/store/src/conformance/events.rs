//! Promises on events and on the change number.

use std::sync::Arc;

use indicia_broker::model::EventKind;

use super::Subject;
use super::leases::claimed;
use super::rows::{
    at, client, client_id, connect, connection, data_key, event, flow, forget, grant, grant_id,
    intent, journal_id, tokens,
};
use crate::chain;

pub(super) async fn events_make_a_chain_without_gaps(subject: Arc<dyn Subject>) {
    let handles: Vec<_> = (0..3).map(|_| subject.handle()).collect();
    connect(&*handles[0], &["x"]).await;
    assert_eq!(handles[1].last_event().await.unwrap(), 0);
    let tasks = (0..30).map(|i| {
        let store = Arc::clone(&handles[i % 3]);
        tokio::spawn(async move {
            let mut row = client(&format!("client-{i}"));
            row.revision = 1;
            let told = vec![event(EventKind::ClientAdded, "x"), event(EventKind::Attention, "y")];
            store.add_client(row, told).await.unwrap()
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert!(task.await.unwrap());
    }
    let all = handles[0].events(0, 1000).await.unwrap();
    assert_eq!(all.len(), 60);
    assert!(all.iter().map(|row| row.seq).eq(1..=60));
    assert_eq!(all[0].event, event(EventKind::ClientAdded, "x"));
    assert_eq!(all[1].event, event(EventKind::Attention, "y"), "events of one change keep order");
    assert_eq!(chain::verify(chain::GENESIS, &all), Ok(()));
    assert_eq!(handles[1].last_event().await.unwrap(), 60);
    assert_eq!(handles[1].events(10, 5).await.unwrap(), all[10..15]);
    assert_eq!(handles[1].events(60, 5).await.unwrap(), vec![]);

    let mut forged = all.clone();
    forged[30].event.facts.insert("version".to_owned(), "2".to_owned());
    assert_eq!(chain::verify(chain::GENESIS, &forged), Err(31));
    let mut cut = all;
    cut.remove(20);
    assert_eq!(chain::verify(chain::GENESIS, &cut), Err(22));
}

pub(super) async fn what_is_refused_leaves_no_event(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    connect(&*store, &["x"]).await;
    let told = || vec![event(EventKind::Connected, "x")];
    assert!(!store.add_client(client("c"), told()).await.unwrap());
    assert!(!store.update_client(client("c"), told()).await.unwrap());
    store.connect(connection("x", "c", "n"), grant("n", "c"), None, told()).await.unwrap();
    store.connect(connection("n", "c", "x"), grant("x", "c"), None, told()).await.unwrap_err();
    store.join(connection("x", "c", "x"), None, told()).await.unwrap();
    store.join(connection("n", "c", "n"), None, told()).await.unwrap_err();
    assert!(!store.label(connection("n", "c", "x")).await.unwrap());
    assert!(!forget(&*store, "n", "n").await);
    store.commit(&grant_id("x"), 2, None, tokens("x", 3), told()).await.unwrap();
    assert_eq!(store.events(0, 9).await.unwrap(), vec![]);
}

pub(super) async fn every_change_moves_the_change_number(subject: Arc<dyn Subject>) {
    let (store, reader) = (subject.handle(), subject.handle());
    let mut last = reader.change_number().await.unwrap();
    let mut moved = async |what: &str| {
        let now = reader.change_number().await.unwrap();
        assert!(now > last, "{what}");
        last = now;
    };
    store.add_data_key(data_key(1)).await.unwrap();
    moved("data key").await;
    store.add_client(client("c"), vec![]).await.unwrap();
    moved("client").await;
    store.connect(connection("x", "c", "x"), grant("x", "c"), None, vec![]).await.unwrap();
    moved("connection").await;
    store.add_flow(flow("f", "c")).await.unwrap();
    moved("flow").await;
    store.take_flow("f", &journal_id("j"), super::rows::NOW).await.unwrap();
    moved("taken flow").await;
    let no = claimed(&*store, "x").await.lease_no;
    moved("claim").await;
    store.begin(&grant_id("x"), intent("x", 1, no)).await.unwrap();
    moved("intent").await;
    store.commit(&grant_id("x"), 1, Some(no), tokens("x", 2), vec![]).await.unwrap();
    moved("commit").await;
    store.reject(&grant_id("x"), 2, at(70), vec![]).await.unwrap();
    moved("rejection").await;
    forget(&*store, "x", "x").await;
    moved("forgotten").await;
    store.remove_client(&client_id("c"), vec![]).await.unwrap();
    moved("removed").await;
    let before = reader.change_number().await.unwrap();
    store.clients().await.unwrap();
    assert_eq!(reader.change_number().await.unwrap(), before, "reading changes nothing");
}
