//! Authorization server metadata (RFC 8414, OpenID Connect Discovery 1.0 §4).

use crate::answer::Answer;
use thiserror::Error;

/// What we use of a metadata document. Unknown members are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The issuer, identical to the one asked for.
    pub issuer: String,
    /// Authorization endpoint.
    pub authorization_endpoint: Option<String>,
    /// Token endpoint.
    pub token_endpoint: Option<String>,
    /// Revocation endpoint.
    pub revocation_endpoint: Option<String>,
    /// Introspection endpoint.
    pub introspection_endpoint: Option<String>,
    /// Client authentication methods; absent means `client_secret_basic`.
    pub token_endpoint_auth_methods: Vec<String>,
    /// PKCE methods; `None`: not told.
    pub code_challenge_methods: Option<Vec<String>>,
    /// Scopes, where told.
    pub scopes: Vec<String>,
    /// Grant types; absent means `authorization_code` and `implicit`.
    pub grant_types: Vec<String>,
    /// Whether it sends `iss` in authorization responses (RFC 9207 §3).
    pub issuer_in_response: bool,
}

/// Why metadata is not used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MetadataError {
    /// The issuer asked for is not an https URL without query and fragment.
    #[error("issuer {0:?} is not an https URL without query or fragment")]
    Issuer(String),
    /// Not a 200 with a JSON object.
    #[error("the document can't be used: {0}")]
    Document(&'static str),
    /// `issuer` in it is another one (RFC 8414 §3.3).
    #[error("the document is of another issuer, {0:?}")]
    OtherIssuer(String),
    /// An endpoint is not https.
    #[error("endpoint {0:?} is not https")]
    Endpoint(String),
}

/// Addresses to try, in order: RFC 8414 (inserted), OpenID (appended), RFC 8414 appended.
/// `loopback_http`: allow `http://127.0.0.1` issuers.
pub fn addresses(issuer: &str, loopback_http: bool) -> Result<Vec<String>, MetadataError> {
    let _ = (issuer, loopback_http);
    todo!()
}

/// Reads and validates a document.
pub fn read(answer: &Answer, issuer: &str, loopback_http: bool) -> Result<Metadata, MetadataError> {
    let _ = (answer, issuer, loopback_http);
    todo!()
}
