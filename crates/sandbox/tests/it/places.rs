//! What only some services need: data centres, business units, metadata, and how much a revocation
//! ends.

use indicia_catalog::ClientKind;
use indicia_oauth::{Credentials, Proof, Verdict, pkce};
use indicia_sandbox::{Incoming, Options, Registration};

use crate::doors::{query_value, registration};
use crate::driver::{Driver, SECRET, granted, refusal, shown};
use crate::rules::{bent, driver, refresh_token};

#[test]
fn a_code_and_its_tokens_work_only_where_their_account_lives() {
    let mut driver = Driver::shipped("zoho-campaigns", 0);
    let verifier = pkce::verifier(&[1; pkce::RANDOM_BYTES]);
    let url = driver.authorize_url(&verifier);
    let callback = driver.model.approve(&url, "eu-anna", driver.now).unwrap();
    assert_eq!(query_value(&callback, "location"), "eu");
    let elsewhere = callback.replace("location=eu", "location=in").replace("zoho.eu", "zoho.in");
    let answer = driver.exchange(&elsewhere, &verifier);
    let refused = refusal(&driver.service, &answer, driver.now);
    assert_eq!((answer.status, refused.verdict), (200, Verdict::GrantRefused));
    let answer = driver.exchange(&callback, &verifier);
    let set = granted(&driver.service, &answer, driver.now);
    assert!(driver.probe(set.access_token.expose()).is_success());
    driver.inputs.insert("dc".to_owned(), "in".to_owned());
    assert_eq!(driver.probe(set.access_token.expose()).status, 401);
    let refused = driver.refused(&refresh_token(&set));
    assert_eq!(refused.verdict, Verdict::GrantRefused);
}

#[test]
fn a_business_unit_has_a_grant_and_an_account_of_its_own() {
    let mut driver = Driver::shipped("salesforce-marketing-cloud", 0);
    let plain = driver.mint();
    driver.inputs.insert("account_id".to_owned(), "500005678".to_owned());
    let unit = driver.mint();
    let grant = |set: &indicia_oauth::TokenSet| {
        driver.model.record().access_token(set.access_token.expose()).unwrap().0
    };
    assert_ne!(grant(&plain), grant(&unit));
    let answer = driver.probe(unit.access_token.expose());
    assert!(shown(&answer).contains("500005678"), "{}", shown(&answer));
}

#[test]
fn a_refresh_without_client_authentication_takes_none() {
    let mut driver = Driver::shipped("campaign-monitor", 0);
    let token = refresh_token(&driver.connect("anna"));
    driver.model.set_secrets("app", vec!["new".to_owned()]);
    let set = driver.refresh(&token);
    let mut request = Incoming::get("https://api.createsend.com/oauth/token").unwrap();
    request.method = "POST".to_owned();
    let token = set.refresh_token.as_ref().map_or(token, |t| t.expose().to_owned());
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.append_pair("grant_type", "refresh_token").append_pair("refresh_token", &token);
    request.body = body.finish().into_bytes();
    let form = "application/x-www-form-urlencoded".to_owned();
    request.headers.push(("content-type".to_owned(), form));
    request.headers.push(("authorization".to_owned(), "Basic YXBwOm5ldw==".to_owned()));
    let answer = driver.model.handle(&request, driver.now);
    let refused = refusal(&driver.service, &answer, driver.now);
    assert_eq!(refused.verdict, Verdict::ClientRefused);
}

#[test]
fn endpoints_that_only_metadata_tells_are_made_up_and_told() {
    let service = bent(&[
        ("surface = \"API\"", "surface = \"API\"\nissuer = \"https://id.acme.example/as\""),
        ("url = \"https://login.acme.example/authorize\"", ""),
        ("url = \"https://login.acme.example/token\"", ""),
        ("url = \"https://login.acme.example/revoke\"", ""),
        ("url = \"https://login.acme.example/introspect\"", ""),
    ]);
    let mut driver = Driver::new(service, ClientKind::Confidential, Options::default());
    let issuer = "https://id.acme.example/as";
    for address in indicia_oauth::metadata::addresses(issuer, false).unwrap() {
        let request = Incoming::get(&address).unwrap();
        let answer = driver.model.handle(&request, driver.now);
        let metadata = indicia_oauth::metadata::read(&answer, issuer, false);
        let metadata = metadata.unwrap_or_else(|e| panic!("{address}: {e}: {}", shown(&answer)));
        driver.settings = indicia_catalog::Service::pins(&metadata);
    }
    let set = driver.connect("one");
    let set = driver.refresh(&refresh_token(&set));
    assert!(driver.probe(set.access_token.expose()).is_success());
    assert!(driver.revoke(&set));
}

#[test]
fn revocation_ends_as_much_as_the_file_says() {
    // Kills → whether the account's other grant lives on.
    for (kills, other) in [("token", true), ("grant", true), ("account", false)] {
        let bend = format!("kills = \"{kills}\"");
        let mut driver = driver(&[("kills = \"grant\"", &bend)]);
        let first = driver.connect("one");
        let second = driver.connect("one");
        let stranger = driver.connect("two");
        assert!(driver.revoke(&first));
        assert!(!driver.refresh_answer(&refresh_token(&first)).is_success(), "{kills}");
        assert_eq!(driver.refresh_answer(&refresh_token(&second)).is_success(), other, "{kills}");
        assert!(driver.refresh_answer(&refresh_token(&stranger)).is_success(), "{kills}");
        let access = driver.probe(first.access_token.expose()).is_success();
        assert_eq!(access, kills == "token", "the access token of {kills}");
    }
}

#[test]
fn another_clients_token_is_not_revoked() {
    let mut driver = driver(&[]);
    let set = driver.connect("one");
    driver.model.register(Registration { client_id: "other".to_owned(), ..registration() });
    let indicia_catalog::RevocationRule::Call { endpoint, token_param, .. } =
        driver.service.revocation(driver.context()).unwrap()
    else {
        panic!("there is a call");
    };
    let secret = indicia_oauth::ClientSecret::new(SECRET);
    let credentials = Credentials { client_id: "other", proof: Proof::Secret(&secret) };
    let token = refresh_token(&set);
    let request =
        indicia_oauth::revocation::request(&endpoint, &credentials, &token_param, &token, None);
    assert_eq!(driver.send(&request.unwrap()).status, 200);
    driver.refresh(&token);
}
