//! Token introspection (RFC 7662).
//!
//! What would surprise: `active` alone decides, strictly as a boolean; other members may come with
//! an inactive token, and aren't read at all.

use crate::answer::Answer;
use crate::call;
use crate::client_auth::{Credentials, TokenEndpoint};
use crate::grant::BuildError;
use crate::json::Json;
use crate::request::Request;

/// Builds the call (RFC 7662 §2.1).
pub fn request(
    endpoint: &TokenEndpoint,
    credentials: &Credentials<'_>,
    token: &str,
) -> Result<Request, BuildError> {
    call::build(endpoint, credentials, &[("token", token)])
}

/// Whether the token is active: strictly the boolean `true` in a JSON object with status 200;
/// `None` when the answer can't be read as one (RFC 7662 §2.2).
pub fn active(answer: &Answer) -> Option<bool> {
    let json = Json::parse(&answer.body).filter(|_| answer.status == 200)?;
    match (&json, json.at("active")) {
        (Json::Object(_), Ok(active)) => Some(matches!(active, Some(Json::Bool(true)))),
        _ => None,
    }
}

/// Whose the token is, by an answer that calls it active: its `client_id`, where it tells one (RFC
/// 7662 §2.2).
pub fn client_id(answer: &Answer) -> Option<String> {
    let json = Json::parse(&answer.body).filter(|_| active(answer) == Some(true))?;
    match json.at("client_id") {
        Ok(Some(Json::Text(text))) => Some(text.to_string()),
        _ => None,
    }
}
