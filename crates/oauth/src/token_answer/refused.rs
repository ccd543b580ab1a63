//! What isn't a grant, judged: by the dialect's row, else by the rules of RFC 6749 §5.2, and what
//! may be shown of it.
//!
//! What would surprise: only a well-formed error code is ever a verdict on grant or client. Status
//! and prose are not enough: a gateway says 401, too.

use super::body::{self, Body};
use super::{Flaw, Refusal, granted};
use crate::address;
use crate::answer::Answer;
use crate::dialect::{Dialect, Verdict};
use crate::json::Json;
use crate::retry_after;
use crate::text;
use crate::time::Timestamp;
use std::time::Duration;

/// Bytes of an error code that are believed at most.
const CODE_BYTES_MAX: usize = 200;

/// Bytes of an unreadable body that are looked at for evidence.
const EVIDENCE_BYTES_MAX: usize = 4096;

/// The verdict, or `None` for a 2xx without an error, which may be a grant.
pub(super) fn judge(answer: &Answer, body: &Body, dialect: &Dialect) -> Option<Verdict> {
    match answer.status {
        // These speak of the way to the endpoint, so they come before what the body says.
        300..=399 => return Some(Verdict::Misconfigured),
        408 => return Some(Verdict::Ambiguous),
        425 | 429 => return Some(Verdict::Throttled),
        _ => {}
    }
    let error = body.json().map_or(ErrorMember::None, error_member);
    if body.json().is_some_and(|json| granted::holds_token(json, dialect)) {
        // An error and a token at once, or a token under an error's status: who knows?
        let plain = answer.is_success() && matches!(error, ErrorMember::None);
        return (!plain).then_some(Verdict::Ambiguous);
    }
    match error {
        ErrorMember::Code(code) => by_code(code).or(Some(by_status(answer.status, &error))),
        ErrorMember::None if answer.is_success() => None,
        ErrorMember::None | ErrorMember::Odd => Some(by_status(answer.status, &error)),
    }
}

/// A refusal that a row of the dialect decided.
pub(super) fn by_row(
    answer: &Answer,
    body: &Body,
    dialect: &Dialect,
    index: usize,
    sent_at: Timestamp,
) -> Refusal {
    let row = &dialect.errors[index];
    let mut refusal =
        by_rules(answer, body, Flaw { verdict: row.verdict, evidence: String::new() }, sent_at);
    refusal.row = Some(index);
    if refusal.code.is_none() {
        let field = row.fields.first().map(|field| field.field.as_str());
        refusal.code = field.and_then(|field| shown(body, field));
    }
    let default = row.retry_after_secs.map(|secs| retry_after::clamp(Duration::from_secs(secs)));
    refusal.retry_after = refusal.retry_after.or(default);
    refusal
}

/// A refusal with what may be shown of the answer.
pub(super) fn by_rules(answer: &Answer, body: &Body, flaw: Flaw, sent_at: Timestamp) -> Refusal {
    let evidence = if flaw.evidence.is_empty() { evidence(answer, body) } else { flaw.evidence };
    let location = answer.header("location").filter(|_| (300..400).contains(&answer.status));
    Refusal {
        verdict: flaw.verdict,
        status: answer.status,
        code: shown(body, "error"),
        description: shown(body, "error_description"),
        row: None,
        retry_after: answer.retry_after(Some(sent_at)),
        location_host: location.and_then(address::host).map(|host| text::clean(&host)),
        // A long media type before a long text is more than either may be.
        evidence: evidence.chars().take(text::SHOWN_CHARS_MAX).collect(),
    }
}

enum ErrorMember<'a> {
    /// Missing, null, false or empty.
    None,
    /// A code that RFC 6749 §5.2 allows.
    Code(&'a str),
    /// Something else, or it came twice.
    Odd,
}

fn error_member(json: &Json) -> ErrorMember<'_> {
    match json.at("error") {
        Ok(None | Some(Json::Null | Json::Bool(false))) => ErrorMember::None,
        Ok(Some(Json::Text(code))) if code.is_empty() => ErrorMember::None,
        Ok(Some(Json::Text(code))) if is_code(code) => ErrorMember::Code(code),
        Ok(Some(_)) | Err(_) => ErrorMember::Odd,
    }
}

/// NQSCHAR (RFC 6749 App. A.7).
fn is_code(text: &str) -> bool {
    let allowed = |b: u8| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    text.len() <= CODE_BYTES_MAX && text.bytes().all(allowed)
}

/// Codes of RFC 6749 §5.2, 8707 §2, 8628 §3.5, and two of the authorization endpoint's (§4.1.2.1)
/// that token endpoints use as well.
fn by_code(code: &str) -> Option<Verdict> {
    Some(match code {
        "invalid_grant" => Verdict::GrantRefused,
        "invalid_client" | "unauthorized_client" => Verdict::ClientRefused,
        "invalid_request" | "unsupported_grant_type" | "invalid_scope" | "invalid_target" => {
            Verdict::Misconfigured
        }
        "slow_down" => Verdict::Throttled,
        "temporarily_unavailable" => Verdict::Unavailable,
        "server_error" => Verdict::Ambiguous,
        _ => return None,
    })
}

fn by_status(status: u16, error: &ErrorMember<'_>) -> Verdict {
    match (status, error) {
        // A well-formed error of an unknown code: the service did say no, we don't know to what.
        (200..=299, ErrorMember::Code(_)) => Verdict::Nonsense,
        (200..=299 | 500..=599, _) => Verdict::Ambiguous,
        (404 | 405, _) => Verdict::Misconfigured,
        _ => Verdict::Nonsense,
    }
}

/// A member's text, cleaned.
fn shown(body: &Body, path: &str) -> Option<String> {
    body.json()?.at(path).ok()??.scalar().and_then(text::clean_some)
}

fn evidence(answer: &Answer, body: &Body) -> String {
    match body {
        Body::Json(..) => String::new(),
        Body::Empty => "an empty body".to_owned(),
        Body::Coded => {
            let coding = answer.header("content-encoding").unwrap_or_default();
            format!("a body in a coding that was not asked for: {}", text::clean(coding))
        }
        Body::Other => {
            let media_type = text::clean(&body::media_type(answer));
            let cut = if answer.complete { "" } else { ", cut" };
            let start = safe_start(answer).unwrap_or_default();
            let type_shown = if media_type.is_empty() { "no media type" } else { &media_type };
            format!("{type_shown}{cut}{}{start}", if start.is_empty() { "" } else { ": " })
        }
    }
}

/// The first characters of a page or a gateway's prose; nothing of what might be half a token
/// answer.
fn safe_start(answer: &Answer) -> Option<String> {
    let start = &answer.body[..answer.body.len().min(EVIDENCE_BYTES_MAX)];
    let prose = String::from_utf8_lossy(start).trim_start_matches('\u{feff}').trim().to_owned();
    let lower = prose.to_lowercase();
    let is_page = prose.starts_with('<');
    let is_data = prose.starts_with(['{', '[', '"']) || (prose.contains('=') && !is_page);
    let speaks = ["token", "secret", "password"].iter().any(|word| lower.contains(word));
    if is_data || speaks || (answer.is_success() && !is_page) {
        return None;
    }
    text::clean_some(&without_tags(&prose))
}

fn without_tags(page: &str) -> String {
    let mut out = String::new();
    for (index, piece) in page.split('<').enumerate() {
        match (index, piece.split_once('>')) {
            (0, _) => out.push_str(piece),
            (_, Some((_, text))) => {
                out.push(' ');
                out.push_str(text);
            }
            (_, None) => {}
        }
    }
    out
}
