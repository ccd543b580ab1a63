//! API keys on the command line: where they come from, and what they look like on the way out.

use serde_json::json;

use crate::http;
use crate::stage::{Home, Sandbox, on_terminal_in_turn};

const KEY: &str = "SG.sandbox-0123456789abcd.0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
const PAIR: [&str; 2] = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"];

fn add(home: &Home, sandbox: &Sandbox, service: &str) {
    home.run(&["clients", "add", service, "--sandbox", &sandbox.address]).ok();
}

#[test]
fn a_key_comes_by_standard_input_and_goes_where_a_token_goes() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    add(&home, &sandbox, "sendgrid");
    let ran = home.run_with(&["connect", "sendgrid"], &format!("{KEY}\n")).ok();
    assert_eq!(ran.line(), "sendgrid");
    assert!(!format!("{ran:?}").contains(KEY), "{ran:?}");
    assert_eq!(home.run(&["token", "sendgrid"]).ok().line(), KEY);
    let told = home.run(&["token", "sendgrid", "--json"]).ok().json();
    assert_eq!(told["headers"]["Authorization"], format!("Bearer {KEY}"));
    assert_eq!(told["expiry"], "never");
    let listed = home.run(&["connections"]).ok();
    assert!(!listed.stdout.contains(KEY), "{listed:?}");
    let refreshed = home.run(&["refresh", "sendgrid"]).ok();
    assert!(refreshed.stderr.contains("nothing to refresh"), "{refreshed:?}");
    home.run(&["doctor"]).ok();

    // Its owner deletes it there: the API says so, and a new one takes its place.
    let url = |path: &str| format!("http://{}/_sandbox/{path}", sandbox.address);
    let gone = json!({ "service": "sendgrid", "account": "", "client_id": "" });
    assert_eq!(http::post(&url("owner-revokes"), &gone).status, 200);
    home.run_with(&["connect", "sendgrid", "--id", "sendgrid"], KEY).fails(1, "refuses this key");
    let other = KEY.replace("abcd", "efgh");
    let made = json!({ "service": "sendgrid", "key": other });
    assert_eq!(http::post(&url("keys"), &made).status, 200);
    home.run_with(&["connect", "sendgrid", "--id", "sendgrid"], &other).ok();
    assert_eq!(home.run(&["token", "sendgrid"]).ok().line(), other);
    let receipt = home.run(&["revoke", "sendgrid", "--yes"]).ok();
    assert!(receipt.stdout.contains("Settings, API Keys"), "{receipt:?}");
    home.run(&["token", "sendgrid"]).fails(4, "revoked");
}

#[test]
fn a_pair_is_asked_for_part_by_part_and_shown_on_no_screen() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    add(&home, &sandbox, "mailjet");
    let [key, secret] = PAIR.map(|part| format!("{part}\n"));
    let answers = [("API key:", key.as_str()), ("secret key:", secret.as_str())];
    let shown = on_terminal_in_turn(home.command(&["connect", "mailjet"]), &answers);
    assert!(shown.contains("secret key") && shown.contains("full access"), "{shown}");
    assert!(!shown.contains(PAIR[0]) && !shown.contains(PAIR[1]), "{shown}");
    assert_eq!(home.run(&["token", "mailjet"]).ok().line(), PAIR.join(":"));
    let told = home.run(&["token", "mailjet", "--json"]).ok().json();
    assert!(told["headers"]["Authorization"].as_str().unwrap().starts_with("Basic "), "{told}");
    assert_eq!(told["account"]["name"], "Blue Door");
}

#[test]
fn bad_input_is_told_and_leaves_nothing() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    let add = ["clients", "add", "sendgrid", "--client-id", "x"];
    home.run(&add).fails(2, "no application is registered");
    home.run(&["connect", "hubspot"]).fails(3, "hubspot");
    home.run(&["connect", "nothing"]).fails(3, "nothing");
    super::api_key::add(&home, &sandbox, "activecampaign");
    let connect = |more: &[&str], key: &str| {
        home.run_with(&[&["connect", "activecampaign"], more].concat(), key)
    };
    let key = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef01234567";
    connect(&[], key).fails(2, "account");
    connect(&["--input", "account=evil.example"], key).fails(2, "account");
    connect(&["--input", "account=blue-door"], "short").fails(2, "key");
    connect(&["--input", "account=blue-door"], "").fails(2, "empty");
    connect(&["--input", "account=blue-door"], &key.replace('7', "8")).fails(1, "refuses this key");
    connect(&["--input", "account=blue-door", "--can", "contacts.read"], key).fails(2, "--can");
    assert_eq!(home.run(&["connections", "--json"]).ok().json()["connections"], json!([]));
    connect(&["--input", "account=blue-door"], key).ok();
    let told = home.run(&["token", "activecampaign", "--json"]).ok().json();
    assert_eq!(told["headers"]["Api-Token"], key);
    let line = json!({ "id": "two", "api_key": key, "inputs": { "account": "blue-door" } });
    home.run_with(&["import", "activecampaign", "--jsonl"], &format!("{line}\n")).ok();
    assert_eq!(home.run(&["token", "two"]).ok().line(), key);
}

#[test]
fn a_refused_key_leaves_no_client_either() {
    let home = Home::new();
    let none = |home: &Home| {
        assert_eq!(home.run(&["clients", "--json"]).ok().json()["clients"], json!([]));
    };
    home.run_with(&["connect", "sendgrid"], "short").fails(2, "key");
    none(&home);
    home.run_with(&["import", "sendgrid", "--id", "a"], r#"{"api_key":"short"}"#).fails(2, "key");
    none(&home);
    home.run_with(&["import", "sendgrid", "--jsonl"], "{\"id\":\"a\",\"api_key\":\"short\"}\n")
        .fails(1, "refused");
    none(&home);
    // Nobody is asked of one that comes with others, so none is needed that answers.
    let line = json!({ "id": "a", "api_key": KEY }).to_string() + "\n";
    home.run_with(&["import", "sendgrid", "--jsonl"], &line).ok();
    assert_eq!(home.run(&["token", "a"]).ok().line(), KEY);
    home.run_with(&["import", "keap"], "{}").fails(3, "there is no client");
}

#[test]
fn a_pair_comes_on_one_line_or_on_two() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    add(&home, &sandbox, "mailjet");
    for (id, between) in [("one", ":"), ("two", "\n"), ("three", "\r\n")] {
        let text = PAIR.join(between) + "\n";
        home.run_with(&["connect", "mailjet", "--id", id, "--flow", "api-key"], &text).ok();
        assert_eq!(home.run(&["token", id]).ok().line(), PAIR.join(":"));
    }
    home.run_with(&["connect", "mailjet"], &PAIR[0].repeat(2)).fails(2, "key");
}
