//! Client credentials (RFC 6749 §4.4): the client asks for itself. Only a client that can prove
//! who it is may.

use crate::call;
use crate::client_auth::{ClientAuth, Credentials, Proof, TokenEndpoint};
use crate::grant::BuildError;
use crate::request::Request;

/// Builds the request; a client without a secret is refused (RFC 6749 §4.4.2).
pub fn request(
    endpoint: &TokenEndpoint,
    credentials: &Credentials<'_>,
    scopes: &[String],
    scope_separator: &str,
) -> Result<Request, BuildError> {
    let proves = !matches!(endpoint.auth, ClientAuth::None | ClientAuth::Omit)
        && match credentials.proof {
            Proof::Secret(secret) => !secret.expose().is_empty(),
            Proof::Assertion(_) => true,
            Proof::None => false,
        };
    if !proves {
        return Err(BuildError::NoSecret);
    }
    let scope = scopes.join(scope_separator);
    call::build(endpoint, credentials, &[("grant_type", "client_credentials"), ("scope", &scope)])
}
