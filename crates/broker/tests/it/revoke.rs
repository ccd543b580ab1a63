//! Taking back: local off at once, the service by its own rule, a receipt, and what shares the
//! grant.

use std::time::Duration;

use indicia_broker::Error;
use indicia_broker::connect::ConnectRequest;
use indicia_broker::model::RevocationItemState;
use indicia_broker::revoke::{ForgetGrant, Selector, Shared};
use indicia_catalog::Capability;
use zeroize::Zeroizing;

use crate::rig::{Fate, Rig};

async fn connected(service: &str, ids: &[(&str, &str)]) -> Rig {
    let rig = Rig::new().await;
    rig.client(service, "c").await.unwrap();
    for (id, account) in ids {
        let request = ConnectRequest {
            client: "c".into(),
            id: Some((*id).into()),
            capabilities: vec![Capability::ContactsRead],
            ..ConnectRequest::default()
        };
        rig.connect(service, request, account).await.unwrap();
    }
    rig
}

fn one(id: &str) -> Selector {
    Selector::Connections(vec![id.into()])
}

// RV-7
#[tokio::test]
async fn rv_7_a_living_grant_is_taken_back_by_its_refresh_token() {
    let rig = connected("klaviyo", &[("k", "alice")]).await;
    let token = rig.broker.token("k", None).await.unwrap();
    let receipt = rig.broker.revoke(one("k"), Shared::Refuse).await.unwrap();
    assert_eq!(receipt.local, "off");
    assert_eq!(receipt.service[0].what, "refresh_token");
    assert_eq!(receipt.service[0].state, RevocationItemState::Revoked);
    assert!(receipt.proof.is_some(), "the probe refuses the token: {receipt:?}");
    let now = rig.clock_now();
    assert!(
        !rig.model("klaviyo", |m, _| m.record().is_access_token_valid(&token.access_token, now))
    );
    assert!(matches!(rig.broker.token("k", None).await, Err(Error::Revoked { .. })));
}

// proves: local-off-first
// RV-9
#[tokio::test]
async fn rv_9_local_off_never_waits_for_the_service() {
    let rig = connected("klaviyo", &[("k", "alice")]).await;
    rig.fate(Fate::NotSent);
    let receipt = rig.broker.revoke(one("k"), Shared::Refuse).await.unwrap();
    assert_eq!(receipt.service[0].state, RevocationItemState::Pending);
    assert!(matches!(rig.broker.token("k", None).await, Err(Error::Revoked { .. })));
    rig.advance(Duration::from_secs(60));
    rig.broker.run_due().await.unwrap();
    let receipt = rig.broker.receipt(&receipt.id).await.unwrap();
    assert_eq!(receipt.service[0].state, RevocationItemState::Revoked);
}

#[tokio::test]
async fn a_yes_is_not_believed_while_the_api_takes_the_token() {
    let rig = connected("klaviyo", &[("k", "alice")]).await;
    rig.fate(Fate::Answer(200, "application/json", "{}"));
    let receipt = rig.broker.revoke(one("k"), Shared::Refuse).await.unwrap();
    assert_eq!(receipt.service[0].state, RevocationItemState::Pending, "{receipt:?}");
    assert!(receipt.proof.is_none());
    let receipts = rig.broker.try_revocations().await.unwrap();
    assert_eq!(receipts[0].service[0].state, RevocationItemState::Revoked);
    assert!(receipts[0].proof.is_some());
    assert_eq!(rig.broker.pending_revocations().await.unwrap(), 0);
}

#[tokio::test]
async fn a_page_is_not_taken_for_a_yes() {
    let rig = connected("klaviyo", &[("k", "alice")]).await;
    // The token has ended by itself: that the API refuses it proves nothing.
    rig.advance(Duration::from_secs(30 * 24 * 3600));
    rig.fate(Fate::Answer(200, "text/html", "<html>Welcome to our network</html>"));
    let receipt = rig.broker.revoke(one("k"), Shared::Refuse).await.unwrap();
    assert_eq!(receipt.service[0].state, RevocationItemState::Pending, "{receipt:?}");
    let receipts = rig.broker.try_revocations().await.unwrap();
    assert_eq!(receipts[0].service[0].state, RevocationItemState::Revoked);
}

#[tokio::test]
async fn a_leaked_token_is_found_without_opening_the_store() {
    let rig = connected("klaviyo", &[("k", "alice"), ("other", "bob")]).await;
    let token = rig.broker.token("k", None).await.unwrap();
    let leaked = Selector::Leaked(Zeroizing::new(format!("{}\n", *token.access_token)));
    let receipt = rig.broker.revoke(leaked, Shared::Refuse).await.unwrap();
    assert_eq!(receipt.connections, ["k"]);
    assert!(rig.broker.token("other", None).await.is_ok());
    let unknown = Selector::Leaked(Zeroizing::new("never-seen".into()));
    assert!(matches!(
        rig.broker.revoke(unknown, Shared::Refuse).await,
        Err(Error::NotFound { .. })
    ));
}

#[tokio::test]
async fn what_shares_the_grant_is_named_first() {
    let rig = connected("hubspot", &[("one", "alice"), ("two", "alice")]).await;
    let Err(error) = rig.broker.revoke(one("one"), Shared::Refuse).await else { panic!("done") };
    assert_eq!(error.code(), "grant_shared");
    assert!(error.to_string().contains("two"));
    assert!(rig.broker.token("two", None).await.is_ok(), "nothing was changed");
    let receipt = rig.broker.revoke(one("one"), Shared::Allow).await.unwrap();
    assert_eq!(receipt.connections, ["one", "two"]);
    assert!(matches!(rig.broker.token("two", None).await, Err(Error::Revoked { .. })));
}

#[tokio::test]
async fn a_service_that_cannot_revoke_says_what_to_do_by_hand() {
    let rig = Rig::new().await;
    rig.client("mailchimp", "c").await.unwrap();
    rig.connect("mailchimp", rig.request("c", "m"), "alice").await.unwrap();
    let receipt = rig.broker.revoke(one("m"), Shared::Refuse).await.unwrap();
    assert_eq!(receipt.service[0].state, RevocationItemState::Cannot);
    assert!(receipt.service[0].next_step.as_ref().is_some_and(|s| !s.is_empty()));
    assert!(rig.broker.token("m", None).await.is_err(), "local use ended all the same");
}

#[tokio::test]
async fn forgetting_says_what_becomes_of_the_grant() {
    let rig = connected("hubspot", &[("one", "alice"), ("two", "alice")]).await;
    let forgotten = rig.broker.forget("one", ForgetGrant::Keep).await.unwrap();
    assert_eq!(forgotten.grant_kept_by, ["two"]);
    assert!(matches!(rig.broker.token("one", None).await, Err(Error::NotFound { .. })));
    let forgotten = rig.broker.forget("two", ForgetGrant::Revoke).await.unwrap();
    assert_eq!(forgotten.receipt.unwrap().service[0].state, RevocationItemState::Revoked);
    assert!(rig.memory.grant_rows().is_empty());
}

#[tokio::test]
async fn a_revoked_connection_can_be_connected_again_under_its_id() {
    let rig = connected("klaviyo", &[("k", "alice")]).await;
    rig.broker.revoke(one("k"), Shared::Refuse).await.unwrap();
    let request = ConnectRequest {
        client: "c".into(),
        id: Some("k".into()),
        capabilities: vec![Capability::ContactsRead],
        ..ConnectRequest::default()
    };
    let view = rig.connect("klaviyo", request, "alice").await.unwrap();
    assert_eq!((view.id.as_str(), view.version), ("k", 2));
    assert!(rig.broker.token("k", None).await.is_ok());
}
