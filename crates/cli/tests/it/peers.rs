//! Authorization servers that we didn't write, as processes of their own, and what a test does with
//! them: `tests/peers/README.md` says what they are.
//!
//! Surprise: nothing of a peer's answer is taken on trust. What it did is read from its own events
//! and asked of its own API, never of us.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::http::{self, Answer};
use crate::stage::{Home, Ran};

/// The secret of each of the peers' clients: it shows who encodes what, and how.
pub const UGLY: &str = "s3cr3t:+/%~&=";

/// The own service files that the documentation shows.
pub const OIDC_FILE: &str = include_str!("../../../../docs/examples/own-server.toml");
pub const DJANGO_FILE: &str = include_str!("../../../../docs/examples/django.toml");

/// Ids of our clients, which are the peers' client ids too.
const CLIENTS: &[&str] = &["conf", "post", "pub", "machine", "page", "page-2", "signer"];

/// A running peer.
pub struct Peer {
    pub port: u16,
    kind: Kind,
    child: Child,
    // The peer ends when this closes.
    _tie: ChildStdin,
    folder: TempDir,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Oidc,
    Django,
}

impl Peer {
    /// oidc-provider: strict.
    pub fn oidc(args: &[&str]) -> Self {
        let mut command = Command::new(installed("node"));
        command.arg(root().join("tests/peers/oidc-provider.mjs"));
        Self::start(Kind::Oidc, command, args)
    }

    /// django-oauth-toolkit: lenient, with rows in a database.
    pub fn django(args: &[&str]) -> Self {
        let mut command = Command::new(installed("venv/bin/python"));
        command.arg(root().join("tests/peers/django_oauth_toolkit.py"));
        Self::start(Kind::Django, command, args)
    }

    fn start(kind: Kind, mut command: Command, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        command.arg("--tied").arg("--events").arg(folder.path().join(EVENTS)).args(args);
        if kind == Kind::Django {
            command.arg("--database").arg(folder.path().join(DATABASE));
        } else {
            command.arg("--jwks").arg(folder.path().join(JWKS));
        }
        for client in CLIENTS {
            command.arg("--redirect-uri");
            command.arg(format!("http://127.0.0.1/oauth/callback/{client}"));
        }
        let said = std::fs::File::create(folder.path().join("stderr")).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(said);
        let mut child = command.spawn().unwrap();
        let tie = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let port = line.strip_prefix("ready ").unwrap_or_else(|| {
            let said = std::fs::read_to_string(folder.path().join("stderr"));
            panic!("it ended: {line:?} {said:?}")
        });
        let port = port.trim_end().parse().unwrap();
        // Who writes to a pipe that nobody reads dies.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Self { port, kind, child, _tie: tie, folder }
    }

    /// Enters these public keys for its client `signer`, and no others.
    pub fn register_keys(&self, keys: &[Value]) {
        let set = serde_json::json!({ "keys": keys }).to_string();
        std::fs::write(self.folder.path().join(JWKS), set).unwrap();
    }

    /// What happened, by its own account.
    pub fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join(EVENTS)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// How many of its events have these members.
    pub fn count(&self, members: &[(&str, &str)]) -> usize {
        let told = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let fits = |event: &&Value| members.iter().all(|(name, is)| told(&event[*name]) == *is);
        self.events().iter().filter(fits).count()
    }

    /// Token requests of this grant type that it answered with this status.
    pub fn answers(&self, grant_type: &str, status: u16) -> usize {
        let status = status.to_string();
        self.count(&[("event", "answer"), ("grant_type", grant_type), ("status", &status)])
    }

    /// Asks its API whose token this is.
    pub fn whoami(&self, token: &str) -> Answer {
        let headers = [("authorization".to_owned(), format!("Bearer {token}"))];
        http::get_with(&format!("http://127.0.0.1:{}/api/whoami", self.port), &headers)
    }

    /// The owner ends all grants, behind our back.
    pub fn end_grants(&self) {
        let url = format!("http://127.0.0.1:{}/control/end-grants", self.port);
        assert_eq!(http::post(&url, &Value::Null).status, 200);
    }

    /// The owner's log-in and consent, without a browser; gives the callback.
    pub fn allow(&self, authorize_url: &str) -> String {
        match self.kind {
            Kind::Django => Jar::default().get(authorize_url),
            Kind::Oidc => {
                let mut jar = Jar::default();
                let login = jar.get(authorize_url);
                assert!(login.contains("/interaction/"), "{login}");
                let consent = jar.post(&login, "prompt=login&login=alice&password=x");
                jar.post(&consent, "prompt=consent")
            }
        }
    }

    /// The owner's refusal; gives the callback.
    pub fn refuse(&self, authorize_url: &str) -> String {
        let mut jar = Jar::default();
        let login = jar.get(authorize_url);
        jar.get(&format!("{login}/abort"))
    }

    /// The owner enters a device's code and agrees, without a browser: django-oauth-toolkit's two
    /// forms.
    pub fn enter_code(&self, user_code: &str) {
        let mut jar = Jar::default();
        let form = format!("user_code={user_code}");
        let entered = jar.send("POST", &format!("http://127.0.0.1:{}/o/device/", self.port), &form);
        let place = entered.header("location").expect("on to the decision").to_owned();
        let place = format!("http://127.0.0.1:{}{place}", self.port);
        assert_eq!(jar.send("POST", &place, "action=accept").status, 302);
    }

    /// A value of its database.
    pub fn row(&self, query: &str) -> String {
        let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); \
                      print(c.execute(sys.argv[2]).fetchone()[0])";
        let database = self.folder.path().join(DATABASE);
        let mut python = Command::new(installed("venv/bin/python"));
        let output = python.arg("-c").arg(script).arg(database).arg(query).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Follows redirects with cookies, as a browser does, up to the first that leaves the peer or that
/// is a page.
#[derive(Default)]
struct Jar(Vec<(String, String)>);

impl Jar {
    fn get(&mut self, url: &str) -> String {
        self.follow("GET", url, "")
    }

    fn post(&mut self, url: &str, form: &str) -> String {
        self.follow("POST", url, form)
    }

    fn follow(&mut self, method: &str, url: &str, form: &str) -> String {
        let (mut method, mut form, mut url) = (method, form, url.to_owned());
        for _ in 0..10 {
            let answer = self.send(method, &url, form);
            let Some(place) = answer.header("location") else {
                assert_eq!(answer.status, 200, "{method} {url}: {answer:?}");
                return url;
            };
            let (here, _) = http::split(&url);
            let next = match place.starts_with('/') {
                true => format!("http://{here}{place}"),
                false => place.to_owned(),
            };
            if next.contains("/oauth/callback/") {
                return next;
            }
            (method, form, url) = ("GET", "", next);
        }
        panic!("it redirects for ever: {url}");
    }

    fn send(&mut self, method: &str, url: &str, form: &str) -> Answer {
        let (address, path) = http::split(url);
        let cookies: Vec<String> = self.0.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let answer = http::raw(
            address,
            &format!(
                "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
                 Cookie: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                 Content-Length: {}\r\n\r\n{form}",
                cookies.join("; "),
                form.len()
            ),
        );
        for line in answer.head.lines() {
            let Some((name, value)) = line.split_once(": ") else { continue };
            if name.eq_ignore_ascii_case("set-cookie") {
                let (name, value) = value.split(';').next().unwrap().split_once('=').unwrap();
                self.0.retain(|(known, _)| known != name);
                self.0.push((name.to_owned(), value.to_owned()));
            }
        }
        answer
    }
}

/// Puts an own service file into a home.
pub fn own_file(home: &Home, name: &str, text: &str) {
    use std::os::unix::fs::DirBuilderExt as _;
    let folder = home.path().join("services");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.toml")), text).unwrap();
}

/// Adds one of a peer's clients to a home, with that peer's service file.
#[track_caller]
pub fn add(home: &Home, peer: &Peer, client: &str, more: &[&str]) -> Ran {
    let (service, text) = match peer.kind {
        Kind::Oidc => ("own-server", OIDC_FILE),
        Kind::Django => ("django", DJANGO_FILE),
    };
    if !home.path().join("services").join(format!("{service}.toml")).exists() {
        own_file(home, service, text);
    }
    let port = format!("port={}", peer.port);
    let mut args = vec!["clients", "add", service, "--id", client, "--client-id", client];
    args.extend(["--input", &port]);
    args.extend(more);
    if more.contains(&"--generate-key") {
        return home.run(&args).ok();
    }
    if matches!(client, "pub" | "tv") {
        args.extend(["--kind", "public"]);
        return home.run(&args).ok();
    }
    args.push("--secret-stdin");
    home.run_with(&args, UGLY).ok()
}

/// Connects one of a peer's clients by pasting.
#[track_caller]
pub fn connect(home: &Home, peer: &Peer, client: &str) -> Value {
    let connecting = home.connecting(&[client, "--can", "campaigns.read"]);
    let callback = peer.allow(&connecting.address);
    connecting.paste(&callback).ok().json()
}

/// The access token that a connection has.
#[track_caller]
pub fn token(home: &Home, id: &str) -> String {
    home.run(&["token", id]).ok().line().to_owned()
}

fn installed(name: &str) -> PathBuf {
    let path = root().join(".cache/peers").join(name);
    assert!(path.exists(), "{}: run `cargo xtask test` once, it installs it", path.display());
    path
}

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

const EVENTS: &str = "events.jsonl";
const DATABASE: &str = "database";
const JWKS: &str = "jwks.json";
