//! What is said beside results: what a grant may do, who shares it, what became of it, whose file
//! decides.

use serde_json::Value;

use crate::stage::{Home, SECRET, Sandbox, on_terminal};

/// A home with a client of a service.
fn with_client(service: &str) -> (Home, Sandbox) {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    home.add_client(&sandbox, service, &[]);
    (home, sandbox)
}

/// Connects, and gives all that was said on standard error.
fn connect(home: &Home, sandbox: &Sandbox, args: &[&str]) -> String {
    let connecting = home.connecting(args);
    let callback = sandbox.approve(&connecting.address);
    connecting.paste(&callback).ok().stderr
}

fn shared() -> (Home, Sandbox) {
    let (home, sandbox) = with_client("hubspot");
    for id in ["one", "two"] {
        home.connect(&sandbox, &["hubspot", "--id", id, "--can", "contacts.read"]);
    }
    (home, sandbox)
}

#[test]
fn forget_takes_a_shared_grant_back_when_that_is_said() {
    let (home, _sandbox) = shared();
    let refused = home.run(&["forget", "one", "--revoke", "--json"]).fails(1, "").error();
    assert_eq!(refused["code"], "grant_shared", "{refused}");
    home.run(&["token", "one"]).ok();
    home.run(&["forget", "one", "--keep-grant", "--shared"]).fails(2, "cannot be used");
    home.run(&["forget", "one", "--revoke", "--shared"]).ok();
    home.run(&["token", "one"]).fails(3, "");
    home.run(&["token", "two"]).fails(4, "revoked");

    let (home, _sandbox) = shared();
    let shown = on_terminal(home.command(&["forget", "one", "--revoke"]), "Go on?", "n");
    assert!(shown.contains("two") && shown.contains("nothing was revoked"), "{shown:?}");
    home.run(&["token", "one"]).ok();
    let shown = on_terminal(home.command(&["forget", "one", "--revoke"]), "Go on?", "y");
    assert!(shown.contains("is forgotten"), "{shown:?}");
    home.run(&["token", "two"]).fails(4, "revoked");
}

#[test]
fn forget_says_what_is_so_of_the_grant() {
    let (home, sandbox) = with_client("klaviyo");
    for (id, revoked, says) in
        [("one", true, "was taken back before"), ("two", false, "lives on at the service")]
    {
        home.connect(&sandbox, &["klaviyo", "--id", id, "--can", "contacts.read"]);
        if revoked {
            home.run(&["revoke", id]).ok();
        }
        let told = home.run(&["forget", id, "--keep-grant"]).ok();
        assert!(told.stdout.contains(says), "{told:?}");
    }
}

#[test]
fn full_access_is_said_before_and_after_and_where_a_connection_is_shown() {
    let (home, sandbox) = with_client("mailchimp");
    let said = connect(&home, &sandbox, &["mailchimp"]);
    assert!(said.contains("asks for full access to the account"), "{said}");
    assert!(said.contains("its token has full access to the account"), "{said}");
    let shown = home.run(&["connections", "show", "mailchimp"]).ok();
    assert!(shown.stdout.contains("full access to the account"), "{shown:?}");

    let (home, sandbox) = with_client("klaviyo");
    let said = connect(&home, &sandbox, &["klaviyo", "--can", "contacts.read"]);
    assert!(!said.contains("full access"), "{said}");
}

#[test]
fn an_account_that_is_connected_already_is_named() {
    let (home, sandbox) = with_client("klaviyo");
    let said = connect(&home, &sandbox, &["klaviyo", "--can", "contacts.read"]);
    assert!(!said.contains("connected also"), "{said}");
    let said = connect(&home, &sandbox, &["klaviyo", "--id", "other", "--can", "contacts.read"]);
    assert!(said.contains("this account is connected also as klaviyo"), "{said}");
}

#[test]
fn an_overridden_service_is_marked_wherever_it_appears() {
    let (home, sandbox) = with_client("klaviyo");
    let folder = home.path().join("services");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("mine.toml");
    std::fs::write(&file, include_str!("../../../../services/klaviyo.toml")).unwrap();
    let path = file.to_str().unwrap();
    let said = connect(&home, &sandbox, &["klaviyo", "--can", "contacts.read"]);
    assert!(said.contains("overridden by your own file") && said.contains(path), "{said}");
    let args = ["clients", "add", "klaviyo", "--id", "b", "--client-id", "x", "--secret-stdin"];
    let added = home.run_with(&args, SECRET).ok();
    assert!(added.stderr.contains("overridden by your own file"), "{added:?}");
    for (args, says) in [
        (&["connections"][..], "klaviyo (sandbox) (overridden)"),
        (&["clients"], "klaviyo (overridden)"),
        (&["connections", "show", "klaviyo"], path),
        (&["clients", "show", "klaviyo"], path),
        (&["services"], &format!("overridden by {path}")),
        (&["services", "show", "klaviyo"], &format!("overridden by {path}")),
        (&["doctor"], "is overridden by"),
    ] {
        let ran = home.run(args).ok();
        assert!(ran.stdout.contains(says), "{args:?}: {ran:?}");
    }
}

#[test]
fn all_that_is_wrong_with_a_new_client_is_told_at_once() {
    let home = Home::new();
    let args = ["clients", "add", "klaviyo", "--client-id", "x", "--sandbox", "10.0.0.1:80"];
    let more = ["--secret-expires", "soon", "--set", "a=1", "--set", "a=2", "--json"];
    let error = home.run(&[&args[..], &more].concat()).fails(2, "").error();
    assert_eq!(error["code"], "options_refused", "{error}");
    for says in ["--sandbox", "\"soon\"", "given twice", "none was given"] {
        assert!(error["detail"].as_str().unwrap().contains(says), "{says}: {error}");
    }
}

#[test]
fn doctor_keeps_the_lines_of_what_it_found() {
    let (home, _sandbox) = with_client("klaviyo");
    std::fs::write(home.path().join("indicia.db"), vec![0x5a_u8; 8192]).unwrap();
    let ran = home.run(&["doctor"]).fails(1, "checks failed");
    assert!(!ran.stdout.contains('\u{fffd}'), "{ran:?}");
}

#[test]
fn the_sandbox_tells_how_faults_are_added_while_it_runs() {
    let home = Home::new();
    let help = home.run(&["sandbox", "--help"]).ok().stdout;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in ["_sandbox/faults", "device, revoke, introspect, metadata, api"] {
        assert!(help.contains(word), "{word}: {help}");
    }
    // The line that the help shows works as it is.
    let sandbox = Sandbox::start(&[]);
    let body: Value = serde_json::json!({ "add": ["error-before=503@refresh"] });
    let url = format!("http://{}/_sandbox/faults", sandbox.address);
    assert_eq!(crate::http::post(&url, &body).status, 200);
    assert!(crate::http::get(&url).body.contains("503"));
}
