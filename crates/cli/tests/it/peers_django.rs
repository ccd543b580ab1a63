//! Against django-oauth-toolkit: another reading of the standards, with rows to look at. Its access
//! tokens die at a refresh, and it knows a grace for reuse.

use serde_json::json;

use crate::peers::{self, Peer};
use crate::stage::Home;

const ALIVE: &str = "select count(*) from oauth2_provider_refreshtoken where revoked is null";
const ACCESS: &str = "select count(*) from oauth2_provider_accesstoken";

// DV-25, RV-3, RV-7
#[test]
fn dv_25_rv_3_rv_7_the_whole_life_of_two_kinds_of_client() {
    let (home, peer) = (Home::new(), Peer::django(&[]));
    for client in ["conf", "pub"] {
        peers::add(&home, &peer, client, &[]);
        let connection = peers::connect(&home, &peer, client);
        assert_eq!(connection["account"]["name"], "Account of alice", "{client}");
        let first = peers::token(&home, client);
        assert_eq!(peer.whoami(&first).status, 200);

        // The old token is dead the moment the new one is there: that one is handed out at once.
        home.run(&["refresh", client]).ok();
        assert_eq!(peer.whoami(&first).status, 401);
        let second = peers::token(&home, client);
        assert_ne!(first, second);
        assert_eq!(peer.whoami(&second).status, 200);
        home.run(&["refresh", client]).ok();
        assert_eq!((peer.row(ALIVE).as_str(), peer.row(ACCESS).as_str()), ("1", "1"), "{client}");

        let third = peers::token(&home, client);
        let receipt = home.run(&["revoke", client, "--json"]).ok().json();
        assert!(receipt["proof"]["probe"].as_str().unwrap().contains("/api/whoami"), "{receipt}");
        assert_eq!(peer.whoami(&third).status, 401);
        assert_eq!((peer.row(ALIVE).as_str(), peer.row(ACCESS).as_str()), ("0", "0"), "{client}");
    }
    assert_eq!(peer.answers("refresh_token", 200), 4);
    let lost = [("event", "answer"), ("grant_type", "refresh_token"), ("status", "400")];
    assert_eq!(peer.count(&lost), 0);

    peers::add(&home, &peer, "machine", &[]);
    let args = ["connect", "machine", "--flow", "client-credentials", "--can", "campaigns.read"];
    home.run(&args).ok();
    assert_eq!(peer.whoami(&peers::token(&home, "machine")).json()["id"], "machine");
}

// AR-17, DV-24
#[test]
fn ar_17_dv_24_metadata_under_a_path_a_wrong_secret_and_the_owners_end() {
    let (home, peer) = (Home::new(), Peer::django(&["--access-ttl", "20"]));
    let is_endpoint = |line: &&str| line.starts_with("url = \"http://127.0.0.1:{port}/o/");
    let kept: Vec<&str> = peers::DJANGO_FILE.lines().filter(|line| !is_endpoint(line)).collect();
    peers::own_file(&home, "django", &kept.join("\n"));
    let port = format!("port={}", peer.port);
    let args = ["clients", "add", "django", "--id", "conf", "--client-id", "conf"];
    let args = [&args[..], &["--input", &port, "--secret-stdin"]].concat();
    home.run_with(&args, "wrong").ok();
    let connecting = home.connecting(&["conf", "--can", "campaigns.read"]);
    let callback = peer.allow(&connecting.address);
    connecting.paste(&callback).fails(1, "secret");
    assert_eq!(peer.answers("authorization_code", 401), 1);
    home.run_with(&["clients", "secrets", "conf", "add", "--secret-stdin"], peers::UGLY).ok();
    home.run(&["clients", "secrets", "conf", "promote", "2"]).ok();
    home.connecting(&["conf", "--can", "campaigns.read"]).paste(&callback).fails(1, "used");
    assert_eq!(peer.answers("authorization_code", 401), 1);

    peers::connect(&home, &peer, "conf");
    peer.end_grants();
    home.run(&["refresh", "conf"]).fails(5, "ended the grant");
    let told = home.run(&["explain", "conf", "--json"]).ok().json();
    assert_eq!(told["cause"], "ended_outside", "{told}");
}

#[test]
fn a_server_that_keeps_its_refresh_token_is_refreshed_without_end() {
    let (home, peer) = (Home::new(), Peer::django(&["--rotate", "off"]));
    peers::add(&home, &peer, "conf", &["--set", "rotation=keeps"]);
    peers::connect(&home, &peer, "conf");
    for version in 2..=4 {
        let refreshed = home.run(&["refresh", "conf", "--json"]).ok().json();
        assert_eq!(refreshed["version"], json!(version));
    }
    assert_eq!(peer.whoami(&peers::token(&home, "conf")).status, 200);
    assert_eq!(peer.row("select count(*) from oauth2_provider_refreshtoken"), "1");
}
