//! The device flow on the command line: what a person is shown, and what comes of it.

use serde_json::json;

use crate::peers::{self, Peer};
use crate::stage::{Connecting, Home, Sandbox, on_terminal, owning_its_terminal};

const ARGS: [&str; 7] =
    ["connect", "constant-contact", "--flow", "device", "--scope", "contact_data", "--json"];

fn connecting(home: &Home, args: &[&str]) -> (Connecting, String) {
    let mut connecting = Connecting::of(home.command(args).spawn().unwrap());
    let code = connecting.line_after("enter this code");
    (connecting, code)
}

// DF-6
#[test]
fn df_6_address_and_code_are_text_and_the_person_decides() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    home.add_client(&sandbox, "constant-contact", &[]);
    let (waiting, code) = connecting(&home, &ARGS);
    assert!(code.len() == 9 && code.as_bytes()[4] == b'-', "{code}");
    sandbox.approve(&format!("{}?user_code={code}", waiting.address));
    let ran = waiting.end().ok();
    assert!(ran.stderr.contains("contact_data"), "{ran:?}");
    assert!(ran.stderr.contains("only if the page shows this same code"), "{ran:?}");
    assert!(!ran.stderr.contains('█') && !ran.stderr.contains("sbx-device"), "{ran:?}");
    assert_eq!(ran.json()["flow"], "device");
    home.run(&["token", "constant-contact"]).ok();

    let (waiting, code) = connecting(&home, &[&ARGS[..], &["--id", "no"]].concat());
    sandbox.deny(&format!("{}?user_code={code}", waiting.address));
    waiting.end().fails(1, "access was refused");
    home.run(&["token", "no"]).fails(3, "no connection");
}

// DF-6
#[test]
fn df_6_a_terminal_shows_a_picture_too_and_ctrl_c_ends_it() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    home.add_client(&sandbox, "constant-contact", &[]);
    let shown = on_terminal(owning_its_terminal(&home.command(&ARGS[..6])), "same code", "\x03");
    assert!(shown.contains('█') && shown.contains("/device/authorize/verify"), "{shown}");
    let asked = sandbox.record("constant-contact")["counters"]["device_asked"].clone();
    assert_eq!(asked, json!(1));
}

// DF-10
#[test]
fn df_10_one_pair_is_asked_for_and_no_second() {
    let (home, peer) = (Home::new(), Peer::django(&[]));
    peers::add(&home, &peer, "tv", &[]);
    let args = ["connect", "tv", "--flow", "device", "--can", "campaigns.read", "--json"];
    let (waiting, code) = connecting(&home, &args);
    peer.enter_code(&code);
    assert_eq!(waiting.end().ok().json()["account"]["id"], "alice");
    assert_eq!(peer.answers("urn:ietf:params:oauth:grant-type:device_code", 200), 1);
    assert_eq!(peer.row("select count(*) from oauth2_provider_refreshtoken"), "1");
    home.run(&["refresh", "tv"]).ok();
    assert_eq!(peer.whoami(&peers::token(&home, "tv")).status, 200);
}
