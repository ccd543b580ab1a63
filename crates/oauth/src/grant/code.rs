//! Authorization code for tokens (RFC 6749 §4.1.3, RFC 7636 §4.5). The redirect URI is repeated
//! byte for byte although OAuth 2.1 drops it: its servers must still take it, others demand it.

use crate::call;
use crate::client_auth::{Credentials, TokenEndpoint};
use crate::grant::BuildError;
use crate::request::Request;
use crate::secret::{Code, Verifier};

/// Builds the exchange. The code is consumed: it can't be sent again (RFC 6749 §4.1.2).
pub fn request(
    endpoint: &TokenEndpoint,
    credentials: &Credentials<'_>,
    code: Code,
    redirect_uri: Option<&str>,
    verifier: Option<&Verifier>,
) -> Result<Request, BuildError> {
    let own = [
        ("grant_type", "authorization_code"),
        ("code", code.expose()),
        ("redirect_uri", redirect_uri.unwrap_or_default()),
        ("code_verifier", verifier.map_or("", Verifier::expose)),
    ];
    call::build(endpoint, credentials, &own)
}
