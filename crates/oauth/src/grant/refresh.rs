//! Refresh (RFC 6749 §6). `scope` is left out: the same scopes as granted.

use crate::call;
use crate::client_auth::{Credentials, TokenEndpoint};
use crate::grant::BuildError;
use crate::request::Request;
use crate::secret::RefreshToken;

/// Builds the refresh. Whether it may be sent (again) is for the engine to say; the token is only
/// borrowed, since an unsent request may be built anew (RFC 6749 §6).
pub fn request(
    endpoint: &TokenEndpoint,
    credentials: &Credentials<'_>,
    refresh_token: &RefreshToken,
) -> Result<Request, BuildError> {
    let own = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose())];
    call::build(endpoint, credentials, &own)
}
