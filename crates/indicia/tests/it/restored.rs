//! A backup that is put back under a process that lives on.

use std::time::Duration;

use indicia::clients::NewClient;
use indicia::clock::SystemClock;
use indicia::connect::ConnectRequest;
use indicia_store::backup;

use crate::open::connected;

#[tokio::test]
async fn who_lives_on_notices_it_and_sends_nothing() {
    let (broker, home, server) = connected().await;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    let patience = Duration::from_secs(5);
    backup::copy(home.path(), &copy, patience).unwrap();
    let new = NewClient { service: "sendgrid".into(), ..NewClient::default() };
    broker.add_client(new).await.unwrap();
    broker.notice_changes().await.unwrap();
    let before = broker.token("own", None).await.unwrap();

    backup::put_back(&copy, home.path(), &SystemClock, patience).unwrap();
    broker.notice_changes().await.unwrap();
    assert!(broker.is_held().await);
    assert!(broker.client("sendgrid").await.is_err(), "it is as it was");
    assert_eq!(broker.token("own", None).await.unwrap().access_token, before.access_token);
    let asked = server.requests().len();
    let request = ConnectRequest { client: "own".into(), ..ConnectRequest::default() };
    let refused = broker.connect(request).await.err().unwrap();
    assert_eq!(refused.code(), "store_held");
    assert_eq!(server.requests().len(), asked);
    assert!(broker.take_over().await.unwrap());
    assert!(!broker.is_held().await);
}
