//! The library's examples, run as somebody would who copied them: against simulated services.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::http;
use crate::stage::{Home, Sandbox, free_port, until, wait_for_the_end};

/// The program of an example, built now if it isn't yet.
fn example(name: &str) -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "indicia", "--example", name])
        .args(["--message-format", "json"])
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let told = String::from_utf8(built.stdout).unwrap();
    let programs = told.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == name;
        message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
    });
    programs.collect::<Vec<_>>().pop().unwrap_or_else(|| panic!("{told}"))
}

#[test]
fn a_script_calls_the_api_and_a_refused_token_is_told_back() {
    let program = example("script");
    let (home, sandbox) = (Home::new(), Sandbox::start(&["--life", "4s"]));
    home.add_client(&sandbox, "klaviyo", &[]);
    let connection = home.connect(&sandbox, &["klaviyo", "--can", "contacts.read"]);
    let run = |path: &str| {
        let mut command = Command::new(&program);
        command.arg(home.path()).args(["klaviyo", path]).output().unwrap()
    };
    let called = run("/accounts/");
    let said = String::from_utf8_lossy(&called.stdout).into_owned();
    assert!(said.starts_with("200 OK"), "{called:?}");
    wait_for_the_end(&connection);
    assert!(run("/accounts/").stdout.starts_with(b"200 OK"), "it was refreshed");

    // Elsewhere the token doesn't go.
    let elsewhere = run("http://127.0.0.1:9/collect");
    assert!(!elsewhere.status.success());
    let said = String::from_utf8_lossy(&elsewhere.stderr).into_owned();
    assert!(said.contains("other_host") || said.contains("the token belongs to"), "{said}");
}

#[test]
fn a_web_application_connects_its_customers_one_connection_each() {
    let (home, sandbox, port) = (Home::new(), Sandbox::start(&[]), free_port());
    let uri = format!("http://127.0.0.1:{port}/oauth/callback/klaviyo");
    home.add_client(&sandbox, "klaviyo", &["--redirect-uri", &uri]);
    let port_text = port.to_string();
    let mut child = Command::new(example("web_app"))
        .arg(home.path())
        .args(["klaviyo", "contacts.read", &port_text])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), format!("listening on {port}"));
    let at = |path: &str| http::get(&format!("http://127.0.0.1:{port}{path}"));
    for customer in ["anna", "ben"] {
        let sent = at(&format!("/connect/{customer}"));
        assert_eq!(sent.status, 303, "{}", sent.body);
        let callback = sandbox.approve(sent.header("location").unwrap());
        let done = http::get(&callback);
        assert_eq!((done.status, done.body.trim()), (200, &*format!("connected as {customer}")));
    }
    until("it is served", || at("/customers/anna").body.contains("anna is served, version 1"));
    let unknown = at("/customers/nobody");
    assert_eq!(unknown.status, 500);
    assert!(unknown.body.starts_with("not_found"), "{}", unknown.body);
    child.kill().unwrap();
    child.wait().unwrap();
    // What it stored is there for the command line, too.
    let listed = home.run(&["connections", "--json"]).ok().json();
    assert_eq!(listed["connections"].as_array().unwrap().len(), 2);
}

#[test]
fn a_worker_with_client_credentials_renews_its_token() {
    let program = example("worker");
    let (home, sandbox) = (Home::new(), Sandbox::start(&["--life", "3s"]));
    let tenant = ["--input", "subdomain=mc563885gzs27c5t9-63k636tzgm"];
    home.add_client(&sandbox, "salesforce-marketing-cloud", &tenant);
    let ran = Command::new(program)
        .arg(home.path())
        .args(["salesforce-marketing-cloud", "contacts.read", "job", "6"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{ran:?}");
    assert!(said.starts_with("connected: job\nround 1: version 1\n"), "{said}");
    let newest: u32 = said.trim_end().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(newest > 1, "{said}");
}
