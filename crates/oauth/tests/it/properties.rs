//! Properties of every parser of outside bytes: no panic, and what must hold whatever comes.

use std::collections::BTreeSet;

use indicia_oauth::authorization::{
    self, AuthorizationRequest, CallbackError, Expected, ResponseType,
};
use indicia_oauth::client_auth::{BasicEncoding, BodyCodec, ClientAuth, Credentials, Proof};
use indicia_oauth::expiry::{ExpiryKind, LIFE_MAX, Life};
use indicia_oauth::grant::{self, device};
use indicia_oauth::token_answer::{self, Reading};
use indicia_oauth::{
    Answer, ClientSecret, Dialect, Expiry, Method, RefreshToken, Timestamp, TokenEndpoint,
    TokenSet, Verdict, introspection, metadata, revocation,
};
use proptest::prelude::*;
use zeroize::Zeroizing;

use crate::support::SENT_AT;

/// Values that have been seen in answers, odd ones above all.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just(r#""""#.to_owned()),
        Just(r#""null""#.to_owned()),
        Just(r#""Bearer""#.to_owned()),
        Just(r#""invalid_grant""#.to_owned()),
        Just(r#"" ""#.to_owned()),
        Just(r#"["a","b"]"#.to_owned()),
        Just(r#"{"a":1}"#.to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        "[ -~]{0,40}".prop_map(|text| serde_json::json!(text).to_string()),
        any::<String>().prop_map(|text| serde_json::json!(text).to_string()),
    ]
}

/// JSON-like bodies from the members that are read, repeated ones included; cut now and then.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        Just("access_token"),
        Just("refresh_token"),
        Just("token_type"),
        Just("expires_in"),
        Just("refresh_token_expires_in"),
        Just("scope"),
        Just("error"),
        Just("error_description"),
        Just("active"),
        Just("issuer"),
        Just("token_endpoint"),
        Just("other"),
    ];
    json(prop::collection::vec((name, value()), 0..8))
}

/// The answer of a device authorization endpoint, each member rightly there, odd or not there.
fn device_body() -> impl Strategy<Value = Vec<u8>> {
    let texts = ["device_code", "user_code", "verification_uri", "verification_uri_complete"];
    let members = texts.map(|name| (name, r#""https://a.example/""#)).into_iter();
    let members = members.chain([("expires_in", "600"), ("interval", "5")]);
    let each: Vec<_> = members
        .map(|(name, right)| {
            let value = prop_oneof![6 => Just(right.to_owned()), 1 => value()];
            (Just(name), value)
        })
        .collect();
    json(each)
}

fn json(
    members: impl Strategy<Value = Vec<(&'static str, String)>>,
) -> impl Strategy<Value = Vec<u8>> {
    let json =
        (members, any::<prop::sample::Index>(), 0..10_u8).prop_map(|(members, cut, dice)| {
            let members: Vec<_> = members.iter().map(|(n, v)| format!("\"{n}\":{v}")).collect();
            let mut bytes = format!("{{{}}}", members.join(",")).into_bytes();
            if dice == 0 {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        });
    prop_oneof![4 => json, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

/// An answer that can be shown when a property fails, which [`Answer`] can't.
#[derive(Clone, Debug)]
struct Given {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    complete: bool,
}

impl Given {
    fn answer(&self) -> Answer {
        Answer {
            status: self.status,
            headers: self.headers.clone(),
            body: Zeroizing::new(self.body.clone()),
            complete: self.complete,
        }
    }
}

fn given() -> impl Strategy<Value = Given> {
    let name = prop_oneof![
        Just("content-type"),
        Just("content-encoding"),
        Just("retry-after"),
        Just("date"),
        Just("location")
    ];
    let text = prop_oneof![
        any::<String>(),
        Just("application/json".to_owned()),
        Just("application/x-www-form-urlencoded".to_owned()),
        Just("Thu, 01 Jan 2026 00:00:00 GMT".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
    ];
    let headers = prop::collection::vec((name.prop_map(str::to_owned), text), 0..4);
    let status = prop_oneof![3 => Just(200), 1 => any::<u16>(), 2 => 100..600_u16];
    let body = prop_oneof![6 => body(), 1 => device_body()];
    (status, headers, body, any::<bool>()).prop_map(|(status, headers, body, complete)| Given {
        status,
        headers,
        body,
        complete,
    })
}

fn dialect() -> impl Strategy<Value = Dialect> {
    (any::<bool>(), any::<bool>()).prop_map(|(accept_form, token_type_optional)| Dialect {
        accept_form,
        token_type_optional,
        keep: vec!["other".into(), "other.a".into(), "0".into()],
        ..Dialect::default()
    })
}

fn failed(error: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

fn shown_fits(text: &str) -> bool {
    text.chars().count() <= 300 && !text.chars().any(char::is_control)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(2_000)
    })]

    #[test]
    fn a_token_answer_never_panics_and_never_grants_nothing(
        given in given(), dialect in dialect(),
    ) {
        let answer = given.answer();
        match token_answer::read(&answer, &dialect, SENT_AT) {
            Reading::Granted(set) => {
                prop_assert!(answer.is_success());
                let refresh = set.refresh_token.as_ref().map(RefreshToken::expose);
                for token in [Some(set.access_token.expose()), refresh].into_iter().flatten() {
                    prop_assert!(!token.trim().is_empty() && token != "null");
                    prop_assert!(token.bytes().all(|b| matches!(b, b' '..=b'~')));
                }
                if let Expiry::At(end) = set.expiry {
                    prop_assert!(end <= SENT_AT.plus(LIFE_MAX));
                }
                prop_assert!(set.scopes.as_ref().is_none_or(|scopes| !scopes.is_empty()));
                let again = TokenSet::from_bytes(&set.to_bytes());
                prop_assert!(again.is_some_and(|again| *again.to_bytes() == *set.to_bytes()));
            }
            Reading::Refused(refusal) => {
                prop_assert!(refusal.verdict != Verdict::Granted);
                prop_assert!(refusal.verdict != Verdict::GrantRefused
                    || refusal.code.as_deref() == Some("invalid_grant"));
                let texts = [&refusal.code, &refusal.description, &refusal.location_host];
                prop_assert!(texts.into_iter().flatten().all(|text| shown_fits(text)));
                prop_assert!(shown_fits(&refusal.evidence));
                let wait = refusal.retry_after.map_or(1, |wait| wait.as_secs());
                prop_assert!((1..=3600).contains(&wait));
            }
        }
    }

    #[test]
    fn the_smaller_readers_never_panic(given in given(), issuer in ".{0,40}") {
        let answer = given.answer();
        let revoked = revocation::read(&answer);
        prop_assert_eq!(revoked == revocation::Revoked::Done, answer.is_success());
        if introspection::active(&answer).is_some() {
            prop_assert_eq!(answer.status, 200);
        }
        if let Ok(found) = device::read(&answer) {
            let shown = [&found.user_code, &found.verification_uri];
            for text in shown.into_iter().chain(&found.verification_uri_complete) {
                prop_assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            }
            prop_assert!(found.interval.as_secs() >= 1 && found.interval <= device::INTERVAL_MAX);
        }
        if let Ok(found) = metadata::read(&answer, &issuer, false) {
            prop_assert_eq!(found.issuer, issuer.clone());
            prop_assert!(found.token_endpoint.is_none_or(|url| url.starts_with("https://")));
        }
        if let Ok(addresses) = metadata::addresses(&issuer, true) {
            prop_assert!(addresses.iter().all(|address| address.contains("/.well-known/")));
        }
    }

    #[test]
    fn a_callback_never_panics_and_never_passes_with_another_state(
        query in prop_oneof![
            any::<String>(),
            "((code|state|iss|error|x)=(xyz|abc|%[0-9a-f]{2}|[ -~]{0,5})&){0,6}",
        ],
    ) {
        let expected = Expected { state: "xyz", issuer: Some("abc"), issuer_always: false };
        match authorization::check(&query, &expected) {
            Ok(callback) => {
                prop_assert_eq!(authorization::callback_state(&query), Ok("xyz".to_owned()));
                let names: BTreeSet<_> = callback.extra().iter().map(|(name, _)| name).collect();
                prop_assert_eq!(names.len(), callback.extra().len());
                prop_assert!(!callback.into_code().expose().is_empty());
            }
            Err(CallbackError::Refused { code, description }) => {
                prop_assert!(shown_fits(&code));
                prop_assert!(description.is_none_or(|text| shown_fits(&text) && !text.is_empty()));
            }
            Err(_) => {}
        }
    }

    #[test]
    fn bytes_of_ours_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = TokenSet::from_bytes(&bytes);
        if let Some(answer) = Answer::from_bytes(&bytes) {
            prop_assert_eq!(&**answer.to_bytes(), bytes.as_slice());
        }
    }

    #[test]
    fn any_answer_comes_back_from_its_bytes(given in given()) {
        let answer = given.answer();
        let again = Answer::from_bytes(&answer.to_bytes());
        let again = again.ok_or_else(|| TestCaseError::fail("not read"))?;
        prop_assert_eq!(again.status, answer.status);
        prop_assert_eq!(again.complete, answer.complete);
        prop_assert_eq!(&again.headers, &answer.headers);
        prop_assert_eq!(&*again.body, &*answer.body);
    }

    #[test]
    fn a_damaged_answer_is_read_without_panic(
        given in given(), at in any::<prop::sample::Index>(), with in any::<u8>(),
    ) {
        let answer = given.answer();
        let mut bytes = answer.to_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = with;
        let _ = Answer::from_bytes(&bytes);
    }

    #[test]
    fn a_life_is_never_beyond_its_cap(
        spelling in ".{0,30}", number in any::<u64>(), sent in any::<i64>(),
    ) {
        let kinds = [ExpiryKind::Seconds, ExpiryKind::Millis, ExpiryKind::UnixSeconds,
            ExpiryKind::UnixMillis, ExpiryKind::Rfc3339];
        let sent = Timestamp::from_millis(sent);
        for kind in kinds {
            for text in [spelling.clone(), number.to_string()] {
                if let Some(Life::Until(end) | Life::Capped(end)) = kind.read(&text, sent) {
                    prop_assert!(end <= sent.plus(LIFE_MAX));
                }
            }
        }
    }

    // AR-2
    #[test]
    fn ar_2_each_parameter_of_a_url_once(
        params in prop::collection::vec(("[a-c]|state|scope|code_challenge", "[ -~é]{0,4}"), 0..4),
        scopes in prop::collection::vec("[ -~é]{0,6}", 0..3),
        own in "((a|b|x)=[a-z0-9]{0,3}&){0,2}",
        state in "[ -~é]{1,9}",
    ) {
        let endpoint = format!("https://server.example.com/authorize?{own}");
        let built = authorization::url(&AuthorizationRequest {
            response_type: ResponseType::Code,
            endpoint: &endpoint,
            client_id: "id",
            redirect_uri: Some("https://c.example/cb"),
            scopes: &scopes,
            scope_separator: " ",
            state: &state,
            challenge: Some("c"),
            params: &params,
        });
        let Ok(url) = built else { return Ok(()) };
        let start = endpoint.trim_end_matches(['?', '&']);
        prop_assert!(url.starts_with(start));
        let parsed = url::Url::parse(&url).map_err(failed)?;
        let read: Vec<_> = parsed.query_pairs().into_owned().collect();
        let ours: Vec<_> = read.iter().skip(own.matches('&').count()).collect();
        let names: BTreeSet<_> = ours.iter().map(|(name, _)| name).collect();
        prop_assert_eq!(names.len(), ours.len());
        prop_assert!(ours.iter().all(|(_, value)| !value.is_empty()));
        prop_assert!(ours.iter().any(|(n, v)| n == "state" && *v == state));
    }

    // AR-3, TR-2
    #[test]
    fn ar_3_tr_2_what_is_sent_is_what_was_meant(
        token in "\\PC{1,20}", id in "\\PC{1,9}", secret in "\\PC{1,9}",
        raw in any::<bool>(), json in any::<bool>(),
    ) {
        let endpoint = TokenEndpoint {
            url: "https://server.example.com/token".into(),
            method: Method::Post,
            codec: if json { BodyCodec::Json } else { BodyCodec::Form },
            auth: if raw { ClientAuth::Basic(BasicEncoding::Raw) } else { ClientAuth::Body },
            headers: Vec::new(),
            params: Vec::new(),
        };
        let secret = ClientSecret::new(secret);
        let credentials = Credentials { client_id: &id, proof: Proof::Secret(&secret) };
        let refresh_token = RefreshToken::new(token.as_str());
        let request = grant::refresh::request(&endpoint, &credentials, &refresh_token)
            .map_err(failed)?;
        let read: Vec<(String, String)> = if json {
            let object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(&request.body).map_err(failed)?;
            let text = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            object.into_iter().map(|(name, value)| (name, text(value))).collect()
        } else {
            form_urlencoded::parse(&request.body).into_owned().collect()
        };
        let find = |name: &str| read.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        prop_assert_eq!(find("refresh_token"), Some(token.as_str()));
        prop_assert_eq!(find("client_secret"), (!raw).then_some(secret.expose()));
    }
}
