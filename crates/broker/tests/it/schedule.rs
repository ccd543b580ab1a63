//! When something is due: from lifetimes alone.

use std::time::Duration;

use indicia_broker::model::TokenFacts;
use indicia_broker::schedule::{back_off, effective_min_valid, good_for, refresh_at, served_until};
use indicia_catalog::{RefreshRule, Rotation};
use indicia_oauth::{Expiry, Timestamp};
use proptest::prelude::*;

use crate::decide::{NOW, facts, rule};

fn keeps() -> RefreshRule {
    rule(Rotation::Keeps, true, None)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn jitter_is_the_grants_own_and_between_70_and_80_percent() {
    let facts = facts(Duration::ZERO);
    let due = |grant: &str| refresh_at(&facts, &keeps(), grant).unwrap();
    assert_eq!(due("one"), due("one"));
    let all: Vec<Timestamp> = (0..200).map(|n| due(&format!("g{n}"))).collect();
    assert!(all.iter().all(|at| *at >= NOW.plus(secs(2_520)) && *at <= NOW.plus(secs(2_880))));
    let mut minutes: Vec<u64> = all.iter().map(|at| at.since(NOW).as_secs() / 60).collect();
    minutes.sort_unstable();
    minutes.dedup();
    assert!(minutes.len() >= 6, "200 grants fall due in {} minutes", minutes.len());
}

// DV-35
#[test]
fn dv_35_nothing_is_due_before_the_service_gives_a_new_token() {
    let rule = RefreshRule { earliest_before_end: Some(secs(300)), ..keeps() };
    let due = refresh_at(&facts(Duration::ZERO), &rule, "g1");
    assert_eq!(due, Some(NOW.plus(secs(3_300))));
}

// DV-2
#[test]
fn dv_2_a_token_without_an_end_is_never_due_by_itself() {
    for expiry in [Expiry::Never, Expiry::Unknown] {
        let facts = indicia_broker::model::TokenFacts { expiry, ..facts(secs(9_000_000)) };
        assert_eq!(refresh_at(&facts, &keeps(), "g1"), None);
        assert_eq!(served_until(&facts), None);
        assert!(good_for(&facts, secs(600), NOW));
    }
}

// RF-9
#[test]
fn rf_9_idleness_and_age_come_before_the_token_dies_of_them() {
    let never =
        indicia_broker::model::TokenFacts { expiry: Expiry::Never, ..facts(Duration::ZERO) };
    let idle = RefreshRule { idle: Some(secs(1_000)), ..keeps() };
    assert_eq!(refresh_at(&never, &idle, "g1"), Some(NOW.plus(secs(800))));
    let aging = indicia_broker::model::TokenFacts {
        refresh_since: Some(NOW),
        refresh_expires_at: Some(NOW.plus(secs(1_000))),
        ..never
    };
    assert_eq!(refresh_at(&aging, &keeps(), "g1"), Some(NOW.plus(secs(800))));
}

#[test]
fn back_off_grows_to_a_quarter_of_an_hour_and_heeds_what_is_asked() {
    let waits: Vec<u64> = (1..=12).map(|n| back_off(n, None, "g1").as_secs()).collect();
    assert!(waits.is_sorted(), "{waits:?}");
    assert_eq!((waits[0], waits[11] >= 900 && waits[11] <= 990), (2, true), "{waits:?}");
    assert_eq!(back_off(1, Some(secs(77)), "g1"), secs(77));
    assert!(back_off(12, Some(secs(1)), "g1") >= secs(900), "never shorter than our own");
}

proptest! {
    #[test]
    fn what_is_asked_for_is_never_more_than_half_a_life(life in 1_u64..200_000, wish in 0_u64..400_000) {
        let mut facts = facts(Duration::ZERO);
        facts.expiry = Expiry::At(NOW.plus(secs(life)));
        let need = effective_min_valid(&facts, Some(secs(wish)));
        prop_assert!(need <= secs(life) / 2);
        prop_assert!(need <= secs(wish).max(Duration::from_millis(1)));
        prop_assert!(good_for(&facts, need, NOW), "a new token is always good enough");
    }

    #[test]
    fn a_token_is_due_while_it_is_served(life in 20_u64..200_000, grant in "[a-f0-9]{8}") {
        let mut facts = facts(Duration::ZERO);
        facts.expiry = Expiry::At(NOW.plus(secs(life)));
        let due = refresh_at(&facts, &keeps(), &grant).unwrap();
        prop_assert!(due > NOW && due <= served_until(&facts).unwrap().plus(secs(1)));
    }
}

#[test]
fn a_token_set_is_replaced_before_the_age_that_its_client_allows() {
    let rule = RefreshRule { max_age: Some(secs(2_000)), ..keeps() };
    let young = facts(Duration::ZERO);
    for n in 0..50 {
        let at = refresh_at(&young, &rule, &format!("g{n}")).unwrap();
        assert!(at >= NOW.plus(secs(1_800)) && at < NOW.plus(secs(2_000)), "{at:?}");
    }
    // Also one that never ends.
    let never = TokenFacts { expiry: Expiry::Never, ..facts(Duration::ZERO) };
    assert_eq!(refresh_at(&never, &keeps(), "g"), None);
    assert!(refresh_at(&never, &rule, "g").is_some());
    let long = RefreshRule { max_age: Some(secs(1_000_000)), ..keeps() };
    assert_eq!(refresh_at(&young, &long, "g"), refresh_at(&young, &keeps(), "g"));
}
