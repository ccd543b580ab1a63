//! Token revocation (RFC 7009).

use std::time::Duration;

use crate::answer::Answer;
use crate::client_auth::{Credentials, TokenEndpoint};
use crate::grant::BuildError;
use crate::request::Request;

/// What a revocation answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// Done, also for a token that the service doesn't know (RFC 7009 §2.2).
    Done,
    /// The token still lives: try again (RFC 7009 §2.2.1).
    Later(Option<Duration>),
    /// It can't revoke this kind of token: revoke the other.
    UnsupportedType,
    /// Refused for good: code or status, as text.
    Refused(String),
}

/// Builds the call: `token` under the name that the service wants, with its hint.
pub fn request(
    endpoint: &TokenEndpoint,
    credentials: &Credentials<'_>,
    token_param: &str,
    token: &str,
    hint: Option<&str>,
) -> Result<Request, BuildError> {
    let _ = (endpoint, credentials, token_param, token, hint);
    todo!()
}

/// Reads the answer; a 200's body is ignored (RFC 7009 §2.2).
pub fn read(answer: &Answer) -> Revoked {
    let _ = answer;
    todo!()
}
