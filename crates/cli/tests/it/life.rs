//! The life of a connection, command by command.

use std::process::Command;

use serde_json::Value;

use crate::http;
use crate::stage::{Home, INDICIA, SECRET, Sandbox, files};

/// A home with one connection at a service of a sandbox.
fn connected(service: &str, sandbox_args: &[&str]) -> (Home, Sandbox, Value) {
    let (home, sandbox) = (Home::new(), Sandbox::start(sandbox_args));
    home.add_client(&sandbox, service, &[]);
    let connection = home.connect(&sandbox, &[service, "--can", "contacts.read"]);
    (home, sandbox, connection)
}

fn call_api(token: &Value) -> u16 {
    let headers: Vec<(String, String)> = token["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect();
    http::get_with(token["api_base_url"].as_str().unwrap(), &headers).status
}

#[test]
fn from_a_client_to_a_token_to_its_end() {
    let (home, sandbox, connection) = connected("klaviyo", &[]);
    assert_eq!(connection["id"], "klaviyo");
    assert_eq!(connection["state"], "active");
    assert_eq!(connection["environment"]["kind"], "sandbox");

    let listed = home.run(&["connections"]).ok();
    assert!(listed.stdout.contains("klaviyo (sandbox)"), "{listed:?}");
    let shown = home.run(&["connections", "show", "klaviyo"]).ok();
    assert!(shown.stdout.contains("state          active"), "{shown:?}");

    let token = home.run(&["token", "klaviyo", "--json"]).ok().json();
    assert_eq!(call_api(&token), 200);
    let plain = home.run(&["token", "klaviyo"]).ok();
    assert_eq!(plain.line(), token["access_token"].as_str().unwrap());
    assert_eq!(plain.stderr, "");

    let refreshed = home.run(&["refresh", "klaviyo", "--json"]).ok().json();
    assert_eq!(refreshed["version"], 2);
    let told = home.run(&["explain", "klaviyo"]).ok();
    assert!(told.stdout.contains("all is well"), "{told:?}");

    let receipt = home.run(&["revoke", "klaviyo", "--json"]).ok().json();
    assert_eq!(receipt["connections"], serde_json::json!(["klaviyo"]));
    assert_eq!(receipt["local"], "off");
    home.run(&["token", "klaviyo"]).fails(4, "revoked");
    let record = sandbox.record("klaviyo");
    assert_eq!(record["grants"][0]["ended"][0], "revoked", "{record}");

    let forgotten = home.run(&["forget", "klaviyo", "--keep-grant"]).ok();
    assert!(forgotten.stdout.contains("is forgotten"), "{forgotten:?}");
    home.run(&["token", "klaviyo"]).fails(3, "there is no connection");
    home.run(&["clients", "remove", "klaviyo"]).ok();
    assert_eq!(home.run(&["clients", "--json"]).ok().json()["clients"], serde_json::json!([]));
}

#[test]
fn a_token_comes_in_four_forms() {
    let (home, _sandbox, _) = connected("klaviyo", &[]);
    let json = home.run(&["token", "klaviyo", "--format", "json"]).ok().json();
    let token = json["access_token"].as_str().unwrap();
    let header = home.run(&["token", "klaviyo", "--format", "header"]).ok().stdout;
    assert!(header.contains(&format!("{token}\n")) && header.to_lowercase().contains("revision: "));
    let env = home.run(&["token", "klaviyo", "--format", "env"]).ok().stdout;
    let url = json["api_base_url"].as_str().unwrap();
    assert_eq!(env, format!("INDICIA_TOKEN={token}\nINDICIA_API_BASE_URL={url}\n"));
    for field in ["connection", "service", "state", "token_type", "expiry", "version", "warnings"] {
        assert!(!json[field].is_null(), "{field}: {json}");
    }
}

#[test]
fn exec_gives_the_token_to_one_command_and_nothing_else_of_ours() {
    let (home, _sandbox, _) = connected("klaviyo", &[]);
    let token = home.run(&["token", "klaviyo"]).ok();
    let args = ["exec", "klaviyo", "--", "sh", "-c", "env | grep ^INDICIA_ | sort"];
    let mut command = home.command(&args);
    command.env("INDICIA_SOMETHING", "x");
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = text.lines().map(|line| line.split('=').next().unwrap()).collect();
    assert_eq!(names, ["INDICIA_API_BASE_URL", "INDICIA_TOKEN"]);
    assert!(text.contains(token.line()));

    home.run(&["exec", "klaviyo", "--", "sh", "-c", "exit 7"]).fails(7, "");
    home.run(&["exec", "klaviyo", "--", "sh", "-c", "kill -9 $$"]).fails(-1, "");
    home.run(&["exec", "klaviyo", "--", "there-is-no-such"]).fails(125, "can't be run");
    home.run(&["exec", "other", "--", "true"]).fails(125, "there is no connection");
    let echoed = home.run_with(&["exec", "klaviyo", "--", "cat"], "passes through").ok();
    assert_eq!(echoed.stdout, "passes through");
}

#[test]
fn client_credentials_need_no_browser() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    let service = "salesforce-marketing-cloud";
    let shown = home.run(&["services", service, "--json"]).ok().json();
    let input = shown["inputs"].as_array().unwrap().iter().find(|i| i["needed"] == true).unwrap();
    let given =
        format!("{}={}", input["name"].as_str().unwrap(), input["example"].as_str().unwrap());
    home.add_client(&sandbox, service, &["--id", "mc", "--input", &given]);
    let connected = home.run(&["connect", "mc", "--can", "contacts.read"]);
    assert_eq!(connected.ok().line(), "mc");
    let token = home.run(&["token", "mc", "--json"]).ok().json();
    assert_eq!(call_api(&token), 200);
}

#[test]
fn a_new_secret_is_staged_and_takes_over_when_the_old_one_is_refused() {
    let (home, sandbox, _) = connected("klaviyo", &[]);
    let add = ["clients", "secrets", "klaviyo", "add", "--secret-stdin", "--json"];
    let view = home.run_with(&add, "the-next-secret\n").ok().json();
    assert_eq!(view["secrets"][0]["state"], "current");
    assert_eq!(view["secrets"][1]["state"], "staged");
    sandbox.secrets("klaviyo", &["the-next-secret"]);
    home.run(&["refresh", "klaviyo"]).ok();
    let listed = home.run(&["clients", "secrets", "klaviyo", "list", "--json"]).ok().json();
    assert_eq!(listed["secrets"][1]["state"], "current", "{listed}");
    home.run(&["clients", "secrets", "klaviyo", "promote", "9"]).fails(3, "no client secret");
    home.run(&["clients", "secrets", "klaviyo", "retire", "2"]).fails(1, "is the current one");
    let retired = home.run(&["clients", "secrets", "klaviyo", "retire", "1", "--json"]).ok().json();
    assert_eq!(retired["secrets"][0]["state"], "retired", "{retired}");
    home.run(&["clients", "secrets", "klaviyo", "promote", "1"]).fails(3, "no client secret");
    assert!(!listed.to_string().contains("next-secret"));
}

#[test]
fn a_reconnect_keeps_the_id_and_refuses_another_account() {
    let (home, sandbox, first) = connected("klaviyo", &[]);
    let again = home.connect(&sandbox, &["klaviyo", "--id", "klaviyo", "--can", "contacts.read"]);
    assert_eq!(again["id"], first["id"]);
    assert_eq!(again["version"], 2);
    let args = ["klaviyo", "--id", "klaviyo", "--can", "contacts.read"];
    let connecting = home.connecting(&args);
    let click =
        serde_json::json!({ "authorize_url": connecting.address, "account": "Somebody else" });
    let callback = sandbox.click(&click);
    let refused = connecting.paste(&callback);
    let error = refused.fails(1, "").error();
    assert_eq!(error["code"], "other_account", "{error}");
    assert!(error["detail"].as_str().unwrap().contains("Somebody else"), "{error}");
    let next = home.connect(&sandbox, &["klaviyo", "--can", "contacts.read"]);
    assert_eq!(next["id"], "klaviyo-2");
}

#[test]
fn a_shared_grant_names_the_others_before_it_is_taken_back() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    home.add_client(&sandbox, "hubspot", &[]);
    home.connect(&sandbox, &["hubspot", "--id", "one", "--can", "contacts.read"]);
    home.connect(&sandbox, &["hubspot", "--id", "two", "--can", "contacts.read"]);
    let refused = home.run(&["revoke", "one", "--json"]).fails(1, "").error();
    assert_eq!(refused["code"], "grant_shared", "{refused}");
    assert!(refused.to_string().contains("two"), "{refused}");
    home.run(&["token", "one"]).ok();
    let receipt = home.run(&["revoke", "one", "--shared", "--json"]).ok().json();
    assert_eq!(receipt["connections"], serde_json::json!(["one", "two"]));
    home.run(&["token", "two"]).fails(4, "revoked");
}

#[test]
fn a_leaked_token_is_found_by_its_text() {
    let (home, _sandbox, _) = connected("klaviyo", &[]);
    let token = home.run(&["token", "klaviyo", "--json"]).ok().json();
    let text = format!("{}\n", token["access_token"].as_str().unwrap());
    home.run_with(&["revoke", "--leaked"], "not-one-of-ours").fails(3, "");
    let receipt = home.run_with(&["revoke", "--leaked", "--json"], &text).ok().json();
    assert_eq!(receipt["connections"], serde_json::json!(["klaviyo"]));
    assert_eq!(call_api(&token), 401);
}

#[test]
fn an_outage_is_a_warning_while_the_token_lives_and_status_5_after() {
    // One that keeps its refresh token: after a 503 it may be sent again.
    let (home, sandbox) = (Home::new(), Sandbox::start(&["--life", "3s"]));
    let long_lived = ["--id", "cc", "--set", "rotation=long-lived"];
    home.add_client(&sandbox, "constant-contact", &long_lived);
    sandbox.register("constant-contact", "long-lived");
    home.connect(&sandbox, &["cc", "--can", "contacts.read"]);
    sandbox.faults(&["error-before=503@refresh"]);
    let failed = home.run(&["refresh", "cc", "--json"]).fails(5, "").error();
    assert_eq!(failed["code"], "not_refreshed", "{failed}");
    home.run(&["token", "cc"]).ok();
    std::thread::sleep(std::time::Duration::from_secs(4));
    home.run(&["token", "cc"]).fails(5, "no valid token");
    sandbox.faults(&[]);
    home.run(&["refresh", "cc", "--force"]).ok();
    home.run(&["token", "cc"]).ok();
}

#[test]
fn a_kill_between_the_answer_and_the_commit_loses_nothing() {
    let (home, sandbox, _) = connected("klaviyo", &[]);
    let kept = home.beside("kept");
    let path = kept.to_str().unwrap();
    let args = ["refresh", "klaviyo", "--demo-pause-after-keep", path];
    let mut child = home.command(&args).spawn().unwrap();
    crate::stage::until("the answer is kept", || kept.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(home.run(&["connections", "show", "klaviyo", "--json"]).ok().json()["version"], 1);
    let report = home.run(&["recover", "--json"]).ok().json();
    assert_eq!(report["recovered"], serde_json::json!(["klaviyo"]));
    let token = home.run(&["token", "klaviyo", "--json"]).ok().json();
    assert_eq!((token["version"].as_u64(), call_api(&token)), (Some(2), 200));
    let record = sandbox.record("klaviyo");
    assert_eq!(record["counters"]["refresh"], 1, "{record}");
}

#[test]
fn doctor_finds_what_is_wrong() {
    use std::os::unix::fs::PermissionsExt as _;
    let (home, _sandbox, _) = connected("klaviyo", &[]);
    home.run(&["doctor"]).ok();
    for file in files(&home.path()) {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} is {mode:o}", file.display());
    }
    let key = home.path().join("root.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let report = home.run(&["doctor", "--json"]).fails(1, "chec");
    let checks = report.json();
    let root = checks["checks"].as_array().unwrap().iter().find(|c| c["check"] == "root key");
    assert_eq!(root.unwrap()["state"], "fail", "{checks}");
}

#[test]
fn the_root_key_may_come_from_the_environment() {
    let home = Home::new();
    let sandbox = Sandbox::start(&[]);
    home.add_client(&sandbox, "klaviyo", &[]);
    let key = std::fs::read(home.path().join("root.key")).unwrap();
    std::fs::remove_file(home.path().join("root.key")).unwrap();
    home.run(&["clients"]).fails(6, "");
    let mut command = home.command(&["clients", "--root-key", "env:PLAY_KEY"]);
    let text = String::from_utf8(key).unwrap();
    let output = command.env("PLAY_KEY", text.trim()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn core_dumps_are_off() {
    let home = Home::new();
    let script = format!("ulimit -c unlimited 2>/dev/null; exec {INDICIA} doctor --json");
    let mut bash = Command::new("bash");
    let output = bash.arg("-c").arg(script).env("INDICIA_HOME", home.path()).output().unwrap();
    let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
    let dumps = checks["checks"].as_array().unwrap().iter().find(|c| c["check"] == "core dumps");
    assert_eq!(dumps.unwrap()["state"], "ok", "{checks}");
    let _ = SECRET;
}
