//! The answer to a refresh is lost on the way, at servers that we didn't write: where one forgives,
//! the grant is saved; where one doesn't, nothing is made worse.

use serde_json::json;

use crate::peers::{self, DJANGO_FILE, OIDC_FILE, Peer};
use crate::peers_proxy::Proxy;
use crate::stage::{Home, wait_for_the_end};

/// The service file with its refresh endpoint behind a proxy.
fn behind(text: &str, proxy: &Proxy, path: &str) -> String {
    let url = format!("http://127.0.0.1:{}{path}", proxy.port);
    format!("{text}\n[token.refresh-token]\nurl = {url:?}\n")
}

fn django(home: &Home, args: &[&str]) -> (Peer, Proxy) {
    let peer = Peer::django(args);
    let proxy = Proxy::to(&format!("127.0.0.1:{}", peer.port));
    peers::own_file(home, "django", &behind(DJANGO_FILE, &proxy, "/o/token/"));
    (peer, proxy)
}

// DV-28
#[test]
fn dv_28_within_the_grace_a_lost_answer_is_asked_for_again_and_the_grant_is_saved() {
    let home = Home::new();
    let (peer, proxy) = django(&home, &["--grace", "30"]);
    peers::add(&home, &peer, "conf", &["--set", "grace=30"]);
    peers::connect(&home, &peer, "conf");
    proxy.lose(2);
    let refreshed = home.run(&["refresh", "conf", "--json"]).ok().json();
    assert_eq!((&refreshed["version"], &refreshed["state"]), (&json!(2), &json!("active")));
    let seen = proxy.seen();
    let bodies: Vec<&str> = seen.iter().map(crate::peers_proxy::Exchange::body).collect();
    assert_eq!(bodies.len(), 3, "two were lost");
    let tokens: Vec<serde_json::Value> =
        bodies.iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    assert_eq!(tokens[0]["refresh_token"], tokens[2]["refresh_token"], "the same pair came again");
    assert_eq!(peers::token(&home, "conf"), tokens[2]["access_token"].as_str().unwrap());
    assert_eq!(peer.whoami(&peers::token(&home, "conf")).status, 200);
    home.run(&["refresh", "conf"]).ok();
    assert_eq!(peer.answers("refresh_token", 400), 0);
}

#[test]
fn where_the_refresh_token_is_kept_a_lost_answer_costs_nothing() {
    let home = Home::new();
    let (peer, proxy) = django(&home, &["--rotate", "off"]);
    peers::add(&home, &peer, "conf", &["--set", "rotation=keeps"]);
    peers::connect(&home, &peer, "conf");
    proxy.lose(1);
    home.run(&["refresh", "conf"]).fails(5, "");
    home.run(&["refresh", "conf", "--force"]).ok();
    assert_eq!(peer.whoami(&peers::token(&home, "conf")).status, 200);
    assert_eq!(peer.answers("refresh_token", 200), 2);
}

#[test]
fn without_a_grace_nothing_is_sent_before_the_tokens_end_and_then_the_loss_is_explained() {
    let home = Home::new();
    let peer = Peer::oidc(&["--access-ttl", "20"]);
    let proxy = Proxy::to(&format!("127.0.0.1:{}", peer.port));
    peers::own_file(&home, "own-server", &behind(OIDC_FILE, &proxy, "/token"));
    peers::add(&home, &peer, "conf", &[]);
    let connection = peers::connect(&home, &peer, "conf");
    proxy.lose(1);
    home.run(&["refresh", "conf"]).fails(5, "lost");
    let told = home.run(&["explain", "conf", "--json"]).ok().json();
    assert_eq!((&told["code"], &told["state"]), (&json!("answer_lost"), &json!("attention")));
    for args in [&["refresh", "conf"][..], &["refresh", "conf", "--force"]] {
        home.run(args).fails(5, "");
    }
    home.run(&["recover"]).ok();
    // The token at hand is served, with a warning.
    let served = home.run(&["token", "conf"]).ok();
    assert_eq!(peer.whoami(served.line()).status, 200);
    assert!(served.stderr.contains("lost"), "{served:?}");
    assert_eq!(proxy.seen().len(), 1, "nothing was sent again");

    wait_for_the_end(&connection);
    home.run(&["token", "conf"]).fails(4, "lost");
    assert_eq!(proxy.seen().len(), 2, "sent once more, and the answer was definite");
    let reuse = [("event", "grant.error"), ("reason", "refresh token already used")];
    assert_eq!(peer.count(&reuse), 1, "{:?}", peer.events());
    let told = home.run(&["explain", "conf", "--json"]).ok().json();
    assert_eq!(told["cause"], "answer_lost", "{told}");
    let connecting = home.connecting(&["conf", "--id", "conf", "--can", "campaigns.read"]);
    let callback = peer.allow(&connecting.address);
    let again = connecting.paste(&callback).ok().json();
    assert_eq!((&again["id"], &again["version"]), (&json!("conf"), &json!(2)));
}
