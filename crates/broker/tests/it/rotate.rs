//! New tokens, a new data key, another root key: everything works on, and what is old goes.

use std::sync::Arc;
use std::time::Duration;

use indicia_broker::Force;
use indicia_broker::model::EventKind;
use indicia_broker::rotate_keys::SUPERSEDED_KEPT;
use indicia_broker::rotate_tokens::RotateWhich;
use indicia_broker::vault::KeyId;

use crate::rig::{Fate, OtherRootKey, Rig, code};

const MINUTE: Duration = Duration::from_secs(60);

async fn connected(names: &[&str]) -> Rig {
    let rig = Rig::new().await;
    rig.client("keap", "k").await.unwrap();
    for name in names {
        rig.connect("keap", rig.request("k", name), name).await.unwrap();
    }
    rig
}

fn sealed_by(rig: &Rig) -> Vec<u32> {
    let mut keys: Vec<u32> = rig.memory.grant_rows().iter().map(|g| g.tokens.key.0).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

// Time stands still but for what waits: the pause in which others notice the key costs nothing.
#[tokio::test(start_paused = true)]
async fn data_keys_are_rotated_while_another_process_goes_on() {
    let rig = connected(&["a", "b", "c"]).await;
    let other = rig.reopen(indicia_catalog::Catalogue::shipped()).await;
    let before = other.token("a", None).await.unwrap();
    let report = rig.broker.rotate_data_keys(&|_| {}).await.unwrap();
    assert_eq!((report.data_key, report.resealed), (2, 4), "three token sets, one secret");
    assert_eq!(report.destroyed, Vec::<u32>::new());
    assert_eq!(report.kept.len(), 1, "superseded just now");
    assert_eq!(sealed_by(&rig), [2]);
    let client = rig.stored_client("k").await;
    assert!(client.secrets.iter().flat_map(|s| &s.sealed).all(|s| s.key == KeyId(2)));

    // It hasn't noticed yet; what it reads is sealed with a key that it doesn't have.
    let (there, here) = (other.token("b", None).await, rig.broker.token("b", None).await);
    assert_eq!(*there.unwrap().access_token, *here.unwrap().access_token);
    other.notice_changes().await.unwrap();
    assert_eq!(*other.token("a", None).await.unwrap().access_token, *before.access_token);
    other.refresh("a", Force::Yes).await.unwrap();
    assert_eq!(sealed_by(&rig), [2], "and seals with the new one");
    // A leaked token of before is still found.
    let leaked = indicia_broker::revoke::Selector::Leaked(before.access_token.clone());
    assert_eq!(rig.broker.revoke_plan(&leaked).await.unwrap().connections, ["a"]);

    // A week later nothing needs the first one any more.
    rig.advance(SUPERSEDED_KEPT + MINUTE);
    let report = rig.broker.rotate_data_keys(&|_| {}).await.unwrap();
    assert_eq!((report.data_key, report.resealed), (3, 4));
    let kept: Vec<_> = report.kept.iter().map(|(n, why)| (*n, why.as_str())).collect();
    assert_eq!(report.destroyed, Vec::<u32>::new(), "{kept:?}");
    assert!(kept[0].1.contains("the journal has an answer"), "{kept:?}");
    rig.journal.forget_all();
    let report = rig.broker.rotate_data_keys(&|_| {}).await.unwrap();
    assert_eq!(report.destroyed, [1]);
    let rows = rig.store().data_keys().await.unwrap();
    assert_eq!(rows.iter().map(|row| row.id.0).collect::<Vec<_>>(), [2, 3, 4]);
    rig.reopen(indicia_catalog::Catalogue::shipped()).await.token("c", None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_token_set_that_is_stored_meanwhile_is_sealed_anew_too() {
    let rig = connected(&["a", "b"]).await;
    let other = rig.reopen(indicia_catalog::Catalogue::shipped()).await;
    // Its refresh is in the air while the key is added, and is stored by who hasn't noticed.
    let (stored, report) = rig
        .answered_after(other.refresh("b", Force::Yes), rig.broker.rotate_data_keys(&|_| {}))
        .await;
    stored.unwrap();
    report.unwrap();
    other.token("b", None).await.unwrap();
    rig.broker.rotate_data_keys(&|_| {}).await.unwrap();
    assert_eq!(sealed_by(&rig), [3]);
    rig.broker.token("b", None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_another_root_key_the_old_one_opens_nothing() {
    let rig = connected(&["a"]).await;
    assert_eq!(rig.broker.rotate_root_key(&OtherRootKey).await.unwrap(), 1);
    let old = rig.reopen_with(rig.root_key()).await;
    assert_eq!(code(old), "wrong_root_key");
    let new = rig.reopen_with(Arc::new(OtherRootKey)).await.unwrap();
    new.token("a", None).await.unwrap();
    // Who runs goes on: its data keys are open.
    rig.broker.refresh("a", Force::Yes).await.unwrap();
    new.notice_changes().await.unwrap();
    new.token("a", None).await.unwrap();
    // A data key that it can't open is told in the log; what else changed is noticed all the same.
    rig.broker.notice_changes().await.unwrap();
    new.rotate_data_keys(&|_| {}).await.unwrap();
    rig.broker.notice_changes().await.unwrap();
    assert_eq!(code(rig.broker.token("a", None).await), "sealed_damaged");
    let events = rig.store().events(0, 99).await.unwrap();
    assert!(events.iter().any(|row| row.event.kind == EventKind::RootKeyChanged));
}

#[tokio::test]
async fn tokens_are_rotated_where_the_service_gives_new_ones() {
    let rig = connected(&["a", "b", "dead", "busy"]).await;
    rig.client("mailchimp", "m").await.unwrap();
    rig.connect("mailchimp", rig.request("m", "for-good"), "alice").await.unwrap();
    rig.fate(Fate::Answer(400, "application/json", r#"{"error":"invalid_grant"}"#));
    rig.broker.refresh("dead", Force::Yes).await.unwrap();
    let by_id = |id: &'static str| {
        let rig = &rig;
        async move { rig.broker.connection(id).await.unwrap().version }
    };
    rig.fate(Fate::NotSent);
    rig.broker.refresh("busy", Force::Yes).await.unwrap();
    let versions = (by_id("a").await, by_id("b").await);
    let report = rig.broker.rotate_tokens(RotateWhich::default(), &|_| {}).await.unwrap();
    assert_eq!(report.rotated, ["a", "b"]);
    let ids = |rows: &[(String, String)]| rows.iter().map(|r| r.0.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&report.needs_user), ["dead", "for-good"]);
    assert_eq!(ids(&report.not_yet), ["busy"], "it is left alone for now");
    assert_eq!((by_id("a").await, by_id("b").await), (versions.0 + 1, versions.1 + 1));

    let only = RotateWhich { client: Some("m".into()), ..RotateWhich::default() };
    let report = rig.broker.rotate_tokens(only, &|_| {}).await.unwrap();
    assert_eq!((report.rotated.len(), report.needs_user.len()), (0, 1));
    let nobody = RotateWhich { client: Some("nobody".into()), ..RotateWhich::default() };
    assert_eq!(code(rig.broker.rotate_tokens(nobody, &|_| {}).await), "not_found");
}
