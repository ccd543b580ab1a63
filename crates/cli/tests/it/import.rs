//! `indicia import`: one, and many.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::stage::{Home, Sandbox};

/// A home with a client and nothing else, and a token set that the service gave to another home.
fn given() -> (Home, Sandbox, Value) {
    let sandbox = Sandbox::start(&[]);
    let (elsewhere, home) = (Home::new(), Home::new());
    elsewhere.add_client(&sandbox, "klaviyo", &[]);
    elsewhere.connect(&sandbox, &["klaviyo", "--can", "contacts.read"]);
    let token = elsewhere.run(&["token", "klaviyo", "--json"]).ok().json();
    home.add_client(&sandbox, "klaviyo", &[]);
    let set = json!({ "access_token": token["access_token"], "expires_at": token["expires_at"] });
    (home, sandbox, set)
}

#[test]
fn one_is_taken_over_and_served() {
    let (home, _sandbox, set) = given();
    let ran = home.run_with(&["import", "klaviyo", "--id", "mine"], &set.to_string()).ok();
    assert_eq!(ran.line(), "mine");
    let token = home.run(&["token", "mine", "--json"]).ok().json();
    assert_eq!(token["access_token"], set["access_token"]);
    assert_eq!(token["expires_at"], set["expires_at"]);
    assert!(token["account"]["id"].is_string(), "whose it is was asked: {token}");
    let again = home.run_with(&["import", "klaviyo", "--id", "mine"], &set.to_string()).ok();
    assert!(again.stderr.contains("nothing is changed"), "{again:?}");
    let shown = home.run(&["connections", "show", "mine", "--json"]).ok().json();
    assert_eq!((&shown["flow"], &shown["version"]), (&json!("import"), &json!(1)));

    home.run_with(&["import", "klaviyo"], "{").fails(2, "not one JSON object");
    home.run_with(&["import", "klaviyo"], "").fails(2, "not one JSON object");
    home.run_with(&["import", "nobody"], "{}").fails(3, "there is no client");
    home.run_with(&["import", "klaviyo", "--rotation-owner", "me"], "{}").fails(2, "me");
}

#[test]
fn many_are_taken_over_and_again_what_was_cut_off() {
    let (home, _sandbox, _) = given();
    let set = |n: u32| {
        let half = (n % 2).to_string();
        json!({ "id": format!("c{n:04}"), "access_token": format!("token-{n}"),
            "refresh_token": format!("refresh-{n}"), "expires_in": 3600, "labels": { "half": half } })
    };
    let lines = |first: u32, last: u32| {
        (first..last).fold(String::new(), |mut text, n| {
            let _ = writeln!(text, "{}", set(n));
            text
        })
    };
    let import = ["import", "klaviyo", "--jsonl", "--json"];
    let report = home.run_with(&import, &lines(0, 700)).ok().json();
    assert_eq!(report, json!({ "imported": 700, "unchanged": 0, "refused": 0, "refusals": [] }));
    let report = home.run_with(&import, &lines(0, 1000)).ok().json();
    assert_eq!((&report["imported"], &report["unchanged"]), (&json!(300), &json!(700)));
    let some = home.run(&["connections", "--label", "half=1", "--json"]).ok().json();
    assert!(!some["connections"].as_array().unwrap().is_empty());
    let token = home.run(&["token", "c0999"]).ok();
    assert_eq!(token.line(), "token-999");

    let bad = format!("{}\n\n{{\"access_token\":\"x\"}}\nnonsense\n{}", set(1), set(2000));
    let ran = home.run_with(&["import", "klaviyo", "--jsonl"], &bad);
    assert!(ran.stdout.contains("1 imported, 1 unchanged, 2 refused"), "{ran:?}");
    assert!(ran.stderr.contains("line 3: ") && ran.stderr.contains("line 4: "), "{ran:?}");
    ran.fails(1, "2 line(s) were refused");
    assert_eq!(home.run(&["token", "c2000"]).ok().line(), "token-2000", "the rest was taken");
}

#[test]
fn of_two_lines_with_one_id_the_first_is_taken_over() {
    let (home, _sandbox, _) = given();
    let line = |n: u32| {
        json!({ "id": "same", "access_token": format!("token-{n}"),
            "refresh_token": format!("refresh-{n}"), "expires_in": 3600 })
    };
    let lines: String = (0..20).map(|n| format!("{}\n", line(n))).collect();
    let report = home.run_with(&["import", "klaviyo", "--jsonl", "--json"], &lines).ok().json();
    assert_eq!((&report["imported"], &report["unchanged"]), (&json!(1), &json!(19)), "{report}");
    assert_eq!(home.run(&["token", "same"]).ok().line(), "token-0");
}
