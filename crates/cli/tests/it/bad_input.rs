//! Bad input: the message and the exit status of each kind.

use std::os::unix::fs::PermissionsExt as _;

use crate::stage::{Home, Ran, SECRET, Sandbox, feed};

/// Code, exit status, and a word of what is said.
#[track_caller]
fn check(ran: Ran, status: i32, code: &str, says: &str) {
    let error = ran.clone().fails(status, "").error();
    assert_eq!(error["code"], code, "{error}");
    let all = format!("{} {}", error["detail"], error["hint"]);
    assert!(all.contains(says), "expected {says:?} in {error}");
    assert!(!error["detail"].as_str().unwrap().is_empty());
}

fn with_client(service: &str) -> (Home, Sandbox) {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    home.add_client(&sandbox, service, &[]);
    (home, sandbox)
}

#[test]
fn an_unknown_service_and_a_taken_id() {
    let (home, sandbox) = with_client("klaviyo");
    let add = |service: &str, more: &[&str]| {
        let args = ["clients", "add", service, "--client-id", "x", "--secret-stdin", "--json"];
        home.run_with(&[&args, more].concat(), SECRET)
    };
    check(add("klavyo", &[]), 3, "not_found", "klaviyo");
    check(add("klaviyo", &["--id", "klaviyo"]), 1, "id_taken", "--id");
    home.connect(&sandbox, &["klaviyo", "--id", "mine", "--can", "contacts.read"]);
    home.add_client(&sandbox, "hubspot", &[]);
    let taken =
        home.run(&["connect", "hubspot", "--id", "mine", "--can", "contacts.read", "--json"]);
    check(taken, 1, "id_taken", "client klaviyo");
}

#[test]
fn a_missing_input_and_a_wrong_pattern() {
    let home = Home::new();
    let service = "salesforce-marketing-cloud";
    let add = |more: &[&str]| {
        let args = ["clients", "add", service, "--client-id", "x", "--secret-stdin", "--json"];
        home.run_with(&[&args, more].concat(), SECRET)
    };
    let missing = add(&[]);
    check(missing.clone(), 2, "input_missing", "--input");
    let shown = home.run(&["services", service, "--json"]).ok().json();
    let input = shown["inputs"].as_array().unwrap().iter().find(|i| i["needed"] == true).unwrap();
    let name = input["name"].as_str().unwrap();
    check(add(&["--input", &format!("{name}=evil.test/#")]), 2, "input_refused", name);
    let example = format!("{name}={}", input["example"].as_str().unwrap());
    check(add(&["--input", &example, "--input", "nonsense=1"]), 2, "input_refused", "nonsense");
    check(
        add(&["--input", &format!("{name}=a"), "--input", &format!("{name}=b")]),
        2,
        "given_twice",
        name,
    );
    check(add(&["--sandbox", "10.0.0.1:80"]), 2, "sandbox_refused", "127.0.0.1");
    check(add(&["--secret-expires", "soon"]), 2, "date_refused", "YYYY-MM-DD");
    check(
        add(&["--input", &example, "--redirect-uri", "http://example.com/"]),
        2,
        "input_refused",
        "https",
    );
    assert!(
        !home.path().join("indicia.db").exists() || home.run(&["clients"]).ok().stdout.is_empty()
    );
}

#[test]
fn a_secret_that_is_not_there() {
    let home = Home::new();
    let args = ["clients", "add", "klaviyo", "--client-id", "x", "--json"];
    check(home.run(&args), 2, "secret_missing", "--secret-stdin");
    let args = [&args[..], &["--secret-stdin"]].concat();
    check(home.run(&args), 2, "secret_refused", "empty");
    let file = home.beside("none").to_str().unwrap().to_owned();
    let args = ["clients", "add", "klaviyo", "--client-id", "x", "--json", "--secret-file", &file];
    check(home.run(&args), 1, "file_unreadable", "none");
}

#[test]
fn scopes_that_have_to_be_chosen() {
    let (home, _sandbox) = with_client("klaviyo");
    check(home.run(&["connect", "klaviyo", "--json"]), 2, "scopes_missing", "contacts.read");
    let wrong = home.run(&["connect", "klaviyo", "--can", "contact.read", "--json"]);
    check(wrong, 2, "capability_unknown", "contacts.read");
    let flow =
        ["connect", "klaviyo", "--can", "contacts.read", "--flow", "client-credentials", "--json"];
    check(home.run(&flow), 2, "flow_not_offered", "authorization-code");
}

#[test]
fn a_state_that_is_unknown_or_used_or_of_another_client() {
    let (home, sandbox) = with_client("klaviyo");
    let ask = || home.connecting(&["klaviyo", "--can", "contacts.read"]);

    let waiting = ask();
    let callback = sandbox.approve(&waiting.address);
    let place = callback.split('?').next().unwrap().to_owned();
    check(waiting.paste(&format!("{place}?code=x&state=nobodys")), 1, "state_unknown", "connect");

    let waiting = ask();
    let callback = sandbox.approve(&waiting.address);
    let denied = sandbox.deny(&waiting.address);
    check(waiting.paste(&denied), 1, "access_denied", "refused");
    check(ask().paste(&callback), 1, "state_used", "once");

    let waiting = ask();
    let callback =
        sandbox.approve(&waiting.address).replace("/callback/klaviyo", "/callback/other");
    check(waiting.paste(&callback), 1, "callback_of_another_client", "klaviyo");

    check(ask().paste("not an address at all"), 1, "state_unknown", "connect");
    check(ask().paste(""), 1, "nothing_pasted", "paste");
    let record = sandbox.record("klaviyo");
    assert!(record["counters"]["exchange"].is_null(), "a token request was made: {record}");
}

#[test]
fn the_owner_refuses() {
    let (home, sandbox) = with_client("klaviyo");
    let waiting = home.connecting(&["klaviyo", "--can", "contacts.read"]);
    let callback = sandbox.deny(&waiting.address);
    check(waiting.paste(&callback), 1, "access_denied", "refused");
    home.run(&["token", "klaviyo"]).fails(3, "");
}

#[test]
fn a_wrong_secret() {
    let (home, sandbox) = with_client("klaviyo");
    // Known there before, under another secret.
    home.connect(&sandbox, &["klaviyo", "--can", "contacts.read"]);
    sandbox.secrets("klaviyo", &["another"]);
    let waiting = home.connecting(&["klaviyo", "--can", "contacts.read"]);
    let callback = sandbox.approve(&waiting.address);
    let ran = waiting.paste(&callback);
    assert!(!ran.stderr.contains(SECRET));
    check(ran, 1, "client_refused", "clients secrets klaviyo add");
    // Who has a token goes on with it.
    home.run(&["token", "klaviyo"]).ok();
}

#[test]
fn things_that_are_not_there() {
    let (home, _sandbox) = with_client("klaviyo");
    for args in [
        &["token", "none"][..],
        &["refresh", "none"],
        &["explain", "none"],
        &["revoke", "none"],
        &["forget", "none", "--keep-grant"],
        &["connections", "show", "none"],
        &["clients", "show", "none"],
        &["clients", "remove", "none"],
        &["clients", "secrets", "none", "list"],
        &["connect", "none"],
        &["token", "../etc"],
    ] {
        check(home.run(&[args, &["--json"]].concat()), 3, "not_found", "lists what there is");
    }
}

#[test]
fn a_home_that_cannot_be_used() {
    let (home, _sandbox) = with_client("klaviyo");
    let file = home.beside("file");
    std::fs::write(&file, "x").unwrap();
    let path = file.to_str().unwrap();
    let ran = home.run(&["clients", "list", "--home", path, "--json"]);
    assert_eq!(ran.status, 6, "{ran:?}");

    let key = home.path().join("root.key");
    let good = std::fs::read(&key).unwrap();
    let other = Home::new();
    let sandbox = Sandbox::start(&[]);
    other.add_client(&sandbox, "klaviyo", &[]);
    std::fs::copy(other.path().join("root.key"), &key).unwrap();
    let before = std::fs::read(home.path().join("indicia.db")).unwrap();
    check(home.run(&["clients", "list", "--json"]), 6, "wrong_root_key", "--root-key");
    assert_eq!(std::fs::read(home.path().join("indicia.db")).unwrap(), before);
    std::fs::write(&key, good).unwrap();
    home.run(&["clients"]).ok();

    std::fs::remove_file(&key).unwrap();
    let ran = home.run(&["clients", "list", "--json"]);
    assert_eq!(ran.status, 6, "{ran:?}");
    assert!(!key.exists(), "no key is made for a store that isn't empty");
}

#[test]
fn a_home_without_rights() {
    use std::os::unix::process::CommandExt as _;
    let (home, _sandbox) = with_client("klaviyo");
    let mut command = home.command(&["clients", "list", "--json"]);
    // The superuser may read everything, so somebody else is asked.
    match rustix::process::geteuid().is_root() {
        true => {
            command.uid(65_534).gid(65_534);
        }
        false => {
            let none = std::fs::Permissions::from_mode(0o000);
            std::fs::set_permissions(home.path(), none).unwrap();
        }
    }
    let ran = feed(command.spawn().unwrap(), "");
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    check(ran, 6, "home_unreadable", "--home");
}

#[test]
fn a_locked_store() {
    let (home, _sandbox) = with_client("klaviyo");
    let db = std::fs::File::options().read(true).write(true).open(home.path().join("indicia.db"));
    let db = db.unwrap();
    // The lock that another program has which works on the file: all of it.
    let whole = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::fcntl_lock(&db, whole).unwrap();
    check(home.run(&["clients", "list", "--json"]), 6, "store_locked", "wait");
    drop(db);
    home.run(&["clients", "list"]).ok();
}

#[test]
fn a_damaged_store_is_refused_untouched() {
    let (home, _sandbox) = with_client("klaviyo");
    let db = home.path().join("indicia.db");
    for name in ["indicia.db-wal", "indicia.db-shm"] {
        let _ = std::fs::remove_file(home.path().join(name));
    }
    let rubbish = vec![0x5a_u8; 8192];
    std::fs::write(&db, &rubbish).unwrap();
    let ran = home.run(&["clients", "list", "--json"]);
    check(ran, 6, "store_unreadable", "doctor");
    assert_eq!(std::fs::read(&db).unwrap(), rubbish);
}
