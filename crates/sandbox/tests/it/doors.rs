//! The endpoints' own rules: who may come in, with what, and where to; on the same made-up service.

use std::collections::BTreeMap;

use indicia_catalog::{ClientKind, GrantType};
use indicia_oauth::{Answer, Code, Credentials, RefreshToken, Verdict, pkce};
use indicia_sandbox::record::Why;
use indicia_sandbox::{Incoming, Options, Registration};

use crate::driver::{Driver, REDIRECT, SECRET, granted, refusal, shown};
use crate::rules::{bent, driver, refresh_token, secs};

#[test]
fn a_code_works_once_and_its_second_use_ends_what_the_first_gave() {
    let mut driver = driver(&[]);
    let verifier = pkce::verifier(&[1; pkce::RANDOM_BYTES]);
    let callback =
        driver.model.approve(&driver.authorize_url(&verifier), "one", driver.now).unwrap();
    let answer = driver.exchange(&callback, &verifier);
    let set = granted(&driver.service, &answer, driver.now);
    let again = driver.exchange(&callback, &verifier);
    assert_eq!(refusal(&driver.service, &again, driver.now).verdict, Verdict::GrantRefused);
    let (grant, _) = driver.model.record().access_token(set.access_token.expose()).unwrap();
    assert_eq!(driver.model.record().ended_why(grant), Some(Why::CodeReuse));
}

#[test]
fn a_code_is_bound_to_time_client_redirect_and_verifier() {
    type Spoil = fn(&mut Driver);
    let spoils: [(&str, Spoil, &str, &str, u8); 5] = [
        ("nothing", |_| {}, "app", REDIRECT, 1),
        ("its life is over", |d| d.later(secs(300)), "app", REDIRECT, 1),
        ("another client", |_| {}, "other", REDIRECT, 1),
        ("another redirect URI", |_| {}, "app", "http://127.0.0.1:8917/else", 1),
        ("another verifier", |_| {}, "app", REDIRECT, 2),
    ];
    for (name, spoil, client_id, redirect_uri, verifier_byte) in spoils {
        let mut driver = driver(&[]);
        driver.model.register(Registration { client_id: "other".to_owned(), ..registration() });
        let verifier = pkce::verifier(&[1; pkce::RANDOM_BYTES]);
        let url = driver.authorize_url(&verifier);
        let callback = driver.model.approve(&url, "one", driver.now).unwrap();
        spoil(&mut driver);
        let code = query_value(&callback, "code");
        let verifier = pkce::verifier(&[verifier_byte; pkce::RANDOM_BYTES]);
        let answer = exchange_as(&mut driver, client_id, &code, redirect_uri, &verifier);
        if name == "nothing" {
            granted(&driver.service, &answer, driver.now);
        } else {
            let refusal = refusal(&driver.service, &answer, driver.now);
            assert_eq!(refusal.verdict, Verdict::GrantRefused, "{name}");
        }
    }
}

pub fn registration() -> Registration {
    Registration {
        client_id: "app".to_owned(),
        secrets: vec![SECRET.to_owned()],
        kind: ClientKind::Confidential,
        redirect_uris: vec![REDIRECT.to_owned()],
        inputs: BTreeMap::new(),
        settings: BTreeMap::new(),
    }
}

pub fn query_value(url: &str, name: &str) -> String {
    let query = url.split_once('?').expect("a query").1;
    let found = form_urlencoded::parse(query.as_bytes()).find(|(n, _)| n == name);
    found.unwrap_or_else(|| panic!("no {name} in {url}")).1.into_owned()
}

fn exchange_as(
    driver: &mut Driver,
    client_id: &str,
    code: &str,
    redirect_uri: &str,
    verifier: &indicia_oauth::Verifier,
) -> Answer {
    let grant = GrantType::AuthorizationCode;
    let endpoint = driver.service.token_endpoint(grant, driver.context()).unwrap().unwrap();
    let secret = indicia_oauth::ClientSecret::new(SECRET);
    let credentials = Credentials { client_id, proof: Some(&secret).into() };
    let request = indicia_oauth::grant::code::request(
        &endpoint,
        &credentials,
        Code::new(code),
        Some(redirect_uri),
        Some(verifier),
    );
    driver.send(&request.unwrap())
}

#[test]
fn client_authentication_is_taken_only_as_the_file_says() {
    let ways = ["basic", "basic-raw", "body", "query"];
    for wanted in ways {
        for sent in ways {
            let auth = format!("auth = \"{wanted}\"");
            let mut driver = driver(&[("auth = \"basic\"", &auth)]);
            let token = refresh_token(&driver.connect("one"));
            let other = bent(&[("auth = \"basic\"", &format!("auth = \"{sent}\""))]);
            let grant = GrantType::RefreshToken;
            let endpoint = other.token_endpoint(grant, driver.context()).unwrap().unwrap();
            let secret = indicia_oauth::ClientSecret::new(SECRET);
            let credentials = Credentials { client_id: "app", proof: Some(&secret).into() };
            let token = RefreshToken::new(token);
            let request = indicia_oauth::grant::refresh::request(&endpoint, &credentials, &token);
            let answer = driver.send(&request.unwrap());
            if wanted == sent {
                granted(&driver.service, &answer, driver.now);
            } else {
                let refusal = refusal(&driver.service, &answer, driver.now);
                assert_eq!(refusal.verdict, Verdict::ClientRefused, "{wanted} but {sent}");
            }
        }
    }
}

#[test]
fn a_wrong_or_replaced_secret_is_refused() {
    let mut driver = driver(&[]);
    let token = refresh_token(&driver.connect("one"));
    assert!(driver.model.set_secrets("app", vec!["new".to_owned()]));
    assert_eq!(driver.refused(&token).verdict, Verdict::ClientRefused);
    driver.secret = "new".to_owned();
    driver.refresh(&token);
    assert!(!driver.model.set_secrets("nobody", Vec::new()));
}

#[test]
fn any_client_is_registered_at_first_sight_but_keeps_its_first_secret() {
    let options = Options { accept_any_client: true, ..Options::default() };
    let service = bent(&[]);
    let mut driver = Driver::new(service.clone(), ClientKind::Confidential, options.clone());
    driver.model = indicia_sandbox::Model::new(service, options);
    let token = refresh_token(&driver.connect("anybody"));
    let token = refresh_token(&driver.refresh(&token));
    driver.secret = "another".to_owned();
    assert_eq!(driver.refused(&token).verdict, Verdict::ClientRefused);
}

#[test]
fn the_api_wants_its_scheme_and_headers() {
    let mut driver = driver(&[]);
    let token = driver.connect("one").access_token.expose().to_owned();
    for (name, headers, status) in [
        (
            "right",
            vec![("authorization", format!("Acme {token}")), ("x-acme-version", "1".into())],
            200,
        ),
        (
            "other scheme",
            vec![("authorization", format!("Bearer {token}")), ("x-acme-version", "1".into())],
            401,
        ),
        ("header missing", vec![("authorization", format!("Acme {token}"))], 400),
        ("no token", vec![("x-acme-version", "1".into())], 401),
        ("unknown", vec![("authorization", "Acme x".into()), ("x-acme-version", "1".into())], 401),
    ] {
        let mut request = Incoming::get("https://api.acme.example/v1/me").unwrap();
        request.headers = headers.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
        let answer = driver.model.handle(&request, driver.now);
        assert_eq!(answer.status, status, "{name}: {}", shown(&answer));
    }
    let refusals = driver.model.record().count("api_call_refused");
    assert_eq!((driver.model.record().count("api_call"), refusals), (1, 4));
}

#[test]
fn the_authorization_endpoint_refuses_as_the_rfc_says() {
    let good = "https://login.acme.example/authorize?response_type=code&client_id=app&state=s\
                &redirect_uri=http%3A%2F%2F127.0.0.1%3A8917%2Foauth%2Fcallback%2Fapp&scope=mail.read";
    // What is wrong → what comes back: a code in the callback, or a page.
    for (name, url, expected) in [
        ("unknown client", good.replace("=app", "=nobody"), Err("invalid_client")),
        ("redirect URI", good.replace("%2Fapp", "%2Felse"), Err("invalid_request")),
        ("parameter twice", format!("{good}&state=t"), Err("invalid_request")),
        ("response type", good.replace("=code&", "=token&"), Ok("invalid_request")),
        ("scope", good.replace("mail.read", "mail.eat"), Ok("invalid_scope")),
        ("plain PKCE", format!("{good}&code_challenge=x"), Ok("invalid_request")),
    ] {
        let mut driver = driver(&[]);
        let refused = driver.model.approve(&url, "one", driver.now).unwrap_err();
        match (expected, &refused.callback_url) {
            (Ok(code), Some(callback)) => {
                assert_eq!(query_value(callback, "error"), code, "{name}");
                assert_eq!(query_value(callback, "state"), "s", "{name}");
            }
            (Err(code), None) => assert_eq!(refused.code, code, "{name}"),
            (_, url) => panic!("{name}: {url:?}"),
        }
    }
    let mut driver = driver(&[]);
    let denied = driver.model.deny(good, "one", driver.now).unwrap();
    assert_eq!(query_value(&denied, "error"), "access_denied");
}

#[test]
fn pkce_is_wanted_taken_or_refused_by_kind_of_client() {
    use ClientKind::{Confidential, Public};
    let base = "https://login.acme.example/authorize?response_type=code&client_id=app&state=s\
                &redirect_uri=http%3A%2F%2F127.0.0.1%3A8917%2Foauth%2Fcallback%2Fapp";
    for (pkce, kind, without, with) in [
        ("required", Confidential, false, true),
        ("supported", Confidential, true, true),
        ("unknown", Confidential, true, true),
        ("forbidden", Confidential, true, false),
        ("public-only", Confidential, true, false),
        ("public-only", Public, false, true),
    ] {
        let service = bent(&[("pkce = \"supported\"", &format!("pkce = \"{pkce}\""))]);
        let mut driver = Driver::new(service, kind, Options::default());
        let plain = driver.model.approve(base, "one", driver.now).is_ok();
        let challenged = format!("{base}&code_challenge=abc&code_challenge_method=S256");
        let challenged = driver.model.approve(&challenged, "one", driver.now).is_ok();
        assert_eq!((plain, challenged), (without, with), "{pkce} {kind:?}");
    }
}

#[test]
fn introspection_tells_what_lives() {
    let mut driver = driver(&[]);
    let set = driver.connect("one");
    let active = |driver: &mut Driver, token: &str| {
        let endpoint = driver.service.introspection(driver.context()).unwrap().unwrap();
        let secret = indicia_oauth::ClientSecret::new(SECRET);
        let credentials = Credentials { client_id: "app", proof: Some(&secret).into() };
        let request = indicia_oauth::introspection::request(&endpoint, &credentials, token);
        let answer = driver.send(&request.unwrap());
        indicia_oauth::introspection::active(&answer)
    };
    let access = set.access_token.expose();
    assert_eq!(active(&mut driver, access), Some(true));
    assert_eq!(active(&mut driver, &refresh_token(&set)), Some(true));
    assert_eq!(active(&mut driver, "unknown"), Some(false));
    assert!(driver.revoke(&set));
    assert_eq!(active(&mut driver, access), Some(false));
}

#[test]
fn a_refresh_token_is_bound_to_its_client() {
    let mut driver = driver(&[]);
    let token = refresh_token(&driver.connect("one"));
    driver.model.register(Registration { client_id: "other".to_owned(), ..registration() });
    let grant = GrantType::RefreshToken;
    let endpoint = driver.service.token_endpoint(grant, driver.context()).unwrap().unwrap();
    let secret = indicia_oauth::ClientSecret::new(SECRET);
    let credentials = Credentials { client_id: "other", proof: Some(&secret).into() };
    let spent = RefreshToken::new(token.clone());
    let request = indicia_oauth::grant::refresh::request(&endpoint, &credentials, &spent);
    let answer = driver.send(&request.unwrap());
    assert_eq!(refusal(&driver.service, &answer, driver.now).verdict, Verdict::GrantRefused);
    driver.refresh(&token);
}

#[test]
fn a_token_call_needs_its_headers_parameters_method_and_codec() {
    let auth = "auth = \"basic\"";
    let needs = "auth = \"basic\"\nparams = { extra = \"yes\" }\nheaders = { X-Extra = \"yes\" }";
    for (lacks, sent) in [
        ("nothing", needs.to_owned()),
        ("the parameter", needs.replace("params = { extra = \"yes\" }", "")),
        ("its value", needs.replace("extra = \"yes\"", "extra = \"no\"")),
        ("the header", needs.replace("headers = { X-Extra = \"yes\" }", "")),
        ("the codec", format!("{needs}\ncodec = \"json\"")),
        ("the method", format!("{needs}\ncodec = \"query\"\nmethod = \"GET\"")),
    ] {
        let mut driver = driver(&[(auth, needs)]);
        let token = refresh_token(&driver.connect("one"));
        let other = bent(&[(auth, &sent)]);
        let endpoint = other.token_endpoint(GrantType::RefreshToken, driver.context());
        let secret = indicia_oauth::ClientSecret::new(SECRET);
        let credentials = Credentials { client_id: "app", proof: Some(&secret).into() };
        let token = RefreshToken::new(token);
        let endpoint = endpoint.unwrap().unwrap();
        let request = indicia_oauth::grant::refresh::request(&endpoint, &credentials, &token);
        let answer = driver.send(&request.unwrap());
        if lacks == "nothing" {
            granted(&driver.service, &answer, driver.now);
        } else {
            let refused = refusal(&driver.service, &answer, driver.now);
            assert_eq!(refused.verdict, Verdict::Misconfigured, "{lacks}");
        }
    }
}
