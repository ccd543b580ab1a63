//! Planted secrets are looked for wherever they must not be: raw, base64, hex, URL-encoded.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::stage::{Home, Ran, SECRET, Sandbox, files};

/// Secrets in every spelling that could give them away.
pub struct Canaries(Vec<(String, Vec<u8>)>);

impl Canaries {
    pub fn new(secrets: &[&str]) -> Self {
        let mut canaries = Self(Vec::new());
        for secret in secrets {
            canaries.add(secret, secret.as_bytes());
            canaries.0.push((format!("url {secret}"), url_encoded(secret).into_bytes()));
        }
        canaries
    }

    /// A secret of any bytes, under a name.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        let mut add = |how: &str, text: Vec<u8>| self.0.push((format!("{how} {name}"), text));
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        add("raw", bytes.to_vec());
        add("HEX", hex.to_uppercase().into_bytes());
        add("hex", hex.into_bytes());
        // Base64 hides a text in three ways, by where it begins; the ends depend on neighbours.
        for skip in 0..3 {
            let Some(rest) = bytes.get(skip..) else { continue };
            let whole = &rest[..rest.len() / 3 * 3];
            add("base64", STANDARD_NO_PAD.encode(whole).into_bytes());
            add("base64url", URL_SAFE_NO_PAD.encode(whole).into_bytes());
        }
        self.0.retain(|(_, text)| text.len() >= 8);
    }

    #[track_caller]
    pub fn absent_from(&self, place: &str, bytes: &[u8]) {
        for (how, secret) in &self.0 {
            let found = bytes.windows(secret.len()).position(|window| window == secret);
            assert!(found.is_none(), "{place} holds {how} at {found:?}");
        }
    }

    #[track_caller]
    pub fn absent_from_run(&self, ran: &Ran) {
        self.absent_from("standard output", ran.stdout.as_bytes());
        self.absent_from("standard error", ran.stderr.as_bytes());
    }
}

fn url_encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// A token as JSON, and the refresh token that only the sandbox knows by hash: the access token is
/// what can be planted.
fn token(home: &Home) -> (Ran, Value) {
    let ran = home.run(&["token", "klaviyo", "--json", "-vvv"]).ok();
    let json = ran.json();
    (ran, json)
}

// ST-1, ST-2
#[test]
fn st_1_st_2_no_secret_in_output_logs_or_files() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    let secret = "c4n/ry+secret=of the client&é";
    let address = sandbox.address.as_str();
    let args = ["clients", "add", "klaviyo", "--client-id", "app", "--sandbox", address];
    let args = [&args[..], &["--secret-stdin", "-vvv"]].concat();
    let mut runs = vec![home.run_with(&args, secret).ok()];

    let connecting = home.connecting(&["klaviyo", "--can", "contacts.read", "-vvv"]);
    let callback = sandbox.approve(&connecting.address);
    let code = callback.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    runs.push(connecting.paste(&callback).ok());

    let (first_run, first) = token(&home);
    // Standard output is where the token belongs; standard error isn't.
    runs.push(Ran { stdout: String::new(), ..first_run });
    runs.push(home.run(&["refresh", "klaviyo", "-vvv"]).ok());
    runs.push(home.run(&["refresh", "klaviyo", "--json", "-vvv"]).ok());
    let (_, second) = token(&home);
    sandbox.faults(&["error-after=500:1@refresh"]);
    runs.push(home.run(&["refresh", "klaviyo", "-vvv"]));
    sandbox.faults(&["wrong-type:1@refresh"]);
    runs.push(home.run(&["refresh", "klaviyo", "--force", "-vvv"]));
    sandbox.faults(&["truncate:1@refresh"]);
    runs.push(home.run(&["refresh", "klaviyo", "--force", "--json", "-vvv"]));
    sandbox.faults(&[]);
    for args in [
        &["explain", "klaviyo"][..],
        &["connections"],
        &["connections", "show", "klaviyo", "--json"],
        &["clients", "show", "klaviyo"],
        &["recover"],
        &["doctor"],
        &["exec", "klaviyo", "--", "true"],
        &["exec", "klaviyo", "--", "no-such-command"],
    ] {
        runs.push(home.run(&[&["-vvv"], args].concat()));
    }
    let found = first["access_token"].as_str().unwrap();
    runs.push(home.run_with(&["revoke", "--leaked", "-vvv"], found));
    runs.push(home.run(&["revoke", "klaviyo", "--shared", "-vvv"]));
    runs.push(home.run(&["forget", "klaviyo", "--keep-grant", "-vvv"]));

    let canaries = Canaries::new(&[secret, &code, found, second["access_token"].as_str().unwrap()]);
    for ran in &runs {
        canaries.absent_from_run(ran);
    }
    for file in files(&home.path()) {
        canaries.absent_from(&file.display().to_string(), &std::fs::read(&file).unwrap());
    }
    assert!(
        runs.iter().any(|ran| ran.stderr.contains("TRACE")),
        "nothing was logged at trace level"
    );
}

// ST-2
#[test]
fn st_2_a_waiting_process_shows_no_secret_in_its_arguments_or_environment() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    home.add_client(&sandbox, "klaviyo", &[]);
    let connecting = home.connecting(&["klaviyo", "--can", "contacts.read"]);
    let callback = sandbox.approve(&connecting.address);
    let canaries = Canaries::new(&[SECRET, &callback]);
    let pid = connecting.child.id();
    for name in ["cmdline", "environ"] {
        let bytes = std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        canaries.absent_from(name, &bytes);
    }
    connecting.paste(&callback).ok();
}

#[test]
fn the_canaries_sing() {
    let canaries = Canaries::new(&["a secret!"]);
    for text in [
        "xa secret!x",
        "612073656372657421",
        "a%20secret%21",
        "YSBzZWNyZXQh",
        "eWEgc2VjcmV0IX",
        "IHNlY3JldC",
    ] {
        let heard = std::panic::catch_unwind(|| canaries.absent_from("here", text.as_bytes()));
        assert!(heard.is_err(), "{text}");
    }
    canaries.absent_from("here", b"nothing of the kind");
}
