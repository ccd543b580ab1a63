//! A bad day at a service: many grants of a client are refused within minutes, and none is lost.

use std::time::Duration;

use indicia_broker::many_refused::{BELIEVED_AFTER, CANARY_EVERY, MANY};
use indicia_broker::model::{Life, ReasonCode};
use indicia_broker::view::ConnectionState;

use crate::rig::{Fate, Rig, code};

const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

fn refused() -> Fate {
    Fate::Answer(400, "application/json", r#"{"error":"invalid_grant"}"#)
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("k{n}")).collect()
}

/// So many connections of one client, their tokens ended.
async fn ended(count: usize) -> Rig {
    let rig = Rig::new().await;
    rig.client("keap", "k").await.unwrap();
    for name in names(count) {
        rig.connect("keap", rig.request("k", &name), &name).await.unwrap();
    }
    rig.advance(2 * DAY);
    rig
}

async fn states(rig: &Rig, count: usize) -> Vec<ConnectionState> {
    let mut states = Vec::new();
    for name in names(count) {
        states.push(rig.broker.connection(&name).await.unwrap().state);
    }
    states
}

// proves: many-refused-not-believed
#[tokio::test]
async fn a_bad_day_at_the_service_ends_no_grant() {
    let count = MANY + 3;
    let rig = ended(count).await;
    let sent = rig.posts().len();
    for (n, name) in names(count).iter().enumerate() {
        rig.fate(refused());
        let told = code(rig.broker.token(name, None).await);
        let expected = match n + 1 {
            n if n < MANY => "reauthorization_required",
            _ => "many_refused",
        };
        assert_eq!(told, expected, "{name}");
    }
    assert_eq!(rig.posts().len(), sent + MANY, "the others aren't even sent");
    assert_eq!(states(&rig, count).await, vec![ConnectionState::Attention; count]);
    let view = rig.broker.connection("k0").await.unwrap();
    assert_eq!(view.reason.as_ref().map(|r| r.code), Some(ReasonCode::ManyRefused));
    assert!(view.reason.unwrap().next_step.contains("indicia connect k --id k0"));
    let waiting = rig.broker.connection("k7").await.unwrap();
    assert_eq!(waiting.reason.map(|r| r.code), Some(ReasonCode::ManyRefused));

    // One canary at a time, while the day lasts.
    rig.network.fates_clear();
    for round in 1..=3 {
        rig.advance(CANARY_EVERY + MINUTE);
        rig.fate(refused());
        rig.broker.run_due().await.unwrap();
        for name in names(count) {
            assert_eq!(code(rig.broker.token(&name, None).await), "many_refused");
        }
        assert_eq!(rig.posts().len(), sent + MANY + round, "one canary a round");
    }
    assert_eq!(states(&rig, count).await, vec![ConnectionState::Attention; count]);

    // It is over.
    for _ in 0..3 {
        rig.advance(CANARY_EVERY + MINUTE);
        rig.broker.run_due().await.unwrap();
    }
    for name in names(count) {
        assert_eq!(rig.broker.token(&name, None).await.unwrap().version, 2, "{name}");
    }
    assert_eq!(states(&rig, count).await, vec![ConnectionState::Active; count]);
}

#[tokio::test]
async fn refusals_between_successes_are_each_believed() {
    let count = 2 * MANY;
    let rig = ended(count).await;
    for (n, name) in names(count).iter().enumerate() {
        if n % 2 == 0 {
            rig.fate(refused());
        }
        let told = rig.broker.token(name, None).await;
        assert_eq!(told.is_ok(), n % 2 == 1, "{name}");
    }
    let dead = rig.memory.grant_rows().iter().filter(|g| g.state.life == Life::Dead).count();
    assert_eq!(dead, MANY);
}

#[tokio::test]
async fn refusals_whose_cause_is_known_here_are_each_believed() {
    let count = 2 * MANY;
    let rig = ended(count).await;
    for name in names(count) {
        rig.fate(Fate::LoseAnswer);
        assert_eq!(code(rig.broker.token(&name, None).await), "answer_lost");
    }
    rig.advance(DAY);
    for name in names(count) {
        assert_eq!(code(rig.broker.token(&name, None).await), "reauthorization_required");
    }
}

#[tokio::test]
async fn refusals_far_apart_are_each_believed() {
    let count = 2 * MANY;
    let rig = ended(count).await;
    for name in names(count) {
        rig.fate(refused());
        assert_eq!(code(rig.broker.token(&name, None).await), "reauthorization_required");
        rig.advance(3 * MINUTE);
    }
}

#[tokio::test]
async fn a_refusal_that_lasts_for_a_day_is_believed() {
    let count = MANY + 1;
    let rig = ended(count).await;
    for name in names(count) {
        rig.fate(refused());
        assert!(rig.broker.token(&name, None).await.is_err());
    }
    rig.network.fates_clear();
    rig.advance(BELIEVED_AFTER);
    for name in names(count) {
        rig.fate(refused());
        assert_eq!(code(rig.broker.token(&name, None).await), "reauthorization_required");
    }
    assert_eq!(
        states(&rig, count).await,
        vec![ConnectionState::ReauthorizationRequired; count],
        "the application was removed: its owner is told so"
    );
    // Whoever connects again is served, and the next bad day is one.
    let view = rig.connect("keap", rig.request("k", "k0"), "k0").await.unwrap();
    assert_eq!(view.state, ConnectionState::Active);
}

#[tokio::test]
async fn a_consent_is_exchanged_on_a_bad_day() {
    let count = MANY;
    let rig = ended(count).await;
    for name in names(count) {
        rig.fate(refused());
        assert!(rig.broker.token(&name, None).await.is_err());
    }
    let view = rig.connect("keap", rig.request("k", "k0"), "k0").await.unwrap();
    assert_eq!(view.version, 2);
    assert!(rig.broker.token("k0", None).await.is_ok());
}

#[tokio::test]
async fn what_a_copy_has_of_old_is_each_believed_and_says_so() {
    let count = 2 * MANY;
    let rig = ended(count).await;
    rig.store().take_over(vec![]).await.unwrap();
    let broker = rig.reopen(indicia_catalog::Catalogue::shipped()).await;
    for name in names(count - 1) {
        rig.fate(refused());
        assert_eq!(code(broker.token(&name, None).await), "reauthorization_required", "{name}");
        let told = broker.explain(&name).await.unwrap();
        assert!(told.summary.contains("the original had replaced the refresh token"), "{told:?}");
    }
    // What is taken is no longer in doubt: a later refusal is the service's own.
    let last = format!("k{}", count - 1);
    assert_eq!(broker.token(&last, None).await.unwrap().version, 2);
    let told = broker.explain(&last).await.unwrap();
    assert!(told.evidence.iter().all(|line| !line.contains("copy of the store")), "{told:?}");
    rig.advance(2 * DAY);
    rig.fate(refused());
    broker.token(&last, None).await.err().unwrap();
    let told = broker.explain(&last).await.unwrap();
    assert!(!told.summary.contains("the original"), "{told:?}");
}

// proves: a-late-answer-ends-no-bad-day
#[tokio::test]
async fn an_answer_to_what_was_sent_before_a_bad_day_does_not_end_it() {
    let rig = ended(MANY + 3).await;
    let all = names(MANY + 3);
    let (late, others) = all.split_first().unwrap();
    // One was refused by then: something is written down that the answer could speak against.
    rig.fate(refused());
    let _ = rig.broker.token(&others[0], None).await;
    let day = async {
        rig.advance(Duration::from_secs(1));
        for name in &others[1..MANY] {
            rig.fate(refused());
            let _ = rig.broker.token(name, None).await;
        }
    };
    let (granted, ()) = rig.answered_after(rig.broker.token(late, None), day).await;
    assert_eq!(granted.unwrap().version, 2, "it was sent before");
    let sent = rig.posts().len();
    let told = code(rig.broker.token(&others[MANY], None).await);
    assert_eq!((told, rig.posts().len()), ("many_refused", sent), "the day goes on");
}
