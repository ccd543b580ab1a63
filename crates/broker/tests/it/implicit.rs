//! The implicit flow: the token comes in the fragment, once, for who asked, and can't be refreshed.

use std::path::Path;
use std::time::Duration;

use indicia_broker::connect::ConnectRequest;
use indicia_broker::model::ReasonCode;
use indicia_broker::view::ConnectionState;
use indicia_broker::{Error, Force};
use indicia_catalog::{Catalogue, Flow};

use crate::rig::{Fate, Rig, code};

const SERVICE: &str = "constant-contact";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn request(id: &str) -> ConnectRequest {
    ConnectRequest {
        client: "c".into(),
        id: Some(id.into()),
        scopes: vec!["contact_data".into()],
        flow: Some(Flow::Implicit),
        ..ConnectRequest::default()
    }
}

async fn rig() -> Rig {
    let rig = Rig::new().await;
    rig.client(SERVICE, "c").await.unwrap();
    rig
}

#[tokio::test]
async fn a_token_comes_in_the_fragment_and_is_served_until_its_end() {
    let rig = rig().await;
    let step = rig.begin(request("page")).await.unwrap();
    assert!(step.implicit);
    assert!(step.authorize_url.contains("response_type=token"), "{}", step.authorize_url);
    assert!(!step.authorize_url.contains("code_challenge"), "{}", step.authorize_url);
    let callback = rig.approve(SERVICE, &step, "alice");
    assert!(callback.contains("#access_token="), "{callback}");
    let view = rig.broker.finish(&callback).await.unwrap();
    assert_eq!((view.flow, view.state), (Flow::Implicit, ConnectionState::Active));
    assert!(rig.posts().is_empty(), "no request is made for it");
    rig.broker.token("page", None).await.unwrap();
    assert_eq!(code(rig.broker.finish(&callback).await), "state_unknown", "it works once");

    // Ahead of its end that is told; after it, who asks is sent to the login page.
    rig.advance(DAY - Duration::from_secs(3600));
    rig.broker.run_due().await.unwrap();
    let view = rig.broker.connection("page").await.unwrap();
    assert_eq!(view.reason.as_ref().map(|r| r.code), Some(ReasonCode::EndsSoon), "{view:?}");
    let served = rig.broker.token("page", None).await.unwrap();
    assert!(served.warnings.iter().any(|w| w.code == "ends_soon"));
    let _ = rig.broker.refresh("page", Force::Yes).await;
    assert!(rig.posts().is_empty(), "there is nothing to send");
    rig.advance(Duration::from_secs(2 * 3600));
    rig.broker.run_due().await.unwrap();
    assert_eq!(code(rig.broker.token("page", None).await), "reauthorization_required");

    // In place, under its id.
    let again = rig.connect(SERVICE, request("page"), "alice").await.unwrap();
    assert_eq!((again.id.as_str(), again.state), ("page", ConnectionState::Active));
    rig.broker.token("page", None).await.unwrap();
}

// AR-9
#[tokio::test]
async fn ar_9_it_is_never_chosen_by_itself() {
    let rig = rig().await;
    let plain = ConnectRequest { flow: None, ..request("page") };
    let step = rig.begin(plain).await.unwrap();
    assert!(!step.implicit && step.authorize_url.contains("response_type=code"));
    rig.client("keap", "k").await.unwrap();
    let unoffered = ConnectRequest { client: "k".into(), ..request("k") };
    assert_eq!(code(rig.begin(unoffered).await), "flow_not_offered");
}

// proves: fragment-checked-first
// RH-18
#[tokio::test]
async fn rh_18_a_fragment_is_taken_only_with_the_state_that_was_given_out() {
    let rig = rig().await;
    let step = rig.begin(request("page")).await.unwrap();
    let callback = rig.approve(SERVICE, &step, "alice");
    let (address, fragment) = callback.split_once('#').unwrap();
    let without = |name: &str| -> String {
        let pairs = fragment.split('&').filter(|pair| !pair.starts_with(name));
        pairs.collect::<Vec<_>>().join("&")
    };
    let stateless = without("state=");
    for (bad, told) in [
        (format!("{address}#{stateless}"), "state_unknown"),
        (format!("{address}#{stateless}&state=of-another"), "state_unknown"),
        (format!("{address}#{fragment}&state=twice"), "callback_malformed"),
        // Moved into the query: then a server would have seen it.
        (format!("{address}?{fragment}"), "callback_malformed"),
        (format!("http://127.0.0.1:1/elsewhere#{fragment}"), "callback_of_another_client"),
    ] {
        assert_eq!(code(rig.broker.finish(&bad).await), told, "{bad}");
    }
    // None of these used the attempt up.
    rig.broker.finish(&callback).await.unwrap();

    // A code's flow takes no token from a fragment.
    let plain = ConnectRequest { flow: None, ..request("other") };
    let step = rig.begin(plain).await.unwrap();
    let state = step.authorize_url.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let injected = format!("{address}#access_token=injected&token_type=bearer&state={state}");
    assert_eq!(code(rig.broker.finish(&injected).await), "callback_malformed");
    assert!(matches!(rig.broker.connection("other").await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_refusal_and_what_is_no_token_are_told_and_store_nothing() {
    let rig = rig().await;
    let step = rig.begin(request("page")).await.unwrap();
    let denied = rig.model(SERVICE, |m, now| m.deny(&step.authorize_url, "alice", now).unwrap());
    assert_eq!(code(rig.broker.finish(&denied).await), "access_denied");
    // Also where a service puts it into the query.
    let step = rig.begin(request("page")).await.unwrap();
    let callback = rig.approve(SERVICE, &step, "alice");
    let (address, fragment) = callback.split_once('#').unwrap();
    let state = fragment.split('&').find(|pair| pair.starts_with("state=")).unwrap();
    let denied = format!("{address}?error=access_denied&{state}");
    assert_eq!(code(rig.broker.finish(&denied).await), "access_denied");
    for (fragment, told) in [
        ("token_type=bearer", "callback_malformed"),
        ("access_token=a%0Ab&token_type=bearer", "token_refused"),
        ("access_token=a&token_type=mac", "token_refused"),
    ] {
        let step = rig.begin(request("page")).await.unwrap();
        let callback = rig.approve(SERVICE, &step, "alice");
        let (address, rest) = callback.split_once('#').unwrap();
        let state = rest.split('&').find(|pair| pair.starts_with("state=")).unwrap();
        let bad = format!("{address}#{fragment}&{state}");
        assert_eq!(code(rig.broker.finish(&bad).await), told, "{fragment}");
    }
    assert!(rig.memory.grant_rows().is_empty());
}

#[tokio::test]
async fn a_refresh_token_in_a_fragment_is_not_taken() {
    let rig = rig().await;
    let step = rig.begin(request("page")).await.unwrap();
    let callback = rig.approve(SERVICE, &step, "alice") + "&refresh_token=planted";
    rig.broker.finish(&callback).await.unwrap();
    assert_eq!(rig.memory.grant_rows()[0].facts.refresh, None);
}

#[tokio::test]
async fn a_token_that_was_kept_when_the_process_died_is_connected_by_recover() {
    let rig = rig().await;
    let step = rig.begin(request("page")).await.unwrap();
    let callback = rig.approve(SERVICE, &step, "alice");
    let broker = rig.crash_when_kept(rig.broker.finish(&callback)).await;
    assert_eq!(broker.recover().await.unwrap().recovered, ["page"]);
    let view = broker.connection("page").await.unwrap();
    assert_eq!(view.flow, Flow::Implicit);
}

/// A service of one's own that can be asked whose a token is.
const OWN: &str = r#"
schema = 1
id = "own"
name = "An own server"
surface = "API"
flows = ["implicit"]
pkce = "unknown"

[portal]
url = "https://as.example.com/apps"
steps = ["Register a client."]

[redirect]
loopback_ip = true

[[sources]]
title = "Its page"
url = "https://as.example.com/docs"
read = "2026-11-25"

[facts]
flows = "verified"
pkce = "unverified"
"token.auth" = "verified"
expiry = "verified"
"refresh.rotation" = "verified"
revocation = "verified"
scopes = "verified"
grant = "verified"
redirect = "verified"
secrets = "unverified"

[authorize]
url = "https://as.example.com/authorize"

[token]
auth = "body"

[introspection]
url = "https://as.example.com/introspect"
auth = "basic"

[revocation]
by_hand = "Ask its owner."

[scopes]
full_access = true

[refresh]
none = true

[api]
headers = { Authorization = "Bearer {token}" }

[sandbox]
access_life = "1h"
"#;

// RH-19
#[tokio::test]
async fn rh_19_a_token_of_another_client_is_refused_where_the_service_tells() {
    let catalogue = Catalogue::with_own([(Path::new("own.toml"), OWN)]);
    let catalogue = catalogue.unwrap_or_else(|problems| panic!("{problems:?}"));
    let rig = Rig::with(catalogue).await;
    rig.client("own", "c").await.unwrap();
    let answers = [
        (r#"{"active":true,"client_id":"client-of-another"}"#, 200, Some("token_of_another")),
        (r#"{"active":false}"#, 200, Some("token_of_another")),
        ("<html>", 200, Some("token_unchecked")),
        ("{}", 503, Some("token_unchecked")),
        (r#"{"active":true,"client_id":"client-c"}"#, 200, None),
        (r#"{"active":true}"#, 200, None),
    ];
    for (n, (body, status, refused)) in answers.into_iter().enumerate() {
        let id = format!("page-{n}");
        let request = ConnectRequest { scopes: Vec::new(), ..request(&id) };
        let step = rig.begin(request).await.unwrap();
        let callback = rig.approve("own", &step, "alice");
        rig.fate(Fate::Answer(status, "application/json", body));
        let done = rig.broker.finish(&callback).await;
        match refused {
            Some(told) => {
                assert_eq!(code(done), told, "{body}");
                assert_eq!(code(rig.broker.connection(&id).await), "not_found");
            }
            None => assert_eq!(done.unwrap().id, id),
        }
    }
}
