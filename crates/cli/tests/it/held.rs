//! A copied home: valid tokens are served, nothing is sent, until it is taken over.

use std::process::Command;

use crate::stage::{Home, Sandbox, wait_for_the_end};

fn copied(home: &Home) -> Home {
    let copy = Home::new();
    let done = Command::new("cp").arg("-a").arg(home.path()).arg(copy.path()).status();
    assert!(done.unwrap().success());
    copy
}

// proves: a-copy-is-held
#[test]
fn a_copied_home_sends_nothing_until_it_is_taken_over() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&["--life", "4s"]));
    home.add_client(&sandbox, "keap", &[]);
    let connection = home.connect(&sandbox, &["keap"]);
    let copy = copied(&home);
    let tokens = |home: &Home| home.run(&["token", "keap", "--min-valid", "0s"]);

    let original = tokens(&home).ok();
    let served = tokens(&copy).ok();
    assert_eq!(served.line(), original.line(), "what is valid is served");
    assert!(served.stderr.contains("indicia takeover"), "{served:?}");
    let doctor = copy.run(&["doctor"]);
    assert!(doctor.stdout.contains("sends nothing"), "{doctor:?}");

    wait_for_the_end(&connection);
    let record = sandbox.record("keap");
    tokens(&copy).fails(5, "copied, restored or moved");
    copy.run(&["refresh", "keap", "--force"]).fails(5, "copied, restored or moved");
    copy.run(&["connect", "keap", "--no-browser"]).fails(5, "copied, restored or moved");
    assert_eq!(sandbox.record("keap"), record, "nothing was sent");
    tokens(&home).ok();

    let taken = copy.run(&["takeover", "--json"]).ok().json();
    assert_eq!(taken["taken_over"], true);
    let again = copy.run(&["takeover"]).ok();
    assert!(again.stdout.contains("isn't held"), "{again:?}");
    let quiet = copy.run(&["connections"]).ok();
    assert!(!quiet.stderr.contains("takeover"), "{quiet:?}");
    home.run(&["doctor"]);
    assert!(!tokens(&home).stderr.contains("takeover"), "the original is as it was");
}

#[test]
fn a_home_that_was_taken_over_refreshes() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&["--life", "3s"]));
    home.add_client(&sandbox, "keap", &[]);
    let connection = home.connect(&sandbox, &["keap"]);
    let copy = copied(&home);
    drop(home);
    wait_for_the_end(&connection);
    copy.run(&["token", "keap"]).fails(5, "copied, restored or moved");
    copy.run(&["takeover"]).ok();
    copy.run(&["token", "keap"]).ok();
    let shown = copy.run(&["connections", "show", "keap", "--json"]).ok().json();
    assert_eq!(shown["version"], 2, "{shown}");
}
