//! Bytes of a token endpoint's answer → [`TokenSet`] or [`Refusal`], by [`Dialect`].

use std::collections::BTreeMap;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::answer::Answer;
use crate::dialect::{Dialect, Verdict};
use crate::expiry::Expiry;
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

impl TokenSet {
    /// Bytes to seal: JSON with every member.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        todo!()
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` when it is not that.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let _ = bytes;
        todo!()
    }
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
    let _ = (answer, dialect, sent_at);
    todo!()
}
