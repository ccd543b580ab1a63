//! Clients that sign with a key of their own (RFC 7523), against a server that we didn't write.

use serde_json::Value;

use crate::peers::{self, Peer};
use crate::stage::{Home, Ran};

fn keys(ran: &Ran) -> Vec<Value> {
    let view = ran.json();
    let secrets = view["secrets"].as_array().unwrap().clone();
    secrets.into_iter().map(|secret| secret["key"]["jwk"].clone()).collect()
}

// CA-8, CA-9, CA-10
#[test]
fn ca_8_ca_9_ca_10_each_call_is_signed_anew_and_its_key_is_changed() {
    let (home, peer) = (Home::new(), Peer::oidc(&[]));
    let first = keys(&peers::add(&home, &peer, "signer", &["--generate-key", "--json"]));
    assert_eq!((first[0]["kty"].as_str(), first[0]["d"].as_str()), (Some("EC"), None));
    let more = ["clients", "secrets", "signer", "add", "--generate-key", "--json"];
    let both = keys(&home.run(&more).ok());
    assert_eq!((both.len(), &both[0]), (2, &first[0]));
    assert_ne!(both[0]["kid"], both[1]["kid"]);
    peer.register_keys(&both);
    peers::connect(&home, &peer, "signer");
    for _ in 0..3 {
        home.run(&["refresh", "signer"]).ok();
    }
    let token = peers::token(&home, "signer");
    assert_eq!(peer.whoami(&token).status, 200);

    home.run(&["clients", "secrets", "signer", "promote", "2"]).ok();
    home.run(&["refresh", "signer"]).ok();
    home.run(&["clients", "secrets", "signer", "retire", "1"]).ok();
    home.run(&["refresh", "signer"]).ok();
    assert_eq!(peer.answers("refresh_token", 200), 5);

    let receipt = home.run(&["revoke", "signer", "--json"]).ok().json();
    let items = receipt["service"].as_array().unwrap();
    assert!(items.iter().all(|item| item["state"] == "revoked"), "{receipt}");
    for error in ["grant.error", "revocation.error", "server_error"] {
        assert_eq!(peer.count(&[("event", error)]), 0, "{:?}", peer.events());
    }
}

#[test]
fn a_key_that_the_server_does_not_know_costs_no_grant() {
    let (home, peer) = (Home::new(), Peer::oidc(&[]));
    let first = keys(&peers::add(&home, &peer, "signer", &["--generate-key", "--json"]));
    peer.register_keys(&first);
    peers::connect(&home, &peer, "signer");
    // Promoted before anybody told the server: the one before it is tried, and works.
    home.run(&["clients", "secrets", "signer", "add", "--generate-key"]).ok();
    home.run(&["clients", "secrets", "signer", "promote", "2"]).ok();
    home.run(&["refresh", "signer"]).ok();
    assert_eq!(peer.answers("refresh_token", 401), 1);
    assert_eq!(peer.answers("refresh_token", 200), 1);
    assert_eq!(peer.count(&[("event", "grant.revoked")]), 0);
}

#[test]
fn a_key_of_ones_own_is_taken_and_what_is_none_is_told() {
    let home = Home::new();
    peers::own_file(&home, "own-server", peers::OIDC_FILE);
    let args = ["clients", "add", "own-server", "--client-id", "a", "--input", "port=3000"];
    let add = |more: &[&str], given: &str| home.run_with(&[&args[..], more].concat(), given);
    let (rsa, public) = key(&rcgen::PKCS_RSA_SHA256);
    let told = add(&["--id", "rsa", "--secret-stdin"], &rsa).ok();
    assert!(told.stderr.contains("BEGIN PUBLIC KEY"), "{told:?}");
    assert!(!told.stderr.contains("PRIVATE"), "{told:?}");
    let shown = home.run(&["clients", "show", "rsa", "--json"]).ok();
    assert_eq!(shown.json()["secrets"][0]["key"]["algorithm"], "RS256");
    assert!(!shown.stdout.contains("PRIVATE"), "{shown:?}");
    let pem = shown.json()["secrets"][0]["key"]["pem"].as_str().unwrap().replace('\r', "");
    assert_eq!(pem, public);
    let table = home.run(&["clients", "show", "rsa"]).ok();
    assert!(table.stdout.contains("private key"), "{table:?}");

    let (other, _) = key(&rcgen::PKCS_ED25519);
    add(&["--id", "other", "--secret-stdin"], &other)
        .fails(2, "neither a P-256 key nor an RSA key");
    add(&["--id", "cut", "--secret-stdin"], &rsa[..200]).fails(2, "no PEM");
    add(&["--id", "none"], "").fails(2, "--generate-key");
    add(&["--id", "page", "--kind", "public", "--generate-key"], "").fails(2, "public client");
    add(&["--id", "two", "--generate-key", "--secret-stdin"], "x").fails(2, "cannot be used with");
    let only_keys = peers::OIDC_FILE.replace("auth = \"basic\"", "auth = \"private-key-jwt\"");
    peers::own_file(&home, "own-server", &only_keys);
    add(&["--id", "secret", "--secret-stdin"], "a secret").fails(2, "takes a private key");
    let mailchimp = ["clients", "add", "mailchimp", "--client-id", "a", "--generate-key"];
    home.run(&mailchimp).fails(2, "takes no keys");
    let args = ["clients", "add", "mailchimp", "--client-id", "a", "--secret-stdin"];
    home.run_with(&args, &rsa).fails(2, "this is a private key");
}

// CA-9
#[test]
fn ca_9_the_sandbox_checks_signatures_and_plays_a_service_that_takes_nothing_else() {
    let home = Home::new();
    let only_keys = peers::OIDC_FILE.replace("auth = \"basic\"", "auth = \"private-key-jwt\"");
    peers::own_file(&home, "own-server", &only_keys);
    let path = home.path().join("services/own-server.toml");
    let file = path.to_str().unwrap();
    home.run(&["services", "check", file]).ok();
    home.run(&["services", "try", file]).ok();
    let no_keys = only_keys.replace("[client_keys]", "").replace("algorithms = [", "# [");
    std::fs::write(&path, no_keys).unwrap();
    let told = home.run(&["services", "check", file]);
    assert_eq!(told.status, 1);
    assert!(told.stdout.contains("nothing says how such an assertion is signed"), "{told:?}");
}

/// A key that somebody else made: private and public part, as PEM.
fn key(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    (key.serialize_pem(), key.public_key_pem().replace('\r', ""))
}
