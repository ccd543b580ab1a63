//! What is different when a person sits before it.

use crate::stage::{Home, SECRET, on_terminal};

#[test]
fn colour_is_for_terminals_that_want_it() {
    let home = Home::new();
    let shown = on_terminal(home.command(&["token", "none"]), "", "");
    assert!(shown.contains("\x1b[") && shown.contains("there is no connection"), "{shown:?}");
    let mut command = home.command(&["token", "none"]);
    command.env("NO_COLOR", "1");
    let shown = on_terminal(command, "", "");
    assert!(!shown.contains('\x1b') && shown.contains("there is no connection"), "{shown:?}");
    assert!(!home.run(&["token", "none"]).stderr.contains('\x1b'));
}

#[test]
fn a_secret_is_asked_for_and_not_shown() {
    let home = Home::new();
    let command = home.command(&["clients", "add", "klaviyo", "--client-id", "x"]);
    let shown = on_terminal(command, "client secret", &format!("{SECRET}\n"));
    assert!(shown.contains("indicia connect klaviyo"), "{shown:?}");
    assert!(!shown.contains(SECRET), "{shown:?}");
    let listed = home.run(&["clients", "--json"]).ok().json();
    assert_eq!(listed["clients"][0]["secrets"][0]["state"], "current");
}

#[test]
fn what_ends_more_than_was_named_is_asked_about_first() {
    let (home, sandbox) = (Home::new(), crate::stage::Sandbox::start(&[]));
    home.add_client(&sandbox, "hubspot", &[]);
    home.connect(&sandbox, &["hubspot", "--id", "one", "--can", "contacts.read"]);
    home.connect(&sandbox, &["hubspot", "--id", "two", "--can", "contacts.read"]);
    let shown = on_terminal(home.command(&["revoke", "one"]), "Go on?", "n");
    assert!(shown.contains("two") && shown.contains("nothing was revoked"), "{shown:?}");
    home.run(&["token", "two"]).ok();
    let shown = on_terminal(home.command(&["revoke", "one"]), "Go on?", "y");
    assert!(shown.contains("receipt"), "{shown:?}");
    home.run(&["token", "two"]).fails(4, "revoked");
}
