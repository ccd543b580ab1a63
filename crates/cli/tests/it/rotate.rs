//! Rotation by the command line: tokens, data keys, the root key and where it may come from.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::stage::{Home, Sandbox, feed};

fn connected() -> (Home, Sandbox) {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    for service in ["klaviyo", "mailchimp"] {
        home.add_client(&sandbox, service, &[]);
    }
    home.connect(&sandbox, &["klaviyo", "--can", "contacts.read"]);
    home.connect(&sandbox, &["mailchimp"]);
    (home, sandbox)
}

#[test]
fn tokens_are_rotated_and_the_rest_is_listed() {
    let (home, sandbox) = connected();
    let before = home.run(&["token", "klaviyo"]).ok();
    let report = home.run(&["rotate", "tokens", "--json"]).ok().json();
    assert_eq!(report["rotated"], serde_json::json!(["klaviyo"]));
    assert_eq!(report["needs_user"][0]["connection"], "mailchimp");
    assert_eq!(report["not_yet"], serde_json::json!([]));
    let after = home.run(&["token", "klaviyo"]).ok();
    assert_ne!(before.line(), after.line());
    let newest = sandbox.record("klaviyo")["grants"][0]["generations"].as_array().unwrap().len();
    assert_eq!(newest, 2, "one refresh, no more");
    let text = home.run(&["rotate", "tokens", "--service", "mailchimp"]).ok();
    assert!(text.stdout.starts_with("0 rotated, 0 not yet, 1 need"), "{text:?}");
    assert!(text.stdout.contains("issues no other token by itself"), "{text:?}");
    home.run(&["rotate", "tokens", "--client", "nobody"]).fails(3, "no client");
}

#[test]
fn keys_are_rotated_and_what_they_seal_is_served_as_before() {
    let (home, _sandbox) = connected();
    let token = home.run(&["token", "klaviyo"]).ok();
    let old = home.run(&["root-key", "export"]).ok();
    let report = home.run(&["rotate", "data-keys", "--json"]).ok().json();
    assert_eq!((&report["data_key"], &report["resealed"]), (&2.into(), &4.into()), "{report}");
    assert_eq!(home.run(&["token", "klaviyo"]).ok().line(), token.line());

    home.run(&["rotate", "root-key"]).ok();
    let new = home.run(&["root-key", "export"]).ok();
    assert_ne!(old.line(), new.line());
    assert_eq!(home.run(&["token", "klaviyo"]).ok().line(), token.line());
    let file = home.path().join("root.key");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!home.path().join("root.key.next").exists());

    let kept = home.beside("old.key");
    fs::write(&kept, old.line()).unwrap();
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o600)).unwrap();
    let source = format!("file:{}", kept.display());
    home.run(&["root-key", "check", "--root-key", &source]).fails(6, "not the one");
}

#[test]
fn a_change_of_the_root_key_that_was_cut_off_says_how_it_is_finished() {
    let (home, _sandbox) = connected();
    let file = home.path().join("root.key");
    let old = fs::read(&file).unwrap();
    home.run(&["rotate", "root-key"]).ok();
    // As if the machine had died before the new key took the old one's place.
    fs::rename(&file, home.path().join("root.key.next")).unwrap();
    fs::write(&file, old).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let told = home.run(&["token", "klaviyo"]).fails(6, "was cut off");
    let typed = told.stderr.split('`').nth(1).unwrap().to_owned();
    assert!(typed.starts_with("mv "), "{told:?}");
    assert!(Command::new("sh").args(["-c", &typed]).status().unwrap().success());
    home.run(&["token", "klaviyo"]).ok();
}

#[test]
fn the_root_key_moves_to_any_source_and_back() {
    let (home, _sandbox) = connected();
    let token = home.run(&["token", "klaviyo"]).ok();
    let elsewhere = home.beside("key");
    let generated = home.run(&["root-key", "generate", elsewhere.to_str().unwrap()]).ok();
    let source = generated.line().to_owned();
    home.run(&["root-key", "generate", elsewhere.to_str().unwrap()]).fails(1, "never overwritten");
    home.run(&["rotate", "root-key", "--to", &source]).ok();
    home.run(&["token", "klaviyo"]).fails(6, "not the one");

    let key = fs::read_to_string(&elsewhere).unwrap();
    let by = |source: &str, more: &dyn Fn(&mut Command)| {
        let mut command = home.command(&["token", "klaviyo", "--root-key", source]);
        more(&mut command);
        feed(command.spawn().unwrap(), "")
    };
    let nothing = |_: &mut Command| {};
    assert_eq!(by(&source, &nothing).ok().line(), token.line());
    let variable = by("env:KEY_OF_MINE", &|c| {
        c.env("KEY_OF_MINE", key.trim());
    });
    assert_eq!(variable.ok().line(), token.line());
    let printed = by(&format!("command:cat '{}'", elsewhere.display()), &nothing);
    assert_eq!(printed.ok().line(), token.line());
    // By a descriptor, as a service manager hands one over.
    let script =
        format!("exec \"$INDICIA\" token klaviyo --root-key fd:7 7< '{}'", elsewhere.display());
    let mut shell = Command::new("sh");
    let indicia = home.command(&[]).get_program().to_owned();
    shell.args(["-c", &script]).env("INDICIA", indicia).env("INDICIA_HOME", home.path());
    let shell = shell.output().unwrap();
    assert!(shell.status.success(), "{shell:?}");
    assert_eq!(String::from_utf8_lossy(&shell.stdout).trim(), token.line());

    by("env:NOT_SET_AT_ALL", &nothing).fails(6, "isn't set");
    by("fd:98", &nothing).fails(6, "can't be read from fd:98");
    by("fd:seven", &nothing).fails(2, "number of a file descriptor");
    by("command:exit 3", &nothing).fails(6, "failed");
    by("command:echo hello", &nothing).fails(6, "no root key");
    by("command:yes", &nothing).fails(6, "printed more than");
    by("keyring", &nothing).fails(2, "not there in this version");
    by("nonsense", &nothing).fails(2, "must be file:PATH");
    home.run(&["rotate", "root-key", "--root-key", "env:X", "--to", "env:X"])
        .fails(2, "isn't in a file");

    let file = format!("file:{}", home.path().join("back.key").display());
    home.run(&["rotate", "root-key", "--root-key", &source, "--to", &file]).ok();
    assert_eq!(by(&file, &nothing).ok().line(), token.line());
}

#[test]
fn without_a_home_nothing_is_rotated_and_none_is_made() {
    let home = Home::new();
    home.run(&["rotate", "data-keys"]).fails(6, "no store");
    home.run(&["rotate", "root-key"]).fails(6, "no store");
    let report = home.run(&["rotate", "tokens", "--json"]).ok().json();
    assert_eq!(report["rotated"], serde_json::json!([]));
    assert!(!home.path().exists());
    let drawn = home.run(&["root-key", "generate"]).ok();
    assert_eq!(drawn.line().len(), 64);
    assert_ne!(home.run(&["root-key", "generate"]).ok().line(), drawn.line());
    assert!(!home.path().exists());
}
