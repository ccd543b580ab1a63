//! What commands do beside their own work: revocations that wait, files that are wrong.

use serde_json::{Value, json};

use crate::stage::{Home, Sandbox, wait_for_the_end};

/// A home with connections, of the ids given, at a service that can revoke.
fn connected(ids: &[&str]) -> (Home, Sandbox) {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    home.add_client(&sandbox, "klaviyo", &[]);
    for id in ids {
        home.connect(&sandbox, &["klaviyo", "--id", id, "--can", "contacts.read"]);
    }
    (home, sandbox)
}

/// Takes one back while the service doesn't hear it.
fn revoked_unheard(home: &Home, sandbox: &Sandbox, id: &str) {
    sandbox.faults(&["error-before=503@revoke"]);
    let receipt = home.run(&["revoke", id, "--json"]).ok().json();
    let pending = receipt["service"].as_array().unwrap().iter().any(|i| i["state"] == "pending");
    assert!(pending, "{receipt}");
    assert!(!is_ended(sandbox), "{}", sandbox.record("klaviyo"));
}

/// Whether the service's own record says that the first grant has ended.
fn is_ended(sandbox: &Sandbox) -> bool {
    sandbox.record("klaviyo")["grants"][0]["ended"][0] == "revoked"
}

fn check_of(report: &Value, name: &str) -> Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["check"] == name).unwrap_or(&Value::Null).clone()
}

#[test]
fn recover_tries_revocations_that_a_service_has_not_taken_yet() {
    let (home, sandbox) = connected(&["one"]);
    revoked_unheard(&home, &sandbox, "one");
    let report = home.run(&["recover", "--json"]).ok().json();
    assert_eq!(report["pending"], json!(["one"]), "{report}");
    let doctor = home.run(&["doctor", "--json"]).ok().json();
    assert_eq!(check_of(&doctor, "revocations")["state"], "warn", "{doctor}");

    sandbox.faults(&[]);
    // Due or not: whoever types this wants it tried now.
    let told = home.run(&["recover"]).ok();
    assert!(told.stdout.contains("revoked      one"), "{told:?}");
    assert!(is_ended(&sandbox), "{}", sandbox.record("klaviyo"));
    let report = home.run(&["recover", "--json"]).ok().json();
    assert_eq!((&report["revoked"], &report["pending"]), (&json!([]), &json!([])));
    let doctor = home.run(&["doctor", "--json"]).ok().json();
    assert_eq!(check_of(&doctor, "revocations")["state"], "ok", "{doctor}");
}

#[test]
fn who_goes_to_the_network_anyway_tries_them_too_and_a_warm_token_never() {
    let (home, sandbox) = connected(&["one", "two"]);
    revoked_unheard(&home, &sandbox, "one");
    sandbox.faults(&[]);
    // Longer than the first pause between two tries.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let before = sandbox.record("klaviyo")["counters"].clone();
    home.run(&["token", "two"]).ok();
    home.run(&["exec", "two", "--", "true"]).ok();
    assert_eq!(sandbox.record("klaviyo")["counters"], before);
    assert!(!is_ended(&sandbox));
    home.run(&["refresh", "two"]).ok();
    assert!(is_ended(&sandbox), "{}", sandbox.record("klaviyo"));
}

#[test]
fn a_wrong_service_file_takes_only_its_own_service_away() {
    let (home, sandbox) = connected(&["one"]);
    home.add_client(&sandbox, "hubspot", &[]);
    home.connect(&sandbox, &["hubspot", "--id", "other", "--can", "contacts.read"]);
    let folder = home.path().join("services");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("a.toml"), "id = \"klaviyo\"\nnonsense = 1\n").unwrap();
    std::fs::write(folder.join("own.toml"), "schema = \n").unwrap();

    home.run(&["token", "other"]).ok();
    home.run(&["exec", "other", "--", "true"]).ok();
    home.run(&["refresh", "other"]).ok();
    home.run(&["clients", "list"]).ok();
    home.run(&["connections"]).ok();
    for args in [&["token", "one"][..], &["refresh", "one"], &["services", "show", "klaviyo"]] {
        let error = home.run(&[args, &["--json"]].concat()).fails(1, "").error();
        assert_eq!(error["code"], "service_file_refused", "{error}");
        assert!(error["detail"].as_str().unwrap().contains("a.toml:2: "), "{error}");
    }
    home.run(&["services", "show", "own"]).fails(1, "own.toml:1: ");

    let listed = home.run(&["services"]).ok();
    let checked = home.run(&["services", "check"]).fails(1, "problems in").stdout;
    let doctor = home.run(&["doctor"]).fails(1, "checks failed").stdout;
    for told in [&listed.stderr, &checked, &doctor] {
        assert!(told.contains("a.toml:2: ") && told.contains("own.toml:1: "), "{told}");
    }
    let listed = home.run(&["services", "--json"]).ok().json();
    assert!(listed["problems"].as_array().unwrap().len() >= 2, "{listed}");

    std::fs::remove_file(folder.join("a.toml")).unwrap();
    home.run(&["token", "one"]).ok();
}

#[test]
fn who_asks_for_one_token_refreshes_no_other() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&["--life", "3s"]));
    home.add_client(&sandbox, "klaviyo", &[]);
    for id in ["one", "two"] {
        home.connect(&sandbox, &["klaviyo", "--id", id, "--can", "contacts.read"]);
    }
    std::thread::sleep(std::time::Duration::from_secs(4));
    home.run(&["token", "one"]).ok();
    assert_eq!(sandbox.record("klaviyo")["counters"]["refresh"], 1);
    home.run(&["exec", "two", "--", "true"]).ok();
    assert_eq!(sandbox.record("klaviyo")["counters"]["refresh"], 2);
}

#[test]
fn all_that_is_due_is_refreshed_by_one_command() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&["--life", "3s"]));
    let none = home.run(&["refresh", "--due", "--json"]).ok().json();
    assert_eq!(none["refreshed"], 0, "a home that isn't there has nothing due");
    home.add_client(&sandbox, "keap", &[]);
    let connections = ["a", "b"].map(|id| home.connect(&sandbox, &["keap", "--id", id]));
    connections.iter().for_each(wait_for_the_end);
    let done = home.run(&["refresh", "--due"]).ok();
    assert!(done.stdout.contains("2 refreshed, 0 not yet"), "{done:?}");
    for id in ["a", "b"] {
        let shown = home.run(&["connections", "show", id, "--json"]).ok().json();
        assert_eq!(shown["version"], 2, "{shown}");
    }
    home.run(&["refresh"]).fails(2, "required");
    home.run(&["refresh", "a", "--due"]).fails(2, "cannot be used with");
}

#[test]
fn what_will_end_is_told_as_text_as_json_and_as_a_calendar() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    let none = home.run(&["forecast", "--json"]).ok().json();
    assert_eq!(none, json!({ "endings": [] }));
    home.add_client(&sandbox, "keap", &["--secret-expires", "2098-05-01"]);
    assert!(home.run(&["forecast"]).ok().stdout.contains("nothing ends within 90 days"));
    let far = ["forecast", "--days", "40000"];
    let told = home.run(&far).ok();
    assert!(told.stdout.contains("client secret 1 ends"), "{told:?}");
    let json = home.run(&[&far[..], &["--json"]].concat()).ok().json();
    assert_eq!(json["endings"][0]["kind"], "client_secret", "{json}");
    assert_eq!(json["endings"][0]["client"], "keap", "{json}");
    let calendar = home.run(&[&far[..], &["--ical"]].concat()).ok().stdout;
    for part in ["BEGIN:VCALENDAR\r\n", "BEGIN:VEVENT\r\n", "DTSTART:2098050", "END:VCALENDAR"] {
        assert!(calendar.contains(part), "{part:?} is not in {calendar}");
    }
    let unfolded = calendar.replace("\r\n ", "");
    assert!(
        unfolded.contains("SUMMARY:keap: client secret 1 ends or is to be replaced\r\n"),
        "{calendar}"
    );
    home.run(&["forecast", "--ical", "--json"]).fails(2, "cannot be used with");
}

#[test]
fn doctor_says_which_services_can_be_reached_and_sends_them_nothing() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    home.add_client(&sandbox, "keap", &[]);
    home.add_client(&sandbox, "hubspot", &[]);
    let before = sandbox.record("keap");
    let reach = |args: &[&str]| -> Vec<(String, String)> {
        let told = home.run(args).ok().json();
        let checks = told["checks"].as_array().unwrap().clone();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let reach = checks.iter().filter(|check| check["check"] == "reach");
        reach.map(|check| (text(&check["state"]), text(&check["detail"]))).collect()
    };
    let told = reach(&["doctor", "--json"]);
    assert_eq!(told, [("ok".to_owned(), "1 host(s) of services answer".to_owned())]);
    assert_eq!(sandbox.record("keap"), before);
    assert_eq!(reach(&["doctor", "--offline", "--json"]), []);
    drop(sandbox);
    let told = reach(&["doctor", "--json"]);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "warn");
    assert!(told[0].1.contains("hubspot, keap: can't connect"), "{told:?}");
}
