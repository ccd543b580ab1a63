//! Token introspection (RFC 7662).

use crate::answer::Answer;
use crate::client_auth::{Credentials, TokenEndpoint};
use crate::grant::BuildError;
use crate::request::Request;

/// Builds the call.
pub fn request(
    endpoint: &TokenEndpoint,
    credentials: &Credentials<'_>,
    token: &str,
) -> Result<Request, BuildError> {
    let _ = (endpoint, credentials, token);
    todo!()
}

/// Whether the token is active: strictly the boolean `true` in a JSON object with status 200;
/// `None` when the answer can't be read as one.
pub fn active(answer: &Answer) -> Option<bool> {
    let _ = answer;
    todo!()
}
