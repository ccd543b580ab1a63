//! All that is secret on the way to a service, taken from a proxy, and the root key: none of it is
//! found in what is printed, logged or stored.

use std::collections::BTreeMap;

use crate::canary::Canaries;
use crate::peers::UGLY;
use crate::peers_proxy::{Exchange, Proxy};
use crate::stage::{Home, Ran, Sandbox, files};
use crate::worker::Worker;

/// A home whose one client reaches its sandbox through a proxy.
struct Tapped {
    home: Home,
    sandbox: Sandbox,
    proxy: Proxy,
    runs: Vec<Ran>,
}

impl Tapped {
    fn connected() -> Self {
        let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
        let proxy = Proxy::to(&sandbox.address);
        let address = format!("127.0.0.1:{}", proxy.port);
        let args = ["clients", "add", "klaviyo", "--client-id", "app", "--sandbox", &address];
        let added = home.run_with(&[&args[..], &["--secret-stdin", "-vvv"]].concat(), UGLY).ok();
        let connecting = home.connecting(&["klaviyo", "--can", "contacts.read", "-vvv"]);
        let callback = sandbox.approve(&connecting.address);
        let runs = vec![added, connecting.paste(&callback).ok()];
        Self { home, sandbox, proxy, runs }
    }

    /// A command at the highest verbosity; its standard output is looked at as well.
    fn run(&mut self, args: &[&str]) {
        self.runs.push(self.home.run(&[&["-vvv"], args].concat()));
    }

    /// All that is secret of what travelled, by name.
    fn secrets(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for exchange in self.proxy.seen() {
            for (name, value) in secrets_of(&exchange) {
                found.insert(format!("{name} {value}"), value);
            }
        }
        found
    }
}

fn secrets_of(exchange: &Exchange) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let (head, body) = exchange.request.split_once("\r\n\r\n").unwrap();
    for (name, value) in url::form_urlencoded::parse(body.as_bytes()) {
        if ["code", "code_verifier", "refresh_token", "client_secret", "token"].contains(&&*name) {
            found.push((name.into_owned(), value.into_owned()));
        }
    }
    for line in head.lines() {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if name.eq_ignore_ascii_case("authorization") {
            let (scheme, value) = value.split_once(' ').unwrap();
            found.push((scheme.to_owned(), value.to_owned()));
        }
    }
    let answer: serde_json::Value = serde_json::from_str(exchange.body()).unwrap_or_default();
    for name in ["access_token", "refresh_token"] {
        if let Some(value) = answer[name].as_str() {
            found.push((name.to_owned(), value.to_owned()));
        }
    }
    found
}

// CA-5, RF-10, ST-1, ST-2
#[test]
fn ca_5_rf_10_st_1_st_2_nothing_secret_that_travels_is_printed_or_stored_in_plain() {
    let mut tapped = Tapped::connected();
    tapped.run(&["refresh", "klaviyo"]);
    for fault in ["reset-after:1@refresh", "error-after=500:1@refresh", "truncate:1@refresh"] {
        tapped.sandbox.faults(&[fault]);
        tapped.run(&["refresh", "klaviyo", "--force", "--json"]);
    }
    tapped.sandbox.faults(&[]);
    for args in [
        &["refresh", "klaviyo", "--force"][..],
        &["explain", "klaviyo", "--json"],
        &["recover", "--json"],
        &["clients", "--json"],
        &["connections", "--json"],
        &["doctor", "--json"],
        &["token", "no-such-one", "--json"],
        &["revoke", "klaviyo", "--json"],
        &["token", "klaviyo", "--json"],
        &["forget", "klaviyo", "--keep-grant"],
    ] {
        tapped.run(args);
    }
    let secrets = tapped.secrets();
    for kind in ["code ", "code_verifier ", "refresh_token ", "access_token ", "token ", "Basic "] {
        assert!(secrets.keys().any(|name| name.starts_with(kind)), "no {kind}in {secrets:?}");
    }
    let mut all: Vec<&str> = secrets.values().map(String::as_str).collect();
    all.push(UGLY);
    let mut canaries = Canaries::new(&all);
    let key_file = tapped.home.path().join("root.key");
    let key = std::fs::read(&key_file).unwrap();
    canaries.add("root key as its file has it", key.trim_ascii());
    canaries.add("root key", &decoded(&key));
    for ran in &tapped.runs {
        canaries.absent_from_run(ran);
    }
    let kept = files(&tapped.home.path());
    assert!(kept.iter().any(|file| file.parent().unwrap().ends_with("journal")), "{kept:?}");
    for file in kept.iter().filter(|file| **file != key_file) {
        canaries.absent_from(&file.display().to_string(), &std::fs::read(file).unwrap());
    }
}

/// The key's bytes, of which its file holds the text.
fn decoded(key: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let text = std::str::from_utf8(key).unwrap().trim();
    let hex = (0..text.len() / 2).map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16));
    let bytes: Vec<u8> = hex
        .collect::<Result<_, _>>()
        .unwrap_or_else(|_| base64::engine::general_purpose::STANDARD.decode(text).unwrap());
    assert_eq!(bytes.len(), 32);
    bytes
}

// ST-2
#[test]
fn st_2_a_panic_in_the_middle_of_a_refresh_shows_no_secret() {
    let tapped = Tapped::connected();
    let notes = tapped.home.beside("panics");
    let mut worker = Worker::start(&tapped.home.path(), &notes, "panic klaviyo");
    worker.go();
    worker.end();
    let said = std::fs::read_to_string(notes.with_extension("stderr")).unwrap();
    assert!(said.contains("panicked") && said.contains("stack backtrace"), "{said}");
    let secrets = tapped.secrets();
    let mut all: Vec<&str> = secrets.values().map(String::as_str).collect();
    all.push(UGLY);
    Canaries::new(&all).absent_from("a panic", said.as_bytes());
}
