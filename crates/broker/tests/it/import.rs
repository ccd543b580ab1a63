//! Token sets that were obtained elsewhere.

use std::time::Duration;

use indicia_broker::import::{ImportRequest, Imported};
use indicia_broker::model::RotationOwner;
use indicia_broker::{Error, Force};

use crate::rig::{Rig, code};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A rig with a client of a service that rotates, and a token set that it gave to somebody else.
async fn with_token_set(service: &str, members: &str) -> (Rig, String) {
    let rig = Rig::new().await;
    rig.client(service, "k").await.unwrap();
    let elsewhere = rig.connect(service, rig.request("k", "elsewhere"), "alice").await.unwrap();
    let given = rig.last_token_answer();
    let (access, refresh) = (&given["access_token"], &given["refresh_token"]);
    let json = format!(r#"{{"access_token":{access},"refresh_token":{refresh}{members}}}"#);
    rig.broker.forget(&elsewhere.id, indicia_broker::revoke::ForgetGrant::Keep).await.unwrap();
    (rig, json)
}

fn request(owner: RotationOwner) -> ImportRequest {
    ImportRequest { client: "k".into(), id: None, owner, one_of_many: false }
}

async fn import(rig: &Rig, owner: RotationOwner, json: &str) -> Result<Imported, Error> {
    rig.broker.import(&request(owner), json.as_bytes()).await
}

#[tokio::test]
async fn an_imported_grant_is_kept_alive_from_then_on() {
    let (rig, json) =
        with_token_set("keap", r#","expires_in":3600,"scopes":["full"],"labels":{"team":"a"}"#)
            .await;
    let posts = rig.posts().len();
    let imported = import(&rig, RotationOwner::Indicia, &json).await.unwrap();
    assert!(imported.changed);
    let view = imported.connection;
    assert_eq!((view.id.as_str(), view.version), ("k", 1));
    assert_eq!(view.labels["team"], "a");
    assert_eq!(view.scopes.granted, ["full"]);
    assert_eq!(view.expires_at, Some(rig.clock_now().plus(Duration::from_secs(3600))));
    assert_eq!(rig.posts().len(), posts, "nothing is spent");
    rig.advance(Duration::from_secs(2 * 3600));
    assert_eq!(rig.broker.token("k", None).await.unwrap().version, 2);
    let again = import(&rig, RotationOwner::Indicia, &json).await.unwrap();
    assert!(!again.changed, "an old copy doesn't overwrite what came of it");
    assert_eq!((again.connection.id.as_str(), again.connection.version), ("k", 2));
    let other = ImportRequest { id: Some("other".into()), ..request(RotationOwner::Indicia) };
    assert_eq!(code(rig.broker.import(&other, json.as_bytes()).await), "token_set_known");
}

// proves: living-grant-not-overwritten
#[tokio::test]
async fn however_old_a_copy_is_it_does_not_come_over_what_lives() {
    let (rig, json) = with_token_set("keap", r#","expires_in":3600,"id":"k""#).await;
    import(&rig, RotationOwner::Indicia, &json).await.unwrap();
    // More versions than a row remembers the tokens of.
    for _ in 0..12 {
        rig.advance(2 * DAY);
        rig.broker.token("k", None).await.unwrap();
    }
    let many = ImportRequest { one_of_many: true, ..request(RotationOwner::Indicia) };
    let again = rig.broker.import(&many, json.as_bytes()).await.unwrap();
    assert_eq!((again.changed, again.connection.version), (false, 13));
    rig.advance(2 * DAY);
    rig.broker.token("k", None).await.unwrap();
}

#[tokio::test]
async fn one_refresh_token_is_one_connections() {
    let (rig, _) = with_token_set("keap", "").await;
    let many = ImportRequest { one_of_many: true, ..request(RotationOwner::Indicia) };
    let set = |id: &str| format!(r#"{{"id":"{id}","access_token":"{id}","refresh_token":"one"}}"#);
    let (a, b) = (set("a"), set("b"));
    let both = tokio::join!(
        rig.broker.import(&many, a.as_bytes()),
        rig.broker.import(&many, b.as_bytes())
    );
    assert!(both.0.is_ok());
    assert_eq!(code(both.1), "token_set_known");
    assert!(!rig.broker.import(&many, a.as_bytes()).await.unwrap().changed);
}

#[tokio::test]
async fn what_somebody_else_refreshes_is_served_and_never_sent() {
    let (rig, json) = with_token_set("keap", r#","expires_in":3600"#).await;
    import(&rig, RotationOwner::Other, &json).await.unwrap();
    assert_eq!(rig.broker.token("k", None).await.unwrap().version, 1);
    let posts = rig.posts().len();
    rig.advance(2 * DAY);
    rig.broker.run_due().await.unwrap();
    assert!(rig.broker.token("k", None).await.is_err(), "it has ended");
    assert!(rig.broker.refresh("k", Force::Yes).await.is_err());
    assert_eq!(rig.posts().len(), posts);
    let newer = r#"{"id":"k","access_token":"from-the-owner","expires_in":3600}"#;
    assert_eq!(code(import(&rig, RotationOwner::Indicia, newer).await), "rotation_owner");
    assert_eq!(code(import(&rig, RotationOwner::Other, newer).await), "account_unknown");
    let told = ImportRequest { one_of_many: true, ..request(RotationOwner::Other) };
    let renewed = rig.broker.import(&told, newer.as_bytes()).await.unwrap();
    assert_eq!(renewed.connection.version, 2);
    assert_eq!(*rig.broker.token("k", None).await.unwrap().access_token, "from-the-owner");
}

#[tokio::test]
async fn times_are_read_in_the_ways_that_people_write_them() {
    let (rig, _) = with_token_set("keap", "").await;
    let (now, hour) = (rig.clock_now(), Duration::from_secs(3600));
    let seconds = now.plus(hour).as_millis() / 1000;
    let spelt = indicia_broker::view::rfc3339(now.plus(hour));
    let spellings = [
        format!(r#""expires_at":"{spelt}""#),
        format!(r#""expires_at":{seconds}"#),
        r#""expires_in":3600"#.to_owned(),
        r#""expires_in":"3600""#.to_owned(),
    ];
    for (n, spelling) in spellings.iter().enumerate() {
        let json = format!(r#"{{"access_token":"a{n}","id":"c{n}",{spelling}}}"#);
        let view = import(&rig, RotationOwner::Indicia, &json).await.unwrap().connection;
        let end = view.expires_at.unwrap();
        assert!(end.since(now).abs_diff(hour) < Duration::from_secs(1), "{spelling}: {view:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_and_never_repeated() {
    let (rig, _) = with_token_set("keap", "").await;
    let many = ImportRequest { one_of_many: true, ..request(RotationOwner::Indicia) };
    let long = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(70_000));
    let bad = [
        "",
        "[]",
        "{",
        "null",
        "hidden-canary",
        r#"{"refresh_token":"hidden-canary"}"#,
        r#"{"access_token":""}"#,
        r#"{"access_token":"hidden-canary","labels":7}"#,
        r#"{"access_token":"hidden canary\n"}"#,
        r#"{"access_token":{"hidden-canary":1}}"#,
        r#"{"access_token":"hidden-canary","token_type":"mac"}"#,
        &long,
    ];
    for json in bad {
        let Err(error) = import(&rig, RotationOwner::Indicia, json).await else {
            panic!("{json} was taken");
        };
        assert_eq!(error.code(), "token_set_refused", "{json}: {error}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    let unnamed = br#"{"access_token":"a"}"#;
    assert_eq!(code(rig.broker.import(&many, unnamed).await), "token_set_refused");
    let nobody = ImportRequest { client: "nobody".into(), ..many };
    assert_eq!(code(rig.broker.import(&nobody, unnamed).await), "not_found");
}

#[tokio::test]
async fn one_of_many_whose_refresh_token_was_rotated_here_is_refused_under_another_id() {
    let (rig, token_set) = with_token_set("keap", r#","id":"k""#).await;
    import(&rig, RotationOwner::Indicia, &token_set).await.unwrap();
    rig.broker.refresh("k", Force::Yes).await.unwrap();
    let many = ImportRequest { one_of_many: true, ..request(RotationOwner::Indicia) };
    let under_another = token_set.replace(r#""id":"k""#, r#""id":"other""#);
    // As the next run of the program would see it.
    let broker = rig.reopen(indicia_catalog::Catalogue::shipped()).await;
    let refused = broker.import(&many, under_another.as_bytes()).await;
    assert_eq!(code(refused), "token_set_known");
    let again = broker.import(&many, token_set.as_bytes()).await.unwrap();
    assert!(!again.changed, "under its own it is what is there");
}
