//! The loopback listener, as a browser, another program and a hostile page find it.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::http::{self, Answer};
use crate::peers;
use crate::stage::{Connecting, Home, Ran, Sandbox, free_port, until};

/// A connect that waits on loopback, with a browser that only notes what it was given.
struct Waiting {
    home: Home,
    sandbox: Sandbox,
    connecting: Connecting,
    port: u16,
}

impl Waiting {
    /// `host` is that of the redirect URI.
    fn start(host: &str) -> Self {
        let (home, sandbox, port) = (Home::new(), Sandbox::start(&[]), free_port());
        let uri = format!("http://{host}:{port}/oauth/callback/klaviyo");
        home.add_client(&sandbox, "klaviyo", &["--redirect-uri", &uri]);
        let connecting = Connecting::of(connect(&home).spawn().unwrap());
        Self { home, sandbox, connecting, port }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn send(&self, method: &str, path: &str, host: &str) -> Answer {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        http::raw(&self.address(), &request)
    }

    /// The callback of an owner who allowed it.
    fn callback(&self) -> String {
        self.sandbox.approve(&self.connecting.address)
    }

    /// Delivers the callback as a browser does, and waits for the end.
    fn deliver(self, callback: &str) -> (Answer, Ran, Home, Sandbox) {
        let path = callback.splitn(4, '/').last().unwrap().to_owned();
        let host = callback.split('/').nth(2).unwrap().to_owned();
        let answer = self.send("GET", &format!("/{path}"), &host);
        (answer, self.connecting.end(), self.home, self.sandbox)
    }
}

fn connect(home: &Home) -> Command {
    let browser = home.beside("browser.sh");
    if !browser.exists() {
        let note = home.beside("browsed");
        let script = format!("#!/bin/sh\necho \"$@\" >> {}\n", note.display());
        std::fs::write(&browser, script).unwrap();
        std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = home.command(&["connect", "klaviyo", "--can", "contacts.read"]);
    command.env("BROWSER", &browser);
    command
}

// NA-1, NA-2
#[test]
fn na_1_na_2_the_system_browser_is_opened_with_a_challenge() {
    let waiting = Waiting::start("127.0.0.1");
    let note = waiting.home.beside("browsed");
    until("the browser is opened", || note.exists());
    until("it has noted its address", || !std::fs::read(&note).unwrap().is_empty());
    let browsed = std::fs::read_to_string(&note).unwrap();
    assert_eq!(browsed.trim(), waiting.connecting.address);
    assert!(browsed.contains("code_challenge_method=S256"), "{browsed}");
    let callback = waiting.callback();
    let (answer, ran, ..) = waiting.deliver(&callback);
    assert_eq!(answer.status, 200);
    assert_eq!(ran.ok().line(), "klaviyo");
}

/// The local addresses that listen on a port, as the kernel tells them.
fn listening(port: u16) -> Vec<String> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (address, hex) = fields[1].split_once(':').unwrap();
            if fields[3] == "0A" && u16::from_str_radix(hex, 16).unwrap() == port {
                found.push(address.to_owned());
            }
        }
    }
    found
}

const V4_LOOPBACK: &str = "0100007F";
const V6_LOOPBACK: &str = "00000000000000000000000001000000";

// NA-3, NA-4
#[test]
fn na_3_na_4_it_listens_on_loopback_only_and_only_while_a_flow_waits() {
    let waiting = Waiting::start("127.0.0.1");
    let port = waiting.port;
    assert_eq!(listening(port), [V4_LOOPBACK]);
    let callback = waiting.callback();
    let (_, ran, ..) = waiting.deliver(&callback);
    ran.ok();
    assert!(listening(port).is_empty());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

// NA-3
#[test]
fn na_3_a_redirect_uri_of_localhost_is_listened_for_in_both_families() {
    let waiting = Waiting::start("localhost");
    let found = listening(waiting.port);
    let has_v6 = TcpListener::bind("[::1]:0").is_ok();
    assert_eq!(found.contains(&V6_LOOPBACK.to_owned()), has_v6, "{found:?}");
    assert!(found.contains(&V4_LOOPBACK.to_owned()), "{found:?}");
    let callback = waiting.callback();
    let (answer, ran, ..) = waiting.deliver(&callback);
    assert_eq!(answer.status, 200);
    ran.ok();
}

// NA-5
#[test]
fn na_5_nobody_else_can_bind_the_port_and_it_is_free_at_once_after() {
    let waiting = Waiting::start("127.0.0.1");
    // `std` sets SO_REUSEADDR: it would succeed beside a listener that allows it.
    assert!(TcpListener::bind(("127.0.0.1", waiting.port)).is_err());
    let callback = waiting.callback();
    let (_, ran, home, sandbox) = waiting.deliver(&callback);
    ran.ok();
    // No TIME_WAIT of ours keeps the next flow from listening.
    let again = Connecting::of(connect(&home).spawn().unwrap());
    let callback = sandbox.approve(&again.address);
    assert_eq!(http::get(&callback).status, 200);
    let ran = again.end().ok();
    assert_eq!(ran.line(), "klaviyo-2");
    assert!(!ran.stderr.contains("taken"), "{ran:?}");
}

// NA-5
#[test]
fn na_5_a_port_that_somebody_else_has_bound_is_not_shared() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    // Bound and ready to be shared, as a program does that wants to sit beside ours.
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.set_reuseaddr(true).unwrap();
    other.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = other.local_addr().unwrap().port();
    let uri = format!("http://127.0.0.1:{port}/oauth/callback/klaviyo");
    home.add_client(&sandbox, "klaviyo", &["--redirect-uri", &uri]);
    let connecting = Connecting::of(connect(&home).spawn().unwrap());
    let callback = sandbox.approve(&connecting.address);
    let ran = connecting.paste(&callback).ok();
    assert!(ran.stderr.contains(&format!("port {port} is taken")), "{ran:?}");
}

// NA-6, NA-7
#[test]
fn na_6_na_7_stray_requests_do_not_end_the_flow() {
    let waiting = Waiting::start("127.0.0.1");
    let host = waiting.address();
    for path in ["/", "/favicon.ico", "/oauth/callback", "/oauth/callback/other?code=x&state=y"] {
        assert_eq!(waiting.send("GET", path, &host).status, 404, "{path}");
    }
    let ours = "/oauth/callback/klaviyo";
    for query in ["?code=x&state=unknown", "?state=&code=", "", "?error=access_denied&state=z"] {
        assert_eq!(waiting.send("GET", &format!("{ours}{query}"), &host).status, 400, "{query}");
    }
    // A client that connects and says nothing keeps nobody waiting.
    let silent = TcpStream::connect(&host).unwrap();
    let before = waiting.sandbox.record("klaviyo")["counters"]["exchange"].clone();
    assert!(before.is_null(), "no token request was made: {before}");
    let callback = waiting.callback();
    let (answer, ran, ..) = waiting.deliver(&callback);
    assert_eq!(answer.status, 200);
    ran.ok();
    drop(silent);
}

// NA-9
#[test]
fn na_9_only_get_on_the_exact_path_and_host_is_taken() {
    let waiting = Waiting::start("127.0.0.1");
    let (host, ours) = (waiting.address(), "/oauth/callback/klaviyo?code=x&state=y");
    let port = waiting.port;
    for other in
        ["evil.test", &format!("evil.test:{port}"), "127.0.0.1", &format!("localhost:{port}")]
    {
        assert_eq!(waiting.send("GET", ours, other).status, 400, "{other}");
    }
    // The right answer by the wrong name is refused too, and the flow waits on.
    let callback = waiting.callback();
    let path = format!("/{}", callback.splitn(4, '/').last().unwrap());
    assert_eq!(waiting.send("GET", &path, "evil.test").status, 400);
    let twice = format!("GET {ours} HTTP/1.1\r\nHost: {host}\r\nHost: evil.test\r\n\r\n");
    assert_eq!(http::raw(&host, &twice).status, 400);
    let absolute = format!("http://evil.test{ours}");
    assert_eq!(waiting.send("GET", &absolute, &host).status, 400);
    let posted = waiting.send("POST", ours, &host);
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET")));
    assert_eq!(waiting.send("OPTIONS", ours, &host).status, 405);
    assert_eq!(posted.header("access-control-allow-origin"), None);
    let (answer, ran, ..) = waiting.deliver(&callback);
    ran.ok();
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

// RH-16, ST-4
#[test]
fn rh_16_st_4_nobody_is_sent_on_and_no_cookie_is_set() {
    for more in ["return_to=//evil.test", "next=https:evil.test", "redirect_uri=%2f%2fevil.test"] {
        let waiting = Waiting::start("127.0.0.1");
        let callback = format!("{}&{more}", waiting.callback());
        let (answer, ran, ..) = waiting.deliver(&callback);
        ran.ok();
        assert_eq!((answer.status, answer.header("location")), (200, None), "{more}");
        assert_eq!(answer.header("set-cookie"), None);
        assert!(!answer.body.contains("evil.test"), "{}", answer.body);
    }
}

// RH-17
#[test]
fn rh_17_a_redirect_uri_that_is_not_on_this_machine_is_https() {
    let home = Home::new();
    let add = |id: &str, uri: &str| {
        let args = ["clients", "add", "klaviyo", "--id", id, "--client-id", "app"];
        home.run_with(&[&args[..], &["--secret-stdin", "--redirect-uri", uri]].concat(), "secret")
    };
    add("far", "https://app.example.com/callback").ok();
    add("here", "http://127.0.0.1:8917/callback").ok();
    for uri in
        ["http://app.example.com/callback", "http://127.0.0.1.example.com/", "http://10.0.0.1/"]
    {
        let ran = add("wrong", uri);
        assert!(
            ran.status != 0 && ran.stderr.contains("https, or http on loopback"),
            "{uri}: {ran:?}"
        );
    }
    home.run(&["clients", "show", "wrong"]).fails(3, "no client");
}

// ST-10, ST-13
#[test]
fn st_10_st_13_the_page_is_kept_by_no_cache_framed_by_nobody_and_holds_no_secret() {
    let waiting = Waiting::start("127.0.0.1");
    let callback = waiting.callback();
    let (answer, ran, ..) = waiting.deliver(&callback);
    ran.ok();
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    for secret in ["code=", "state=", "token"] {
        assert!(!answer.body.contains(secret), "{}", answer.body);
    }
}

#[test]
fn the_browser_is_told_when_it_did_not_work() {
    let waiting = Waiting::start("127.0.0.1");
    let callback = waiting.sandbox.deny(&waiting.connecting.address);
    let (answer, ran, ..) = waiting.deliver(&callback);
    assert!(answer.body.contains("Not connected"), "{answer:?}");
    ran.fails(1, "access was refused");
}

#[test]
fn a_port_that_is_taken_means_pasting() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let uri = format!("http://127.0.0.1:{port}/oauth/callback/klaviyo");
    home.add_client(&sandbox, "klaviyo", &["--redirect-uri", &uri]);
    let connecting = Connecting::of(connect(&home).spawn().unwrap());
    let callback = sandbox.approve(&connecting.address);
    let ran = connecting.paste(&callback).ok();
    assert!(ran.stderr.contains(&format!("port {port} is taken")), "{ran:?}");
    assert_eq!(ran.line(), "klaviyo");
}

#[test]
fn a_signal_ends_the_wait_and_closes_the_port() {
    let waiting = Waiting::start("127.0.0.1");
    let pid = waiting.connecting.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let port = waiting.port;
    let mut child = waiting.connecting.child;
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(128 + 15));
    let mut rest = String::new();
    child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    assert!(rest.is_empty() && listening(port).is_empty());
}

#[test]
fn an_answer_to_another_attempt_does_not_end_this_one() {
    let waiting = Waiting::start("127.0.0.1");
    let other = waiting.home.connecting(&["klaviyo", "--id", "other", "--can", "contacts.read"]);
    let callback = waiting.sandbox.approve(&other.address);
    assert_eq!(http::get(&callback).status, 200);
    waiting.home.run(&["token", "other"]).ok();
    let mut left = other.child;
    left.kill().unwrap();
    left.wait().unwrap();
    let callback = waiting.callback();
    let (_, ran, ..) = waiting.deliver(&callback);
    assert_eq!(ran.ok().line(), "klaviyo");
}

#[test]
fn connections_that_say_nothing_keep_no_callback_out_and_a_stray_one_is_told_once() {
    let waiting = Waiting::start("127.0.0.1");
    let host = waiting.address();
    for n in 0..3 {
        let stray = format!("/oauth/callback/klaviyo?code=x&state=stray{n}");
        assert_eq!(waiting.send("GET", &stray, &host).status, 400);
    }
    let silent: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(&host).unwrap()).collect();
    let callback = waiting.callback();
    let (answer, ran, ..) = waiting.deliver(&callback);
    assert_eq!(answer.status, 200);
    assert_eq!(ran.clone().ok().line(), "klaviyo");
    assert_eq!(ran.stderr.matches("belongs to no flow").count(), 1, "{ran:?}");
    drop(silent);
}

/// By the implicit flow, at a server that nobody asks anything.
fn waiting_for_a_fragment() -> (Home, Connecting, u16) {
    let (home, port) = (Home::new(), free_port());
    peers::own_file(&home, "django", peers::DJANGO_FILE);
    let uri = format!("http://127.0.0.1:{port}/oauth/callback/page");
    let add = ["clients", "add", "django", "--id", "page", "--client-id", "page"];
    let more = ["--input", "port=9", "--redirect-uri", &uri, "--secret-stdin"];
    home.run_with(&[&add[..], &more].concat(), "secret").ok();
    let args = ["connect", "page", "--flow", "implicit", "--can", "campaigns.read"];
    let connecting = Connecting::of(home.command(&args).env("BROWSER", "true").spawn().unwrap());
    (home, connecting, port)
}

// RH-18
#[test]
fn rh_18_a_fragment_is_taken_from_our_own_page_alone() {
    let (home, connecting, port) = waiting_for_a_fragment();
    let (host, path) = (format!("127.0.0.1:{port}"), "/oauth/callback/page");
    let send = |method: &str, path: &str, host: &str, more: &str, body: &str| {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}");
        let request = format!("{head}Content-Length: {length}\r\n\r\n{body}");
        http::raw(&format!("127.0.0.1:{port}"), &request)
    };
    let page = send("GET", path, &host, "", "");
    assert_eq!(page.status, 200);
    let wiped = page.body.find("history.replaceState").unwrap();
    assert!(wiped < page.body.find("fetch(").unwrap(), "the address is wiped before all else");
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "script-src 'sha256-", "connect-src 'self'", "frame-anc"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("cache-control"), Some("no-store"));

    let state = connecting.address.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let fragment = format!("access_token=stolen&token_type=Bearer&state={state}");
    let own = format!("Origin: http://{host}\r\n");
    for (path, to, origin, body, status) in [
        (path, host.as_str(), String::new(), fragment.as_str(), 403),
        (path, &host, "Origin: null\r\n".to_owned(), &fragment, 403),
        (path, &host, "Origin: http://attacker.test\r\n".to_owned(), &fragment, 403),
        (path, &host, format!("{own}Origin: http://attacker.test\r\n"), &fragment, 403),
        (path, "attacker.test", own.clone(), &fragment, 400),
        ("/elsewhere", &host, own.clone(), &fragment, 404),
        ("/oauth/callback/page?x=1", &host, own.clone(), &fragment, 405),
        (path, &host, own.clone(), "access_token=a&state=of-another", 400),
        (path, &host, own.clone(), "", 400),
        (path, &host, own.clone(), &"x".repeat(70_000), 400),
    ] {
        let answer = send("POST", path, to, &origin, body);
        assert_eq!(answer.status, status, "{path} {to} {origin}{}", &body[..body.len().min(60)]);
    }
    // All of that ended nothing: our own page is still heard. (Nobody can say whose the token is.)
    let answer = send("POST", path, &host, &own, &fragment);
    assert_eq!((answer.status, answer.body.contains("Not connected")), (200, true));
    connecting.end().fails(5, "can't be asked whose this token is");
    home.run(&["connections", "show", "page"]).fails(3, "no connection");
}
