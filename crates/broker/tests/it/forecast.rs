//! What will end, when and why.

use std::time::Duration;

use indicia_broker::forecast::{Ending, EndingKind};
use indicia_broker::import::ImportRequest;
use indicia_broker::model::RotationOwner;
use indicia_oauth::{ClientSecret, Timestamp};

use crate::rig::Rig;

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn forecast(rig: &Rig, days: u32) -> Vec<Ending> {
    rig.broker.forecast(rig.clock_now().plus(DAY * days)).await.unwrap()
}

fn kinds(endings: &[Ending]) -> Vec<EndingKind> {
    endings.iter().map(|ending| ending.kind).collect()
}

#[tokio::test]
async fn a_token_that_cannot_be_refreshed_is_told_until_it_is_renewed() {
    let rig = Rig::new().await;
    rig.client("keap", "k").await.unwrap();
    let request = |owner| ImportRequest { client: "k".into(), id: None, owner, one_of_many: true };
    let alone = br#"{"id":"alone","access_token":"a","expires_in":864000}"#;
    rig.broker.import(&request(RotationOwner::Indicia), alone).await.unwrap();
    let others = br#"{"id":"others","access_token":"b","expires_in":864000}"#;
    rig.broker.import(&request(RotationOwner::Other), others).await.unwrap();
    let endings = forecast(&rig, 30).await;
    assert_eq!(kinds(&endings), [EndingKind::AccessToken], "{endings:?}");
    assert_eq!(endings[0].connection.as_deref(), Some("alone"));
    assert_eq!(endings[0].at, rig.clock_now().plus(10 * DAY));
    assert!(endings[0].next_step.contains("indicia connect k --id alone"), "{endings:?}");
    assert_eq!(forecast(&rig, 5).await, [], "it lies further ahead");
}

#[tokio::test]
async fn an_idle_refresh_token_moves_on_when_it_is_used() {
    let rig = Rig::new().await;
    let catalogue = rig.broker.catalogue();
    let idle = catalogue.ids().into_iter().find_map(|id| {
        let service = catalogue.service(&id)?;
        let nothing = std::collections::BTreeMap::new();
        let kind = indicia_catalog::ClientKind::Confidential;
        let cx = indicia_catalog::Context { kind, inputs: &nothing, settings: &nothing };
        // One that needs nothing said: no inputs, no settings, no scopes.
        let untold = service.inputs.is_empty() && service.settings.is_empty();
        let plain = untold && service.scopes.full_access;
        Some((id, service.refresh_rule(cx).idle.filter(|_| plain)?))
    });
    let (service, idle) = idle.expect("a shipped service ends idle refresh tokens");
    rig.client(&service, "k").await.unwrap();
    rig.connect(&service, rig.request("k", "k"), "alice").await.unwrap();
    let days = u32::try_from(idle.as_secs() / DAY.as_secs()).unwrap() + 1;
    let of = |endings: Vec<Ending>| -> Option<Timestamp> {
        endings.into_iter().find(|e| e.kind == EndingKind::RefreshTokenIdle).map(|e| e.at)
    };
    let first = of(forecast(&rig, days).await).expect("it is told");
    assert_eq!(first, rig.clock_now().plus(idle));
    rig.advance(2 * DAY);
    rig.broker.token("k", None).await.unwrap();
    assert_eq!(of(forecast(&rig, days).await), Some(rig.clock_now().plus(idle)));
}

#[tokio::test]
async fn secrets_and_endpoints_are_told_with_their_last_day() {
    let rig = Rig::new().await;
    rig.client("hubspot", "h").await.unwrap();
    let end = rig.clock_now().plus(20 * DAY);
    rig.broker.add_secret("h", ClientSecret::new("next"), Some(end), None).await.unwrap();
    let endings = forecast(&rig, 20_000).await;
    let secret = endings.iter().find(|e| e.kind == EndingKind::ClientSecret).unwrap();
    assert_eq!((secret.at, secret.client.as_deref()), (end, Some("h")));
    assert!(secret.detail.contains("secret 2"), "{secret:?}");
    let endpoint = endings.iter().find(|e| e.kind == EndingKind::Endpoint).unwrap();
    let day: Timestamp = Timestamp::from_millis(1_802_736_000_000).plus(DAY);
    assert_eq!(endpoint.at, day, "2027-02-16, the day itself included: {endpoint:?}");
    assert!(endings.is_sorted_by_key(|ending| ending.at));
    rig.broker.promote_secret("h", 2).await.unwrap();
    rig.broker.retire_secret("h", 1).await.unwrap();
    assert!(forecast(&rig, 10).await.is_empty(), "nothing within ten days");
}

#[tokio::test]
async fn a_secret_ends_at_the_age_that_its_client_allows_and_tokens_are_replaced_by_theirs() {
    let rig = Rig::new().await;
    let ages = [("secret_max_age", "90d"), ("token_max_age", "2h")];
    rig.client_with("keap", "k", &[], &ages).await.unwrap();
    let endings = rig.broker.secrets_ending(rig.clock_now().plus(DAY * 91)).await.unwrap();
    assert_eq!(kinds(&endings), [EndingKind::ClientSecret]);
    assert_eq!(endings[0].at, rig.clock_now().plus(DAY * 90));
    assert!(endings[0].next_step.contains("indicia clients secrets k add"), "{endings:?}");
    assert_eq!(kinds(&forecast(&rig, 91).await), [EndingKind::ClientSecret]);
    assert_eq!(rig.broker.secrets_ending(rig.clock_now().plus(DAY * 89)).await.unwrap(), []);

    // The service's token would be good for a day.
    rig.connect("keap", rig.request("k", "k"), "alice").await.unwrap();
    rig.advance(Duration::from_secs(2 * 3600));
    rig.broker.run_due().await.unwrap();
    assert_eq!(rig.broker.connection("k").await.unwrap().version, 2);

    for (name, value) in [("secret_max_age", "soon"), ("token_max_age", "5s"), ("max_age", "1d")] {
        let refused = rig.client_with("keap", "x", &[], &[(name, value)]).await;
        assert_eq!(crate::rig::code(refused), "input_refused", "{name}={value}");
    }
}
