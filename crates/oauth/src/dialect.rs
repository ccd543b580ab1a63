//! How a service spells success and failure: data, from the catalogue. One reader:
//! [`crate::token_answer`].
//!
//! What would surprise: a row of [`Verdict::Granted`] never matches; rows only ever refuse.

use serde::{Deserialize, Serialize};

use crate::expiry::ExpiryKind;

/// What an answer of a token endpoint means for us. The first half of the engine's verdicts: those
/// that can be told from bytes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A token that we can use.
    Granted,
    /// Later; refused before processing, for pace.
    Throttled,
    /// Later; refused before processing.
    Unavailable,
    /// It may have been processed.
    Ambiguous,
    /// The grant is refused.
    GrantRefused,
    /// The client is refused.
    ClientRefused,
    /// Our request or the service file is wrong.
    Misconfigured,
    /// None of these: never a verdict on the grant.
    Nonsense,
}

/// How a field of an error answer is matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matches {
    /// The field is there, whatever it says.
    Present,
    /// Exactly one of these texts (numbers compare by their decimal text).
    AnyOf(Vec<String>),
    /// Contains this text, without regard to case.
    Contains(String),
}

/// One condition on one field; `field` is a dotted path (`fault.detail.errorcode`, `0.error_key`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldMatch {
    /// Dotted path; a number is an index into an array.
    pub field: String,
    /// What it must say.
    pub matches: Matches,
}

/// One row of a service's error table. First row that matches wins; then the RFC's own rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorRow {
    /// Statuses; empty means any.
    pub statuses: Vec<u16>,
    /// All must match. Empty: status (and `html`) alone decide.
    pub fields: Vec<FieldMatch>,
    /// Matches only a body that is not JSON, such as a gateway's HTML page.
    pub not_json: bool,
    /// What it means.
    pub verdict: Verdict,
    /// Seconds to wait where the answer does not say (mint windows).
    pub retry_after_secs: Option<u64>,
    /// What it means, for people.
    pub meaning: String,
}

/// How a service's token endpoint (or API) answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Name of the access token's member, normally `access_token`.
    pub access_token: String,
    /// Name of the refresh token's member, normally `refresh_token`.
    pub refresh_token: String,
    /// Name of the scope member; `None`: it is not a scope there, ignore it.
    pub scope: Option<String>,
    /// What separates scopes in an answer (any of these characters).
    pub scope_separators: String,
    /// Members that tell the access token's end, in order of preference.
    pub expires: Vec<(String, ExpiryKind)>,
    /// Members that tell the refresh token's end.
    pub refresh_expires: Vec<(String, ExpiryKind)>,
    /// What a missing, null or zero life means there.
    pub no_expiry: NoExpiry,
    /// Accept an answer without `token_type` as Bearer (RFC 6749 §7.1 demands it).
    pub token_type_optional: bool,
    /// Token types that we can use besides Bearer (compared without case).
    pub token_types: Vec<String>,
    /// Read a form-encoded answer when its Content-Type says so.
    pub accept_form: bool,
    /// Error rows, first match wins.
    pub errors: Vec<ErrorRow>,
    /// Further members of a success to keep (dotted paths): account ids, instance URLs.
    pub keep: Vec<String>,
}

/// What it means when an answer tells no life, or zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoExpiry {
    /// Used until refused.
    #[default]
    Unknown,
    /// The catalogue says that tokens never end.
    Never,
    /// A default life, in seconds.
    Seconds(u64),
}

impl Default for Dialect {
    /// RFC 6749 to the letter.
    fn default() -> Self {
        Self {
            access_token: "access_token".into(),
            refresh_token: "refresh_token".into(),
            scope: Some("scope".into()),
            scope_separators: " ".into(),
            expires: vec![("expires_in".into(), ExpiryKind::Seconds)],
            refresh_expires: vec![("refresh_token_expires_in".into(), ExpiryKind::Seconds)],
            no_expiry: NoExpiry::Unknown,
            token_type_optional: false,
            token_types: Vec::new(),
            accept_form: false,
            errors: Vec::new(),
            keep: Vec::new(),
        }
    }
}
