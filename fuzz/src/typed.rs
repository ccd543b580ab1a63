//! What a person types, pastes, pipes in, or writes into a file of ours.

use std::path::Path;

use indicia::root_key::BytesRootKey;
use indicia_broker::fuzzed::{self as engine, Landed};
use indicia_broker::import::IMPORT_BYTES_MAX;
use indicia_broker::model::ConnectionId;
use indicia_cli::fuzzed as cli;
use indicia_oauth::authorization::{self, CallbackError, Expected};

use crate::http::{block_on, services};
use crate::{callback_error, sent_at, usable};

/// Lines for `import --jsonl`. A first byte 1, 2 or 3 makes as many 33 KiB of spaces stand before
/// the first closing brace, so that an input that is short has a line that is too long.
pub fn import(data: &[u8]) {
    let mut input = data.to_vec();
    if let Some((filler @ 1..=3, rest)) = data.split_first() {
        input = rest.to_vec();
        let at = input.iter().position(|byte| *byte == b'}').unwrap_or(input.len());
        let spaces = vec![b' '; usize::from(*filler) * FILLER_BYTES];
        input.splice(at..at, spaces);
    }
    let lines = cli::import_lines(&input);
    let expected = input.split_inclusive(|byte| *byte == b'\n');
    assert!(lines.len() == expected.clone().count(), "a line is lost, or made of nothing");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(expected.starts_with(line), "another line");
        assert!(line.len() == expected.len() || line.len() > IMPORT_BYTES_MAX, "a line is cut");
        for service in services() {
            match engine::import(service, line, sent_at()) {
                Ok(set) => {
                    assert!(line.len() <= IMPORT_BYTES_MAX, "longer than may be");
                    usable(&set);
                }
                Err(error) => {
                    let said = format!("{error} {error:?} {}", error.hint());
                    assert!(!said.contains(SECRET), "an error repeats what it read");
                }
            }
        }
    }
}

const FILLER_BYTES: usize = 33 * 1024;
/// Stands in the seeds' tokens.
const SECRET: &str = "s3cret";

/// Small readings, each of the whole text.
pub fn typed(data: &[u8]) {
    key(data);
    if let Some(secret) = cli::secret(data) {
        assert!(!secret.is_empty() && data.starts_with(secret.as_bytes()), "another secret");
        assert!(data.len() - secret.len() <= 2, "more than a line's end is cut");
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(time) = cli::duration(text) {
        assert!(!cli::spoken(time).is_empty());
    }
    if let Ok((key, value)) = cli::pair(text) {
        assert!(!key.is_empty() && format!("{key}={value}") == text, "another pair");
    }
    if let Ok(spelt) = cli::root_key_source(text) {
        assert_eq!(cli::root_key_source(&spelt).as_ref(), Ok(&spelt), "a source moves");
    }
    if let Some(address) = cli::sandbox(text) {
        let parsed: std::net::SocketAddr = address.parse().expect("an address");
        assert!(parsed.ip().is_loopback(), "a sandbox elsewhere");
    }
    if let Ok(id) = ConnectionId::new(text) {
        assert!(id.as_str() == text && !text.starts_with(['-', '.']), "an id that isn't safe");
    }
    let shown = cli::shown(text);
    assert!(!shown.chars().any(char::is_control), "a control character is shown");
    assert_eq!(cli::shown(&shown), shown);
    let _ = block_on(cli::heard(text, false, b""));
}

/// A root key in any spelling comes back from its hex.
fn key(data: &[u8]) {
    let Ok(key) = BytesRootKey::parse(data, "the fuzzer") else { return };
    let hex = key.to_hex();
    assert!(hex.len() == 64 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let again = BytesRootKey::parse(hex.as_bytes(), "the fuzzer").ok();
    assert!(again.is_some_and(|again| again.to_hex() == hex), "another key");
}

/// An address that somebody pastes.
pub fn pasted(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let text = text.trim();
    let landed = match Landed::of(text) {
        Ok(landed) => landed,
        Err(error) => return callback_error(&error),
    };
    assert!(!landed.state.is_empty(), "a state of nothing");
    assert!(text.starts_with(landed.place) && !landed.place.contains(['?', '#']));
    assert!(text.ends_with(landed.answer) || !landed.in_fragment, "another answer");
    for redirect_uri in [REDIRECT_URI, "https://app.example.com/cb?tenant=1"] {
        let bare = redirect_uri.split('?').next();
        assert_eq!(landed.is_at(redirect_uri), bare == Some(landed.place), "{redirect_uri}");
    }
    let expected = Expected { state: &landed.state, issuer: None, issuer_always: false };
    match authorization::check(landed.answer, &expected) {
        Ok(callback) => assert!(!callback.into_code().expose().is_empty(), "a code of nothing"),
        Err(error) => {
            assert!(error != CallbackError::State, "its own state isn't its state");
            callback_error(&error);
        }
    }
}

const REDIRECT_URI: &str = "http://127.0.0.1:8917/oauth/callback/c";

/// The text of `config.toml`.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match cli::config(Path::new(HOME), text) {
        Ok((root_key, port, _)) => {
            assert!(port > 0 && cli::root_key_source(&root_key).is_ok(), "{root_key:?} {port}");
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a word");
            let placed = |problem: &String| problem.starts_with(&format!("{HOME}/config.toml: "));
            assert!(problems.iter().all(placed), "a problem without its place: {problems:?}");
        }
    }
}

const HOME: &str = "/home/somebody/indicia";
