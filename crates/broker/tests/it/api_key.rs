//! The flow `api-key`: what a service without OAuth gives is held like a grant.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use indicia_broker::connect::{ConnectRequest, ConnectStep};
use indicia_broker::forecast::EndingKind;
use indicia_broker::import::ImportRequest;
use indicia_broker::model::{EventKind, RevocationItemState, RotationOwner};
use indicia_broker::revoke::{Selector, Shared};
use indicia_broker::view::{ConnectionState, ConnectionView, ExpiryKind, TokenView};
use indicia_broker::{Error, Force};
use indicia_catalog::{Capability, Catalogue, Flow};
use indicia_oauth::AccessToken;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::rig::{Rig, code};

const KEY: &str = "SG.first-key.0123456789abcdef";
const OTHER: &str = "SG.other-key.fedcba9876543210";
const SIGNED: &str = include_str!("../../../../docs/examples/ghost.toml");
const DAY: Duration = Duration::from_secs(24 * 3600);

fn request() -> ConnectRequest {
    ConnectRequest { client: "sg".into(), id: Some("sg".into()), ..ConnectRequest::default() }
}

async fn hand_over(rig: &Rig, key: &str) -> Result<ConnectionView, Error> {
    rig.broker.connect_key(request(), AccessToken::new(key)).await
}

/// A service that knows one key of "owner".
async fn rig() -> Rig {
    rig_of(Catalogue::shipped(), "sendgrid", KEY, &[]).await
}

async fn rig_of(catalogue: Catalogue, service: &str, key: &str, settings: &[(&str, &str)]) -> Rig {
    let rig = Rig::with(catalogue).await;
    let inputs: &[_] = if service == "ghost" { &[("site", "blog.example.com")] } else { &[] };
    rig.client_with(service, "sg", inputs, settings).await.unwrap();
    rig.model(service, |model, now| model.add_key(key, "owner", now));
    rig
}

fn header<'v>(view: &'v TokenView, name: &str) -> &'v str {
    view.headers.iter().find(|(n, _)| n == name).map(|(_, text)| text.as_str()).unwrap()
}

#[tokio::test]
async fn a_key_is_asked_for_and_served_for_as_long_as_it_works() {
    let rig = rig().await;
    let ConnectStep::Key(step) = rig.broker.connect(request()).await.unwrap() else {
        panic!("a key is needed");
    };
    assert_eq!((step.connection.as_str(), step.parts.len()), ("sg", 1));
    let view = hand_over(&rig, KEY).await.unwrap();
    assert_eq!((view.flow, view.state, view.version), (Flow::ApiKey, ConnectionState::Active, 1));
    let token = rig.broker.token("sg", None).await.unwrap();
    assert_eq!(header(&token, "Authorization"), format!("Bearer {KEY}"));
    assert_eq!((token.expiry, token.expires_at), (ExpiryKind::Never, None));
    assert!(token.query.is_empty() && token.body.is_empty());
    rig.advance(400 * DAY);
    assert_eq!(rig.broker.token("sg", None).await.unwrap().version, 1);
    // There is nothing that could be refreshed, and nothing that is tried.
    let posts = rig.posts().len();
    assert_eq!(rig.broker.refresh("sg", Force::Yes).await.unwrap().version, 1);
    assert_eq!(rig.posts().len(), posts);
}

// proves: refused-key-stores-nothing
#[tokio::test]
async fn a_wrong_key_changes_nothing() {
    let rig = rig().await;
    assert_eq!(code(hand_over(&rig, OTHER).await), "key_refused");
    assert_eq!(code(rig.broker.token("sg", None).await), "not_found");
    for malformed in ["", "SG.a", "SG.a.b c", "SG.a.b\n", &format!("SG.{}.b", "x".repeat(5_000))] {
        let error = hand_over(&rig, malformed).await.unwrap_err();
        assert_eq!(error.code(), "key_malformed");
        let shown = format!("{error} {}", error.hint());
        assert!(malformed.is_empty() || !shown.contains(malformed), "{shown}");
    }
    hand_over(&rig, KEY).await.unwrap();
    assert_eq!(code(hand_over(&rig, OTHER).await), "key_refused");
    assert_eq!(rig.broker.token("sg", None).await.unwrap().access_token.as_str(), KEY);
    let wants = ConnectRequest { capabilities: vec![Capability::ContactsRead], ..request() };
    assert_eq!(code(rig.broker.connect(wants).await.map(drop)), "scopes_not_asked");
}

#[tokio::test]
async fn a_key_that_the_api_refuses_is_tried_and_replaced_in_place() {
    let rig = rig().await;
    hand_over(&rig, KEY).await.unwrap();
    let told = || hex::encode(Sha256::digest(KEY));
    // Somebody's mistake: the service still takes it.
    rig.broker.rejected("sg", &told()).await.unwrap();
    rig.advance(Duration::from_secs(600));
    assert_eq!(rig.broker.token("sg", None).await.unwrap().access_token.as_str(), KEY);
    rig.model("sendgrid", |model, now| {
        model.owner_revokes("owner", "", now);
        model.add_key(OTHER, "owner", now);
    });
    rig.broker.rejected("sg", &told()).await.ok();
    rig.advance(Duration::from_secs(3_600));
    let error = rig.broker.token("sg", None).await.err().unwrap();
    let Error::Reauthorization { reason, .. } = &error else { panic!("{error}") };
    assert!(reason.next_step.contains("indicia connect sg --id sg"), "{reason:?}");
    let view = hand_over(&rig, OTHER).await.unwrap();
    assert_eq!((view.state, view.version), (ConnectionState::Active, 2));
    assert_eq!(rig.broker.token("sg", None).await.unwrap().access_token.as_str(), OTHER);
    // The first one works again: it may come back.
    rig.model("sendgrid", |model, now| model.add_key(KEY, "owner", now));
    assert_eq!(hand_over(&rig, KEY).await.unwrap().version, 3);
    assert_eq!(hand_over(&rig, KEY).await.unwrap().version, 3, "it is there");
}

#[tokio::test]
async fn keys_are_imported_revoked_and_found_when_they_leak() {
    let rig = rig().await;
    let import = ImportRequest {
        client: "sg".into(),
        id: None,
        owner: RotationOwner::Indicia,
        one_of_many: true,
    };
    let line = format!(r#"{{"id":"a","api_key":"{KEY}","labels":{{"team":"x"}}}}"#);
    let imported = rig.broker.import(&import, line.as_bytes()).await.unwrap();
    assert_eq!((imported.connection.flow, imported.changed), (Flow::ApiKey, true));
    assert!(!rig.broker.import(&import, line.as_bytes()).await.unwrap().changed);
    for wrong in [
        r#"{"id":"b","api_key":"x"}"#.to_owned(),
        r#"{"id":"b","api_key":7}"#.to_owned(),
        format!(r#"{{"id":"b","api_key":"{KEY}","access_token":"t"}}"#),
    ] {
        let refused = code(rig.broker.import(&import, wrong.as_bytes()).await.map(drop));
        assert!(["key_malformed", "token_set_refused"].contains(&refused), "{wrong}: {refused}");
    }
    let leaked = Selector::Leaked(KEY.to_owned().into());
    let receipt = rig.broker.revoke(leaked, Shared::Allow).await.unwrap();
    assert_eq!(receipt.connections, ["a"]);
    assert_eq!(receipt.service[0].state, RevocationItemState::Cannot);
    let next = receipt.service[0].next_step.as_deref().unwrap();
    assert!(next.contains("Delete the key in SendGrid"), "{next}");
    assert_eq!(code(rig.broker.token("a", None).await), "revoked");
}

#[tokio::test]
async fn the_age_that_a_client_allows_is_told_ahead() {
    let settings = [("token_max_age", "90d")];
    let rig = rig_of(Catalogue::shipped(), "sendgrid", KEY, &settings).await;
    hand_over(&rig, KEY).await.unwrap();
    let until = rig.clock_now().plus(100 * DAY);
    let endings = rig.broker.forecast(until).await.unwrap();
    assert_eq!(endings.len(), 1);
    assert_eq!(
        (endings[0].kind, endings[0].at),
        (EndingKind::ApiKey, rig.clock_now().plus(90 * DAY))
    );
}

#[tokio::test]
async fn a_key_that_signs_is_never_handed_out_itself_and_signs_anew_in_time() {
    let catalogue = Catalogue::with_own([(Path::new("ghost.toml"), SIGNED)]).unwrap();
    let key = format!("{}:{}", "ab".repeat(12), "0f".repeat(32));
    let rig = rig_of(catalogue, "ghost", &key, &[]).await;
    hand_over(&rig, &key).await.unwrap();
    let first = rig.broker.token("sg", None).await.unwrap();
    assert!(header(&first, "Authorization").starts_with("Ghost ey"));
    assert_eq!(header(&first, "Accept-Version"), "v5.0");
    assert!(!first.to_json().contains(&key[25..]), "the secret stays here");
    let now = rig.clock_now();
    assert_eq!(first.expires_at, Some(now.plus(Duration::from_secs(300))));
    let part = |n: usize| -> serde_json::Value {
        let text = first.access_token.split('.').nth(n).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    };
    assert_eq!(part(0), serde_json::json!({ "alg": "HS256", "kid": &key[..24], "typ": "JWT" }));
    let seconds = now.as_millis() / 1_000;
    let claims = serde_json::json!({ "aud": "/admin/", "iat": seconds, "exp": seconds + 300 });
    assert_eq!(part(1), claims);

    let same = rig.broker.token("sg", None).await.unwrap();
    assert_eq!(same.access_token, first.access_token, "what is warm is served");
    rig.advance(Duration::from_secs(299));
    let next = rig.broker.token("sg", None).await.unwrap();
    assert_ne!(next.access_token, first.access_token);
    assert_eq!(next.version, 1);

    rig.model("ghost", |model, now| model.owner_revokes("owner", "", now));
    let told = hex::encode(Sha256::digest(next.access_token.as_bytes()));
    rig.broker.rejected("sg", &told).await.ok();
    rig.advance(Duration::from_secs(3_600));
    assert_eq!(code(rig.broker.token("sg", None).await), "reauthorization_required");
}

#[tokio::test]
async fn a_key_may_travel_in_the_query_or_in_the_body() {
    for (place, name) in [("query", "apikey"), ("body", "api_key")] {
        let text = Catalogue::shipped_text("sendgrid").unwrap();
        let text = text.replace(
            "[api.probe]",
            &format!("[api.{place}]\n{name} = \"{{token}}\"\n\n[api.probe]"),
        );
        let text = text.replace("url = \"/v3/scopes\"", "url = \"/v3/scopes\"\nmethod = \"POST\"");
        let catalogue = Catalogue::with_own([(Path::new("sendgrid.toml"), text.as_str())]).unwrap();
        let rig = rig_of(catalogue, "sendgrid", KEY, &[]).await;
        assert_eq!(code(hand_over(&rig, OTHER).await), "key_refused", "{place}");
        hand_over(&rig, KEY).await.unwrap();
        let token = rig.broker.token("sg", None).await.unwrap();
        assert!(token.headers.is_empty(), "{place}");
        let carried = if place == "query" { &token.query } else { &token.body };
        assert_eq!((carried[0].0.as_str(), carried[0].1.as_str()), (name, KEY));
        let json: serde_json::Value = serde_json::from_str(&token.to_json()).unwrap();
        assert_eq!(json[place][name], KEY);
    }
}

#[tokio::test]
async fn nothing_is_registered_where_there_are_keys_alone() {
    let rig = Rig::new().await;
    let mut new = rig.new_client("sendgrid", "sg");
    new.client_id = Some("an-id".into());
    assert_eq!(code(rig.broker.add_client(new).await), "input_refused");
    rig.broker.add_client(rig.new_client("sendgrid", "sg")).await.unwrap();
    rig.client("keap", "k").await.unwrap();
    let keap = ConnectRequest { client: "k".into(), ..request() };
    let refused = rig.broker.connect_key(keap, AccessToken::new(KEY)).await;
    assert_eq!(code(refused), "flow_not_offered");
}

// proves: foreign-key-not-queued
#[tokio::test]
async fn another_accounts_key_is_left_as_it_is() {
    let pair = |letter: &str| format!("{}:{}", letter.repeat(32), letter.repeat(32));
    let rig = rig_of(Catalogue::shipped(), "mailjet", &pair("a"), &[]).await;
    rig.model("mailjet", |model, now| model.add_key(&pair("b"), "somebody", now));
    hand_over(&rig, &pair("a")).await.unwrap();
    let refused = hand_over(&rig, &pair("b")).await;
    assert_eq!(code(refused), "other_account");
    assert_eq!(*rig.broker.token("sg", None).await.unwrap().access_token, pair("a"));
    let events = rig.store().events(0, 1_000).await.unwrap();
    let revoked = events.iter().filter(|row| row.event.kind == EventKind::Revoked);
    assert_eq!(revoked.count(), 0, "it isn't ours to take back, and not kept");
    // Who means it says so.
    let moves = ConnectRequest { other_account: true, ..request() };
    let view = rig.broker.connect_key(moves, AccessToken::new(pair("b"))).await.unwrap();
    assert_eq!(view.id, "sg");
    assert_eq!(*rig.broker.token("sg", None).await.unwrap().access_token, pair("b"));
}

#[tokio::test]
async fn a_leaked_secret_part_finds_its_key_and_the_public_one_does_not() {
    let pair = format!("{}:{}", "a".repeat(32), "b".repeat(32));
    let rig = rig_of(Catalogue::shipped(), "mailjet", &pair, &[]).await;
    hand_over(&rig, &pair).await.unwrap();
    let leaked = |text: &str| Selector::Leaked(Zeroizing::new(text.to_owned()));
    for found in [&pair, &format!("{}\n", "b".repeat(32))] {
        let plan = rig.broker.revoke_plan(&leaked(found)).await.unwrap();
        assert_eq!(plan.connections, ["sg"], "{found}");
    }
    for other in ["a".repeat(32), "b".repeat(31), String::new()] {
        assert_eq!(code(rig.broker.revoke_plan(&leaked(&other)).await.map(drop)), "not_found");
    }
}

#[tokio::test]
async fn a_service_with_keys_alone_gives_no_tokens() {
    let rig = rig().await;
    let import = ImportRequest {
        client: "sg".into(),
        id: Some("a".into()),
        owner: RotationOwner::Indicia,
        one_of_many: false,
    };
    let set = format!(r#"{{"access_token":"{KEY}"}}"#);
    assert_eq!(
        code(rig.broker.import(&import, set.as_bytes()).await.map(drop)),
        "token_set_refused"
    );
}

#[tokio::test]
async fn a_missing_input_is_told_before_a_key_is_asked_for() {
    let key = "0".repeat(72);
    let rig = rig_of(Catalogue::shipped(), "activecampaign", &key, &[]).await;
    assert_eq!(code(rig.broker.connect(request()).await.map(drop)), "input_refused");
    assert_eq!(code(hand_over(&rig, &key).await), "input_refused");
}
