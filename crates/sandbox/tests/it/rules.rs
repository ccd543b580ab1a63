//! Rules of the model, one by one, on a made-up service whose file each test bends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use indicia_catalog::{ClientKind, Rotation, Service};
use indicia_oauth::{Answer, Code, Credentials, Expiry, RefreshToken, Timestamp, Verdict, pkce};
use indicia_sandbox::record::{Outcome, Why};
use indicia_sandbox::{Incoming, Options, Registration};

use crate::driver::{Driver, REDIRECT, SECRET, granted, refusal, shown};

/// A service file with everything in it that rules need; `bend` replaces texts.
pub fn bent(bend: &[(&str, &str)]) -> Arc<Service> {
    let mut text = BASE.to_owned();
    for (from, to) in bend {
        assert!(text.contains(from), "{from:?} isn't in the file");
        text = text.replace(from, to);
    }
    let read = indicia_catalog::read::read("bent.toml", &text);
    Arc::new(read.unwrap_or_else(|errors| panic!("{errors:?}")))
}

const BASE: &str = r#"
schema = 1
id = "acme-mail"
name = "Acme Mail"
surface = "API"
flows = ["authorization-code", "client-credentials"]
client_kinds = ["confidential", "public"]
pkce = "supported"

[portal]
url = "https://acme.example/apps"
steps = ["Register."]

[redirect]
loopback_ip = true

[[sources]]
title = "Docs"
url = "https://acme.example/docs"
read = "2026-11-24"

[facts]
flows = "verified"
pkce = "verified"
"token.auth" = "verified"
expiry = "verified"
"refresh.rotation" = "verified"
revocation = "verified"
scopes = "verified"
grant = "verified"
redirect = "verified"
secrets = "verified"

[authorize]
url = "https://login.acme.example/authorize"

[token]
url = "https://login.acme.example/token"
auth = "basic"

[revocation]
url = "https://login.acme.example/revoke"
kills = "grant"

[introspection]
url = "https://login.acme.example/introspect"

[scopes]
known = { "mail.read" = "read mail", "mail.write" = "write mail" }
always = ["mail.read"]
capabilities = { "contacts.read" = ["mail.read"] }

[refresh]
rotation = "rotates"

[api]
base = "https://api.acme.example/v1"
headers = { Authorization = "Acme {token}", X-Acme-Version = "2026-11" }

[api.probe]
url = "/me"
account_id = "id"

[[api.errors]]
verdict = "grant_refused"
status = [401]
meaning = "ended"
example = { status = 401, body = '{"problem":"expired"}' }

[sandbox]
access_life = "1h"
code_life = "5m"
reuse_kills = true
accounts = [{ id = "1", name = "one" }, { id = "2", name = "two" }]

[sandbox.api_answers."/v1/me"]
id = "{account_id}"
"#;

fn driver(bend: &[(&str, &str)]) -> Driver {
    Driver::new(bent(bend), ClientKind::Confidential, Options::default())
}

fn refresh_token(set: &indicia_oauth::TokenSet) -> String {
    set.refresh_token
        .as_ref()
        .expect("a refresh token")
        .expose()
        .to_owned()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn a_spent_refresh_token_used_again_ends_the_whole_grant() {
    let mut driver = driver(&[]);
    let first = driver.connect("one");
    let second = driver.refresh(&refresh_token(&first));
    let (grant, _) = driver
        .model
        .record()
        .access_token(second.access_token.expose())
        .unwrap();
    assert!(
        driver
            .model
            .record()
            .is_access_token_valid(second.access_token.expose(), driver.now)
    );
    assert_eq!(
        driver.refused(&refresh_token(&first)).verdict,
        Verdict::GrantRefused
    );
    let record = driver.model.record();
    assert_eq!(record.ended_why(grant), Some(Why::Reuse));
    assert_eq!(record.count("reuse_detected"), 1);
    assert!(!record.is_access_token_valid(second.access_token.expose(), driver.now));
    assert_eq!(
        driver.refused(&refresh_token(&second)).verdict,
        Verdict::GrantRefused
    );
}

#[test]
fn without_reuse_detection_only_the_spent_one_is_refused() {
    let mut driver = driver(&[("reuse_kills = true", "reuse_kills = false")]);
    let first = driver.connect("one");
    let second = driver.refresh(&refresh_token(&first));
    assert_eq!(
        driver.refused(&refresh_token(&first)).verdict,
        Verdict::GrantRefused
    );
    driver.refresh(&refresh_token(&second));
}

#[test]
fn within_the_grace_the_same_pair_comes_again() {
    let grace = [(
        "rotation = \"rotates\"",
        "rotation = \"rotates\"\nreuse_grace = \"30s\"",
    )];
    let mut driver = driver(&grace);
    let first = driver.connect("one");
    let second = driver.refresh(&refresh_token(&first));
    driver.later(secs(30));
    let again = driver.refresh(&refresh_token(&first));
    assert_eq!(again.access_token.expose(), second.access_token.expose());
    assert_eq!(refresh_token(&again), refresh_token(&second));
    let (grant, _) = driver
        .model
        .record()
        .access_token(again.access_token.expose())
        .unwrap();
    let seen = driver.model.record().refreshes(grant);
    assert_eq!(
        seen.iter()
            .map(|s| (s.generation, s.outcome))
            .collect::<Vec<_>>(),
        vec![(2, Outcome::Rotated), (2, Outcome::Forgiven)]
    );
    assert_eq!(
        driver.model.record().answers_lost(grant, &[2]),
        Vec::<u32>::new()
    );
    driver.later(secs(1));
    assert_eq!(
        driver.refused(&refresh_token(&first)).verdict,
        Verdict::GrantRefused
    );
    assert!(
        !driver.model.record().grant_alive(grant),
        "beyond the grace it is reuse"
    );
}

#[test]
fn once_the_new_pair_was_used_the_grace_is_over() {
    let grace = [(
        "rotation = \"rotates\"",
        "rotation = \"rotates\"\nreuse_grace = \"30s\"",
    )];
    let mut driver = driver(&grace);
    let first = driver.connect("one");
    let second = driver.refresh(&refresh_token(&first));
    driver.refresh(&refresh_token(&second));
    assert_eq!(
        driver.refused(&refresh_token(&first)).verdict,
        Verdict::GrantRefused
    );
}

#[test]
fn a_kept_refresh_token_stays_good_for_ever() {
    let mut driver = driver(&[("rotation = \"rotates\"", "rotation = \"keeps\"")]);
    let token = refresh_token(&driver.connect("one"));
    for _ in 0..3 {
        let set = driver.refresh(&token);
        assert_eq!(refresh_token(&set), token);
    }
}

#[test]
fn what_nobody_knows_is_played_each_way_by_seed() {
    let service = bent(&[(
        "\"refresh.rotation\" = \"verified\"",
        "\"refresh.rotation\" = \"unverified\"",
    )]);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let options = Options {
            seed,
            ..Options::default()
        };
        let mut driver = Driver::new(service.clone(), ClientKind::Confidential, options);
        let first = driver.connect("one");
        let second = driver.refresh(&refresh_token(&first));
        let third = driver.refresh(&refresh_token(&second));
        let rotated = |a, b| refresh_token(a) != refresh_token(b);
        seen.insert((rotated(&first, &second), rotated(&second, &third)));
    }
    assert!(
        seen.contains(&(true, true)) && seen.contains(&(false, false)),
        "{seen:?}"
    );
    assert!(seen.len() > 2, "sometimes, too: {seen:?}");
}

#[test]
fn a_refresh_ends_the_access_token_before_it_where_the_file_says_so() {
    for (bend, alive) in [("", true), ("\nkills_access = true", false)] {
        let rotation = format!("rotation = \"rotates\"{bend}");
        let mut driver = driver(&[("rotation = \"rotates\"", &rotation)]);
        let first = driver.connect("one");
        driver.refresh(&refresh_token(&first));
        let valid = driver.probe(first.access_token.expose()).is_success();
        assert_eq!(valid, alive);
    }
}

#[test]
fn refresh_tokens_age_and_lie_idle() {
    for (rule, wait, alive, why) in [
        ("lifetime = \"1d\"", 86_400, false, Some(Why::Aged)),
        ("lifetime = \"1d\"", 86_399, true, None),
        ("idle = \"1h\"", 3_600, false, Some(Why::Idle)),
        ("idle = \"1h\"", 3_599, true, None),
    ] {
        let rotation = format!("rotation = \"keeps\"\n{rule}");
        let mut driver = driver(&[("rotation = \"rotates\"", &rotation)]);
        let set = driver.connect("one");
        let (grant, _) = driver
            .model
            .record()
            .access_token(set.access_token.expose())
            .unwrap();
        driver.later(secs(wait));
        let answer = driver.refresh_answer(&refresh_token(&set));
        assert_eq!(answer.is_success(), alive, "{rule} after {wait}");
        assert_eq!(driver.model.record().ended_why(grant), why);
    }
}

#[test]
fn asked_too_early_it_gives_the_same_token_with_what_is_left() {
    let rule = "rotation = \"keeps\"\nearliest_before_end = \"10m\"";
    let mut driver = driver(&[("rotation = \"rotates\"", rule)]);
    let first = driver.connect("one");
    driver.later(secs(60));
    let same = driver.refresh(&refresh_token(&first));
    assert_eq!(same.access_token.expose(), first.access_token.expose());
    assert_eq!(same.expiry, Expiry::At(driver.now.plus(secs(3540))));
    driver.later(secs(3540 - 600));
    let new = driver.refresh(&refresh_token(&first));
    assert_ne!(new.access_token.expose(), first.access_token.expose());
}

#[test]
fn minting_too_much_is_throttled_and_spends_nothing() {
    let rule = "rotation = \"rotates\"\nmint_max = 2\nmint_window = \"10m\"";
    let mut driver = driver(&[("rotation = \"rotates\"", rule)]);
    let first = driver.connect("one");
    let second = driver.refresh(&refresh_token(&first));
    let refused = driver.refused(&refresh_token(&second));
    assert_eq!(refused.verdict, Verdict::Throttled);
    assert_eq!(refused.retry_after, Some(secs(600)));
    driver.later(secs(600));
    driver.refresh(&refresh_token(&second));
}

#[test]
fn a_code_works_once_and_its_second_use_ends_what_the_first_gave() {
    let mut driver = driver(&[]);
    let verifier = pkce::verifier(&[1; pkce::RANDOM_BYTES]);
    let callback = driver
        .model
        .approve(&driver.authorize_url(&verifier), "one", driver.now)
        .unwrap();
    let answer = driver.exchange(&callback, &verifier);
    let set = granted(&driver.service, &answer, driver.now);
    let again = driver.exchange(&callback, &verifier);
    assert_eq!(
        refusal(&driver.service, &again, driver.now).verdict,
        Verdict::GrantRefused
    );
    let (grant, _) = driver
        .model
        .record()
        .access_token(set.access_token.expose())
        .unwrap();
    assert_eq!(driver.model.record().ended_why(grant), Some(Why::CodeReuse));
}

#[test]
fn a_code_is_bound_to_time_client_redirect_and_verifier() {
    type Spoil = fn(&mut Driver);
    let spoils: [(&str, Spoil, &str, &str, u8); 5] = [
        ("nothing", |_| {}, "app", REDIRECT, 1),
        (
            "its life is over",
            |d| d.later(secs(300)),
            "app",
            REDIRECT,
            1,
        ),
        ("another client", |_| {}, "other", REDIRECT, 1),
        (
            "another redirect URI",
            |_| {},
            "app",
            "http://127.0.0.1:8917/else",
            1,
        ),
        ("another verifier", |_| {}, "app", REDIRECT, 2),
    ];
    for (name, spoil, client_id, redirect_uri, verifier_byte) in spoils {
        let mut driver = driver(&[]);
        driver.model.register(Registration {
            client_id: "other".to_owned(),
            ..registration()
        });
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

fn registration() -> Registration {
    Registration {
        client_id: "app".to_owned(),
        secrets: vec![SECRET.to_owned()],
        kind: ClientKind::Confidential,
        redirect_uris: vec![REDIRECT.to_owned()],
        inputs: BTreeMap::new(),
        settings: BTreeMap::new(),
    }
}

fn query_value(url: &str, name: &str) -> String {
    let query = url.split_once('?').expect("a query").1;
    let found = form_urlencoded::parse(query.as_bytes()).find(|(n, _)| n == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {url}"))
        .1
        .into_owned()
}

fn exchange_as(
    driver: &mut Driver,
    client_id: &str,
    code: &str,
    redirect_uri: &str,
    verifier: &indicia_oauth::Verifier,
) -> Answer {
    let grant = indicia_catalog::GrantType::AuthorizationCode;
    let endpoint = driver
        .service
        .token_endpoint(grant, driver.context())
        .unwrap()
        .unwrap();
    let secret = indicia_oauth::ClientSecret::new(SECRET);
    let credentials = Credentials {
        client_id,
        secret: Some(&secret),
    };
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
            let grant = indicia_catalog::GrantType::RefreshToken;
            let endpoint = other
                .token_endpoint(grant, driver.context())
                .unwrap()
                .unwrap();
            let secret = indicia_oauth::ClientSecret::new(SECRET);
            let credentials = Credentials {
                client_id: "app",
                secret: Some(&secret),
            };
            let token = RefreshToken::new(token);
            let request = indicia_oauth::grant::refresh::request(&endpoint, &credentials, &token);
            let answer = driver.send(&request.unwrap());
            if wanted == sent {
                granted(&driver.service, &answer, driver.now);
            } else {
                let refusal = refusal(&driver.service, &answer, driver.now);
                assert_eq!(
                    refusal.verdict,
                    Verdict::ClientRefused,
                    "{wanted} but {sent}"
                );
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
    let options = Options {
        accept_any_client: true,
        ..Options::default()
    };
    let service = bent(&[]);
    let mut driver = Driver::new(service.clone(), ClientKind::Confidential, options.clone());
    driver.model = indicia_sandbox::Model::new(service, options);
    let token = refresh_token(&driver.connect("anybody"));
    let token = refresh_token(&driver.refresh(&token));
    driver.secret = "another".to_owned();
    assert_eq!(driver.refused(&token).verdict, Verdict::ClientRefused);
}

#[test]
fn an_account_shares_its_grant_where_the_file_says_so() {
    let bend = (
        "pkce = \"supported\"",
        "pkce = \"supported\"\ngrant_per_account = true\naccount_member = \"account\"",
    );
    let extra = (
        "reuse_kills = true",
        "reuse_kills = true\nanswer_extra = { account = \"{account_id}\" }",
    );
    for (bends, shared) in [(vec![bend, extra], true), (vec![], false)] {
        let mut driver = driver(&bends);
        let first = driver.connect("one");
        let second = driver.connect("one");
        let other = driver.connect("two");
        let grant = |set: &indicia_oauth::TokenSet, driver: &Driver| {
            driver
                .model
                .record()
                .access_token(set.access_token.expose())
                .unwrap()
                .0
        };
        assert_eq!(grant(&first, &driver) == grant(&second, &driver), shared);
        assert_eq!(refresh_token(&first) == refresh_token(&second), shared);
        assert_ne!(grant(&first, &driver), grant(&other, &driver));
    }
}

#[test]
fn the_api_wants_its_scheme_and_headers() {
    let mut driver = driver(&[]);
    let token = driver.connect("one").access_token.expose().to_owned();
    for (name, headers, status) in [
        (
            "right",
            vec![
                ("authorization", format!("Acme {token}")),
                ("x-acme-version", "1".into()),
            ],
            200,
        ),
        (
            "other scheme",
            vec![
                ("authorization", format!("Bearer {token}")),
                ("x-acme-version", "1".into()),
            ],
            401,
        ),
        (
            "header missing",
            vec![("authorization", format!("Acme {token}"))],
            400,
        ),
        ("no token", vec![("x-acme-version", "1".into())], 401),
        (
            "unknown",
            vec![
                ("authorization", "Acme x".into()),
                ("x-acme-version", "1".into()),
            ],
            401,
        ),
    ] {
        let mut request = Incoming::get("https://api.acme.example/v1/me").unwrap();
        request.headers = headers
            .into_iter()
            .map(|(n, v)| (n.to_owned(), v))
            .collect();
        let answer = driver.model.handle(&request, driver.now);
        assert_eq!(answer.status, status, "{name}: {}", shown(&answer));
    }
    let refusals = driver.model.record().count("api_call_refused");
    assert_eq!((driver.model.record().count("api_call"), refusals), (1, 4));
}

#[test]
fn life_max_caps_access_tokens_and_what_is_told_of_them() {
    let options = Options {
        life_max: Some(secs(3)),
        ..Options::default()
    };
    let mut driver = Driver::new(bent(&[]), ClientKind::Confidential, options);
    let set = driver.connect("one");
    assert_eq!(set.expiry, Expiry::At(driver.now.plus(secs(3))));
    driver.later(secs(3));
    assert_eq!(driver.probe(set.access_token.expose()).status, 401);
    driver.refresh(&refresh_token(&set));
}

#[test]
fn a_clock_that_is_ahead_shows_in_the_date_and_ends_tokens_early() {
    let mut driver = driver(&[]);
    let set = driver.connect("one");
    let date = |driver: &mut Driver| {
        let request = Incoming::get("https://api.acme.example/v1/me").unwrap();
        driver
            .model
            .handle(&request, driver.now)
            .header("date")
            .unwrap()
            .to_owned()
    };
    driver.now = Timestamp::from_millis(1_795_000_000_000);
    assert_eq!(date(&mut driver), "Wed, 18 Nov 2026 11:06:40 GMT");
    driver.model.set_clock_ahead(3600);
    assert_eq!(date(&mut driver), "Wed, 18 Nov 2026 12:06:40 GMT");
    assert_eq!(driver.probe(set.access_token.expose()).status, 401);
}

#[test]
fn the_authorization_endpoint_refuses_as_the_rfc_says() {
    let good = "https://login.acme.example/authorize?response_type=code&client_id=app&state=s\
                &redirect_uri=http%3A%2F%2F127.0.0.1%3A8917%2Foauth%2Fcallback%2Fapp&scope=mail.read";
    // What is wrong → what comes back: a code in the callback, or a page.
    for (name, url, expected) in [
        (
            "unknown client",
            good.replace("=app", "=nobody"),
            Err("invalid_client"),
        ),
        (
            "redirect URI",
            good.replace("%2Fapp", "%2Felse"),
            Err("invalid_request"),
        ),
        (
            "parameter twice",
            format!("{good}&state=t"),
            Err("invalid_request"),
        ),
        (
            "response type",
            good.replace("=code&", "=token&"),
            Ok("invalid_request"),
        ),
        (
            "scope",
            good.replace("mail.read", "mail.eat"),
            Ok("invalid_scope"),
        ),
        (
            "plain PKCE",
            format!("{good}&code_challenge=x"),
            Ok("invalid_request"),
        ),
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
fn the_owner_ends_only_that_clients_grants() {
    let mut driver = driver(&[]);
    driver.connect("one");
    driver.connect("two");
    driver.connect("one");
    assert_eq!(driver.model.owner_revokes("one", "other", driver.now), 0);
    assert_eq!(driver.model.owner_revokes("one", "app", driver.now), 2);
    assert_eq!(driver.model.owner_revokes("one", "app", driver.now), 0);
    assert_eq!(driver.model.owner_revokes("two", "app", driver.now), 1);
}

#[test]
fn introspection_tells_what_lives() {
    let mut driver = driver(&[]);
    let set = driver.connect("one");
    let active = |driver: &mut Driver, token: &str| {
        let endpoint = driver
            .service
            .introspection(driver.context())
            .unwrap()
            .unwrap();
        let secret = indicia_oauth::ClientSecret::new(SECRET);
        let credentials = Credentials {
            client_id: "app",
            secret: Some(&secret),
        };
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
fn the_record_holds_no_secret() {
    let mut driver = driver(&[]);
    let first = driver.connect("one");
    let second = driver.refresh(&refresh_token(&first));
    let refused = driver.refused(&refresh_token(&first));
    assert_eq!(refused.verdict, Verdict::GrantRefused);
    let json = driver.model.record().to_json().to_string();
    let debug = format!("{:?}", driver.model.record());
    for set in [&first, &second] {
        for token in [set.access_token.expose(), &refresh_token(set)] {
            for shown in [&json, &debug] {
                assert!(!shown.contains(token), "a token is in the record");
            }
        }
    }
    assert!(!json.contains(SECRET) && !json.contains("sbx-code-"));
}

#[test]
fn the_seed_decides_everything() {
    let story = |seed: u64| {
        let mut driver = Driver::shipped("keap", seed);
        let first = driver.connect("anna");
        let second = driver.refresh(&refresh_token(&first));
        let answer = driver.probe(second.access_token.expose());
        (
            refresh_token(&second),
            shown(&answer),
            driver.model.record().to_json().to_string(),
        )
    };
    assert_eq!(story(7), story(7));
    assert_ne!(story(7).0, story(8).0);
}

#[test]
fn rotation_can_be_set_from_outside() {
    for (rotation, rotates) in [(Rotation::Keeps, false), (Rotation::Rotates, true)] {
        let options = Options {
            rotation: Some(rotation),
            ..Options::default()
        };
        let mut driver = Driver::new(bent(&[]), ClientKind::Confidential, options);
        let first = driver.connect("one");
        let second = driver.refresh(&refresh_token(&first));
        assert_eq!(refresh_token(&first) != refresh_token(&second), rotates);
    }
}
