//! Token revocation (RFC 7009).
//!
//! What would surprise: 503 means that the token still lives, so only a 2xx is ever "done".

use std::time::Duration;

use crate::answer::Answer;
use crate::call;
use crate::client_auth::{Credentials, TokenEndpoint};
use crate::grant::BuildError;
use crate::json::Json;
use crate::request::Request;
use crate::text;

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

/// Builds the call: `token` under the name that the service wants, with its hint (RFC 7009 §2.1).
pub fn request(
    endpoint: &TokenEndpoint,
    credentials: &Credentials<'_>,
    token_param: &str,
    token: &str,
    hint: Option<&str>,
) -> Result<Request, BuildError> {
    let own = [(token_param, token), ("token_type_hint", hint.unwrap_or_default())];
    call::build(endpoint, credentials, &own)
}

/// Reads the answer; a 2xx's body is ignored (RFC 7009 §2.2).
pub fn read(answer: &Answer) -> Revoked {
    if answer.is_success() {
        return Revoked::Done;
    }
    let json = Json::parse(&answer.body);
    let code = json.as_ref().and_then(|json| json.at("error").ok().flatten()?.scalar());
    match (answer.status, code) {
        (408 | 425 | 429 | 500..=599, _) => Revoked::Later(answer.retry_after(None)),
        (_, Some("temporarily_unavailable" | "slow_down" | "server_error")) => {
            Revoked::Later(answer.retry_after(None))
        }
        (_, Some("unsupported_token_type")) => Revoked::UnsupportedType,
        (status, code) => {
            let code = code.and_then(text::clean_some);
            Revoked::Refused(code.unwrap_or_else(|| status.to_string()))
        }
    }
}
