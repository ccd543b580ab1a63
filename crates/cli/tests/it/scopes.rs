//! The least scopes: what is asked for and why, what was granted of it, and what to do about the
//! difference.

use serde_json::{Value, json};

use crate::stage::{Home, Sandbox};

/// Capabilities that need two scopes, beside that which is always asked for.
const CAN: &str = "contacts.read,campaigns.read";

fn with_client(service: &str) -> (Home, Sandbox) {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    home.add_client(&sandbox, service, &[]);
    (home, sandbox)
}

/// Connects; the owner allows these scopes alone.
fn connect_with_less(home: &Home, sandbox: &Sandbox, allowed: &[&str]) -> Value {
    let connecting = home.connecting(&["klaviyo", "--can", CAN]);
    let click = json!({ "authorize_url": connecting.address, "account": "a", "scopes": allowed });
    let callback = sandbox.click(&click);
    connecting.paste(&callback).ok().json()
}

fn report(home: &Home, args: &[&str]) -> Value {
    home.run(&[&["scopes"], args, &["--json"]].concat()).ok().json()
}

fn codes(report: &Value) -> Vec<&str> {
    let advice = report["advice"].as_array().unwrap();
    advice.iter().map(|a| a["code"].as_str().unwrap()).collect()
}

fn scope<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["scopes"].as_array().unwrap().iter().find(|s| s["scope"] == name).unwrap()
}

#[test]
fn what_is_asked_for_is_said_with_its_reason() {
    let (home, sandbox) = with_client("klaviyo");
    let args = ["klaviyo", "--can", "contacts.read,campaigns.send", "--scope", "tags:read"];
    let connecting = home.connecting(&args);
    let callback = sandbox.approve(&connecting.address);
    let said = connecting.paste(&callback).ok().stderr;
    for line in [
        "accounts:read: read the account (to learn whose account it is)",
        "profiles:read: read profiles (for contacts.read)",
        "campaigns:write: create, change and send campaigns (for campaigns.send)",
        "tags:read: read tags (you named it)",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[test]
fn less_than_was_asked_is_a_reason_for_attention_and_no_failure() {
    let (home, sandbox) = with_client("klaviyo");
    let view = connect_with_less(&home, &sandbox, &["accounts:read", "profiles:read"]);
    assert_eq!(view["state"], "attention", "{view}");
    assert_eq!(view["reason"]["code"], "fewer_scopes", "{view}");
    assert!(view["reason"]["detail"].as_str().unwrap().contains("campaigns:read"), "{view}");
    home.run(&["token", "klaviyo"]).ok();

    let told = report(&home, &["klaviyo"]);
    assert_eq!(codes(&told), ["not_granted"], "{told}");
    assert_eq!(told["allows"], json!(["account.read", "contacts.read"]), "{told}");
    let campaigns = scope(&told, "campaigns:read");
    assert_eq!((&campaigns["asked"], &campaigns["granted"]), (&json!(1), &json!(0)), "{told}");
    assert_eq!(campaigns["needed"], Value::Null, "nobody said what is needed");

    // A refresh brings the same: it is compared on every answer, and stays said.
    let refreshed = home.run(&["refresh", "klaviyo", "--force", "--json"]).ok().json();
    assert_eq!(refreshed["reason"]["code"], "fewer_scopes", "{refreshed}");

    // More is asked by connecting again: the connection is served as it is until the new grant is
    // there.
    let connecting = home.connecting(&["klaviyo", "--id", "klaviyo", "--can", CAN]);
    home.run(&["token", "klaviyo"]).ok();
    let before = home.run(&["connections", "show", "klaviyo", "--json"]).ok().json();
    assert_eq!(before["version"], refreshed["version"]);
    let callback = sandbox.click(&json!({ "authorize_url": connecting.address, "account": "a" }));
    let after = connecting.paste(&callback).ok().json();
    assert_eq!((&after["id"], &after["state"]), (&view["id"], &json!("active")), "{after}");
    assert_eq!(codes(&report(&home, &["klaviyo", "--can", CAN])), [""; 0]);
}

#[test]
fn what_is_there_is_compared_with_what_is_needed() {
    let (home, sandbox) = with_client("klaviyo");
    home.connect(&sandbox, &["klaviyo", "--id", "one", "--can", CAN]);
    home.connect(&sandbox, &["klaviyo", "--id", "two", "--can", "contacts.read"]);
    let told = report(&home, &["one", "--can", "contacts.read"]);
    assert_eq!(codes(&told), ["not_needed"], "{told}");
    assert!(told["advice"][0]["detail"].as_str().unwrap().contains("campaigns:read"), "{told}");
    assert_eq!(scope(&told, "accounts:read")["needed"], true, "it is always asked for");

    let of_client = ["--client", "klaviyo", "--can", CAN];
    let told = report(&home, &of_client);
    assert_eq!((&told["connections"], &told["connection"]), (&json!(2), &Value::Null), "{told}");
    assert_eq!(scope(&told, "campaigns:read")["granted"], 1, "{told}");
    assert_eq!(codes(&told), ["missing"], "{told}");
    home.run(&["revoke", "two"]).ok();
    let told = report(&home, &of_client);
    assert_eq!((&told["connections"], codes(&told).len()), (&json!(1), 0), "{told}");

    let text = home.run(&["scopes", "one", "--can", "lists.read"]).ok().stdout;
    let row = "lists:read      no     no       yes     read lists";
    assert!(text.contains(row), "{text}");
    assert!(text.contains("next: connect again on the same id"), "{text}");
}

#[test]
fn where_a_service_has_no_scopes_that_is_said() {
    let (home, sandbox) = with_client("mailchimp");
    home.connect(&sandbox, &["mailchimp"]);
    let told = report(&home, &["mailchimp"]);
    assert_eq!((&told["full_access"], codes(&told)), (&json!(true), vec!["full_access"]));
    let text = home.run(&["scopes", "mailchimp"]).ok().stdout;
    assert!(text.contains("may do all that its account may"), "{text}");
}

#[test]
fn what_was_typed_wrong_is_told() {
    let (home, _sandbox) = with_client("klaviyo");
    home.run(&["scopes"]).fails(2, "required");
    home.run(&["scopes", "one", "--client", "klaviyo"]).fails(2, "cannot be used with");
    home.run(&["scopes", "one"]).fails(3, "one");
    home.run(&["scopes", "--client", "nobody"]).fails(3, "nobody");
    let wrong = home.run(&["scopes", "--client", "klaviyo", "--can", "contact.read"]);
    wrong.fails(2, "contacts.read");
    Home::new().run(&["scopes", "one"]).fails(3, "one");
}
