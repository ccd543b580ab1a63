//! `indicia clients rotate`: a new client secret, with a person before it.

use serde_json::Value;

use crate::stage::{Home, Sandbox, on_terminal, on_terminal_by};

const NEW: &str = "the-next-secret-of-the-client-77ab";

fn connected(service: &str, more: &[&str]) -> (Home, Sandbox) {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    home.add_client(&sandbox, service, &[]);
    home.connect(&sandbox, &[&[service], more].concat());
    (home, sandbox)
}

fn states(home: &Home, client: &str) -> Vec<String> {
    let view = home.run(&["clients", "show", client, "--json"]).ok().json();
    let secrets = view["secrets"].as_array().unwrap().iter();
    secrets.map(|s: &Value| s["state"].as_str().unwrap().to_owned()).collect()
}

/// Goes through it; the portal has these secrets when the new one is typed.
fn rotate(home: &Home, sandbox: &Sandbox, client: &str, typed: &str, portal: &[&str]) -> String {
    on_terminal_by(home.command(&["clients", "rotate", client]), |shown| {
        let last = shown.lines().last().unwrap_or_default();
        if last.contains("new client secret") {
            sandbox.secrets(client, portal);
            return Some(format!("{typed}\n"));
        }
        last.contains("Done?").then(|| "y".to_owned())
    })
}

#[test]
fn where_a_new_one_ends_the_old_one_it_is_used_at_once() {
    let (home, sandbox) = connected("hubspot", &["--can", "contacts.read"]);
    let shown = rotate(&home, &sandbox, "hubspot", NEW, &[NEW]);
    assert!(shown.contains("ends the old one at once"), "{shown}");
    assert!(shown.contains("the service takes the new secret"), "{shown}");
    assert!(!shown.contains(NEW), "{shown}");
    assert_eq!(states(&home, "hubspot"), ["retired", "current"]);
    home.run(&["refresh", "hubspot", "--force"]).ok();
}

#[test]
fn where_it_is_activated_by_hand_it_is_staged_first() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    let service = "salesforce-account-engagement";
    let input = ["--input", "business_unit=0Uv5g0000008Q1aCAE"];
    home.add_client(&sandbox, service, &[]);
    home.connect(&sandbox, &[&[service][..], &input].concat());
    let shown = rotate(&home, &sandbox, service, NEW, &[NEW]);
    assert!(shown.contains("don't activate it yet"), "{shown}");
    assert!(shown.contains("activate it in the portal now"), "{shown}");
    assert!(shown.contains("the service takes the new secret"), "{shown}");
    assert_eq!(states(&home, service), ["retired", "current"]);
}

#[test]
fn a_wrong_one_leaves_the_old_one_and_it_can_be_run_again() {
    let (home, sandbox) = connected("hubspot", &["--can", "contacts.read"]);
    // The portal wasn't touched.
    let shown = rotate(&home, &sandbox, "hubspot", "mistyped", &[crate::stage::SECRET]);
    assert!(shown.contains("the old one stays"), "{shown}");
    home.run(&["refresh", "hubspot", "--force"]).ok();
    assert_eq!(states(&home, "hubspot")[0], "current");

    // Run again, it goes on with what is staged; that is retired by hand.
    let again = rotate(&home, &sandbox, "hubspot", NEW, &[crate::stage::SECRET]);
    assert!(again.contains("secret 2 is staged: going on with it"), "{again}");
    home.run(&["clients", "secrets", "hubspot", "retire", "2"]).ok();
    let shown = rotate(&home, &sandbox, "hubspot", NEW, &[NEW]);
    assert!(shown.contains("the service takes the new secret"), "{shown}");
}

#[test]
fn who_has_no_secret_or_nobody_to_ask_is_told() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    home.add_client(&sandbox, "hubspot", &[]);
    home.run(&["clients", "rotate", "hubspot"]).fails(2, "asks questions");
    home.run(&["clients", "rotate", "nobody"]).fails(2, "");
    let left = on_terminal(home.command(&["clients", "rotate", "nobody"]), "", "");
    assert!(left.contains("nobody"), "{left}");
}

#[test]
fn where_two_may_live_the_old_one_goes_last_and_a_wrong_one_changes_nothing() {
    let home = Home::new();
    let file = include_str!("../../../../services/klaviyo.toml");
    crate::peers::own_file(&home, "klaviyo", &file.replace("live_max = 1", "live_max = 2"));
    let sandbox = Sandbox::start_in(&home, &[]);
    home.add_client(&sandbox, "klaviyo", &[]);
    home.connect(&sandbox, &["klaviyo", "--can", "contacts.read"]);
    let old = crate::stage::SECRET;
    let shown = rotate(&home, &sandbox, "klaviyo", "mistyped", &[old, NEW]);
    assert!(shown.contains("the old one stays"), "{shown}");
    assert_eq!(states(&home, "klaviyo")[0], "current");
    let shown = rotate(&home, &sandbox, "klaviyo", NEW, &[old, NEW]);
    assert!(shown.contains("leave the old one as it is"), "{shown}");
    assert!(shown.contains("delete the old one in the portal now"), "{shown}");
    assert_eq!(states(&home, "klaviyo"), ["retired", "retired", "current"]);
}
