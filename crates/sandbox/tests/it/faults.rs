//! Each fault over real HTTP, and whether the service processed the request.

use std::time::{Duration, Instant};

use indicia_oauth::{Credentials, Request};
use indicia_sandbox::faults::{Fault, Faults, KINDS, Kind};
use indicia_sandbox::{Options, Sandbox};

use crate::driver::{Driver, SECRET, START};
use crate::http::{get, sandbox, send_request};

/// A sandbox with one grant, and a refresh for it.
fn refreshable() -> (Sandbox, Request) {
    let sandbox = sandbox(&["keap"], Options::default());
    let now = sandbox.now();
    let mut driver = Driver::shipped("keap", 0);
    let set = sandbox.with_model("keap", |model| {
        std::mem::swap(model, &mut driver.model);
        driver.now = now;
        let set = driver.connect("anna");
        std::mem::swap(model, &mut driver.model);
        set
    });
    let grant = indicia_catalog::GrantType::RefreshToken;
    let endpoint = driver.service.token_endpoint(grant, driver.context()).unwrap().unwrap();
    let secret = indicia_oauth::ClientSecret::new(SECRET);
    let credentials = Credentials { client_id: "app", proof: Some(&secret).into() };
    let token = set.unwrap().refresh_token.unwrap();
    let request = indicia_oauth::grant::refresh::request(&endpoint, &credentials, &token);
    (sandbox, request.unwrap())
}

fn processed(sandbox: &Sandbox) -> bool {
    sandbox.with_model("keap", |model| model.record().count("refresh")) == Some(1)
}

/// What a fault does: status (0: none came), whole body, reset, processed.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    whole: bool,
    reset: bool,
    processed: bool,
}

#[test]
fn each_fault_does_what_it_says() {
    let seen = |status, whole, reset, processed| Seen { status, whole, reset, processed };
    let table = [
        ("latency=150ms:1@token", seen(200, true, false, true)),
        ("drip=1ms:1@token", seen(200, true, false, true)),
        ("reset-before:1@token", seen(0, false, true, false)),
        ("reset-after:1@token", seen(0, false, true, true)),
        ("throttle=7:1@token", seen(429, true, false, false)),
        ("refuse-grant:1@token", seen(400, true, false, false)),
        ("refuse-client:1@token", seen(401, true, false, false)),
        ("error-before=503:1@token", seen(503, true, false, false)),
        ("error-after=500:1@token", seen(500, true, false, true)),
        ("html:1@token", seen(200, true, false, false)),
        ("html-502:1@token", seen(502, true, false, true)),
        ("truncate:1@token", seen(200, false, false, true)),
        ("wrong-type:1@token", seen(200, true, false, true)),
        ("skew=300", seen(200, true, false, true)),
    ];
    let tested: Vec<&str> =
        table.iter().map(|(t, _)| t.split(['=', ':']).next().unwrap()).collect();
    assert_eq!(tested, KINDS, "each kind has its row");
    for (text, expected) in table {
        let (sandbox, request) = refreshable();
        sandbox.add_fault(text.parse().unwrap());
        let wire = send_request(sandbox.addr, &request);
        let reset = wire.reset && wire.status == 0;
        let (status, whole) = (wire.status, wire.whole);
        let seen = Seen { status, whole, reset, processed: processed(&sandbox) };
        assert_eq!(seen, expected, "{text}");
        detail(text, &wire);
    }
}

fn detail(text: &str, wire: &crate::http::Wire) {
    let kind = wire.header("content-type").unwrap_or_default();
    match text.split(['=', ':']).next().unwrap() {
        "throttle" => assert_eq!(wire.header("retry-after"), Some("7")),
        "html" | "html-502" => assert!(kind.starts_with("text/html") && !wire.text().contains('{')),
        "wrong-type" => assert!(kind == "text/html" && wire.json()["access_token"].is_string()),
        "truncate" => assert!(serde_json::from_slice::<serde_json::Value>(&wire.body).is_err()),
        "refuse-grant" | "refuse-client" => assert!(wire.json()["error"].is_string()),
        "drip" => assert!(wire.json()["access_token"].is_string()),
        _ => {}
    }
}

#[expect(clippy::disallowed_methods, reason = "the test measures a wait")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = work();
    (value, start.elapsed())
}

#[test]
fn latency_and_drip_take_their_time() {
    let (sandbox, request) = refreshable();
    sandbox.add_fault("latency=200ms:1@token".parse().unwrap());
    let (_, took) = timed(|| send_request(sandbox.addr, &request));
    assert!(took >= Duration::from_millis(200), "{took:?}");
    let (sandbox, request) = refreshable();
    sandbox.add_fault("drip=2ms:1@token".parse().unwrap());
    let (wire, took) = timed(|| send_request(sandbox.addr, &request));
    let pauses = u32::try_from(wire.body.len()).unwrap() - 1;
    assert!(took >= Duration::from_millis(2) * pauses, "{took:?} for {} bytes", wire.body.len());
}

#[test]
fn a_fault_counts_down_and_keeps_to_its_place() {
    let (sandbox, request) = refreshable();
    sandbox.add_fault("error-before:2@keap/refresh".parse().unwrap());
    sandbox.add_fault("error-before:5@api".parse().unwrap());
    sandbox.add_fault("error-before:5@hubspot/token".parse().unwrap());
    let statuses: Vec<u16> = (0..3).map(|_| send_request(sandbox.addr, &request).status).collect();
    assert_eq!(statuses, [503, 503, 200]);
    let api = get(sandbox.addr, "/api.infusionsoft.com/crm/rest/v2/oauth/connect/userinfo");
    assert_eq!(api.status, 503);
    sandbox.clear_faults();
    let api = get(sandbox.addr, "/api.infusionsoft.com/crm/rest/v2/oauth/connect/userinfo");
    assert_eq!(api.status, 401);
}

#[test]
fn a_skewed_clock_shows_in_the_date_header() {
    let (sandbox, request) = refreshable();
    let date = |sandbox: &Sandbox| {
        let wire = get(sandbox.addr, "/api.infusionsoft.com/crm/rest/v2/oauth/connect/userinfo");
        httpdate::parse_http_date(wire.header("date").unwrap()).unwrap()
    };
    let before = date(&sandbox);
    sandbox.add_fault("skew=3600@keap/any".parse().unwrap());
    let ahead = date(&sandbox).duration_since(before).unwrap();
    assert!((3600..3630).contains(&ahead.as_secs()), "{ahead:?}");
    sandbox.clear_faults();
    let back = date(&sandbox).duration_since(before).unwrap();
    assert!(back.as_secs() < 30, "{back:?}");
    assert_eq!(send_request(sandbox.addr, &request).status, 200);
}

#[test]
fn the_clock_can_be_moved() {
    let (sandbox, request) = refreshable();
    sandbox.advance(46 * 86_400);
    let refused = send_request(sandbox.addr, &request);
    assert_eq!(refused.status, 400, "45 days are over: {}", refused.text());
    assert!(sandbox.now().as_millis() > START);
}

#[test]
fn faults_are_read_as_they_are_written() {
    for text in [
        "latency=200ms@api",
        "drip=20ms",
        "reset-before",
        "reset-after:2@token",
        "throttle=30:10%",
        "refuse-grant@keap/refresh",
        "refuse-client:1",
        "error-before=503:1@keap/refresh",
        "error-after=500@exchange",
        "html:3@keap/any",
        "html-502",
        "truncate:1",
        "wrong-type@revoke",
        "skew=-300",
    ] {
        let fault: Fault = text.parse().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(fault.to_string(), text);
    }
    for (text, problem) in [
        ("", "is none of latency"),
        ("reset", "is none of latency"),
        ("reset-after=1", "takes no value"),
        ("reset-after:x", "no number of times"),
        ("reset-after:101%", "no share"),
        ("reset-after@nowhere", "is no endpoint"),
        ("latency=2h", "no time like"),
        ("latency=601s", "no time like"),
        ("error-after=200", "from 500 to 599"),
        ("skew", "needs a number of seconds"),
    ] {
        let error = text.parse::<Fault>().unwrap_err().to_string();
        assert!(error.contains(problem), "{text}: {error}");
    }
}

#[test]
fn shares_are_decided_by_seed() {
    let decide = |seed: u64| {
        let mut faults = Faults::new(seed);
        faults.add("reset-after:30%".parse().unwrap());
        (0..200).map(|_| faults.decide("x", "refresh").kind).collect::<Vec<Option<Kind>>>()
    };
    assert_eq!(decide(1), decide(1));
    assert_ne!(decide(1), decide(2));
    let hit = decide(1).iter().flatten().count();
    assert!((30..90).contains(&hit), "{hit} of 200 at 30%");
}
