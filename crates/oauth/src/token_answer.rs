//! Bytes of a token endpoint's answer → [`TokenSet`] or [`Refusal`], by [`Dialect`].
//!
//! What would surprise: an error is looked for first, whatever the status says, and JSON decides by
//! its content, whatever its media type says. A body that arrived shorter than announced is still
//! read when the JSON in it is whole (JSON ends itself): to drop a rotated refresh token over a
//! wrong length would lose the grant. A body that is still in a content coding (the transport
//! undoes those that it knows, within its limits) is not read: with 2xx it is ambiguous, and kept
//! in the journal like any other.

mod body;
mod bytes;
mod granted;
mod refused;

use std::collections::BTreeMap;
use std::time::Duration;

pub use self::body::BODY_BYTES_MAX;
use self::body::Body;
pub use self::granted::EXTRA_BYTES_MAX;
use crate::answer::Answer;
use crate::dialect::{Dialect, ErrorRow, FieldMatch, Matches, Verdict};
use crate::expiry::Expiry;
use crate::json::Json;
use crate::secret::{AccessToken, RefreshToken};
use crate::time::Timestamp;

/// What a service granted. Holds secrets: does not print.
pub struct TokenSet {
    /// The access token.
    pub access_token: AccessToken,
    /// The refresh token, if one came (missing, null and empty are the same: none).
    pub refresh_token: Option<RefreshToken>,
    /// As the service spelt it, or `Bearer` where the dialect lets it be left out.
    pub token_type: String,
    /// Granted scopes; `None`: not told, so as asked (RFC 6749 §5.1).
    pub scopes: Option<Vec<String>>,
    /// When the access token ends, counted from when the request was sent.
    pub expiry: Expiry,
    /// When the refresh token ends, where told.
    pub refresh_expires_at: Option<Timestamp>,
    /// What else the service said that the dialect keeps: member → text.
    pub extra: BTreeMap<String, String>,
    /// Deviations met (`DV-…` ids with a word), for `--verbose` and `doctor`.
    pub deviations: Vec<&'static str>,
}

/// A refusal, with what may be shown of it. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it means. Never [`Verdict::Granted`].
    pub verdict: Verdict,
    /// HTTP status.
    pub status: u16,
    /// The error code, cleaned of control characters and cut to 200 characters.
    pub code: Option<String>,
    /// The description, cleaned and cut likewise. Untrusted text (RFC 6749 §5.2).
    pub description: Option<String>,
    /// Which row of the dialect decided, if one did.
    pub row: Option<usize>,
    /// How long the service asks to wait, clamped to 1 s … 1 h.
    pub retry_after: Option<Duration>,
    /// Where a redirect pointed: host only.
    pub location_host: Option<String>,
    /// Short evidence for people: media type and the first safe characters of a body that isn't
    /// JSON; empty for what might hold a token.
    pub evidence: String,
}

/// What an answer says.
pub enum Reading {
    /// A usable token.
    Granted(Box<TokenSet>),
    /// Anything else.
    Refused(Refusal),
}

/// Reads an answer of a token endpoint. `sent_at`: when the request was sent, from which lives are
/// counted (a slow answer can only shorten a life).
///
/// Never panics, whatever the bytes; 2xx that is neither a token nor a well-formed error is
/// [`Verdict::Ambiguous`].
pub fn read(answer: &Answer, dialect: &Dialect, sent_at: Timestamp) -> Reading {
    let mut body = Body::of(answer, dialect);
    if let Some(index) = matching_row(answer, &body, dialect) {
        return Reading::Refused(refused::by_row(answer, &body, dialect, index, sent_at));
    }
    let flaw = match (refused::judge(answer, &body, dialect), &mut body) {
        (Some(verdict), _) => Flaw { verdict, evidence: String::new() },
        (None, Body::Json(json, deviations)) => {
            let asked = granted::Asked { sent_at, date: answer.date() };
            match granted::read(json, dialect, asked, std::mem::take(deviations)) {
                Ok(set) => return Reading::Granted(Box::new(set)),
                Err(flaw) => flaw,
            }
        }
        (None, _) => Flaw { verdict: Verdict::Ambiguous, evidence: String::new() },
    };
    Reading::Refused(refused::by_rules(answer, &body, flaw, sent_at))
}

/// Which of the dialect's error rows an answer matches first, if any: for the answers of an API as
/// well as for those of a token endpoint.
pub fn match_row(answer: &Answer, dialect: &Dialect) -> Option<usize> {
    matching_row(answer, &Body::of(answer, dialect), dialect)
}

/// What keeps an answer from being a grant. The evidence holds no secret.
struct Flaw {
    verdict: Verdict,
    evidence: String,
}

fn matching_row(answer: &Answer, body: &Body, dialect: &Dialect) -> Option<usize> {
    // A row can't grant: a token comes from the one reader of tokens.
    let can_match = |row: &ErrorRow| row.verdict != Verdict::Granted;
    dialect.errors.iter().position(|row| can_match(row) && row_matches(row, answer, body))
}

fn row_matches(row: &ErrorRow, answer: &Answer, body: &Body) -> bool {
    let json = body.json();
    (row.statuses.is_empty() || row.statuses.contains(&answer.status))
        && !(row.not_json && json.is_some())
        && row.fields.iter().all(|field| json.is_some_and(|json| field_matches(field, json)))
}

fn field_matches(field: &FieldMatch, json: &Json) -> bool {
    let Ok(Some(value)) = json.at(&field.field) else {
        return false;
    };
    match (&field.matches, value.scalar()) {
        (Matches::Present, _) => true,
        (Matches::AnyOf(texts), Some(value)) => texts.iter().any(|text| text == value),
        (Matches::Contains(part), Some(value)) => {
            value.to_lowercase().contains(&part.to_lowercase())
        }
        (Matches::AnyOf(_) | Matches::Contains(_), None) => false,
    }
}
