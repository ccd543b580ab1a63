//! What must not get out: keys into the environment of others, and characters that nobody sees.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::stage::{Connecting, Home, Sandbox, free_port, until};

/// Characters that move a cursor, turn text around, or aren't seen.
const HIDDEN: &str = "a\u{9b}2J\u{7f}\u{202e}\u{61c}\u{feff}\u{200b}\u{2028}\u{e0041}z";

fn has_hidden(text: &str) -> bool {
    HIDDEN.chars().filter(|c| !c.is_ascii_alphanumeric()).any(|c| text.contains(c))
}

/// A home whose root key is nowhere but in the text that is given back.
fn key_apart(home: &Home) -> String {
    let file = home.path().join("root.key");
    let key = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(file).unwrap();
    key.trim().to_owned()
}

#[test]
fn neither_a_command_nor_the_browser_is_given_the_root_key() {
    let (home, sandbox, port) = (Home::new(), Sandbox::start(&[]), free_port());
    let uri = format!("http://127.0.0.1:{port}/oauth/callback/klaviyo");
    home.add_client(&sandbox, "klaviyo", &["--redirect-uri", &uri]);
    home.connect(&sandbox, &["klaviyo", "--can", "contacts.read"]);
    let key = key_apart(&home);

    let mut command = home.command(&["exec", "klaviyo", "--", "env"]);
    command.env("PLAY_KEY", &key).env("INDICIA_ROOT_KEY", "env:PLAY_KEY");
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("INDICIA_TOKEN=") && text.contains("PATH="), "{text}");
    assert!(!text.contains("PLAY_KEY") && !text.contains(&key), "{text}");

    let (browser, note) = (home.beside("browser.sh"), home.beside("browsed"));
    let script = format!("#!/bin/sh\nenv > {0}.new; mv {0}.new {0}\n", note.display());
    std::fs::write(&browser, script).unwrap();
    std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o755)).unwrap();
    let args = ["connect", "klaviyo", "--can", "contacts.read", "--root-key", "env:PLAY_KEY"];
    let mut command = home.command(&args);
    command.env("BROWSER", &browser).env("PLAY_KEY", &key).env("INDICIA_API_KEY", "k");
    let connecting = Connecting::of(command.spawn().unwrap());
    until("the browser has started", || note.exists());
    let text = std::fs::read_to_string(&note).unwrap();
    assert!(text.contains("PATH="), "{text}");
    assert!(!text.contains("PLAY_KEY") && !text.contains("INDICIA_"), "{text}");
    let callback = sandbox.approve(&connecting.address);
    assert_eq!(crate::http::get(&callback).status, 200);
    assert_eq!(connecting.end().ok().line(), "klaviyo-2");
}

#[test]
fn hidden_characters_are_escaped_in_json_and_replaced_in_text() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    home.add_client(&sandbox, "klaviyo", &[]);
    let connecting = home.connecting(&["klaviyo", "--can", "contacts.read"]);
    let click = json!({ "authorize_url": connecting.address, "account": HIDDEN });
    let connected = connecting.paste(&sandbox.click(&click)).ok();
    let shown = connected.json().to_string();
    assert!(!has_hidden(&connected.stdout) && has_hidden(&shown), "{connected:?}");
    for args in [&["connections"][..], &["connections", "show", "klaviyo"], &["explain", "klaviyo"]]
    {
        let text = home.run(args).ok().stdout;
        let json = home.run(&[args, &["--json"]].concat()).ok().stdout;
        assert!(!has_hidden(&text) && !has_hidden(&json), "{args:?}: {text} {json}");
    }
    let token = home.run(&["token", "klaviyo", "--json"]).ok();
    assert!(!has_hidden(&token.stdout) && has_hidden(&token.json().to_string()), "{token:?}");
    for args in [&["token", HIDDEN][..], &["token", HIDDEN, "--json"]] {
        let ran = home.run(args).fails(3, "");
        assert!(!has_hidden(&ran.stderr), "{ran:?}");
    }
}
