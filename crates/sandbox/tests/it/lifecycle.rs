//! Each shipped service through its whole life cycle, by requests that are built from its own file.

use std::time::Duration;

use indicia_catalog::{Catalogue, Flow, Rotation};
use indicia_oauth::{Expiry, Verdict};

use crate::driver::{Driver, service};

/// What is expected of one service. A service without a row fails the test below.
struct Row {
    id: &'static str,
    /// Never, or the seconds that an access token lives.
    life: Option<u64>,
    /// Its answer tells them.
    told: bool,
    /// `None`: there is no refresh token.
    rotation: Option<Rotation>,
    /// There is a call that revokes.
    revokes: bool,
}

const ROWS: &[Row] = &[
    row("aweber", Some(7_200), Some(Rotation::Rotates), true),
    row("brevo", Some(3_600), Some(Rotation::May), true),
    row("campaign-monitor", Some(1_209_600), Some(Rotation::May), false),
    row("constant-contact", Some(86_400), Some(Rotation::Rotates), false),
    row("getresponse", Some(3_600), Some(Rotation::May), false),
    row("hubspot", Some(1_800), Some(Rotation::May), true),
    row("intercom", None, None, false),
    row("keap", Some(86_400), Some(Rotation::Rotates), false),
    row("kit", Some(7_200), Some(Rotation::May), true),
    row("klaviyo", Some(3_600), Some(Rotation::May), true),
    row("mailchimp", None, None, false),
    row("marketo", Some(3_600), None, false),
    Row {
        told: false,
        ..row("salesforce-account-engagement", Some(7_200), Some(Rotation::May), true)
    },
    row("salesforce-marketing-cloud", Some(1_079), Some(Rotation::May), false),
    row("zoho-campaigns", Some(3_600), Some(Rotation::Keeps), true),
];

const fn row(
    id: &'static str,
    life: Option<u64>,
    rotation: Option<Rotation>,
    revokes: bool,
) -> Row {
    Row { id, life, told: true, rotation, revokes }
}

/// Seeds that each service is played with, so that unverified facts are played each way.
const SEEDS: u64 = 12;

#[test]
fn each_shipped_service_has_its_row() {
    let rows: Vec<&str> = ROWS.iter().map(|row| row.id).collect();
    let all = Catalogue::shipped().ids();
    let all: Vec<_> = all.into_iter().filter(|id| service(id).registers()).collect();
    assert_eq!(rows, all, "add a row to ROWS for each file in services/");
}

#[test]
fn each_service_lives_through_its_life_cycle() {
    for row in ROWS {
        for seed in 0..SEEDS {
            live(row, seed);
        }
    }
}

fn live(row: &Row, seed: u64) {
    let mut driver = Driver::shipped(row.id, seed);
    if driver.service.flows.contains(&Flow::AuthorizationCode) {
        live_by_code(row, &mut driver);
    }
    let mut driver = Driver::shipped(row.id, seed);
    if driver.service.flows.contains(&Flow::ClientCredentials) {
        let set = driver.mint();
        assert!(set.refresh_token.is_none(), "{}", row.id);
        let answer = driver.probe(set.access_token.expose());
        assert!(answer.is_success(), "{}: {}", row.id, crate::driver::shown(&answer));
    }
}

fn live_by_code(row: &Row, driver: &mut Driver) {
    let first = driver.connect("anna");
    let asked_at = driver.now;
    match row.life {
        None => assert_eq!(first.expiry, Expiry::Never, "{}", row.id),
        Some(_) if !row.told => assert_eq!(first.expiry, Expiry::Unknown, "{}", row.id),
        Some(secs) => {
            let ends = asked_at.plus(Duration::from_secs(secs));
            assert_eq!(first.expiry, Expiry::At(ends), "{}", row.id);
        }
    }
    let answer = driver.probe(first.access_token.expose());
    assert!(answer.is_success(), "{}: {}", row.id, crate::driver::shown(&answer));
    let unknown = driver.probe("no-such-token");
    assert!(!unknown.is_success() || row.id.contains("zoho"), "{}", row.id);
    let newest = match row.rotation {
        None => {
            assert!(first.refresh_token.is_none(), "{}", row.id);
            first
        }
        Some(rotation) => refresh_twice(row, rotation, driver, &first),
    };
    let revoked = driver.revoke(&newest);
    assert_eq!(revoked, row.revokes, "{}", row.id);
    let (grant, _) = driver.model.record().access_token(newest.access_token.expose()).unwrap();
    if !revoked {
        assert!(driver.model.record().grant_alive(grant), "{}", row.id);
        assert_eq!(driver.model.owner_revokes("anna", "app", driver.now), 1);
    }
    assert!(!driver.model.record().grant_alive(grant), "{}", row.id);
    if let Some(token) = &newest.refresh_token {
        assert_eq!(driver.refused(token.expose()).verdict, Verdict::GrantRefused, "{}", row.id);
    }
}

fn refresh_twice(
    row: &Row,
    rotation: Rotation,
    driver: &mut Driver,
    first: &indicia_oauth::TokenSet,
) -> Box<indicia_oauth::TokenSet> {
    let spent = first.refresh_token.as_ref().expect("a refresh token").expose().to_owned();
    driver.later(Duration::from_secs(row.life.unwrap_or(3600) + 1));
    let ended = driver.probe(first.access_token.expose());
    assert_ne!(ended.status, 200, "{}: an ended token is refused", row.id);
    let mut second = driver.refresh(&spent);
    let came = second.refresh_token.as_ref().map(|token| token.expose().to_owned());
    match rotation {
        Rotation::Rotates => assert!(came.as_ref().is_some_and(|t| *t != spent), "{}", row.id),
        Rotation::Keeps => assert!(came.as_ref().is_none_or(|t| *t == spent), "{}", row.id),
        Rotation::May => {}
    }
    assert!(driver.probe(second.access_token.expose()).is_success(), "{}", row.id);
    let live = came.unwrap_or(spent.clone());
    second.refresh_token = Some(indicia_oauth::RefreshToken::new(live.clone()));
    if live == spent {
        return second;
    }
    driver.later(Duration::from_secs(3600));
    let refused = driver.refused(&spent);
    assert_eq!(refused.verdict, Verdict::GrantRefused, "{}: {refused:?}", row.id);
    let (grant, _) = driver.model.record().refresh_token(&spent).unwrap();
    if driver.model.record().grant_alive(grant) {
        return second;
    }
    driver.connect("anna")
}
