//! A server that names itself: `iss` in its answers (RFC 9207), and its metadata (RFC 8414).

use std::path::Path;

use indicia_broker::connect::ConnectRequest;
use indicia_catalog::{Capability, Catalogue};

use crate::rig::{Rig, code};

const OWN: &str = include_str!("../../../../docs/examples/own-server.toml");

fn catalogue(text: &str) -> Catalogue {
    Catalogue::with_own([(Path::new("own-server.toml"), text)]).unwrap_or_else(|e| panic!("{e:?}"))
}

async fn rig(text: &str) -> Rig {
    let rig = Rig::with(catalogue(text)).await;
    rig.client_with("own-server", "own", &[("port", "4101")], &[]).await.unwrap();
    rig
}

fn request() -> ConnectRequest {
    ConnectRequest {
        client: "own".into(),
        id: Some("own".into()),
        capabilities: vec![Capability::CampaignsRead],
        ..ConnectRequest::default()
    }
}

/// Lets the user approve, changes the callback, and tells what came of it and how many exchanges.
async fn bent(change: impl Fn(&str) -> String) -> (Result<(), &'static str>, usize) {
    let rig = rig(OWN).await;
    let step = rig.begin(request()).await.unwrap();
    let callback = change(&rig.approve("own-server", &step, "alice"));
    let result = rig.broker.finish(&callback).await;
    (result.map(drop).map_err(|e| e.code()), rig.posts().len())
}

const ISS: &str = "iss=http%3A%2F%2F127.0.0.1%3A4101";

#[tokio::test]
async fn an_answer_that_names_its_issuer_is_taken() {
    assert_eq!(bent(str::to_owned).await, (Ok(()), 1));
}

// proves: checked-before-the-code
// RH-5
#[tokio::test]
async fn rh_5_another_issuer_is_refused_before_any_token_request() {
    for wrong in [
        "iss=http%3A%2F%2F127.0.0.1%3A4101%2F",
        "iss=HTTP%3A%2F%2F127.0.0.1%3A4101",
        "iss=http%3A%2F%2F127.0.0.1%3A4102",
        "iss=https%3A%2F%2Fevil.example",
        "iss=http%253A%252F%252F127.0.0.1%253A4101",
    ] {
        let result = bent(|callback| {
            assert!(callback.contains(ISS), "{callback}");
            callback.replace(ISS, wrong)
        });
        assert_eq!(result.await, (Err("issuer_mismatch"), 0), "{wrong}");
    }
}

// RH-6
#[tokio::test]
async fn rh_6_a_server_that_always_names_itself_must() {
    let result = bent(|callback| callback.replace(&format!("&{ISS}"), "")).await;
    assert_eq!(result, (Err("issuer_mismatch"), 0));
}

// RH-8
#[tokio::test]
async fn rh_8_an_error_of_another_issuer_is_not_the_users_refusal() {
    let result = bent(|callback| {
        let (place, query) = callback.split_once('?').unwrap();
        let state = query.split('&').find(|p| p.starts_with("state=")).unwrap();
        format!("{place}?error=access_denied&{state}&iss=https%3A%2F%2Fevil.example")
    });
    assert_eq!(result.await, (Err("issuer_mismatch"), 0));
}

// AR-11, RH-12
#[tokio::test]
async fn ar_11_rh_12_a_code_goes_only_where_the_flow_began() {
    let rig = rig(OWN).await;
    let step = rig.begin(request()).await.unwrap();
    let callback = rig.approve("own-server", &step, "alice");
    // The service file is changed while the user logs in: the token endpoint is another one.
    let moved = OWN.replace("http://127.0.0.1:{port}/token\"", "http://127.0.0.1:4666/token\"");
    assert_ne!(moved, OWN);
    let later = rig.reopen(catalogue(&moved)).await;
    assert_eq!(code(later.finish(&callback).await), "flow_changed");
    assert!(rig.posts().is_empty(), "no code went anywhere");
}

// RH-9
#[test]
fn rh_9_two_services_cannot_have_one_issuer() {
    let twin = OWN.replace("id = \"own-server\"", "id = \"own-twin\"");
    let files = [(Path::new("own-server.toml"), OWN), (Path::new("own-twin.toml"), twin.as_str())];
    assert!(Catalogue::with_own(files).is_err());
}

// AR-17
#[tokio::test]
async fn ar_17_endpoints_that_the_file_leaves_out_come_from_the_issuers_metadata() {
    let text: String = {
        let mut skip = false;
        let keep = |line: &&str| {
            if line.starts_with('[') {
                skip =
                    matches!(*line, "[authorize]" | "[token]" | "[introspection]" | "[revocation]");
            }
            !skip || line.starts_with('[') || !line.starts_with("url")
        };
        OWN.lines().filter(keep).collect::<Vec<_>>().join("\n")
    };
    let rig = Rig::with(catalogue(&text)).await;
    rig.document(
        "127.0.0.1:4101",
        "/.well-known/oauth-authorization-server",
        r#"{"issuer":"http://127.0.0.1:4101","authorization_endpoint":"http://127.0.0.1:4101/a",
            "token_endpoint":"http://127.0.0.1:4101/t",
            "authorization_response_iss_parameter_supported":true}"#,
    );
    rig.client_with("own-server", "own", &[("port", "4101")], &[]).await.unwrap();
    let step = rig.begin(request()).await.unwrap();
    assert!(step.authorize_url.starts_with("http://127.0.0.1:4101/a?"), "{}", step.authorize_url);
}

// DI-1
#[tokio::test]
async fn di_1_metadata_of_another_issuer_is_not_used() {
    let text = OWN.replace("url = \"http://127.0.0.1:{port}/token\"\n", "");
    let rig = Rig::with(catalogue(&text)).await;
    rig.document(
        "127.0.0.1:4101",
        "/.well-known/oauth-authorization-server",
        r#"{"issuer":"http://127.0.0.1:4666","token_endpoint":"http://127.0.0.1:4666/t"}"#,
    );
    let refused = rig.client_with("own-server", "own", &[("port", "4101")], &[]).await;
    assert_eq!(code(refused), "metadata_refused");
}
