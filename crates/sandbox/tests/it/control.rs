//! The control calls, and what they say to bad input.

use indicia_sandbox::Options;

use crate::driver::{Driver, REDIRECT};
use crate::http::{get, post_json, raw, sandbox, send};

#[test]
fn a_harness_can_drive_everything_by_http() {
    let sandbox = sandbox(&["hubspot", "keap"], Options::default());
    let addr = sandbox.addr;
    let registered = post_json(
        addr,
        "/_sandbox/register",
        &format!(
            r#"{{"service":"keap","client_id":"app","secrets":["s"],"redirect_uris":["{REDIRECT}"]}}"#
        ),
    );
    assert_eq!(registered.status, 200, "{}", registered.text());
    let driver = Driver::shipped("keap", 0);
    let verifier = indicia_oauth::pkce::verifier(&[1; 32]);
    let url = driver.authorize_url(&verifier);
    // The address as it is, and as a sandbox client's browser is sent.
    for url in [url.clone(), url.replacen("https:/", &format!("http://{addr}"), 1)] {
        let body = serde_json::json!({ "authorize_url": url, "account": "anna" }).to_string();
        let clicked = post_json(addr, "/_sandbox/approve", &body);
        assert_eq!(clicked.status, 200, "{}", clicked.text());
        let callback = clicked.json()["callback_url"].as_str().unwrap().to_owned();
        assert!(callback.starts_with(REDIRECT) && callback.contains("code="), "{callback}");
    }
    let before = get(addr, "/_sandbox/clock").json()["now_millis"].as_i64().unwrap();
    let moved = post_json(addr, "/_sandbox/clock", r#"{"advance_seconds":86400}"#);
    assert!(moved.json()["now_millis"].as_i64().unwrap() >= before + 86_400_000);
    let added = post_json(addr, "/_sandbox/faults", r#"{"add":["reset-after:1@token","skew=5"]}"#);
    assert_eq!(added.json()["faults"], serde_json::json!(["reset-after:1@token", "skew=5"]));
    assert_eq!(get(addr, "/_sandbox/faults").json(), added.json());
    let cleared = send(addr, "DELETE", "/_sandbox/faults", &[], b"");
    assert_eq!(cleared.json()["faults"], serde_json::json!([]));
    let secrets = r#"{"service":"keap","client_id":"app","secrets":["t"]}"#;
    assert_eq!(post_json(addr, "/_sandbox/secrets", secrets).status, 200);
    let owner = r#"{"service":"keap","account":"anna","client_id":"app"}"#;
    assert_eq!(post_json(addr, "/_sandbox/owner-revokes", owner).json()["grants_ended"], 0);
    let record = get(addr, "/_sandbox/record?service=keap").json();
    assert_eq!(record["counters"]["code_issued"], 2, "{record}");
    let all = get(addr, "/_sandbox/record").json();
    assert_eq!(all["services"]["keap"]["counters"], record["counters"]);
    assert!(all["services"]["hubspot"]["grants"].is_array());
}

#[test]
fn bad_input_is_told() {
    let sandbox = sandbox(&["keap"], Options::default());
    let addr = sandbox.addr;
    for (path, body, status, code, word) in [
        ("clock", "{", 400, "bad_body", "can't be read"),
        ("clock", r#"{"advance":1}"#, 400, "bad_body", "advance_seconds"),
        ("faults", r#"{"add":["boom"]}"#, 400, "bad_fault", "is none of"),
        ("register", r#"{"service":"nope","client_id":"x"}"#, 404, "unknown_service", "keap"),
        (
            "approve",
            r#"{"authorize_url":"https://x.example/"}"#,
            400,
            "bad_authorize_url",
            "no address",
        ),
        (
            "secrets",
            r#"{"service":"keap","client_id":"x","secrets":[]}"#,
            404,
            "unknown_client",
            "\"x\"",
        ),
        ("nothing", "{}", 404, "not_found", "/_sandbox/record"),
    ] {
        let wire = post_json(addr, &format!("/_sandbox/{path}"), body);
        let said = wire.json();
        assert_eq!((wire.status, said["code"].as_str()), (status, Some(code)), "{path}: {said}");
        assert!(said["detail"].as_str().unwrap().contains(word), "{said}");
    }
    let refused = post_json(
        addr,
        "/_sandbox/approve",
        r#"{"authorize_url":"https://accounts.infusionsoft.com/app/oauth/authorize?client_id=no"}"#,
    );
    assert_eq!(refused.json()["code"], "invalid_client", "{}", refused.text());
    let elsewhere = get(addr, "/unknown.example/token");
    assert_eq!((elsewhere.status, elsewhere.json()["code"].as_str()), (404, Some("not_served")));
}

#[test]
fn a_page_from_elsewhere_reaches_no_control_call() {
    let sandbox = sandbox(&["keap"], Options::default());
    let addr = sandbox.addr;
    let form = send(addr, "POST", "/_sandbox/clock", &[("content-type", "text/plain")], b"{}");
    assert_eq!(form.status, 415);
    let rebound =
        b"GET /_sandbox/record HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    assert_eq!(raw(addr, rebound).status, 421);
}

#[test]
fn too_much_is_refused() {
    let sandbox = sandbox(&["keap"], Options::default());
    let body = vec![b'x'; 256 * 1024 + 1];
    let form = ("content-type", "application/x-www-form-urlencoded");
    let wire = send(sandbox.addr, "POST", "/api.infusionsoft.com/token", &[form], &body);
    assert_eq!(wire.status, 413);
    let long = format!("/{}", "x".repeat(70 * 1024));
    assert!(get(sandbox.addr, &long).status >= 400);
}

#[test]
fn only_a_loopback_address_is_listened_on() {
    let started = indicia_sandbox::Sandbox::start_in_thread(indicia_sandbox::StartOptions {
        listen: "0.0.0.0:0".parse().unwrap(),
        services: Vec::new(),
        options: Options::default(),
        faults: Vec::new(),
    });
    let Err(error) = started else { panic!("it listens to the world") };
    assert!(error.to_string().contains("loopback"), "{error}");
}

#[test]
fn a_dropped_sandbox_listens_no_more() {
    let sandbox = sandbox(&["keap"], Options::default());
    let addr = sandbox.addr;
    assert_eq!(get(addr, "/").status, 200);
    drop(sandbox);
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        std::net::TcpStream::connect(addr).is_err()
    });
    assert!(gone, "it still listens");
}
