//! Endpoint + credentials + parameters → [`Request`]: the one place where a call is put together.
//!
//! What would surprise: a client without a secret is a public one whatever the endpoint's method
//! of authentication, so it sends its `client_id` (RFC 6749 §3.2.1); and one with a key signs where
//! others send their secret.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::address;
use crate::client_assertion::ASSERTION_TYPE;
use crate::client_auth::{BasicEncoding, BodyCodec, ClientAuth, Credentials, Proof, TokenEndpoint};
use crate::form;
use crate::grant::BuildError;
use crate::request::Request;

/// Names that only the protocol's own code may set. A service file's extra of such a name would
/// override or repeat what was bound to the flow. `scope` and `redirect_uri` are not among them:
/// some services want them again on refresh, and where we send them a second one is refused.
pub(crate) const PROTOCOL_NAMES: [&str; 17] = [
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "device_code",
    "grant_type",
    "password",
    "refresh_token",
    "request",
    "request_uri",
    "response_type",
    "state",
    "username",
];

type Header = (String, Zeroizing<String>);

/// Builds a call. Empty values are left out (RFC 6749 §3.2); each name appears once.
pub(crate) fn build(
    endpoint: &TokenEndpoint,
    credentials: &Credentials<'_>,
    own: &[(&str, &str)],
) -> Result<Request, BuildError> {
    if !address::is_endpoint(&endpoint.url) {
        return Err(BuildError::Endpoint(endpoint.url.clone()));
    }
    let auth = effective_auth(endpoint.auth, credentials);
    let mut params: Vec<(&str, &str)> = own.to_vec();
    let mut query: Vec<(&str, &str)> = Vec::new();
    let secret = secret(credentials);
    match auth {
        ClientAuth::Basic(_) | ClientAuth::Omit => {}
        ClientAuth::PrivateKeyJwt => {
            let Proof::Assertion(assertion) = credentials.proof else {
                return Err(BuildError::NoAssertion);
            };
            params.extend([
                ("client_id", credentials.client_id),
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", assertion.expose()),
            ]);
        }
        ClientAuth::None => params.push(("client_id", credentials.client_id)),
        ClientAuth::Body => {
            params.extend([("client_id", credentials.client_id), ("client_secret", secret)]);
        }
        ClientAuth::Query => {
            query.extend([("client_id", credentials.client_id), ("client_secret", secret)]);
        }
    }
    for (name, value) in &endpoint.params {
        if PROTOCOL_NAMES.contains(&name.as_str()) {
            return Err(BuildError::Twice(name.clone()));
        }
        params.push((name, value));
    }
    params.retain(|(_, value)| !value.is_empty());
    query.retain(|(_, value)| !value.is_empty());
    if let Some(name) = repeated(&endpoint.url, params.iter().chain(&query).map(|(n, _)| *n)) {
        return Err(BuildError::Twice(name));
    }
    let mut headers = headers(endpoint, auth, credentials)?;
    let body = write_body(endpoint.codec, &params, &mut headers);
    if endpoint.codec == BodyCodec::Query {
        query.splice(0..0, params);
    }
    Ok(Request { method: endpoint.method, url: with_query(&endpoint.url, &query), headers, body })
}

/// The first name that would appear twice, the endpoint's own query counted in.
pub(crate) fn repeated<'a>(url: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut seen: BTreeSet<String> =
        form::decode_pairs(address::query(url)).map(|(name, _)| name.to_string()).collect();
    names.map(str::to_owned).find(|name| !seen.insert(name.clone()))
}

/// The URL with parameters appended; its own query stays as it is (RFC 6749 §3.1).
pub(crate) fn with_query(url: &str, pairs: &[(&str, &str)]) -> Zeroizing<String> {
    if pairs.is_empty() {
        return Zeroizing::new(url.to_owned());
    }
    let encoded = form::encode_pairs(pairs);
    let mut out = Zeroizing::new(String::with_capacity(url.len() + 1 + encoded.len()));
    out.push_str(url);
    out.push_str(address::joint(url));
    out.push_str(&encoded);
    out
}

fn effective_auth(auth: ClientAuth, credentials: &Credentials<'_>) -> ClientAuth {
    match (auth, credentials.proof) {
        (ClientAuth::Basic(_) | ClientAuth::Body, Proof::None) => ClientAuth::None,
        (ClientAuth::Basic(_) | ClientAuth::Body | ClientAuth::Query, Proof::Assertion(_)) => {
            ClientAuth::PrivateKeyJwt
        }
        (auth, _) => auth,
    }
}

fn secret<'a>(credentials: &Credentials<'a>) -> &'a str {
    match credentials.proof {
        Proof::Secret(secret) => secret.expose(),
        Proof::None | Proof::Assertion(_) => "",
    }
}

fn headers(
    endpoint: &TokenEndpoint,
    auth: ClientAuth,
    credentials: &Credentials<'_>,
) -> Result<Vec<Header>, BuildError> {
    let mut headers: Vec<Header> = Vec::new();
    for (name, value) in &endpoint.headers {
        let name = name.to_ascii_lowercase();
        if headers.iter().any(|(n, _)| *n == name) {
            return Err(BuildError::Twice(name));
        }
        headers.push((name, Zeroizing::new(value.clone())));
    }
    // Without `Accept`, some services answer in form encoding. Identity: a token answer is small,
    // and what isn't compressed needs no limit of its own.
    for (name, value) in [("accept", "application/json"), ("accept-encoding", "identity")] {
        if !headers.iter().any(|(n, _)| n == name) {
            headers.push((name.to_owned(), Zeroizing::new(value.to_owned())));
        }
    }
    if let ClientAuth::Basic(encoding) = auth {
        if headers.iter().any(|(n, _)| n == "authorization") {
            return Err(BuildError::Twice("authorization".to_owned()));
        }
        headers.push(("authorization".to_owned(), basic(credentials, encoding)));
    }
    Ok(headers)
}

/// `Basic …` (RFC 6749 §2.3.1).
fn basic(credentials: &Credentials<'_>, encoding: BasicEncoding) -> Zeroizing<String> {
    let secret = secret(credentials);
    let encode = |text: &str| match encoding {
        BasicEncoding::Form => form::encode(text),
        BasicEncoding::Raw => Zeroizing::new(text.to_owned()),
    };
    let (id, secret) = (encode(credentials.client_id), encode(secret));
    let mut pair = Zeroizing::new(String::with_capacity(id.len() + 1 + secret.len()));
    pair.push_str(&id);
    pair.push(':');
    pair.push_str(&secret);
    let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    Zeroizing::new(["Basic ", &encoded].concat())
}

fn write_body(
    codec: BodyCodec,
    params: &[(&str, &str)],
    headers: &mut Vec<Header>,
) -> Zeroizing<Vec<u8>> {
    let (media_type, body) = match codec {
        BodyCodec::Query => return Zeroizing::default(),
        BodyCodec::Form => (
            "application/x-www-form-urlencoded",
            Zeroizing::new(form::encode_pairs(params).as_bytes().to_vec()),
        ),
        BodyCodec::Json => ("application/json", json_object(params)),
    };
    if !headers.iter().any(|(n, _)| n == "content-type") {
        headers.push(("content-type".to_owned(), Zeroizing::new(media_type.to_owned())));
    }
    body
}

/// A JSON object of strings, in the order of `params`.
fn json_object(params: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    // A JSON escape is at most six bytes for one: room for the longest, taken once.
    let room = params.iter().map(|(n, v)| 6 * (n.len() + v.len()) + 6).sum::<usize>() + 2;
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    out.push(b'{');
    for (index, (name, value)) in params.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_json_text(&mut out, name);
        out.push(b':');
        push_json_text(&mut out, value);
    }
    out.push(b'}');
    out
}

fn push_json_text(out: &mut Zeroizing<Vec<u8>>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            0..=0x1f => out.extend(format!("\\u{byte:04x}").bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
