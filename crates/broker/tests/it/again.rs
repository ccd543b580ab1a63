//! Connecting again: what a reconnect keeps, and what an old revocation must not end.

use std::time::Duration;

use indicia_broker::Force;
use indicia_broker::connect::ConnectRequest;
use indicia_broker::model::RevocationItemState;
use indicia_broker::revoke::{Selector, Shared};
use indicia_catalog::Capability;

use crate::rig::{Fate, Rig, code};

fn request() -> ConnectRequest {
    ConnectRequest {
        client: "h".into(),
        id: Some("crm".into()),
        capabilities: vec![Capability::ContactsRead],
        ..ConnectRequest::default()
    }
}

async fn connected() -> (Rig, String) {
    let rig = Rig::new().await;
    rig.client("hubspot", "h").await.unwrap();
    let view = rig.connect("hubspot", request(), "alice").await.unwrap();
    (rig, view.account.unwrap().id)
}

#[tokio::test]
async fn a_refresh_token_that_is_not_repeated_is_kept_and_none_rotated() {
    let (rig, hub) = connected().await;
    let before = rig.memory.grant_rows()[0].facts.clone();
    let step = rig.begin(request()).await.unwrap();
    let callback = rig.approve("hubspot", &step, "alice");
    // A second consent, answered without a refresh token.
    let body = format!(
        r#"{{"access_token":"second-consent-token","token_type":"bearer","expires_in":1800,"hub_id":{hub}}}"#
    );
    rig.fate(Fate::Answer(200, "application/json", body.leak()));
    let view = rig.broker.finish(&callback).await.unwrap();
    assert_eq!(view.version, 2);
    let after = rig.memory.grant_rows()[0].facts.clone();
    assert_ne!(before.access, after.access);
    assert_eq!(before.refresh, after.refresh, "the refresh token before is kept");
    assert!(!after.rotated);
    rig.connect("hubspot", request(), "alice").await.unwrap();
    assert!(!rig.memory.grant_rows()[0].facts.rotated, "a new consent is no rotation");
}

#[tokio::test]
async fn an_older_consent_ends_with_a_newer_one_whatever_the_clock_says() {
    let (rig, _) = connected().await;
    let older = rig.begin(request()).await.unwrap();
    let newer = rig.begin(request()).await.unwrap();
    let callback = |step| rig.approve("hubspot", step, "alice");
    let (first, second) = (callback(&older), callback(&newer));
    // Its answer is kept, and can't be read: it waits for a service file that can.
    rig.fate(Fate::Answer(200, "application/json", "{}"));
    assert_eq!(code(rig.broker.finish(&first).await), "unreadable_answer");
    assert_eq!(rig.broker.recover().await.unwrap().unreadable.len(), 1);
    rig.put_back(Duration::from_secs(3600));
    rig.broker.finish(&second).await.unwrap();
    assert_eq!(rig.broker.recover().await.unwrap().unreadable, []);
}

#[tokio::test]
async fn an_old_revocation_does_not_end_a_newer_connection() {
    let (rig, _) = connected().await;
    rig.fate(Fate::NotSent);
    rig.fate(Fate::NotSent);
    let crm = || Selector::Connections(vec!["crm".into()]);
    let receipt = rig.broker.revoke(crm(), Shared::Refuse).await.unwrap();
    assert!(receipt.service.iter().all(|i| i.state == RevocationItemState::Pending), "{receipt:?}");
    rig.connect("hubspot", request(), "alice").await.unwrap();
    let sent = rig.posts().len();
    rig.advance(Duration::from_secs(600));
    rig.broker.run_due().await.unwrap();
    assert_eq!(rig.posts().len(), sent, "the service ends all that the account gave: not asked");
    let receipt = rig.broker.receipt(&receipt.id).await.unwrap();
    assert!(receipt.service.iter().all(|i| i.state == RevocationItemState::Cannot), "{receipt:?}");
    assert!(receipt.service.iter().all(|i| i.next_step.is_some()));
    assert!(rig.broker.token("crm", None).await.is_ok());
}

// proves: what-was-kept-may-have-ended
#[tokio::test]
async fn what_was_kept_and_has_ended_since_is_refreshed_and_not_handed_out() {
    let rig = Rig::new().await;
    rig.client("keap", "k").await.unwrap();
    rig.connect("keap", rig.request("k", "k"), "alice").await.unwrap();
    let days = |n: u64| Duration::from_secs(n * 24 * 3600);
    rig.advance(days(2));
    let after = rig.crash_when_kept(rig.broker.refresh("k", Force::Yes)).await;
    let sent = rig.posts().len();
    rig.advance(days(2));
    let token = after.token("k", None).await.unwrap();
    assert_eq!((token.version, rig.posts().len()), (3, sent + 1), "the second came of the first");
    assert!(token.expires_at.unwrap() > rig.clock_now());
}
