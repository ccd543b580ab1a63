//! `indicia setup`: from nothing to the first token, with a person before it.

use serde_json::json;

use crate::stage::{Home, SECRET, Sandbox, on_terminal, on_terminal_by, on_terminal_in_turn};

fn args<'a>(service: &'a str, sandbox: &'a Sandbox) -> [&'a str; 4] {
    ["setup", service, "--sandbox", &sandbox.address]
}

#[test]
fn a_code_is_pasted_back_and_the_line_for_a_script_works() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    let mut callback = None;
    let secret = format!("{SECRET}\n");
    let shown = on_terminal_by(home.command(&args("constant-contact", &sandbox)), |shown| {
        let last = shown.lines().last().unwrap_or_default();
        if last.contains("client ID") {
            return Some("app\n".to_owned());
        }
        if last.contains("client secret") {
            return Some(secret.clone());
        }
        if last.contains("able to do") {
            return Some("contacts.read\n".to_owned());
        }
        if last.contains("address") {
            let url = shown.split_whitespace().find(|word| word.contains("response_type=code"));
            let callback = callback.get_or_insert_with(|| sandbox.approve(url.unwrap()));
            return Some(format!("{callback}\n"));
        }
        last.contains("(").then(|| "\n".to_owned())
    });
    for said in ["1. ", "redirect URI to enter there", "pasted back here", "contact_data", "done."]
    {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    assert!(shown.contains("the API takes the token"), "{shown}");
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(shown.contains("indicia token constant-contact"), "{shown}");
    home.run(&["token", "constant-contact"]).ok();

    // Once more: all is there, nothing is asked.
    let again = on_terminal(home.command(&["setup", "constant-contact"]), "", "");
    assert!(again.contains("connection constant-contact is there"), "{again}");
    let all = home.run(&["connections", "--json"]).ok().json();
    assert_eq!(all["connections"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_wrong_is_told_and_asked_for_again_and_what_was_done_stays() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    let mut tries = 0;
    // Left at the question for the key.
    let shown = on_terminal_by(home.command(&args("activecampaign", &sandbox)), |shown| {
        let last = shown.lines().last().unwrap_or_default();
        if last.contains("account (") {
            tries += 1;
            return Some(if tries == 1 { "evil.example\n" } else { "blue-door\n" }.to_owned());
        }
        if last.contains("domain (") {
            return Some("\n".to_owned());
        }
        last.contains("API key").then(|| "short\n".to_owned())
    });
    assert!(shown.contains("it must be like"), "{shown}");
    assert!(shown.contains("is refused"), "{shown}");
    assert_eq!(home.run(&["clients", "--json"]).ok().json()["clients"][0]["id"], "activecampaign");
    assert_eq!(home.run(&["connections", "--json"]).ok().json()["connections"], json!([]));
    let key = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef01234567\n";
    let answers = [("account (", "blue-door\n"), ("domain (", "\n"), ("API key:", key)];
    let command = home.command(&["setup", "activecampaign"]);
    let shown = on_terminal_in_turn(command, &answers);
    assert!(shown.contains("client activecampaign is there"), "{shown}");
    assert!(shown.contains("the API takes the token (account owner)"), "{shown}");
    home.run(&["token", "activecampaign"]).ok();
}

#[test]
fn without_a_terminal_it_names_the_commands() {
    let home = Home::new();
    home.run(&["setup", "keap"]).fails(2, "indicia clients add keap");
    home.run(&["setup", "nothing"]).fails(3, "nothing");
}

#[test]
fn a_clients_settings_are_changed_later() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    home.add_client(&sandbox, "keap", &[]);
    let set =
        |pairs: &[&str]| home.run(&[&["clients", "set", "keap"], pairs, &["--json"]].concat());
    let told = set(&["token_max_age=30d", "secret_max_age=90d"]).ok().json();
    assert_eq!(told["settings"], json!({ "secret_max_age": "90d", "token_max_age": "30d" }));
    let ends = home.run(&["forecast", "--days", "91", "--json"]).ok().json();
    assert_eq!(ends["endings"][0]["kind"], "client_secret", "{ends}");
    set(&["token_max_age="]).ok();
    let shown = home.run(&["clients", "show", "keap", "--json"]).ok().json();
    assert_eq!(shown["settings"], json!({ "secret_max_age": "90d" }));
    set(&["token_max_age=5s"]).fails(2, "an hour");
    set(&["endpoint.token="]).fails(2, "a setting of this service");
    set(&["nothing=1"]).fails(2, "a setting of this service");
    set(&["a=1", "a=2"]).fails(2, "given twice");
    set(&[]).fails(2, "required");
    home.run(&["clients", "set", "none", "a=1"]).fails(3, "none");
}
