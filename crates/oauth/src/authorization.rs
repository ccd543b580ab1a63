//! The front channel: authorization URL out, callback in (RFC 6749 §4.1, RFC 9207).
//!
//! What would surprise: a callback's `iss` is judged before its `error`, so that another server
//! can't tell us that the user refused (RFC 9207 §2.4).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::address;
use crate::answer::Answer;
use crate::call;
use crate::form;
use crate::pkce;
use crate::secret::Code;
use crate::text;

/// Octets of randomness in a `state` (RFC 6749 §10.10).
pub const STATE_RANDOM_BYTES: usize = 32;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseType {
    /// An authorization code (RFC 6749 §4.1.1).
    Code,
    /// The token itself, in the fragment: the implicit flow (RFC 6749 §4.2.1). Legacy; RFC 9700
    /// §2.1.2 advises against it.
    Token,
}

/// What an authorization URL is built from.
pub struct AuthorizationRequest<'a> {
    /// What is asked for.
    pub response_type: ResponseType,
    /// The authorization endpoint; its own query is kept, a fragment is refused.
    pub endpoint: &'a str,
    /// The client identifier.
    pub client_id: &'a str,
    /// The redirect URI; `None` where a service wants none in the request.
    pub redirect_uri: Option<&'a str>,
    /// Scopes, joined by `separator`; empty means the parameter is left out.
    pub scopes: &'a [String],
    /// Between scopes; a space by RFC 6749 §3.3.
    pub scope_separator: &'a str,
    /// The one-time state.
    pub state: &'a str,
    /// The S256 challenge, where PKCE is used.
    pub challenge: Option<&'a str>,
    /// Further parameters from the catalogue; a protocol name among them is refused.
    pub params: &'a [(String, String)],
}

/// Why a URL cannot be built.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BuildError {
    /// The endpoint is not an absolute URL without fragment.
    #[error("endpoint {0:?} is not an absolute URL without a fragment")]
    Endpoint(String),
    /// The redirect URI is not absolute or has a fragment.
    #[error("redirect URI {0:?} is not an absolute URL without a fragment")]
    RedirectUri(String),
    /// A parameter would appear twice.
    #[error("parameter {0:?} would appear twice")]
    Twice(String),
    /// A parameter that must be there is empty.
    #[error("parameter {0:?} is empty")]
    Missing(&'static str),
}

/// Builds the URL to send the browser to (RFC 6749 §4.1.1).
pub fn url(request: &AuthorizationRequest<'_>) -> Result<String, BuildError> {
    if !address::is_endpoint(request.endpoint) {
        return Err(BuildError::Endpoint(request.endpoint.to_owned()));
    }
    if let Some(uri) = request.redirect_uri.filter(|uri| !address::is_redirect_uri(uri)) {
        return Err(BuildError::RedirectUri(uri.to_owned()));
    }
    for (name, value) in [("client_id", request.client_id), ("state", request.state)] {
        if value.is_empty() {
            return Err(BuildError::Missing(name));
        }
    }
    let scope = request.scopes.join(request.scope_separator);
    let response_type = match request.response_type {
        ResponseType::Code => "code",
        ResponseType::Token => "token",
    };
    let mut pairs = vec![
        ("response_type", response_type),
        ("client_id", request.client_id),
        ("redirect_uri", request.redirect_uri.unwrap_or_default()),
        ("scope", &scope),
        ("state", request.state),
    ];
    if let Some(challenge) = request.challenge {
        pairs.extend([("code_challenge", challenge), ("code_challenge_method", pkce::METHOD)]);
    }
    for (name, value) in request.params {
        let bound = matches!(name.as_str(), "redirect_uri" | "scope");
        if bound || call::PROTOCOL_NAMES.contains(&name.as_str()) {
            return Err(BuildError::Twice(name.clone()));
        }
        pairs.push((name, value));
    }
    pairs.retain(|(_, value)| !value.is_empty());
    match call::repeated(request.endpoint, pairs.iter().map(|(name, _)| *name)) {
        Some(name) => Err(BuildError::Twice(name)),
        None => Ok(call::with_query(request.endpoint, &pairs).to_string()),
    }
}

/// A `state` of `[A-Za-z0-9_-]` from random octets: 43 characters, which no service's re-encoding
/// changes (RFC 6749 §10.10).
pub fn state(random: &[u8; STATE_RANDOM_BYTES]) -> String {
    URL_SAFE_NO_PAD.encode(random)
}

/// What must hold of a callback, from the pending flow's record.
pub struct Expected<'a> {
    /// The state that was sent.
    pub state: &'a str,
    /// The issuer, where the service has one.
    pub issuer: Option<&'a str>,
    /// Whether the service says that it sends `iss` (RFC 9207 §3).
    pub issuer_always: bool,
}

/// A callback that passed every check. Only [`check`] makes one.
pub struct ValidCallback {
    code: Code,
    extra: Vec<(String, String)>,
}

impl ValidCallback {
    /// The authorization code; taken once.
    pub fn into_code(self) -> Code {
        self.code
    }

    /// Further parameters (a data centre, an accounts server), untrusted.
    pub fn extra(&self) -> &[(String, String)] {
        &self.extra
    }
}

/// Why a callback is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CallbackError {
    /// Not a query that can be read, or over the limits.
    #[error("the callback can't be read: {0}")]
    Malformed(&'static str),
    /// A parameter came twice (RFC 6749 §3.1).
    #[error("parameter {0:?} came twice")]
    Twice(String),
    /// `state` is missing or another one.
    #[error("state is missing or another one")]
    State,
    /// `iss` names another server, is missing though promised, or came unannounced.
    #[error("the answer's issuer is not the one that was asked")]
    Issuer,
    /// The service (or the user) refused. Untrusted texts, cleaned and cut.
    #[error("refused: {code}")]
    Refused {
        /// The error code, such as `access_denied`.
        code: String,
        /// Its description.
        description: Option<String>,
    },
    /// Neither a code nor an error.
    #[error("neither a code nor an error came back")]
    Empty,
}

/// Bytes of a callback's query that are read at most.
pub const QUERY_BYTES_MAX: usize = 64 * 1024;

/// Parameters of a callback that are read at most.
pub const PARAMS_MAX: usize = 100;

/// Takes the `state` out of a callback's query, so that its pending flow can be found; refuses one
/// that came twice.
pub fn callback_state(query: &str) -> Result<String, CallbackError> {
    let params = read(query)?;
    params.one("state")?.map(|state| state.to_string()).ok_or(CallbackError::State)
}

/// Checks a callback's raw query (without `?`) against what was expected.
///
/// The order is the guarantee: state (whose flow is it?), issuer (who answers?), error, code
/// (RFC 6749 §4.1.2, §10.12; RFC 9207 §2.4).
pub fn check(query: &str, expected: &Expected<'_>) -> Result<ValidCallback, CallbackError> {
    let params = read(query)?;
    let [code, state, iss, error, description, _] = params.known()?;
    check_state(state, expected.state)?;
    check_issuer(iss, expected)?;
    if let Some(error) = error {
        return Err(CallbackError::Refused {
            code: text::clean(error),
            description: description.and_then(text::clean_some),
        });
    }
    let code = code.ok_or(CallbackError::Empty)?;
    if !code.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Err(CallbackError::Malformed("the code has characters that no code may have"));
    }
    Ok(ValidCallback { code: Code::new(code), extra: params.extra() })
}

/// Checks an implicit answer: a fragment, without `#` (RFC 6749 §4.2.2), in the order of [`check`].
/// What holds the token set then is the fragment itself, as a token answer in a form would have it.
pub fn check_fragment(fragment: &str, expected: &Expected<'_>) -> Result<Answer, CallbackError> {
    let params = read(fragment)?;
    let [_, state, iss, error, description, _] = params.known()?;
    check_state(state, expected.state)?;
    check_issuer(iss, expected)?;
    if let Some(error) = error {
        return Err(CallbackError::Refused {
            code: text::clean(error),
            description: description.and_then(text::clean_some),
        });
    }
    if params.one("access_token")?.is_none() {
        return Err(CallbackError::Empty);
    }
    let form = "application/x-www-form-urlencoded";
    Ok(Answer {
        status: 200,
        headers: vec![("content-type".to_owned(), form.to_owned())],
        body: Zeroizing::new(fragment.as_bytes().to_vec()),
        complete: true,
    })
}

/// Exact, in constant time. An empty state was read as left out, so a broken record with an empty
/// expectation matches nothing.
fn check_state(state: Option<&str>, expected: &str) -> Result<(), CallbackError> {
    match state {
        Some(state) if state.as_bytes().ct_eq(expected.as_bytes()).into() => Ok(()),
        _ => Err(CallbackError::State),
    }
}

/// Simple string comparison, no normalisation (RFC 9207 §2.4). An `iss` from a service of which no
/// issuer is known can't be right; a known issuer that isn't always sent is the tolerant policy.
fn check_issuer(iss: Option<&str>, expected: &Expected<'_>) -> Result<(), CallbackError> {
    let fine = match iss {
        Some(iss) => expected.issuer == Some(iss),
        None => !expected.issuer_always,
    };
    if fine { Ok(()) } else { Err(CallbackError::Issuer) }
}

/// Parameters that the protocol defines for a callback; one that came twice is refused.
const KNOWN: [&str; 6] = ["code", "state", "iss", "error", "error_description", "error_uri"];

struct Params(Vec<(Zeroizing<String>, Zeroizing<String>)>);

impl Params {
    /// The value of a name; an empty one counts as left out (RFC 6749 §3.1).
    fn one(&self, name: &str) -> Result<Option<&str>, CallbackError> {
        let mut found = self.0.iter().filter(|(n, _)| n.as_str() == name);
        let first = found.next().map(|(_, value)| value.as_str());
        match found.next() {
            Some(_) => Err(CallbackError::Twice(name.to_owned())),
            None => Ok(first.filter(|value| !value.is_empty())),
        }
    }

    fn known(&self) -> Result<[Option<&str>; KNOWN.len()], CallbackError> {
        let mut values = [None; KNOWN.len()];
        for (value, name) in values.iter_mut().zip(KNOWN) {
            *value = self.one(name)?;
        }
        Ok(values)
    }

    /// The unknown ones. What came twice is dropped: nobody could say which of them is meant.
    fn extra(&self) -> Vec<(String, String)> {
        let unknown = self.0.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str()));
        unknown
            .filter(|(name, _)| self.0.iter().filter(|(n, _)| n == name).count() == 1)
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }
}

fn read(query: &str) -> Result<Params, CallbackError> {
    if query.len() > QUERY_BYTES_MAX {
        return Err(CallbackError::Malformed("it is too long"));
    }
    // A pasted address may end in a fragment that a browser re-attached, such as `#_=_`.
    let query = query.split('#').next().unwrap_or_default();
    let params: Vec<_> = form::decode_pairs(query).take(PARAMS_MAX + 1).collect();
    match params.len() > PARAMS_MAX {
        true => Err(CallbackError::Malformed("it has too many parameters")),
        false => Ok(Params(params)),
    }
}
