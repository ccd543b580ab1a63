//! The device flow: a person enters a code somewhere, and the service is asked no faster than it
//! wants.

use std::time::Duration;

use indicia_broker::connect::ConnectRequest;
use indicia_broker::view::{ConnectionState, ConnectionView};
use indicia_broker::{Error, Force};
use indicia_catalog::Flow;
use indicia_oauth::Timestamp;
use indicia_sandbox::record::What;

use crate::rig::{Fate, Rig, code};

const SERVICE: &str = "constant-contact";

fn request(id: &str) -> ConnectRequest {
    ConnectRequest {
        client: "c".into(),
        id: Some(id.into()),
        scopes: vec!["contact_data".into()],
        flow: Some(Flow::Device),
        ..ConnectRequest::default()
    }
}

async fn rig() -> Rig {
    let rig = Rig::new().await;
    rig.client(SERVICE, "c").await.unwrap();
    rig
}

/// Seconds between the polls that the service saw, the first from `begun`.
fn waits(rig: &Rig, begun: Timestamp) -> Vec<u64> {
    let polls = rig.model(SERVICE, |model, _| {
        let events = model.record().events();
        let polls = events.filter(|e| matches!(e.what, What::DevicePoll { .. }));
        polls.map(|e| e.at).collect::<Vec<_>>()
    });
    let mut last = begun;
    let mut waits = Vec::new();
    for at in polls {
        waits.push(at.since(std::mem::replace(&mut last, at)).as_secs());
    }
    waits
}

/// The person enters the code after a while.
async fn decided_after(rig: &Rig, after: Duration, yes: bool) -> Result<ConnectionView, Error> {
    let step = rig.begin_device(request("tv")).await.unwrap();
    let place = step.verification_uri_complete.clone().unwrap();
    let person = async {
        tokio::time::sleep(after).await;
        rig.model(SERVICE, |model, now| match yes {
            true => model.approve(&place, "alice", now).unwrap(),
            false => model.deny(&place, "alice", now).unwrap(),
        });
    };
    let finished = rig.broker.finish_device(&step.flow);
    rig.as_time_goes(async { tokio::join!(finished, person).0 }).await
}

// DF-3, DF-10
// proves: one-success-then-silence
#[tokio::test(start_paused = true)]
async fn df_3_df_10_it_asks_at_the_pace_that_was_told_and_never_after_a_token() {
    let rig = rig().await;
    let begun = rig.clock_now();
    let view = decided_after(&rig, Duration::from_millis(4_500), true).await.unwrap();
    assert_eq!((view.flow, view.state), (Flow::Device, ConnectionState::Active));
    assert_eq!(waits(&rig, begun), [1, 1, 1, 1, 1]);
    rig.as_time_goes(tokio::time::sleep(Duration::from_secs(120))).await;
    assert_eq!(waits(&rig, begun).len(), 5, "one success, then silence");
    // From here on it is a grant like any other.
    let first = rig.broker.token("tv", None).await.unwrap().access_token.clone();
    rig.broker.refresh("tv", Force::Yes).await.unwrap();
    let second = rig.broker.token("tv", None).await.unwrap().access_token.clone();
    assert_ne!(first, second);
}

// DF-3
// proves: slow-down-for-good
#[tokio::test(start_paused = true)]
async fn df_3_slow_down_is_for_good() {
    let rig = rig().await;
    let begun = rig.clock_now();
    rig.fate(Fate::Deliver);
    rig.fate(Fate::Answer(400, "application/json", r#"{"error":"slow_down"}"#));
    decided_after(&rig, Duration::from_secs(15), true).await.unwrap();
    // At 1 (not seen by the model), then every six seconds.
    assert_eq!(waits(&rig, begun), [7, 6, 6]);
}

// DF-5
// proves: silence-is-answered-by-less
#[tokio::test(start_paused = true)]
async fn df_5_what_gives_no_answer_is_asked_less_and_less() {
    let rig = rig().await;
    let begun = rig.clock_now();
    rig.fate(Fate::Deliver);
    rig.fate(Fate::NotSent);
    rig.fate(Fate::LoseAnswer);
    rig.fate(Fate::Answer(502, "text/html", "<html>bad gateway</html>"));
    decided_after(&rig, Duration::from_secs(20), true).await.unwrap();
    // At 1 (down), 3 (lost), 7 (502), 15, 23: eight seconds apart, after three doublings.
    assert_eq!(waits(&rig, begun), [3, 12, 8]);
}

// DF-5
#[tokio::test(start_paused = true)]
async fn df_5_into_a_black_hole_it_asks_ever_less_until_the_end_of_the_code() {
    let rig = rig().await;
    let step = rig.begin_device(request("tv")).await.unwrap();
    (0..100).for_each(|_| rig.fate(Fate::LoseAnswer));
    let finished = rig.as_time_goes(rig.broker.finish_device(&step.flow)).await;
    assert_eq!(code(finished), "device_expired");
    // At 1, 3, 7, 15, 31, 63 s, then each minute to the end of ten.
    assert_eq!(rig.posts().len() - 1, 14);
}

// DF-4
#[tokio::test(start_paused = true)]
async fn df_4_any_other_error_ends_it_and_is_shown() {
    for (body, told) in [
        (r#"{"error":"access_denied"}"#, "access_denied"),
        (r#"{"error":"expired_token"}"#, "device_expired"),
        (r#"{"error":"invalid_grant","error_description":"no such code"}"#, "code_refused"),
        (r#"{"error":"unsupported_grant_type"}"#, "misconfigured"),
        (r#"{"error":"something_new"}"#, "service_unavailable"),
    ] {
        let rig = rig().await;
        let step = rig.begin_device(request("tv")).await.unwrap();
        rig.fate(Fate::Answer(400, "application/json", body));
        let finished = rig.as_time_goes(rig.broker.finish_device(&step.flow)).await;
        assert_eq!(code(finished), told, "{body}");
        rig.as_time_goes(tokio::time::sleep(Duration::from_secs(60))).await;
        assert_eq!(rig.posts().len(), 2, "{body}: the codes, one poll");
    }
    let rig = rig().await;
    let refused = decided_after(&rig, Duration::from_secs(7), false).await;
    assert_eq!(code(refused), "access_denied");
}

// DF-1, DF-7
#[tokio::test(start_paused = true)]
async fn df_1_df_7_after_the_end_of_the_code_nothing_begins_by_itself() {
    let rig = rig().await;
    let step = rig.begin_device(request("tv")).await.unwrap();
    let finished = rig.as_time_goes(rig.broker.finish_device(&step.flow)).await;
    assert_eq!(code(finished), "device_expired");
    let sent = rig.posts().len();
    rig.broker.run_due().await.unwrap();
    rig.as_time_goes(tokio::time::sleep(Duration::from_secs(3_600))).await;
    rig.broker.run_due().await.unwrap();
    assert_eq!(rig.posts().len(), sent);
    assert_eq!(code(rig.broker.finish_device(&step.flow).await), "state_used");
    assert_eq!(code(rig.broker.finish_device("of nobody").await), "state_unknown");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_kept_and_not_stored_is_recovered() {
    let rig = rig().await;
    let step = rig.begin_device(request("tv")).await.unwrap();
    let place = step.verification_uri_complete.clone().unwrap();
    rig.model(SERVICE, |model, now| model.approve(&place, "alice", now).unwrap());
    let work = rig.as_time_goes(rig.broker.finish_device(&step.flow));
    let after = rig.crash_when_kept(work).await;
    assert!(matches!(after.token("tv", None).await, Err(Error::NotFound { .. })));
    assert_eq!(after.recover().await.unwrap().recovered, ["tv"]);
    after.token("tv", None).await.unwrap();
    assert_eq!(after.connection("tv").await.unwrap().flow, Flow::Device);
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_stops_the_polls() {
    let rig = rig().await;
    let step = rig.begin_device(request("tv")).await.unwrap();
    let finished = rig.broker.finish_device(&step.flow);
    let waited =
        rig.as_time_goes(tokio::time::timeout(Duration::from_millis(2_500), finished)).await;
    assert!(waited.is_err());
    rig.as_time_goes(tokio::time::sleep(Duration::from_secs(120))).await;
    assert_eq!(rig.posts().len(), 3, "the codes, two polls");
}

// DF-8
#[tokio::test(start_paused = true)]
async fn df_8_what_cant_be_shown_begins_nothing() {
    let rig = rig().await;
    for hostile in [
        r#"{"device_code":"d","user_code":"AB","verification_uri":"javascript:alert(1)","expires_in":60}"#,
        r#"{"device_code":"d","user_code":"\u001b[2J","verification_uri":"https://a.example/","expires_in":60}"#,
        // Only a user's own file may say that http on this machine is a service.
        r#"{"device_code":"d","user_code":"AB","verification_uri":"http://127.0.0.1:1/","expires_in":60}"#,
        "[]",
    ] {
        rig.fate(Fate::Answer(200, "application/json", hostile));
        let begun = rig.begin_device(request("tv")).await;
        assert_eq!(code(begun), "device_answer_refused", "{hostile}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_without_one_says_so() {
    let rig = rig().await;
    rig.client("keap", "k").await.unwrap();
    let unoffered = ConnectRequest { client: "k".into(), ..request("k") };
    assert_eq!(code(rig.begin_device(unoffered).await), "flow_not_offered");
    rig.fate(Fate::NotSent);
    assert_eq!(code(rig.begin_device(request("tv")).await), "service_unavailable");
}
