//! A bad day at a service: it refuses everybody, though no grant has ended. Nothing is given up,
//! and hardly anything is sent until the day is over.

use serde_json::{Value, json};

use crate::stage::{Home, Sandbox};

/// More than may be refused within minutes before it isn't believed.
const MANY: usize = 9;

fn ids() -> Vec<String> {
    (0..MANY).map(|n| format!("c{n}")).collect()
}

/// Connections of one client, their tokens ended by the time the service refuses everybody.
fn scene(fault: &str) -> (Home, Sandbox) {
    let (home, sandbox) = (Home::new(), Sandbox::start(&["--life", "2s"]));
    home.add_client(&sandbox, "keap", &[]);
    for id in ids() {
        home.connect(&sandbox, &["keap", "--id", &id]);
    }
    sandbox.faults(&[fault]);
    (home, sandbox)
}

fn refusals(sandbox: &Sandbox) -> u64 {
    sandbox.record("keap")["counters"]["refused"].as_u64().unwrap_or(0)
}

fn states(home: &Home) -> Vec<Value> {
    let listed = home.run(&["connections", "--json"]).ok().json();
    listed["connections"].as_array().unwrap().iter().map(|c| c["state"].clone()).collect()
}

#[test]
fn a_mass_of_refused_grants_is_not_believed() {
    let (home, sandbox) = scene("refuse-grant@refresh");
    for id in ids() {
        let _ = home.run(&["refresh", &id, "--force"]);
    }
    let sent = refusals(&sandbox);
    assert!((5..MANY as u64).contains(&sent), "{sent} were sent");
    assert_eq!(states(&home), vec![json!("attention"); MANY], "nothing is given up");
    let told = home.run(&["explain", "c0"]).ok().stdout;
    assert!(told.contains("many"), "{told}");
    for id in ids() {
        let _ = home.run(&["refresh", &id, "--force"]);
    }
    assert_eq!(refusals(&sandbox), sent, "until the next canary nothing is sent");

    // Nothing was lost at the service, and the owner's consent isn't needed again.
    let record = sandbox.record("keap");
    let ended = record["grants"].as_array().unwrap().iter().filter(|g| !g["ended"].is_null());
    assert_eq!(ended.count(), 0, "{record}");
}

#[test]
fn a_refused_client_costs_no_grant_and_comes_back_with_its_secret() {
    let (home, sandbox) = scene("refuse-client@refresh");
    for id in ids() {
        let _ = home.run(&["refresh", &id, "--force"]);
    }
    let sent = refusals(&sandbox);
    assert!((1..=2).contains(&sent), "{sent} were sent");
    assert_eq!(states(&home), vec![json!("attention"); MANY], "nothing is given up");
    let told = home.run(&["doctor", "--offline"]);
    assert!(told.stdout.contains("the service refuses it"), "{told:?}");

    sandbox.faults(&[]);
    // Whoever gives a secret wants it tried now.
    let add = ["clients", "secrets", "keap", "add", "--secret-stdin"];
    home.run_with(&add, crate::stage::SECRET).ok();
    for id in ids() {
        home.run(&["refresh", &id, "--force"]).ok();
    }
    assert_eq!(states(&home), vec![json!("active"); MANY]);
}
