//! Answers that come after a decision which they must not undo: a consent or a refresh that was in
//! the air while its connection was taken back, or while a newer consent was stored.

use std::time::Duration;

use indicia_broker::connect::ConnectRequest;
use indicia_broker::revoke::ForgetGrant;
use indicia_broker::view::ConnectionView;
use indicia_broker::{Error, Force};
use indicia_catalog::{Capability, Catalogue};

use crate::rig::{Fate, Rig, code};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn request(id: &str) -> ConnectRequest {
    ConnectRequest {
        client: "c".into(),
        id: Some(id.into()),
        capabilities: vec![Capability::ContactsRead],
        ..ConnectRequest::default()
    }
}

async fn connected(service: &str, ids: &[&str]) -> Rig {
    let rig = Rig::new().await;
    rig.client(service, "c").await.unwrap();
    for id in ids {
        rig.connect(service, request(id), "alice").await.unwrap();
    }
    rig
}

/// Grants that live on at the service.
fn living(rig: &Rig, service: &str) -> usize {
    let alive = |model: &mut indicia_sandbox::Model| {
        model.record().grants().iter().filter(|grant| grant.ended.is_none()).count()
    };
    rig.model(service, |model, _| alive(model))
}

#[tokio::test]
async fn a_consent_in_the_air_is_taken_back_with_a_connection_that_is_forgotten() {
    let rig = connected("klaviyo", &["k"]).await;
    let step = rig.begin(request("k")).await.unwrap();
    let callback = rig.approve("klaviyo", &step, "alice");
    let (late, forgotten) = rig
        .answered_after(rig.broker.finish(&callback), rig.broker.forget("k", ForgetGrant::Revoke))
        .await;
    forgotten.unwrap();
    assert_eq!(code(late), "revoked");
    assert_eq!(living(&rig, "klaviyo"), 1, "the late token set waits in the queue");
    rig.broker.run_due().await.unwrap();
    assert_eq!(living(&rig, "klaviyo"), 0);
    assert_eq!(code(rig.broker.connection("k").await), "not_found");
}

#[tokio::test]
async fn a_consent_that_was_kept_is_taken_back_with_a_connection_that_is_forgotten() {
    let rig = connected("klaviyo", &["k"]).await;
    let step = rig.begin(request("k")).await.unwrap();
    let callback = rig.approve("klaviyo", &step, "alice");
    let broker = rig.crash_when_kept(rig.broker.finish(&callback)).await;
    broker.forget("k", ForgetGrant::Revoke).await.unwrap();
    broker.recover().await.unwrap();
    broker.run_due().await.unwrap();
    assert_eq!(living(&rig, "klaviyo"), 0);
    assert_eq!(code(broker.connection("k").await), "not_found");
}

#[tokio::test]
async fn a_consent_in_the_air_ends_with_a_connection_whose_grant_is_kept() {
    let rig = connected("klaviyo", &["k"]).await;
    let step = rig.begin(request("k")).await.unwrap();
    let callback = rig.approve("klaviyo", &step, "alice");
    let (late, forgotten) = rig
        .answered_after(rig.broker.finish(&callback), rig.broker.forget("k", ForgetGrant::Keep))
        .await;
    forgotten.unwrap();
    assert_eq!(code(late), "revoked");
    rig.broker.run_due().await.unwrap();
    assert_eq!(living(&rig, "klaviyo"), 2, "nothing is taken back that was to be kept");
    assert_eq!(code(rig.broker.connection("k").await), "not_found");
}

#[tokio::test]
async fn a_refresh_in_the_air_is_taken_back_with_a_connection_that_is_forgotten() {
    let rig = connected("klaviyo", &["k"]).await;
    let (late, forgotten) = rig
        .answered_after(
            rig.broker.refresh("k", Force::Yes),
            rig.broker.forget("k", ForgetGrant::Revoke),
        )
        .await;
    forgotten.unwrap();
    assert_eq!(code(late), "not_found", "it is served no more");
    rig.broker.run_due().await.unwrap();
    assert_eq!(living(&rig, "klaviyo"), 0);
}

#[tokio::test]
async fn a_refresh_that_was_kept_is_taken_back_with_a_connection_that_is_forgotten() {
    let rig = connected("klaviyo", &["k"]).await;
    let broker = rig.crash_when_kept(rig.broker.refresh("k", Force::Yes)).await;
    broker.forget("k", ForgetGrant::Revoke).await.unwrap();
    broker.recover().await.unwrap();
    broker.run_due().await.unwrap();
    assert_eq!(living(&rig, "klaviyo"), 0);
}

#[tokio::test]
async fn an_older_consent_for_another_connection_of_a_shared_grant_ends_with_a_newer_one() {
    let rig = connected("hubspot", &["one", "two"]).await;
    let [older, newer] = ["one", "two"].map(request);
    let (older, newer) = (rig.begin(older).await.unwrap(), rig.begin(newer).await.unwrap());
    let callback = |step| rig.approve("hubspot", step, "alice");
    let (first, second) = (callback(&older), callback(&newer));
    let broker = rig.crash_when_kept(rig.broker.finish(&first)).await;
    rig.put_back(Duration::from_secs(3600));
    broker.finish(&second).await.unwrap();
    let newest = rig.memory.grant_rows()[0].clone();
    broker.recover().await.unwrap();
    let rows = rig.memory.grant_rows();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].facts.access, newest.facts.access, "the newer consent stays");
    let row = broker.connection("one").await.unwrap();
    assert_eq!(row.version, newest.version);
}

#[tokio::test]
async fn a_first_consent_that_was_kept_joins_and_leaves_a_newer_one_in_place() {
    let rig = connected("hubspot", &["one"]).await;
    let (older, newer) =
        (rig.begin(request("two")).await.unwrap(), rig.begin(request("one")).await.unwrap());
    let callback = |step| rig.approve("hubspot", step, "alice");
    let (first, second) = (callback(&older), callback(&newer));
    let broker = rig.crash_when_kept(rig.broker.finish(&first)).await;
    broker.finish(&second).await.unwrap();
    let newest = rig.memory.grant_rows()[0].facts.access;
    let report = broker.recover().await.unwrap();
    assert_eq!(report.recovered, ["two"]);
    assert_eq!(rig.memory.grant_rows().len(), 1, "it joined");
    assert_eq!(rig.memory.grant_rows()[0].facts.access, newest);
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_waits_as_long_as_its_attempt_is_known() {
    let rig = connected("klaviyo", &[]).await;
    let mut callbacks = Vec::new();
    for (id, fate, told) in [
        ("kept", Fate::Answer(200, "application/json", "{}"), "unreadable_answer"),
        ("lost", Fate::LoseAnswer, "answer_lost"),
    ] {
        let step = rig.begin(request(id)).await.unwrap();
        callbacks.push(rig.approve("klaviyo", &step, "alice"));
        rig.fate(fate);
        assert_eq!(code(rig.broker.finish(&callbacks[callbacks.len() - 1]).await), told);
    }
    let step = rig.begin(request("never")).await.unwrap();
    callbacks.push(rig.approve("klaviyo", &step, "alice"));
    let known = async || {
        let mut known = Vec::new();
        for callback in &callbacks {
            known.push(rig.flow_of(callback).await.is_some());
        }
        known
    };
    assert_eq!(known().await, [true, true, true]);
    rig.advance(Duration::from_secs(30 * 24 * 3600));
    rig.broker.run_due().await.unwrap();
    assert_eq!(known().await, [true, false, false], "what was answered is still known");
    assert_eq!(rig.broker.recover().await.unwrap().unreadable.len(), 1);
}

/// A consent for `id` that is in the air while something else is done.
async fn in_the_air<M>(
    rig: &Rig,
    id: &str,
    meanwhile: impl Future<Output = M>,
) -> Result<ConnectionView, Error> {
    let step = rig.begin(request(id)).await.unwrap();
    let callback = rig.approve("klaviyo", &step, "alice");
    rig.answered_after(rig.broker.finish(&callback), meanwhile).await.0
}

#[tokio::test]
async fn a_late_consent_takes_nothing_back_of_a_connection_that_was_made_again() {
    let rig = connected("klaviyo", &["k"]).await;
    let late = in_the_air(&rig, "k", async {
        rig.broker.forget("k", ForgetGrant::Revoke).await.unwrap();
        rig.connect("klaviyo", request("k"), "alice").await.unwrap();
    });
    assert_eq!(code(late.await), "revoked");
    rig.broker.run_due().await.unwrap();
    assert_eq!(living(&rig, "klaviyo"), 1, "the newer one lives, the late one doesn't");
    assert!(rig.broker.refresh("k", Force::Yes).await.unwrap().warnings.is_empty());
    // And what was queued names another grant: this one can be forgotten and kept.
    let (_, forgotten) = rig
        .answered_after(
            rig.broker.refresh("k", Force::Yes),
            rig.broker.forget("k", ForgetGrant::Keep),
        )
        .await;
    forgotten.unwrap();
    rig.broker.run_due().await.unwrap();
    assert_eq!(living(&rig, "klaviyo"), 1);
}

#[tokio::test]
async fn a_late_consent_without_a_refresh_token_takes_none_back() {
    let rig = connected("klaviyo", &["k"]).await;
    let step = rig.begin(request("k")).await.unwrap();
    let callback = rig.approve("klaviyo", &step, "alice");
    let body = r#"{"access_token":"late-consent","token_type":"bearer","expires_in":3600}"#;
    rig.fate(Fate::Answer(200, "application/json", body));
    let broker = rig.crash_when_kept(rig.broker.finish(&callback)).await;
    broker.forget("k", ForgetGrant::Revoke).await.unwrap();
    let step = rig.begin_at(&broker, request("k")).await;
    broker.finish(&rig.approve("klaviyo", &step, "alice")).await.unwrap();
    broker.recover().await.unwrap();
    broker.run_due().await.unwrap();
    assert!(broker.refresh("k", Force::Yes).await.unwrap().warnings.is_empty());
    assert_eq!(living(&rig, "klaviyo"), 1);
}

#[tokio::test]
async fn a_late_consent_is_taken_back_though_its_id_is_another_clients_by_now() {
    let rig = connected("klaviyo", &["k"]).await;
    rig.client("klaviyo", "d").await.unwrap();
    let late = in_the_air(&rig, "k", async {
        rig.broker.forget("k", ForgetGrant::Revoke).await.unwrap();
        let request = ConnectRequest { client: "d".into(), ..request("k") };
        rig.connect("klaviyo", request, "alice").await.unwrap();
    });
    assert_eq!(code(late.await), "revoked");
    rig.broker.run_due().await.unwrap();
    assert_eq!(living(&rig, "klaviyo"), 1);
}

#[tokio::test]
async fn what_was_stored_and_taken_back_is_not_taken_back_once_more() {
    let rig = connected("klaviyo", &["k"]).await;
    rig.broker.refresh("k", Force::Yes).await.unwrap();
    rig.broker.forget("k", ForgetGrant::Revoke).await.unwrap();
    let sent = rig.posts().len();
    let broker = rig.reopen(indicia_catalog::Catalogue::shipped()).await;
    broker.recover().await.unwrap();
    broker.run_due().await.unwrap();
    assert_eq!(rig.posts().len(), sent);
}

#[tokio::test]
async fn another_accounts_consent_is_stored_whatever_its_old_siblings_got() {
    let rig = connected("hubspot", &["one", "two"]).await;
    let moves = ConnectRequest { other_account: true, ..request("one") };
    let (older, newer) =
        (rig.begin(moves).await.unwrap(), rig.begin(request("two")).await.unwrap());
    let first = rig.approve("hubspot", &older, "bob");
    let second = rig.approve("hubspot", &newer, "alice");
    let (late, stored) =
        rig.answered_after(rig.broker.finish(&first), rig.broker.finish(&second)).await;
    stored.unwrap();
    let accounts: Vec<_> = rig.memory.grant_rows().into_iter().map(|g| g.account).collect();
    assert_eq!(accounts.len(), 2, "{accounts:?}");
    assert_ne!(late.unwrap().account, rig.broker.connection("two").await.unwrap().account);
}

#[tokio::test]
async fn a_connection_that_is_made_again_while_it_is_forgotten_is_taken_back_too() {
    let rig = connected("klaviyo", &["k"]).await;
    let step = rig.begin(request("k")).await.unwrap();
    let callback = rig.approve("klaviyo", &step, "alice");
    let (forgotten, made) = rig
        .answered_after(rig.broker.forget("k", ForgetGrant::Revoke), rig.broker.finish(&callback))
        .await;
    made.unwrap();
    forgotten.unwrap();
    rig.broker.run_due().await.unwrap();
    assert_eq!(code(rig.broker.connection("k").await), "not_found");
    assert_eq!(living(&rig, "klaviyo"), 0, "nothing lives on that nobody here knows");
}

// proves: overtaken-consent-left
#[tokio::test]
async fn a_consent_that_a_restored_store_waits_for_comes_not_over_what_was_made_of_it() {
    let rig = connected("keap", &["k"]).await;
    let step = rig.begin(request("k")).await.unwrap();
    let callback = rig.approve("keap", &step, "alice");
    let copying = async { rig.memory.copied() };
    let (done, copy) = rig.answered_after(rig.broker.finish(&callback), copying).await;
    assert_eq!(done.unwrap().version, 2);
    rig.advance(Duration::from_secs(60));
    let refreshed = rig.broker.refresh("k", Force::Yes).await.unwrap();
    assert_eq!(refreshed.version, 3, "its refresh token is spent");
    rig.memory.put_back(&copy).unwrap();
    let broker = rig.reopen(Catalogue::shipped()).await;
    broker.recover().await.unwrap();
    broker.take_over().await.unwrap();
    broker.recover().await.unwrap();
    assert_eq!(broker.connection("k").await.unwrap().version, 3, "as the journal knows it");
    rig.advance(2 * DAY);
    assert_eq!(broker.token("k", None).await.unwrap().version, 4, "the grant lives on");
}
