//! Client secrets of each data centre, where a service has them so.

use serde_json::json;

use crate::stage::{Home, Sandbox};

const OF_EU: &str = "the-secret-of-the-other-data-centre";

// proves: each-data-centre-by-itself
#[test]
fn what_one_data_centre_refuses_holds_up_no_other() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    let portal = |secrets: &[&str]| sandbox.secrets("zoho-campaigns", secrets);
    home.add_client(&sandbox, "zoho-campaigns", &[]);
    let secrets = ["clients", "secrets", "zoho-campaigns"];
    let add = [&secrets[..], &["add", "--for-input", "eu", "--secret-stdin"]].concat();
    home.run_with(&add, OF_EU).ok();
    home.run(&[&secrets[..], &["promote", "2"]].concat()).ok();
    let listed = home.run(&[&secrets[..], &["list", "--json"]].concat()).ok().json();
    let states: Vec<_> =
        listed["secrets"].as_array().unwrap().iter().map(|s| &s["state"]).collect();
    assert_eq!(states, ["current", "current"], "one for all, one of its own");

    // Each is sent where it belongs: the service takes no other there.
    for (id, account) in [("com", "com-bob"), ("eu", "eu-anna")] {
        if id == "eu" {
            portal(&[OF_EU]);
        }
        let connecting = home.connecting(&["zoho-campaigns", "--id", id, "--can", "contacts.read"]);
        let click = json!({ "authorize_url": connecting.address, "account": account });
        connecting.paste(&sandbox.click(&click)).ok();
    }

    portal(&[OF_EU]);
    home.run(&["refresh", "com", "--force"]);
    let refused = || sandbox.record("zoho-campaigns")["counters"]["refused"].clone();
    let before = refused();
    assert!(before.as_u64().unwrap() >= 1, "it was sent, and refused");
    home.run(&["refresh", "eu", "--force"]).ok();
    home.run(&["token", "com"]).ok();
    home.run(&["refresh", "com", "--force"]);
    assert_eq!(refused(), before, "what the other has says nothing of this one: it waits");

    portal(&[OF_EU, "the-next-one"]);
    home.run_with(&[&secrets[..], &["add", "--secret-stdin"]].concat(), "the-next-one").ok();
    home.run(&["refresh", "com", "--force"]).ok();
    home.run(&["refresh", "eu", "--force"]).ok();
    for id in ["com", "eu"] {
        let view = home.run(&["connections", "show", id, "--json"]).ok().json();
        assert_eq!(view["state"], "active", "{view}");
    }
}
