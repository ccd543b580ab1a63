//! Authorization server metadata (RFC 8414, OpenID Connect Discovery 1.0 §4).
//!
//! What would surprise: the issuer is compared code point by code point. A document whose issuer
//! differs by a trailing slash is another server's, and nothing of it is used (RFC 8414 §3.3, §4).

use thiserror::Error;

use crate::address;
use crate::answer::Answer;
use crate::json::Json;
use crate::pkce;
use crate::text;

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
    /// Device authorization endpoint (RFC 8628 §4).
    pub device_authorization_endpoint: Option<String>,
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

/// Bytes of a document that are read at most.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// Addresses to try, in order: RFC 8414 (inserted), OpenID (appended), RFC 8414 appended.
/// `loopback_http`: allow `http://127.0.0.1` issuers (RFC 8414 §3.1, OpenID Discovery §4).
pub fn addresses(issuer: &str, loopback_http: bool) -> Result<Vec<String>, MetadataError> {
    if !is_allowed(issuer, loopback_http) || issuer.contains('?') {
        return Err(MetadataError::Issuer(issuer.to_owned()));
    }
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    let host_at = issuer.find("://").map_or(0, |at| at + 3);
    let path_at = issuer[host_at..].find('/').map_or(issuer.len(), |at| host_at + at);
    let (origin, path) = issuer.split_at(path_at);
    let mut addresses = vec![
        format!("{origin}{OAUTH_SUFFIX}{path}"),
        format!("{issuer}{OPENID_SUFFIX}"),
        format!("{issuer}{OAUTH_SUFFIX}"),
    ];
    // Without a path, the third is the first again.
    addresses.truncate(if path.is_empty() { 2 } else { 3 });
    Ok(addresses)
}

/// Reads and validates a document. Either all of it is used or nothing (RFC 8414 §3.3).
pub fn read(answer: &Answer, issuer: &str, loopback_http: bool) -> Result<Metadata, MetadataError> {
    if answer.status != 200 {
        return Err(MetadataError::Document("its status is not 200"));
    }
    if !answer.complete || answer.body.len() > DOCUMENT_BYTES_MAX {
        return Err(MetadataError::Document("it is cut or too large"));
    }
    let json = Json::parse(&answer.body).ok_or(MetadataError::Document("it is not JSON"))?;
    if !matches!(json, Json::Object(_)) {
        return Err(MetadataError::Document("it is not a JSON object"));
    }
    let document = Document { json, loopback_http };
    let named = document.text("issuer")?.unwrap_or_default();
    if named != issuer {
        return Err(MetadataError::OtherIssuer(text::clean(named)));
    }
    let or_default = |list: Option<Vec<String>>, default: &[&str]| {
        list.unwrap_or_else(|| default.iter().map(ToString::to_string).collect())
    };
    Ok(Metadata {
        issuer: issuer.to_owned(),
        authorization_endpoint: document.endpoint("authorization_endpoint")?,
        token_endpoint: document.endpoint("token_endpoint")?,
        revocation_endpoint: document.endpoint("revocation_endpoint")?,
        introspection_endpoint: document.endpoint("introspection_endpoint")?,
        device_authorization_endpoint: document.endpoint("device_authorization_endpoint")?,
        token_endpoint_auth_methods: or_default(
            document.list("token_endpoint_auth_methods_supported")?,
            &["client_secret_basic"],
        ),
        code_challenge_methods: document.list("code_challenge_methods_supported")?,
        scopes: document.list("scopes_supported")?.unwrap_or_default(),
        grant_types: or_default(
            document.list("grant_types_supported")?,
            &["authorization_code", "implicit"],
        ),
        issuer_in_response: document.flag("authorization_response_iss_parameter_supported")?,
    })
}

const OAUTH_SUFFIX: &str = "/.well-known/oauth-authorization-server";
const OPENID_SUFFIX: &str = "/.well-known/openid-configuration";

impl Metadata {
    /// Whether S256 can be used: `None` when the document doesn't tell, `Some(false)` when it
    /// offers only other methods, which are never used (RFC 7636 §4.2, RFC 9700 §2.1.1).
    pub fn offers_s256(&self) -> Option<bool> {
        let methods = self.code_challenge_methods.as_ref()?;
        Some(methods.iter().any(|method| method == pkce::METHOD))
    }
}

struct Document {
    json: Json,
    loopback_http: bool,
}

impl Document {
    fn member(&self, name: &str) -> Result<Option<&Json>, MetadataError> {
        match self.json.at(name) {
            Ok(Some(Json::Null)) => Ok(None),
            Ok(value) => Ok(value),
            Err(_) => Err(MetadataError::Document("a member came twice")),
        }
    }

    fn text(&self, name: &str) -> Result<Option<&str>, MetadataError> {
        match self.member(name)? {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(_) => Err(MetadataError::Document("a member that must be a text is none")),
        }
    }

    fn endpoint(&self, name: &str) -> Result<Option<String>, MetadataError> {
        match self.text(name)? {
            Some(url) if !is_allowed(url, self.loopback_http) => {
                Err(MetadataError::Endpoint(text::clean(url)))
            }
            url => Ok(url.map(str::to_owned)),
        }
    }

    fn list(&self, name: &str) -> Result<Option<Vec<String>>, MetadataError> {
        let odd = MetadataError::Document("a member that must be a list of texts is none");
        let items = match self.member(name)? {
            None => return Ok(None),
            Some(Json::Array(items)) => items,
            Some(_) => return Err(odd),
        };
        let texts = items.iter().map(|item| match item {
            Json::Text(text) => Some(text.to_string()),
            _ => None,
        });
        texts.collect::<Option<Vec<_>>>().map(Some).ok_or(odd)
    }

    fn flag(&self, name: &str) -> Result<bool, MetadataError> {
        Ok(matches!(self.member(name)?, Some(Json::Bool(true))))
    }
}

fn is_allowed(url: &str, loopback_http: bool) -> bool {
    address::is_endpoint(url) && (loopback_http || url.starts_with("https:"))
}
