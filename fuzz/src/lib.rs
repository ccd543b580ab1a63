//! What is fuzzed, one function a parser of outside bytes, and what must hold whatever comes.
//!
//! Surprise: no fuzzer is needed to build or to run it. A test runs every target over
//! `fuzz/corpus/`, so that what was found once stays mended; the fuzzer is another door
//! (`main.rs`), which only `cargo xtask fuzz` builds.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a target tells what it found by a panic")]

mod home;
mod http;
mod typed;

use std::collections::BTreeSet;

use indicia_broker::fuzzed;
use indicia_catalog::template::fill_text;
use indicia_catalog::{check, read};
use indicia_oauth::authorization::{self, CallbackError, Expected};
use indicia_oauth::expiry::{ExpiryKind, LIFE_MAX, Life};
use indicia_oauth::grant::device;
use indicia_oauth::token_answer::{self, Reading};
use indicia_oauth::{
    Answer, Dialect, Expiry, RETRY_AFTER_MAX, RETRY_AFTER_MIN, RefreshToken, Timestamp, TokenSet,
    Verdict, introspection, metadata, revocation,
};
use zeroize::Zeroizing;

/// What a target does with an input; it panics where something doesn't hold.
pub type Run = fn(&[u8]);

/// Every target by its name, which is also its folder's under `fuzz/corpus/`.
pub const TARGETS: [(&str, Run); 18] = [
    ("token_answer", token_answer),
    ("small_answers", small_answers),
    ("metadata", metadata),
    ("device", device),
    ("callback", callback),
    ("fragment", fragment),
    ("kept_bytes", kept_bytes),
    ("expiry", expiry),
    ("service_file", service_file),
    ("journal", home::journal),
    ("stored_rows", home::stored_rows),
    ("sealed", home::sealed),
    ("import", typed::import),
    ("typed", typed::typed),
    ("pasted", typed::pasted),
    ("config", typed::config),
    ("listener", http::listener),
    ("sandbox", http::sandbox),
];

/// An input of the targets that read answers: the status and headers as lines, an empty line, the
/// body. A first line `cut` says that the body didn't come to its end.
fn answer(data: &[u8]) -> Answer {
    let end = data.windows(2).position(|two| two == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (&b""[..], data),
    };
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines().peekable();
    let complete = lines.next_if_eq(&"cut").is_none();
    let status = lines.next().and_then(|line| line.parse().ok()).unwrap_or(200);
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers = lines.filter_map(header).collect();
    Answer { status, headers, body: Zeroizing::new(body.to_vec()), complete }
}

fn sent_at() -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000)
}

fn shown_fits(text: &str) -> bool {
    text.chars().count() <= 200 && !text.chars().any(char::is_control)
}

/// Dialects that between them turn every switch of the reader.
fn dialects() -> [Dialect; 2] {
    let odd = Dialect {
        accept_form: true,
        token_type_optional: true,
        keep: vec!["other".into(), "other.a".into(), "0".into()],
        scope_separators: " ,".into(),
        expires: vec![
            ("expires_at".into(), ExpiryKind::Rfc3339),
            ("expires_at".into(), ExpiryKind::UnixMillis),
            ("expires_in".into(), ExpiryKind::Seconds),
        ],
        ..Dialect::default()
    };
    [Dialect::default(), odd]
}

fn token_answer(data: &[u8]) {
    let answer = answer(data);
    for dialect in dialects() {
        match token_answer::read(&answer, &dialect, sent_at()) {
            Reading::Granted(set) => granted(&answer, &set),
            Reading::Refused(refusal) => refused(&refusal),
        }
    }
}

fn granted(answer: &Answer, set: &TokenSet) {
    assert!(answer.is_success(), "granted by status {}", answer.status);
    usable(set);
    if let Expiry::At(end) = set.expiry {
        assert!(end <= sent_at().plus(LIFE_MAX), "a life beyond its cap");
    }
    assert!(set.scopes.as_ref().is_none_or(|scopes| !scopes.is_empty()), "scopes of nothing");
    let again = TokenSet::from_bytes(&set.to_bytes());
    let same = again.is_some_and(|again| *again.to_bytes() == *set.to_bytes());
    assert!(same, "a token set doesn't come back from its bytes");
}

/// Tokens that a request can carry.
fn usable(set: &TokenSet) {
    let refresh = set.refresh_token.as_ref().map(RefreshToken::expose);
    for token in [Some(set.access_token.expose()), refresh].into_iter().flatten() {
        assert!(!token.trim().is_empty() && token != "null", "a token that is none");
        assert!(token.bytes().all(|b| matches!(b, b' '..=b'~')), "a token that fits no header");
    }
}

fn refused(refusal: &token_answer::Refusal) {
    assert!(refusal.verdict != Verdict::Granted, "refused, and granted");
    if refusal.verdict == Verdict::GrantRefused {
        assert_eq!(refusal.code.as_deref(), Some("invalid_grant"), "a grant ended by less");
    }
    let texts = [&refusal.code, &refusal.description, &refusal.location_host];
    assert!(texts.into_iter().flatten().all(|text| shown_fits(text)), "a text that isn't shown");
    assert!(shown_fits(&refusal.evidence), "evidence that isn't shown");
    if let Some(wait) = refusal.retry_after {
        assert!((RETRY_AFTER_MIN..=RETRY_AFTER_MAX).contains(&wait), "a wait of {wait:?}");
    }
}

fn small_answers(data: &[u8]) {
    let answer = answer(data);
    let revoked = revocation::read(&answer);
    assert_eq!(revoked == revocation::Revoked::Done, answer.is_success());
    if introspection::active(&answer).is_some() {
        assert_eq!(answer.status, 200);
    }
    let _ = introspection::client_id(&answer);
    for sent in [None, Some(sent_at())] {
        if let Some(wait) = answer.retry_after(sent) {
            assert!((RETRY_AFTER_MIN..=RETRY_AFTER_MAX).contains(&wait), "a wait of {wait:?}");
        }
    }
    let _ = answer.date();
}

fn metadata(data: &[u8]) {
    let answer = answer(data);
    let issuers = ["https://server.example.com", "https://server.example.com/tenant"];
    for issuer in issuers {
        let Ok(found) = metadata::read(&answer, issuer, false) else { continue };
        assert_eq!(found.issuer, issuer, "metadata of another issuer");
        let urls = [
            found.token_endpoint,
            found.authorization_endpoint,
            found.revocation_endpoint,
            found.introspection_endpoint,
            found.device_authorization_endpoint,
        ];
        assert!(urls.into_iter().flatten().all(|url| url.starts_with("https://")), "plain http");
    }
    if let Ok(issuer) = std::str::from_utf8(data)
        && let Ok(addresses) = metadata::addresses(issuer, true)
    {
        assert!(addresses.iter().all(|address| address.contains("/.well-known/")));
    }
}

fn device(data: &[u8]) {
    let Ok(found) = device::read(&answer(data)) else { return };
    assert!(!found.device_code.expose().is_empty(), "nothing to poll with");
    assert!(found.user_code.len() <= device::USER_CODE_CHARS_MAX);
    assert!(shown_fits(&found.user_code), "a user code that can't be shown");
    for uri in [Some(found.verification_uri), found.verification_uri_complete].iter().flatten() {
        assert!(uri.len() <= device::URI_BYTES_MAX && !uri.chars().any(char::is_control));
        assert!(uri.starts_with("https://") || uri.starts_with("http://"), "{uri:?} to be opened");
    }
    assert!(found.life <= device::LIFE_MAX && !found.life.is_zero());
    assert!(found.interval <= device::INTERVAL_MAX && !found.interval.is_zero());
}

fn expected() -> Expected<'static> {
    Expected { state: "xyz", issuer: Some("https://server.example.com"), issuer_always: false }
}

fn callback(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else { return };
    match authorization::check(query, &expected()) {
        Ok(callback) => {
            assert_eq!(authorization::callback_state(query), Ok("xyz".to_owned()));
            let names: BTreeSet<_> = callback.extra().iter().map(|(name, _)| name).collect();
            assert_eq!(names.len(), callback.extra().len(), "a parameter twice");
            assert!(!callback.into_code().expose().is_empty(), "a code of nothing");
        }
        Err(error) => callback_error(&error),
    }
}

fn callback_error(error: &CallbackError) {
    let CallbackError::Refused { code, description } = error else { return };
    assert!(shown_fits(code));
    assert!(description.as_ref().is_none_or(|text| shown_fits(text) && !text.is_empty()));
}

fn fragment(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match authorization::check_fragment(text, &expected()) {
        Ok(answer) => {
            for dialect in dialects() {
                if let Reading::Granted(set) = token_answer::read(&answer, &dialect, sent_at()) {
                    granted(&answer, &set);
                }
            }
        }
        Err(error) => callback_error(&error),
    }
}

/// Bytes that we wrote ourselves, read again from a disk that may have changed them.
fn kept_bytes(data: &[u8]) {
    if let Some(set) = TokenSet::from_bytes(data) {
        let bytes = set.to_bytes();
        let again = TokenSet::from_bytes(&bytes).map(|again| again.to_bytes());
        assert!(again.is_some_and(|again| *again == *bytes), "no fixed point");
    }
    if let Some(kept) = Answer::from_bytes(data) {
        assert_eq!(&**kept.to_bytes(), data, "an answer that is written otherwise");
    }
    if let Some(bytes) = fuzzed::flow_secrets(data) {
        assert_eq!(fuzzed::flow_secrets(&bytes).as_ref(), Some(&bytes), "no fixed point");
    }
    let _ = fuzzed::is_kept_of_flow(data);
}

fn expiry(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let kinds = [
        ExpiryKind::Seconds,
        ExpiryKind::Millis,
        ExpiryKind::UnixSeconds,
        ExpiryKind::UnixMillis,
        ExpiryKind::Rfc3339,
    ];
    for kind in kinds {
        if let Some(Life::Until(end) | Life::Capped(end)) = kind.read(text, sent_at()) {
            assert!(end <= sent_at().plus(LIFE_MAX), "a life beyond its cap");
        }
    }
}

fn service_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines = text.split('\n').count();
    // It begins with `read::read`; reading twice would only be half as fast.
    let errors = check::check("own.toml", text);
    if errors.is_empty() {
        assert!(read::read("own.toml", text).is_ok(), "refused without a word");
    }
    for error in errors {
        assert!((1..=lines).contains(&error.line), "line {} of {lines}", error.line);
        assert!(!error.problem.is_empty() && !error.fix.is_empty(), "an error without its fix");
    }
    let _ = fill_text(text, &|name| Some(name.to_owned()));
}
