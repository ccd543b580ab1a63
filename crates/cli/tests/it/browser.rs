//! The log-in in a real browser: headless Chromium, driven through chromedriver by plain WebDriver.
//!
//! Surprise: the browser can reach 127.0.0.1 and nothing else, so a page that needs anything from
//! outside shows.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http;
use crate::peers::{self, Peer};
use crate::stage::{Connecting, Home, free_port, until};

/// A headless browser with one window.
struct Browser {
    driver: Child,
    session: String,
    _profile: TempDir,
}

impl Browser {
    fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver: run `cargo xtask test` once, it installs it");
        let mut stdout = BufReader::new(driver.stdout.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "chromedriver ended");
            if let Some((_, rest)) = line.split_once("started successfully on port ") {
                break rest.trim_end().trim_end_matches('.').to_owned();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        let mut args: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
        args.push(format!("--user-data-dir={}", profile.path().display()));
        let wish = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "performance": "ALL" },
        } } });
        let root = format!("http://127.0.0.1:{port}/session");
        let made = http::post(&root, &wish).json();
        let id = made["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{made}"));
        Self { driver, session: format!("{root}/{id}"), _profile: profile }
    }

    fn post(&self, what: &str, body: &Value) -> Value {
        let answer = http::post(&format!("{}/{what}", self.session), body);
        assert_eq!(answer.status, 200, "{what}: {}", answer.body);
        answer.json()["value"].clone()
    }

    fn get(&self, what: &str) -> Value {
        http::get(&format!("{}/{what}", self.session)).json()["value"].clone()
    }

    fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    fn address(&self) -> String {
        self.get("url").as_str().unwrap().to_owned()
    }

    /// An element, by its CSS selector, once it is there.
    fn find(&self, css: &str) -> String {
        let wish = json!({ "using": "css selector", "value": css });
        let mut found = String::new();
        until(css, || {
            let answer = http::post(&format!("{}/element", self.session), &wish);
            let id = answer.json()["value"][ELEMENT].as_str().map(str::to_owned);
            found = id.unwrap_or_default();
            answer.status == 200
        });
        found
    }

    fn fill(&self, css: &str, text: &str) {
        let element = self.find(css);
        self.post(&format!("element/{element}/value"), &json!({ "text": text }));
    }

    fn click(&self, css: &str) {
        let element = self.find(css);
        self.post(&format!("element/{element}/click"), &json!({}));
    }

    /// Nothing where the page goes away while it is looked at.
    fn text(&self, css: &str) -> String {
        let element = self.find(css);
        let text = self.get(&format!("element/{element}/text"));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// What a script in the page returns.
    fn run(&self, script: &str) -> String {
        let done = self.post("execute/sync", &json!({ "script": script, "args": [] }));
        done.as_str().unwrap_or_default().to_owned()
    }

    /// A picture of the page, for somebody to look at, in `target/`.
    fn picture(&self, name: &str) {
        let picture = self.get("screenshot");
        let bytes = base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap());
        let folder = peers::root().join("target/pictures");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), bytes.unwrap()).unwrap();
    }

    /// The addresses that were asked for, by the page they were asked for from.
    fn requests(&self) -> Vec<(String, String)> {
        let log = self.post("se/log", &json!({ "type": "performance" }));
        let mut found = Vec::new();
        for line in log.as_array().unwrap() {
            let event: Value = serde_json::from_str(line["message"].as_str().unwrap()).unwrap();
            let message = &event["message"];
            if message["method"] == "Network.requestWillBeSent" {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let params = &message["params"];
                found.push((text(&params["documentURL"]), text(&params["request"]["url"])));
            }
        }
        found
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let (address, path) = http::split(&self.session);
        let (address, path) = (address.to_owned(), path);
        let quit =
            format!("DELETE {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        // The browser ends with its session; the driver alone would leave it behind.
        let _ = std::panic::catch_unwind(|| http::raw(&address, &quit));
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

// NA-1, NA-3, NA-7, RH-15
#[test]
fn na_1_na_3_na_7_rh_15_a_person_logs_in_and_the_command_line_has_the_token() {
    let (home, peer, port) = (Home::new(), Peer::oidc(&[]), free_port());
    let uri = format!("http://127.0.0.1:{port}/oauth/callback/conf");
    peers::add(&home, &peer, "conf", &["--redirect-uri", &uri]);
    let args = ["connect", "conf", "--can", "campaigns.read", "--json"];
    // No browser opens by itself: the one of the test is given the address.
    let connecting = Connecting::of(home.command(&args).env("BROWSER", "true").spawn().unwrap());

    let browser = Browser::start();
    browser.open(&connecting.address);
    browser.fill("input[name=login]", "alice");
    browser.fill("input[name=password]", "any");
    browser.picture("login");
    browser.click("button[type=submit]");
    until("the consent page", || browser.text("body").contains("campaigns:read"));
    browser.picture("consent");
    browser.click("button[type=submit]");
    until("the callback", || browser.address().starts_with(&uri));
    until("the end", || browser.text("h1") == "Connected");
    browser.picture("connected");
    assert_eq!(browser.address(), uri, "the code is out of the address, and of the history");

    let connection = connecting.end().ok().json();
    assert_eq!((&connection["id"], &connection["state"]), (&json!("conf"), &json!("active")));
    assert_eq!(connection["account"]["id"], "alice");
    assert_eq!(peer.whoami(&peers::token(&home, "conf")).json()["id"], "alice");
    assert_eq!(peer.answers("authorization_code", 200), 1);

    let requests = browser.requests();
    let ours: Vec<&str> = requests
        .iter()
        .filter(|(page, _)| page.starts_with(&uri))
        .map(|(_, asked)| asked.as_str())
        .collect();
    assert!(!ours.is_empty(), "the page was seen: {requests:?}");
    let own = format!("http://127.0.0.1:{port}/");
    assert!(ours.iter().all(|asked| asked.starts_with(&own)), "loads only its own: {ours:?}");
    browser.open("about:blank");
    browser.post("back", &json!({}));
    assert!(!browser.address().contains("code="), "{}", browser.address());
}

/// Connects by the implicit flow, and leaves the browser where it ends.
fn connecting_by_fragment(home: &Home, browser: &Browser, client: &str) -> Connecting {
    let args = ["connect", client, "--flow", "implicit", "--can", "campaigns.read", "--json"];
    let connecting = Connecting::of(home.command(&args).env("BROWSER", "true").spawn().unwrap());
    browser.open(&connecting.address);
    connecting
}

// AR-9, RH-18, RH-19
#[test]
fn ar_9_rh_18_rh_19_a_token_in_a_fragment_is_handed_over_and_wiped_from_address_and_history() {
    let (home, peer, port) = (Home::new(), Peer::django(&[]), free_port());
    let own = format!("http://127.0.0.1:{port}/oauth/callback/");
    for client in ["page", "page-2"] {
        peers::add(&home, &peer, client, &["--redirect-uri", &format!("{own}{client}")]);
    }
    let browser = Browser::start();
    let connecting = connecting_by_fragment(&home, &browser, "page");
    until("the end", || browser.text("h1") == "Connected");
    assert_eq!(browser.address(), format!("{own}page"), "nothing of it is left in the address");
    let hash = browser.run("return location.hash + document.documentElement.innerHTML");
    let ran = connecting.end().ok();
    assert!(ran.stderr.contains("implicit flow is legacy"), "{ran:?}");
    let connection = ran.json();
    assert_eq!((&connection["flow"], &connection["state"]), (&json!("implicit"), &json!("active")));
    let token = peers::token(&home, "page");
    assert!(!hash.contains(&token), "nor in the page");
    assert_eq!(peer.whoami(&token).json()["id"], "alice");
    browser.picture("handed-over");
    // No request had it in an address; and history has no entry with it.
    let requests = browser.requests();
    let seen = |text: &str| text.contains(&token);
    assert!(requests.iter().all(|(page, asked)| !seen(page) && !seen(asked)), "{requests:?}");
    browser.open("about:blank");
    browser.post("back", &json!({}));
    assert!(!browser.address().contains("access_token"), "{}", browser.address());

    // A token that the same owner gave to another client: who opens such an address has it refused.
    let args = ["connect", "page-2", "--flow", "implicit", "--can", "campaigns.read"];
    let connecting = Connecting::of(
        home.command(&[&args[..], &["--id", "injected", "--no-browser"]].concat()).spawn().unwrap(),
    );
    let state = connecting.address.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let injected = format!("{own}page-2#access_token={token}&token_type=Bearer&state={state}");
    connecting.paste(&injected).fails(1, "isn't this client's");
    home.run(&["connections", "show", "injected"]).fails(3, "no connection");
}

// DF-2, DF-6, DF-10
#[test]
fn df_2_df_6_df_10_a_code_is_entered_in_a_browser_and_the_device_is_connected() {
    let (home, peer) = (Home::new(), Peer::oidc(&[]));
    peers::add(&home, &peer, "tv", &[]);
    let args = ["connect", "tv", "--flow", "device", "--can", "campaigns.read", "--json"];
    let mut connecting = Connecting::of(home.command(&args).spawn().unwrap());
    assert_eq!(connecting.address, format!("http://127.0.0.1:{}/device", peer.port));
    let code = connecting.line_after("enter this code");

    let browser = Browser::start();
    browser.open(&connecting.address);
    browser.fill("input[name=user_code]", &code);
    browser.picture("device-code");
    browser.click("button[type=submit]");
    until("the code is shown again", || browser.text("body").contains(&code));
    browser.click("button[type=submit]");
    browser.fill("input[name=login]", "alice");
    browser.fill("input[name=password]", "any");
    browser.click("button[type=submit]");
    until("the consent page", || browser.text("body").contains("campaigns:read"));
    browser.click("button[type=submit]");
    until("the end", || browser.text("body").contains("Sign-in Success"));

    let ran = connecting.end().ok();
    let connection = ran.json();
    assert_eq!((&connection["flow"], &connection["state"]), (&json!("device"), &json!("active")));
    assert_eq!(connection["account"]["id"], "alice");
    assert_eq!(peer.whoami(&peers::token(&home, "tv")).json()["id"], "alice");
    home.run(&["refresh", "tv"]).ok();

    // Its answer had no interval: five seconds, and after the token none.
    let polls = peer.events().into_iter().filter(|event| event["event"] == "answer");
    let polls = polls.filter(|event| event["grant_type"] == DEVICE_CODE);
    let times: Vec<i64> = polls.map(|event| event["at"].as_i64().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 5_000), "{times:?}");
    assert_eq!(peer.answers(DEVICE_CODE, 200), 1);
}

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

/// Under which name WebDriver tells an element (W3C WebDriver §12.2).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
