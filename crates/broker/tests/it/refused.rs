//! What a refusal means: for the grant, for the client, and for what may be sent again.

use std::time::Duration;

use indicia_broker::connect::ConnectRequest;
use indicia_broker::model::{Cause, ReasonCode};
use indicia_broker::view::ConnectionState;
use indicia_broker::{Error, Force};
use indicia_catalog::Capability;
use indicia_oauth::ClientSecret;

use crate::rig::{Fate, Rig, code};

const DAYS: Duration = Duration::from_secs(24 * 3600);

async fn keap() -> Rig {
    let rig = Rig::new().await;
    rig.client("keap", "k").await.unwrap();
    rig.connect("keap", rig.request("k", "k"), "alice").await.unwrap();
    rig
}

// RF-1
#[tokio::test]
async fn rf_1_each_refresh_replaces_the_token_and_the_store_holds_one() {
    let rig = keap().await;
    for n in 2..=201 {
        rig.advance(2 * DAYS);
        assert_eq!(rig.broker.token("k", None).await.unwrap().version, n);
    }
    assert_eq!(rig.memory.grant_rows().len(), 1);
    assert_eq!(rig.posts().len(), 201);
}

// proves: valid-token-served
// RF-6
#[tokio::test]
async fn rf_6_a_lost_answer_is_not_asked_for_again_before_the_tokens_end() {
    let rig = keap().await;
    // The token is still good for an hour when a refresh ahead of time loses its answer.
    rig.advance(DAYS - Duration::from_secs(3600));
    rig.fate(Fate::LoseAnswer);
    rig.broker.refresh("k", Force::Yes).await.unwrap();
    let sent = rig.posts().len();
    for _ in 0..20 {
        let token = rig.broker.token("k", Some(Duration::from_secs(60))).await.unwrap();
        assert!(token.warnings.iter().any(|w| w.code == "answer_lost"));
        rig.broker.refresh("k", Force::Yes).await.unwrap();
        rig.broker.run_due().await.unwrap();
        rig.advance(Duration::from_secs(60));
    }
    assert_eq!(rig.posts().len(), sent, "nothing is sent before the token's end");
    let why = rig.broker.explain("k").await.unwrap();
    assert_eq!((why.code, why.serving), (Some(ReasonCode::AnswerLost), true));
    rig.advance(2 * 3600 * Duration::from_secs(1));
    let Err(error) = rig.broker.token("k", None).await else { panic!("served") };
    assert_eq!(error.code(), "reauthorization_required", "{error}");
    assert_eq!(rig.posts().len(), sent + 1, "then it is asked once, and the answer is definite");
    let why = rig.broker.explain("k").await.unwrap();
    assert_eq!(why.cause, Some(Cause::AnswerLost));
    let again = rig.connect("keap", rig.request("k", "k"), "alice").await.unwrap();
    assert_eq!((again.id.as_str(), again.state), ("k", ConnectionState::Active));
}

// RF-7
#[tokio::test]
async fn rf_7_only_a_proper_refusal_ends_a_grant() {
    let answers = [
        (500, "text/html", "<html>oops</html>"),
        (503, "application/json", r#"{"error":"temporarily_unavailable"}"#),
        (429, "application/json", "{}"),
        (400, "text/html", "<html>bad gateway</html>"),
        (400, "application/json", ""),
        (401, "application/json", r#"{"error":"invalid_client"}"#),
        (404, "text/plain", "not found"),
        (302, "text/html", ""),
        (400, "application/json", r#"{"error":"invalid_scope"}"#),
    ];
    for (status, kind, body) in answers {
        let rig = keap().await;
        rig.advance(2 * DAYS);
        rig.fate(Fate::Answer(status, kind, body));
        let Err(error) = rig.broker.token("k", None).await else { panic!("served") };
        assert!(matches!(error, Error::Unavailable { .. }), "{status} {body}: {error}");
        // Well before the idle limit of the refresh token, all is as it was.
        rig.advance(Duration::from_secs(3600));
        assert_eq!(rig.broker.token("k", None).await.unwrap().version, 2, "{status} {body}");
    }
}

#[tokio::test]
async fn a_refused_refresh_token_is_not_sent_again() {
    let rig = keap().await;
    rig.model("keap", |m, now| m.owner_revokes("alice", "client-k", now));
    rig.advance(2 * DAYS);
    for _ in 0..5 {
        assert!(rig.broker.token("k", None).await.is_err());
        rig.broker.run_due().await.unwrap();
        rig.advance(Duration::from_secs(3600));
    }
    assert_eq!(rig.posts().len(), 2, "one exchange, one refusal");
    let why = rig.broker.explain("k").await.unwrap();
    assert_eq!(why.cause, Some(Cause::EndedOutside));
    assert!(rig.broker.refresh("k", Force::Yes).await.is_err());
    assert_eq!(rig.posts().len(), 3, "force asks once more");
}

// RF-2, DV-27
#[tokio::test]
async fn rf_2_dv_27_a_kept_refresh_token_is_confirmed_before_a_grant_is_given_up() {
    let rig = Rig::new().await;
    rig.client("zoho-campaigns", "z").await.unwrap();
    let request = ConnectRequest {
        client: "z".into(),
        id: Some("z".into()),
        capabilities: vec![Capability::ContactsRead],
        ..ConnectRequest::default()
    };
    rig.connect("zoho-campaigns", request, "alice").await.unwrap();
    for n in 2..=21 {
        rig.advance(Duration::from_secs(3 * 3600));
        assert_eq!(
            rig.broker.token("z", None).await.unwrap().version,
            n,
            "one token, 20 refreshes"
        );
    }
    rig.advance(Duration::from_secs(3 * 3600));
    // A replica that lags: refused once, fine after.
    rig.fate(Fate::Answer(200, "application/json", r#"{"error":"invalid_code"}"#));
    assert!(rig.broker.token("z", None).await.is_err());
    let why = rig.broker.explain("z").await.unwrap();
    assert_eq!(why.code, Some(ReasonCode::RefusalUnconfirmed));
    rig.advance(Duration::from_secs(31));
    assert_eq!(rig.broker.token("z", None).await.unwrap().version, 22);
}

// CA-16
#[tokio::test]
async fn ca_16_a_refused_client_is_one_verdict_and_a_new_secret_cures_all() {
    let rig = keap().await;
    rig.connect("keap", rig.request("k", "other"), "bob").await.unwrap();
    rig.model("keap", |m, _| m.set_secrets("client-k", vec!["brand-new".into()]));
    rig.advance(2 * DAYS);
    let sent = rig.posts().len();
    for id in ["k", "other", "k", "other"] {
        let Err(error) = rig.broker.token(id, None).await else { panic!("served") };
        assert_eq!(error.code(), "client_refused", "{error}");
    }
    assert_eq!(rig.posts().len(), sent + 1, "one canary, the rest wait");
    let states: Vec<_> = rig.memory.grant_rows().into_iter().map(|g| g.state.life).collect();
    assert!(states.iter().all(|life| *life == indicia_broker::model::Life::Alive));
    rig.broker.add_secret("k", ClientSecret::new("brand-new"), None, None).await.unwrap();
    for id in ["k", "other"] {
        rig.broker.token(id, None).await.unwrap();
    }
    let client = rig.broker.client("k").await.unwrap();
    assert_eq!(client.refused, None);
    assert!(
        client
            .secrets
            .iter()
            .any(|s| { s.n == 2 && s.state == indicia_broker::model::SecretState::Current })
    );
}

#[tokio::test]
async fn a_staged_secret_makes_an_expired_one_cost_nothing() {
    let rig = keap().await;
    rig.broker.add_secret("k", ClientSecret::new("next"), None, None).await.unwrap();
    rig.model("keap", |m, _| m.set_secrets("client-k", vec!["next".into()]));
    rig.advance(2 * DAYS);
    assert_eq!(rig.broker.token("k", None).await.unwrap().version, 2, "no read fails");
}

#[tokio::test]
async fn a_retired_secret_is_wiped_and_never_sent() {
    let rig = keap().await;
    rig.broker.add_secret("k", ClientSecret::new("next"), None, None).await.unwrap();
    assert_eq!(code(rig.broker.retire_secret("k", 1).await), "secret_current");
    assert_eq!(code(rig.broker.retire_secret("k", 9).await), "not_found");
    rig.broker.promote_secret("k", 2).await.unwrap();
    for _ in 0..2 {
        let client = rig.broker.retire_secret("k", 1).await.unwrap();
        assert_eq!(client.secrets[0].state, indicia_broker::model::SecretState::Retired);
    }
    assert_eq!(rig.stored_client("k").await.secrets[0].sealed, None);
    assert_eq!(code(rig.broker.promote_secret("k", 1).await), "not_found");
    // The service knows the old one only: it is sent no more, though it would work.
    rig.advance(2 * DAYS);
    assert_eq!(code(rig.broker.token("k", None).await), "client_refused");
    let last = rig.posts().last().unwrap().body.clone();
    assert!(!last.contains("s3cr3t"), "{last}");
}

#[tokio::test]
async fn a_secret_that_is_there_is_not_added_twice() {
    let rig = keap().await;
    let add = async |text: &str, ends| {
        let client = rig.broker.add_secret("k", ClientSecret::new(text), ends, None).await.unwrap();
        client.secrets.into_iter().map(|s| (s.n, s.expires_at)).collect::<Vec<_>>()
    };
    assert_eq!(add("next", None).await.len(), 2);
    let end = indicia_oauth::Timestamp::from_millis(1_900_000_000_000);
    assert_eq!(add("next", Some(end)).await[1], (2, Some(end)), "its last day is learnt");
    assert_eq!(add("next", None).await[1], (2, Some(end)), "and not forgotten");
    assert_eq!(add("another", None).await.len(), 3);
}

#[tokio::test]
async fn no_journal_slot_no_spend() {
    let rig = keap().await;
    rig.advance(2 * DAYS);
    rig.journal.full.store(true, std::sync::atomic::Ordering::SeqCst);
    let sent = rig.posts().len();
    let Err(error) = rig.broker.token("k", None).await else { panic!("served") };
    assert_eq!(error.code(), "journal_full");
    assert_eq!(rig.posts().len(), sent);
    rig.journal.full.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(rig.broker.token("k", None).await.unwrap().version, 2);
}

// RF-9
#[tokio::test]
async fn rf_9_an_idle_refresh_token_is_kept_alive() {
    let rig = keap().await;
    for _ in 0..100 {
        rig.advance(DAYS);
        rig.broker.run_due().await.unwrap();
    }
    assert!(rig.broker.token("k", None).await.is_ok());
}

// RF-9
#[tokio::test]
async fn rf_9_a_command_keeps_a_refresh_token_alive_and_refreshes_nothing_before() {
    let rig = keap().await;
    rig.advance(DAYS);
    rig.broker.keep_up().await.unwrap();
    // Its access token has ended long ago; nobody asked for another.
    assert_eq!(rig.broker.connection("k").await.unwrap().version, 1);
    for _ in 0..100 {
        rig.advance(DAYS);
        rig.broker.keep_up().await.unwrap();
    }
    assert!(rig.broker.token("k", None).await.is_ok());
}
