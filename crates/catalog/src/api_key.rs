//! API keys: what they look like, and those that sign.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::service::{Flow, Service};
use crate::template::{FillError, Whole};

/// A key that stands in for a grant: made by the account's owner, and told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRule {
    /// What it is called there; more than one: they are joined by `:`, and the last is the secret
    /// one.
    pub parts: Vec<String>,
    /// An example; the simulated service takes it.
    pub example: String,
    /// Where to find or make it.
    pub help: String,
    /// The whole must match.
    pub(crate) whole: Whole,
}

/// Each call carries a JWT that the token signs with HS256: the token is `ID:SECRET`, the secret in
/// hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiJwtRule {
    /// Its `aud`.
    pub audience: String,
    /// How long one is good for.
    pub life: Duration,
}

impl Service {
    /// Whether an application has to be registered there: not where there are API keys alone.
    pub fn registers(&self) -> bool {
        !self.flows.iter().all(|flow| matches!(flow, Flow::ApiKey | Flow::Import))
    }

    /// Checks an API key's form: its parts, its pattern, and that it can sign where it has to.
    ///
    /// # Errors
    /// What it must look like; never the key.
    pub fn check_api_key(&self, key: &str) -> Result<(), FillError> {
        let Some(rule) = &self.api_key else {
            return Err(FillError::Missing("api_key".into()));
        };
        let refused = |rule: String| Err(FillError::Refused { name: "key".into(), rule });
        let plain = |byte: u8| byte.is_ascii_graphic();
        if key.is_empty() || key.len() > API_KEY_BYTES_MAX || !key.bytes().all(plain) {
            return refused(format!("1 to {API_KEY_BYTES_MAX} printable letters without spaces"));
        }
        if !rule.whole.is_match(key) {
            return refused(format!("like {:?}", rule.example));
        }
        match self.api_jwt.is_some() && signing_key(key).is_none() {
            true => refused("an id, a colon, and a secret in hex".into()),
            false => Ok(()),
        }
    }
}

/// Id and secret of a key that signs.
pub fn signing_key(key: &str) -> Option<(&str, Zeroizing<Vec<u8>>)> {
    let (id, secret) = key.split_once(':')?;
    let pair = |at: usize| u8::from_str_radix(secret.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..secret.len()).step_by(2).map(pair).collect();
    let bytes = Zeroizing::new(bytes.filter(|bytes| bytes.len() >= SIGNING_BYTES_MIN)?);
    (!id.is_empty()).then_some((id, bytes))
}

/// Longest API key, in bytes.
pub const API_KEY_BYTES_MAX: usize = 4096;
/// A shorter secret can be guessed (RFC 2104 §3: as long as the hash).
const SIGNING_BYTES_MIN: usize = 16;
