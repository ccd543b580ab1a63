//! Taking grants back: what is meant, how much of it there is, and what is shown until the service
//! has been told.

use serde_json::{Value, json};

use crate::stage::{Home, Sandbox, on_terminal};

/// Two clients of one service, with labelled connections, and one of another service.
fn many() -> (Home, Sandbox) {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    home.add_client(&sandbox, "klaviyo", &[]);
    home.add_client(&sandbox, "klaviyo", &["--id", "second"]);
    home.add_client(&sandbox, "mailchimp", &[]);
    for (client, id, job) in
        [("klaviyo", "a", "night"), ("klaviyo", "b", "day"), ("second", "c", "night")]
    {
        let label = format!("job={job}");
        let args = [client, "--id", id, "--label", &label, "--can", "contacts.read"];
        home.connect(&sandbox, &args);
    }
    home.connect(&sandbox, &["mailchimp", "--id", "m"]);
    (home, sandbox)
}

fn living(home: &Home) -> Vec<String> {
    let listed = home.run(&["connections", "--json"]).ok().json();
    let rows = listed["connections"].as_array().unwrap().iter();
    let living = rows.filter(|row| row["state"] != "revoked");
    living.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn all_of_a_label_a_client_or_a_service_are_counted_and_asked_about() {
    let (home, _sandbox) = many();
    let asks = |args: &[&str], typed: &str| {
        on_terminal(home.command(&[&["revoke"], args].concat()), "Go on?", typed)
    };
    let shown = asks(&["--label", "job=night"], "n");
    assert!(shown.contains("this ends 2 connections: a, c"), "{shown}");
    assert!(shown.contains("nothing was revoked"), "{shown}");
    assert_eq!(living(&home), ["a", "b", "c", "m"]);

    let receipt = home.run(&["revoke", "--label", "job=night", "--json"]).ok().json();
    assert_eq!((&receipt["connections"], &receipt["local"]), (&json!(["a", "c"]), &json!("off")));
    assert_eq!(living(&home), ["b", "m"]);
    let receipt = home.run(&["revoke", "--client", "klaviyo", "--json"]).ok().json();
    assert_eq!(receipt["connections"], json!(["b"]), "{receipt}");
    let receipt = home.run(&["revoke", "--service", "mailchimp", "--json"]).ok().json();
    assert_eq!(receipt["connections"], json!(["m"]), "{receipt}");
    for none in [["--label", "job=none"], ["--service", "klaviyo"], ["--client", "second"]] {
        home.run(&["revoke", none[0], none[1]]).fails(3, "");
    }
}

#[test]
fn the_first_of_many_are_named_and_the_rest_counted() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    home.add_client(&sandbox, "klaviyo", &[]);
    let line = |n: u32| format!("{{\"id\":\"c{n:02}\",\"access_token\":\"t{n}\"}}\n");
    let lines: String = (0..30).map(line).collect();
    home.run_with(&["import", "klaviyo", "--jsonl"], &lines).ok();
    let ask = home.command(&["revoke", "--client", "klaviyo"]);
    let shown = on_terminal(ask, "Go on?", "n");
    assert!(shown.contains("this ends 30 connections: c00, c01"), "{shown}");
    assert!(shown.contains("c19 and 10 more") && !shown.contains("c20"), "{shown}");
}

#[test]
fn what_the_service_has_not_heard_is_shown_until_it_has() {
    let (home, sandbox) = many();
    sandbox.faults(&["error-before=503@revoke"]);
    let receipt = home.run(&["revoke", "a"]).ok().stdout;
    assert!(receipt.contains("pending") && receipt.contains("next step:"), "{receipt}");
    home.run(&["token", "a"]).fails(4, "revoked");
    let shown = |args: &[&str]| home.run(args).ok().stdout;
    for args in [&["explain", "a"][..], &["connections", "show", "a"], &["doctor", "--offline"]] {
        assert!(shown(args).contains("pending"), "{args:?}: {}", shown(args));
    }
    sandbox.faults(&[]);
    // Any command that goes to the network tells it, once it is due.
    home.run(&["recover"]).ok();
    for args in [&["explain", "a"][..], &["connections", "show", "a"], &["doctor", "--offline"]] {
        let text = shown(args);
        let waits = text.contains("pending") && !text.contains("none is pending");
        assert!(!waits, "{args:?}: {text}");
    }
}

#[test]
fn who_cannot_revoke_says_what_to_do_by_hand() {
    let (home, _sandbox) = many();
    let receipt = home.run(&["revoke", "m", "--json"]).ok().json();
    assert_eq!(receipt["service"][0]["state"], "cannot", "{receipt}");
    assert_eq!((&receipt["service"][0]["call"], &receipt["proof"]), (&Value::Null, &Value::Null));
    let (home, _sandbox) = many();
    let text = home.run(&["revoke", "m"]).ok().stdout;
    assert!(text.contains("cannot") && text.contains("next step: "), "{text}");
    assert!(text.contains("Connected apps"), "{text}");
}
