//! The decision table, cell by cell: outcome × how the service treats refresh tokens × how the
//! grant stands. It prints as `docs/reference/decisions.md`, which must be what the engine does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use indicia_broker::decide::{Attempt, CONFIRM_PAUSE, Decision, Next, decide};
use indicia_broker::model::{
    Ambiguity, Cause, ClientId, GrantId, GrantRow, GrantState, Life, RefusedSpend, RotationOwner,
    TokenFacts,
};
use indicia_broker::outcome::{Evidence, Outcome, classify};
use indicia_broker::schedule;
use indicia_broker::spoken::Spoken;
use indicia_broker::vault::{Fingerprint, KeyId, Sealed};
use indicia_catalog::{Catalogue, Flow, RefreshRule, Rotation};
use indicia_oauth::{Answer, Expiry, Timestamp};
use zeroize::Zeroizing;

/// Set to write the page instead of comparing it: `INDICIA_BLESS=1 cargo test -p indicia-broker`.
const BLESS: Option<&str> = option_env!("INDICIA_BLESS");

pub const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const ENDPOINT: &str = "https://service.example/token";
const REFRESH: Fingerprint = Fingerprint::from_bytes([2; 32]);

/// How the service treats refresh tokens, as the catalogue has it.
const RULES: [(&str, Rotation, bool, Option<Duration>); 5] = [
    ("keeps them (verified)", Rotation::Keeps, true, None),
    ("keeps them, they say (unverified)", Rotation::Keeps, false, None),
    ("may replace them", Rotation::May, true, None),
    ("replaces them", Rotation::Rotates, true, None),
    (
        "replaces them, and forgives reuse for 30 s",
        Rotation::Rotates,
        true,
        Some(Duration::from_secs(30)),
    ),
];

const STATES: [&str; 6] = [
    "token good",
    "token in its last 5 s",
    "token ended",
    "token good, an earlier send open",
    "token ended, an earlier send open",
    "refused once before",
];

const OUTCOMES: [&str; 9] = [
    "granted",
    "throttled (wait 60 s)",
    "unavailable, or not sent",
    "ambiguous: no answer",
    "ambiguous: a 2xx that can't be read",
    "grant refused",
    "client refused",
    "misconfigured",
    "nonsense",
];

pub fn rule(rotation: Rotation, verified: bool, reuse_grace: Option<Duration>) -> RefreshRule {
    RefreshRule {
        supported: true,
        rotation,
        verified,
        reuse_grace,
        kills_access: false,
        lifetime: None,
        idle: None,
        earliest_before_end: None,
        mint_limit: None,
        max_age: None,
    }
}

/// Facts of a token of an hour's life, obtained so long ago.
pub fn facts(age: Duration) -> TokenFacts {
    let obtained_at = NOW.minus(age);
    TokenFacts {
        expiry: Expiry::At(obtained_at.plus(HOUR)),
        obtained_at,
        granted: None,
        access: Fingerprint::from_bytes([1; 32]),
        refresh: Some(REFRESH),
        refresh_since: Some(obtained_at),
        refresh_expires_at: None,
        rotated: false,
        rejected: false,
    }
}

pub fn grant(facts: TokenFacts) -> GrantRow {
    GrantRow {
        id: GrantId::new("g1").unwrap(),
        client: ClientId::new("app").unwrap(),
        flow: Flow::AuthorizationCode,
        inputs: BTreeMap::new(),
        account: None,
        asked: Vec::new(),
        rotation_owner: RotationOwner::Indicia,
        created_at: facts.obtained_at,
        version: 7,
        tokens: Sealed { key: KeyId::FIRST, bytes: Vec::new() },
        next_at: None,
        facts,
        state: GrantState::alive(),
        lease: None,
        intent: None,
    }
}

fn case(state: &str) -> (GrantRow, Attempt) {
    let age = match state {
        s if s.contains("last 5 s") => HOUR - Duration::from_secs(3),
        s if s.contains("ended") => HOUR + Duration::from_secs(60),
        _ => Duration::from_secs(2_700),
    };
    let mut grant = grant(facts(age));
    let mut attempt = Attempt {
        first_sent_at: NOW.minus(Duration::from_secs(1)),
        sends: 1,
        boot_ms: 7_000,
        secret_n: 1,
        endpoint: ENDPOINT.to_owned(),
        fingerprint: Some(REFRESH),
        doubtful: false,
    };
    if state.contains("send open") {
        attempt.first_sent_at = NOW.minus(Duration::from_secs(600));
        attempt.sends = 2;
        grant.state.ambiguity =
            Some(Ambiguity { since: attempt.first_sent_at, sends: 1, noted_boot_ms: 5 });
    }
    if state == "refused once before" {
        grant.state.refusals = vec![RefusedSpend {
            fingerprint: REFRESH,
            secret_n: 1,
            endpoint: ENDPOINT.to_owned(),
            at: NOW.minus(CONFIRM_PAUSE),
            times: 1,
        }];
    }
    (grant, attempt)
}

fn outcome(name: &str) -> Outcome {
    let said = |kept| Evidence { status: Some(400), kept, ..Evidence::default() };
    match name {
        "granted" => granted(),
        "throttled (wait 60 s)" => Outcome::Throttled(Evidence {
            retry_after: Some(Duration::from_secs(60)),
            ..said(false)
        }),
        "unavailable, or not sent" => Outcome::not_sent("refused"),
        "ambiguous: no answer" => Outcome::lost("reset"),
        "ambiguous: a 2xx that can't be read" => Outcome::Ambiguous(said(true)),
        "grant refused" => Outcome::GrantRefused(said(false)),
        "client refused" => Outcome::ClientRefused(said(false)),
        "misconfigured" => Outcome::Misconfigured(said(false)),
        _ => Outcome::Nonsense(said(false)),
    }
}

fn granted() -> Outcome {
    let body = br#"{"access_token":"a","token_type":"Bearer","expires_in":3600}"#;
    let answer = Answer {
        status: 200,
        headers: vec![("content-type".into(), "application/json".into())],
        body: Zeroizing::new(body.to_vec()),
        complete: true,
    };
    let catalogue = Catalogue::shipped();
    let id = catalogue.ids().into_iter().find(|id| id.contains("klaviyo")).unwrap();
    classify(&answer, &catalogue.service(&id).unwrap().dialect, NOW, &Spoken::from_texts([]))
}

/// A decision in a few words.
fn words(grant: &GrantRow, decision: &Decision) -> String {
    match decision.next {
        Next::Commit => return "store it".to_owned(),
        Next::SendAgain => return "send again at once".to_owned(),
        Next::Settle => {}
    }
    if decision.state.life == Life::Dead {
        let cause = decision.state.reason.as_ref().and_then(|r| r.cause);
        return match cause {
            Some(Cause::AnswerLost) => "dead: answer lost".to_owned(),
            _ => "dead".to_owned(),
        };
    }
    let at = decision.state.retry_at.or(decision.next_at);
    let end = schedule::served_until(&grant.facts);
    let when = match at {
        Some(at) if Some(at) == end => "nothing before the token's end".to_owned(),
        Some(at) => format!("again after {} s", at.since(NOW).as_secs()),
        None => "again when the client is taken".to_owned(),
    };
    let open = if decision.definite { "" } else { "; stays open" };
    format!("{when}{open}")
}

fn decided(rule: &RefreshRule, state: &str, what: &str) -> (GrantRow, Decision) {
    let (grant, attempt) = case(state);
    let decision = decide(&grant, &attempt, &outcome(what), rule, NOW);
    (grant, decision)
}

const PREFACE: &str = "\
# What follows from an answer

This page is generated from the engine's decision table; a test compares the two.

A refresh was sent; rows say what became of it, columns how the grant stood. \"Stays open\": the \
service may have replaced the refresh token, so that nothing is sent against the rule above the \
table until a verdict is definite. While a token is good it is served, whatever stands here.
";

fn page() -> String {
    let mut page = PREFACE.to_owned();
    for (name, rotation, verified, grace) in RULES {
        let rule = rule(rotation, verified, grace);
        page += &format!("\n## The service {name}\n\n| | {} |\n", STATES.join(" | "));
        page += &format!("|---|{}\n", "---|".repeat(STATES.len()));
        for what in OUTCOMES {
            let cells = STATES.map(|state| {
                let (grant, decision) = decided(&rule, state, what);
                words(&grant, &decision)
            });
            page += &format!("| {what} | {} |\n", cells.join(" | "));
        }
    }
    page
}

#[test]
fn the_page_is_what_the_engine_decides() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/decisions.md");
    if BLESS.is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    let hint = "docs/reference/decisions.md is out of date: \
                INDICIA_BLESS=1 cargo test -p indicia-broker --test it decide";
    assert!(stands == page(), "{hint}");
}

/// Every cell, by rule, state and outcome.
fn each_cell(mut look: impl FnMut(&RefreshRule, &str, &str, &GrantRow, &Decision)) {
    for (_, rotation, verified, grace) in RULES {
        let rule = rule(rotation, verified, grace);
        for state in STATES {
            for what in OUTCOMES {
                let (grant, decision) = decided(&rule, state, what);
                look(&rule, state, what, &grant, &decision);
            }
        }
    }
}

// RF-7
#[test]
fn rf_7_only_a_refusal_of_the_grant_ends_it() {
    each_cell(|_, state, what, _, decision| {
        let dead = decision.state.life == Life::Dead;
        assert!(!dead || what == "grant refused", "{what}, {state}");
    });
}

// RF-6
#[test]
fn rf_6_nothing_that_may_be_spent_is_sent_before_the_tokens_end() {
    each_cell(|rule, state, what, grant, decision| {
        let ambiguous = what.starts_with("ambiguous");
        if rule.keeps().is_some() || !ambiguous || !state.contains("token good") {
            return;
        }
        let forgiven = decision.next == Next::SendAgain;
        assert!(!forgiven || rule.reuse_grace.is_some(), "{what}, {state}");
        let end = schedule::served_until(&grant.facts);
        assert!(forgiven || decision.state.retry_at == end, "{what}, {state}: {decision:?}");
        assert!(!decision.definite, "{what}, {state}");
    });
}

// RF-6
#[test]
fn rf_6_after_the_tokens_end_it_is_sent_until_the_answer_is_definite() {
    each_cell(|_, state, what, _, decision| {
        let over = state.contains("ended") || state.contains("last 5 s");
        if !over || decision.next != Next::Settle || decision.state.life == Life::Dead {
            return;
        }
        let at = decision.next_at.unwrap_or_else(|| panic!("{what}, {state}: never again"));
        let wait = at.since(NOW);
        assert!(
            wait >= Duration::from_secs(2) && wait <= Duration::from_secs(990),
            "{what}: {wait:?}"
        );
    });
}

// DV-30
#[test]
fn dv_30_a_refusal_is_asked_once_more_only_where_that_harms_nothing() {
    for (name, rotation, verified, grace) in RULES {
        let rule = rule(rotation, verified, grace);
        let (_, first) = decided(&rule, "token good", "grant refused");
        let (_, second) = decided(&rule, "refused once before", "grant refused");
        let harmless = rule.keeps().is_some();
        assert_eq!(first.state.life == Life::Dead, !harmless, "{name}");
        assert_eq!(second.state.life, Life::Dead, "{name}");
        if harmless {
            assert_eq!(first.state.retry_at, Some(NOW.plus(CONFIRM_PAUSE)));
        }
    }
}

// CA-16
#[test]
fn ca_16_a_refused_client_leaves_every_grant_as_it_was() {
    each_cell(|_, state, what, grant, decision| {
        if what == "client refused" {
            assert_eq!(decision.state.life, grant.state.life, "{state}");
            assert_eq!(decision.state.refusals, grant.state.refusals, "{state}");
            let since = |s: &GrantState| s.ambiguity.as_ref().map(|a| a.since);
            assert_eq!(since(&decision.state), since(&grant.state), "{state}");
        }
    });
}

#[test]
fn what_is_open_stays_open_until_a_definite_answer() {
    each_cell(|rule, state, what, _, decision| {
        let open = state.contains("send open") && rule.keeps().is_none();
        let resolves = matches!(what, "granted" | "grant refused");
        if open && !resolves {
            assert!(!decision.definite, "{what}, {state}");
            assert!(decision.state.ambiguity.is_some(), "{what}, {state}");
        }
    });
}

#[test]
fn a_grant_that_was_given_another_refresh_token_once_rotates_from_then_on() {
    let keeps = rule(Rotation::Keeps, true, None);
    let (mut grant, attempt) = case("token good");
    grant.facts.rotated = true;
    let decision = decide(&grant, &attempt, &Outcome::lost("reset"), &keeps, NOW);
    assert!(!decision.definite);
    assert_eq!(decision.state.retry_at, schedule::served_until(&grant.facts));
}

#[test]
fn where_nothing_is_spent_nothing_is_lost() {
    let may = rule(Rotation::May, false, None);
    let (grant, attempt) = case("token good");
    let attempt = Attempt { fingerprint: None, ..attempt };
    let lost = decide(&grant, &attempt, &Outcome::lost("reset"), &may, NOW);
    assert!(lost.definite && lost.state.ambiguity.is_none());
    let refused = Outcome::GrantRefused(Evidence::default());
    let refused = decide(&grant, &attempt, &refused, &may, NOW);
    assert_eq!(refused.state.life, Life::Alive, "client credentials have no owner to ask");
}
