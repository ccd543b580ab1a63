//! Promises on data keys and clients.

use std::sync::Arc;

use indicia_broker::model::{EventKind, GrantRow};
use indicia_broker::ports::ConnectOutcome;
use indicia_broker::vault::{DataKeyRow, KeyId, Sealed};

use super::Subject;
use super::rows::{
    at, client, client_id, connect, connection, data_key, event, flow, forget, grant, grant_id,
};

pub(super) async fn data_keys_come_back_oldest_first(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    assert_eq!(store.data_keys().await.unwrap(), vec![]);
    for n in [2, 10, 1] {
        assert!(store.add_data_key(data_key(n)).await.unwrap());
    }
    assert_eq!(store.data_keys().await.unwrap(), vec![data_key(1), data_key(2), data_key(10)]);
}

pub(super) async fn a_data_key_number_is_given_once(subject: Arc<dyn Subject>) {
    let tasks = (0..16_u8).map(|i| {
        let store = subject.handle();
        tokio::spawn(async move {
            let mut row = data_key(1);
            row.wrapped = vec![i];
            store.add_data_key(row).await.unwrap().then_some(i)
        })
    });
    let mut winners = vec![];
    for task in tasks.collect::<Vec<_>>() {
        winners.extend(task.await.unwrap());
    }
    assert_eq!(winners.len(), 1, "exactly one adds the key");
    assert_eq!(subject.handle().data_keys().await.unwrap()[0].wrapped, winners);
}

pub(super) async fn a_client_comes_back_as_it_was_added(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    assert_eq!(store.client(&client_id("b")).await.unwrap(), None);
    assert!(store.add_client(client("b"), vec![]).await.unwrap());
    assert!(store.add_client(client("a"), vec![]).await.unwrap());
    assert_eq!(store.client(&client_id("b")).await.unwrap(), Some(client("b")));
    let other = subject.handle();
    assert_eq!(other.clients().await.unwrap(), vec![client("a"), client("b")]);
}

pub(super) async fn a_client_id_is_taken_once(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    assert!(store.add_client(client("a"), vec![]).await.unwrap());
    let mut second = client("a");
    second.client_id = "another".to_owned();
    assert!(!store.add_client(second, vec![]).await.unwrap());
    assert_eq!(store.clients().await.unwrap(), vec![client("a")]);
}

pub(super) async fn a_client_changes_only_from_its_last_revision(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    let mut row = client("a");
    row.revision = 2;
    assert!(!store.update_client(row.clone(), vec![]).await.unwrap(), "it isn't there");
    store.add_client(client("a"), vec![]).await.unwrap();
    row.refused = None;
    row.secrets.remove(0);
    assert!(store.update_client(row.clone(), vec![]).await.unwrap());
    assert_eq!(store.client(&row.id).await.unwrap(), Some(row.clone()));

    let mut stale = client("a");
    for revision in [1, 2, 4] {
        stale.revision = revision;
        assert!(!store.update_client(stale.clone(), vec![]).await.unwrap(), "from {revision}");
    }
    assert_eq!(store.client(&row.id).await.unwrap(), Some(row));
}

pub(super) async fn a_client_with_connections_stays(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    let gone = vec![event(EventKind::ClientRemoved, "x")];
    let id = client_id("c");
    assert_eq!(store.remove_client(&id, gone.clone()).await.unwrap(), None, "it isn't there");
    store.add_client(client("c"), vec![]).await.unwrap();
    store.add_flow(flow("f", "c")).await.unwrap();
    for name in ["x", "y"] {
        let done = store.connect(connection(name, "c", name), grant(name, "c"), None, vec![]).await;
        assert_eq!(done.unwrap(), ConnectOutcome::Done);
    }
    assert_eq!(store.remove_client(&id, gone.clone()).await.unwrap(), Some(2));
    assert!(store.client(&id).await.unwrap().is_some());
    assert!(store.events(0, 9).await.unwrap().is_empty(), "nothing done, nothing told");

    for name in ["x", "y"] {
        assert!(forget(&*store, name, name).await);
    }
    assert_eq!(store.remove_client(&id, gone).await.unwrap(), None);
    assert_eq!(store.client(&id).await.unwrap(), None);
    assert_eq!(store.flow("f").await.unwrap(), None, "its flows go with it");
    assert_eq!(store.events(0, 9).await.unwrap().len(), 1);

    let late = GrantRow { created_at: at(1), ..grant("z", "c") };
    let refused = store.connect(connection("z", "c", "z"), late, None, vec![]).await;
    assert!(refused.is_err(), "no connection for a client that is gone");
}

pub(super) async fn data_keys_are_wrapped_anew_all_or_none(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    for n in [1, 2] {
        assert!(store.add_data_key(data_key(n)).await.unwrap());
    }
    let other = |n| DataKeyRow { wrapped: vec![9; 8], ..data_key(n) };
    assert!(!store.rewrap_data_keys(vec![other(1)], vec![]).await.unwrap(), "another was added");
    assert_eq!(store.data_keys().await.unwrap(), [data_key(1), data_key(2)]);
    assert!(store.rewrap_data_keys(vec![other(1), other(2)], vec![]).await.unwrap());
    assert_eq!(subject.handle().data_keys().await.unwrap(), [other(1), other(2)]);
}

pub(super) async fn a_data_key_goes_when_nothing_is_sealed_with_it(subject: Arc<dyn Subject>) {
    let store = subject.handle();
    let (old, new) = (grant("x", "c").tokens.key, KeyId(90));
    for n in [old.0, new.0] {
        assert!(store.add_data_key(data_key(n)).await.unwrap());
    }
    connect(&*store, &["x", "y"]).await;
    assert!(!store.remove_data_key(old, vec![]).await.unwrap(), "token sets are sealed with it");
    let first = store.sealed_before(new, None, 1).await.unwrap();
    assert_eq!(first, [grant("x", "c")]);
    let rest = store.sealed_before(new, Some(&grant_id("x")), 9).await.unwrap();
    assert_eq!(rest, [grant("y", "c")]);
    let anew = |n: u8| Sealed { key: new, bytes: vec![n; 3] };
    let (x, y) = (grant_id("x"), grant_id("y"));
    let stale = vec![(x.clone(), 7, anew(1)), (grant_id("z"), 1, anew(2))];
    assert_eq!(store.reseal(stale).await.unwrap(), 0, "it has moved on, or isn't there");
    let both = vec![(x.clone(), 1, anew(1)), (y, 1, anew(2))];
    assert_eq!(store.reseal(both.clone()).await.unwrap(), 2);
    assert_eq!(store.reseal(both).await.unwrap(), 0, "it is done");
    let row = subject.handle().grant(&x).await.unwrap().unwrap();
    assert_eq!(row, GrantRow { tokens: anew(1), ..grant("x", "c") });
    assert_eq!(store.sealed_before(new, None, 9).await.unwrap(), vec![]);

    // Client secrets, flows and revocations hold a key too.
    let mut row = store.client(&client_id("c")).await.unwrap().unwrap();
    for secret in row.secrets.iter_mut().filter(|secret| secret.sealed.is_some()) {
        secret.sealed = Some(Sealed { key: KeyId(91), bytes: vec![1] });
    }
    row.revision += 1;
    assert!(store.update_client(row, vec![]).await.unwrap());
    assert!(store.add_data_key(data_key(91)).await.unwrap());
    assert!(!store.remove_data_key(KeyId(91), vec![]).await.unwrap());
    let told = vec![event(EventKind::DataKeyRemoved, "x")];
    assert!(store.remove_data_key(old, told.clone()).await.unwrap());
    assert!(!store.remove_data_key(old, told).await.unwrap(), "it isn't there");
    assert_eq!(store.events(0, 9).await.unwrap().len(), 1);
    let left: Vec<_> = store.data_keys().await.unwrap().into_iter().map(|row| row.id.0).collect();
    assert_eq!(left, [90, 91]);
}
