//! Against oidc-provider, the strict one: rotation with reuse detection, `iss`, metadata, and a
//! log-in.

use indicia::transport::{HttpsTransport, TransportOptions};
use indicia_broker::ports::{Sent, Transport as _};
use indicia_catalog::{ClientKind, Context, read::read};
use indicia_oauth::{ClientSecret, Credentials, Proof, introspection};
use serde_json::json;

use crate::peers::{self, OIDC_FILE, Peer, UGLY};
use crate::stage::Home;

fn revocations(peer: &Peer) -> usize {
    peer.count(&[("event", "answer"), ("path", "/token/revocation"), ("status", "200")])
}

// TR-4, DV-19, RV-3, RV-7, DV-26
#[test]
fn tr_4_dv_19_rv_3_rv_7_dv_26_the_whole_life_of_three_kinds_of_client() {
    let (home, peer) = (Home::new(), Peer::oidc(&[]));
    for (n, client) in ["conf", "post", "pub"].into_iter().enumerate() {
        if client == "post" {
            let id = OIDC_FILE.replace("auth = \"basic\"", "auth = \"body\"");
            peers::own_file(&home, "own-server", &id);
        }
        peers::add(&home, &peer, client, &[]);
        let connection = peers::connect(&home, &peer, client);
        assert_eq!(connection["account"]["id"], "alice", "{client}");
        let first = peers::token(&home, client);
        assert_eq!(peer.whoami(&first).json()["id"], "alice", "{client}");

        for version in 2..=4 {
            let refreshed = home.run(&["refresh", client, "--json"]).ok().json();
            assert_eq!(refreshed["version"], version, "{client}");
        }
        let consumed = [("event", "refresh_token.consumed"), ("client", client)];
        assert_eq!(peer.count(&consumed), 3, "{client}");
        let second = peers::token(&home, client);
        // Here an access token outlives a refresh; revoking it would have killed the grant.
        assert_eq!((peer.whoami(&first).status, peer.whoami(&second).status), (200, 200));
        assert_eq!(revocations(&peer), 2 * n, "{client}");

        let receipt = home.run(&["revoke", client, "--json"]).ok().json();
        let items = receipt["service"].as_array().unwrap();
        assert!(items.iter().all(|item| item["state"] == "revoked"), "{receipt}");
        assert!(receipt["proof"]["probe"].as_str().unwrap().contains("/me"), "{receipt}");
        assert_eq!((peer.whoami(&first).status, peer.whoami(&second).status), (401, 401));
        assert_eq!(revocations(&peer), 2 * (n + 1), "{client}");
        home.run(&["token", client]).fails(4, "revoked");
    }
    assert_eq!(peer.count(&[("event", "grant.revoked")]), 3);
    for error in ["grant.error", "revocation.error", "authorization.error", "server_error"] {
        assert_eq!(peer.count(&[("event", error)]), 0, "{:?}", peer.events());
    }
}

#[test]
fn client_credentials_are_renewed_by_asking_again() {
    let (home, peer) = (Home::new(), Peer::oidc(&[]));
    // Who the account is, is for people; a client has none.
    let text = OIDC_FILE.replace("always = [\"openid\"]\n", "");
    peers::own_file(&home, "own-server", &text);
    peers::add(&home, &peer, "machine", &[]);
    let args = ["connect", "machine", "--flow", "client-credentials", "--can", "campaigns.read"];
    assert_eq!(home.run(&args).ok().line(), "machine");
    let first = peers::token(&home, "machine");
    assert_eq!(peer.whoami(&first).json()["id"], "machine");
    home.run(&["refresh", "machine"]).ok();
    let second = peers::token(&home, "machine");
    assert_ne!(first, second);
    assert_eq!(peer.whoami(&second).status, 200);
    assert_eq!(peer.answers("client_credentials", 200), 2);
    assert_eq!(peer.answers("refresh_token", 200), 0);
}

// RH-5, RH-6, DV-32
#[test]
fn rh_5_rh_6_dv_32_an_answer_without_the_issuer_or_of_another_is_refused() {
    let (home, peer) = (Home::new(), Peer::oidc(&[]));
    peers::add(&home, &peer, "conf", &[]);
    let right = format!("iss=http%3A%2F%2F127.0.0.1%3A{}", peer.port);
    for wrong in ["", "iss=http%3A%2F%2F127.0.0.1%3A1", &format!("{right}%2F")] {
        let connecting = home.connecting(&["conf", "--can", "account.read"]);
        let callback = peer.allow(&connecting.address);
        assert!(callback.contains(&right), "{callback}");
        let ran = connecting.paste(&callback.replace(&right, wrong));
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(ran.error()["code"].as_str().unwrap().starts_with("issuer"), "{ran:?}");
    }
    assert_eq!(peer.count(&[("event", "answer"), ("path", "/token")]), 0);
}

// DV-24, RH-3
#[test]
fn dv_24_rh_3_a_failed_exchange_ends_the_flow() {
    let (home, peer) = (Home::new(), Peer::oidc(&[]));
    peers::own_file(&home, "own-server", OIDC_FILE);
    let port = format!("port={}", peer.port);
    let args = ["clients", "add", "own-server", "--id", "conf", "--client-id", "conf"];
    let args = [&args[..], &["--input", &port, "--secret-stdin"]].concat();
    home.run_with(&args, "not the secret").ok();
    let connecting = home.connecting(&["conf", "--can", "account.read"]);
    let callback = peer.allow(&connecting.address);
    let ran = connecting.paste(&callback).fails(1, "secret");
    assert_eq!(ran.error()["code"], "client_refused", "{ran:?}");
    assert_eq!(peer.answers("authorization_code", 401), 1);
    // The code is still good there; it isn't sent a second time, with the right secret neither.
    home.run_with(&["clients", "secrets", "conf", "add", "--secret-stdin"], UGLY).ok();
    home.run(&["clients", "secrets", "conf", "promote", "2"]).ok();
    home.connecting(&["conf", "--can", "account.read"]).paste(&callback).fails(1, "used");
    assert_eq!(peer.count(&[("event", "answer"), ("path", "/token")]), 1);
    // A new flow makes it good.
    peers::connect(&home, &peer, "conf");
}

#[test]
fn the_owner_refuses() {
    let (home, peer) = (Home::new(), Peer::oidc(&[]));
    peers::add(&home, &peer, "pub", &[]);
    let connecting = home.connecting(&["pub", "--can", "account.read"]);
    let callback = peer.refuse(&connecting.address);
    assert!(callback.contains("error=access_denied"), "{callback}");
    connecting.paste(&callback).fails(1, "access was refused");
    assert_eq!(peer.count(&[("event", "answer"), ("path", "/token")]), 0);
}

#[test]
fn the_owner_ends_the_grant_and_a_reconnect_keeps_the_id() {
    let (home, peer) = (Home::new(), Peer::oidc(&["--access-ttl", "20"]));
    peers::add(&home, &peer, "conf", &[]);
    peers::connect(&home, &peer, "conf");
    peer.end_grants();
    // The token at hand is still served: the end of the grant isn't yet the end of serving.
    home.run(&["refresh", "conf"]).fails(5, "ended the grant");
    let told = home.run(&["explain", "conf", "--json"]).ok().json();
    assert_eq!((&told["code"], &told["cause"]), (&json!("grant_refused"), &json!("ended_outside")));
    assert_eq!(told["state"], "reauthorization_required");
    // What is known to be refused isn't sent again.
    home.run(&["refresh", "conf"]).fails(5, "");
    assert_eq!(peer.answers("refresh_token", 400), 1);

    let connecting = home.connecting(&["conf", "--id", "conf", "--can", "campaigns.read"]);
    let callback = peer.allow(&connecting.address);
    let again = connecting.paste(&callback).ok().json();
    assert_eq!((&again["id"], &again["version"]), (&json!("conf"), &json!(2)));
    assert_eq!(again["state"], "active");
    assert_eq!(peer.whoami(&peers::token(&home, "conf")).status, 200);
}

// AR-17
#[test]
fn ar_17_endpoints_come_from_the_metadata() {
    let (home, peer) = (Home::new(), Peer::oidc(&[]));
    let ends = ["/auth\"", "/token\"", "/introspection\"", "/revocation\""];
    let is_endpoint =
        |line: &&str| line.starts_with("url = ") && ends.iter().any(|end| line.ends_with(end));
    let kept: Vec<&str> = OIDC_FILE.lines().filter(|line| !is_endpoint(line)).collect();
    let text = kept.join("\n").replace("issuer_always = true", "");
    peers::own_file(&home, "own-server", &text);
    peers::add(&home, &peer, "conf", &[]);
    // Metadata says that `iss` is always sent: from now on it must be there.
    let connecting = home.connecting(&["conf", "--can", "campaigns.read"]);
    let callback = peer.allow(&connecting.address);
    let without = callback.split("&iss=").next().unwrap().to_owned();
    connecting.paste(&without).fails(1, "");
    peers::connect(&home, &peer, "conf");
    home.run(&["refresh", "conf"]).ok();
    let receipt = home.run(&["revoke", "conf", "--json"]).ok().json();
    assert_eq!(receipt["service"][0]["state"], "revoked", "{receipt}");
    assert_eq!(peer.count(&[("event", "grant.revoked")]), 1);
}

// RV-10
#[test]
fn rv_10_a_token_is_introspected_by_an_authenticated_post() {
    let (home, peer) = (Home::new(), Peer::oidc(&[]));
    peers::add(&home, &peer, "conf", &[]);
    peers::connect(&home, &peer, "conf");
    let token = peers::token(&home, "conf");
    let ask = |secret: &str, token: &str| {
        let service = read("own-server.toml", OIDC_FILE).unwrap();
        let inputs = std::collections::BTreeMap::from([("port".into(), peer.port.to_string())]);
        let none = std::collections::BTreeMap::new();
        let kind = ClientKind::Confidential;
        let cx = Context { kind, inputs: &inputs, settings: &none };
        let endpoint = service.introspection(cx).unwrap().unwrap();
        let secret = ClientSecret::new(secret.to_owned());
        let credentials = Credentials { client_id: "conf", proof: Proof::Secret(&secret) };
        let request = introspection::request(&endpoint, &credentials, token).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sent = runtime.block_on(async {
            HttpsTransport::new(TransportOptions::default()).send(request, &|| true).await
        });
        let Sent::Answer(answer) = sent else { panic!("no answer") };
        introspection::active(&answer)
    };
    assert_eq!(ask(UGLY, &token), Some(true));
    assert_eq!(ask(UGLY, "never issued"), Some(false));
    assert_eq!(ask("wrong", &token), None);
    home.run(&["revoke", "conf"]).ok();
    assert_eq!(ask(UGLY, &token), Some(false));
    assert_eq!(peer.count(&[("path", "/token/introspection"), ("status", "401")]), 1);
}

#[test]
fn a_server_that_keeps_its_refresh_token_is_refreshed_without_end() {
    let (home, peer) = (Home::new(), Peer::oidc(&["--rotate", "off"]));
    for (client, rotation) in [("conf", "keeps"), ("post", "may")] {
        let text = OIDC_FILE.replace("rotation = \"rotates\"", &format!("rotation = {rotation:?}"));
        let auth = if client == "post" { "body" } else { "basic" };
        let text = text.replace("auth = \"basic\"", &format!("auth = {auth:?}"));
        peers::own_file(&home, "own-server", &text);
        peers::add(&home, &peer, client, &[]);
        peers::connect(&home, &peer, client);
        for version in 2..=4 {
            let refreshed = home.run(&["refresh", client, "--json"]).ok().json();
            assert_eq!(refreshed["version"], version, "{client}");
        }
        assert_eq!(peer.whoami(&peers::token(&home, client)).status, 200);
    }
    assert_eq!(peer.count(&[("event", "refresh_token.consumed")]), 0);
    assert_eq!(peer.answers("refresh_token", 200), 6);
}

// RF-8
#[test]
fn rf_8_a_refresh_token_goes_to_its_issuer_with_its_client() {
    let (home, one, two) = (Home::new(), Peer::oidc(&[]), Peer::oidc(&[]));
    peers::add(&home, &one, "conf", &[]);
    peers::add(&home, &one, "pub", &[]);
    // The other server is a client of the same name, and then some.
    let port = format!("port={}", two.port);
    let other = ["clients", "add", "own-server", "--id", "machine", "--client-id", "conf"];
    home.run_with(&[&other[..], &["--input", &port, "--secret-stdin"]].concat(), UGLY).ok();
    for (peer, client) in [(&one, "conf"), (&one, "pub"), (&two, "machine")] {
        peers::connect(&home, peer, client);
    }
    for _ in 0..2 {
        for client in ["machine", "pub", "conf"] {
            home.run(&["refresh", client]).ok();
        }
    }
    let consumed = |peer: &Peer, client| {
        peer.count(&[("event", "refresh_token.consumed"), ("client", client)])
    };
    assert_eq!((consumed(&one, "conf"), consumed(&one, "pub"), consumed(&two, "conf")), (2, 2, 2));
    for peer in [&one, &two] {
        assert_eq!(peer.count(&[("event", "grant.error")]), 0, "{:?}", peer.events());
    }
}

// CA-7
#[test]
fn ca_7_a_client_is_confidential_or_public() {
    let (home, peer) = (Home::new(), Peer::oidc(&[]));
    peers::own_file(&home, "own-server", OIDC_FILE);
    let port = format!("port={}", peer.port);
    let args = ["clients", "add", "own-server", "--client-id", "pub", "--input", &port];
    let both = [&args[..], &["--kind", "public", "--secret-stdin"]].concat();
    home.run_with(&both, UGLY).fails(2, "secret");
    let neither = [&args[..], &["--kind", "confidential"]].concat();
    home.run(&neither).fails(2, "secret");
}
