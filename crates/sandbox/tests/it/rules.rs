//! Rules of grants, one by one, on a made-up service whose file each test bends.

use std::sync::Arc;
use std::time::Duration;

use indicia_catalog::{ClientKind, Rotation, Service};
use indicia_oauth::{Expiry, Timestamp, Verdict};
use indicia_sandbox::record::{Outcome, Why};
use indicia_sandbox::{Incoming, Options};

use crate::driver::{Driver, SECRET, shown};

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

pub fn driver(bend: &[(&str, &str)]) -> Driver {
    Driver::new(bent(bend), ClientKind::Confidential, Options::default())
}

pub fn refresh_token(set: &indicia_oauth::TokenSet) -> String {
    set.refresh_token.as_ref().expect("a refresh token").expose().to_owned()
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn a_spent_refresh_token_used_again_ends_the_whole_grant() {
    let mut driver = driver(&[]);
    let first = driver.connect("one");
    let second = driver.refresh(&refresh_token(&first));
    let (grant, _) = driver.model.record().access_token(second.access_token.expose()).unwrap();
    assert!(driver.model.record().is_access_token_valid(second.access_token.expose(), driver.now));
    assert_eq!(driver.refused(&refresh_token(&first)).verdict, Verdict::GrantRefused);
    let record = driver.model.record();
    assert_eq!(record.ended_why(grant), Some(Why::Reuse));
    assert_eq!(record.count("reuse_detected"), 1);
    assert!(!record.is_access_token_valid(second.access_token.expose(), driver.now));
    assert_eq!(driver.refused(&refresh_token(&second)).verdict, Verdict::GrantRefused);
}

#[test]
fn without_reuse_detection_only_the_spent_one_is_refused() {
    let mut driver = driver(&[("reuse_kills = true", "reuse_kills = false")]);
    let first = driver.connect("one");
    let second = driver.refresh(&refresh_token(&first));
    assert_eq!(driver.refused(&refresh_token(&first)).verdict, Verdict::GrantRefused);
    driver.refresh(&refresh_token(&second));
}

#[test]
fn within_the_grace_the_same_pair_comes_again() {
    let grace = [("rotation = \"rotates\"", "rotation = \"rotates\"\nreuse_grace = \"30s\"")];
    let mut driver = driver(&grace);
    let first = driver.connect("one");
    let second = driver.refresh(&refresh_token(&first));
    driver.later(secs(30));
    let again = driver.refresh(&refresh_token(&first));
    assert_eq!(again.access_token.expose(), second.access_token.expose());
    assert_eq!(refresh_token(&again), refresh_token(&second));
    let (grant, _) = driver.model.record().access_token(again.access_token.expose()).unwrap();
    let seen = driver.model.record().refreshes(grant);
    assert_eq!(
        seen.iter().map(|s| (s.generation, s.outcome)).collect::<Vec<_>>(),
        vec![(2, Outcome::Rotated), (2, Outcome::Forgiven)]
    );
    assert_eq!(driver.model.record().answers_lost(grant, &[2]), Vec::<u32>::new());
    driver.later(secs(1));
    assert_eq!(driver.refused(&refresh_token(&first)).verdict, Verdict::GrantRefused);
    assert!(!driver.model.record().grant_alive(grant), "beyond the grace it is reuse");
}

#[test]
fn once_the_new_pair_was_used_the_grace_is_over() {
    let grace = [("rotation = \"rotates\"", "rotation = \"rotates\"\nreuse_grace = \"30s\"")];
    let mut driver = driver(&grace);
    let first = driver.connect("one");
    let second = driver.refresh(&refresh_token(&first));
    driver.refresh(&refresh_token(&second));
    assert_eq!(driver.refused(&refresh_token(&first)).verdict, Verdict::GrantRefused);
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
    let service =
        bent(&[("\"refresh.rotation\" = \"verified\"", "\"refresh.rotation\" = \"unverified\"")]);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let options = Options { seed, ..Options::default() };
        let mut driver = Driver::new(service.clone(), ClientKind::Confidential, options);
        let first = driver.connect("one");
        let second = driver.refresh(&refresh_token(&first));
        let third = driver.refresh(&refresh_token(&second));
        let rotated = |a, b| refresh_token(a) != refresh_token(b);
        seen.insert((rotated(&first, &second), rotated(&second, &third)));
    }
    assert!(seen.contains(&(true, true)) && seen.contains(&(false, false)), "{seen:?}");
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
        let (grant, _) = driver.model.record().access_token(set.access_token.expose()).unwrap();
        driver.later(secs(wait));
        if wait % 2 == 0 {
            // The record tells it before anybody asks.
            driver.model.settle(driver.now);
            assert_eq!(driver.model.record().ended_why(grant), why);
        }
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
fn client_credentials_too_give_the_same_token_until_its_end() {
    let rule = "rotation = \"rotates\"\nearliest_before_end = \"0s\"";
    let mut driver = driver(&[("rotation = \"rotates\"", rule)]);
    let first = driver.mint();
    driver.later(secs(3599));
    let same = driver.mint();
    assert_eq!(same.access_token.expose(), first.access_token.expose());
    assert_eq!(same.expiry, Expiry::At(driver.now.plus(secs(1))));
    driver.later(secs(1));
    let new = driver.mint();
    assert_ne!(new.access_token.expose(), first.access_token.expose());
    assert_eq!(new.expiry, Expiry::At(driver.now.plus(secs(3600))));
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
fn an_account_shares_its_grant_where_the_file_says_so() {
    let bend = (
        "pkce = \"supported\"",
        "pkce = \"supported\"\ngrant_per_account = true\naccount_member = \"account\"",
    );
    let extra =
        ("reuse_kills = true", "reuse_kills = true\nanswer_extra = { account = \"{account_id}\" }");
    for (bends, shared) in [(vec![bend, extra], true), (vec![], false)] {
        let mut driver = driver(&bends);
        let first = driver.connect("one");
        let second = driver.connect("one");
        let other = driver.connect("two");
        let grant = |set: &indicia_oauth::TokenSet, driver: &Driver| {
            driver.model.record().access_token(set.access_token.expose()).unwrap().0
        };
        assert_eq!(grant(&first, &driver) == grant(&second, &driver), shared);
        assert_eq!(refresh_token(&first) == refresh_token(&second), shared);
        assert_ne!(grant(&first, &driver), grant(&other, &driver));
    }
}

#[test]
fn life_max_caps_access_tokens_and_what_is_told_of_them() {
    let options = Options { life_max: Some(secs(3)), ..Options::default() };
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
        driver.model.handle(&request, driver.now).header("date").unwrap().to_owned()
    };
    driver.now = Timestamp::from_millis(1_795_000_000_000);
    assert_eq!(date(&mut driver), "Wed, 18 Nov 2026 11:06:40 GMT");
    driver.model.set_clock_ahead(3600);
    assert_eq!(date(&mut driver), "Wed, 18 Nov 2026 12:06:40 GMT");
    assert_eq!(driver.probe(set.access_token.expose()).status, 401);
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
        (refresh_token(&second), shown(&answer), driver.model.record().to_json().to_string())
    };
    assert_eq!(story(7), story(7));
    assert_ne!(story(7).0, story(8).0);
}

#[test]
fn rotation_can_be_set_from_outside() {
    for (rotation, rotates) in [(Rotation::Keeps, false), (Rotation::Rotates, true)] {
        let options = Options { rotation: Some(rotation), ..Options::default() };
        let mut driver = Driver::new(bent(&[]), ClientKind::Confidential, options);
        let first = driver.connect("one");
        let second = driver.refresh(&refresh_token(&first));
        assert_eq!(refresh_token(&first) != refresh_token(&second), rotates);
    }
}
