//! Connecting: whose callback it is, where it arrived, and that a code is spent once, ever.

use std::time::Duration;

use indicia_broker::connect::{ConnectRequest, FLOW_LIFE};
use indicia_broker::view::ConnectionState;
use indicia_catalog::Capability;

use crate::rig::{Fate, Rig, code};

/// The code of an error that must come.
fn klaviyo(client: &str, id: &str) -> ConnectRequest {
    ConnectRequest {
        client: client.into(),
        id: Some(id.into()),
        capabilities: vec![Capability::ContactsRead],
        ..ConnectRequest::default()
    }
}

// AR-7
#[tokio::test]
async fn ar_7_the_address_tells_nothing_of_ours() {
    let rig = Rig::new().await;
    rig.client("klaviyo", "shop").await.unwrap();
    let mut request = klaviyo("shop", "tenant-4711");
    request.labels.insert("customer".into(), "acme".into());
    let step = rig.begin(request).await.unwrap();
    for ours in ["tenant-4711", "acme", "customer"] {
        assert!(!step.authorize_url.contains(ours), "{ours} is in {}", step.authorize_url);
    }
    let callback = rig.approve("klaviyo", &step, "alice");
    let bent = callback.replace("state=", "state=x");
    assert_eq!(code(rig.broker.finish(&bent).await), "state_unknown");
    assert!(rig.posts().is_empty());
}

// AR-12, RH-11
#[tokio::test]
async fn ar_12_rh_11_an_answer_on_another_clients_address_is_refused_and_the_flow_waits() {
    let rig = Rig::new().await;
    rig.client("klaviyo", "a").await.unwrap();
    rig.client("klaviyo", "b").await.unwrap();
    let step = rig.begin(klaviyo("a", "one")).await.unwrap();
    let callback = rig.approve("klaviyo", &step, "alice");
    let elsewhere = callback.replace("/oauth/callback/a", "/oauth/callback/b");
    assert_ne!(callback, elsewhere);
    assert_eq!(code(rig.broker.finish(&elsewhere).await), "callback_of_another_client");
    assert!(rig.posts().is_empty(), "no code may go out");
    rig.broker.finish(&callback).await.unwrap();
}

// RH-1
#[tokio::test]
async fn rh_1_a_state_that_was_not_given_out_is_refused() {
    let rig = Rig::new().await;
    rig.client("klaviyo", "a").await.unwrap();
    let step = rig.begin(klaviyo("a", "one")).await.unwrap();
    let callback = rig.approve("klaviyo", &step, "alice");
    let (place, query) = callback.split_once('?').unwrap();
    let without: Vec<&str> = query.split('&').filter(|p| !p.starts_with("state=")).collect();
    let state = query.split('&').find(|p| p.starts_with("state=")).unwrap();
    let cut = &state[..state.len() - 1];
    for bad in [
        format!("{place}?{}", without.join("&")),
        format!("{place}?{}&state=", without.join("&")),
        format!("{place}?{}&{cut}", without.join("&")),
        format!("{place}?{}&{}", without.join("&"), state.to_uppercase().replace("STATE", "state")),
    ] {
        let refused = code(rig.broker.finish(&bad).await);
        assert!(matches!(refused, "state_unknown" | "callback_malformed"), "{refused}: {bad}");
    }
    assert!(rig.posts().is_empty());
    rig.broker.finish(&callback).await.unwrap();
}

// RH-2
#[tokio::test]
async fn rh_2_a_state_works_once() {
    let rig = Rig::new().await;
    rig.client("klaviyo", "a").await.unwrap();
    let step = rig.begin(klaviyo("a", "one")).await.unwrap();
    let callback = rig.approve("klaviyo", &step, "alice");
    let (first, second) = tokio::join!(rig.broker.finish(&callback), rig.broker.finish(&callback));
    assert_eq!(usize::from(first.is_ok()) + usize::from(second.is_ok()), 1);
    // The winner removed the flow, so a third one is told that it is unknown or used.
    let third = code(rig.broker.finish(&callback).await);
    assert!(matches!(third, "state_used" | "state_unknown"), "{third}");
    assert_eq!(rig.posts().len(), 1, "exactly one exchange");
}

// RH-2
#[tokio::test]
async fn rh_2_an_error_spends_the_state_too() {
    let rig = Rig::new().await;
    rig.client("klaviyo", "a").await.unwrap();
    let step = rig.begin(klaviyo("a", "one")).await.unwrap();
    let good = rig.approve("klaviyo", &step, "alice");
    let (place, query) = good.split_once('?').unwrap();
    let state = query.split('&').find(|p| p.starts_with("state=")).unwrap();
    let refusal = format!("{place}?error=access_denied&{state}");
    assert_eq!(code(rig.broker.finish(&refusal).await), "access_denied");
    assert_eq!(code(rig.broker.finish(&good).await), "state_used");
    assert!(rig.posts().is_empty());
}

#[tokio::test]
async fn a_flow_ends_by_time() {
    let rig = Rig::new().await;
    rig.client("klaviyo", "a").await.unwrap();
    let step = rig.begin(klaviyo("a", "one")).await.unwrap();
    let callback = rig.approve("klaviyo", &step, "alice");
    rig.advance(FLOW_LIFE + Duration::from_secs(1));
    assert_eq!(code(rig.broker.finish(&callback).await), "state_expired");
    assert!(rig.posts().is_empty());
}

// RH-3
#[tokio::test]
async fn rh_3_a_code_is_never_sent_twice() {
    for fate in [
        Fate::LoseAnswer,
        Fate::Answer(500, "text/html", "<html>oops</html>"),
        Fate::Answer(400, "application/json", r#"{"error":"invalid_grant"}"#),
        Fate::Answer(200, "text/html", "<html>welcome</html>"),
    ] {
        let rig = Rig::new().await;
        rig.client("klaviyo", "a").await.unwrap();
        let step = rig.begin(klaviyo("a", "one")).await.unwrap();
        let callback = rig.approve("klaviyo", &step, "alice");
        rig.fate(fate);
        assert!(rig.broker.finish(&callback).await.is_err());
        assert!(rig.broker.finish(&callback).await.is_err());
        rig.broker.run_due().await.unwrap();
        assert_eq!(rig.posts().len(), 1);
    }
}

// PK-7
#[tokio::test]
async fn pk_7_verifiers_of_two_tabs_do_not_cross() {
    let rig = Rig::new().await;
    rig.client("klaviyo", "a").await.unwrap();
    let one = rig.begin(klaviyo("a", "one")).await.unwrap();
    let two = rig.begin(klaviyo("a", "two")).await.unwrap();
    let back_two = rig.approve("klaviyo", &two, "bob");
    let back_one = rig.approve("klaviyo", &one, "alice");
    // The model checks each verifier against its own challenge.
    rig.broker.finish(&back_one).await.unwrap();
    rig.broker.finish(&back_two).await.unwrap();
    let bodies: Vec<String> = rig.posts().into_iter().map(|p| p.body).collect();
    let verifier =
        |b: &str| b.split('&').find(|p| p.starts_with("code_verifier=")).map(str::to_owned);
    assert!(verifier(&bodies[0]).is_some());
    assert_ne!(verifier(&bodies[0]), verifier(&bodies[1]));
}

// proves: same-account
#[tokio::test]
async fn a_reconnect_keeps_the_id_and_refuses_another_account() {
    let rig = Rig::new().await;
    rig.client("hubspot", "h").await.unwrap();
    let request = || ConnectRequest {
        client: "h".into(),
        id: Some("crm".into()),
        capabilities: vec![Capability::ContactsRead],
        ..ConnectRequest::default()
    };
    let accounts: Vec<String> = rig.model("hubspot", |m, _| {
        m.service().sandbox.accounts.iter().map(|a| a.id.clone()).collect()
    });
    rig.connect("hubspot", request(), &accounts[0]).await.unwrap();
    let error = rig.connect("hubspot", request(), &accounts[1]).await.unwrap_err();
    assert_eq!(error.code(), "other_account");
    assert!(error.to_string().contains(&accounts[0]) && error.to_string().contains(&accounts[1]));
    let before = rig.broker.connection("crm").await.unwrap();
    assert_eq!((before.version, before.state), (1, ConnectionState::Active));
    let again = rig.connect("hubspot", request(), &accounts[0]).await.unwrap();
    assert_eq!((again.id.as_str(), again.version), ("crm", 2), "the version never falls");
    let told = ConnectRequest { other_account: true, ..request() };
    let other = rig.connect("hubspot", told, &accounts[1]).await.unwrap();
    assert_eq!((other.id.as_str(), other.version), ("crm", 3));
}

#[tokio::test]
async fn a_grant_that_a_service_shares_is_joined() {
    let rig = Rig::new().await;
    rig.client("hubspot", "h").await.unwrap();
    let request = |id: &str| ConnectRequest {
        client: "h".into(),
        id: Some(id.into()),
        capabilities: vec![Capability::ContactsRead],
        ..ConnectRequest::default()
    };
    rig.connect("hubspot", request("one"), "alice").await.unwrap();
    rig.connect("hubspot", request("two"), "alice").await.unwrap();
    assert_eq!(rig.memory.grant_rows().len(), 1);
    let one = rig.broker.token("one", None).await.unwrap();
    let two = rig.broker.token("two", None).await.unwrap();
    assert_eq!(*one.access_token, *two.access_token, "both have the grant's newest token set");
}

#[tokio::test]
async fn client_credentials_need_no_browser_and_share_a_grant() {
    let rig = Rig::new().await;
    let subdomain = "mc563885gzs27c5t9-63k636ttgm";
    let service = "salesforce-marketing-cloud";
    rig.client_with(service, "sfmc", &[("subdomain", subdomain)], &[]).await.unwrap();
    let request = |id: &str, mid: &str| ConnectRequest {
        client: "sfmc".into(),
        id: Some(id.into()),
        flow: Some(indicia_catalog::Flow::ClientCredentials),
        capabilities: vec![Capability::ContactsRead],
        inputs: [("account_id".to_owned(), mid.to_owned())].into(),
        ..ConnectRequest::default()
    };
    for (id, mid) in [("bu1", "12345"), ("bu1-again", "12345"), ("bu2", "67890")] {
        rig.broker.connect(request(id, mid)).await.unwrap();
    }
    assert_eq!(rig.memory.grant_rows().len(), 2, "one grant per client, inputs and scopes");
    let one = rig.broker.token("bu1", None).await.unwrap();
    let two = rig.broker.token("bu2", None).await.unwrap();
    assert_ne!(*one.access_token, *two.access_token, "business units are never mixed up");
    rig.advance(Duration::from_secs(3600));
    let later = rig.broker.token("bu1", None).await.unwrap();
    assert_ne!(*one.access_token, *later.access_token);
}

#[tokio::test]
async fn scopes_are_chosen_not_guessed() {
    let rig = Rig::new().await;
    rig.client("klaviyo", "a").await.unwrap();
    let request = ConnectRequest { client: "a".into(), ..ConnectRequest::default() };
    let error = match rig.broker.connect(request).await {
        Err(error) => error,
        Ok(_) => panic!("it asked for nothing"),
    };
    assert_eq!(error.code(), "scopes_missing");
    assert!(error.to_string().contains("contacts.read"));
}
