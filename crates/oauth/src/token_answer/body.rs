//! What the bytes of an answer are: JSON (by content), form (where its type and the dialect say
//! so), or neither. Both become one kind of value, so that rules are written once.

use zeroize::Zeroizing;

use crate::answer::Answer;
use crate::deviation;
use crate::dialect::Dialect;
use crate::form;
use crate::json::Json;

/// Bytes of a body that are read at most. The transport stops there too.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

pub(super) enum Body {
    /// Read, with the deviations met.
    Json(Json, Vec<&'static str>),
    /// Nothing but white space.
    Empty,
    /// Still in a content coding: one that the transport doesn't know, or could not undo whole.
    Coded,
    /// Anything else.
    Other,
}

impl Body {
    pub(super) fn of(answer: &Answer, dialect: &Dialect) -> Self {
        let coding = answer.header("content-encoding").unwrap_or("identity").trim();
        if !coding.is_empty() && !coding.eq_ignore_ascii_case("identity") {
            return Self::Coded;
        }
        if answer.body.len() > BODY_BYTES_MAX {
            return Self::Other;
        }
        if answer.body.trim_ascii().is_empty() {
            return Self::Empty;
        }
        if let Some(json) = Json::parse(&answer.body) {
            return Self::Json(json, json_deviations(answer));
        }
        match accepts_form(answer, dialect).then(|| form_object(answer)).flatten() {
            Some(json) => Self::Json(json, vec![deviation::FORM_ANSWER]),
            None => Self::Other,
        }
    }

    pub(super) fn json(&self) -> Option<&Json> {
        match self {
            Self::Json(json, _) => Some(json),
            Self::Empty | Self::Coded | Self::Other => None,
        }
    }
}

/// The media type, without parameters, in lower case.
pub(super) fn media_type(answer: &Answer) -> String {
    let value = answer.header("content-type").unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn json_deviations(answer: &Answer) -> Vec<&'static str> {
    let media_type = media_type(answer);
    let is_json = media_type.ends_with("/json") || media_type.ends_with("+json");
    let met = [
        (!answer.complete, deviation::CUT_BUT_WHOLE),
        (!is_json, deviation::CONTENT_TYPE),
        (answer.body.starts_with(b"\xef\xbb\xbf"), deviation::BYTE_ORDER_MARK),
    ];
    met.into_iter().filter(|(met, _)| *met).map(|(_, deviation)| deviation).collect()
}

/// A form doesn't show where it ends, so a cut one is never read: its last token might be half.
fn accepts_form(answer: &Answer, dialect: &Dialect) -> bool {
    dialect.accept_form
        && answer.complete
        && media_type(answer) == "application/x-www-form-urlencoded"
}

fn form_object(answer: &Answer) -> Option<Json> {
    let text = std::str::from_utf8(answer.body.trim_ascii()).ok()?;
    let members = form::decode_pairs(text);
    Some(Json::Object(
        members
            .map(|(name, value)| (name.to_string(), Json::Text(Zeroizing::clone(&value))))
            .collect(),
    ))
}
