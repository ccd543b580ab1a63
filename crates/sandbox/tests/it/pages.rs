//! A person's way through the pages, and what the pages may not do.

use indicia_oauth::{Credentials, pkce};
use indicia_sandbox::Options;

use crate::driver::{Driver, SECRET};
use crate::http::{get, post_form, rewritten, sandbox, send_request};

/// Posts the forms as a browser would: to the address where they were shown.
#[test]
fn a_person_logs_in_consents_and_comes_back_with_a_code() {
    let sandbox = sandbox(&["keap", "hubspot"], Options::default());
    let mut driver = Driver::shipped("keap", 0);
    let verifier = pkce::verifier(&[1; pkce::RANDOM_BYTES]);
    let path = rewritten(&driver.authorize_url(&verifier));
    let login = get(sandbox.addr, &path);
    assert_eq!(login.status, 200, "{}", login.text());
    assert!(login.text().contains("<form method=\"post\">"));
    let consent = post_form(sandbox.addr, &path, "account=anna&password=x");
    assert!(consent.text().contains("name=\"account\" value=\"anna\""), "{}", consent.text());
    let denied = post_form(sandbox.addr, &path, "account=anna&decision=deny");
    assert!(denied.header("location").unwrap().contains("error=access_denied"));
    let back = post_form(sandbox.addr, &path, "account=anna&decision=approve");
    assert_eq!(back.status, 302);
    let callback = back.header("location").unwrap().to_owned();
    let request = driver.exchange_request(&callback, &verifier);
    let answer = send_request(sandbox.addr, &request);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    let grant = indicia_catalog::GrantType::RefreshToken;
    let endpoint = driver.service.token_endpoint(grant, driver.context()).unwrap().unwrap();
    let secret = indicia_oauth::ClientSecret::new(SECRET);
    let credentials = Credentials { client_id: "app", proof: Some(&secret).into() };
    let token = indicia_oauth::RefreshToken::new(token);
    let request = indicia_oauth::grant::refresh::request(&endpoint, &credentials, &token).unwrap();
    assert_eq!(send_request(sandbox.addr, &request).status, 200);
    let refreshes = sandbox.with_model("keap", |model| model.record().count("refresh"));
    assert_eq!(refreshes, Some(1));
}

#[test]
fn pages_load_nothing_and_escape_what_they_show() {
    let sandbox = sandbox(&["keap"], Options { accept_any_client: true, ..Options::default() });
    let host = "/accounts.infusionsoft.com/app/oauth/authorize";
    let script = "%3Cscript%3Ealert(1)%3C/script%3E";
    let query = format!(
        "response_type=code&client_id={script}&state=s&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcb"
    );
    let authorize = format!("{host}?{query}");
    let account = format!("account={script}");
    let wires = [
        get(sandbox.addr, "/"),
        get(sandbox.addr, &authorize),
        post_form(sandbox.addr, &authorize, &account),
        get(sandbox.addr, &format!("{host}?response_type=code&client_id={script}")),
    ];
    for wire in wires {
        let text = wire.text();
        assert!(text.starts_with("<!doctype html>"), "{text}");
        assert!(!text.contains("<script"), "{text}");
        for outside in ["http://", "//cdn", "src=", "@import", "url("] {
            assert!(!text.replace("https://HOST/PATH", "").contains(outside), "{outside}: {text}");
        }
        let policy = wire.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"));
        assert!(text.contains("lang=\"en\"") && text.contains("<h1>"));
    }
}

#[test]
fn a_bad_request_is_told_on_a_page_and_sent_nowhere() {
    let sandbox = sandbox(&["keap"], Options::default());
    let page = get(
        sandbox.addr,
        "/accounts.infusionsoft.com/app/oauth/authorize?response_type=code&client_id=nobody\
         &redirect_uri=https%3A%2F%2Fevil.example%2F",
    );
    assert_eq!(page.status, 400);
    assert!(page.header("location").is_none());
    assert!(page.text().contains("the client isn&#39;t registered"), "{}", page.text());
}
