//! The main job, from one end to the other.

use std::time::Duration;

use crate::rig::Rig;
use indicia_broker::Error;
use indicia_broker::view::ConnectionState;

#[tokio::test]
async fn a_rotating_service_is_connected_read_and_refreshed() {
    let rig = Rig::new().await;
    rig.client("keap", "k").await.unwrap();
    let view = rig.connect("keap", rig.request("k", "mine"), "alice").await.unwrap();
    assert_eq!((view.id.as_str(), view.version), ("mine", 1));
    assert_eq!(view.state, ConnectionState::Active);
    let first = rig.broker.token("mine", None).await.unwrap();
    rig.advance(Duration::from_secs(2 * 24 * 3600));
    let second = rig.broker.token("mine", None).await.unwrap();
    assert_ne!(*first.access_token, *second.access_token);
    assert_eq!(second.version, 2);
    let now = rig.clock_now();
    let valid =
        |token: &str| rig.model("keap", |m, _| m.record().is_access_token_valid(token, now));
    assert!(valid(&second.access_token));
    assert_eq!(rig.posts().len(), 2, "one exchange, one refresh");
}

// proves: probed-before-given-up
#[tokio::test]
async fn a_token_that_never_expires_ends_when_the_api_refuses_it() {
    let rig = Rig::new().await;
    rig.client("mailchimp", "m").await.unwrap();
    rig.connect("mailchimp", rig.request("m", "m"), "alice").await.unwrap();
    rig.advance(Duration::from_secs(3 * 365 * 24 * 3600));
    let token = rig.broker.token("m", None).await.unwrap();
    assert!(token.api_base_url.as_ref().unwrap().starts_with("https://us"));
    let refused = crate::rig::sha256_hex(&token.access_token);
    // The API had a bad moment: the probe takes the token, and so it lives on.
    rig.broker.rejected("m", &refused).await.unwrap();
    assert!(rig.broker.token("m", None).await.is_ok(), "one hiccup ends nothing");
    rig.model("mailchimp", |m, now| m.owner_revokes("alice", "client-m", now));
    let Err(error) = rig.broker.rejected("m", &refused).await else { panic!("it was served") };
    assert!(matches!(error, Error::Reauthorization { .. }), "{error}");
    let view = rig.broker.connection("m").await.unwrap();
    assert_eq!(view.state, ConnectionState::ReauthorizationRequired);
}
